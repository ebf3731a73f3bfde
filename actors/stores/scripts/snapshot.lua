-- Finds the newest snapshot of a thread with seq <= at.
-- KEYS: snapshots hash
-- ARGV: at, or '' for the newest
-- Returns {seq, sealed snapshot}, or nil if there is none.
local at = tonumber(ARGV[1])
local newest
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  local seq = tonumber(field)
  if (not at or seq <= at) and (not newest or seq > newest) then
    newest = seq
  end
end
if not newest then
  return false
end
return {newest, redis.call('HGET', KEYS[1], string.format('%d', newest))}
