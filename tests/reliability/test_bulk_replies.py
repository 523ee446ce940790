"""Large strings are received straight into their final object: whatever the pieces they come in."""

import asyncio
import contextlib
import random
import socket

import pytest
from harness.measure import resident, run
from harness.scripted import Cut, ScriptedServer, bulk
from redis.exceptions import ConnectionError, InvalidResponse, TimeoutError

import aiecs_redis

LENGTH = 20_000
VALUE = random.Random(3).getrandbits(8 * LENGTH).to_bytes(LENGTH, "big")
TEXT = ("größer " * LENGTH)[:LENGTH]


@contextlib.contextmanager
def pieces(data, *cuts):
    """A server whose answer to GET is `data`, sent in pieces that end at `cuts`."""
    server = ScriptedServer(lambda request: data if request.name == "GET" else b"+PONG\r\n")
    whole = server._send

    def send(connection, answer):
        if answer != data:
            return whole(connection, answer)
        for start, end in zip((0, *cuts), (*cuts, len(data))):
            connection.sendall(data[start:end])
            if server._stopping.wait(0.003):  # so that they are read one by one
                return

    server._send = send
    with server:
        yield server


def get(server, **options):
    async def main():
        async with aiecs_redis.Redis(**{**server.kwargs, **options}) as client:
            first = await client.get("key")
            assert await client.ping() is True  # the stream is in step
            return first

    return run(main(), 20)


@pytest.mark.parametrize("before", [b"", b">2\r\n+message\r\n:1\r\n", b"|1\r\n+ttl\r\n:3\r\n"])
@pytest.mark.parametrize("cut", [1, 2, 3, 5, 6, 7, 8, 9, 4096, -4097, -4, -3, -2, -1])
def test_cut_in_two(before, cut):
    data = before + bulk(VALUE)
    at = len(before) + cut if cut > 0 else len(data) + cut
    with pieces(data, at) as server:
        assert get(server, protocol=3) == VALUE


def test_byte_by_byte_at_both_ends():
    data = bulk(VALUE)
    with pieces(data, *range(1, 12), *range(len(data) - 6, len(data))) as server:
        assert get(server) == VALUE


@pytest.mark.parametrize("size", [16_383, 16_384, 16_385, 65_527, 65_536, 131_072, 3_000_000])
def test_sizes_and_neighbours(size):
    """Small replies before, between and behind large ones, all in one stream."""
    value = random.Random(size).getrandbits(8 * size).to_bytes(size, "big")

    async def main():
        async with aiecs_redis.Redis(**server.kwargs) as client:
            commands = [client.get("large") if n % 3 == 1 else client.echo(n) for n in range(15)]
            async with client.pipeline(transaction=False) as pipe:
                for n in range(9):
                    pipe.get("large") if n % 3 else pipe.echo(n)
                return await asyncio.gather(*commands, pipe.execute())

    def answer(request):
        return bulk(value if request.name == "GET" else request.words[1])

    with ScriptedServer(answer) as server:
        *results, piped = run(main(), 20)
    assert results == [value if n % 3 == 1 else b"%d" % n for n in range(15)]
    assert piped == [value if n % 3 else b"%d" % n for n in range(9)]


def test_decoded():
    with pieces(bulk(TEXT.encode()), 1000) as server:
        assert get(server, decode_responses=True) == TEXT
    with pieces(bulk(TEXT.encode("latin-1")), 1000) as server:
        assert get(server, decode_responses=True, encoding="latin-1") == TEXT


def test_not_decodable():
    async def main():
        async with aiecs_redis.Redis(**server.kwargs, decode_responses=True) as client:
            with pytest.raises(UnicodeDecodeError):
                await client.get("key")
            assert await client.ping() is True

    with pieces(bulk(b"\xff" * LENGTH), 1000) as server:
        run(main())
        assert server.connections == 1


@pytest.mark.parametrize("ending", [b"xx", b"\r\r", b"\n\n"])
def test_wrong_ending(ending):
    with pieces(bulk(VALUE)[:-2] + ending, 1000) as server, pytest.raises(InvalidResponse):
        get(server, retry=None)


def test_lost_in_the_middle():
    """The read is sent once more on a new connection, as with any other loss."""

    def answer(request):
        return Cut(bulk(VALUE)[:-1]) if request.number == 1 else bulk(VALUE)

    async def main():
        async with aiecs_redis.Redis(**server.kwargs) as client:
            return await client.get("key")

    with ScriptedServer(answer) as server:
        assert run(main()) == VALUE
        assert server.connections == 2


@pytest.mark.parametrize("batch", [False, True])
def test_cancelled_in_the_middle(batch):
    """The rest is read and forgotten; those behind get their own replies."""
    data = bulk(VALUE * 10)

    async def main():
        async with aiecs_redis.Redis(**server.kwargs) as client:
            await client.ping()
            if batch:
                reading = asyncio.ensure_future(
                    client.pipeline(False).get("key").get("key").execute()
                )
            else:
                reading = asyncio.ensure_future(client.get("key"))
            behind = asyncio.ensure_future(client.ping())
            while server.count("GET") == 0:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.01)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            assert await behind is True
            assert await client.get("key") == VALUE * 10
            assert server.connections == 1

    with pieces(data, *range(5000, len(data), 20_000)) as server:
        run(main(), 20)


def test_announced_length_is_only_a_promise():
    """Memory is used as bytes come, not as they are announced."""

    async def main():
        async with aiecs_redis.Redis(**server.kwargs, socket_timeout=0.5, retry=None) as client:
            await client.ping()
            before = resident()
            waiting = asyncio.ensure_future(client.get("key"))
            await asyncio.sleep(0.2)
            assert resident() - before < 16 << 20
            with pytest.raises((TimeoutError, ConnectionError)):
                await waiting

    def answer(request):
        return b"$500000000\r\n" + b"x" * 100_000 if request.name == "GET" else b"+PONG\r\n"

    with ScriptedServer(answer) as server:
        run(main())


def test_longer_than_the_first_room():
    value = random.Random(5).getrandbits(8 << 20).to_bytes(1 << 20, "big") * 70

    async def main():
        async with aiecs_redis.Redis(**server.kwargs) as client:
            return await client.get("key") == value

    with ScriptedServer(lambda request: bulk(value)) as server:
        assert run(main())


def test_others_take_another_connection_meanwhile():
    """From the announcement on, not once half of it is there."""
    data = bulk(b"x" * 5_000_000)

    async def main():
        async with aiecs_redis.Redis(**server.kwargs) as client:
            await client.ping()
            large = asyncio.ensure_future(client.get("key"))
            while server.count("GET") == 0:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.05)
            assert await client.ping() is True
            assert not large.done()
            assert server.requests[-1].connection == 2
            go.set()
            assert len(await large) == 5_000_000

    go = asyncio.Event()
    server = ScriptedServer(lambda request: data if request.name == "GET" else b"+PONG\r\n")

    def send(connection: socket.socket, answer: bytes) -> None:
        if answer != data:
            return connection.sendall(answer)
        connection.sendall(data[:40_000])
        while not go.is_set() and not server._stopping.wait(0.005):
            pass
        connection.sendall(data[40_000:])

    server._send = send
    with server:
        run(main(), 20)
