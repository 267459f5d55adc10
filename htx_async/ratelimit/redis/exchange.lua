-- One exchange between a worker and the bucket that all workers of an endpoint share.
-- exchange.py states the rules and the proof. All times are whole microseconds.
--
-- KEYS: the bucket; the record that this server has lost no bucket for the length of a lease.
-- ARGV: a `Request`. Returns a `Reply`, or nil if the worker has sent a later request.

local NOTICE, GAP, RECHECK, EXPIRY = 50000, 4000, 1000000, 86400000
local request = cmsgpack.unpack(ARGV[1])
local worker, sequence, limit, per, lease, generation, expected, slack, resync, poll_tolerance, want,
  used, unused, held, block, counted, counted_for = unpack(request)

local time = redis.call('TIME')
local server_time = time[1] * 1000000 + time[2]

local function info(section, name)
  return string.match(redis.call('INFO', section), name .. ':(%w+)')
end

-- State: a bucket that this server does not know may have been lost, with leases in use.

local server = info('server', 'run_id')
local packed = redis.call('GET', KEYS[1])
local state = packed and cmsgpack.unpack(packed)

if not state or state.server ~= server then
  state = {
    server = server, generation = worker .. ':' .. sequence, record = '', created = server_time,
    latest = server_time, regained = 0, offset = 0, blocked = 0, issued = 0, turn = 0,
    returning = {}, workers = {},
  }
  local trusted = server .. ' ' .. info('stats', 'evicted_keys')
  local record = redis.call('GET', KEYS[2]) or ''
  if packed or generation ~= '' or record ~= trusted then
    if packed or generation ~= '' or string.sub(record, 1, #trusted + 1) ~= trusted .. ' ' then
      record = trusted .. ' ' .. state.generation
      redis.call('SET', KEYS[2], record)
    end
    state.record, state.blocked = record, state.created + lease
  end
elseif generation ~= '' and generation ~= state.generation then
  state.blocked = math.max(state.blocked, state.created + lease)
end

local mine = state.workers[worker]
if mine and sequence < mine.sequence then return nil end
local is_repeated = mine and sequence == mine.sequence
mine = mine or {turn = 0, quota = 0, waiting = 0, leased = {}}
mine.sequence, state.workers[worker] = sequence, mine

-- Clock: that of the bucket is behind that of the server by `offset`. It is never set back, and is
-- not ahead of what monotonic clocks say: in doubt, the time since the last request does not count.

local is_known = expected >= 0 and generation == state.generation
local now, latest = server_time + state.regained, state.latest
local least = math.max(latest, is_known and expected or 0)
if now < least then  -- the server's clock was set back
  state.offset = state.offset + math.min(least - now, least - latest)
  state.regained, now = state.regained + least - now, least
end
if now - (is_known and expected or latest) > slack then
  if is_known and not resync then
    return cmsgpack.pack({state.generation, now, false, {}, {}, 0, state.issued, GAP, 0, 0})
  end
  state.offset = state.offset + now - latest
end
state.latest = now
local clock = now - state.offset

-- Reports

for _, name in ipairs(unused) do mine.leased[name] = nil end
for _, report in ipairs(used) do
  local name, age = report[1], report[2]
  if mine.leased[name] then
    mine.leased[name] = nil
    table.insert(state.returning, clock - age + per)
  end
end
for _, report in ipairs(held) do mine.leased[report[1]] = clock + report[2] end
if block > 0 then state.blocked = math.max(state.blocked, clock + block) end

local leased, leased_before, free, elsewhere, poll = {}, {}, 0, 0, GAP

-- Free tokens, and workers that wait

local returning, others_leased, sharers = {}, false, 1
for _, at in ipairs(state.returning) do
  if at > clock then table.insert(returning, at) end
end
free, state.returning = limit - #returning, returning
for id, other in pairs(state.workers) do
  for name, at in pairs(other.leased) do
    if at > clock then
      free, others_leased = free - 1, others_leased or id ~= worker
    else
      other.leased[name] = nil
    end
  end
  if id ~= worker then
    if other.poll < clock then other.waiting = 0 end
    if other.waiting > 0 then sharers = sharers + 1 end
    if other.seen + lease < clock and not next(other.leased) then state.workers[id] = nil end
  end
end
free, elsewhere = math.max(free, 0), math.max(counted - state.issued, 0)
for _ = 1, math.min(elsewhere, free) do
  table.insert(returning, clock + counted_for)
  free = free - 1
end

-- Leases: workers take turns. In its turn, a worker gets its share of the tokens.

local share, ahead, left = math.ceil(limit / sharers), 0, 0
local function end_turn()
  state.turn = state.turn + 1
  mine.turn, mine.quota = state.turn, share
end
if mine.waiting == 0 then end_turn() end
for id, other in pairs(state.workers) do
  if id ~= worker and other.turn < mine.turn then
    ahead = ahead + math.min(other.waiting, other.quota)
  end
end
local most = 0
if clock >= state.blocked and not is_repeated then most = math.min(mine.quota, free - ahead) end
for _, name in ipairs(want) do
  if mine.leased[name] then
    table.insert(leased_before, name)
  elseif #leased < most then
    mine.leased[name] = clock + lease
    table.insert(leased, name)
  else
    left = left + 1
  end
end
free, state.issued = free - #leased, state.issued + #leased
if #leased > 0 then
  mine.quota = mine.quota - #leased
  if mine.quota == 0 then end_turn() end
  if state.record ~= '' then  -- leases from before the record was made are over
    if redis.call('GET', KEYS[2]) == state.record then
      redis.call('SET', KEYS[2], string.match(state.record, '^%S+ %S+'))
    end
    state.record = ''
  end
end
mine.waiting = left

-- Next poll of a worker that waits: it detects within NOTICE that a token returned unused, or that
-- a worker that comes first did not take it; and within RECHECK that the bucket was lost again.

if clock < state.blocked then
  poll = math.min(state.blocked - clock, RECHECK)
elseif free <= ahead then
  table.sort(returning)
  poll = (returning[ahead + 1 - free] or clock + per) - clock
  if others_leased or free > 0 then poll = math.min(poll, NOTICE) end
end
poll = math.max(poll, GAP)
mine.poll, mine.seen = clock + poll + poll_tolerance, clock

redis.call('SET', KEYS[1], cmsgpack.pack(state), 'PX', EXPIRY)
return cmsgpack.pack({
  state.generation, now, true, leased, leased_before, free, state.issued, poll,
  math.max(state.blocked - clock, 0), elsewhere,
})
