"""Fixtures of the toolkit's tests: a real server, a proxy before it, and each kind of client."""

import pytest
import pytest_asyncio
import redis
import redis.asyncio
from waiting import until

import aiecs_redis
from aiecs_redis import RedisClient
from aiecs_redis.testing import FaultProxy, RedisServer


@pytest.fixture(scope="session")
def toolkit_server():
    """A server of our own, whatever REDIS_HOST says: its settings and connections are changed."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def own(toolkit_server):
    """That server, empty and with its usual settings."""
    with toolkit_server.connect() as admin:
        admin.flushall()
        admin.config_set("notify-keyspace-events", "")
        admin.config_resetstat()
    return toolkit_server


@pytest.fixture
def admin(own):
    """A synchronous redis-py client to look at the server from outside; it decodes replies."""
    with own.connect(decode_responses=True) as client:
        yield client


@pytest.fixture
def proxy(own):
    """A proxy before the server, for `make_client(proxy)`."""
    with FaultProxy(own.host, own.port) as proxy:
        yield proxy


@pytest_asyncio.fixture
async def make_client(own):
    """`await make_client()`: our Redis on the server, or behind a proxy; closed at the end."""
    made = []

    async def make(where=own, kind="aiecs_redis.Redis", **options):
        settings = {**own.kwargs, "host": where.host, "port": where.port, **options}
        if kind == "RedisClient":
            client = RedisClient(settings)
            await client.initialize()
            made.append(client.close)
        elif kind == "redis-py":
            client = redis.asyncio.Redis(**settings)
            made.append(client.aclose)
        else:
            client = aiecs_redis.Redis(**settings)
            made.append(client.aclose)
        return client

    yield make
    for close in made:
        await close()


@pytest.fixture(params=["RedisClient", "aiecs_redis.Redis", "redis-py"])
def kind(request):
    return request.param


@pytest_asyncio.fixture
async def any_client(kind, make_client):
    """A client of each kind that the toolkit takes."""
    return await make_client(kind=kind)


@pytest_asyncio.fixture
async def client(make_client):
    """Our Redis."""
    return await make_client()


@pytest.fixture(name="until")
def until_fixture():
    return until
