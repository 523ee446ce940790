"""install(): the names of redis.asyncio stand for ours; and `python -m aiecs_redis run`."""

import asyncio
import inspect
import os
import signal
import subprocess
import sys
import textwrap
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis.asyncio
import redis.asyncio.sentinel
import redis.asyncio.utils

import aiecs_redis
from aiecs_redis.__main__ import main
from aiecs_redis.testing import free_port

ROOT = Path(aiecs_redis.__file__).resolve().parent.parent
BASE = redis.asyncio.client.Redis
BASE_PIPELINE = redis.asyncio.client.Pipeline


def snapshot():
    """Every object that a module of redis.asyncio, its classes and its functions' defaults hold."""
    found = {}
    for name, module in sorted(sys.modules.items()):
        if name.partition(".")[0] != "redis" or "asyncio" not in name:
            continue
        for key, value in vars(module).items():
            found[name, key] = value
            if getattr(value, "__module__", None) == name and isinstance(value, type):
                for inner, attribute in vars(value).items():
                    if not inner.startswith(("_abc_", "__")):
                        found[name, key, inner] = attribute
                    function = inspect.unwrap(getattr(attribute, "__func__", attribute))
                    if inspect.isfunction(function):
                        defaults = (function.__defaults__, function.__kwdefaults__)
                        found[name, key, inner, "()"] = repr(defaults)
    return found


@pytest.fixture
def installed():
    """install() is in effect. Returns what it says."""
    yield aiecs_redis.install()
    aiecs_redis.uninstall()


# ------------------------------------------------------------------ the names


def test_the_names_are_ours(installed):
    ours, pipeline = aiecs_redis.Redis, aiecs_redis.Pipeline
    assert redis.asyncio.Redis is redis.asyncio.StrictRedis is ours
    assert redis.asyncio.client.Redis is redis.asyncio.client.StrictRedis is ours
    assert redis.asyncio.client.Pipeline is pipeline
    assert redis.asyncio.sentinel.Redis is ours
    for name in ("master_for", "slave_for"):
        method = getattr(redis.asyncio.sentinel.Sentinel, name)
        assert inspect.signature(method).parameters["redis_class"].default is ours
    assert type(redis.asyncio.from_url("redis://")) is ours
    assert type(redis.asyncio.utils.from_url("redis://")) is ours
    sentinel = redis.asyncio.Sentinel([("127.0.0.1", 1)])
    assert type(sentinel.sentinels[0]) is ours
    assert type(sentinel.master_for("name")) is ours


def test_uninstall_restores_everything():
    before = snapshot()
    result = aiecs_redis.install()
    during = snapshot()
    assert during != before
    assert aiecs_redis.install() is result
    assert snapshot() == during
    aiecs_redis.uninstall()  # once, though installed twice
    assert snapshot() == before
    aiecs_redis.uninstall()
    assert snapshot() == before
    assert redis.asyncio.Redis is BASE


def test_what_is_said(installed, caplog):
    assert "redis.asyncio.Redis" in installed.replaced
    assert "redis.asyncio.sentinel.Sentinel.master_for(redis_class)" in installed.replaced
    assert str(installed).startswith("replaced: redis.asyncio.")
    assert "redis.asyncio.client.Pipeline" in repr(installed)
    aiecs_redis.uninstall()
    with caplog.at_level("INFO", logger="aiecs_redis"):
        aiecs_redis.install()
    assert caplog.messages == [str(installed)]


def test_what_was_imported_before_is_left_alone(monkeypatch):
    library = types.ModuleType("some_library")
    library.TheirRedis = BASE

    class Sub(BASE):
        __module__ = "some_library"

    class Awkward(types.ModuleType):
        def __getattribute__(self, name):
            raise AssertionError("a lazy module is not to be touched")

    library.Sub = Sub
    monkeypatch.setitem(sys.modules, "some_library", library)
    monkeypatch.setitem(sys.modules, "lazy_library", Awkward("lazy_library"))
    try:
        result = aiecs_redis.install()
        assert "some_library.TheirRedis" in result.kept
        assert any(
            name.startswith("some_library.") and name.endswith("Sub") for name in result.kept
        )
        assert "some_library.TheirRedis" in str(result)
        assert library.TheirRedis is BASE
        assert issubclass(Sub, redis.asyncio.Redis)
        assert isinstance(Sub(), redis.asyncio.Redis)
    finally:
        aiecs_redis.uninstall()


