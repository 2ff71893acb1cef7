-- One exchange of a member with its store: everything at once, or nothing.
--
-- KEYS: head, seen, order, starts, records, and one for each limit; all with the fleet's hash tag.
-- ARGV: see `arguments` in arguments.rs. Numbers are whole, times are milliseconds of this server's clock.

local head, seen, order, starts, records = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local member, start, number = ARGV[1], ARGV[2], tonumber(ARGV[3])
local leader_lease, share_lease = tonumber(ARGV[4]), tonumber(ARGV[5])
local forget_after, settle = tonumber(ARGV[6]), tonumber(ARGV[7])
local known_epoch, candidacy, since = tonumber(ARGV[8]), ARGV[12], ARGV[13]
local known_before = tonumber(ARGV[24])
local WHOLE, LIMIT_KEY_TTL, RECORDS_MAX = 1000000, 3600000, 256

local function whole(value) return string.format('%.0f', value) end
local function num(value) return tonumber(value or '') or 0 end

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

-- A server that has not written this fleet's data itself: restarted, or promoted with what it had copied.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
local h = redis.call('HMGET', head, 'run', 'opened', 'high', 'epoch', 'leader', 'leader_start', 'until', 'rev',
  'before', 'before_ends')
local opened, high, epoch = num(h[2]), num(h[3]), num(h[4])
local leader, leader_start, lease_end, rev = h[5] or '', h[6] or '0', num(h[7]), num(h[8])
if h[1] ~= run then
  opened, leader, lease_end = now, '', 0
  redis.call('HSET', head, 'run', run)
  -- Another clock: silence is counted from here, and a member may have been cut off before.
  local silent = now - math.floor(share_lease / 4)
  for _, id in ipairs(redis.call('ZRANGE', seen, 0, -1)) do redis.call('ZADD', seen, silent, id) end
end
if opened > now then opened = now end
local settling = now < opened + settle

-- A request that comes after a newer one, or from a start that a later one has replaced.
local latest_start, latest_number = string.match(redis.call('HGET', starts, member) or '', '^(%d+) (%d+)$')
if latest_start and (num(start) < num(latest_start)
    or (start == latest_start and number <= num(latest_number))) then
  redis.call('HSET', head, 'opened', whole(opened), 'leader', leader, 'until', whole(lease_end))
  return { whole(now), 'late', '0', '', '0', '0', '0', '0', '0', '', '', '0', '0', '0', {}, {}, {} }
end

local function forget(id)
  redis.call('ZREM', seen, id)
  redis.call('ZREM', order, id)
  redis.call('HDEL', starts, id)
  redis.call('HDEL', records, id)
end
local before, before_ends = num(h[9]), num(h[10])
if candidacy == 'leaves' then
  forget(member)
  before = math.max(0, before - 1)
else
  redis.call('ZADD', seen, math.max(0, now - tonumber(ARGV[26])), member)
  redis.call('HSET', starts, member, start .. ' ' .. ARGV[3])
end
local gone = redis.call('ZRANGEBYSCORE', seen, '-inf', now - forget_after, 'LIMIT', 0, 16)
for _, id in ipairs(gone) do forget(id) end

-- The leader, and its epoch.
if known_epoch > high then high = known_epoch end
if lease_end > now + leader_lease then lease_end = now + leader_lease end
local leads = leader ~= '' and now < lease_end
if leads and leader == member and leader_start == start and candidacy ~= 'ready' then leads = false end
if not leads then leader, leader_start, lease_end = '', '0', 0 end
if leads and leader == member and leader_start == start then
  -- A member that does not receive its replies must not keep the lead from others.
  if ARGV[25] == whole(epoch) then lease_end = now + leader_lease end
elseif not leads and candidacy == 'ready' and not settling then
  high = math.max(high + 1, now)
  epoch, leader, leader_start, lease_end, leads = high, member, start, now + leader_lease, true
end

-- The state, only under its leader's epoch and only in place of the one that the leader has seen.
local s = redis.call('HMGET', head, 'generation', 'state_epoch', 'writer', 'sealed')
local generation, state_epoch, writer = whole(num(s[1])), whole(num(s[2])), s[3] or '0'
if not string.match(writer, '^%d+$') then writer = '0' end
local kind, written = ARGV[14], ''
local new = ARGV[15] .. ':' .. ARGV[16] .. ':' .. ARGV[17]
local present = generation .. ':' .. state_epoch .. ':' .. writer
local take = false
if kind == 'offer' and settling then
  take = num(ARGV[15]) > num(generation)
    or (num(ARGV[15]) == num(generation) and num(ARGV[16]) > num(state_epoch))
elseif kind == 'publish' then
  local is_leader = leader == member and leader_start == start and whole(epoch) == ARGV[19]
  take = is_leader and present == ARGV[20] .. ':' .. ARGV[21] .. ':' .. ARGV[22]
  if take or present == new then written = 'done' else written = 'refused' end
end
local sealed = s[4] or ''
if take then
  generation, state_epoch, writer, sealed = ARGV[15], ARGV[16], ARGV[17], ARGV[18]
  present = new
  redis.call('HSET', head, 'generation', generation, 'state_epoch', state_epoch, 'writer', writer, 'sealed', sealed)
