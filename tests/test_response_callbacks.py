"""set_response_callback(): a plain callback or a coroutine function, for all kinds of commands."""

import asyncio

import pytest
import redis.asyncio

import aiecs_redis

CLIENTS = {"redis-py": redis.asyncio.Redis, "aiecs-redis": aiecs_redis.Redis}

CALLS = [
    ("GET", lambda target: target.get("string"), b"text"),
    ("SET", lambda target: target.set("string", "text"), b"OK"),
    ("MGET", lambda target: target.mget("string", "nothing"), [b"text", None]),
    ("INCRBY", lambda target: target.incr("count"), 1),
    ("HSET", lambda target: target.hset("hash", "field", "other"), 0),
    ("HGETALL", lambda target: target.hgetall("hash"), {b"field": b"value"}),
    ("SMEMBERS", lambda target: target.smembers("set"), {b"member"}),
    ("EXISTS", lambda target: target.exists("string"), 1),
    ("EXPIRE", lambda target: target.expire("string", 100), 1),
    ("PING", lambda target: target.ping(), b"PONG"),
    ("ZADD", lambda target: target.zadd("zset", {"b": 2}), 1),
    ("LRANGE", lambda target: target.lrange("list", 0, -1), [b"item"]),
    ("INFO", lambda target: target.info("replication"), b"role:master"),
    ("TYPE", lambda target: target.type("string"), b"string"),
    ("EVAL", lambda target: target.eval("return {1, 'a'}", 0), [1, b"a"]),
    ("CONFIG GET", lambda target: target.config_get("port"), {b"port": b""}),
    ("CLIENT ID", lambda target: target.client_id(), 0),
    ("GET", lambda target: target.execute_command("get", "string"), b"text"),
    ("BLPOP", lambda target: target.blpop("list", 1), [b"list", b"item"]),
]


@pytest.fixture(params=CLIENTS)
async def client(request, server, admin):
    admin.set("string", "text")
    admin.hset("hash", "field", "value")
    admin.sadd("set", "member")
    admin.rpush("list", "item")
    async with CLIENTS[request.param](**server.kwargs, protocol=3) as client:
        yield client


def plain(reply, **options):
    return "seen", type(reply), reply


async def coroutine(reply, **options):
    return plain(reply)


def same(found, expected):
    """Replies that differ from run to run are known by their type."""
    said, kind, reply = found
    assert said == "seen"
    if kind in (bytes, str) and b"role" in (reply if kind is bytes else reply.encode()):
        assert b"role:master" in (reply if kind is bytes else reply.encode())
    elif isinstance(expected, dict) and b"port" in expected:
        assert b"port" in reply
    elif expected == 0 and kind is int:
        assert reply >= 0
    elif isinstance(expected, (set, frozenset)):
        assert set(reply) == expected
    else:
        assert reply == expected


@pytest.mark.parametrize("callback", [plain, coroutine])
@pytest.mark.parametrize(("name", "call", "expected"), CALLS, ids=[name for name, _, _ in CALLS])
async def test_of_a_command(client, callback, name, call, expected):
    client.set_response_callback(name, callback)
    same(await call(client), expected)


@pytest.mark.parametrize("transaction", [True, False])
@pytest.mark.parametrize("callback", [plain, coroutine])
@pytest.mark.parametrize(
    ("name", "call", "expected"), CALLS[:-1], ids=[name for name, _, _ in CALLS[:-1]]
)
async def test_in_a_pipeline(client, callback, name, call, expected, transaction):
    client.set_response_callback(name, callback)
    async with client.pipeline(transaction=transaction) as pipe:
        call(pipe)
        call(pipe)
        first, second = await pipe.execute()
    same(first, expected)
    assert second[0] == "seen"


@pytest.mark.parametrize("callback", [plain, coroutine])
async def test_of_a_retrying_client(server, callback):
    retry = redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 2)
    async with aiecs_redis.Redis(**server.kwargs, retry=retry) as client:
        client.set_response_callback("GET", callback)
        assert await client.get("nothing") == ("seen", type(None), None)


async def test_options_reach_it(client):
    client.set_response_callback("ZRANGE", lambda reply, **options: options)
    options = await client.zrange("nothing", 0, -1, withscores=True)
    assert options["withscores"] is True


async def test_what_it_raises(client):
    def refuse(reply, **options):
        raise ValueError("not this one")

    async def refuse_later(reply, **options):
        raise ValueError("not this one")

    for callback in (refuse, refuse_later):
        client.set_response_callback("GET", callback)
        with pytest.raises(ValueError, match="not this one"):
            await client.get("string")
    assert await client.ping()


class NoTruth:
    """What a callback may return, too."""

    def __bool__(self) -> bool:
        raise LookupError("neither true nor false")


class Asked:
    times = 0

    def __bool__(self) -> bool:
        self.times += 1
        return False


class Cancelling:
    """Cancels its command when asked for its truth; others take the memory given back."""

    def __init__(self):
        self.other = Asked()

    def __bool__(self) -> bool:
        self.command.cancel()
        self.kept = [{"get": self.other} for _ in range(100)]
        return False


async def test_an_option_that_cancels_the_command(client):
    option = Cancelling()
    command = client.execute_command("SET", "string", "other", "GET", get=option)
    option.command = asyncio.ensure_future(command)
    with pytest.raises(asyncio.CancelledError):
        await option.command
    assert option.other.times == 0
    assert await client.get("string") == b"other"


async def test_an_option_without_truth(client):
    """Options reach the response callbacks, which ask for their truth."""
    with pytest.raises(LookupError, match="neither true nor false"):
        await client.execute_command("SET", "string", "text", get=NoTruth())
    pipe = client.pipeline(transaction=False)
    pipe.execute_command("SET", "string", "text", get=NoTruth())
    with pytest.raises(LookupError, match="neither true nor false"):
        await pipe.execute()
    assert await client.get("string") == b"text"


async def test_a_result_without_truth(server):
    """The documented client asks for the truth of what the callback has made of the reply."""
    client = aiecs_redis.RedisClient(server.kwargs)
    await client.initialize()
    try:
        redis = await client.get_client()
        redis.set_response_callback("EXISTS", lambda reply: NoTruth())
        with pytest.raises(LookupError, match="neither true nor false"):
            await client.exists("string")
        redis.set_response_callback("SET", lambda reply: NoTruth())
        assert await client.set("string", "text") is False
        assert await client.get("string") == "text"
    finally:
        await client.close()
