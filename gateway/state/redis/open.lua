-- Opens an owner's counters of money in this server: what it says of them may be old.
--
-- A server that was restarted, flushed or promoted may have forgotten reservations. Then a new epoch
-- begins: the counters are put aside, and begin anew once each gateway has restored what its running
-- calls have reserved. The first to open the owner in such a server begins the epoch.
--
-- KEYS   as in meter.lua, and then, for a tenant that lies on the same server:
--        witness  `told` of all tenants
--        Fields of `told` beside reports: `!epoch`, `!seed_at`, and of each counter put aside
--        `=counter` (its value then) and `+counter` (charged since then, as in settle.lua); of a
--        witness `@key` for the `told` of each tenant that was opened in its epoch
-- ARGV   packed {now or 0 for this server's clock, microseconds until counters may begin anew, an
--        epoch that the caller has looked for, or ''}; -1 microseconds only looks
-- Answer the epoch: the server's run id, and when it began. A look answers the epoch that would
--        begin, or 0 if there is one, even of another server
--
-- Counters of an owner without an epoch begin at once in two cases:
-- the caller has looked before, and knows that until then no gateway had opened any owner. Others
-- that have opened this one meanwhile have reserved nothing yet, unless their counters may begin.
-- Or the witness shows that the server has forgotten nothing in its own epoch, and the owner is new.
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

-- Returns the time at which an epoch of this server began; nil for another epoch.
local function began(one)
  return one and string.sub(one, 1, #server + 1) == server .. '@' and tonumber(string.sub(one, #server + 2))
end

local epoch = redis.call('HGET', told, '!epoch')
if ask[2] < 0 then
  return epoch and 0 or server .. '@' .. whole(now)
end
local witness = KEYS[8]
witness = witness and began(redis.call('HGET', witness, '!epoch')) and witness
local is_new = witness and redis.call('HSETNX', witness, '@' .. told, 1) == 1
if began(epoch) then
  return epoch
end

local seed_at = whole(now + ask[2])
local looked = began(ask[3])
if ask[2] == 0 or not epoch and looked and now < looked + ask[2] then
  seed_at = nil
elseif not epoch and is_new then
  seed_at = redis.call('HGET', witness, '!seed_at')
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
-- Reservations that have expired are charged: the ledger may not have them. If a gateway restores one
-- after all, restore.lua takes the charge off.
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
if seed_at then
  redis.call('HSET', told, '!seed_at', seed_at)
end
return epoch
