-- Appends entries to a thread's journal and updates its record.
-- KEYS: record hash, journal stream, snapshots hash
-- ARGV: epoch, first seq, op id, updated_at, sealed cursor, seq of the snapshot or '', sealed snapshot, sealed entries...
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
    return {'fenced', tonumber(head[1])}
  end
  return {'conflict', tonumber(head[2])}
end
local before = 8 - first
for i = 8, #ARGV do
  redis.call('XADD', KEYS[2], string.format('%d-0', i - before), field, ARGV[i])
  field = 'e'
end
redis.call('HSET', KEYS[1], 'seq', #ARGV - before, 'cursor', ARGV[5], 'updated_at', ARGV[4])
if ARGV[6] ~= '' then
  redis.call('HSET', KEYS[3], ARGV[6], ARGV[7])
  for _, seq in ipairs(redis.call('HKEYS', KEYS[3])) do
    if seq ~= '0' and seq ~= ARGV[6] then
      redis.call('HDEL', KEYS[3], seq)
    end
  end
end
return 0
