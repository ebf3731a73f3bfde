-- Records an interaction, and its session if that is new.
-- KEYS: session hash, list of its interactions, hash of their numbers, hash of their inputs, record hash of its main
--       thread, index of open threads, indexes of sessions: by activity, by creation, by creation of its user
-- ARGV: sealed session, interaction id, sealed interaction, sealed input, session id, main thread id, host, Unix seconds,
--       the same when the session was created
-- Returns {number of the turn the interaction starts}: the same for the same id; {0, state} if the session has ended.
if redis.call('HSETNX', KEYS[1], 'session', ARGV[1]) == 1 then
  redis.call('ZADD', KEYS[8], ARGV[9], ARGV[5])
  redis.call('ZADD', KEYS[9], ARGV[9], ARGV[5])
end
local turn = redis.call('HGET', KEYS[3], ARGV[2])
if turn then
  return {tonumber(turn)}
end
local state = redis.call('HGET', KEYS[1], 'state')
if state == 'completed' or state == 'aborted' then
  return {0, state}
end
turn = redis.call('RPUSH', KEYS[2], ARGV[3])
redis.call('HSET', KEYS[3], ARGV[2], turn)
redis.call('HSET', KEYS[4], turn, ARGV[4])
redis.call('ZADD', KEYS[7], 'GT', ARGV[8], ARGV[5])
-- The turn after a paused one waits for that, and those of a paused session for that; nobody has to work on them.
local cursor = redis.call('HGET', KEYS[5], 'cursor')
local readable, position = pcall(cmsgpack.unpack, cursor and string.sub(cursor, 5) or '')
if state ~= 'paused' and not (readable and type(position) == 'table' and position.status == 'paused') then
  redis.call('HSETNX', KEYS[6], ARGV[6], ARGV[7])
end
return {turn}
