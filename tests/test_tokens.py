"""A streaming credential provider: a new token re-authenticates the connections that are open."""

import asyncio
import threading

import pytest
import redis.asyncio
from redis.auth.token import SimpleToken
from redis.credentials import StreamingCredentialProvider
from redis.exceptions import AuthenticationError

import aiecs_redis
from aiecs_redis.testing import RedisServer

FIRST, SECOND = ("ann", "first"), ("bob", "second")


@pytest.fixture(scope="module")
def guarded():
    users = {name: f"on >{password} ~* &* +@all" for name, password in (FIRST, SECOND)}
    with RedisServer(users=users) as server:
        yield server


class Provider(StreamingCredentialProvider):
    """Hands out tokens when a test tells it to."""

    def __init__(self, credentials=FIRST):
        self.credentials = credentials
        self.asked = 0
        self.callback = None

    def get_credentials(self):
        self.asked += 1
        return self.credentials

    async def get_credentials_async(self):
        await asyncio.sleep(0)
        return self.get_credentials()

    def on_next(self, callback):
        self.callback = callback

    def on_error(self, callback):
        pass

    def is_streaming(self):
        return True

    async def renew(self, user, password):
        self.credentials = user, password
        await self.callback(token(user, password))


def token(user, password):
    return SimpleToken(password, -1, 0, {"oid": user})


def where(guarded):
    return {"host": "127.0.0.1", "port": guarded.port}


def connections(guarded, name):
    with guarded.connect() as admin:
        found = [entry for entry in admin.client_list() if entry["name"] == name]
        return {entry["id"]: (entry["user"], entry["cmd"]) for entry in found}


@pytest.mark.both_loops
async def test_every_connection_is_told(guarded):
    provider = Provider()
    options = {"credential_provider": provider, "client_name": "told"}
    async with aiecs_redis.Redis(**where(guarded), **options) as client:
        assert await client.acl_whoami() == "ann"
        assert await client.blpop("nothing", 0.01) is None  # a lease, idle now
        blocked = asyncio.ensure_future(client.blpop("list", 10))  # it takes that one
        other = asyncio.ensure_future(client.blpop("nothing", 0.5))
        await asyncio.sleep(0.1)
        before = connections(guarded, "told")
        assert {user for user, _ in before.values()} == {"ann"}
        assert len(before) == 3
        await asyncio.wait_for(provider.renew(*SECOND), 5)  # not held up by those that block
        after = connections(guarded, "told")
        assert before.keys() == after.keys()
        users = {user for user, command in after.values() if command != "blpop"}
        assert users == {"bob"}
        await client.rpush("list", "item")
        assert await blocked == (b"list", b"item")
        assert await other is None
        await client.ping()
        after = connections(guarded, "told")
        assert {user for user, _ in after.values()} == {"bob"}
        assert before.keys() == after.keys()
        assert provider.asked == 3  # none was made anew


async def test_commands_go_on_meanwhile(guarded):
    provider = Provider()
    async with aiecs_redis.Redis(**where(guarded), credential_provider=provider) as client:
        await client.set("n", 0)

        async def count():
            return [await client.incr("n") for _ in range(200)]

        counting = [asyncio.ensure_future(count()) for _ in range(10)]
        for _ in range(5):
            await provider.renew(*SECOND)
            await provider.renew(*FIRST)
        results = [number for task in counting for number in await task]
        assert sorted(results) == list(range(1, 2001))
        assert provider.asked == 1
        assert client._native_transport.stats()["connects"] == 1


async def test_in_order(guarded):
    provider = Provider()
    async with aiecs_redis.Redis(**where(guarded), credential_provider=provider) as client:
        await client.ping()
        before = client.acl_whoami()
        before = asyncio.ensure_future(before)
        await asyncio.sleep(0)
        renewing = asyncio.ensure_future(provider.renew(*SECOND))
        await asyncio.sleep(0)
        after = asyncio.ensure_future(client.acl_whoami())
        assert [await before, await renewing, await after] == ["ann", None, "bob"]


