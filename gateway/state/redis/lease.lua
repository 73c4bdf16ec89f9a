-- Leases a slice of a counter of money to a gateway: a reservation from which it serves calls.
--
-- KEYS   as in meter.lua, and then
--        gateways zset: gateways that have asked lately, with the time
-- ARGV   packed {now or 0 for this server's clock, gateway, id of the lease, counter, limit, the
--        amount that it wants, the least that is of use, the time of the lease, soft or nil, epoch}
-- Answer packed {amount, 1 if it crosses the soft limit}; an amount of 0 leases nothing
--
-- A slice is at most the part 1/2N of what is left, for N gateways: half of it stays for calls that
-- do not fit their slice. A lease expires as the reservation of a call does, and stays charged.
local MONEY = 4
local AWAY = 10000000 -- the time after which a gateway that has not asked no longer counts
local spent, running, holds, ends, told = KEYS[1], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local gateways = KEYS[8]
local ask = cmsgpack.unpack(ARGV[1])
local now, gateway, id, field, limit = ask[1], ask[2], ask[3], ask[4], ask[5]
local want, least, life, soft, epoch = ask[6], ask[7], ask[8], ask[9], ask[10]

local function whole(number)
  return string.format('%.0f', number)
end

if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
redis.call('ZADD', gateways, whole(now), gateway)
redis.call('ZREMRANGEBYSCORE', gateways, '-inf', whole(now - AWAY))
redis.call('EXPIRE', gateways, 60)

local used = redis.call('HGET', spent, field)
if not used or redis.call('HGET', told, '!epoch') ~= epoch then
  return cmsgpack.pack({ 0, 0 })
end
used = tonumber(used)
local part = math.floor((limit - used) / (2 * redis.call('ZCARD', gateways)))
local amount = math.min(want, part)
if amount < least or redis.call('HEXISTS', holds, id) == 1 then
  return cmsgpack.pack({ 0, 0 })
end
redis.call('HSET', spent, field, whole(used + amount))
redis.call('HINCRBY', running, field, whole(amount))
-- Calls are split off the third number. The fourth stays: reclaim.lua needs it.
redis.call('HSET', holds, id, cmsgpack.pack({ 0, { { MONEY, field, amount, amount } } }))
redis.call('ZADD', ends, whole(now + life), id)
local crossed = soft and used + amount >= soft and redis.call('HGET', told, field) ~= whole(soft)
if crossed then
  redis.call('HSET', told, field, whole(soft))
end
return cmsgpack.pack({ amount, crossed and 1 or 0 })
