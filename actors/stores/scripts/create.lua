-- Records a thread unless it exists.
-- KEYS: record hash, list of the session's threads, snapshots hash
-- ARGV: sealed thread, path, sealed cursor, updated_at, sealed base snapshot or ''
-- Returns 1 if the thread is new.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
redis.call('HSET', KEYS[1],
  'thread', ARGV[1], 'cursor', ARGV[3], 'updated_at', ARGV[4], 'seq', 0, 'epoch', 0, 'host', '')
redis.call('RPUSH', KEYS[2], ARGV[2])
if ARGV[5] ~= '' then
  redis.call('HSET', KEYS[3], '0', ARGV[5])
  redis.call('HSET', KEYS[1], 'kept_bytes', #ARGV[5])
end
return 1
