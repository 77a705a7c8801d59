-- Sets a member's level of a key's threads, within what the other living members leave.
-- KEYS: the levels, the members. ARGV: member, turn, limit, used, wanted.
-- Returns: the level.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local levels = redis.call('HGETALL', KEYS[1])
local others, mine, turn = 0, 0, 0
for i = 1, #levels, 2 do
  local level, at = string.match(levels[i + 1], '^(%d+) (%d+)$')
  if levels[i] == ARGV[1] then
    mine, turn = tonumber(level), tonumber(at)
  elseif tonumber(redis.call('ZSCORE', KEYS[2], levels[i]) or 0) > now then
    others = others + level
  else
    redis.call('HDEL', KEYS[1], levels[i])
  end
end
if turn < tonumber(ARGV[2]) then
  mine = math.max(tonumber(ARGV[4]), math.min(tonumber(ARGV[5]), math.max(0, ARGV[3] - others)))
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f %s', mine, ARGV[2]))
end
-- Members say their levels again every second.
redis.call('PEXPIRE', KEYS[1], 60000)
return mine
