"""Whatever a server sends, from the first byte on: an answer or an error, in time, within bounds.

The parser, the encoder and the names of commands alone are fuzzed with coverage feedback by `make
fuzz`; here is what needs a socket, and a deterministic short form of the rest.
"""

import asyncio
import contextlib
import gc
import os
import pathlib
import random
import resource
import shutil
import socketserver
import subprocess
import sys
import threading

import pytest
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import InvalidResponse, RedisError

from aiecs_redis import _native

HELLO = (
    b"%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:3\r\n"
    b"$2\r\nid\r\n:5\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"
    b"$7\r\nmodules\r\n*0\r\n"
)
READY = HELLO + b"+OK\r\n" * 2
REPLIES = [
    b"+OK\r\n",
    b"$3\r\nabc\r\n",
    b"*2\r\n:1\r\n$-1\r\n",
    b"%1\r\n+k\r\n~2\r\n,1.5\r\n#t\r\n",
    b"|1\r\n+a\r\n+b\r\n_\r\n",
    b">2\r\n+message\r\n+x\r\n=7\r\ntxt:abc\r\n",
    b"(123456789012345678901234567890\r\n",
    b"-ERR no\r\n",
]
PIECES = [
    b"\r\n",
    b"*2147483647\r\n",
    b"*4096\r\n",
    b"$9999999999999\r\n",
    b"%2147483647\r\n",
    b"*1\r\n" * 600,
    b"|1\r\n+a\r\n+b\r\n",
    b">1\r\n+x\r\n",
    b"$-1\r\n",
    b"-NOPROTO unsupported protocol version\r\n",
    b"-ERR unknown command\r\n",
    b"-ERR wrong number of arguments for 'auth' command\r\n",
    b"-LOADING Redis is loading\r\n",
    b"\xff\x00",
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
]


def mutated(rng, data, times):
    """`data` with pieces put in, taken out, repeated or replaced."""
    data = bytearray(data)
    for _ in range(times):
        place = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            data[place:place] = rng.choice(PIECES)
        elif kind == 1:
            del data[place : place + rng.randrange(1, 20)]
        elif kind == 2:
            data[place : place + 1] = bytes([rng.randrange(256)])
        elif kind == 3:
            end = place + rng.randrange(1, 40)
            data[place:place] = data[place:end]
        else:
            del data[place:]
    return bytes(data)


class Scripted(socketserver.BaseRequestHandler):
    """Sends the next script in pieces, whatever is said to it, and hangs up."""

    def handle(self):
        server = self.server
        self.request.settimeout(5)
        with contextlib.suppress(OSError):
            self.request.recv(4096)
            script = server.rng.choice(server.scripts)(server.rng)
            while script:
                size = server.rng.choice([1, 5, 50, len(script)])
                self.request.sendall(script[:size])
                script = script[size:]
            if server.rng.random() < 0.3:
                self.request.settimeout(0.01)
                self.request.recv(4096)


SCRIPTS = [
    lambda rng: mutated(rng, READY, 1),
    lambda rng: mutated(rng, READY, 4),
    lambda rng: READY + mutated(rng, b"".join(rng.choices(REPLIES, k=4)), 2),
    lambda rng: READY + b"".join(rng.choices(REPLIES, k=6)),  # more than was asked for
    lambda rng: READY[: rng.randrange(len(READY))],
    lambda rng: bytes(rng.choices(range(256), k=rng.randrange(1, 200))),
]


@contextlib.contextmanager
def scripted(seed):
    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 100

    with Server(("127.0.0.1", 0), Scripted) as server:
        server.rng, server.scripts = random.Random(seed), SCRIPTS
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


IMPATIENT = {
    "socket_timeout": 0.2,
    "socket_connect_timeout": 0.2,
    "retry": Retry(NoBackoff(), 0),
    "protocol": 3,  # redis-py 7 would say no HELLO
}


def talk_to_fuzz(run, native, seed, clients):
    rng = random.Random(seed)

    async def one(port):
        options = {
            "protocol": rng.choice([2, 3]),
            "decode_responses": rng.random() < 0.5,
            "password": rng.choice([None, "secret"]),
            "db": rng.choice([0, 3]),
            **IMPATIENT,
        }
        async with native(host="127.0.0.1", port=port, **options) as client:
            commands = [client.get("a"), client.hgetall("b"), client.blpop("c", 0.05)]
            pipeline = client.pipeline(transaction=rng.random() < 0.5)
            commands.append(pipeline.get("a").incr("b").execute(raise_on_error=False))
            return await asyncio.gather(*commands, return_exceptions=True)

    async def main(port):
        answers = 0
        for _ in range(clients // 10):
            found = await asyncio.wait_for(asyncio.gather(*(one(port) for _ in range(10))), 60)
            for result in (result for results in found for result in results):
                answers += 1
                if isinstance(result, BaseException):
                    # What a reply of the wrong shape does to redis-py's callbacks is theirs.
                    known = (RedisError, ValueError, TypeError, AttributeError, LookupError)
                    assert isinstance(result, known), repr(result)
        assert answers == clients // 10 * 40

    with scripted(seed) as port:
        run(lambda: main(port))
    gc.collect()


@pytest.mark.parametrize("seed", [1])
def test_servers_that_say_anything(run_plain, native, seed):
    talk_to_fuzz(run_plain, native, seed, 20)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10, 20))
