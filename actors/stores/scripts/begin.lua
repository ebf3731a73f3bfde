-- Records a session unless it exists, and lists it.
-- KEYS: session hash, indexes of sessions: by creation, by creation of its user, by activity; index of workflows
-- ARGV: sealed session, its id, Unix seconds when it was created, field of the index and the build it has to name, or ''
-- Returns {1, the sealed session that was there before, if it is not new}; {0} if the field names another build.
if ARGV[4] ~= '' and redis.call('HGET', KEYS[5], ARGV[4]) ~= ARGV[5] then
  return {0}
end
if redis.call('HSETNX', KEYS[1], 'session', ARGV[1]) == 0 then
  return {1, redis.call('HGET', KEYS[1], 'session')}
end
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[2])
redis.call('ZADD', KEYS[3], ARGV[3], ARGV[2])
redis.call('ZADD', KEYS[4], 'NX', ARGV[3], ARGV[2])
return {1}
