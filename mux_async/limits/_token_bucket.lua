-- The frequent commands on a bucket in Redis: acquire, leave, give_back.
--
-- The same arithmetic as `TokenBucket` and `Scheduler` in Python, in the same order, so that the same times give the same numbers to
-- the last bit; a test compares them on random histories. Rare cases (the first use of a bucket, settings that changed, a rate that
-- recovers, a clock that jumped, a 429) are not handled here: the script returns the whole state, Python carries the command out, and
-- `write` stores the result, unless another process wrote in between.
--
-- KEYS: the bucket's numbers (hash), its grants (list, oldest first), its requesters (hash: seen, due, since, rank)
-- ARGV: verb, owner, now or '' for the server's clock, rate, burst, jitter, held back, rank, grant, memory, remembered, clock tolerance,
--       lease, membership, shortest grace, longest grace, grace margin, milliseconds to keep it all
-- `write`: verb, expected version, next version, numbers (flat), grants, requesters (flat), each as a JSON array of strings, milliseconds

local state, grants, requesters = KEYS[1], KEYS[2], KEYS[3]
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
  redis.call('DEL', state, grants, requesters)
  redis.call('HSET', state, 'version', ARGV[3], unpack(numbers))
  if #moments > 0 then
    redis.call('RPUSH', grants, unpack(moments))
  end
  for at = 1, #others, 2 do
    redis.call('HSET', requesters, others[at], others[at + 1])
  end
  keep(ARGV[7])
  return 1
end

local owner, rate, burst = ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[5])
local held_back, rank = tonumber(ARGV[7]), tonumber(ARGV[8])
local memory, remembered, clock_tolerance = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
local lease, membership = tonumber(ARGV[13]), tonumber(ARGV[14])
local now = tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local found = redis.call('HMGET', state, '_configured_rate', '_configured_burst', 'next_change_at', 'now', 'full_at', 'closed_until',
  '_interval', 'burst', '_base_full_at', '_grants_since_full', '_grants_since_decrease')
local next_change_at = tonumber(found[3])
if verb == 'read' or not found[1] or tonumber(found[1]) ~= rate or tonumber(found[2]) ~= burst
  or (next_change_at and now >= next_change_at) or number(found[4]) > now + clock_tolerance then
  return { 0, text(now), redis.call('HGETALL', state), redis.call('LRANGE', grants, 0, -1), redis.call('HGETALL', requesters) }
end

now = math.max(now, number(found[4]))
local full_at, closed_until, interval = number(found[5]), number(found[6]), tonumber(found[7])
burst = tonumber(found[8])
local base = number(found[9])
local jitter = math.min(tonumber(ARGV[6]), 0.5 * (burst - 1) * interval)
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

-- Count the other requesters, and forget those not seen for long.
local grace = math.min(math.max(1 / (1 / interval), tonumber(ARGV[15])), tonumber(ARGV[16]))
local grace_margin = tonumber(ARGV[17])
local waiting, members, since = {}, 0, now
local known = redis.call('HGETALL', requesters)
for at = 1, #known, 2 do
  local name = known[at]
  local seen, due, from, class = string.match(known[at + 1], '^(%S+) (%S+) (%S+) (%S+)$')
  seen, due, from, class = number(seen), number(due), number(from), tonumber(class)
  if seen < now - membership then
    redis.call('HDEL', requesters, name)
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
if verb == 'acquire' then
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
  local spare, grants_since_full = burst - 1, tonumber(found[10])
  local is_surely_full = now >= full_at + jitter
  local is_bottom = (is_surely_full and 0 or grants_since_full) + ahead > spare
  local kept = math.max(math.min(held_back, spare) * interval, is_bottom and jitter or 0)
  local ready_at = math.max(now, closed_until, math.max(now, full_at) + (ahead - spare) * interval + kept)
  value = ready_at - now
  if value > 0 then
    change('_had_unmet_demand', 1)
    for _, due in ipairs(late) do
      value = math.min(value, due + grace - now + grace_margin)
    end
    redis.call('HSET', requesters, owner, text(now) .. ' ' .. text(now + value) .. ' ' .. text(since) .. ' ' .. rank)
  else
    value = 0
    if full_at <= now then
      change('_busy_since', now)
    end
    change('_grants_since_full', is_surely_full and 1 or grants_since_full + 1)
    change('_grants_since_decrease', tonumber(found[11]) + 1)
    redis.call('RPUSH', grants, text(now))
    full_at = math.max(now, full_at) + interval
    redis.call('HSET', requesters, owner, text(now) .. ' - - 0')
  end
  members = members + 1
elseif verb == 'leave' then
  redis.call('HSET', requesters, owner, text(now) .. ' - - 0')
  members = members + 1
elseif verb == 'give_back' then
  if redis.call('LREM', grants, 1, ARGV[9]) == 1 then
    full_at = base
    for _, moment in ipairs(redis.call('LRANGE', grants, 0, -1)) do
      full_at = math.max(tonumber(moment), full_at) + interval
    end
  end
  members = members + redis.call('HEXISTS', requesters, owner)
end

while redis.call('LLEN', grants) > remembered do
  forget_oldest(redis.call('LINDEX', grants, 0))
end
change('now', now)
change('full_at', full_at)
change('_base_full_at', base)
redis.call('HSET', state, unpack(changes))
redis.call('HINCRBY', state, 'version', 1)
keep(ARGV[18])

local counts = { 0, 0, 0 }
for _, other in ipairs(waiting) do
  counts[other[1] + 1] = counts[other[1] + 1] + 1
end
return { 1, text(value), text(now), counts[1], counts[2], counts[3], members, redis.call('HGETALL', state) }