def test_many_servers_that_say_anything(run_plain, native, seed):
    talk_to_fuzz(run_plain, native, seed, 2000)


@pytest.mark.long
@pytest.mark.parametrize("fuzzer", ["reply", "encode", "names"])
def test_the_seeds_of_a_fuzzer(fuzzer):
    """Without libFuzzer, so that its harness is tried with whatever compiler there is."""
    root = pathlib.Path(__file__).parents[2]
    if shutil.which("cc") is None:
        pytest.skip("needs a compiler")
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(
        [root / "tools" / "fuzz.sh", fuzzer, "seeds"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    seeds = len(list((root / "tests" / "fuzz" / "seeds" / fuzzer).iterdir()))
    assert (done.returncode, done.stdout) == (0, f"{seeds} inputs\n"), done.stderr


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@pytest.mark.parametrize("stage", [b"", READY], ids=["handshake", "ready"])
@pytest.mark.parametrize(
    "bomb",
    [
        b"*2147483647\r\n",
        b"$9999999999999\r\nabc",
        b"%2147483647\r\n" + b"+k\r\n" * 100,
        b"*4096\r\n" * 511,
        b"*1\r\n" * 10_000,
        b">2147483647\r\n",
        b"|2147483647\r\n",
    ],
    ids=lambda data: repr(data)[2:20],
)
def test_an_announced_size_takes_no_memory(run_plain, native, bomb, stage):
    async def main():
        async def serve(reader, writer):
            await reader.read(1000)
            writer.write(stage + bomb)
            with contextlib.suppress(OSError):
                await writer.drain()
                await reader.read(100_000)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        before = resident()
        async with native(host="127.0.0.1", port=port, **IMPATIENT) as client:
            with pytest.raises(RedisError):
                await client.get("key")
            assert resident() - before < 64 << 20
        server.close()
        await asyncio.sleep(0.02)

    run_plain(main)


def outcome(reader, pieces):
    """Everything that comes out of the pieces, exceptions included."""
    seen = []
    for piece in pieces:
        try:
            reader.feed(piece)
        except InvalidResponse as error:
            return [*seen, repr(error)]
        while True:
            try:
                value = reader.gets()
            except InvalidResponse as error:
                return [*seen, repr(error)]
            except (UnicodeDecodeError, TypeError, ValueError) as error:
                value = error
            if value is _native.Reader.NOTHING:
                break
            seen.append(repr(value))
    return seen


def parse_mutated(seed, number):
    """Whole, and cut anywhere: the same comes out."""
    rng = random.Random(seed)
    for _ in range(number):
        data = b"".join(rng.choices(REPLIES, k=rng.randrange(1, 4)))
        data = mutated(rng, data, rng.randrange(4))
        options = rng.choice([{}, {"encoding": "utf-8"}, {"max_depth": 5}])
        cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(6)))
        pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)])]
        whole = outcome(_native.Reader(**options), [data])
        assert outcome(_native.Reader(**options), pieces) == whole, (data, cuts)


def test_mutated_replies():
    parse_mutated(5, 20_000)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_a_million_mutated_replies(seed):
    parse_mutated(100 + seed, 250_000)


def test_depth_of_ten_thousand():
    """Refused by default; where it is allowed, made and dropped without running out of stack."""
    for opening in (b"*1\r\n", b"~1\r\n", b">1\r\n", b"%1\r\n+k\r\n"):
        reader = _native.Reader(max_depth=10_001)
        reader.feed(opening * 10_000 + b":1\r\n")
        value, depth = reader.gets(), 0
        while isinstance(value, (list, dict)):
            value = value[0] if isinstance(value, list) else value[b"k"]
            depth += 1
        assert (value, depth) == (1, 10_000)
        reader = _native.Reader()
        reader.feed(opening * 10_000 + b":1\r\n")
        with pytest.raises(InvalidResponse):
            reader.gets()
