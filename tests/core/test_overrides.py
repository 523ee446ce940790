"""The hooks which redis-py's users have: subclasses, patched instances, response callbacks."""

import asyncio

import pytest
from redis.exceptions import ResponseError


def test_subclass_overriding_execute_command(run, impl, port, admin):
    class Logged(impl):
        def __init__(self, **options):
            super().__init__(**options)
            self.log = []

        async def execute_command(self, *args, **options):
            self.log.append(args)
            return await super().execute_command(*args, **options)

    async def main():
        async with Logged(port=port) as client:
            assert await client.set("key", "value") is True
            assert await client.get("key") == b"value"
            assert await client.incr("n") == 1
            assert await client.hgetall("hash") == {}
            assert await asyncio.gather(client.get("key"), client.get("key")) == [b"value"] * 2
            assert [args[0] for args in client.log] == [
                "SET",
                "GET",
                "INCRBY",
                "HGETALL",
                "GET",
                "GET",
            ]
            assert client.log[0] == ("SET", "key", "value")

    run(main)


def test_subclass_overriding_a_command(run, impl, port, admin):
    class Prefixed(impl):
        def get(self, name):
            return super().get("prefix:" + name)

        async def incr(self, name, amount=1):
            return await super().incr(name, amount) * 10

    async def main():
        async with Prefixed(port=port) as client:
            await client.set("prefix:key", "value")
            assert await client.get("key") == b"value"
            assert await client.incr("n") == 10

    run(main)


def test_subclass_extending_the_constructor(run, impl, port, admin):
    class Fixed(impl):
        def __init__(self, where, **options):
            super().__init__(port=where, decode_responses=True, **options)

    async def main():
        async with Fixed(port) as client:
            await client.set("key", "value")
            assert await client.get("key") == "value"

    run(main)


def test_patched_execute_command_of_an_instance(case, admin):
    async def main(client):
        seen = []
        original = client.execute_command

        async def patched(*args, **options):
            seen.append(args[0])
            return await original(*args, **options)

        client.execute_command = patched
        await client.set("key", "value")
        assert await client.get("key") == b"value"
        assert await client.ping()
        assert seen == ["SET", "GET", "PING"]
        del client.execute_command
        await client.get("key")
        assert seen == ["SET", "GET", "PING"]

    case(main)


def test_patched_class(run, impl, port, admin, monkeypatch):
    seen = []
    original = impl.execute_command

    def patched(self, *args, **options):
        seen.append(args[0])
        return original(self, *args, **options)

    async def main():
        async with impl(port=port) as client:
            await client.get("before")
            monkeypatch.setattr(impl, "execute_command", patched)
            await client.set("key", "value")
            assert await client.get("key") == b"value"
            monkeypatch.undo()
            assert await client.get("key") == b"value"
        assert seen == ["SET", "GET"]

    run(main)


def test_set_response_callback_acts_at_once(case, admin):
    async def main(client):
        await client.set("key", "value")
        assert await client.get("key") == b"value"
        client.set_response_callback("GET", lambda reply, **options: ("seen", reply))
        assert await client.get("key") == ("seen", b"value")
        assert await client.execute_command("get", "key") == ("seen", b"value")
        client.set_response_callback("get", lambda reply, **options: "lower")
        assert await client.get("key") == "lower"
        client.set_response_callback("SET", lambda reply, **options: reply)
        assert await client.set("key", "value") == b"OK"

    case(main)


def test_response_callbacks_mapping_may_be_changed(case, admin):
    async def main(client):
        client.response_callbacks["ECHO"] = lambda reply, **options: reply.upper()
        assert await client.echo("x") == b"X"
        del client.response_callbacks["ECHO"]
        assert await client.echo("x") == b"x"
        client.response_callbacks.update({"ECHO": lambda reply, **options: "updated"})
        assert await client.echo("x") == "updated"

    case(main)


def test_response_callback_that_raises(case, admin):
    async def main(client):
        def broken(reply, **options):
            raise ZeroDivisionError("from the callback")

        client.set_response_callback("ECHO", broken)
        first, second = await asyncio.gather(
            client.echo("x"), client.ping(), return_exceptions=True
        )
        assert isinstance(first, ZeroDivisionError)
        assert second is True
        with pytest.raises(ZeroDivisionError, match="from the callback"):
            await client.echo("x")
        assert await client.ping()

    case(main)


def test_response_callback_gets_the_options(case, admin):
    async def main(client):
        seen = []
        client.set_response_callback("ECHO", lambda reply, **options: seen.append(options) or reply)
        assert await client.execute_command("ECHO", "x", colour="red") == b"x"
        assert seen == [{"colour": "red"}]

    case(main)


def test_never_decode(case, admin):
    async def main(client):
        await client.set("key", b"\xff\xfe")
        dump = await client.dump("key")
        assert isinstance(dump, bytes)
        assert await client.execute_command("GET", "key", NEVER_DECODE=True) == b"\xff\xfe"
        with pytest.raises(UnicodeDecodeError):
            await client.get("key")
        assert await client.ping()

    case(main, decode_responses=True)


def test_options_are_not_sent(case, admin):
    async def main(client):
        with pytest.raises(ResponseError):
            await client.execute_command("NOSUCH", whatever=1)
        assert await client.execute_command("GET", "key", keys=["key"]) is None

    case(main)
