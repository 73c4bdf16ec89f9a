-- Reserves all that a call needs of its owner's counters, or nothing.
--
-- KEYS   spent    hash: money and shares
--        rate     hash: packed {at, level, held, period, limit}
--        running  hash: reserved by running calls: places among calls at once, and micro-USD of
--                 counters of money, which are a part of those in spent
--        holds    hash: reservations, packed {answer, entries, 1 if it has expired}
--        ends     zset: the time at which to check a reservation again
--        told     hash: the soft limit that was reported, and the epoch as in open.lua
--        users    hash: money and shares of single end users
-- ARGV   packed {id, now or 0 for this server's clock, the longest run of a call, 1 to add to a
--        reservation, the time to keep an expired reservation, needs, others, seeds, the epoch in
--        which they hold or ''}
--        a need is {kind, name, counter, limit, amount, seconds of its period, whole, seeded, soft
--        or nil, then or nil, all tenants, shown}; others are {tier, needs}, tried if a need whose `then` is their tier
--        does not fit; seeds are {counter, spent}
-- Answer packed {0, choice, count of skipped, skipped..., needs that crossed their soft limit...},
--        {1, choice, count of skipped, skipped..., need, wait or -1, 1 if it is busy, micro-USD that
--        a budget has left or -1} or
--        {2, choice, time until counters may begin, needs without a counter...} or {3} in another
--        epoch; plain 0 if there is nothing to report
--        a choice is 0 for needs, or an index of others; each skipped is two numbers: a choice, and
--        its need that does not fit and is not busy
--        if needs are shown, the answer is two values: the above, and packed {need, left, time until
--        all is back or -1, ...} of these needs
--
-- A budget is busy if the call would fit if all other running calls cost nothing.
--
-- Times are in microseconds. Numbers are doubles: whole up to 2^53, which money never passes. They
-- go to the server as %.0f, as a plain number could become 1e+15. To subtract, add 0 - amount:
-- -amount of 0 is written as -0, which the server does not accept as a number.
local REQUESTS, TOKENS, RUNNING, MONEY, SHARE = 1, 2, 3, 4, 5
local KINDS = { requests = REQUESTS, tokens = TOKENS, concurrency = RUNNING, usd = MONEY, share = SHARE }
local MOST = 9007199254740992
local SKEW = 60000000
local BUSY = 1000000 -- the wait before a call asks a busy budget again
local spent, rate, running, holds, ends, told = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local users = KEYS[7]
local ask = cmsgpack.unpack(ARGV[1])
local id, now, life, adds, keep, needs = ask[1], ask[2], ask[3], ask[4] == 1, ask[5], ask[6]
local others, seeds = ask[7], ask[8]

if ask[9] ~= '' and redis.call('HGET', told, '!epoch') ~= ask[9] then
  return cmsgpack.pack({ 3 })
end

if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

local function whole(number)
  return string.format('%.0f', number)
end

-- Returns the hash of a counter of money or shares: those of single end users have their own, so
-- that a gateway which reads all others does not read these.
local function home(field)
  return string.find(field, '^[^|]*|[^|]*|user=') and users or spent
end

-- Adds to what running calls reserve of a counter; deletes the field once it is 0.
local function hold(field, amount)
  if redis.call('HINCRBY', running, field, whole(amount)) <= 0 then
    redis.call('HDEL', running, field)
  end
end

