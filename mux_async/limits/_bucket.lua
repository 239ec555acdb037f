-- What happens all the time to a bucket in Redis: asking, leaving the order, giving back.
--
-- The same arithmetic as `PacedBucket` and `SharedBucket` in Python, in the same order, so that the same times give the same numbers to
-- the last bit; a test compares them on random histories. Whatever is rare (a bucket's first use, other settings than those
-- it was kept with, a rate that recovers, a clock that jumped, a refusal) is not done here: the script answers with all it knows,
-- Python does it, and `write` puts the result back, unless somebody else was in between.
--
-- KEYS: the bucket's numbers (hash), its grants (list, oldest first), its askers (hash: seen, due, since, rank)
-- ARGV: verb, owner, now or '' for the server's clock, rate, burst, slack, leave, rank, grant, memory, remembered, clock slack, lease,
--       membership, shortest grace, longest grace, a moment, milliseconds to keep it all
-- `write`: verb, expected version, next version, numbers (flat), grants, askers (flat), each as a JSON array of strings, milliseconds

local state, grants, askers = KEYS[1], KEYS[2], KEYS[3]
local verb = ARGV[1]
local NEVER = -math.huge

local function number(text)
  return tonumber(text) or NEVER
end

local function text(value)
  if value == NEVER then
    return '-'
  end
  return string.format('%.17g', value)
end

local function keep(milliseconds)
  for _, key in ipairs(KEYS) do
    redis.call('PEXPIRE', key, milliseconds)
  end
end

if verb == 'write' then
  if (redis.call('HGET', state, 'version') or '') ~= ARGV[2] then
    return 0
  end
  local numbers, moments, others = cjson.decode(ARGV[4]), cjson.decode(ARGV[5]), cjson.decode(ARGV[6])
  redis.call('DEL', state, grants, askers)
  redis.call('HSET', state, 'version', ARGV[3], unpack(numbers))
  if #moments > 0 then
    redis.call('RPUSH', grants, unpack(moments))
  end
  for at = 1, #others, 2 do
    redis.call('HSET', askers, others[at], others[at + 1])
  end
  keep(ARGV[7])
  return 1
end

local owner, rate, burst = ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[5])
local leave, rank = tonumber(ARGV[7]), tonumber(ARGV[8])
local memory, remembered, clock_slack = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
local lease, membership = tonumber(ARGV[13]), tonumber(ARGV[14])
local now = tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local found = redis.call('HMGET', state, '_configured', '_burst_ceiling', 'quiet_until', 'now', 'full_at', 'closed_until',
  '_interval', 'burst', '_base', '_spree', '_passed')
local quiet_until = tonumber(found[3])
if verb == 'read' or not found[1] or tonumber(found[1]) ~= rate or tonumber(found[2]) ~= burst
  or (quiet_until and now >= quiet_until) or number(found[4]) > now + clock_slack then
  return { 0, text(now), redis.call('HGETALL', state), redis.call('LRANGE', grants, 0, -1), redis.call('HGETALL', askers) }
end

now = math.max(now, number(found[4]))
local full_at, closed_until, interval = number(found[5]), number(found[6]), tonumber(found[7])
burst = tonumber(found[8])
local base = number(found[9])
local slack = math.min(tonumber(ARGV[6]), 0.5 * (burst - 1) * interval)
local changes = {}

local function change(name, value)
  changes[#changes + 1] = name
  changes[#changes + 1] = text(value)
end

local function forget_oldest(oldest)
  redis.call('LPOP', grants)
  base = math.max(tonumber(oldest), base) + interval
end

local oldest = redis.call('LINDEX', grants, 0)
while oldest and tonumber(oldest) < now - memory do
  forget_oldest(oldest)
  oldest = redis.call('LINDEX', grants, 0)
end

-- The others who wait, and those who were not seen for long.
local grace = math.min(math.max(1 / (1 / interval), tonumber(ARGV[15])), tonumber(ARGV[16]))
local moment = tonumber(ARGV[17])
local waiting, members, since = {}, 0, now
local known = redis.call('HGETALL', askers)
for at = 1, #known, 2 do
  local name = known[at]
  local seen, due, from, class = string.match(known[at + 1], '^(%S+) (%S+) (%S+) (%S+)$')
  seen, due, from, class = number(seen), number(due), number(from), tonumber(class)
  if seen < now - membership then
    redis.call('HDEL', askers, name)
  elseif name == owner then
    if due + lease >= now then
      since = from
    end
  else
    members = members + 1
    if due + grace >= now then
      waiting[#waiting + 1] = { class, from, name, due }
    end
  end
end

local value = 0
if verb == 'ask' then
  local ahead, late = 0, {}
  for _, other in ipairs(waiting) do
    local class, from, name, due = other[1], other[2], other[3], other[4]
    if class < rank or (class == rank and (from < since or (from == since and name < owner))) then
      ahead = ahead + 1
      if due < now then
        late[#late + 1] = due
      end
    end
  end
  local spare, spree = burst - 1, tonumber(found[10])
  local is_surely_full = now >= full_at + slack
  local is_bottom = (is_surely_full and 0 or spree) + ahead > spare
  local kept = math.max(math.min(leave, spare) * interval, is_bottom and slack or 0)
  local ready_at = math.max(now, closed_until, math.max(now, full_at) + (ahead - spare) * interval + kept)
  value = ready_at - now
  if value > 0 then
    change('_is_short', 1)
    for _, due in ipairs(late) do
      value = math.min(value, due + grace - now + moment)
    end
    redis.call('HSET', askers, owner, text(now) .. ' ' .. text(now + value) .. ' ' .. text(since) .. ' ' .. rank)
  else
    value = 0
    if full_at <= now then
      change('_busy_since', now)
    end
    change('_spree', is_surely_full and 1 or spree + 1)
    change('_passed', tonumber(found[11]) + 1)
    redis.call('RPUSH', grants, text(now))
    full_at = math.max(now, full_at) + interval
    redis.call('HSET', askers, owner, text(now) .. ' - - 0')
  end
  members = members + 1
elseif verb == 'release' then
  redis.call('HSET', askers, owner, text(now) .. ' - - 0')
  members = members + 1
elseif verb == 'give_back' then
  if redis.call('LREM', grants, 1, ARGV[9]) == 1 then
    full_at = base
    for _, moment in ipairs(redis.call('LRANGE', grants, 0, -1)) do
      full_at = math.max(tonumber(moment), full_at) + interval
    end
  end
  members = members + redis.call('HEXISTS', askers, owner)
end

while redis.call('LLEN', grants) > remembered do
  forget_oldest(redis.call('LINDEX', grants, 0))
end
change('now', now)
change('full_at', full_at)
change('_base', base)
redis.call('HSET', state, unpack(changes))
redis.call('HINCRBY', state, 'version', 1)
keep(ARGV[18])

local counts = { 0, 0, 0 }
for _, other in ipairs(waiting) do
  counts[other[1] + 1] = counts[other[1] + 1] + 1
end
return { 1, text(value), text(now), counts[1], counts[2], counts[3], members, redis.call('HGETALL', state) }
