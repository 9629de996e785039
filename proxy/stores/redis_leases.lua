-- Who lives. KEYS[1]: owners by the time at which their leases end, in milliseconds by this server's
-- clock: those of the processes may differ. Zero: it left, and left something behind.
local words = redis.call('TIME')
local now = words[1] * 1000 + math.floor(words[2] / 1000)
local owners, what, name = KEYS[1], ARGV[1], ARGV[2]
local lock = owners .. ':' .. name
if what == 'claim' then -- one whose answer was lost is sent again, and knows itself by its token
  local claim = owners .. ':claim:' .. name
  if redis.call('ZSCORE', owners, name) and redis.call('GET', claim) ~= ARGV[4] then
    return 0
  end
  redis.call('SET', claim, ARGV[4], 'EX', 600)
end
if what == 'claim' or what == 'beat' then
  redis.call('ZADD', owners, now + ARGV[3], name)
  redis.call('PEXPIRE', owners, 604800000)
  local answer = {}
  for place, word in ipairs(redis.call('ZRANGE', owners, 0, -1, 'WITHSCORES')) do
    if place % 2 == 1 then
      answer[place] = word
    else
      answer[place] = string.format('%.0f', tonumber(word) - now)
    end
  end
  return answer
elseif what == 'leave' then
  if ARGV[3] == '1' then
    return redis.call('ZREM', owners, name)
  end
  return redis.call('ZADD', owners, 0, name)
end
local ends = redis.call('ZSCORE', owners, name)
local is_gone = ends and tonumber(ends) <= now
if what == 'take' then
  if is_gone and redis.call('SET', lock, ARGV[3], 'NX', 'PX', ARGV[4]) then
    return 1
  end
  return 0
elseif what == 'bury' and is_gone then
  redis.call('ZREM', owners, name)
end
if redis.call('GET', lock) == ARGV[3] then
  redis.call('DEL', lock)
end
return 1