-- Calls that should have ended: free their places; their reservations count as used.
for _, one in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', whole(now), 'LIMIT', 0, 64)) do
  local packed = redis.call('HGET', holds, one)
  local old = packed and cmsgpack.unpack(packed)
  if not old or old[3] then
    redis.call('HDEL', holds, one)
    redis.call('ZREM', ends, one)
  else
    local kept = {}
    for _, entry in ipairs(old[2]) do
      local kind, field, amount = entry[1], entry[2], entry[3]
      if kind == TOKENS then
        local last = redis.call('HGET', rate, field)
        if last then
          local at, level, held, period, limit = unpack(cmsgpack.unpack(last))
          level, held = level + amount * period, math.max(0, held - amount)
          redis.call('HSET', rate, field, cmsgpack.pack({ at, level, held, period, limit }))
        end
      else
        hold(field, 0 - amount)
        if kind == MONEY then
          kept[#kept + 1] = entry
          if redis.call('HEXISTS', home(field), field) == 0 then -- it has not begun yet, see open.lua
            redis.call('HINCRBY', told, '+' .. field, whole(amount))
          end
        end
      end
    end
    redis.call('HSET', holds, one, cmsgpack.pack({ old[1], kept, 1 }))
    redis.call('ZADD', ends, whole(now + keep), one)
  end
end

local held = redis.call('HGET', holds, id)
if held then
  held = cmsgpack.unpack(held)
  if not adds then
    return held[1]
  end
end

local function count(key, field)
  local found = redis.call('HGET', key, field)
  return found and tonumber(found)
end

-- A cache of money and shares, so that the script reads each only once.
local sums = {}

local function sum(field)
  local found = sums[field]
  if found == nil then
    found = count(home(field), field)
    sums[field] = found
  end
  return found
end

-- The time until counters may begin, negative after it: before that, some calls may not be restored,
-- see open.lua.
local function opens_in()
  return (count(told, '!seed_at') or 0) - now
end

-- A counter begins with what the ledger has, what running calls have reserved, and what was charged
-- meanwhile; with no less than it had when it was put aside.
for _, seed in ipairs(#seeds > 0 and opens_in() <= 0 and seeds or {}) do
  local field = seed[1]
  if not sum(field) then
    local begun = seed[2] + (count(running, field) or 0) + (count(told, '+' .. field) or 0)
    sums[field] = math.min(MOST, math.max(begun, count(told, '=' .. field) or 0))
    redis.call('HSET', home(field), field, whole(sums[field]))
    redis.call('HDEL', told, '=' .. field, '+' .. field)
  end
end

local stored = {} -- what Redis has of each rate, or false

-- The state of a rate. Its level, in units times microseconds of the period, falls by `limit` each
-- microsecond. Units that calls have reserved only start to fall once the calls have used them.
local function bucket(field, period, limit)
  local last = redis.call('HGET', rate, field)
  stored[field] = last
  if not last then
    return { now, 0, 0, period, limit }
  end
  local found = cmsgpack.unpack(last)
  if now > found[1] then
    found[2] = math.max(0, found[2] - (now - found[1]) * found[5])
    found[1] = now
  elseif found[1] - now > SKEW then -- a clock slightly behind waits; one far behind is right
    found[1] = now
  end
  if found[4] ~= period then
    found[2] = math.ceil(found[2] * period / found[4])
    found[4] = period
  end
  found[5] = limit
  return found
end

local buckets = {}

-- Store the rates even for a refused call: later usage counts from the last request of a call. A
-- rate at 0 too, as a running call may have reserved 0 tokens of it; but no rate that is new.
local function kept()
  for field, found in pairs(buckets) do
    if stored[field] then
      redis.call('HSET', rate, field, cmsgpack.pack(found))
    end
  end
end

local function unseeded(need)
  return need[1] == 'usd' and need[8] and not sum(need[3])
end

-- The call's own reservation of a counter: the call may be billed for it, so it does not come back.
local function own(field)
  local total = 0
  for _, entry in ipairs(held and not held[3] and held[2] or {}) do
    if entry[1] == MONEY and entry[2] == field then
      total = total + entry[3]
    end
  end
  return total
end

-- Returns the need that does not fit, or nil; its wait, or -1; the needs whose counters are missing;
-- and true if the need that does not fit is busy.
local function missing()
  local over, longest, busy = nil, -1, false
  for at, need in ipairs(needs) do
    local kind, field, limit, amount = KINDS[need[1]], need[3], need[4], need[5]
    local fits, wait, waits = true, -1, false
    if kind == REQUESTS or kind == TOKENS then
      local period = math.floor(need[6] * 1000000 + 0.5)
      local found = bucket(field, period, limit)
      buckets[field] = found
      local excess = found[2] + (found[3] + amount) * period - limit * period
      fits = excess <= 0
      if not fits and limit > 0 and found[3] + amount <= limit then
        wait = math.min(MOST, math.ceil(excess / limit) + math.max(0, found[1] - now) + 1)
      end
    elseif kind == RUNNING then
      fits = (count(running, field) or 0) + amount <= limit
    elseif kind == SHARE then
      local calls = (sum(need[7]) or 0) + 1
      fits = amount == 0 or ((sum(field) or 0) + amount) * 1000 <= limit * calls
    else
      if unseeded(need) then
        local fields = {}
        for other = at, #needs do
          if unseeded(needs[other]) then
            fields[#fields + 1] = other
          end
        end
        return nil, nil, fields
      end
      local total = (sum(field) or 0) + amount
      fits = total <= limit
      waits = not fits and total - ((count(running, field) or 0) - own(field)) <= limit
      if waits then
        wait = BUSY
      end
    end
    if not fits then
      if wait < 0 then
        return at, -1, nil, false
      elseif wait > longest then
        over, longest, busy = at, wait, waits
      end
    end
  end
  return over, longest, nil, busy
end

-- Returns an answer, with what the rates have left that needs show.
local function tell(answer)
  local states = {}
  for at, need in ipairs(needs) do
    if need[12] then
      local limit, period = need[4], math.floor(need[6] * 1000000 + 0.5)
      local found = buckets[need[3]] or bucket(need[3], period, limit)
      local used = found[2] + found[3] * period
      states[#states + 1] = at
      states[#states + 1] = math.max(0, limit - math.ceil(used / period))
      states[#states + 1] = limit > 0 and math.ceil(used / limit) or -1
    end
  end
  return #states > 0 and { answer, cmsgpack.pack(states) } or answer
end

local choice, before = 0, {}
while true do
  local over, wait, fields, busy = missing()
  if fields then
    kept()
    return cmsgpack.pack({ 2, choice, opens_in(), unpack(fields) })
  end
  if not over then
    break
  end
  kept()
  local tier, on = needs[over][10], nil
  for at = choice + 1, tier and #others or 0 do
    if others[at][1] == tier then
      on = at
      break
    end
  end
  if not on then
    local answer = { 1, choice, #before / 2, unpack(before) }
    answer[#answer + 1] = over
    answer[#answer + 1] = wait
    answer[#answer + 1] = busy and 1 or 0
    local need = needs[over]
    answer[#answer + 1] = need[1] == 'usd' and math.max(0, need[4] - (sum(need[3]) or 0)) or -1
    return tell(cmsgpack.pack(answer))
  end
  if not busy then
    before[#before + 1] = choice
    before[#before + 1] = over
  end
  choice, needs = on, others[on][2]
end

local paid, rates = { [spent] = {}, [users] = {} }, {}

local function add(field, amount)
  local value = math.min(MOST, (sum(field) or 0) + amount)
  sums[field] = value
  local pairs_of = paid[home(field)]
  pairs_of[#pairs_of + 1] = field
  pairs_of[#pairs_of + 1] = whole(value)
  return value
end

local answer, entries = { 0, choice, #before / 2, unpack(before) }, held and held[2] or {}
if held and held[3] then -- it goes on after it expired: its reservation runs again
  for _, entry in ipairs(entries) do
    hold(entry[2], entry[3])
  end
end
local plain = #answer
for at, need in ipairs(needs) do
  local kind, field, amount = KINDS[need[1]], need[3], need[5]
  if kind == REQUESTS or kind == TOKENS then
    local found = buckets[field]
    if kind == TOKENS then
      found[3] = found[3] + amount
    else
      found[2] = found[2] + amount * found[4]
    end
    rates[#rates + 1] = field
    rates[#rates + 1] = cmsgpack.pack(found) -- the later of two for one field wins
  elseif kind == RUNNING then
    hold(field, amount)
  else
    local soft = need[9]
    local reached = soft
    if kind == SHARE then
      local calls = add(need[7], 1)
      reached = soft and soft * calls
    end
    local value = add(field, amount)
    if kind == SHARE then
      value = value * 1000
    else
      hold(field, amount)
    end
    if soft and amount > 0 and value >= reached and count(told, field) ~= soft then
      redis.call('HSET', told, field, whole(soft))
      answer[#answer + 1] = at
    end
  end
  if kind ~= REQUESTS and kind ~= SHARE then
    entries[#entries + 1] = { kind, field, amount }
  end
end

if #rates > 0 then
  redis.call('HSET', rate, unpack(rates))
end
for key, pairs_of in pairs(paid) do
  if #pairs_of > 0 then
    redis.call('HSET', key, unpack(pairs_of))
  end
end

local told_of = (choice > 0 or #answer > plain) and cmsgpack.pack(answer) or 0
if held or #needs > 0 then
  redis.call('HSET', holds, id, cmsgpack.pack({ held and held[1] or told_of, entries }))
  redis.call('ZADD', ends, whole(now + life), id)
end
return tell(told_of)
