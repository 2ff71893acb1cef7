-- Every command of an exchange, on keys that end by themselves, so that a missing right shows before one is needed.
--
-- KEYS: a hash and a sorted set, both with the fleet's hash tag.

local hash, set = KEYS[1], KEYS[2]
local refused

-- The server's own error does not name the command.
local function run(command, ...)
  local reply = redis.pcall(command, ...)
  if type(reply) == 'table' and reply.err then
    refused = refused or (command .. ': ' .. reply.err)
    return nil
  end
  return reply
end

local clock = run('TIME') or { '0', '0' }
local info = run('INFO', 'server') or ''
run('HSET', hash, 'kept', '1', 'gone', '1')
run('HDEL', hash, 'gone')
run('HGET', hash, 'kept')
run('HMGET', hash, 'kept', 'gone')
run('HGETALL', hash)
run('ZADD', set, 1, 'kept', 2, 'gone')
run('ZREM', set, 'gone')
run('ZCARD', set)
run('ZCOUNT', set, '-inf', '+inf')
run('ZRANGE', set, 0, -1)
run('ZRANGEBYSCORE', set, '-inf', '+inf')
run('PEXPIRE', hash, 1000)
run('PEXPIRE', set, 1000)
if refused then return redis.error_reply('REFUSED ' .. refused) end

local version = string.match(info, 'valkey_version:(%S+)')
local name = version and 'Valkey' or 'Redis'
version = version or string.match(info, 'redis_version:(%S+)') or ''
return { string.format('%.0f', tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)), name, version }
