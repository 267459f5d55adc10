-- One exchange about the shared tokens of an endpoint; protocol.py states why it keeps the limit.
-- Times are whole microseconds: absolute times of this server inside, relative to now outside.
--
-- KEYS: leased     tokens in use by a request: end of the lease
--       returning  tokens on their way back: when they become free
--       demand     waiting queues: "number of tokens:expiry of this entry:waiting since"
--       state      other state of the endpoint
-- ARGV: see LeaseRequest.arguments()
-- Returns the number of tokens granted, the number left, the sequence number of the last grant,
-- when to poll again (-1: no need), how long grants stay blocked, and since when all grants are
-- known here.

local LEASED, RETURNING, DEMAND, STATE = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local queue_id, limit, per = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local lease, longest = tonumber(ARGV[4]), tonumber(ARGV[5])
local wanted, first = tonumber(ARGV[6]), tonumber(ARGV[7])
local known_origin, since = tonumber(ARGV[8]), tonumber(ARGV[9])
local server, started, now = ARGV[10], tonumber(ARGV[11]), tonumber(ARGV[12])
local UPDATES, GRACE = 13, 500000

if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function text(number)
  return string.format('%.0f', number)
end

-- Grants before `origin` may be unknown here: the server started recently or took over.
local state = redis.call('HMGET', STATE, 'server', 'origin', 'blocked', 'granted', 'longest')
local origin, blocked = tonumber(state[2] or now), tonumber(state[3] or 0)
local granted = tonumber(state[4] or 0)
longest = math.max(longest, tonumber(state[5] or 0))
if not state[1] then
  origin = now - started < longest and started or now
  blocked = started + longest
elseif state[1] ~= server then
  origin, blocked = now, math.max(blocked, now + longest)
end
if known_origin ~= origin and since >= 0 and since < longest then
  blocked = math.max(blocked, origin + longest)
end

redis.call('ZREMRANGEBYSCORE', LEASED, '-inf', text(now))
redis.call('ZREMRANGEBYSCORE', RETURNING, '-inf', text(now))

local function free()
  return math.max(limit - redis.call('ZCARD', LEASED) - redis.call('ZCARD', RETURNING), 0)
end

local function return_at(token, at)
  if at > now then redis.call('ZADD', RETURNING, text(at), token) end
end

-- Whether other queues may have tokens that they do not expect.
local notify = false
local apply = {
  used = function(token, age)
    redis.call('ZREM', LEASED, token)
    return_at(token, now - age + per)
  end,
  unused = function(token)
    redis.call('ZREM', LEASED, token)
    notify = true
  end,
  held = function(token, left)
    redis.call('ZADD', LEASED, text(now + left), token)
  end,
  blocked = function(_, left)
    blocked = math.max(blocked, now + left)
  end,
  external = function(sequence, left)
    for index = 1, math.min(tonumber(sequence) - granted, free()) do
      return_at(':' .. text(now) .. ':' .. index, now + left)
    end
  end,
}
for index = UPDATES, #ARGV, 3 do
  apply[ARGV[index]](ARGV[index + 1], tonumber(ARGV[index + 2]))
end

-- The other waiting queues. An entry that is not renewed in time belongs to a dead process.
local others, waits_since = {}, now
local demands = redis.call('HGETALL', DEMAND)
local sharers = 1
for index = 1, #demands, 2 do
  local count, expires, from = string.match(demands[index + 1], '(%d+):(%d+):(%d+)')
  if demands[index] == queue_id then
    waits_since = tonumber(from)
  elseif tonumber(expires) <= now then
    redis.call('HDEL', DEMAND, demands[index])
  else
    others[demands[index]] = {
      count = tonumber(count), expires = tonumber(expires), from = tonumber(from), held = 0,
    }
    sharers = sharers + 1
  end
end
local share, mine = math.max(math.floor(limit / sharers), 1), 0

local function count_held(token, change)
  local holder = string.match(token, '^(.*):')
  if holder == queue_id then
    mine = mine + change
  elseif others[holder] then
    others[holder].held = others[holder].held + change
  end
end

-- Tokens reserved for queues below their share; while this queue is below its own share, only for
-- those that have waited longer.
local function reserved()
  local sum = 0
  for _, other in pairs(others) do
    if mine >= share or other.from < waits_since then
      sum = sum + math.max(math.min(other.count, share - other.held), 0)
    end
  end
  return sum
end

local left, grants = free(), 0
if sharers > 1 and wanted > 0 then
  for _, key in ipairs({LEASED, RETURNING}) do
    for _, token in ipairs(redis.call('ZRANGE', key, 0, -1)) do count_held(token, 1) end
  end
end
if now >= blocked then
  while grants < wanted and left > (sharers > 1 and reserved() or 0) do
    grants, left, mine = grants + 1, left - 1, mine + 1
    redis.call('ZADD', LEASED, text(now + lease), queue_id .. ':' .. text(first + grants - 1))
  end
end
granted = granted + grants

-- A leased token cannot become free earlier than `per` after its grant, so a waiting queue misses
-- no token if it polls again a little earlier than `per` from now.
local function next_poll()
  local later, available, at = now + math.floor(per * 0.9), left, nil
  if available > reserved() then return blocked end
  local earliest = redis.call('ZRANGE', LEASED, 0, 0, 'WITHSCORES')
  if earliest[2] then at = math.min(later, tonumber(earliest[2])) end
  local returning = redis.call('ZRANGE', RETURNING, 0, -1, 'WITHSCORES')
  for index = 1, #returning, 2 do
    available = available + 1
    count_held(returning[index], -1)
    if available > reserved() then
      at = math.min(at or math.huge, tonumber(returning[index + 1]))
      break
    end
  end
  return math.max(at or later, blocked)
end

local poll_at = -1
if wanted > grants then
  poll_at = next_poll()
  if grants > 0 then waits_since = now end
  local demand = text(wanted - grants) .. ':' .. text(poll_at + GRACE) .. ':' .. text(waits_since)
  redis.call('HSET', DEMAND, queue_id, demand)
else
  notify = redis.call('HDEL', DEMAND, queue_id) > 0 and wanted == 0 or notify
end

if notify and left > 0 and now >= blocked then
  for id, other in pairs(others) do
    if other.expires - GRACE > now then
      local notification = STATE .. ':' .. id
      redis.call('DEL', notification)
      redis.call('RPUSH', notification, '1')
      redis.call('PEXPIRE', notification, 2000)
    end
  end
end

redis.call('HSET', STATE, 'server', server, 'origin', text(origin), 'blocked', text(blocked),
  'granted', text(granted), 'longest', text(longest))
local ttl = math.ceil((math.max(longest, blocked - now, poll_at - now) + per) / 1000)
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ttl) end
return {
  grants, left, granted, poll_at < 0 and -1 or poll_at - now, math.max(blocked - now, 0), origin,
}
