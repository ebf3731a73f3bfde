-- Takes the next epoch of a thread, which is recorded first if it is not there and is given.
-- KEYS: record hash, list of the session's threads
-- ARGV: host, host known to be dead or '', and for a thread to record: sealed thread, path, sealed cursor, updated_at
-- Returns 1, thread, seq, epoch, host, cursor and updated_at, with 0 in front if the turn of the thread is running on
-- another host that is not known to be dead: then nothing has changed. Returns nil if there is no such thread.
if redis.call('EXISTS', KEYS[1]) == 0 then
  if not ARGV[3] then
    return false
  end
  redis.call('HSET', KEYS[1], 'thread', ARGV[3], 'cursor', ARGV[5], 'updated_at', ARGV[6], 'seq', 0, 'epoch', 0)
  redis.call('RPUSH', KEYS[2], ARGV[4])
end
local taken = 1
local head = redis.call('HMGET', KEYS[1], 'host', 'cursor')
if head[1] and head[1] ~= '' and head[1] ~= ARGV[1] and head[1] ~= ARGV[2] then
  -- Behind the checksum stands msgpack. What cannot be read is told by whoever reads it next.
  local readable, cursor = pcall(cmsgpack.unpack, string.sub(head[2], 5))
  if readable and cursor.status == 'running' then
    taken = 0
  end
end
if taken == 1 then
  redis.call('HINCRBY', KEYS[1], 'epoch', 1)
  redis.call('HSET', KEYS[1], 'host', ARGV[1])
end
return {taken, unpack(redis.call('HMGET', KEYS[1], 'thread', 'seq', 'epoch', 'host', 'cursor', 'updated_at'))}
