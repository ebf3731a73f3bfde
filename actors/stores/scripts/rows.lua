-- Reads rows of a session's history.
-- KEYS: list of the session's rows, in the order of their ids
-- ARGV: least id, greatest id, '1' for the greatest first, most rows
-- Returns them.
local function at(index)
  return tonumber(string.match(redis.call('LINDEX', KEYS[1], index), '^%d+'))
end
local function first_above(id)
  local low, high = 0, redis.call('LLEN', KEYS[1])
  while low < high do
    local middle = math.floor((low + high) / 2)
    if at(middle) > id then high = middle else low = middle + 1 end
  end
  return low
end
local begin, stop = first_above(tonumber(ARGV[1]) - 1), first_above(tonumber(ARGV[2])) - 1
local most = tonumber(ARGV[4])
if begin > stop then
  return {}
end
if ARGV[3] == '1' then
  begin = math.max(begin, stop - most + 1)
else
  stop = math.min(stop, begin + most - 1)
end
local rows = redis.call('LRANGE', KEYS[1], begin, stop)
if ARGV[3] == '1' then
  for i = 1, math.floor(#rows / 2) do
    rows[i], rows[#rows + 1 - i] = rows[#rows + 1 - i], rows[i]
  end
end
return rows
