-- Pauses, resumes or aborts a session, and opens what has to go on for that.
-- KEYS: session hash, list of its interactions, list of its threads, index of open threads, timers
-- ARGV: sealed session as it was read, sealed session as it is to be, its state, session id, host that carries it out
-- Returns 1, or 0 if the session is not what was read any more.
local state, session, host = ARGV[3], ARGV[4], ARGV[5]
local known = redis.call('HGET', KEYS[1], 'session')
if known ~= ARGV[1] and known ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], 'session', ARGV[2])
if state == 'active' then
  redis.call('HDEL', KEYS[1], 'state')
else
  redis.call('HSET', KEYS[1], 'state', state)
end
redis.call('HSET', KEYS[4], session .. ':', host)
local paths = redis.call('LRANGE', KEYS[3], 0, -1)
table.insert(paths, 1, '0')
for number, path in ipairs(paths) do
  if number == 1 or (path ~= '0' and not string.find(string.match(path, '[^~]*$'), '.', 1, true)) then
    local root = session .. ':' .. path
    local cursor = redis.call('HGET', KEYS[1] .. ':t:' .. path, 'cursor')
    local readable, position = pcall(cmsgpack.unpack, cursor and string.sub(cursor, 5) or '')
    local turn, status, pause = 0, '', {}
    if readable and type(position) == 'table' then
      turn, status, pause = position.turn or 0, position.status or '', position.pause or {}
    end
    local waits = path == '0' and redis.call('LLEN', KEYS[2]) > turn
    if state == 'paused' then
      if status ~= 'running' then
        redis.call('HDEL', KEYS[4], root)
      end
      redis.call('ZREM', KEYS[5], root)
    elseif state == 'aborted' then
      if waits then
        redis.call('HSETNX', KEYS[4], root, host)
      end
    elseif status == 'paused' then
      -- Those below it may have been answered meanwhile.
      if pause.kind == 'session' or pause.kind == 'branches' then
        redis.call('HSETNX', KEYS[4], root, host)
      end
      if pause['until'] then
        redis.call('ZADD', KEYS[5], string.format('%.17g', pause['until']), root)
      end
    elseif waits then
      redis.call('HSETNX', KEYS[4], root, host)
    end
  end
end
return 1
