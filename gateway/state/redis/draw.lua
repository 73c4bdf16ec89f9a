-- Splits the reservations of calls off the lease that a gateway has served them from.
--
-- KEYS   as in meter.lua
-- ARGV   packed {now or 0 for this server's clock, id of the lease, its counter, {{id, the longest
--        time that the call runs on, amount}...}, the epoch of the lease}
-- Answer the number of calls that it split off, or -1 in another epoch; a call is split off the same
--        lease once
--
-- What is spent stays the same. A lease that has expired is still there, charged.
local MONEY = 4
local running, holds, ends, told = KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local ask = cmsgpack.unpack(ARGV[1])
local now, lease, field, split = ask[1], ask[2], ask[3], 0

local function whole(number)
  return string.format('%.0f', number)
end

if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
if redis.call('HGET', told, '!epoch') ~= ask[5] then
  return -1
end
local packed = redis.call('HGET', holds, lease)
if not packed then -- it has been expired for so long that all of it stays charged
  return 0
end
local slice = cmsgpack.unpack(packed)

local function is_split(hold)
  for _, entry in ipairs(hold[2]) do
    if entry[4] == lease then
      return true
    end
  end
  return false
end

for _, call in ipairs(ask[4]) do
  local id, life, amount = call[1], call[2], call[3]
  local own = redis.call('HGET', holds, id)
  local hold = own and cmsgpack.unpack(own) or { 0, {} }
  if not is_split(hold) then
    if hold[3] then -- it has expired and goes on: its reservation runs again
      for _, entry in ipairs(hold[2]) do
        redis.call('HINCRBY', running, entry[2], whole(entry[3]))
      end
    end
    if slice[3] then
      redis.call('HINCRBY', running, field, whole(amount))
    end
    slice[2][1][3] = slice[2][1][3] - amount
    hold[2][#hold[2] + 1] = { MONEY, field, amount, lease }
    redis.call('HSET', holds, id, cmsgpack.pack({ hold[1], hold[2] }))
    redis.call('ZADD', ends, whole(now + life), id)
    split = split + 1
  end
end
redis.call('HSET', holds, lease, cmsgpack.pack(slice))
return split
