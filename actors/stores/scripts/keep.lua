-- Keeps a snapshot as the newest of a thread; that at seq 0 stays beside it.
-- KEYS: record hash, snapshots hash
-- ARGV: seq, sealed snapshot
-- Returns 0 when it is kept, or a newer one is there; {'conflict', seq} if the journal has not got so far, {'unknown'}.
local head = redis.call('HMGET', KEYS[1], 'seq', 'kept')
if not head[1] then
  return {'unknown'}
end
local seq = tonumber(ARGV[1])
if seq > tonumber(head[1]) then
  return {'conflict', tonumber(head[1])}
end
if seq <= (tonumber(head[2]) or 0) then
  return 0
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
for _, field in ipairs(redis.call('HKEYS', KEYS[2])) do
  if field ~= '0' and field ~= ARGV[1] then
    redis.call('HDEL', KEYS[2], field)
  end
end
-- Entries that have come meanwhile count again with the next ones; as a number of entries they count already.
redis.call('HSET', KEYS[1], 'kept', ARGV[1], 'kept_bytes', #ARGV[2], 'tail_bytes', 0)
return 0