end
if present == ARGV[9] .. ':' .. ARGV[10] .. ':' .. ARGV[11] or (kind == 'publish' and present == new) then
  sealed = ''
elseif generation ~= '0' and sealed == '' then
  sealed = '-'
end

if ARGV[23] ~= '' and candidacy ~= 'leaves' then
  rev = rev + 1
  redis.call('HSET', records, member, ARGV[23])
  redis.call('ZADD', order, rev, member)
end
redis.call('HSET', head, 'opened', whole(opened), 'high', whole(high), 'epoch', whole(epoch), 'leader', leader,
  'leader_start', leader_start, 'until', whole(lease_end), 'rev', whole(rev))

-- Members that the store has forgotten with its memory may be cut off, and take their even part.
if now >= before_ends then before = 0 end
if known_before > before then before, before_ends = known_before, now + forget_after end
redis.call('HSET', head, 'before', whole(before), 'before_ends', whole(before_ends))
local known = math.max(redis.call('ZCARD', seen), before)
local reached = redis.call('ZCOUNT', seen, '(' .. whole(now - math.floor(share_lease / 4)), '+inf')
local live = redis.call('ZCOUNT', seen, '(' .. whole(now - share_lease), '+inf')

-- Shares of limits: what is granted, and what may still be in use, is never more than the whole.
local function allot(key, rate, demand, holds)
  local b = redis.call('HMGET', key, 'sum', 'demand', 'count', 'sweep')
  local sum, demands, count, sweep = num(b[1]), num(b[2]), num(b[3]), num(b[4])
  local field = 'm:' .. member .. ':' .. start
  if now >= sweep or sweep > now + 500 then
    local all, ended = redis.call('HGETALL', key), {}
    sum, demands, count = 0, 0, 0
    for i = 1, #all, 2 do
      local share, wants, ends = string.match(all[i + 1], '^(%d+) (%d+) (%d+)$')
      if share and string.sub(all[i], 1, 2) == 'm:' then
        if now >= num(ends) or num(ends) > now + share_lease then
          ended[#ended + 1] = all[i]
        else
          sum, demands, count = sum + num(share), demands + num(wants), count + 1
        end
      end
    end
    for _, name in ipairs(ended) do redis.call('HDEL', key, name) end
    sweep = now + 500
  end
  local share, wants = string.match(redis.call('HGET', key, field) or '', '^(%d+) (%d+) %d+$')
  if share then sum, demands, count = sum - num(share), demands - num(wants), count - 1 end
  local grant = 0
  if (demand == 0 and holds == 0) or candidacy == 'leaves' then
    redis.call('HDEL', key, field)
  else
    demands, count = demands + demand, count + 1
    -- Members that are cut off take an even part each, which is kept before they do.
    local free = WHOLE - math.floor(WHOLE * (known - reached) / math.max(known, 1)) - sum
    local target
    if demands >= rate then
      target = math.floor(WHOLE * demand / demands)
    else
      local spare = WHOLE - math.floor(WHOLE * demands / rate)
      target = math.floor(WHOLE * demand / rate) + math.floor(spare / count)
    end
    -- What is given up is not used before the others take it: little differences are left as they are.
    if target < holds and target * 8 >= holds * 7 then target = holds end
    if settling then free = math.min(free, holds) end
    grant = math.max(0, math.min(target, free))
    local counted = math.max(holds, grant)
    sum = sum + counted
    redis.call('HSET', key, field, whole(counted) .. ' ' .. whole(demand) .. ' ' .. whole(now + share_lease))
  end
  redis.call('HSET', key, 'sum', whole(sum), 'demand', whole(demands), 'count', whole(count), 'sweep', whole(sweep))
  redis.call('PEXPIRE', key, LIMIT_KEY_TTL)
  return whole(grant)
end
local shares = {}
for i = 6, #KEYS do
  local at = 27 + (i - 6) * 3
  shares[#shares + 1] = allot(KEYS[i], tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]))
end

-- Only the leader reads what the others have written.
local members, news, until_rev = {}, {}, 0
if since ~= '' then
  local all = redis.call('ZRANGE', seen, 0, -1, 'WITHSCORES')
  for i = 1, #all, 2 do
    members[#members + 1] = all[i]
    members[#members + 1] = whole(math.max(0, now - num(all[i + 1])))
  end
  until_rev = tonumber(since)
  -- A store that counts from the beginning again has less than the leader has seen.
  if until_rev > rev then until_rev = 0 end
  local changed = redis.call('ZRANGEBYSCORE', order, '(' .. whole(until_rev), '+inf', 'WITHSCORES', 'LIMIT', 0, RECORDS_MAX)
  for i = 1, #changed, 2 do
    news[#news + 1] = changed[i]
    news[#news + 1] = redis.call('HGET', records, changed[i]) or ''
    until_rev = num(changed[i + 1])
  end
end

return { whole(now), settling and 'settling' or 'out', whole(epoch), leader, leader_start,
  whole(math.max(0, lease_end - now)), generation, state_epoch,
  writer, sealed, written, whole(live), whole(known), whole(until_rev), members, news, shares }
