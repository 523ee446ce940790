"""Every Python example of the documentation stands in examples/ as written, and works."""

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from redis.exceptions import OutOfMemoryError

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from examples import demo, lock  # noqa: E402

DOCUMENT = (ROOT / "docs" / "redis-client.txt").read_text(encoding="utf-8").splitlines()

# Example, the first line of a code block, and the line behind it; in the documentation's order.
BLOCKS = [
    ("basics", "# Get Redis client", "Hash Table Operations"),
    ("basics", "# Set hash table fields", "4.2 Task Status Caching"),
    ("tasks", "async def cache_task_status(", "Task Result Caching"),
    ("results", "async def cache_task_result(", "4.3 User Session Management"),
    ("sessions", "async def create_user_session(", "4.4 Distributed Lock Implementation"),
    ("lock", "import asyncio", "4.5 Cache Strategy Implementation"),
    ("cache_manager", "class CacheManager:", "5. API Reference"),
    ("documented_client", "async def initialize(self):", "6.2 Singleton Pattern"),
    ("documented_client", "# Global variable storing", "6.3 Error Handling Strategy"),
    ("documented_client", "async def set(self, key: str", "6.4 Connection Health Check"),
    ("documented_client", "async def ping(self)", "7. Configuration & Deployment"),
    ("configuration", "# Custom configuration", "7.2 Docker Deployment"),
    ("configuration", "# Production environment Redis", "Redis Cluster Configuration"),
    ("monitor", "class RedisMonitor:", "8.2 Common Issues & Solutions"),
    ("retry", "# 1. Check network connection", "Issue 2: Out of Memory"),
    ("memory", "# 1. Check memory usage", "Issue 3: Keyspace Notification Loss"),
    ("expiry_listener", "# 1. Enable keyspace", "Issue 4: Data Inconsistency"),
    ("transaction", "# 1. Use transactions", "# 2. Use Lua script"),
    ("transfer", "# 2. Use Lua script", "9. Visualizations"),
    ("best_practices", "# 1. Key naming conventions", "D. Contact Information"),
]
PYTHON = re.compile(
    r"(async )?def |class \w+[:(]|await |import |from \w+ import|return\b|print\(|if .*:$|else:$"
    r"|try:$|except\b.*:$|for .*:$|raise |global |[\w.\[\]]+ = |\w+\.\w+\(|logger\."
)


def plain(line):
    return " ".join(line.split())


def line_number(start, position):
    while not DOCUMENT[position].startswith(start):
        position += 1
    return position


def blocks():
    """The blocks as (example, first line number, lines)."""
    position = 0
    for name, first, behind in BLOCKS:
        start = line_number(first, position)
        position = line_number(behind, start)
        yield name, start, DOCUMENT[start:position]


# ----------------------------------------------------------------------- lines


@pytest.mark.parametrize(
    ("name", "start", "lines"), [pytest.param(*b, id=f"{b[0]}-{b[1] + 1}") for b in blocks()]
)
def test_every_line_of_a_block_stands_in_its_example_in_order(name, start, lines):
    source = iter(
        plain(line) for line in (ROOT / "examples" / f"{name}.py").read_text().splitlines()
    )
    for number, line in enumerate(lines, start + 1):
        assert plain(line) in source, f"line {number} of the documentation is not in {name}.py"


def test_no_python_of_the_documentation_is_left_out():
    taken = set()
    for _, start, lines in blocks():
        taken.update(range(start, start + len(lines)))
    # Section 5 lists signatures, 7.1 and 7.2 have a shell script, YAML and a Dockerfile.
    reference = range(
        DOCUMENT.index("5. API Reference"), DOCUMENT.index("6.1 Connection Pool Management")
    )
    left = [
        (number + 1, line)
        for number, line in enumerate(DOCUMENT)
        if number not in taken and number not in reference and PYTHON.match(line)
    ]
    assert left == []
    assert len(taken) > 400


