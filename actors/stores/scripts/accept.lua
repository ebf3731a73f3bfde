-- Records an interaction, and its session if that is new.
-- KEYS: session hash, list of its interactions, hash of their numbers
-- ARGV: sealed session, interaction id, sealed interaction
-- Returns {number of the turn the interaction starts, the sealed session that is stored}: the same for the same id.
redis.call('HSETNX', KEYS[1], 'session', ARGV[1])
local session = redis.call('HGET', KEYS[1], 'session')
local turn = redis.call('HGET', KEYS[3], ARGV[2])
if turn then
  return {tonumber(turn), session}
end
turn = redis.call('RPUSH', KEYS[2], ARGV[3])
redis.call('HSET', KEYS[3], ARGV[2], turn)
return {turn, session}
