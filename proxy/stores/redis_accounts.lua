-- Deletes accounts that nothing was charged to since then and nothing is held on: of the first few
-- that may be such. The others are put where they belong. Answers how many went, and were looked at.
local before, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local keys = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[1], 'LIMIT', 0, most)
local gone, seen = 0, 0
for _, key in ipairs(keys) do
  local raw = redis.call('GET', key)
  local a = raw and cmsgpack.unpack(raw)
  if not a then
    redis.call('ZREM', KEYS[1], key)
    seen = seen + 1
  elseif a[8] >= before then
    redis.call('ZADD', KEYS[1], a[8], key)
    seen = seen + 1
  elseif a[2] == 0 and a[4] == 0 and a[7] == 0 then
    redis.call('DEL', key)
    redis.call('ZREM', KEYS[1], key)
    gone, seen = gone + 1, seen + 1
  else
    redis.call('ZADD', KEYS[1], before, key) -- looked at again another time
    seen = seen + 1
  end
end
return {gone, seen}