def test_modules_of_redis_py_imported_meanwhile():
    name = "redis.asyncio.imported_meanwhile"
    module = types.ModuleType(name)
    aiecs_redis.install()
    try:
        module.Client = redis.asyncio.Redis
        sys.modules[name] = module
        aiecs_redis.uninstall()
        assert module.Client is BASE
    finally:
        sys.modules.pop(name, None)
        aiecs_redis.uninstall()


def test_a_name_someone_else_has_taken_is_left_alone(monkeypatch):
    class Fake(BASE):
        pass

    monkeypatch.setattr(redis.asyncio, "Redis", Fake)
    aiecs_redis.install()
    try:
        assert redis.asyncio.Redis is Fake
        assert redis.asyncio.client.Redis is aiecs_redis.Redis
        monkeypatch.setattr(redis.asyncio.client, "StrictRedis", Fake)
    finally:
        aiecs_redis.uninstall()
    assert redis.asyncio.Redis is redis.asyncio.client.StrictRedis is Fake


# ---------------------------------------------------------------- isinstance


def test_isinstance_both_ways():
    before, native_before = BASE(), aiecs_redis.Redis()
    pipeline_before = before.pipeline()
    assert not isinstance(before, aiecs_redis.Redis)
    aiecs_redis.install()
    try:
        after = redis.asyncio.Redis()
        for client in (before, native_before, after):
            assert isinstance(client, redis.asyncio.Redis)
            assert isinstance(client, BASE)
            assert isinstance(client.pipeline(), redis.asyncio.Redis)  # as redis-py has it
            assert isinstance(client.pipeline(), redis.asyncio.client.Pipeline)
        assert isinstance(pipeline_before, redis.asyncio.client.Pipeline)
        assert issubclass(BASE, redis.asyncio.Redis)
        assert not isinstance(redis.Redis(), redis.asyncio.Redis)
        assert not isinstance(before.pubsub(), redis.asyncio.Redis)

        class Derived(redis.asyncio.Redis):
            pass

        assert not isinstance(before, Derived)
        assert not isinstance(after, Derived)
        assert isinstance(Derived(), BASE)
    finally:
        aiecs_redis.uninstall()
    assert isinstance(after, redis.asyncio.Redis)
    assert not isinstance(before, aiecs_redis.Redis)
    assert not issubclass(BASE, aiecs_redis.Redis)


def test_our_class_goes_with_other_metaclasses():
    import abc
    from typing import Generic, Protocol, TypeVar

    class Speaks(Protocol):
        def speak(self) -> str: ...

    class Abstract(abc.ABC):
        @abc.abstractmethod
        def speak(self) -> str: ...

    class Client(aiecs_redis.Redis, Abstract, Speaks, Generic[TypeVar("T")]):
        def speak(self):
            return "yes"

    assert Client().speak() == "yes"


# --------------------------------------------------------------- the clients


async def test_clients_are_native(installed, server, python_connections):
    async with redis.asyncio.from_url(server.url) as client:
        assert await client.set("key", "value")
        async with client.pipeline(transaction=True) as pipe:
            assert await pipe.incr("n").get("key").execute() == [1, b"value"]
        script = client.register_script("return ARGV[1]")
        async with client.pipeline() as pipe:
            await script(args=["from Lua"], client=pipe)
            assert await pipe.execute() == [b"from Lua"]
    assert not python_connections


@pytest.mark.since("7.0", "cluster-port")
async def test_redis_pys_other_clients_work_on(installed, start_server):
    """A cluster client, and what a pool hands out, use whatever stands for its parts."""
    server = start_server(config={"cluster-enabled": "yes", "cluster-port": free_port()})
    with server.connect() as admin:
        admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        while b"cluster_state:ok" not in admin.execute_command("CLUSTER", "INFO"):
            await asyncio.sleep(0.05)
    async with redis.asyncio.RedisCluster(host=server.host, port=server.port) as cluster:
        assert await cluster.set("key", "value")
        assert await cluster.get("key") == b"value"
        assert await cluster.pipeline().get("key").incr("n").execute() == [b"value", 1]
    pool = redis.asyncio.ConnectionPool.from_url(server.url)
    async with redis.asyncio.Redis.from_pool(pool) as client:
        assert client._native_ready
        connection = await pool.get_connection()
        assert isinstance(connection, redis.asyncio.Connection)
        await connection.send_command("ECHO", "hello")
        assert await connection.read_response() == b"hello"
        await pool.release(connection)
    async with BASE(
        connection_pool=redis.asyncio.BlockingConnectionPool(**server.kwargs)
    ) as client:
        assert await client.get("key") == b"value"
        await client.connection_pool.disconnect()


