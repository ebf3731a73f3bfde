-- Appends entries to a thread's journal and updates its record, and the indexes if it begins or ends a turn.
-- KEYS: record hash, journal stream, and if the indexes change: index of open threads, timers, list of the session's
--       interactions, their inputs, index of sessions by activity
-- ARGV: epoch, first seq, op id, updated_at, sealed cursor, sealed entries..., and if the indexes change: `open`, `look`,
--       `pause` or `close`, id of the root thread, session id, time to go on at or '', number of the turn that is over if there may be a next
--       one or '', number of the turn whose input the entries hold or ''
-- Returns {entries since the newest snapshot, their bytes, bytes of the snapshot} when the entries are in the journal,
-- else {'unknown'}, {'fenced', epoch} or {'conflict', seq}.
--
-- The first entry of an append is stored under the field `epoch:op id`, the others under `e`: so a repeated append is
-- recognised however many others followed it.
local head = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'kept', 'kept_bytes', 'tail_bytes')
if not head[1] then
  return {'unknown'}
end
local first = tonumber(ARGV[2])
local kept, kept_bytes, tail_bytes = tonumber(head[3]) or 0, tonumber(head[4]) or 0, tonumber(head[5]) or 0
local field = ARGV[1] .. ':' .. ARGV[3]
if head[1] ~= ARGV[1] or tonumber(head[2]) + 1 ~= first then
  local there = redis.call('XRANGE', KEYS[2], ARGV[2] .. '-0', ARGV[2] .. '-0')
  if there[1] and there[1][2][1] == field then
    return {tonumber(head[2]) - kept, tail_bytes, kept_bytes}
  end
  if head[1] ~= ARGV[1] then
    redis.call('HINCRBY', KEYS[1], 'fenced', 1)
    return {'fenced', tonumber(head[1])}
  end
  return {'conflict', tonumber(head[2])}
end
local last = KEYS[3] and #ARGV - 6 or #ARGV
local before = 6 - first
for i = 6, last do
  redis.call('XADD', KEYS[2], string.format('%d-0', i - before), field, ARGV[i])
  field = 'e'
  tail_bytes = tail_bytes + #ARGV[i]
end
local seq = last - before
redis.call('HSET', KEYS[1], 'seq', seq, 'cursor', ARGV[5], 'updated_at', ARGV[4], 'tail_bytes', tail_bytes)
if KEYS[3] then
  local change, thread, session, due, over, begun = unpack(ARGV, last + 1)
  local host = redis.call('HGET', KEYS[1], 'host')
  if change == 'look' then
    redis.call('HSETNX', KEYS[3], thread, host)
  elseif change == 'open' or (change == 'close' and over ~= '' and redis.call('LLEN', KEYS[5]) > tonumber(over)) then
    redis.call('HSET', KEYS[3], thread, host)
  else
    redis.call('HDEL', KEYS[3], thread)
  end
  if begun ~= '' then
    redis.call('HDEL', KEYS[6], begun)
  end
  if due ~= '' then
    redis.call('ZADD', KEYS[4], due, thread)
  elseif change ~= 'look' then
    redis.call('ZREM', KEYS[4], thread)
  end
  redis.call('ZADD', KEYS[7], 'GT', ARGV[4], session)
end
return {seq - kept, tail_bytes, kept_bytes}
