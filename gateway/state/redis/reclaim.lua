-- Returns what a gateway that has died had not drawn from a lease, once for each lease.
--
-- KEYS   as in meter.lua
-- ARGV   packed {id of the lease, the most that calls have drawn from it}
-- Answer 1, or 0 if its counter has not begun: the lease then stays charged
--
-- Calls that the gateway has drawn and not told of stay charged with what they have reserved.
local spent, running, holds, ends = KEYS[1], KEYS[3], KEYS[4], KEYS[5]
local ask = cmsgpack.unpack(ARGV[1])
local id, drawn = ask[1], ask[2]

local packed = redis.call('HGET', holds, id)
local slice = packed and cmsgpack.unpack(packed)
local entry = slice and slice[2][1]
if not entry or not entry[4] then -- it was returned, it is too old, or Redis has forgotten it
  return 1
end
local used = redis.call('HGET', spent, entry[2])
if not used then
  return 0
end
local field, rest, granted = entry[2], entry[3], entry[4]
local back = math.max(0, math.min(rest, granted - drawn))
redis.call('HSET', spent, field, string.format('%.0f', math.max(0, tonumber(used) - back)))
if not slice[3] then -- an expired lease has left running already
  if redis.call('HINCRBY', running, field, string.format('%.0f', 0 - rest)) <= 0 then
    redis.call('HDEL', running, field)
  end
end
redis.call('HDEL', holds, id)
redis.call('ZREM', ends, id)
return 1