async def test_clients_made_before_work_on(server, python_connections):
    client = redis.asyncio.Redis(**server.kwargs)
    await client.set("key", "value")
    aiecs_redis.install()
    try:
        assert await client.get("key") == b"value"
        assert await client.pipeline().incr("n").get("key").execute() == [1, b"value"]
        async with client.pipeline(transaction=False) as pipe:
            await pipe.watch("n")
            pipe.multi()
            assert await pipe.incr("n").execute() == [2]
        assert await client.register_script("return 1")() == 1
    finally:
        aiecs_redis.uninstall()
        await client.aclose()
    assert python_connections


@pytest.mark.parametrize("transaction", [True, False])
async def test_a_pipeline_made_by_hand(installed, server, transaction, python_connections):
    """As libraries make it, from what a client shows."""

    class Instrumented(redis.asyncio.Redis):
        async def execute_command(self, *args, **options):
            return await super().execute_command(*args, **options)

    for cls in (redis.asyncio.Redis, Instrumented):
        async with cls(**server.kwargs) as client:
            connects = (await client.ping(), client._native_transport.stats()["connects"])[1]
            client.set_response_callback("GET", lambda reply: reply.decode() + "!")
            pipe = redis.asyncio.client.Pipeline(
                client.connection_pool, client.response_callbacks, transaction, None
            )
            pipe.set("key", "value").get("key")
            script = client.register_script("return redis.call('GET', KEYS[1])")
            await script(keys=["key"], client=pipe)
            assert await pipe.execute() == [True, "value!", b"value"]
            assert (
                client._native_transport.stats()["connects"] == connects
            )  # on the client's connection
    assert not python_connections


async def test_a_pipeline_of_nobodys_callbacks_goes_redis_pys_way(installed, server):
    async with redis.asyncio.Redis(**server.kwargs) as client:
        pipe = redis.asyncio.client.Pipeline(client.connection_pool, {}, False, None)
        assert await pipe.set("key", "value").get("key").execute() == [b"OK", b"value"]
        await client.connection_pool.disconnect()


async def test_cashews(server, installed, python_connections):
    """Its pipelines it makes by itself, of redis-py's class."""
    pytest.importorskip("cashews", reason="cashews is not installed, `make libraries` does that")
    names = [name for name in sys.modules if name.partition(".")[0] == "cashews"]
    before = {name: sys.modules.pop(name) for name in names}
    try:
        import cashews

        cache = cashews.Cache()
        cache.setup(server.url, client_side=False)
        await cache.set_many({f"many:{n}": n for n in range(50)}, expire=60)
        assert sorted([key async for key in cache.scan("many:*")]) == sorted(
            f"many:{n}" for n in range(50)
        )
        assert await cache.get("many:7") == 7
        await cache.close()
        assert not python_connections
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "cashews"]:
            del sys.modules[name]
        sys.modules.update(before)


async def test_limits(server, installed, python_connections):
    pytest.importorskip("limits", reason="limits is not installed, `make libraries` does that")
    from limits import parse
    from limits.aio.storage import RedisStorage
    from limits.aio.strategies import FixedWindowRateLimiter

    storage = RedisStorage("async+" + server.url, implementation="redispy")
    limiter = FixedWindowRateLimiter(storage)
    hits = await asyncio.gather(*(limiter.hit(parse("3/hour"), "someone") for _ in range(5)))
    assert sum(hits) == 3
    assert not python_connections


# -------------------------------------------------- python -m aiecs_redis run


def python(*arguments, cwd, **kwargs):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        **kwargs,
    )


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))


