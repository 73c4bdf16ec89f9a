-- Takes all that a call needs of its tenant's counters, or nothing.
--
-- KEYS   spent    hash: money and shares
--        rate     hash: packed {at, level, held, period, limit}
--        running  hash: what running calls hold: places among calls at once, and micro-USD of
--                 counters of money, which are a part of what spent has
--        holds    hash: packed {answer, entries, 1 where its time is over}
--        ends     zset: when a hold is looked at again
--        told     hash: the soft limit that was told of
-- ARGV   packed {id, now or 0 for this server's clock, how long it runs at most, 1 to add to a hold,
--        how long an ended hold is kept, needs, others, seeds}; a need is {kind, name, counter, limit,
--        amount, seconds of its period, whole, seeded, soft or nil, then or nil}; others are {tier,
--        needs}, tried where a need does not fit whose `then` is their tier; seeds are {counter, spent}
-- Answer packed {0, choice, how many were before, before..., needs whose soft limit was crossed...},
--        {1, choice, how many were before, before..., need, wait or -1, 1 where it is busy} or
--        {2, choice, needs...}; a choice is 0 for needs, or which of others; each before is the choice
--        and the need that sent it on and is not busy; plain 0 where there is nothing to tell
--
-- A budget is busy where the call would fit if the other running calls cost nothing.
--
-- Times are microseconds. Numbers are doubles: whole up to 2^53, which money never passes. They go
-- to the server as %.0f: as numbers they could become 1e+15. What is taken off is 0 - amount: -amount
-- of 0 is written as -0, which is no number there.
local REQUESTS, TOKENS, RUNNING, MONEY, SHARE = 1, 2, 3, 4, 5
local KINDS = { requests = REQUESTS, tokens = TOKENS, concurrency = RUNNING, usd = MONEY, share = SHARE }
local MOST = 9007199254740992
local SKEW = 60000000
local BUSY = 1000000 -- how long a call waits before it asks a busy budget again
local spent, rate, running, holds, ends, told = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local ask = cmsgpack.unpack(ARGV[1])
local id, now, life, adds, keep, needs = ask[1], ask[2], ask[3], ask[4] == 1, ask[5], ask[6]
local others, seeds = ask[7], ask[8]

if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

local function whole(number)
  return string.format('%.0f', number)
end

-- Adds to what running calls hold of a counter; one that is 0 again is let go.
local function hold(field, amount)
  if redis.call('HINCRBY', running, field, whole(amount)) <= 0 then
    redis.call('HDEL', running, field)
  end
end

-- Calls that should have ended: their places are free, what they hold counts as used.
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

-- Money and shares that were read, and are not read again.
local sums = {}

local function sum(field)
  local found = sums[field]
  if found == nil then
    found = count(spent, field)
    sums[field] = found
  end
  return found
end

for _, seed in ipairs(seeds) do
  redis.call('HSETNX', spent, seed[1], whole(seed[2]))
end

-- What a rate counts: its level, in units times microseconds of the period, gives back `limit` of
-- them each microsecond; what calls hold of it is given back only once they have used it.
local function bucket(field, period, limit)
  local last = redis.call('HGET', rate, field)
  if not last then
    return { now, 0, 0, period, limit }
  end
  local found = cmsgpack.unpack(last)
  if now > found[1] then
    found[2] = math.max(0, found[2] - (now - found[1]) * found[5])
    found[1] = now
  elseif found[1] - now > SKEW then -- a clock that is a little behind waits; one far behind is right
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

-- What is used later counts from when a call last asked, whether or not it passed.
local function kept()
  for field, found in pairs(buckets) do
    if found[2] > 0 or found[3] > 0 then
      redis.call('HSET', rate, field, cmsgpack.pack(found))
    end
  end
end

local function unseeded(need)
  return need[1] == 'usd' and need[8] and not sum(need[3])
end

-- What the call itself has reserved of a counter: it may be billed for that, so it does not come back.
local function own(field)
  local total = 0
  for _, entry in ipairs(held and not held[3] and held[2] or {}) do
    if entry[1] == MONEY and entry[2] == field then
      total = total + entry[3]
    end
  end
  return total
end

-- Why needs do not pass: which one, how long it waits, those that are not there, and whether the
-- one that does not pass is busy.
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

local choice, before = 0, {}
while true do
  local over, wait, fields, busy = missing()
  if fields then
    kept()
    return cmsgpack.pack({ 2, choice, unpack(fields) })
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
    return cmsgpack.pack(answer)
  end
  if not busy then
    before[#before + 1] = choice
    before[#before + 1] = over
  end
  choice, needs = on, others[on][2]
end

local paid, rates = {}, {}

local function add(field, amount)
  local value = math.min(MOST, (sum(field) or 0) + amount)
  sums[field] = value
  paid[#paid + 1] = field
  paid[#paid + 1] = whole(value)
  return value
end

local answer, entries = { 0, choice, #before / 2, unpack(before) }, held and held[2] or {}
if held and held[3] then -- it goes on after its time was over: what it holds is no longer spent
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
    rates[#rates + 1] = cmsgpack.pack(found) -- of two for one field the later stands
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
if #paid > 0 then
  redis.call('HSET', spent, unpack(paid))
end

local told_of = (choice > 0 or #answer > plain) and cmsgpack.pack(answer) or 0
if held or #needs > 0 then
  redis.call('HSET', holds, id, cmsgpack.pack({ held and held[1] or told_of, entries }))
  redis.call('ZADD', ends, whole(now + life), id)
end
return told_of
