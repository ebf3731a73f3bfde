-- Takes the next epoch of a thread, which is recorded first if it is not there and is given.
-- KEYS: record hash, list of the session's threads, session hash, and for a root thread the index of open threads
-- ARGV: thread id, host, host known to be dead or '', and for a thread to record: sealed thread, path, sealed cursor,
--       updated_at
-- Returns 1, thread, seq, epoch, host, cursor, updated_at, fenced and the sealed session if that is paused or aborted,
-- with 0 in front if the turn of the thread is running on another host that is not known to be dead: then nothing has
-- changed. Returns nil if there is no such thread.
if redis.call('EXISTS', KEYS[1]) == 0 then
  if not ARGV[4] then
    return false
  end
  redis.call('HSET', KEYS[1], 'thread', ARGV[4], 'cursor', ARGV[6], 'updated_at', ARGV[7], 'seq', 0, 'epoch', 0)
  redis.call('RPUSH', KEYS[2], ARGV[5])
end
local head = redis.call('HMGET', KEYS[1], 'host', 'cursor')
-- Behind the checksum stands msgpack. What cannot be read is told by whoever reads it next.
local readable, cursor = pcall(cmsgpack.unpack, string.sub(head[2], 5))
local running = readable and type(cursor) == 'table' and cursor.status == 'running'
local elsewhere = head[1] and head[1] ~= '' and head[1] ~= ARGV[2] and head[1] ~= ARGV[3]
local taken = 1
if running and elsewhere then
  taken = 0
else
  redis.call('HINCRBY', KEYS[1], 'epoch', 1)
  redis.call('HSET', KEYS[1], 'host', ARGV[2])
  if KEYS[4] and (running or redis.call('HEXISTS', KEYS[4], ARGV[1]) == 1) then
    redis.call('HSET', KEYS[4], ARGV[1], ARGV[2])
  end
end
local answer = redis.call('HMGET', KEYS[1], 'thread', 'seq', 'epoch', 'host', 'cursor', 'updated_at', 'fenced')
local session = redis.call('HMGET', KEYS[3], 'state', 'session')
answer[#answer + 1] = (session[1] == 'paused' or session[1] == 'aborted') and session[2]
return {taken, unpack(answer)}
