"""Holds docs/compatibility.md true: each difference from redis-py that it names, on both."""

import asyncio
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, DataError, MaxConnectionsError, TimeoutError

import aiecs_redis
from aiecs_redis.testing import FaultProxy, free_port

Theirs = redis.asyncio.Redis
Ours = aiecs_redis.Redis

ROOT = Path(__file__).resolve().parent.parent
NEW = tuple(int(part) for part in redis.__version__.split(".")[:1]) >= (8,)


@pytest.fixture
def kwargs(server):
    return server.kwargs


def without_retries(**kwargs):
    return {"retry": Retry(NoBackoff(), 0), **kwargs}


class Provider(redis.CredentialProvider):
    def get_credentials(self):
        return ("name", "secret")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"ssl": True, "ssl_ca_certs": "/not/there.pem"}, ConnectionError),
        ({"protocol": 4}, ConnectionError),
        ({"credential_provider": Provider(), "password": "secret"}, DataError),
        ({"port": "six"}, ValueError),
    ],
    ids=["tls file", "protocol", "credentials", "port"],
)
async def test_the_constructor_refuses_what_redis_py_refuses_with_the_first_command(
    arguments, error
):
    client = Theirs(**without_retries(**arguments))
    with pytest.raises((error, ConnectionError, OSError)):
        await client.ping()
    await client.aclose()
    with pytest.raises(error) as caught:
        Ours(**arguments)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["port", "db", "socket_timeout", "socket_connect_timeout"])
def test_a_setting_that_is_no_number_is_named(name):
    with pytest.raises(ValueError, match=f"^{name}='six': give a"):
        Ours(**{name: "six"})


@pytest.mark.parametrize("name", ["socket_timeout", "socket_connect_timeout"])
async def test_a_timeout_of_0_is_refused(kwargs, name):
    async with Theirs(**without_retries(**kwargs, **{name: 0})) as client:
        with pytest.raises(TimeoutError):
            await client.ping()
    with pytest.raises(ValueError, match=f"^{name}=0: give a number of seconds greater than 0"):
        Ours(**kwargs, **{name: 0})


async def test_a_refused_connection_in_the_systems_words():
    port = free_port()
    texts = []
    for implementation in (Theirs, Ours):
        async with implementation(**without_retries(host="127.0.0.1", port=port)) as client:
            with pytest.raises(ConnectionError) as caught:
                await client.ping()
            texts.append(str(caught.value))
    beginning = f"connecting to 127.0.0.1:{port}."
    assert all(beginning in text for text in texts)
    assert texts[0].endswith(f"Connect call failed ('127.0.0.1', {port}).")
    assert texts[1].endswith("Connection refused.")


@pytest.mark.skipif(
    not hasattr(redis.asyncio.client, "record_operation_duration"),
    reason="this redis-py has no metrics of asyncio commands",
)
async def test_redis_pys_command_metrics_are_not_fed(kwargs, monkeypatch):
    seen = []

    async def record(*_, command_name, **__):
        seen.append(command_name)

    monkeypatch.setattr(redis.asyncio.client, "record_operation_duration", record)
    async with Theirs(**kwargs) as client:
        await client.get("key")
    assert seen == ["GET"]
    async with Ours(**kwargs) as client:
        await client.get("key")
        assert seen == ["GET"]
    async with Ours(**kwargs, single_connection_client=True) as client:
        await client.set("key", 1)
    assert seen[-1] == "SET"  # redis-py's own transport


async def test_a_pipeline_of_redis_pys_class_takes_redis_pys_connections(kwargs):
    async with Ours(**kwargs) as client:
        pool = client.connection_pool
        assert await client.pipeline().set("key", 1).get("key").execute() == [True, b"1"]
        assert pool._available_connections == []
        direct = redis.asyncio.client.Pipeline(pool, client.response_callbacks, True, None)
        assert await direct.set("key", 2).get("key").execute() == [True, b"2"]
        assert len(pool._available_connections) == 1


async def test_the_pool_has_no_connection_to_show(kwargs):
    for implementation, count in ((Theirs, 1), (Ours, 0)):
        async with implementation(**kwargs) as client:
            await client.ping()
            assert len(client.connection_pool._available_connections) == count


async def test_concurrent_commands_share_a_connection(kwargs):
    for implementation, shared in ((Theirs, False), (Ours, True)):
        async with implementation(**kwargs) as client:
            found = await asyncio.gather(*(client.client_id() for _ in range(5)))
            assert (len(set(found)) == 1) == shared


async def test_a_full_pool_makes_commands_wait(kwargs):
    async def pops(client):
        waits = (client.blpop("nothing here", timeout=0.2) for _ in range(3))
        return await asyncio.gather(*waits, return_exceptions=True)

    async with Theirs(**kwargs, max_connections=2) as client:
        error = MaxConnectionsError if NEW else ConnectionError
        assert sum(isinstance(result, error) for result in await pops(client)) == 1
    async with Ours(**kwargs, max_connections=2) as client:
        assert await pops(client) == [None] * 3


async def test_a_command_is_awaitable_and_no_coroutine_function_made_it(kwargs):
    async with Theirs(**kwargs) as client:
        command = client.get("key")
        assert inspect.iscoroutine(command) and asyncio.iscoroutine(command)
        await command
        with pytest.raises(RuntimeError):
            await command
    async with Ours(**kwargs) as client:
        command = client.get("key")
        assert inspect.isawaitable(command) and asyncio.iscoroutine(command)
        assert not inspect.iscoroutine(command)
        assert await command == await command
        assert await asyncio.create_task(client.get("key")) is None


async def test_what_a_lost_connection_may_have_executed_is_not_repeated(start_server):
    """redis-py's default policy repeats any command, so that this one counts twice."""

    async def count(implementation):
        with start_server() as server, FaultProxy(server.host, server.port) as proxy:
            async with implementation(**proxy.kwargs) as client:
                await client.ping()
                proxy.to_client.stall()
                running = asyncio.ensure_future(client.incr("count"))
                with server.connect() as admin:
                    while admin.get("count") is None:
                        await asyncio.sleep(0.01)
                    proxy.cut()
                    proxy.to_client.resume()
                    result = (await asyncio.gather(running, return_exceptions=True))[0]
                    return result, int(admin.get("count"))

    assert await count(Theirs) == (2, 2)
    result, counted = await count(Ours)
    assert isinstance(result, aiecs_redis.OutcomeUnknownError)
    assert counted == 1


OLD = """
import sys
sys.path.insert(0, {folder!r})
import aiecs_redis
"""


@pytest.mark.parametrize("version", ["4.6.0", "6.4.0", "9.0.0", "10.1.0b1"])
def test_another_redis_py_is_refused_in_one_sentence(tmp_path, version):
    package = tmp_path / "redis"
    package.mkdir()
    (package / "__init__.py").write_text(f"__version__ = {version!r}\n")
    done = subprocess.run(
        [sys.executable, "-c", OLD.format(folder=str(tmp_path))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: aiecs_redis works with redis-py >=7.0,<9 and found {version}: "
        'run: pip install "redis>=7.0,<9"'
    )
