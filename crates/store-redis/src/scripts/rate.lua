-- Takes tokens of a rate: the generic cell rate algorithm on the server's own microseconds.
-- KEYS: the theoretical arrival time. ARGV: tokens a second, tokens at once, tokens wanted.
-- Returns: granted, remaining, microseconds until there is one.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local step = 1000000 / ARGV[1]
local ahead = step * ARGV[2]
-- A clock that was set back must not shut the key out.
local arrival = math.min(math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now), now + ahead)
-- A thousandth of a token is what the sums above may lose.
local free = math.floor((now + ahead - arrival) / step + 0.001)
local granted = math.min(tonumber(ARGV[3]), free)
if granted > 0 then
  arrival = arrival + granted * step
  redis.call('SET', KEYS[1], string.format('%.3f', arrival), 'PX', math.ceil((arrival - now) / 1000) + 1000)
end
return { granted, free - granted, math.max(0, math.ceil(arrival + step - now - ahead)) }
