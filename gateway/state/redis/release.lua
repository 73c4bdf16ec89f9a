-- Gives back a call's reservation of an owner's counters, after another owner's refused the call.
--
-- KEYS   as in meter.lua
-- ARGV   packed {id, 1 to end its reservation or 0 to keep what it had reserved before, needs as in
--        meter.lua, counters whose soft limit was reported as crossed}
-- Answer 1, or 0 if it has no running reservation: an expired one stays charged
local KINDS = { tokens = 2, concurrency = 3, usd = 4 }
local spent, rate, running, holds, ends, told = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local users = KEYS[7]
local ask = cmsgpack.unpack(ARGV[1])
local id, over, needs, crossed = ask[1], ask[2] == 1, ask[3], ask[4]

local packed = redis.call('HGET', holds, id)
local hold = packed and cmsgpack.unpack(packed)
if not hold or hold[3] then
  return 0
end

-- 0 - amount: -amount of 0 is written as -0, which the server does not accept as a number.
local function less(field, amount)
  if redis.call('HINCRBY', running, field, string.format('%.0f', 0 - amount)) <= 0 then
    redis.call('HDEL', running, field)
  end
end

local function paid(field, amount)
  local home = string.find(field, '^[^|]*|[^|]*|user=') and users or spent
  local value = redis.call('HGET', home, field)
  if value then
    redis.call('HSET', home, field, string.format('%.0f', math.max(0, tonumber(value) - amount)))
  end
end

for _, need in ipairs(needs) do
  local kind, field, amount = need[1], need[3], need[5]
  if kind == 'requests' or kind == 'tokens' then
    local last = redis.call('HGET', rate, field)
    if last then
      local found = cmsgpack.unpack(last)
      if kind == 'tokens' then
        found[3] = math.max(0, found[3] - amount)
      else
        found[2] = math.max(0, found[2] - amount * found[4])
      end
      redis.call('HSET', rate, field, cmsgpack.pack(found))
    end
  elseif kind == 'concurrency' then
    less(field, amount)
  else
    paid(field, amount)
    if kind == 'share' then
      paid(need[7], 1)
    else
      less(field, amount)
    end
  end
  if KINDS[kind] and not over then
    for at = #hold[2], 1, -1 do
      local entry = hold[2][at]
      if entry[1] == KINDS[kind] and entry[2] == field and entry[3] == amount then
        table.remove(hold[2], at)
        break
      end
    end
  end
end

for _, field in ipairs(crossed) do
  redis.call('HDEL', told, field)
end
if over then
  redis.call('HDEL', holds, id)
  redis.call('ZREM', ends, id)
else
  redis.call('HSET', holds, id, cmsgpack.pack(hold))
end
return 1
