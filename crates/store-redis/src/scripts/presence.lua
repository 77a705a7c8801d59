-- Says that a member is there, or goes, and tells it who else is.
-- KEYS: the members (by the millisecond they are gone), their peers, when all this began, the number of the newest change
-- of a session, the changes, the prefix of the members' exits. ARGV: member, then for one that goes nothing;
-- else milliseconds it lasts, its peer (a name, a line feed, a door or nothing), the newest change it heard of, how many
-- exits arrived, these, how many left, these, and the exits it seeks.
-- Returns: microseconds since all this began, how many exits are its, the peers, the holders' names per exit sought (one
-- a line), the changes, the number of the newest.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local micros = time[1] * 1000000 + time[2]
local member = ARGV[1]
local function exits_of(name)
  return KEYS[6] .. name
end
local function forget(name)
  redis.call('ZREM', KEYS[1], name)
  redis.call('HDEL', KEYS[2], name)
  redis.call('DEL', exits_of(name))
end
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)) do
  forget(gone)
end
if #ARGV == 1 then
  forget(member)
  return {}
end
local day = 86400000
if not redis.call('SET', KEYS[3], string.format('%.0f', micros), 'NX', 'PX', day) then
  redis.call('PEXPIRE', KEYS[3], day)
end
redis.call('ZADD', KEYS[1], now + ARGV[2], member)
redis.call('HSET', KEYS[2], member, ARGV[3])
local at = 5
local function each_of_list(command)
  local count = tonumber(ARGV[at])
  for i = at + 1, at + count do
    redis.call(command, exits_of(member), ARGV[i])
  end
  at = at + count + 1
end
each_of_list('SADD')
each_of_list('SREM')
redis.call('PEXPIRE', exits_of(member), ARGV[2])
redis.call('PEXPIRE', KEYS[1], day)
redis.call('PEXPIRE', KEYS[2], day)
local members, names, peers = redis.call('ZRANGE', KEYS[1], 0, -1), {}, {}
for i, name in ipairs(members) do
  peers[i] = redis.call('HGET', KEYS[2], name) or ''
  names[i] = string.match(peers[i], '^[^\n]*')
end
local holders = {}
for i = at, #ARGV do
  local lines = {}
  for j, name in ipairs(members) do
    if redis.call('SISMEMBER', exits_of(name), ARGV[i]) == 1 then
      lines[#lines + 1] = names[j]
    end
  end
  holders[#holders + 1] = table.concat(lines, '\n')
end
local news = tonumber(redis.call('GET', KEYS[4]) or 0)
local heard = tonumber(ARGV[4])
-- Who heard more than there is heard it before all this was lost.
if heard > news then
  heard = 0
end
local changes = redis.call('ZRANGEBYSCORE', KEYS[5], '(' .. string.format('%.0f', heard), '+inf')
local began = redis.call('GET', KEYS[3])
return { math.max(0, micros - began), redis.call('SCARD', exits_of(member)), peers, holders, changes, news }
