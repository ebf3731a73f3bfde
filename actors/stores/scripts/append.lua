-- Appends entries to a thread's journal and updates its record, and the indexes if it begins or ends a turn.
-- KEYS: record hash, journal stream, snapshots hash, and if the indexes change: index of open threads, timers, list of
--       the session's interactions, index of sessions by activity
-- ARGV: epoch, first seq, op id, updated_at, sealed cursor, seq of the snapshot or '', sealed snapshot, sealed
--       entries..., and if the indexes change: `open`, `pause` or `close`, thread id, session id, time to go on at or
--       '', number of the turn or '' if there is no next one
-- Returns 0 when the entries are in the journal, else {'unknown'}, {'fenced', epoch} or {'conflict', seq}.
--
-- The first entry of an append is stored under the field `epoch:op id`, the others under `e`: so a repeated append is
-- recognised however many others followed it.
local head = redis.call('HMGET', KEYS[1], 'epoch', 'seq')
if not head[1] then
  return {'unknown'}
end
local first = tonumber(ARGV[2])
local field = ARGV[1] .. ':' .. ARGV[3]
if head[1] ~= ARGV[1] or tonumber(head[2]) + 1 ~= first then
  local there = redis.call('XRANGE', KEYS[2], ARGV[2] .. '-0', ARGV[2] .. '-0')
  if there[1] and there[1][2][1] == field then
    return 0
  end
  if head[1] ~= ARGV[1] then
    redis.call('HINCRBY', KEYS[1], 'fenced', 1)
    return {'fenced', tonumber(head[1])}
  end
  return {'conflict', tonumber(head[2])}
end
local last = KEYS[4] and #ARGV - 5 or #ARGV
local before = 8 - first
for i = 8, last do
  redis.call('XADD', KEYS[2], string.format('%d-0', i - before), field, ARGV[i])
  field = 'e'
end
redis.call('HSET', KEYS[1], 'seq', last - before, 'cursor', ARGV[5], 'updated_at', ARGV[4])
if ARGV[6] ~= '' then
  redis.call('HSET', KEYS[3], ARGV[6], ARGV[7])
  for _, seq in ipairs(redis.call('HKEYS', KEYS[3])) do
    if seq ~= '0' and seq ~= ARGV[6] then
      redis.call('HDEL', KEYS[3], seq)
    end
  end
end
if KEYS[4] then
  local change, thread, session, due, turn = unpack(ARGV, last + 1)
  if change == 'open' or (change == 'close' and turn ~= '' and redis.call('LLEN', KEYS[6]) > tonumber(turn)) then
    redis.call('HSET', KEYS[4], thread, redis.call('HGET', KEYS[1], 'host'))
  else
    redis.call('HDEL', KEYS[4], thread)
  end
  if due ~= '' then
    redis.call('ZADD', KEYS[5], due, thread)
  else
    redis.call('ZREM', KEYS[5], thread)
  end
  redis.call('ZADD', KEYS[7], 'GT', ARGV[4], session)
end
return 0
