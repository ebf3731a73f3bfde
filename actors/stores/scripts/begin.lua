-- Records a session unless it exists, and lists it.
-- KEYS: session hash, indexes of sessions: by creation, by creation of its user, by activity
-- ARGV: sealed session, its id, Unix seconds when it was created
-- Returns the sealed session that was there before; nil if it is new.
if redis.call('HSETNX', KEYS[1], 'session', ARGV[1]) == 0 then
  return redis.call('HGET', KEYS[1], 'session')
end
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[2])
redis.call('ZADD', KEYS[3], ARGV[3], ARGV[2])
redis.call('ZADD', KEYS[4], 'NX', ARGV[3], ARGV[2])
return false
