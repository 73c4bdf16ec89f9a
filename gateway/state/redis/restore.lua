-- Reserves again what running calls of a gateway have reserved, where the server has forgotten it.
--
-- KEYS   as in meter.lua
-- ARGV   packed {now or 0 for this server's clock, {{id, the longest time that it runs on,
--        {{kind, counter, amount}...}}...}}; the kinds are those of reservations in meter.lua
-- Answer the number of calls that the server did not know
local RUNNING, MONEY = 3, 4
local spent, running, holds, ends, users = KEYS[1], KEYS[3], KEYS[4], KEYS[5], KEYS[7]
local ask = cmsgpack.unpack(ARGV[1])
local now, unknown = ask[1], 0

local function whole(number)
  return string.format('%.0f', number)
end

if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
for _, call in ipairs(ask[2]) do
  local id, life, entries = call[1], call[2], call[3]
  if redis.call('HEXISTS', holds, id) == 0 then
    for _, entry in ipairs(entries) do
      local field, amount = entry[2], whole(entry[3])
      redis.call('HINCRBY', running, field, amount)
      -- A counter that has not begun yet begins with what is reserved of it.
      local home = string.find(field, '^[^|]*|[^|]*|user=') and users or spent
      if entry[1] == MONEY and redis.call('HEXISTS', home, field) == 1 then
        redis.call('HINCRBY', home, field, amount)
      end
    end
    redis.call('HSET', holds, id, cmsgpack.pack({ 0, entries }))
    redis.call('ZADD', ends, whole(now + life), id)
    unknown = unknown + 1
  end
end
return unknown
