-- Appends, one after the other: each all or nothing, decided like proxy/stores/effects.py does it.
-- Stops behind one that was made on an older end of its log: whoever sent it makes it anew.
-- ARGV: attempt, whether this is a cluster, seconds until an untouched key goes, then the appends
-- (proxy/stores/redis_requests.py). Nothing is written before all has been looked at.
local attempt, cluster, expire = tonumber(ARGV[1]), ARGV[2] == '1', tonumber(ARGV[3])
local call, unpack_, pack = redis.call, cmsgpack.unpack, cmsgpack.pack
local MOST = 9007199254740992 -- 2^53: what a double counts exactly
local account_expire = math.max(expire, 3456000) -- 40 days: a window of a month is never forgotten

local function tip_of(key)
  local raw = call('GET', key)
  if raw then
    local t = unpack_(raw)
    return {v = t[1], seq = t[2], token = t[3], number = t[4], first = t[5], state = t[6],
            agent = t[7], queued = t[8], updated = t[9], raw = raw}
  end
  return {v = '', seq = 0, token = '', first = 0, raw = ''}
end

-- What lies beside an account: in its own slot.
local function tag_of(key) return string.sub(key, 1, string.find(key, '}', 1, true)) end

local function text(n) return string.format('%.0f', n) end

local function place(number, session) return string.format('%016.0f', number) .. session end

