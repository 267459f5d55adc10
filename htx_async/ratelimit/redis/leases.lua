-- One trade with the shared tokens of an endpoint; see leases.py for why it keeps the law.
-- Times are whole microseconds: of this server's clock inside, from now on outside.
--
-- KEYS: out     tokens with a request: until when they are leased
--       rest    tokens on their way back: when they are free
--       want    who waits: "how many:until when that is believed:since when"
--       state   what else is known of the endpoint
-- ARGV: see Ask.arguments()
-- Returns how many tokens are granted, how many are left, the number of the last grant, when to
-- ask again (-1: no need), when refusals end, and since when all grants are known here.

local OUT, REST, WANT, STATE = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local owner, limit, per = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local lease, longest = tonumber(ARGV[4]), tonumber(ARGV[5])
local wanted, first = tonumber(ARGV[6]), tonumber(ARGV[7])
local known, since = tonumber(ARGV[8]), tonumber(ARGV[9])
local server, started, now = ARGV[10], tonumber(ARGV[11]), tonumber(ARGV[12])
local NOTES, GRACE = 13, 500000

if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function text(number)
  return string.format('%.0f', number)
end

-- What was granted before `origin` may be unknown here: the server is young, or another one.
local state = redis.call('HMGET', STATE, 'server', 'origin', 'closed', 'granted', 'longest')
local origin, closed = tonumber(state[2] or now), tonumber(state[3] or 0)
local granted = tonumber(state[4] or 0)
longest = math.max(longest, tonumber(state[5] or 0))
if not state[1] then
  origin = now - started < longest and started or now
  closed = started + longest
elseif state[1] ~= server then
  origin, closed = now, math.max(closed, now + longest)
end
if known ~= origin and since >= 0 and since < longest then
  closed = math.max(closed, origin + longest)
end

redis.call('ZREMRANGEBYSCORE', OUT, '-inf', text(now))
redis.call('ZREMRANGEBYSCORE', REST, '-inf', text(now))

local function free()
  return math.max(limit - redis.call('ZCARD', OUT) - redis.call('ZCARD', REST), 0)
end

local function rest(token, at)
  if at > now then redis.call('ZADD', REST, text(at), token) end
end

-- Whether there may be tokens for others that they do not expect.
local news = false
local tell = {
  settled = function(token, age)
    redis.call('ZREM', OUT, token)
    rest(token, now - age + per)
  end,
  unused = function(token)
    redis.call('ZREM', OUT, token)
    news = true
  end,
  kept = function(token, left)
    redis.call('ZADD', OUT, text(now + left), token)
  end,
  closed = function(_, left)
    closed = math.max(closed, now + left)
  end,
  spent = function(number, left)
    for index = 1, math.min(tonumber(number) - granted, free()) do
      rest(':' .. text(now) .. ':' .. index, now + left)
    end
  end,
}
for index = NOTES, #ARGV, 3 do
  tell[ARGV[index]](ARGV[index + 1], tonumber(ARGV[index + 2]))
end

-- Who else waits. An entry that is not renewed in time is of a process that is gone.
local others, waits_since = {}, now
local demands = redis.call('HGETALL', WANT)
local sharers = 1
for index = 1, #demands, 2 do
  local count, expires, from = string.match(demands[index + 1], '(%d+):(%d+):(%d+)')
  if demands[index] == owner then
    waits_since = tonumber(from)
  elseif tonumber(expires) <= now then
    redis.call('HDEL', WANT, demands[index])
  else
    others[demands[index]] = {
      count = tonumber(count), expires = tonumber(expires), from = tonumber(from), held = 0,
    }
    sharers = sharers + 1
  end
end
local share, mine = math.max(math.floor(limit / sharers), 1), 0

local function held(token, change)
  local who = string.match(token, '^(.*):')
  if who == owner then
    mine = mine + change
  elseif others[who] then
    others[who].held = others[who].held + change
  end
end

-- Tokens that are kept for others: of those below their share, while we are below ours only for
-- who has waited for longer.
local function kept()
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
  for _, key in ipairs({OUT, REST}) do
    for _, token in ipairs(redis.call('ZRANGE', key, 0, -1)) do held(token, 1) end
  end
end
if now >= closed then
  while grants < wanted and left > (sharers > 1 and kept() or 0) do
    grants, left, mine = grants + 1, left - 1, mine + 1
    redis.call('ZADD', OUT, text(now + lease), owner .. ':' .. text(first + grants - 1))
  end
end
granted = granted + grants

-- A token that is out cannot be free before `per` has passed since it was granted: so nobody who
-- waits misses one by coming again a little earlier than `per` from now.
local function due()
  local later, spare, at = now + math.floor(per * 0.9), left, nil
  if spare > kept() then return closed end
  local first = redis.call('ZRANGE', OUT, 0, 0, 'WITHSCORES')
  if first[2] then at = math.min(later, tonumber(first[2])) end
  local resting = redis.call('ZRANGE', REST, 0, -1, 'WITHSCORES')
  for index = 1, #resting, 2 do
    spare = spare + 1
    held(resting[index], -1)
    if spare > kept() then
      at = math.min(at or math.huge, tonumber(resting[index + 1]))
      break
    end
  end
  return math.max(at or later, closed)
end

local ask_at = -1
if wanted > grants then
  ask_at = due()
  if grants > 0 then waits_since = now end
  local demand = text(wanted - grants) .. ':' .. text(ask_at + GRACE) .. ':' .. text(waits_since)
  redis.call('HSET', WANT, owner, demand)
else
  news = redis.call('HDEL', WANT, owner) > 0 and wanted == 0 or news
end

if news and left > 0 and now >= closed then
  for who, other in pairs(others) do
    if other.expires - GRACE > now then
      local bell = STATE .. ':' .. who
      redis.call('DEL', bell)
      redis.call('RPUSH', bell, '1')
      redis.call('PEXPIRE', bell, 2000)
    end
  end
end

redis.call('HSET', STATE, 'server', server, 'origin', text(origin), 'closed', text(closed),
  'granted', text(granted), 'longest', text(longest))
local keep = math.ceil((math.max(longest, closed - now, ask_at - now) + per) / 1000)
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, keep) end
return {grants, left, granted, ask_at < 0 and -1 or ask_at - now, math.max(closed - now, 0), origin}
