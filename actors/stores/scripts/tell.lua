-- Adds live events to the stream of a thread.
-- KEYS: stream
-- ARGV: name of this call, sealed events, most items of the stream, seconds after which it is gone
-- The name is the field they stand in: so a repeated call, of which the answer was lost, adds nothing.
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if not last or last[2][1] ~= ARGV[1] then
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', ARGV[1], ARGV[2])
  redis.call('EXPIRE', KEYS[1], ARGV[4])
end
return 1
