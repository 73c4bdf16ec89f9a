-- Opens an owner's counters of money in this server: what it says of them may be old.
--
-- A server that was restarted, flushed or promoted may have forgotten reservations. Then a new epoch
-- begins: the counters are put aside, and begin anew once each gateway has restored what its running
-- calls have reserved. The first to open the owner in such a server begins the epoch.
--
-- KEYS   as in meter.lua. Fields of `told` beside reports: `!epoch`, `!seed_at`, and of each counter
--        put aside `=counter` (its value then) and `+counter` (charged since then, as in settle.lua)
-- ARGV   packed {now or 0 for this server's clock, microseconds until counters may begin anew}
-- Answer the epoch: the server's run id, and when it began
local MONEY = 4
local spent, holds, told, users = KEYS[1], KEYS[4], KEYS[6], KEYS[7]
local ask = cmsgpack.unpack(ARGV[1])
local now = ask[1]
local server = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''

local function whole(number)
  return string.format('%.0f', number)
end

if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local epoch = redis.call('HGET', told, '!epoch')
if epoch and string.sub(epoch, 1, #server + 1) == server .. '@' then
  return epoch
end

-- Without any epoch the counters are new, or those of a gateway before there were epochs.
for _, key in ipairs({ spent, users }) do
  local all = epoch and redis.call('HGETALL', key) or {}
  for at = 1, #all, 2 do
    if string.sub(all[at], 1, 4) == 'usd|' then
      redis.call('HSET', told, '=' .. all[at], all[at + 1])
      redis.call('HDEL', key, all[at])
    end
  end
end
-- Reservations that have expired are charged: no gateway restores them, and no ledger may have them.
for _, packed in ipairs(epoch and redis.call('HVALS', holds) or {}) do
  local hold = cmsgpack.unpack(packed)
  for _, entry in ipairs(hold[3] and hold[2] or {}) do
    if entry[1] == MONEY then
      redis.call('HINCRBY', told, '+' .. entry[2], whole(entry[3]))
    end
  end
end
epoch = server .. '@' .. whole(now)
redis.call('HSET', told, '!epoch', epoch)
redis.call('HDEL', told, '!seed_at')
if ask[2] > 0 then
  redis.call('HSET', told, '!seed_at', whole(now + ask[2]))
end
return epoch