def test_every_example_is_in_the_demo():
    modules = {path.stem for path in (ROOT / "examples").glob("*.py")}
    assert modules - {"__init__", "demo", "comparison"} == set(demo.EXAMPLES)
    toolkit = {name for name in demo.EXAMPLES if name.startswith("toolkit_")}
    assert {name for name, _, _ in BLOCKS} == set(demo.EXAMPLES) - toolkit


def test_the_methods_of_the_reference_exist():
    import inspect

    import aiecs_redis.redis_client as module

    text = DOCUMENT[
        DOCUMENT.index("5. API Reference") : DOCUMENT.index("6. Technical Implementation Details")
    ]
    signatures = [re.match(r"async def (\w+)\((.*?)\) -> ", line) for line in text]
    found = {m[1]: m[2] for m in signatures if m}
    assert len(found) == 17
    for name, arguments in found.items():
        holder = module if name.endswith("_client") and name != "get_client" else module.RedisClient
        ours = list(inspect.signature(getattr(holder, name)).parameters)
        documented = [a.split(":")[0].split("=")[0].strip(" *") for a in arguments.split(",")]
        documented = [a for a in documented if a]
        if name == "hset":
            assert ours == ["self", "name", "key", "value", "mapping"]
        else:
            assert ours[: len(documented)] == documented, name


# --------------------------------------------------------------------- effects


@pytest.fixture
def run(environment):
    """`await run("tasks")`: the result of an example, and what it printed."""
    return demo.run


async def test_basics(run, admin):
    result, said = await run("basics")
    assert result == "John Doe stored and read, as keys and as a hash"
    assert said.splitlines()[:3] == [
        "Username: John Doe",
        "Email: john@example.com",
        "User information exists",
    ]
    assert said.endswith("Login count: 1\n")
    assert admin.get("user:123:name") == "John Doe"
    assert admin.ttl("user:123:name") == -1
    assert 3590 <= admin.ttl("user:123:email") <= 3600
    assert admin.hgetall("user:123") == {
        "name": "John Doe",
        "email": "john@example.com",
        "age": "25",
        "city": "New York",
        "login_count": "1",
    }


async def test_tasks(run, admin):
    result, said = await run("tasks")
    assert result == "task_456 running, 75 %; task_000 not_found"
    assert "Task task_456 status cached: running\n" in said
    assert admin.hget("task:task_456", "progress") == "75"
    assert 86390 <= admin.ttl("task:task_456") <= 86400


async def test_results(run, admin):
    result, _ = await run("results")
    assert result == "result of task_789 comes back the same"
    assert json.loads(admin.get("result:task_789")) == {
        "accuracy": 0.95,
        "processing_time": 120,
        "output_file": "result.csv",
    }
    assert 3590 <= admin.ttl("result:task_789") <= 3600


async def test_sessions(run, admin):
    result, said = await run("sessions")
    assert result == "session of John Doe now on /dashboard"
    assert "Session session_nobody does not exist" in said
    [key] = admin.keys("session:session_user_123_*")
    assert {"username", "role", "current_page", "user_id", "created_at"} <= admin.hgetall(
        key
    ).keys()
    assert 1790 <= admin.ttl(key) <= 1800


async def test_lock(run, admin):
    result, said = await run("lock")
    assert result == "five contenders: 1 got the lock, 4 were sent away"
    assert said.count("Processing resource resource_1 completed") == 1
    assert admin.keys("lock:*") == []


async def test_a_lock_is_released_by_its_holder_only(client, admin):
    holder = lock.DistributedLock(client, "x")
    other = lock.DistributedLock(client, "x")
    assert await holder.acquire() is True
    assert await other.acquire() is False
    assert 5 <= admin.ttl("lock:x") <= 10
    assert await other.release() is False
    assert admin.get("lock:x") == holder.identifier
    assert await holder.release() is True
    assert admin.exists("lock:x") == 0
    assert await other.acquire() is True


async def test_cache_manager(run, admin):
    result, _ = await run("cache_manager")
    assert result == "five reads of Jane Roe, one of nobody: 3 queries"
    assert json.loads(admin.get("user:456")) == {"id": "456", "name": "Jane Roe"}
    assert 590 <= admin.ttl("user:456") <= 600


