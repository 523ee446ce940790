"""What is sent again when a connection is lost, by category and by how far the command had come.

Counted at a scripted server: how often a command came in whole.
"""

import asyncio

import pytest
import redis.asyncio
from harness.measure import run
from harness.scripted import OK, Cut, ScriptedServer, bulk, error
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError

import aiecs_redis
from aiecs_redis.exceptions import OutcomeUnknownError

READ, LAST_WINS, ONCE = "read", "last write wins", "once"

COMMANDS = {
    "GET": (READ, lambda c: c.get("key")),
    "HGETALL": (READ, lambda c: c.hgetall("hash")),
    "LRANGE": (READ, lambda c: c.lrange("list", 0, -1)),
    "ZRANGE": (READ, lambda c: c.zrange("zset", 0, -1)),
    "EXISTS": (READ, lambda c: c.exists("key")),
    "SCAN": (READ, lambda c: c.scan(0)),
    "PING": (READ, lambda c: c.ping()),
    "SET": (LAST_WINS, lambda c: c.set("key", "value", ex=100)),
    "MSET": (LAST_WINS, lambda c: c.mset({"key": "value"})),
    "HSET": (LAST_WINS, lambda c: c.hset("hash", "field", "value")),
    "DEL": (LAST_WINS, lambda c: c.delete("key")),
    "EXPIRE": (LAST_WINS, lambda c: c.expire("key", 100)),
    "SADD": (LAST_WINS, lambda c: c.sadd("set", "member")),
    "SREM": (LAST_WINS, lambda c: c.srem("set", "member")),
    "INCR": (ONCE, lambda c: c.incr("n")),
    "HINCRBY": (ONCE, lambda c: c.hincrby("hash", "n", 1)),
    "LPUSH": (ONCE, lambda c: c.lpush("list", "item")),
    "LPOP": (ONCE, lambda c: c.lpop("list")),
    "SPOP": (ONCE, lambda c: c.spop("set")),
    "APPEND": (ONCE, lambda c: c.append("text", "x")),
    "XADD": (ONCE, lambda c: c.xadd("stream", {"a": "b"})),
    "ZINCRBY": (ONCE, lambda c: c.zincrby("zset", 1, "member")),
    "PUBLISH": (ONCE, lambda c: c.publish("channel", "message")),
    "SET NX": (ONCE, lambda c: c.set("key", "value", nx=True)),
    "SET GET": (ONCE, lambda c: c.set("key", "value", get=True)),
    "SETNX": (ONCE, lambda c: c.setnx("key", "value")),
    "HSETNX": (ONCE, lambda c: c.hsetnx("hash", "field", "value")),
    "EXPIRE NX": (ONCE, lambda c: c.expire("key", 100, nx=True)),
    "GETDEL": (ONCE, lambda c: c.getdel("key")),
    "RENAMENX": (ONCE, lambda c: c.renamenx("key", "other")),
    "EVAL": (ONCE, lambda c: c.eval("return 1", 0)),
    "EVALSHA": (ONCE, lambda c: c.evalsha("0" * 40, 0)),
    "FCALL": (ONCE, lambda c: c.fcall("function", 0)),
    "unknown": (ONCE, lambda c: c.execute_command("NOBODY-KNOWS", "key")),
    "BLPOP": (ONCE, lambda c: c.blpop("list", 5)),
    "pipeline of reads": (READ, lambda c: pipeline(c, False).get("a").get("b").execute()),
    "pipeline of writes": (LAST_WINS, lambda c: pipeline(c, False).set("a", 1).get("b").execute()),
    "pipeline with INCR": (ONCE, lambda c: pipeline(c, False).get("a").incr("b").execute()),
    "MULTI/EXEC of reads": (ONCE, lambda c: pipeline(c, True).get("a").get("b").execute()),
    "MULTI/EXEC with INCR": (ONCE, lambda c: pipeline(c, True).get("a").incr("b").execute()),
}

