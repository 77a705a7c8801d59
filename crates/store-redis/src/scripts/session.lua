-- Binds, moves or ends a session.
-- KEYS: the session, the number of the newest change, the changes. ARGV: what, the session's name,
-- for 'bind' the exit and milliseconds, for 'move' the exit it is with and the one it goes to, for 'end' nothing;
-- last how many changes are kept.
-- Returns: its exit or '', the milliseconds it has left.
local function tell()
  local news = redis.call('INCR', KEYS[2])
  redis.call('ZADD', KEYS[3], news, ARGV[2])
  redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -1 - ARGV[#ARGV])
  redis.call('EXPIRE', KEYS[2], 86400)
  redis.call('EXPIRE', KEYS[3], 86400)
end
local exit = redis.call('GET', KEYS[1])
if ARGV[1] == 'end' then
  redis.call('DEL', KEYS[1])
  tell()
  return { exit or '', 0 }
end
if ARGV[1] == 'bind' and not exit then
  exit = ARGV[3]
  redis.call('SET', KEYS[1], exit, 'PX', ARGV[4])
elseif ARGV[1] == 'move' and exit == ARGV[3] then
  exit = ARGV[4]
  redis.call('SET', KEYS[1], exit, 'KEEPTTL')
  tell()
end
return { exit or '', math.max(0, redis.call('PTTL', KEYS[1])) }