async def test_configuration(run):
    result, said = await run("configuration")
    assert result == "production configuration accepted, connection alive"
    assert "redis-cluster.internal:6379/0" in said
    assert "did you mean 'max_connections'?" in said
    assert "password" not in said


async def test_documented_client(run, caplog):
    result, _ = await run("documented_client")
    if not result.startswith("skipped"):
        assert result == "7 of 7 answers as from the documented code on redis-py"
        ours = [r.getMessage() for r in caplog.records if r.name == "aiecs_redis.redis_client"]
        theirs = [r.getMessage() for r in caplog.records if r.name.endswith("documented_client")]
        errors = [message for message in ours if "failed" in message]
        assert len(errors) == 2
        assert errors == theirs


async def test_monitor(run):
    result, said = await run("monitor")
    assert result.startswith("healthy, ")
    assert "'uptime_in_seconds': " in said
    assert "'evicted_keys': 0" in said


async def test_monitor_without_a_server(start_server, no_environment):
    from aiecs_redis.redis_client import RedisClient
    from examples.monitor import RedisMonitor

    server = start_server()
    client = RedisClient(server.kwargs)
    await client.initialize()
    server.kill()
    monitor = RedisMonitor(client)
    assert await monitor.get_health_status() == {"status": "unhealthy", "error": "ping_failed"}
    memory = await monitor.get_memory_usage()
    assert memory["used_memory"] == 0
    await client.close()


async def test_retry(run):
    result, _ = await run("retry")
    if not result.startswith("skipped"):
        assert re.fullmatch(r"Jane Roe read in attempt [23], after TimeoutError", result)


async def test_retry_gives_up_after_three_attempts(monkeypatch):
    import asyncio

    import redis

    from examples import retry

    slept, attempts = [], []

    async def sleep(seconds):
        slept.append(seconds)

    async def operation():
        attempts.append(1)
        raise redis.exceptions.TimeoutError("slow")

    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(redis.exceptions.TimeoutError):
        await retry.robust_redis_operation(operation)
    assert (len(attempts), slept) == (3, [1, 2])


async def test_memory(run, admin):
    result, said = await run("memory")
    assert re.fullmatch(r"[\d.]+ MiB (of \d+ MiB|without a limit), purged", result)
    assert "Expired keys cleaned" in said


async def test_expiry_listener(run, admin):
    before = admin.config_get("notify-keyspace-events")
    result, said = await run("expiry_listener")
    if result.startswith("skipped"):
        assert admin.connection_pool.connection_kwargs["db"] or "configuration" in result
        return
    assert result == "heard of session:demo and task:demo"
    assert "Key expired: other:demo" in said or "other" not in said
    assert "Session expired: session:demo" in said
    assert "Task cache expired: task:demo" in said
    assert admin.config_get("notify-keyspace-events") == before


async def test_keyspace_events_are_left_as_they_were(start_server, no_environment):
    """Although the example fails: here because the server has no memory left."""
    server = start_server(config={"notify-keyspace-events": "KEg"})
    for key, value in server.kwargs.items():
        no_environment.setenv(f"REDIS_{key.upper()}", str(value))
    with server.connect() as admin:
        before = admin.config_get("notify-keyspace-events")
        result, _ = await demo.run("toolkit_events")
        assert result == "heard of a session and task:demo"
        assert admin.config_get("notify-keyspace-events") == before
        admin.config_set("maxmemory", 1)
        with pytest.raises(OutOfMemoryError):
            await demo.run("toolkit_events")
        assert admin.config_get("notify-keyspace-events") == before


async def test_transaction(run, admin):
    result, said = await run("transaction")
    assert result == "scores 5, 15, 12 out of three concurrent updates"
    assert "User scorer score updated: 0 -> 5" in said
    assert admin.hget("user:scorer", "score") == "12"
    assert admin.hget("user:scorer", "last_updated").isdigit()


async def test_transfer(run, admin):
    result, said = await run("transfer")
    assert result == "70 points: success; 70 more: insufficient_balance; 30 left"
    assert "(1, 'success'), (None, 'insufficient_balance')" in said
    assert admin.hget("user:taker", "points") == "70"


