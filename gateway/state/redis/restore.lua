-- Reserves again what running calls of a gateway have reserved, where the server has forgotten it.
--
-- KEYS   as in meter.lua
-- ARGV   packed {now or 0 for this server's clock, {{id, the longest time that it runs on,
--        {{kind, counter, amount}...}}...}}, each counter once; the kinds are those of reservations
--        in meter.lua
-- Answer the number of reservations that the server did not know, or not all of
local MONEY = 4
local spent, running, holds, ends, told = KEYS[1], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local users = KEYS[7]
local ask = cmsgpack.unpack(ARGV[1])
local now, restored = ask[1], 0

local function whole(number)
  return string.format('%.0f', number)
end

-- Returns the hash of a counter, as in meter.lua.
local function home(field)
  return string.find(field, '^[^|]*|[^|]*|user=') and users or spent
end

-- Takes what was charged for an expired reservation off again, as the counter begins with all that
-- runs. A counter that has begun has it once.
local function uncharge(field, amount)
  local charged = tonumber(redis.call('HGET', told, '+' .. field) or 0)
  if charged > 0 and redis.call('HEXISTS', home(field), field) == 0 then
    redis.call('HSET', told, '+' .. field, whole(math.max(0, charged - amount)))
  end
end

if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
for _, call in ipairs(ask[2]) do
  local id, life = call[1], call[2]
  local packed = redis.call('HGET', holds, id)
  local hold = packed and cmsgpack.unpack(packed) or { 0, {} }
  local known = {}
  for _, entry in ipairs(hold[2]) do
    known[entry[2]] = (known[entry[2]] or 0) + entry[3]
    if hold[3] then -- it has expired and goes on: its reservation runs again
      redis.call('HINCRBY', running, entry[2], whole(entry[3]))
      uncharge(entry[2], entry[3])
    end
  end
  for _, entry in ipairs(call[3]) do
    local kind, field = entry[1], entry[2]
    local amount = entry[3] - (known[field] or 0)
    if amount > 0 or not known[field] then
      redis.call('HINCRBY', running, field, whole(amount))
      -- A counter that has not begun yet begins with what is reserved of it.
      if kind == MONEY and redis.call('HEXISTS', home(field), field) == 1 then
        redis.call('HINCRBY', home(field), field, whole(amount))
      end
      hold[2][#hold[2] + 1] = { kind, field, amount }
      restored = restored + 1
    end
  end
  redis.call('HSET', holds, id, cmsgpack.pack({ hold[1], hold[2] }))
  redis.call('ZADD', ends, whole(now + life), id)
end
return restored
