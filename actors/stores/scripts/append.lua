-- Appends entries to a thread's journal and updates its record, the indexes if it begins or ends a turn, and the
-- history if a call was made or a turn has ended.
-- KEYS: record hash, journal stream, and if the indexes change: index of open threads, timers, list of the session's
--       interactions, their inputs, index of sessions by activity, session hash
-- ARGV: epoch, first seq, op id, updated_at, sealed cursor, rows of the history or '', sealed entries..., and if the
--       indexes change: `open`, `look`, `pause`, `halt` or `close`, id of the root thread, session id, time to go on at or
--       '', number of the turn that is over if there may be a next one or '', number of the turn whose input the entries
--       hold or ''
-- Returns {entries since the newest snapshot, their bytes, bytes of the snapshot} when the entries are in the journal, and
-- 1 behind them if they end a turn and the next one waits; else {'unknown'}, {'fenced', epoch}, {'conflict', seq}, or
-- {'changed', state} if the state of the session forbids it.
--
-- The first entry of an append is stored under the field `epoch:op id`, the others under `e`: so a repeated append is
-- recognised however many others followed it.
local head = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'kept', 'kept_bytes', 'tail_bytes')
if not head[1] then
  return {'unknown'}
end
local first = tonumber(ARGV[2])
local kept, kept_bytes, tail_bytes = tonumber(head[3]) or 0, tonumber(head[4]) or 0, tonumber(head[5]) or 0
local field = ARGV[1] .. ':' .. ARGV[3]
local last = KEYS[3] and #ARGV - 6 or #ARGV
local change = KEYS[3] and ARGV[last + 1]
local state = KEYS[3] and redis.call('HGET', KEYS[8], 'state') or 'active'
local waits
if change == 'close' and ARGV[last + 5] ~= '' and state ~= 'paused' and redis.call('LLEN', KEYS[5]) > tonumber(ARGV[last + 5]) then
  waits = 1
end
if head[1] ~= ARGV[1] or tonumber(head[2]) + 1 ~= first then
  local there = redis.call('XRANGE', KEYS[2], ARGV[2] .. '-0', ARGV[2] .. '-0')
  if there[1] and there[1][2][1] == field then
    return {tonumber(head[2]) - kept, tail_bytes, kept_bytes, waits}
  end
  if head[1] ~= ARGV[1] then
    redis.call('HINCRBY', KEYS[1], 'fenced', 1)
    return {'fenced', tonumber(head[1])}
  end
  return {'conflict', tonumber(head[2])}
end
local halted = state == 'paused' or state == 'aborted'
if (change == 'open' and halted) or (change == 'halt' and state ~= 'paused') then
  return {'changed', state}
end
local before = 7 - first
for i = 7, last do
  redis.call('XADD', KEYS[2], string.format('%d-0', i - before), field, ARGV[i])
  field = 'e'
  tail_bytes = tail_bytes + #ARGV[i]
end
local seq = last - before
redis.call('HSET', KEYS[1], 'seq', seq, 'cursor', ARGV[5], 'updated_at', ARGV[4], 'tail_bytes', tail_bytes)
if KEYS[3] then
  local thread, session, due, _, begun = unpack(ARGV, last + 2)
  local host = redis.call('HGET', KEYS[1], 'host')
  if change == 'look' then
    if not halted then
      redis.call('HSETNX', KEYS[3], thread, host)
    end
  elseif change == 'open' or waits then
    redis.call('HSET', KEYS[3], thread, host)
  else
    redis.call('HDEL', KEYS[3], thread)
  end
  if begun ~= '' then
    redis.call('HDEL', KEYS[6], begun)
  end
  if due ~= '' and not halted then
    redis.call('ZADD', KEYS[4], due, thread)
  elseif change ~= 'look' then
    redis.call('ZREM', KEYS[4], thread)
  end
  redis.call('ZADD', KEYS[7], 'GT', ARGV[4], session)
end
-- The history. A row belongs to one series: what it has in common with others, numbered in `gr:history:series`. It is
-- in the index of its series, of its session, and of its user, and is counted in the buckets of its day and hour. Its
-- id is the time in microseconds, or the next one that is free, so rows are in one order everywhere.
-- Rows: {session id, path of the thread, {{kind, node, model, seq, index, microseconds, {counter, number, ...}}, ...}}
if ARGV[6] ~= '' then
  local session, path, rows = unpack(cmsgpack.unpack(ARGV[6]))
  local home = 'gr:{' .. session .. '}'
  local stored = {redis.call('HGET', KEYS[1], 'thread'), redis.call('HGET', home, 'session')}
  -- Behind the checksum stands msgpack. What cannot be read is told by whoever reads it next.
  local readable, thread = pcall(cmsgpack.unpack, string.sub(stored[1], 5))
  thread = readable and type(thread) == 'table' and thread or {workflow = ''}
  local known, owner = pcall(cmsgpack.unpack, stored[2] and string.sub(stored[2], 5) or '')
  local user = known and type(owner) == 'table' and owner.user_id or ''
  local workflow, version = string.match(thread.workflow, '^([^@]*)@?([^+#]*)')
  local part = thread.thread_type == 'parallel' and (thread.base or string.find(thread.workflow, '#', 1, true))
  local id = tonumber(redis.call('GET', 'gr:history:last') or 0)
  for _, row in ipairs(rows) do
    local kind, node, model, at, index, us, counts = unpack(row)
    if not (part and kind == 'x') then
      id = math.max(id + 1, us)
      local label = table.concat({workflow, version, node, model, kind}, '\0')
      local series = redis.call('HGET', 'gr:history:series', label)
      if not series then
        series = tostring(redis.call('HLEN', 'gr:history:series') + 1)
        redis.call('HSET', 'gr:history:series', label, series)
      end
      local score = string.format('%.0f', id)
      local place = path .. ' ' .. at .. ' ' .. index
      redis.call('XADD', 'gr:history:s:' .. series, score .. '-0', 'r', session .. ':' .. place)
      redis.call('RPUSH', home .. ':h', score .. ' ' .. series .. ' ' .. place)
      if user ~= '' then
        redis.call('ZADD', 'gr:history:u:' .. user, score, series .. ' ' .. session .. ':' .. place)
      end
      local day, hour = math.floor(id / 86400e6), math.floor(id / 3600e6)
      local of_day = 'gr:history:day:' .. day .. ':' .. workflow
      local of_hour = 'gr:history:hour:' .. hour .. ':' .. workflow
      local of_users = 'gr:history:users:' .. day .. ':' .. workflow
      for i = 1, #counts, 2 do
        local counter, number = counts[i], counts[i + 1]
        local total = redis.call('HINCRBY', of_day, series .. ' ' .. counter, number)
        redis.call('HINCRBY', of_hour, series .. ' ' .. counter, number)
        redis.call('HINCRBY', of_users, kind .. counter .. ' ' .. user, number)
        if counter == 'n' and total == 1 then
          redis.call('ZADD', 'gr:history:days:' .. workflow, day, day)
        end
        if kind == 'm' then
          redis.call('HINCRBY', home, 'used:' .. counter, number)
        end
      end
    end
  end
  redis.call('SET', 'gr:history:last', string.format('%.0f', id))
end
return {seq - kept, tail_bytes, kept_bytes, waits}
