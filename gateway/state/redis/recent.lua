-- Adds turns to the recent ones, and returns all of them.
--
-- KEYS   one hash: cell -> turns since the last change; `size`, the sum of these turns; and `before`,
--        the turns before the change, packed {cell, turns, cell, turns...}
-- ARGV   packed {turns at which the older turns are dropped, seconds to keep the hash, the number
--        of cells that count in `size`, cells}; cells are {cell, turns, cell, turns...}
-- Answer the hash
local name, ask = KEYS[1], cmsgpack.unpack(ARGV[1])
local turns, life, most, cells = ask[1], ask[2], ask[3], ask[4]
local size = 0

for at = 1, #cells, 2 do
  redis.call('HINCRBY', name, string.format('%.0f', cells[at]), string.format('%.0f', cells[at + 1]))
  if cells[at] < most then
    size = size + cells[at + 1]
  end
end
if size > 0 then
  size = redis.call('HINCRBY', name, 'size', string.format('%.0f', size))
  if size >= turns then
    local all, before = redis.call('HGETALL', name), {}
    for at = 1, #all, 2 do
      local cell = tonumber(all[at])
      if cell then
        before[#before + 1] = cell
        before[#before + 1] = tonumber(all[at + 1])
      end
    end
    redis.call('DEL', name)
    redis.call('HSET', name, 'before', cmsgpack.pack(before))
  end
  redis.call('EXPIRE', name, life)
end
return redis.call('HGETALL', name)
