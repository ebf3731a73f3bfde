-- Takes the oldest rows of a series out of all indexes of the history; what was counted of them stays.
-- KEYS: stream of the series
-- ARGV: number of the series, microseconds before which rows are old, most rows
-- Returns how many there were.
local rows = redis.call('XRANGE', KEYS[1], '-', '(' .. ARGV[2] .. '-0', 'COUNT', ARGV[3])
for _, row in ipairs(rows) do
  local id = string.match(row[1], '^%d+')
  local session, place = string.match(row[2][2], '^(.*):(.-)$')
  local home = 'gr:{' .. session .. '}'
  local stored = redis.call('HGET', home, 'session')
  local known, owner = pcall(cmsgpack.unpack, stored and string.sub(stored, 5) or '')
  redis.call('LREM', home .. ':h', 1, id .. ' ' .. ARGV[1] .. ' ' .. place)
  if known and type(owner) == 'table' and owner.user_id then
    redis.call('ZREMRANGEBYSCORE', 'gr:history:u:' .. owner.user_id, id, id)
  end
  redis.call('XDEL', KEYS[1], row[1])
end
return #rows
