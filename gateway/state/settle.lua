-- What calls hold becomes what they used; once for each.
--
-- KEYS   as in meter.lua
-- ARGV   packed {{id, tokens or -1, micro-USD or -1}...}
-- Answer how many of them held something
local TOKENS, RUNNING = 2, 3
local MOST = 9007199254740992
local spent, rate, running, holds, ends = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]

local function whole(number)
  return string.format('%.0f', number)
end

local function settle(id, tokens, micro)
  local packed = redis.call('HGET', holds, id)
  if not packed then
    return 0
  end
  local sums, kinds = {}, {}
  for _, entry in ipairs(cmsgpack.unpack(packed)[2]) do
    local field = entry[2]
    sums[field] = (sums[field] or 0) + entry[3]
    kinds[field] = entry[1]
  end
  for field, amount in pairs(sums) do
    if kinds[field] == RUNNING then
      if redis.call('HINCRBY', running, field, whole(-amount)) <= 0 then
        redis.call('HDEL', running, field)
      end
    elseif kinds[field] == TOKENS then
      local last = redis.call('HGET', rate, field)
      if last then
        local at, level, held, period, limit = unpack(cmsgpack.unpack(last))
        level = level + (tokens < 0 and amount or tokens) * period
        held = math.max(0, held - amount)
        redis.call('HSET', rate, field, cmsgpack.pack({ at, level, held, period, limit }))
      end
    elseif micro >= 0 then
      local value = redis.call('HGET', spent, field)
      if value then -- a counter whose window was swept stays away
        value = math.min(MOST, math.max(0, tonumber(value) + (micro - amount)))
        redis.call('HSET', spent, field, whole(value))
      end
    end
  end
  redis.call('HDEL', holds, id)
  redis.call('ZREM', ends, id)
  return 1
end

local settled = 0
for _, one in ipairs(cmsgpack.unpack(ARGV[1])) do
  settled = settled + settle(one[1], one[2], one[3])
end
return settled
