"""Every single allocation fails once: an exception, never a crash, and all is well afterwards.

no_memory.py PORT KIND
"""

import _testcapi
import asyncio
import gc
import sys
import warnings

import aiecs_redis
from aiecs_redis import _native

port, kind = int(sys.argv[1]), sys.argv[2]
LIMIT = 400  # allocations looked at, at most
REPLY = (
    b"*5\r\n%2\r\n+k\r\n$300\r\n" + b"x" * 300 + b"\r\n:1\r\n~2\r\n,1.5\r\n#t\r\n-ERR no\r\n_\r\n"
    b"(123456789012345678901234567890\r\n*3\r\n*1\r\n:123456\r\n+x\r\n+y\r\n"
)
ARGUMENTS = ("SET", "key", "grüß" * 100, 10**30, 2.5, bytearray(b"x" * 300), memoryview(b"y"), b"z")


def encoded():
    return _native.encode(ARGUMENTS)


def parsed():
    reader = _native.Reader(encoding="utf-8")
    reader.feed(REPLY[:100])
    reader.gets()
    reader.feed(REPLY[100:])
    return repr(reader.gets())


def failing(function, expected):
    """Calls it with the first, second, ... allocation failing, until none of them does."""
    failed = 0
    for number in range(LIMIT):
        _testcapi.set_nomemory(number, number + 1)
        try:
            value = function()
        except MemoryError:
            value = None
            failed += 1
        finally:
            _testcapi.remove_mem_hooks()
        assert value is None or value == expected, value
    assert failed
    gc.collect()
    assert function() == expected


async def started():
    """Making and starting commands; what did start gets its reply."""
    async with aiecs_redis.Redis(port=port) as client:
        await client.set("key", "value")
        held = []  # they take the memory that the core keeps of finished commands
        if kind == "observe":
            client._native_observe(True, lambda record: None, None, 0.0)
        for way in (asyncio.ensure_future, asyncio.create_task):
            futures, failed = [], 0
            for number in range(60):
                await client.ping()
                held += [client.get("key") for _ in range(5)]
                _testcapi.set_nomemory(number, number + 1)
                try:
                    futures.append(way(client.get("key")))
                except MemoryError:
                    failed += 1
                finally:
                    _testcapi.remove_mem_hooks()
            assert failed
            for result in await asyncio.gather(*futures, return_exceptions=True):
                assert result == b"value" or isinstance(result, MemoryError), result
        for command in held:
            command.close()
        assert await client.get("key") == b"value"


async def counted():
    """Counting and reading under failing allocations: MemoryError, and a command never fails."""
    async with aiecs_redis.Redis(port=port) as client:
        await client.set("key", "value")
        for number in range(60):
            client._native_observe(True, None, None, 0.0)
            command = client.execute_command("geT", "key")
            assert asyncio.isfuture(command)  # no Task, which needs memory to be cancelled
            await asyncio.sleep(0)  # it is started
            _testcapi.set_nomemory(number, number + 1)
            try:
                command.cancel()  # its end is counted here
            finally:
                _testcapi.remove_mem_hooks()
            assert command.cancelled()
            assert await client.get("key") == b"value"
            _testcapi.set_nomemory(number, number + 1)
            try:
                client._native_metrics()
            except MemoryError:
                pass
            finally:
                _testcapi.remove_mem_hooks()
            assert client._native_metrics()["GET"][0] >= 1
            client._native_observe(False, None, None, 0.0)


async def forgotten():
    """Who is to be told later, as there is no memory for it now, waits no more by then."""
    called = []
    async with aiecs_redis.Redis(port=port) as client:
        for number in range(20):
            command = client.execute_command("GET", "key")
            assert asyncio.isfuture(command)
            await asyncio.sleep(0)
            for _ in range(1000 * (number + 1)):  # more than there was ever room for
                command.add_done_callback(called.append)
            _testcapi.set_nomemory(number, number + 1)
            try:
                command.cancel()
            finally:
                _testcapi.remove_mem_hooks()
            command.remove_done_callback(called.append)
            await client.ping()
    assert len(called) < 1000 * 210, "none of them was to be told later"


if kind == "encode":
    failing(encoded, encoded())
elif kind == "parse":
    failing(parsed, parsed())
elif kind == "count":
    asyncio.run(counted())
elif kind == "forget":
    asyncio.run(forgotten())
else:
    warnings.simplefilter("ignore")  # a Task that could not be made leaves its coroutine
    asyncio.run(started())
print("survived")
