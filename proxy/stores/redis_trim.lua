-- Takes away what has been carried out, up to the number given; answers how many entries that were.
local trimmed, last = 0, tonumber(ARGV[1])
local raw = redis.call('LINDEX', KEYS[1], 0)
while raw and cmsgpack.unpack(raw)[1] <= last do
  redis.call('LPOP', KEYS[1])
  trimmed = trimmed + 1
  raw = redis.call('LINDEX', KEYS[1], 0)
end
return trimmed