-- Movements on accounts: gathered per account, here or (of another slot) to be sent there.
local function ledger_of(prefix)
  local own = {here = {}, order = {}, there = {}}
  function own.on(key)
    local account = own.here[key]
    if not account then
      local raw = call('GET', key)
      account = raw and unpack_(raw) or {0, 0, 0, 0, 0, 0, 0, 0}
      account.is_new = not raw
      own.here[key] = account
      own.order[#own.order + 1] = key
    end
    return account
  end
  function own.move(key, movement)
    local account
    if cluster and string.sub(key, 1, #prefix) ~= prefix then
      account = own.there[key]
      if not account then account = {0, 0, 0, 0, 0, 0, 0}; own.there[key] = account end
    else
      account = own.on(key)
    end
    for i = 1, 7 do account[i] = account[i] + movement[i] end
  end
  return own
end

local function storable(a) return math.abs(a[1]) < MOST and math.abs(a[2]) < MOST end

local function above(a, most) -- micro-dollars, tokens, steps, calls
  return (most[1] and a[1] + a[2] > most[1]) or (most[2] and a[3] + a[4] > most[2])
    or (most[3] and a[5] > most[3]) or (most[4] and a[7] > most[4])
end

local function is_on(seq, after, tip) return seq == tip.seq and (not after or after == tip.token) end

local function freed(accounts, hold, spent, counts)
  for _, key in ipairs(hold[4]) do accounts.move(key, {spent, -hold[3], 0, 0, 0, 0, 0}) end
  for _, key in ipairs(hold[6]) do
    accounts.move(key, {spent, -hold[3], counts[1], counts[2] - hold[5], counts[3], counts[4],
                        counts[5] - 1})
  end
end

local function listed(movements) -- one text for equal movements
  local keys = {}
  for key in pairs(movements) do keys[#keys + 1] = key end
  table.sort(keys)
  for i, key in ipairs(keys) do
    local parts = {key}
    for n = 1, 7 do parts[n + 1] = text(movements[key][n]) end
    keys[i] = table.concat(parts, ',')
  end
  return table.concat(keys, ';')
end

local function was_written(r, tip, events)
  if tip.v == r.v then return true end
  local nth = r.seq - #r.rows - tip.first
  return #r.rows > 0 and nth >= 0 and call('LINDEX', events, nth) == r.rows[1]
end

-- Index entries of a session: of its state, its agent, and of all.
local function indexes(p, state, agent)
  if state == 'deleted' then return {p .. ':z:s:deleted'} end
  local keys = {p .. ':z', p .. ':z:s:' .. state}
  if agent then keys[3] = p .. ':z:a:' .. agent end
  return keys
end

local function index(p, r, tip)
  local old = tip.number and place(tip.number, r.session)
  local new = place(r.number, r.session)
  local moves = tip.state ~= r.state or tip.agent ~= r.agent or old ~= new
  if old and moves then
    for _, key in ipairs(indexes(p, tip.state, tip.agent)) do call('ZREM', key, old) end
  end
  for _, key in ipairs(indexes(p, r.state, r.agent)) do
    call('ZADD', key, r.updated, new)
    if moves or r.refresh then call('EXPIRE', key, expire) end
  end
  for bit, key in ipairs({p .. ':q', p .. ':w'}) do
    local is, was = r.queued % (2 * bit) >= bit, (tip.queued or 0) % (2 * bit) >= bit
    if was and (not is or old ~= new) then call('ZREM', key, old) end
    if is then call('ZADD', key, r.updated, new); call('EXPIRE', key, expire) end
  end
end

local function bucket(p, digest)
  local hex = string.format('%02x%02x', string.byte(digest, 1), string.byte(digest, 2) or 0)
  return p .. ':l:' .. string.sub(hex, 1, 3)
end

local function without(names, name)
  local left = {}
  for _, one in ipairs(names) do if one ~= name then left[#left + 1] = one end end
  return left
end

local function link(p, r)
  local given = p .. ':k:' .. r.session
  for _, digest in ipairs(r.links) do
    local key = bucket(p, digest)
    local raw = call('HGET', key, digest)
    local before = raw and unpack_(raw) or {}
    local names = without(before, r.session)
    if #names == #before then call('RPUSH', given, digest) end
    names[#names + 1] = r.session
    if #names > 8 then call('LREM', p .. ':k:' .. table.remove(names, 1), 1, digest) end
    call('HSET', key, digest, pack(names))
    call('EXPIRE', key, expire)
  end
  if #r.links > 0 then call('EXPIRE', given, expire) end
end

local function unlink(p, session)
  local given = p .. ':k:' .. session
  for _, digest in ipairs(call('LRANGE', given, 0, -1)) do
    local key = bucket(p, digest)
    local raw = call('HGET', key, digest)
    if raw then
      local names = without(unpack_(raw), session)
      if #names == 0 then call('HDEL', key, digest) else call('HSET', key, digest, pack(names)) end
    end
  end
  call('DEL', given)
end

local function push(key, command, values) -- 1,000 at a time: Lua's stack ends
  for i = 1, #values, 1000 do
    call(command, key, unpack(values, i, math.min(i + 999, #values)))
  end
end

local function hold(p, r, opened, order)
  local key, due = p .. ':h:' .. r.session, p .. ':d'
  for _, name in ipairs(order) do
    call('HSET', key, name, pack(opened[name]))
    call('ZADD', due, opened[name][2], pack({r.session, name}))
  end
  for _, name in ipairs(r.closes) do
    call('HDEL', key, name)
    call('ZREM', due, pack({r.session, name}))
  end
  if #order > 0 then call('EXPIRE', key, expire); call('EXPIRE', due, expire) end
end

local function book(accounts, r)
  for _, key in ipairs(accounts.order) do
    local a = accounts.here[key]
    if r.updated > a[8] then a[8] = r.updated end
    if a.is_new then
      local all = tag_of(key) .. ':bz'
      call('ZADD', all, a[8], key)
      call('EXPIRE', all, account_expire)
    end
    call('SET', key, pack({a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8]}), 'EX', account_expire)
  end
end

-- What is to be carried out in another slot lies here until it has been.
local function send(p, r, there)
  if not (r.claim or next(there)) then return false end
  local number = call('INCR', p .. ':on')
  local entry = pack({number, r.claim or false, r.updated, there})
  call('RPUSH', p .. ':o', entry)
  return entry
end

local function ready(keys) -- of a slot that is moving: fails before anything is written
  for _, key in ipairs(keys) do call('EXISTS', key) end
end

local function write(p, r, tip, accounts, opened, order)
  local events, contents = p .. ':e:' .. r.session, p .. ':c:' .. r.session
  if cluster then
    ready({events, contents, p .. ':h:' .. r.session, p .. ':k:' .. r.session, p .. ':d', p .. ':q',
           p .. ':w', p .. ':o', p .. ':on', p .. ':bz'})
    ready(indexes(p, r.state, r.agent))
    for _, digest in ipairs(r.links) do ready({bucket(p, digest)}) end
  end
  if r.wipe then unlink(p, r.session); call('DEL', events, contents) end
  index(p, r, tip)
  if r.wipe == 2 then
    for _, key in ipairs(indexes(p, r.state, r.agent)) do
      call('ZREM', key, place(r.number, r.session))
    end
    call('DEL', p .. ':s:' .. r.session)
    call('SET', p .. ':x:' .. r.session, 1, 'EX', 180)
    return false
  end
  push(events, 'RPUSH', r.rows)
  push(contents, 'HSET', r.contents)
  if r.refresh then call('EXPIRE', events, expire + 172800) end
  if r.refresh or #r.contents > 0 then call('EXPIRE', contents, expire + 172800) end
  call('SET', p .. ':s:' .. r.session, r.tip, 'EX', expire)
  hold(p, r, opened, order)
  book(accounts, r)
  link(p, r)
  return send(p, r, accounts.there)
end

local function opened_by(p, r)
  local opened, order = {}, {}
  for _, op in ipairs(r.opens) do -- {call, hold} or {call, false, more micro-dollars, more tokens}
    local name, held = op[1], op[2]
    if not held then
      local raw = not opened[name] and call('HGET', p .. ':h:' .. r.session, name)
      held = opened[name] or (raw and unpack_(raw))
      if not held then return nil end
      held[3], held[5] = held[3] + op[3], held[5] + op[4]
    end
    if not opened[name] then order[#order + 1] = name end
    opened[name] = held
  end
  return opened, order
end

local function charge(r, p, closed)
  local accounts = ledger_of(p)
  for _, c in ipairs(r.charges) do if c[1] then accounts.move(c[1], c[2]) end end
  for _, held in ipairs(closed) do freed(accounts, held, r.spent, r.counts) end
  local frees = listed(accounts.there)
  for i, c in ipairs(r.charges) do
    if i == r.exceeded then return nil, {'exceeded', i} end
    if c[1] then
      local a = accounts.here[c[1]]
      if (c[3] and above(a, c[3])) or not storable(a) then return nil, {'exceeded', i} end
    end
  end
  for _, key in ipairs(#closed > 0 and accounts.order or {}) do
    if not storable(accounts.here[key]) then return nil, {'exceeded', 0, key} end
  end
  for key, movement in pairs(r.there or {}) do accounts.move(key, movement) end
  if r.claim and frees ~= r.frees then return nil, {'anew'} end
  return accounts
end

local function closed_by(p, r)
  local closed, seen = {}, {}
  for _, name in ipairs(r.closes) do
    local raw = not seen[name] and call('HGET', p .. ':h:' .. r.session, name)
    seen[name] = true
    if raw then closed[#closed + 1] = unpack_(raw) end
  end
  return closed
end

local function refused(p, r, tip)
  if r.expected and not is_on(r.expected, r.after, tip) then return true end
  for _, g in ipairs(r.guards) do
    if not is_on(g[2], g[3], tip_of(g[1])) then return true end
  end
  return false
end

local function append(r)
  local p = r.p
  local tip = tip_of(p .. ':s:' .. r.session)
  if attempt > 0 and was_written(r, tip, p .. ':e:' .. r.session) then return {'ok', false, 1} end
  local closed = closed_by(p, r)
  if #r.closes > 0 and #closed == 0 then return {'repeat', tip.raw} end
  if refused(p, r, tip) then return {'conflict', tip.seq} end
  if r.wipe and call('EXISTS', p .. ':h:' .. r.session) == 1 then return {'held'} end
  local opened, order = opened_by(p, r)
  if not opened then return {'conflict', tip.seq} end
  local accounts, no = charge(r, p, closed)
  if no then return no end
  if r.claim and call('ZSCORE', p .. ':v', r.claim) then return {'anew'} end
  if tip.v ~= r.base then return {'tip', tip.raw} end
  return {'ok', write(p, r, tip, accounts, opened, order)}
end

local results = {}
for i = 4, #ARGV do
  local result = append(unpack_(ARGV[i]))
  results[#results + 1] = result
  if result[1] == 'tip' or result[1] == 'anew' then break end
end
return results
