"""Fixtures of the core tests: one real server, two implementations, four kinds of event loop.

Behaviour that is defined as "what redis-py does" is tested once, on redis-py itself and on the
native client, so that a test which misjudges redis-py fails as loudly as a core that differs.
"""

import asyncio
import gc
import sys
import time

import pytest
import redis
import redis.asyncio

import aiecs_redis
from aiecs_redis.testing import RedisServer

try:
    import uvloop
except ImportError:
    uvloop = None


def pytest_collection_modifyitems(items):
    """redis-py is the reference: running it in debug mode too would tell nothing, slowly."""
    items[:] = [item for item in items if "-debug-redis-py" not in item.name]


LOOPS = ["asyncio", "asyncio-debug", "uvloop", "uvloop-debug"]
IDLE = asyncio.new_event_loop()  # never runs
HANG = 20.0  # seconds after which a test counts as hung


@pytest.fixture(scope="session")
def core_server():
    """A server of our own, whatever REDIS_HOST says: the tests pause it and kill connections."""
    with RedisServer(debug_command=True) as server:
        yield server


@pytest.fixture
def port(core_server):
    return core_server.port


@pytest.fixture
def admin(core_server):
    """A synchronous redis-py client to look at the server from outside; the database is empty."""
    with redis.Redis(port=core_server.port, decode_responses=True) as client:
        client.client_kill_filter(_type="normal", skipme=True)
        client.flushall()
        client.config_resetstat()
        yield client


def calls(admin, command):
    """How often the server has run a command since the test began."""
    return admin.info("commandstats").get("cmdstat_" + command, {}).get("calls", 0)


@pytest.fixture
def count(admin):
    """`count("get")`: how often the server has run GET since the test began."""
    return lambda command: calls(admin, command)


@pytest.fixture
def blocked(admin):
    """`await blocked(2)`: until the server has two clients waiting in a blocking command."""

    async def blocked(number):
        deadline = time.monotonic() + HANG
        while admin.info("clients")["blocked_clients"] != number:
            assert time.monotonic() < deadline, f"not {number} clients wait in a blocking command"
            await asyncio.sleep(0.001)
        for _ in range(
            20
        ):  # before Python 3.12, redis-py may swallow a cancel while it is still sending
            await asyncio.sleep(0)

    return blocked


@pytest.fixture(params=["redis-py", "native"])
def impl(request):
    """The client class under test: redis-py's own as the reference, and ours."""
    if request.param == "redis-py":
        return redis.asyncio.Redis
    return request.getfixturevalue("native")


@pytest.fixture
def native():
    """The native client class, for behaviour which redis-py does not have."""
    return aiecs_redis.Redis


@pytest.fixture
def is_native(impl):
    """Whether the implementation under test is ours, for the few deliberate differences."""
    return impl is not redis.asyncio.Redis


@pytest.fixture(autouse=True)
def current_loop():
    LoopRunner.provide()


@pytest.fixture
def connect(impl, core_server):
    """Makes a client of the implementation under test."""
    return lambda **options: impl(port=core_server.port, **options)


@pytest.fixture
def connect_native(native, core_server):
    """Makes a native client."""
    return lambda **options: native(port=core_server.port, **options)


class LoopRunner:
    """Runs coroutine functions, each on a fresh event loop of one kind.

    What reaches a loop's exception handler fails the test unless it is taken from `contexts`.
    """

    def __init__(self, kind):
        self.kind = kind
        self.debug = kind.endswith("-debug")
        self.uvloop = kind.startswith("uvloop")
        self.contexts = []
        self.hang = HANG

    def new_loop(self):
        self.provide()
        loop = uvloop.new_event_loop() if self.uvloop else asyncio.new_event_loop()
        loop.set_debug(self.debug)
        loop.set_exception_handler(lambda _, context: self.contexts.append(context))
        return loop

    def __call__(self, function, *args):
        loop = self.new_loop()
        asyncio.set_event_loop(loop)  # before Python 3.10, locks ask for it when they are made
        try:
            return self.on(loop, function(*args))
        finally:
            self.finish(loop)

    def on(self, loop, coroutine):
        """Run a coroutine on an existing loop; fail instead of hanging."""
        task = loop.create_task(coroutine)
        return self.watched(loop, task.cancel, loop.run_until_complete, task)

    def forever(self, loop):
        """Run a loop until something stops it; fail instead of hanging."""
        self.watched(loop, loop.stop, loop.run_forever)

    def watched(self, loop, stop, run, *args):
        hung = []

        def give_up():
            hung.append(True)
            stop()

        watchdog = loop.call_later(self.hang, give_up)
        try:
            return run(*args)
        finally:
            watchdog.cancel()
            if hung:
                pytest.fail("hung")

    def finish(self, loop):
        """Close a loop as asyncio.run() does."""
        try:
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            if tasks:
                loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            asyncio.set_event_loop(None)
            loop.close()
            self.provide()

    @staticmethod
    def provide():
        """Before Python 3.10, redis-py's clients make locks, which ask for the current loop."""
        if sys.version_info < (3, 10):
            asyncio.set_event_loop(IDLE)

    def taken(self):
        """What the exception handlers were told so far, which the test expected."""
        contexts, self.contexts = self.contexts, []
        return contexts


@pytest.fixture(params=LOOPS)
def run(request):
    """`run(coroutine_function)` on asyncio's loop and uvloop, with and without debug mode."""
    yield from runner_of(request.param)


@pytest.fixture(params=["asyncio", "uvloop"])
def run_plain(request):
    """`run` without the debug mode, where the mode cannot matter or would only be slow."""
    yield from runner_of(request.param)


def runner_of(kind):
    if kind.startswith("uvloop") and uvloop is None:
        pytest.skip("uvloop is not installed")
    runner = LoopRunner(kind)
    yield runner
    gc.collect()
    assert not runner.contexts


def case_of(run, connect):
    def case(main, **options):
        async def body():
            async with connect(**options) as client:
                return await main(client)

        return run(body)

    return case


@pytest.fixture
def case(run, connect):
    """`case(main)` runs `main(client)` on each kind of loop with each implementation."""
    return case_of(run, connect)


@pytest.fixture
def busy_case(run_plain, connect):
    """The same for many commands: debug mode would make redis-py take seconds."""
    return case_of(run_plain, connect)


@pytest.fixture
def native_case(run, connect_native):
    """`case` for what only the native client does."""
    return case_of(run, connect_native)


@pytest.fixture(autouse=True, scope="module")
def frozen_heap():
    """Keep what is there already out of the many collections the tests ask for."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
