-- Sets a member's level of the bytes of a key's period, within what is left.
-- KEYS: the period. ARGV: member, turn, limit, used, wanted, the period's end (Unix seconds), what the member knows
-- ('ledger' or 'told'), the level it knows, the total it knows.
-- Returns: the level, the total.
-- All counts are exact up to 2^53.
local function number(field)
  return tonumber(redis.call('HGET', KEYS[1], field) or 0)
end
local function put(field, value)
  redis.call('HSET', KEYS[1], field, string.format('%.0f', value))
end
local field = 'member:' .. ARGV[1]
local known = redis.call('HGET', KEYS[1], field)
local floor, moved = number('floor'), number('moved')
local mine, turn = 0, 0
if known then
  mine, turn = string.match(known, '^(%d+) (%d+)$')
  mine, turn = tonumber(mine), tonumber(turn)
elseif ARGV[7] == 'told' then
  -- Told before what was here was lost, so nothing that moved since is in it.
  mine, floor = tonumber(ARGV[8]), math.max(floor, tonumber(ARGV[9]))
else
  -- The ledger may have heard of what moved since.
  floor = floor + math.max(0, ARGV[9] - (floor + moved))
end
if turn < tonumber(ARGV[2]) then
  local others = math.max(0, floor + moved - mine)
  local level = math.max(tonumber(ARGV[4]), math.min(tonumber(ARGV[5]), math.max(0, ARGV[3] - others)))
  moved = moved + level - mine
  mine = level
  redis.call('HSET', KEYS[1], field, string.format('%.0f %s', level, ARGV[2]))
end
put('floor', floor)
put('moved', moved)
-- An hour for clocks that disagree.
redis.call('EXPIREAT', KEYS[1], ARGV[6] + 3600)
return { mine, math.max(0, floor + moved) }