async def test_best_practices(run, admin, caplog):
    result, said = await run("best_practices")
    assert result.startswith("4 keys ")
    assert "Answers: None, None, None" in said
    assert admin.ttl("user:7:profile") == -1
    assert 1790 <= admin.ttl("session:7:data") <= 1800
    errors = [r.getMessage() for r in caplog.records if r.name.endswith("best_practices")]
    assert errors[0].startswith("Redis operation failed: WRONGTYPE")
    assert errors[1] == "Redis connection error"


# -------------------------------------------------------------------- the demo


def call(script, *arguments, **environ):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("REDIS_")}
    environment.update(environ, PYTHONPATH=str(ROOT))
    return subprocess.run(
        [sys.executable, str(ROOT / "examples" / script), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        cwd="/",
    )


@pytest.fixture
def own_server(start_server):
    """A server that belongs to the test, and the variables that lead to it."""
    server = start_server()
    return server, {"REDIS_HOST": server.host, "REDIS_PORT": str(server.port)}


def test_the_demo_runs_everything_on_a_server_of_its_own(start_server):
    start_server()
    done = call("demo.py", "--seconds", "0.2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert f"{len(demo.EXAMPLES)} of {len(demo.EXAMPLES)} examples ran." in done.stdout
    assert "(started for this)" in done.stdout
    assert "\033" not in done.stdout  # not a terminal
    for workload in ("GET, 50 tasks", "GET, 1 task", "pipeline of 100"):
        [line] = [li for li in done.stdout.splitlines() if li.strip().startswith(workload)]
        assert line.endswith(" times")
    assert max(map(len, done.stdout.splitlines())) < 120


def test_the_demo_uses_the_server_it_is_given_and_leaves_no_keys(own_server):
    server, environ = own_server
    server.cli("SET", "mine", "1")
    done = call("demo.py", "--only", "basics", REDIS_DB="1", **environ)
    assert done.returncode == 0, done.stderr
    assert f"127.0.0.1:{server.port}/1 (yours)" in done.stdout
    assert "1 of 1 examples ran." in done.stdout
    assert "commands" in server.cli("INFO", "stats")
    assert server.cli("INFO", "keyspace").split()[-1].startswith("db0:keys=1,")


def test_the_demo_does_not_touch_a_database_with_keys_in_it(own_server):
    server, environ = own_server
    server.cli("SET", "user:123:name", "mine")
    done = call("demo.py", "--only", "basics", **environ)
    assert done.returncode == 2
    assert "not empty" in done.stderr
    assert "REDIS_DB" in done.stderr
    assert server.cli("DBSIZE") == "1"
    done = call("demo.py", "--only", "basics", "--force", **environ)
    assert done.returncode == 0
    assert server.cli("GET", "user:123:name") == "John Doe"


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"REDIS_HOST": "localhost", "REDIS_PORT": "abc"}, "REDIS_PORT='abc'"),
        ({"REDIS_HOST": "localhost", "REDIS_PORT": "1"}, "localhost:1"),
    ],
)
def test_the_demo_says_in_one_line_what_is_wrong(environ, said):
    done = call("demo.py", **environ)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_example_that_fails_is_reported_and_fails_the_demo(environment, monkeypatch, capsys):
    async def broken():
        raise LookupError("on purpose")

    monkeypatch.setattr("examples.basics.main", broken)
    monkeypatch.setattr(demo, "running_server", lambda force: contextlib.nullcontext(None))
    monkeypatch.setattr(demo, "heading", lambda server: "heading")
    assert demo.main(["--only", "basics"]) == 1
    said = capsys.readouterr().out
    assert "FAIL  keys and hashes" in said
    assert "LookupError: on purpose" in said
    assert "0 of 1 examples ran." in said


@pytest.mark.parametrize("name", ["tasks", "transfer"])
def test_an_example_runs_alone(own_server, name):
    done = call(f"{name}.py", **own_server[1])
    assert done.returncode == 0, done.stderr
    assert "-> " in done.stdout
