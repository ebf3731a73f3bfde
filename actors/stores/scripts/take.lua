-- Takes a request and some tokens from a model's buckets, or says after how long to ask again.
-- A bucket holds what may be used in a minute, and fills evenly. Whoever has to wait has a place in a queue, by rank and
-- then by arrival, and loses it when it does not ask again in time.
-- KEYS: hash of the buckets, sorted set of tickets by place, sorted set of tickets by the time they lose it
-- ARGV: ticket, rank, requests a minute (empty: any number), tokens a minute (likewise), tokens, most tickets that wait,
--       milliseconds a place is kept beyond the time to ask again
-- Returns milliseconds to wait; 0 if it has taken, -1 if too many wait already.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ticket, rank = ARGV[1], tonumber(ARGV[2])
local known = redis.call('HMGET', KEYS[1], 'at', 'requests', 'tokens')
local passed = now - (tonumber(known[1]) or now)

local need_ms, turn_ms, levels = 0, 0, {}
local function look(field, kept, rate, wanted)
  rate = tonumber(rate)
  if rate then
    local level = math.min(rate, (known[1] and tonumber(kept) or rate) + rate * passed / 60000)
    wanted = math.min(wanted, rate)
    need_ms = math.max(need_ms, (wanted - level) * 60000 / rate)
    turn_ms = math.max(turn_ms, wanted * 60000 / rate)
    levels[field] = {level = level, wanted = wanted}
  end
end
look('requests', known[2], ARGV[3], 1)
look('tokens', known[3], ARGV[4], tonumber(ARGV[5]))

local function keep(taken)
  redis.call('HSET', KEYS[1], 'at', now)
  for field, found in pairs(levels) do
    redis.call('HSET', KEYS[1], field, string.format('%.6f', found.level - (taken and found.wanted or 0)))
  end
  for _, key in ipairs(KEYS) do
    redis.call('PEXPIRE', key, 600000)
  end
end

for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now)) do
  redis.call('ZREM', KEYS[2], gone)
  redis.call('ZREM', KEYS[3], gone)
end
local place = tonumber(redis.call('ZSCORE', KEYS[2], ticket) or nil)
local queued = place ~= nil
if not queued then
  place = (tonumber(redis.call('HGET', KEYS[1], 'arrivals')) or 0) + 1 - rank * 2 ^ 40
end
local ahead = redis.call('ZCOUNT', KEYS[2], '-inf', '(' .. string.format('%.0f', place))

if ahead == 0 and need_ms <= 0 then
  redis.call('ZREM', KEYS[2], ticket)
  redis.call('ZREM', KEYS[3], ticket)
  keep(true)
  return 0
end
if not queued and redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[6]) then
  return -1
end
if not queued then
  redis.call('HINCRBY', KEYS[1], 'arrivals', 1)
  redis.call('ZADD', KEYS[2], string.format('%.0f', place), ticket)
end
-- Those behind others look again before their time: somebody ahead may have given up.
local wait_ms = need_ms
if ahead > 0 then
  wait_ms = (math.max(0, need_ms) + ahead * turn_ms) / 2
end
wait_ms = math.ceil(math.min(5000, math.max(10, wait_ms)))
redis.call('ZADD', KEYS[3], now + wait_ms + tonumber(ARGV[7]), ticket)
keep(false)
return wait_ms
