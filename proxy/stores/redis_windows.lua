-- Accounts that lie in another slot than the sessions charged to them (proxy/stores/redis_windows.py).
-- KEYS: pending claims, how far each tenant was carried out. ARGV: what to do, seconds until an
-- untouched key goes, and what it is done with.
local call, unpack_, pack = redis.call, cmsgpack.unpack, cmsgpack.pack
local expire, MOST = tonumber(ARGV[2]), 9007199254740992
local account_expire = math.max(expire, 3456000) -- 40 days: a window of a month is never forgotten

local function tag_of(key) return string.sub(key, 1, string.find(key, '}', 1, true)) end

local function read(key)
  local raw = call('GET', key)
  return raw and unpack_(raw) or {0, 0, 0, 0, 0, 0, 0, 0}, not raw
end

local function move(movements, sign, at)
  for key, movement in pairs(movements) do
    local a, is_new = read(key)
    for i = 1, 7 do a[i] = a[i] + sign * movement[i] end
    if at > a[8] then a[8] = at end
    if is_new then
      call('ZADD', tag_of(key) .. ':bz', a[8], key)
      call('EXPIRE', tag_of(key) .. ':bz', account_expire)
    end
    call('SET', key, pack(a), 'EX', account_expire)
  end
end

local function above(a, most)
  return (most[1] and a[1] + a[2] > most[1]) or (most[2] and a[3] + a[4] > most[2])
    or (most[3] and a[5] > most[3]) or (most[4] and a[7] > most[4])
end

local doing = {}

-- Takes what has a maximum, if there is room: the nth charge has none is answered with n.
function doing.claim(id, raw)
  if call('HEXISTS', KEYS[1], id) == 1 then return 0 end
  local claim = unpack_(raw) -- {tenant's tag, when, movements to take, charges to look at, touched}
  for _, c in ipairs(claim[4]) do -- {n, key, all that it moves, maximum}
    local a = read(c[2])
    for i = 1, 7 do a[i] = a[i] + c[3][i] end
    if above(a, c[4]) or math.abs(a[1]) >= MOST or math.abs(a[2]) >= MOST then return c[1] end
  end
  local made = {}
  for key in pairs(claim[3]) do if call('EXISTS', key) == 0 then made[#made + 1] = key end end
  move(claim[3], 1, claim[5])
  call('HSET', KEYS[1], id, pack({claim[1], claim[2], claim[3], made}))
  call('EXPIRE', KEYS[1], expire)
  return 0
end

-- Gives a claim back that came to nothing.
function doing.undo(id)
  local raw = call('HGET', KEYS[1], id)
  if not raw then return 0 end
  local claim = unpack_(raw)
  move(claim[3], -1, 0)
  for _, key in ipairs(claim[4]) do
    local sum, a = 0, read(key)
    for i = 1, 7 do sum = sum + math.abs(a[i]) end
    if sum == 0 then call('DEL', key); call('ZREM', tag_of(key) .. ':bz', key) end
  end
  return call('HDEL', KEYS[1], id)
end

-- Carries out what a tenant's slot sent, each once and in its order; answers how far that is.
function doing.apply(tag, ...)
  local last = tonumber(call('HGET', KEYS[2], tag) or 0)
  for _, raw in ipairs({...}) do
    local entry = unpack_(raw) -- {number, claim, when, movements}
    if entry[1] == last + 1 then
      move(entry[4], 1, entry[3])
      if entry[2] then call('HDEL', KEYS[1], entry[2]) end
      last = entry[1]
    end
  end
  call('HSET', KEYS[2], tag, string.format('%.0f', last))
  call('PERSIST', KEYS[2]) -- as the numbering is: without it nothing would be carried out again
  return last
end

return doing[ARGV[1]](unpack(ARGV, 3))
