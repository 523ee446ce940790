"""RESP2 and RESP3, decoded or not: the same commands give the values redis-py gives."""

import asyncio

import pytest
import redis.asyncio
from redis.exceptions import ResponseError

# Each is run in this order on an empty database.
COMMANDS = [
    lambda c: c.ping(),
    lambda c: c.echo("grüß"),
    lambda c: c.set("s", "value"),
    lambda c: c.set("s", "value", nx=True),
    lambda c: c.set("s", "value", xx=True),
    lambda c: c.set("s2", b"value", nx=True, ex=1000),
    lambda c: c.set("s2", 5, px=1_000_000, get=True),
    lambda c: c.set("s2", 6.5, keepttl=True),
    lambda c: c.set("s2", "x", exat=33177117420),
    lambda c: c.set("s2", "x", pxat=33177117420000),
    lambda c: c.expiretime("s2"),
    lambda c: c.ttl("s"),
    lambda c: c.ttl("missing"),
    lambda c: c.get("s"),
    lambda c: c.get("missing"),
    lambda c: c.mget("s", "missing", "s2"),
    lambda c: c.mget(["s"]),
    lambda c: c.mset({"a": 1, "b": 2}),
    lambda c: c.msetnx({"a": 1, "c": 2}),
    lambda c: c.set("e", "x", ex=100),
    lambda c: c.setnx("a", 5),
    lambda c: c.getset("a", 7),
    lambda c: c.getdel("b"),
    lambda c: c.getex("a", ex=100),
    lambda c: c.append("a", "8"),
    lambda c: c.strlen("a"),
    lambda c: c.getrange("s", 1, 3),
    lambda c: c.setrange("s", 1, "VV"),
    lambda c: c.incr("n"),
    lambda c: c.incr("n", 5),
    lambda c: c.decr("n"),
    lambda c: c.decr("n", 2),
    lambda c: c.incrbyfloat("f", 1.5),
    lambda c: c.exists("s"),
    lambda c: c.exists("s", "s", "missing"),
    lambda c: c.expire("s", 1000),
    lambda c: c.expire("missing", 1000),
    lambda c: c.expire("s", 2000, nx=True),
    lambda c: c.persist("s"),
    lambda c: c.pexpire("s", 1_000_000),
    lambda c: c.expireat("s", 33177117420),
    lambda c: c.type("s"),
    lambda c: c.delete("e", "missing"),
    lambda c: c.delete("missing"),
    lambda c: c.unlink("f"),
    lambda c: c.rename("s2", "s3"),
    lambda c: c.keys("s*"),
    lambda c: c.dbsize(),
    lambda c: c.hset("h", "field", "value"),
    lambda c: c.hset("h", mapping={"x": 1, "y": 2.5}),
    lambda c: c.hget("h", "field"),
    lambda c: c.hget("h", "missing"),
    lambda c: c.hgetall("h"),
    lambda c: c.hgetall("missing"),
    lambda c: c.hmget("h", "x", "missing"),
    lambda c: c.hmget("h", ["x", "y"]),
    lambda c: c.hincrby("h", "x", 5),
    lambda c: c.hincrbyfloat("h", "y", 1.25),
    lambda c: c.hexists("h", "x"),
    lambda c: c.hkeys("h"),
    lambda c: c.hvals("h"),
    lambda c: c.hlen("h"),
    lambda c: c.hdel("h", "x"),
    lambda c: c.hsetnx("h", "z", 1),
    lambda c: c.hrandfield("h2"),
    lambda c: c.hscan("h"),
    lambda c: c.lpush("l", 1, 2),
    lambda c: c.rpush("l", 3, "four"),
    lambda c: c.lrange("l", 0, -1),
    lambda c: c.lpop("l"),
    lambda c: c.lpop("l", 2),
    lambda c: c.lpop("missing"),
    lambda c: c.rpop("l"),
    lambda c: c.llen("l"),
    lambda c: c.rpush("l", "a", "b", "a"),
    lambda c: c.lindex("l", 0),
    lambda c: c.lset("l", 0, "z"),
    lambda c: c.lrem("l", 0, "a"),
    lambda c: c.linsert("l", "before", "b", "x"),
    lambda c: c.lpos("l", "b"),
    lambda c: c.lmove("l", "l2", "LEFT", "RIGHT"),
    lambda c: c.rpoplpush("l", "l2"),
    lambda c: c.ltrim("l2", 0, 0),
    lambda c: c.blpop("l2", 1),
    lambda c: c.blpop("missing", 0.01),
    lambda c: c.sort("l", alpha=True, desc=True),
    lambda c: c.sadd("set", "a", "b", 3),
    lambda c: c.sadd("set", "a"),
    lambda c: c.smembers("set"),
    lambda c: c.smembers("missing"),
    lambda c: c.sismember("set", "a"),
    lambda c: c.smismember("set", ["a", "missing"]),
    lambda c: c.scard("set"),
    lambda c: c.srem("set", "b"),
    lambda c: c.sinter("set", "set"),
    lambda c: c.sunion("set", "missing"),
    lambda c: c.sdiff("set", "missing"),
    lambda c: c.zadd("z", {"a": 1, "b": 2.5, "c": float("inf")}),
    lambda c: c.zadd("z", {"a": 1}, incr=True),
    lambda c: c.zadd("z", {"d": -1.25}, nx=True, ch=True),
    lambda c: c.zrange("z", 0, -1),
    lambda c: c.zrange("z", 0, -1, withscores=True),
    lambda c: c.zrange("z", 0, -1, desc=True, withscores=True),
    lambda c: c.zrange("z", 0, -1, withscores=True, score_cast_func=str),
    lambda c: c.zrangebyscore("z", "-inf", 2, withscores=True),
    lambda c: c.zrevrange("z", 0, 1, withscores=True),
    lambda c: c.zscore("z", "b"),
    lambda c: c.zscore("z", "missing"),
    lambda c: c.zmscore("z", ["a", "missing"]),
    lambda c: c.zincrby("z", 0.5, "a"),
    lambda c: c.zrank("z", "b"),
    lambda c: c.zrank("z", "missing"),
    lambda c: c.zcard("z"),
    lambda c: c.zcount("z", 0, 5),
    lambda c: c.zpopmin("z"),
    lambda c: c.zpopmax("z", 2),
    lambda c: c.bzpopmin("z", 1),
    lambda c: c.bzpopmin("missing", 0.01),
    lambda c: c.zadd("z", {"x": 1, "y": 2}),
    lambda c: c.zscan("z"),
    lambda c: c.zdiff(["z", "missing"], withscores=True),
    lambda c: c.zrandmember("missing", 2, withscores=True),
    lambda c: c.sscan("missing"),
    lambda c: c.scan(match="z*", count=1000),
    lambda c: c.publish("channel", "message"),
    lambda c: c.eval("return {1, 'two', {3}, false, 3.9}", 0),
    lambda c: c.eval("return redis.call('get', KEYS[1])", 1, "a"),
    lambda c: c.eval("return {ok='FINE'}", 0),
    lambda c: c.script_load("return ARGV[1]"),
    lambda c: c.evalsha("098e0f0d1448c0a81dafe820f66d460eb09263da", 0, "arg"),
    lambda c: c.script_exists("098e0f0d1448c0a81dafe820f66d460eb09263da", "0" * 40),
    lambda c: c.setbit("bits", 7, 1),
    lambda c: c.getbit("bits", 7),
    lambda c: c.bitcount("bits"),
    lambda c: c.bitpos("bits", 1),
    lambda c: c.pfadd("hll", 1, 2, 3),
    lambda c: c.pfcount("hll"),
    lambda c: c.geoadd("geo", (13.361389, 38.115556, "Palermo")),
    lambda c: c.geopos("geo", "Palermo", "missing"),
    lambda c: c.geodist("geo", "Palermo", "Palermo"),
    lambda c: c.geosearch("geo", longitude=13, latitude=38, radius=100, unit="km", withdist=True),
    lambda c: c.xadd("stream", {"f": "v"}, id="1-1"),
    lambda c: c.xadd("stream", {"f": "w"}, id="1-2"),
    lambda c: c.xrange("stream"),
    lambda c: c.xread({"stream": "0"}),
    lambda c: c.xread({"stream": "1-2"}, block=10),
    lambda c: c.xlen("stream"),
    lambda c: c.xgroup_create("stream", "group", "0"),
    lambda c: c.xreadgroup("group", "me", {"stream": ">"}, count=1),
    lambda c: c.xpending("stream", "group"),
    lambda c: c.xack("stream", "group", "1-1"),
    lambda c: c.xinfo_groups("stream"),
    lambda c: c.object("encoding", "n"),
    lambda c: c.config_get("maxmemory*"),
    lambda c: c.config_set("maxmemory-samples", 5),
    lambda c: c.client_getname(),
    lambda c: c.acl_whoami(),
    lambda c: c.acl_list(),
    lambda c: c.command_getkeys("MSET", "a", 1, "b", 2),
    lambda c: c.slowlog_len(),
    lambda c: c.execute_command("CONFIG GET", "maxmemory"),
    lambda c: c.execute_command("COMMAND INFO", "get"),
    lambda c: c.execute_command("OBJECT", "HELP"),
    lambda c: c.execute_command("DEBUG", "PROTOCOL", "STRING"),
    lambda c: c.execute_command("DEBUG", "PROTOCOL", "INTEGER"),
    lambda c: c.execute_command("DEBUG", "PROTOCOL", "DOUBLE"),
    lambda c: c.execute_command("DEBUG", "PROTOCOL", "NULL"),
    lambda c: c.execute_command("DEBUG", "PROTOCOL", "ARRAY"),
    lambda c: c.execute_command("DEBUG", "PROTOCOL", "SET"),
    lambda c: c.execute_command("DEBUG", "PROTOCOL", "MAP"),
    lambda c: c.execute_command("DEBUG", "PROTOCOL", "TRUE"),
    lambda c: c.execute_command("DEBUG", "PROTOCOL", "FALSE"),
    lambda c: c.execute_command("DEBUG", "PROTOCOL", "VERBATIM"),
    lambda c: c.execute_command("NOSUCH"),
    lambda c: c.hget("s", "field"),
    lambda c: c.evalsha("0" * 40, 0),
    lambda c: c.eval("return redis.error_reply('CUSTOM it')", 0),
    lambda c: c.eval("return {1, redis.error_reply('CUSTOM nested')}", 0),
    lambda c: c.execute_command("SET", "key"),
    lambda c: c.flushdb(),
]


