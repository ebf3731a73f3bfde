-- Reads the records of all threads of a session at one instant.
-- KEYS: threads list
-- ARGV: what stands before the path in the key of a record, fields...
-- Returns {{path, values}, ...}, oldest first.
local fields = {}
for i = 2, #ARGV do
  fields[#fields + 1] = ARGV[i]
end
local found = {}
for _, path in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  found[#found + 1] = {path, redis.call('HMGET', ARGV[1] .. path, unpack(fields))}
end
return found