REPLIES = {
    "GET": bulk(b"value"),
    "HGETALL": b"%1\r\n" + bulk(b"field") + bulk(b"value"),
    "LRANGE": b"*1\r\n" + bulk(b"item"),
    "ZRANGE": b"*1\r\n" + bulk(b"member"),
    "SCAN": b"*2\r\n" + bulk(b"0") + b"*0\r\n",
    "PING": b"+PONG\r\n",
    "LPOP": bulk(b"item"),
    "SPOP": bulk(b"member"),
    "XADD": bulk(b"1-0"),
    "ZINCRBY": b",1\r\n",
    "GETDEL": bulk(b"value"),
    "BLPOP": b"*2\r\n" + bulk(b"list") + bulk(b"item"),
    "EXEC": b"*2\r\n" + bulk(b"value") + bulk(b"value"),
}
INTEGERS = {
    *("EXISTS", "HSET", "DEL", "EXPIRE", "SADD", "SREM", "INCRBY", "HINCRBY", "LPUSH", "APPEND"),
    *("PUBLISH", "SETNX", "HSETNX", "RENAMENX", "EVAL", "EVALSHA", "FCALL"),
}


def pipeline(client, transaction):
    return client.pipeline(transaction=transaction)


def whole(request):
    if request.name in INTEGERS:
        return b":1\r\n"
    return REPLIES.get(request.name, OK)


def is_last(request, label):
    """The command whose reply the waiter waits for: EXEC, or the second of a pipeline."""
    if label.startswith("MULTI"):
        return request.name == "EXEC"
    if label.startswith("pipeline"):
        return request.words[1] == b"b"
    return True


class Loses:
    """Answers as a healthy server, except that so many times it cuts instead of a reply."""

    def __init__(self, label, times, first):
        self.label, self.times, self.first = label, times, first
        self.seen = 0

    def __call__(self, request):
        reply = whole(request)
        if not is_last(request, self.label):
            return reply
        self.seen += 1
        if self.seen > self.times:
            return reply
        return Cut(reply[:-1] if self.first else b"")


async def outcome(client, make):
    try:
        return await make(client)
    except Exception as error:
        return error


@pytest.mark.parametrize("label", COMMANDS)
@pytest.mark.parametrize("cut", ["no reply", "reply but its last byte"])
def test_sent_but_not_answered(figure, label, cut):
    """Reads and last-write-wins writes are sent again, others never, and that is told."""
    category, make = COMMANDS[label]
    lost = Loses(label, 1, cut != "no reply")

    async def main():
        async with aiecs_redis.Redis(**server.kwargs) as client:
            return await outcome(client, make)

    with ScriptedServer(lost) as server:
        result = run(main())
    if category == ONCE:
        assert lost.seen == 1
        assert type(result) is OutcomeUnknownError
        assert result.__cause__ is not None
    else:
        assert lost.seen == 2
        assert not isinstance(result, Exception)
    COUNTED.setdefault((category, cut), []).append(lost.seen)


COUNTED = {}


@pytest.mark.parametrize("label", COMMANDS)
def test_never_sent(label):
    """The connection is lost before the command has left: everything is sent on the next one."""
    category, make = COMMANDS[label]
    lost = Loses(label, 0, False)
    refused = []

    def introduction(request):
        if request.connection == 1:
            refused.append(request)
            return Cut()
        return b"%1\r\n+proto\r\n:3\r\n" if request.name == "HELLO" else OK

    async def main():
        async with aiecs_redis.Redis(**server.kwargs) as client:
            return await outcome(client, make)

    with ScriptedServer(lost, introduction) as server:
        result = run(main())
    assert not isinstance(result, Exception)
    assert (len(refused), lost.seen) == (1, 1)
    COUNTED.setdefault((category, "never sent"), []).append(lost.seen)


