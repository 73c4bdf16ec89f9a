-- Deletes counters that no longer count: those of ended windows, and rates that have fallen to 0.
--
-- KEYS   as in meter.lua
-- ARGV   packed {now or 0 for this server's clock, the cursor of the scan of rates, ended fields}
-- Answer the next cursor, 0 at the end
local spent, rate, running, told, users = KEYS[1], KEYS[2], KEYS[3], KEYS[6], KEYS[7]
local ask = cmsgpack.unpack(ARGV[1])
local now = ask[1]

if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

for _, field in ipairs(ask[3]) do
  redis.call('HDEL', spent, field)
  redis.call('HDEL', users, field)
  redis.call('HDEL', told, field, '=' .. field, '+' .. field)
  redis.call('HDEL', running, field)
end

local scanned = redis.call('HSCAN', rate, ask[2], 'COUNT', 500)
for at = 1, #scanned[2], 2 do
  local since, level, held, _, limit = unpack(cmsgpack.unpack(scanned[2][at + 1]))
  if held == 0 and level <= (now - since) * limit then
    redis.call('HDEL', rate, scanned[2][at])
  end
end
return scanned[1]
