"""What a lock does on the server, each in one step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiecs_redis._nodes import hash_tag
from aiecs_redis._underlying import Lua

__all__ = [
    "ACQUIRE",
    "ACQUIRE_FAIR",
    "FENCED",
    "KEEP_PLACES",
    "LEAVE",
    "RELEASE",
    "RELEASE_FAIR",
    "RENEW",
    "fence_key",
    "packed",
    "place_keys",
]

# The fencing token is the server's clock in microseconds, or one more than the last token if
# that is greater: it goes on rising when the counter is lost with a failover or a FLUSHALL. The
# counter itself may go once the clock is past it for certain; a week is a generous while.
_GRANT = """
local function grant()
  redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[2])
  local now = redis.call('time')
  local token = now[1] * 1000000 + now[2]
  local last = tonumber(redis.call('get', KEYS[2]) or '0')
  if token <= last then token = last + 1 end
  local digits = string.format('%.0f', token)
  redis.call('set', KEYS[2], digits, 'ex', math.max(604800, math.ceil(ARGV[2] / 1000) * 2))
  return {digits, 0}
end
"""

ACQUIRE = Lua(
    _GRANT
    + """
local holder = redis.call('get', KEYS[1])
if holder and holder ~= ARGV[1] then
  return {false, redis.call('pttl', KEYS[1])}
end
return grant()
"""
)
"""Keys: lock, fence. Arguments: identifier, milliseconds. Token or nil, milliseconds left."""

# A place is kept in two sorted sets: who came when, and until when each one is taken to live.
# The dead are forgotten by whoever looks. Sets without a living member may go after that.
_PLACES = """
local function places(queue, alive)
  local time = redis.call('time')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local dead = redis.call('zrangebyscore', alive, '-inf', now, 'limit', 0, 1000)
  if #dead > 0 then
    redis.call('zrem', queue, unpack(dead))
    redis.call('zrem', alive, unpack(dead))
  end
  return now, time[1] * 1000000 + time[2]
end
local function stand(queue, alive, who, now, number, lease)
  if not redis.call('zscore', queue, who) then
    local last = redis.call('zrange', queue, -1, -1, 'withscores')
    if last[2] and tonumber(last[2]) >= number then number = tonumber(last[2]) + 1 end
    redis.call('zadd', queue, string.format('%.0f', number), who)
  end
  redis.call('zadd', alive, now + lease, who)
  redis.call('pexpire', queue, lease * 2)
  redis.call('pexpire', alive, lease * 2)
end
local function call_next(lock, queue)
  local head = redis.call('zrange', queue, 0, 0)
  redis.pcall('publish', lock, head[1] or 'released')
end
"""

ACQUIRE_FAIR = Lua(
    _GRANT
    + _PLACES
    + """
local now, number = places(KEYS[3], KEYS[4])
local lease = tonumber(ARGV[3])
local holder = redis.call('get', KEYS[1])
local head = redis.call('zrange', KEYS[3], 0, 0)[1]
if holder == ARGV[1] or (not holder and (not head or head == ARGV[1])) then
  redis.call('zrem', KEYS[3], ARGV[1])
  redis.call('zrem', KEYS[4], ARGV[1])
  return grant()
end
if lease > 0 then stand(KEYS[3], KEYS[4], ARGV[1], now, number, lease) end
if holder then return {false, redis.call('pttl', KEYS[1])} end
return {false, math.max(1, redis.call('zscore', KEYS[4], head) - now)}
"""
)
"""Keys: lock, fence, queue, alive. Arguments: identifier, milliseconds, for how many milliseconds
to stand in the queue (0: not). Token or nil, milliseconds until it is worth while to look again."""

KEEP_PLACES = Lua(
    _PLACES
    + """
local now, number = places(KEYS[2], KEYS[3])
local lease = tonumber(ARGV[1])
local holder = redis.call('get', KEYS[1])
for i = 2, #ARGV do
  if ARGV[i] ~= holder then stand(KEYS[2], KEYS[3], ARGV[i], now, number, lease) end
end
local left = redis.call('pttl', KEYS[1])
if left ~= -2 then return {false, left} end
local head = redis.call('zrange', KEYS[2], 0, 0)[1]
if not head then return {false, lease} end
return {head, math.max(1, redis.call('zscore', KEYS[3], head) - now)}
"""
)
"""Keys: lock, queue, alive. Arguments: milliseconds, identifiers. Whose turn it is if the lock is
free, else nil; milliseconds until it is worth while to look again."""

LEAVE = Lua(
    _PLACES
    + """
places(KEYS[2], KEYS[3])
local first = redis.call('zrange', KEYS[2], 0, 0)[1] == ARGV[1]
redis.call('zrem', KEYS[3], ARGV[1])
redis.call('zrem', KEYS[2], ARGV[1])
if first and redis.call('exists', KEYS[1]) == 0 then call_next(KEYS[1], KEYS[2]) end
return 1
"""
)
"""Keys: lock, queue, alive. Arguments: identifier."""

RELEASE_FAIR = Lua(
    _PLACES
    + """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('del', KEYS[1])
places(KEYS[2], KEYS[3])
call_next(KEYS[1], KEYS[2])
return 1
"""
)
"""Keys: lock, queue, alive. Arguments: identifier. Tells whose turn it is."""

RENEW = Lua("""
if redis.call('get', KEYS[1]) == ARGV[1] then
  return redis.call('pexpire', KEYS[1], ARGV[2])
end
return 0
""")
"""Keys: lock. Arguments: identifier, milliseconds."""

RELEASE = Lua("""
if redis.call('get', KEYS[1]) == ARGV[1] then
  redis.call('del', KEYS[1])
  redis.pcall('publish', KEYS[1], 'released')
  return 1
end
return 0
""")
"""Keys: lock. Arguments: identifier. A user who may not publish can release all the same."""

FENCED = Lua("""
if tonumber(redis.call('get', KEYS[1]) or '0') > tonumber(ARGV[1]) then return -1 end
local replies, position = {}, 2
while position <= #ARGV do
  local count = tonumber(ARGV[position])
  replies[#replies + 1] = redis.call(unpack(ARGV, position + 1, position + count))
  position = position + 1 + count
end
return replies
""")
"""Keys: fence, keys of the commands. Arguments: token, and a count and the words of each."""


def fence_key(lock: str) -> str:
    """The key of a lock's last fencing token, in the lock's slot of a cluster.

    Braces in a name that are no hash tag leave it without such a key: a cluster refuses it.
    """
    return f"{lock}:fence" if hash_tag(lock) is not None else f"{{{lock}}}:fence"


def place_keys(lock: str) -> tuple[str, str]:
    """The keys of a lock's queue: who came when, and until when each one is taken to live."""
    stem = fence_key(lock)[: -len("fence")]
    return f"{stem}queue", f"{stem}alive"


def packed(commands: Sequence[Sequence[Any]]) -> tuple[list[Any], list[Any]]:
    """The keys and arguments of `FENCED` for some commands."""
    keys: list[Any] = []
    args: list[Any] = []
    for command in commands:
        if not isinstance(command, (tuple, list)) or len(command) < 2:
            raise ValueError(
                f"{command!r}: give each command as a tuple of its name, its key and its"
                " arguments, as in ('SET', 'stock:7', 3)"
            )
        keys.append(command[1])
        args += [len(command), *command]
    return keys, args