@pytest.mark.parametrize("label", COMMANDS)
def test_queued_behind_what_the_server_does_not_read(label):
    """Its bytes are in the client's queue, none of them has left: it is sent again."""
    category, make = COMMANDS[label]
    if label == "BLPOP":
        pytest.skip("has a connection of its own: nothing is queued before it")
    lost = Loses(label, 0, False)
    large = b"x" * 8_000_000

    async def main():
        options = {"max_connections": 1, "max_pending_bytes": 64 << 20}
        async with aiecs_redis.Redis(**server.kwargs, **options) as client:
            await client.echo("hello")
            lost.seen = 0
            server.reading.clear()
            first = asyncio.ensure_future(client.execute_command("NOBODY-KNOWS", large))
            await asyncio.sleep(0.02)
            second = asyncio.ensure_future(outcome(client, make))
            await asyncio.sleep(0.02)
            server.cut()
            server.reading.set()
            with pytest.raises(OutcomeUnknownError):
                await first
            return await second

    with ScriptedServer(lost) as server:
        result = run(main())
    assert not isinstance(result, Exception)
    assert lost.seen == 1
    COUNTED.setdefault((category, "queued"), []).append(lost.seen)


@pytest.mark.parametrize("label", COMMANDS)
def test_lost_again_and_again(label):
    """A command that may be repeated is sent three times; then it fails, and that is told."""
    category, make = COMMANDS[label]
    lost = Loses(label, 100, False)

    async def main():
        async with aiecs_redis.Redis(**server.kwargs) as client:
            return await outcome(client, make)

    with ScriptedServer(lost) as server:
        result = run(main())
    assert lost.seen == (1 if category == ONCE else 3)
    assert isinstance(result, ConnectionError)
    COUNTED.setdefault((category, "always"), []).append(lost.seen)


@pytest.mark.parametrize("label", COMMANDS)
def test_explicit_retry_means_what_it_means_to_redis_py(label):
    """Whatever the category, as often as was asked for; counted for both clients."""
    _, make = COMMANDS[label]
    seen = {}

    async def main(impl):
        retry = redis.asyncio.retry.Retry(NoBackoff(), 2)
        async with impl(**server.kwargs, retry=retry) as client:
            return await outcome(client, make)

    for impl in (redis.asyncio.Redis, aiecs_redis.Redis):
        lost = Loses(label, 100, False)
        with ScriptedServer(lost) as server:
            result = run(main(impl))
        seen[impl] = lost.seen
        assert isinstance(result, ConnectionError)
    assert list(seen.values()) == [3, 3]
    RETRIED.append(list(seen.values()))


RETRIED = []


@pytest.mark.parametrize("errors", [1, 2])
def test_retry_on_error(errors):
    """`retry_on_error=` too: the same number of attempts with both clients."""
    seen = {}

    async def main(impl):
        retry = redis.asyncio.retry.Retry(NoBackoff(), 3)
        options = {"retry": retry, "retry_on_error": [redis.exceptions.ReadOnlyError]}
        async with impl(**server.kwargs, **options) as client:
            return await client.incr("n")

    for impl in (redis.asyncio.Redis, aiecs_redis.Redis):
        with ScriptedServer(
            lambda request: error("READONLY no") if request.number <= errors else b":7\r\n"
        ) as server:
            assert run(main(impl)) == 7
        seen[impl] = server.count("INCRBY")
    assert list(seen.values()) == [errors + 1] * 2


def test_figures(figure):
    """After the others: one line of what they counted."""
    if not COUNTED or not RETRIED:
        pytest.skip("run the whole file")

    def times(*cuts):
        return "; ".join(
            f"{category} {'/'.join(str(n) for n in sorted(found))}"
            for category in (READ, LAST_WINS, ONCE)
            if (found := {n for cut in cuts for n in COUNTED.get((category, cut), [])})
        )

    figure(
        "replay",
        f"{len(COMMANDS)} commands; times sent after a loss: never sent or queued: "
        f"{times('never sent', 'queued')}. Sent, or cut in the reply: "
        f"{times('no reply', 'reply but its last byte')}. Lost always: {times('always')}.",
    )
    ours = {ours for _, ours in RETRIED}
    theirs = {theirs for theirs, _ in RETRIED}
    figure("replay-retry", f"{len(RETRIED)} commands, `Retry(NoBackoff(), 2)`: {ours} attempts")
    figure("replay-retry", f"{theirs} attempts", "redis-py")
