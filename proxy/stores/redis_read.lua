-- A session at one moment. ARGV: "log" after a seq, or "all".
local p, session = ARGV[1], ARGV[2]
local raw = redis.call('GET', p .. ':s:' .. session)
if not raw then return false end
local first = cmsgpack.unpack(raw)[5]
local after = math.max(tonumber(ARGV[4] or 0) - first, 0)
local log = redis.call('LRANGE', p .. ':e:' .. session, after, -1)
if ARGV[3] == 'log' then return {raw, first + after, log} end
return {raw, first, log, redis.call('HGETALL', p .. ':h:' .. session),
        redis.call('LRANGE', p .. ':k:' .. session, 0, -1),
        redis.call('HGETALL', p .. ':c:' .. session)}
