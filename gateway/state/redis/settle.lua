-- Settles calls: their usage replaces their reservations, once for each call.
--
-- KEYS   as in meter.lua
-- ARGV   packed {{id, tokens or -1, micro-USD or -1}...}
-- Answer the number of calls that had a reservation
--
-- The script reads all reservations and counters at once, and writes them at once.
local TOKENS, RUNNING = 2, 3
local MOST = 9007199254740992
local FEED = 2500000 -- the time until the ledger of several machines has a call that has ended
local spent, rate, running, holds, ends, told = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local users = KEYS[7]
local asked = cmsgpack.unpack(ARGV[1])

local function whole(number)
  return string.format('%.0f', number)
end

-- Returns the hash of a counter of money or shares: those of single end users have their own, so
-- that a gateway which reads all others does not read these.
local function home(field)
  return string.find(field, '^[^|]*|[^|]*|user=') and users or spent
end

-- Returns the fields of a hash by name; a missing field is false.
local function look(key, names)
  local found = {}
  if #names > 0 then
    for at, value in ipairs(redis.call('HMGET', key, unpack(names))) do
      found[names[at]] = value
    end
  end
  return found
end

-- True if a call that ends now may come too late for the ledger from which counters begin.
local function unread()
  local time, seed_at = redis.call('TIME'), redis.call('HGET', told, '!seed_at')
  return seed_at and time[1] * 1000000 + time[2] > tonumber(seed_at) - FEED
end

local ids = {}
for at, one in ipairs(asked) do
  ids[at] = one[1]
end
local held = look(holds, ids)

-- The reservations of each call, added up by counter.
local calls, over = {}, {}
local fields, listed = { [spent] = {}, [rate] = {}, [users] = {} }, {}
for _, one in ipairs(asked) do
  local id, tokens, micro = one[1], one[2], one[3]
  if held[id] then
    local sums, kinds = {}, {}
    local hold = cmsgpack.unpack(held[id])
    for _, entry in ipairs(hold[2]) do
      local kind, field = entry[1], entry[2]
      if not listed[field] and kind ~= RUNNING then
        listed[field] = true
        table.insert(fields[kind == TOKENS and rate or home(field)], field)
      end
      sums[field] = (sums[field] or 0) + entry[3]
      kinds[field] = kind
    end
    held[id] = false -- once for each
    table.insert(calls, { sums, kinds, tokens, micro, not hold[3] })
    table.insert(over, id)
  end
end
if #over == 0 then
  return 0
end

local level, value = look(rate, fields[rate]), look(spent, fields[spent])
for field, number in pairs(look(users, fields[users])) do
  value[field] = number
end
local ended = {} -- the amounts to take off running
for field, last in pairs(level) do
  level[field] = last and cmsgpack.unpack(last)
end
for _, call in ipairs(calls) do
  local sums, kinds, tokens, micro, runs = call[1], call[2], call[3], call[4], call[5]
  for field, amount in pairs(sums) do
    if runs and kinds[field] ~= TOKENS then -- an expired reservation has left running already
      ended[field] = (ended[field] or 0) + amount
    end
    if kinds[field] == TOKENS then
      local found = level[field]
      if found then
        found[2] = found[2] + (tokens < 0 and amount or tokens) * found[4]
        found[3] = math.max(0, found[3] - amount)
      end
    elseif kinds[field] ~= RUNNING and value[field] then
      if micro >= 0 then
        value[field] = math.min(MOST, math.max(0, tonumber(value[field]) + (micro - amount)))
      end
    elseif kinds[field] ~= RUNNING and unread() then
      -- The counter has not begun yet, see open.lua, and the ledger may be read without this call.
      -- If it is a counter that sweep.lua has deleted, it does not begin again.
      local used = runs and (micro < 0 and amount or micro) or (micro < 0 and 0 or micro - amount)
      redis.call('HINCRBY', told, '+' .. field, whole(used))
    end
  end
end

for field, amount in pairs(ended) do
  if redis.call('HINCRBY', running, field, whole(0 - amount)) <= 0 then
    redis.call('HDEL', running, field)
  end
end
local rates, sums = {}, { [spent] = {}, [users] = {} }
for field, found in pairs(level) do
  if found then
    table.insert(rates, field)
    table.insert(rates, cmsgpack.pack(found))
  end
end
for field, number in pairs(value) do
  if type(number) == 'number' then -- unchanged values are still text
    local pairs_of = sums[home(field)]
    table.insert(pairs_of, field)
    table.insert(pairs_of, whole(number))
  end
end
if #rates > 0 then
  redis.call('HSET', rate, unpack(rates))
end
for key, pairs_of in pairs(sums) do
  if #pairs_of > 0 then
    redis.call('HSET', key, unpack(pairs_of))
  end
end
redis.call('HDEL', holds, unpack(over))
redis.call('ZREM', ends, unpack(over))
return #over
