-- Gives an end user counters of its own, unless too many users of its key have some already.
--
-- KEYS   one hash: the users of a key that have counters in a window, and under '' their number
-- ARGV   packed {user, the most users, seconds to keep the hash or 0 for ever}
-- Answer 1 if the user has counters of its own, 0 if it has none
local ask = cmsgpack.unpack(ARGV[1])
local user, most, life = ask[1], ask[2], ask[3]

if redis.call('HGET', KEYS[1], user) then
  return 1
end
if tonumber(redis.call('HGET', KEYS[1], '') or 0) >= most then
  return 0
end
redis.call('HSET', KEYS[1], user, 1)
redis.call('HINCRBY', KEYS[1], '', 1)
if life > 0 then
  redis.call('EXPIRE', KEYS[1], life)
end
return 1
