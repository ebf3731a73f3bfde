-- What the state of a session means is carried out, unless it has been changed since.
-- KEYS: session hash, index of open threads
-- ARGV: sealed session, session id
if redis.call('HGET', KEYS[1], 'session') == ARGV[1] then
  redis.call('HDEL', KEYS[2], ARGV[2] .. ':')
end
return 0
