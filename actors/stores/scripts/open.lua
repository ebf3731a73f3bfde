-- Accepts an interaction, if one is given; activates a thread, if that interaction is the turn that is expected; and
-- appends its first entries, if nobody has had the thread meanwhile: as `accept`, `activate` and `append` do, which stand
-- before this as functions.
-- KEYS: those of the three, in this order
-- ARGV: how many keys and arguments `accept` has (0: there is no interaction), the same of `activate`, number of the turn
--       that is expected, then the arguments of the three
-- Returns what each of them returned, until one has not done what the next one needs. A root thread but the main
-- one is not recorded in a session that is paused or aborted: in place of the second stands then {'changed', state}.
local function part(list, after, count)
  local taken = {}
  for i = 1, count do
    taken[i] = list[after + i]
  end
  return taken
end
local accept_keys, accept_args = tonumber(ARGV[1]), tonumber(ARGV[2])
local activate_keys, activate_args = tonumber(ARGV[3]), tonumber(ARGV[4])
local keys_used, args_used = 0, 5
local accepted = false
if accept_keys > 0 then
  accepted = accept(part(KEYS, keys_used, accept_keys), part(ARGV, args_used, accept_args))
  if accepted[1] ~= tonumber(ARGV[5]) then
    return {accepted}
  end
  keys_used, args_used = accept_keys, args_used + accept_args
end
local record, session, path = KEYS[keys_used + 1], KEYS[keys_used + 3], ARGV[args_used + 5]
if activate_keys == 4 and activate_args > 3 and path ~= '0' and redis.call('EXISTS', record) == 0 then
  local state = redis.call('HGET', session, 'state')
  if state == 'paused' or state == 'aborted' then
    return {accepted, {'changed', state}}
  end
end
local activated = activate(part(KEYS, keys_used, activate_keys), part(ARGV, args_used, activate_args))
if not activated then
  return {accepted, activated}
end
keys_used, args_used = keys_used + activate_keys, args_used + activate_args
local epoch, first = ARGV[args_used + 1], tonumber(ARGV[args_used + 2])
local taken, _, seq, taken_epoch, _, _, _, _, halted = unpack(activated)
if taken == 0 or halted or taken_epoch ~= epoch or tonumber(seq) + 1 ~= first then
  return {accepted, activated}
end
return {
  accepted, activated,
  append(part(KEYS, keys_used, #KEYS - keys_used), part(ARGV, args_used, #ARGV - args_used)),
}