PROGRAMS = {
    "what it sees": """
        import sys, os
        main = sys.modules["__main__"]
        import neighbour
        print(sys.argv, sys.path[0], __name__, __file__, __spec__ and __spec__.name, __package__)
        print(main.__dict__ is globals(), sorted(globals()), neighbour.HERE, type(__loader__))
    """,
    "exit code": "import sys; sys.exit(7)",
    "exit message": "import sys; sys.exit('that is all')",
    "exit at the end": """
        import atexit, sys
        atexit.register(lambda: print("at exit", sys.modules["__main__"].VALUE))
        VALUE = 5
    """,
    "traceback": """
        def fail():
            raise ValueError("wrong")
        try:
            fail()
        except ValueError as error:
            raise RuntimeError("worse") from error
    """,
    "own hook": """
        import sys, traceback
        def hook(kind, error, tb):
            print("mine", [frame.name for frame in traceback.extract_tb(tb)])
        sys.excepthook = hook
        1 / 0
    """,
    "syntax error": "def broken(:\n    pass\n",
    "interrupt": """
        import os, signal
        print("going", flush=True)
        os.kill(os.getpid(), signal.SIGINT)
        import time; time.sleep(30)
    """,
    "interrupt of a loop": """
        import asyncio, os, signal
        async def main():
            asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGINT)
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                print("cancelled", flush=True)
                raise
        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            raise SystemExit(130)
    """,
    "terminate": """
        import os, signal
        os.kill(os.getpid(), signal.SIGTERM)
        import time; time.sleep(30)
    """,
    "threads": """
        import threading, time
        def late():
            time.sleep(0.1)
            print("late", VALUE)
        VALUE = 3
        threading.Thread(target=late).start()
    """,
    "dataclasses and pickle": """
        import dataclasses, pickle
        @dataclasses.dataclass
        class Point:
            x: int
        print(pickle.loads(pickle.dumps(Point(1))))
    """,
}


SHORT = ("what it sees", "exit code", "traceback")
KINDS = [("script", name) for name in PROGRAMS] + [
    (kind, name) for kind in ("module", "folder") for name in SHORT
]


@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_run_is_like_python(tmp_path, name, kind):
    folder = tmp_path / "programs"
    write(folder / "program.py", PROGRAMS[name])
    write(folder / "__main__.py", PROGRAMS[name])
    write(folder / "neighbour.py", "HERE = __name__")
    program, cwd = {
        "script": (["programs/program.py"], tmp_path),
        "module": (["-m", "program"], folder),
        "folder": (["programs"], tmp_path),
    }[kind]
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(python, *program, "an argument", "--option", cwd=cwd)
        ours = python("-m", "aiecs_redis", "run", *program, "an argument", "--option", cwd=cwd)
        plain = waiting.result()
    assert (ours.returncode, ours.stdout) == (plain.returncode, plain.stdout)
    assert name != "interrupt" or ours.returncode == -signal.SIGINT
    ours_lines = ours.stderr.splitlines()
    if kind == "script":
        assert ours.stderr == plain.stderr
    else:  # there, the interpreter shows its own runpy
        assert ours_lines[-1:] == plain.stderr.splitlines()[-1:]
        assert not [line for line in ours_lines if "aiecs_redis" in line]


@pytest.mark.parametrize("program", [["missing.py"], ["-m", "missing"], ["-m", "a.missing"]])
def test_what_cannot_be_run(tmp_path, program):
    plain = python(*program, cwd=tmp_path)
    ours = python("-m", "aiecs_redis", "run", *program, cwd=tmp_path)
    assert (ours.returncode, ours.stdout) == (plain.returncode, plain.stdout)
    # Some versions begin with the interpreter's path as it was typed.
    assert ours.stderr.partition(": ")[2] == plain.stderr.partition(": ")[2]
    assert plain.returncode and plain.stderr


@pytest.mark.parametrize(
    "arguments", [[], ["nothing"], ["memory"], ["run"], ["run", "-m"], ["run", "--what", "x"]]
)
def test_wrong_command_lines(capsys, arguments):
    assert main(arguments) == 2
    assert "usage: " in capsys.readouterr().err.lower()
    assert redis.asyncio.Redis is BASE


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"]])
def test_help(capsys, arguments):
    assert main(arguments) == 0
    assert capsys.readouterr().out.lower().startswith("usage: ")


def test_a_program_that_knows_nothing_of_us(tmp_path, server):
    write(
        tmp_path / "library.py",
        """
        from redis.asyncio import Redis, from_url
        class Client(Redis):
            pass
        """,
    )
    write(
        tmp_path / "program.py",
        """
        import asyncio, sys
        import library
        async def main():
            for client in (library.from_url(sys.argv[1]), library.Client.from_url(sys.argv[1])):
                async with client:
                    print(await client.incr("n"), client._native_transport.stats()["connects"])
        asyncio.run(main())
        """,
    )
    done = python("-m", "aiecs_redis", "run", "program.py", server.url, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("1 1\n2 1\n", "")


def test_processes_it_spawns_find_its_main_module(tmp_path):
    write(
        tmp_path / "program.py",
        """
        import multiprocessing
        def work(n):
            return n * 2
        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(pool.map(work, [1, 2]))
        """,
    )
    done = python("-m", "aiecs_redis", "run", "program.py", cwd=tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == ("[2, 4]\n", "", 0)
