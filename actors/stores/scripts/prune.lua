-- Deletes all that is stored of a session, and its rows in the indexes of the history; what was counted of them stays.
-- KEYS: session hash, list of its threads, hash of the sizes of its large values, index of open threads, timers, set of
--       sessions with named snapshots, indexes of sessions: by activity, by creation, by creation of its user; history
--       of its user
-- ARGV: session id, '1' to delete it whatever it does, Unix seconds before which it must have been active last or ''
-- Returns 1, or 0 if it was active since, or {thread id, status} of a thread that is not at rest.
local session = ARGV[1]
local prefix = KEYS[1]
local paths = redis.call('LRANGE', KEYS[2], 0, -1)
if ARGV[3] ~= '' and (tonumber(redis.call('ZSCORE', KEYS[7], session)) or 0) >= tonumber(ARGV[3]) then
  return 0
end
local roots = {session .. ':0'}
for _, path in ipairs(paths) do
  if path ~= '0' and not string.find(string.match(path, '[^~]*$'), '.', 1, true) then
    roots[#roots + 1] = session .. ':' .. path
  end
end
local work = session .. ':'
if ARGV[2] ~= '1' then
  if redis.call('HEXISTS', KEYS[4], work) == 1 then
    return {roots[1], 'running'}
  end
  if redis.call('HGET', KEYS[1], 'state') == 'paused' then
    return {roots[1], 'paused'}
  end
  for _, root in ipairs(roots) do
    if redis.call('HEXISTS', KEYS[4], root) == 1 then
      return {root, 'running'}
    end
    local cursor = redis.call('HGET', prefix .. ':t:' .. string.sub(root, #session + 2), 'cursor')
    local readable, position = pcall(cmsgpack.unpack, cursor and string.sub(cursor, 5) or '')
    if readable and type(position) == 'table' and (position.status == 'paused' or position.status == 'running') then
      return {root, position.status}
    end
  end
end
redis.call('HDEL', KEYS[4], work)
for _, root in ipairs(roots) do
  redis.call('HDEL', KEYS[4], root)
  redis.call('ZREM', KEYS[5], root)
end
for _, path in ipairs(paths) do
  redis.call('UNLINK', prefix .. ':t:' .. path, prefix .. ':j:' .. path, prefix .. ':s:' .. path, prefix .. ':l:' .. path)
end
for _, digest in ipairs(redis.call('HKEYS', KEYS[3])) do
  redis.call('UNLINK', prefix .. ':v:' .. digest)
end
for _, row in ipairs(redis.call('LRANGE', prefix .. ':h', 0, -1)) do
  local id, series = string.match(row, '^(%d+) (%d+)')
  redis.call('XDEL', 'gr:history:s:' .. series, id .. '-0')
  redis.call('ZREMRANGEBYSCORE', KEYS[10], id, id)
end
redis.call('UNLINK', prefix .. ':h', KEYS[1], KEYS[2], KEYS[3], prefix .. ':interactions', prefix .. ':turns', prefix .. ':inputs',
  prefix .. ':snapshots')
redis.call('SREM', KEYS[6], session)
for i = 7, 9 do
  redis.call('ZREM', KEYS[i], session)
end
return 1