async def answers(client, commands):
    found = []
    for command in commands:
        try:
            found.append(await command(client))
        except ResponseError as error:
            found.append(error)
    return found


def shape(value):
    """Comparable by type as well: True is not 1, a set is not a list."""
    if isinstance(value, BaseException):
        return type(value), value.args
    if isinstance(value, dict):
        return dict, [(shape(key), shape(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [shape(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return type(value), sorted(map(repr, value))
    return type(value), value


@pytest.mark.parametrize("decode", [False, True], ids=["bytes", "str"])
@pytest.mark.parametrize("protocol", [None, 2, 3])
def test_values_are_those_of_redis_py(run_plain, native, port, admin, protocol, decode):
    async def of(kind):
        options = {"port": port, "decode_responses": decode, "db": 5}
        if protocol is not None:
            options["protocol"] = protocol
        async with kind(**options) as client:
            await client.flushdb()
            return await answers(client, COMMANDS)

    async def main():
        expected, found = await of(redis.asyncio.Redis), await of(native)
        for number, (one, other) in enumerate(zip(found, expected)):
            assert shape(one) == shape(other), f"command {number}"

    run_plain(main)


@pytest.mark.parametrize("decode", [False, True], ids=["bytes", "str"])
def test_both_protocols_give_the_same(run_plain, impl, port, admin, decode):
    """Where the caller did not choose one, he need not know which it is."""

    async def main():
        found = []
        for protocol in (2, 3):
            async with impl(port=port, protocol=protocol, decode_responses=decode) as client:
                await client.flushdb()
                found.append(await answers(client, HOT))
        assert list(map(shape, found[0])) == list(map(shape, found[1]))

    run_plain(main)


HOT = [
    lambda c: c.set("s", "v"),
    lambda c: c.get("s"),
    lambda c: c.mget("s", "missing"),
    lambda c: c.hset("h", "f", "v"),
    lambda c: c.hget("h", "f"),
    lambda c: c.hgetall("h"),
    lambda c: c.hmget("h", "f"),
    lambda c: c.hincrby("h", "n", 2),
    lambda c: c.incr("n"),
    lambda c: c.decr("n"),
    lambda c: c.expire("s", 100),
    lambda c: c.ttl("s"),
    lambda c: c.exists("s"),
    lambda c: c.delete("s"),
    lambda c: c.lpush("l", 1),
    lambda c: c.rpush("l", 2),
    lambda c: c.lrange("l", 0, -1),
    lambda c: c.lpop("l"),
    lambda c: c.sadd("set", 1),
    lambda c: c.smembers("set"),
    lambda c: c.zadd("z", {"a": 1.5}),
    lambda c: c.zrange("z", 0, -1),
    lambda c: c.publish("c", "m"),
    lambda c: c.eval("return {1, 'x'}", 0),
    lambda c: c.ping(),
    lambda c: c.echo("x"),
]


def test_big_numbers_are_int(native_case, admin):
    """As of redis-py's own parser; with hiredis' it gives bytes."""

    async def main(client):
        number = await client.execute_command("DEBUG", "PROTOCOL", "BIGNUM")
        assert number == 1234567999999999999999999999999999999

    native_case(main, protocol=3)


def test_attributes_and_pushes_are_passed_over(native_case, admin):
    """redis-py fails on the first; neither is the reply to a command."""

    async def main(client):
        for _ in range(2):
            reply = await client.execute_command("DEBUG", "PROTOCOL", "ATTRIB")
            assert reply == b"Some real reply following the attribute"
            pushed = client.execute_command("DEBUG", "PROTOCOL", "PUSH")
            assert await asyncio.gather(pushed, client.echo("after")) == [
                b"Some real reply following the push reply",
                b"after",
            ]

    native_case(main, protocol=3)


@pytest.mark.parametrize("transaction", [False, True])
@pytest.mark.parametrize("decode", [False, True], ids=["bytes", "str"])
@pytest.mark.parametrize("protocol", [2, 3])
def test_pipelines_give_the_same(run_plain, native, port, admin, protocol, decode, transaction):
    async def of(kind):
        async with kind(port=port, protocol=protocol, decode_responses=decode) as client:
            await client.flushdb()
            pipeline = client.pipeline(transaction=transaction)
            for command in HOT:
                command(pipeline)
            pipeline.execute_command("INCR", "h")
            first = await pipeline.execute(raise_on_error=False)
            command = client.pipeline(transaction=transaction)
            return first, await command.execute()

    async def main():
        assert shape(await of(native)) == shape(await of(redis.asyncio.Redis))

    run_plain(main)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16-le"])
def test_encoding(case, admin, encoding):
    async def main(client):
        await client.set("grüß", "äöü")
        assert await client.get("grüß") == "äöü"
        assert await client.hset("h", mapping={"ä": "ö"}) == 1
        assert await client.hgetall("h") == {"ä": "ö"}

    case(main, encoding=encoding, decode_responses=True, protocol=2)


def test_encoding_errors(case, admin):
    async def main(client):
        await client.set("key", b"a\xffb")
        assert await client.get("key") == "a\ufffdb"
        await client.set("key", "\udc80?")
        assert await client.get("key") == "??"

    case(main, encoding_errors="replace", decode_responses=True)


def test_undecodable_reply_hits_its_caller_only(case, admin):
    async def main(client):
        await client.set("bad", b"\xff")
        await client.set("good", b"fine")
        results = await asyncio.gather(
            client.get("good"), client.get("bad"), client.get("good"), return_exceptions=True
        )
        assert results[::2] == ["fine", "fine"]
        assert isinstance(results[1], UnicodeDecodeError)
        assert await client.get("good") == "fine"

    case(main, decode_responses=True)


def test_undecodable_reply_leaves_the_connection(native_case, admin):
    async def main(client):
        await client.set("bad", b"\xff")
        identity = await client.client_id()
        for _ in range(3):
            with pytest.raises(UnicodeDecodeError):
                await client.get("bad")
        assert await client.client_id() == identity

    native_case(main, decode_responses=True)


def test_error_replies_leave_the_connection(native_case, admin):
    async def main(client):
        identity = await client.client_id()
        for _ in range(3):
            with pytest.raises(ResponseError):
                await client.execute_command("NOSUCH")
        assert await client.client_id() == identity

    native_case(main)