async def test_a_refused_token_is_told_and_changes_nothing(guarded):
    provider = Provider()
    async with aiecs_redis.Redis(**where(guarded), credential_provider=provider) as client:
        await client.ping()
        with pytest.raises(AuthenticationError):
            await provider.renew("ann", "wrong")
        assert await client.acl_whoami() == "ann"
        assert client._native_transport.stats()["connects"] == 1


async def test_a_connection_that_is_being_made_is_told_too(guarded):
    """It may have been handed the old token already."""
    asked, answer = asyncio.Event(), asyncio.Event()

    class Slow(Provider):
        async def get_credentials_async(self):
            credentials = self.credentials
            asked.set()
            await answer.wait()
            return credentials

    provider = Slow()
    async with aiecs_redis.Redis(**where(guarded), credential_provider=provider) as client:
        who = asyncio.ensure_future(client.acl_whoami())
        await asked.wait()
        await provider.renew(*SECOND)
        answer.set()
        assert await who == "bob"


async def test_a_connection_in_use_is_told_when_it_comes_back(guarded):
    """As redis-py has it: nobody writes into the middle of what its user says."""
    provider = Provider()
    options = {"credential_provider": provider, "client_name": "lent"}
    async with aiecs_redis.Redis(**where(guarded), **options) as client:
        await client.ping()
        async with client.pipeline() as pipe:
            await pipe.watch("key")
            await provider.renew(*SECOND)
            assert await pipe.acl_whoami() == "ann"
            await pipe.unwatch()
            before = connections(guarded, "lent")
            assert sorted(user for user, _ in before.values()) == ["ann", "bob"]
        for _ in range(1000):
            after = connections(guarded, "lent")
            if {user for user, _ in after.values()} == {"bob"}:
                break
            await asyncio.sleep(0.005)
        assert [user for user, _ in after.values()] == ["bob", "bob"]
        assert after.keys() == before.keys()
        assert provider.asked == 2


async def test_every_client_of_a_pool(guarded):
    provider = Provider()
    pool = redis.asyncio.ConnectionPool(**where(guarded), credential_provider=provider)
    clients = [aiecs_redis.Redis(connection_pool=pool) for _ in range(2)]
    plain = redis.asyncio.Redis(connection_pool=pool)
    for client in (*clients, plain):
        assert await client.acl_whoami() == "ann"
    await pool.re_auth_callback(token(*SECOND))
    for client in (*clients, plain):
        assert await client.acl_whoami() == "bob"
        await client.aclose()
    await pool.aclose()


async def test_nothing_is_open(guarded):
    provider = Provider()
    client = aiecs_redis.Redis(**where(guarded), credential_provider=provider)
    await provider.renew(*SECOND)
    assert await client.acl_whoami() == "bob"
    await client.aclose()
    await provider.renew(*FIRST)
    assert await client.acl_whoami() == "ann"
    await client.aclose()


async def test_connections_of_another_loop(guarded):
    """The provider renews its tokens in this loop, the client works in another thread's."""
    provider = Provider()
    client = aiecs_redis.Redis(**where(guarded), credential_provider=provider)
    connected = threading.Event()
    users = []

    async def work():
        users.append(await client.acl_whoami())
        connected.set()
        while users[-1] == "ann":
            await asyncio.sleep(0.01)
            users.append(await client.acl_whoami())
        await client.aclose()

    thread = threading.Thread(target=asyncio.run, args=(asyncio.wait_for(work(), 20),))
    thread.start()
    await asyncio.to_thread(connected.wait, 10)
    await provider.renew(*SECOND)
    await asyncio.to_thread(thread.join, 20)
    assert users[0] == "ann" and users[-1] == "bob"
    assert provider.asked == 1


async def test_no_secret_is_shown(guarded):
    provider = Provider()
    async with aiecs_redis.Redis(**where(guarded), credential_provider=provider) as client:
        await client.ping()
        (answer,) = client._native_transport.reauthenticate(("ann", "a wrong one"))
        assert "a wrong one" not in repr(answer)
        with pytest.raises(AuthenticationError) as caught:
            await answer
        assert "a wrong one" not in str(caught.value)
        with pytest.raises(TypeError, match="words must be a tuple, not str"):
            client._native_transport.reauthenticate("a wrong one")
