"""Fixtures that several test modules share: servers, a clean environment, an initialized client.

The tests run on the server that REDIS_HOST (REDIS_PORT, REDIS_PASSWORD, ...) names, else on one
that is started for them. A server that is not theirs keeps what is in it: they use database 15
(or the one in REDIS_TEST_DB), and only if it is empty.
"""

import asyncio
import functools
import json
import os
import signal
import sys

import pytest
import pytest_asyncio
from redis.asyncio.connection import AbstractConnection

from aiecs_redis import settings
from aiecs_redis._server_info import ServerInfo
from aiecs_redis.redis_client import RedisClient
from aiecs_redis.testing import (
    ProgramMissingError,
    RedisServer,
    find_server,
    redis_version,
    server_from_environment,
)

try:
    import uvloop
except ImportError:
    uvloop = None

# Somebody else's; as `server_from_environment()` has it.
SERVER_IS_GIVEN = any(
    os.environ.get(name, "").strip()
    for name in ("REDIS_HOST", "REDIS_URL", "REDIS_UNIX_SOCKET_PATH")
)
LOOPS = ["asyncio", pytest.param("uvloop", marks=pytest.mark.skipif(not uvloop, reason="uvloop"))]


def pytest_generate_tests(metafunc):
    """`@pytest.mark.both_loops` runs a test on asyncio's own loop and on uvloop."""
    if metafunc.definition.get_closest_marker("both_loops"):
        metafunc.parametrize("event_loop_policy", LOOPS, indirect=True)


def pytest_configure(config):
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts its background jobs so, and programs that tests interrupt inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "both_loops: runs on asyncio's loop and on uvloop")
    config.addinivalue_line("markers", "since(version, what): needs what that Redis brought")
    # Its successor, a hook, needs a pytest-asyncio that does not run on Python 3.9.
    config.addinivalue_line("filterwarnings", "ignore:Overriding the .event_loop_policy. fixture")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Of tests run two at a time (`make test`), those of a file keep to one process.

    So do those that share a cluster or Sentinels, which take seconds to start, and all of
    reliability: they measure, and one would disturb the other.
    """
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        folder = item.path.parent.name
        together = folder if folder in ("cluster", "reliability", "sentinel") else item.path.name
        item.add_marker(pytest.mark.xdist_group(together))


@functools.cache
def version_of_server(of_session):
    """The server's name and version, and the Redis that it is or stands in for: (7, 2, 4).

    It is the session's, which may be someone else's, or the one that tests start.
    """
    with server_from_environment() if of_session else RedisServer() as server:
        with server.connect(decode_responses=True) as admin:
            info = ServerInfo(0.0, 0.0, admin.info("server"))
    stands_for = tuple(map(int, info.text("redis_version").split(".")))
    return f"{info.product} {info.version}", stands_for


def pytest_runtest_setup(item):
    """`@pytest.mark.since("7.0", "LMPOP")` skips a test on servers that have no LMPOP yet."""
    for mark in item.iter_markers("since"):
        needed, what = mark.args
        name, version = version_of_server("redis_server" in item.fixturenames)
        if version < tuple(map(int, needed.split("."))):
            pytest.skip(f"{name} has no {what}: that came with Redis {needed}")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A test that needs a server of its own is skipped where a server is given, but no program.

    Without either it fails. One that failed shows the logs of its servers.
    """
    error = call.excinfo and call.excinfo.value
    if SERVER_IS_GIVEN and isinstance(error, ProgramMissingError):
        skipped = pytest.skip.Exception(f"needs a server of its own: {error}")
        reason = (type(skipped), skipped, call.excinfo.tb)
        call.excinfo = pytest.ExceptionInfo.from_exc_info(reason)
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if callable(getattr(value, "logs", None)):
                report.sections.append((f"servers of {name}", value.logs()))


@pytest.fixture(autouse=sys.version_info < (3, 10))
def a_loop_is_set():
    """redis-py's pools make a lock, which on Python 3.9 asks for the thread's loop."""
    try:
        asyncio.get_event_loop_policy().get_event_loop()
    except RuntimeError:
        asyncio.set_event_loop(asyncio.new_event_loop())


@pytest.fixture
def event_loop_policy(request):
    """What pytest-asyncio takes its loops from."""
    if getattr(request, "param", "asyncio") == "uvloop":
        return uvloop.EventLoopPolicy()
    return asyncio.DefaultEventLoopPolicy()


@pytest.fixture(scope="session")
def redis_server():
    """The server of the session; `redis_server.kwargs` lead to the database of the tests."""
    with server_from_environment() as server:
        if not isinstance(server, RedisServer):
            server.kwargs["db"] = int(os.environ.get("REDIS_TEST_DB", 15))
            with server.connect() as admin:
                if admin.dbsize():
                    pytest.exit(
                        f"database {server.kwargs['db']} of the server in REDIS_HOST is not"
                        " empty: name one the tests may clear in REDIS_TEST_DB",
                        returncode=3,
                    )
        yield server


@pytest.fixture
def server(redis_server):
    """The server of the session, with an empty database."""
    with redis_server.connect() as admin:
        admin.flushdb()
        yield redis_server
        admin.flushdb()


@pytest.fixture
def admin(server):
    """A synchronous redis-py client that sees what the tests did; it decodes replies."""
    with server.connect(decode_responses=True) as client:
        yield client


@pytest.fixture
def no_environment(monkeypatch):
    """No REDIS_ variable is set. Returns monkeypatch, to set some."""
    for name in settings.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture
def environment(no_environment, server):
    """The REDIS_ variables lead to the server. Returns monkeypatch, to set more."""
    for key, value in server.kwargs.items():
        no_environment.setenv(f"REDIS_{key.upper()}", str(value))
    return no_environment


@pytest.fixture
def command_line(capsys):
    """`command_line("scan", "user:*")`: (exit status, standard output, standard error)."""
    pytest.importorskip("rich")
    pytest.importorskip("typer")
    from aiecs_redis.cli import main

    def call(*arguments):
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return call


@pytest.fixture
def cli(environment, command_line):
    """`command_line` on the server."""
    return command_line


@pytest.fixture
def ask(cli):
    """The JSON of a command that is to succeed."""

    def call(*arguments):
        status, out, err = cli(*arguments, "--json")
        assert status == 0, err
        return json.loads(out)

    return call


@pytest.fixture(scope="session")
def server_program():
    """Path of the program that tests hand to others, who start servers with it."""
    redis_version()  # which tells that there is none
    return find_server()


@pytest.fixture
def start_server():
    """`start_server(requirepass="x")`: a RedisServer with options of its own, for one test."""
    started = []

    def start(**options):
        started.append(RedisServer(**options).start())
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def alive():
    """`alive(pid)`: whether there is such a process."""

    def alive(pid):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True

    return alive


@pytest.fixture
def python_connections(monkeypatch):
    """The connections redis-py opened itself; empty when all went the native way."""
    opened = []
    connect = AbstractConnection.connect

    async def recording_connect(self, *args, **kwargs):
        if not self.is_connected:
            opened.append(self)
        await connect(self, *args, **kwargs)

    monkeypatch.setattr(AbstractConnection, "connect", recording_connect)
    return opened


@pytest_asyncio.fixture
async def client(server):
    """An initialized RedisClient on the empty database."""
    client = RedisClient(server.kwargs)
    await client.initialize()
    yield client
    await client.close()
