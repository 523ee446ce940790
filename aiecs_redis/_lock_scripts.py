"""What a lock does on the server, each in one step."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from aiecs_redis._underlying import Lua

__all__ = ["ACQUIRE", "FENCED", "RELEASE", "RENEW", "fence_key", "packed"]

# The fencing token is the server's clock in microseconds, or one more than the last token if
# that is greater: it goes on rising when the counter is lost with a failover or a FLUSHALL. The
# counter itself may go once the clock is past it for certain; a week is a generous while.
ACQUIRE = Lua("""
local holder = redis.call('get', KEYS[1])
if holder and holder ~= ARGV[1] then
  return {false, redis.call('pttl', KEYS[1])}
end
redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[2])
local now = redis.call('time')
local token = now[1] * 1000000 + now[2]
local last = tonumber(redis.call('get', KEYS[2]) or '0')
if token <= last then token = last + 1 end
local digits = string.format('%.0f', token)
redis.call('set', KEYS[2], digits, 'ex', math.max(604800, math.ceil(ARGV[2] / 1000) * 2))
return {digits, 0}
""")
"""Keys: lock, fence. Arguments: identifier, milliseconds. Token or nil, milliseconds left."""

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
    tagged = re.search(r"\{[^}]+\}", lock)
    return f"{lock}:fence" if tagged else f"{{{lock}}}:fence"


def packed(commands: Sequence[Sequence[Any]]) -> tuple[list[Any], list[Any]]:
    """The keys and arguments of `FENCED` for some commands."""
    keys: list[Any] = []
    args: list[Any] = []
    for command in commands:
        if isinstance(command, (str, bytes)) or len(command) < 2:
            raise ValueError(
                f"{command!r}: give each command as a tuple of its name, its key and its"
                " arguments, as in ('SET', 'stock:7', 3)"
            )
        keys.append(command[1])
        args += [len(command), *command]
    return keys, args
