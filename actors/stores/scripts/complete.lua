-- Completes a session, unless a turn of its main thread runs, is paused or waits.
-- KEYS: session hash, list of its interactions, record hash of its main thread
-- ARGV: sealed session as it was read, sealed session once it is completed
-- Returns `completed` when it is, `busy`, or `changed` if the session is not what was read any more.
local session = redis.call('HGET', KEYS[1], 'session')
if session == ARGV[2] then
  return 'completed'
end
if session ~= ARGV[1] then
  return 'changed'
end
-- A cursor that cannot be read may be that of a turn which is not over.
local cursor = redis.call('HGET', KEYS[3], 'cursor')
local readable, position = pcall(cmsgpack.unpack, cursor and string.sub(cursor, 5) or '')
local turn, status = 0, ''
if readable and type(position) == 'table' then
  turn, status = position.turn or 0, position.status
end
if redis.call('LLEN', KEYS[2]) > turn or status == 'running' or status == 'paused' then
  return 'busy'
end
redis.call('HSET', KEYS[1], 'session', ARGV[2], 'state', 'completed')
return 'completed'
