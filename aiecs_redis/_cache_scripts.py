"""What the cache does on the server, each in one step.

A lease is the right to load a key. Deleting or setting the key, or invalidating one of its tags,
takes the lease away, so that a value which was read from the database before does not get into
the cache after. A tag is a sorted set of its keys by the time at which they expire.
"""

from __future__ import annotations

from aiecs_redis._underlying import Lua

__all__ = [
    "FORGET",
    "LEASE",
    "READ",
    "RELEASE_LEASE",
    "RENEW_LEASE",
    "STORE",
    "TAG",
    "TAGGED",
    "UNTAG",
    "UNTAG_SEEN",
]

READ = Lua("return {redis.call('get', KEYS[1]), redis.call('pttl', KEYS[1])}")
"""Keys: value. Value, milliseconds left. One step, as they have to belong together."""

_TAG = """
local function tag(first, key, milliseconds)
  if #KEYS < first then return end
  local time = redis.call('time')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  for i = first, #KEYS do
    redis.call('zremrangebyscore', KEYS[i], '-inf', now)
    redis.call('zadd', KEYS[i], now + milliseconds, key)
    if redis.call('pttl', KEYS[i]) < tonumber(milliseconds) then
      redis.call('pexpire', KEYS[i], milliseconds)
    end
  end
end
"""

LEASE = Lua(
    _TAG
    + """
if ARGV[4] == '0' then
  local value = redis.call('get', KEYS[1])
  if value then return {value, redis.call('pttl', KEYS[1]), 0} end
end
if redis.call('set', KEYS[2], ARGV[1], 'nx', 'px', ARGV[2])
    or redis.call('get', KEYS[2]) == ARGV[1] then
  tag(3, KEYS[1], ARGV[3])
  return {false, 0, 1}
end
return {false, redis.call('pttl', KEYS[2]), 0}
"""
)
"""Keys: value, lease, tags. Arguments: who, milliseconds of the lease, of the value, whether to
take the lease although there is a value. Value, milliseconds left, whether the lease is ours."""

STORE = Lua(
    _TAG
    + """
if ARGV[1] ~= '' and redis.call('get', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('set', KEYS[1], ARGV[2], 'px', ARGV[3])
redis.call('del', KEYS[2])
tag(3, KEYS[1], ARGV[3])
return 1
"""
)
"""Keys: value, lease, tags. Arguments: who ('' whatever the lease), data, milliseconds."""

RELEASE_LEASE = Lua("""
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end
return 0
""")
"""Keys: lease. Arguments: who."""

RENEW_LEASE = Lua("""
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end
return 0
""")
"""Keys: lease. Arguments: who, milliseconds."""

FORGET = Lua("""
redis.call('del', KEYS[2])
return redis.call('unlink', KEYS[1])
""")
"""Keys: value, lease. How many values there were."""

# In portions, so that a tag of many keys does not hold up the server.
UNTAG = Lua("""
local function lease(name)
  local first = string.find(name, '{', 1, true)
  local last = first and string.find(name, '}', first + 1, true)
  if last and last > first + 1 then return ARGV[1] .. name end
  return ARGV[1] .. '{' .. name .. '}'
end
local found = redis.call('zpopmin', KEYS[1], ARGV[2])
local removed = 0
for i = 1, #found, 2 do
  removed = removed + redis.call('unlink', found[i])
  redis.call('del', lease(found[i]))
end
return {#found / 2, removed}
""")
"""Keys: tag. Arguments: what leases begin with, how many. How many were tagged, were there."""

# In a cluster a tag and its keys live on different masters, so what is one step above is several:
# a key is tagged before it is written and once more after it, and stays tagged until it is deleted.
TAG = Lua(_TAG + "tag(1, ARGV[1], ARGV[2])")
"""Keys: tags. Arguments: key, milliseconds."""

TAGGED = Lua("return redis.call('zrange', KEYS[1], 0, ARGV[1] - 1, 'withscores')")
"""Keys: tag. Arguments: how many. Keys and scores in turn."""

UNTAG_SEEN = Lua("""
for i = 1, #ARGV, 2 do
  if redis.call('zscore', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    redis.call('zrem', KEYS[1], ARGV[i])
  end
end
""")
"""Keys: tag. Arguments: keys and scores in turn; a key tagged anew since has another score."""
