-- Takes the next epoch of a thread, which is recorded first if it is not there and is given.
-- KEYS: record hash, list of the session's threads
-- ARGV: host, and for a thread to record: sealed thread, path, sealed cursor, updated_at
-- Returns thread, seq, epoch, host, cursor and updated_at, or nil if there is no such thread.
if redis.call('EXISTS', KEYS[1]) == 0 then
  if not ARGV[2] then
    return false
  end
  redis.call('HSET', KEYS[1], 'thread', ARGV[2], 'cursor', ARGV[4], 'updated_at', ARGV[5], 'seq', 0, 'epoch', 0)
  redis.call('RPUSH', KEYS[2], ARGV[3])
end
redis.call('HINCRBY', KEYS[1], 'epoch', 1)
redis.call('HSET', KEYS[1], 'host', ARGV[1])
return redis.call('HMGET', KEYS[1], 'thread', 'seq', 'epoch', 'host', 'cursor', 'updated_at')
