"""Task statuses, task results and sessions: as documented, typed, and found without KEYS."""

import asyncio
import dataclasses
import datetime
import enum
import time
from typing import Optional

import pytest

from aiecs_redis import RedisClient
from aiecs_redis.events import KeyspaceEvents
from aiecs_redis.serialization import Codec, SerializationError
from aiecs_redis.sessions import Session, SessionStore
from aiecs_redis.tasks import TaskResultStore, TaskStatus, TaskStatusStore
from examples import results, sessions, tasks


class Priority(enum.Enum):
    LOW = 1
    HIGH = 2


@dataclasses.dataclass
class Job(TaskStatus):
    worker: Optional[str] = None
    priority: Priority = Priority.LOW
    load: float = 0.0
    urgent: bool = False
    started: Optional[datetime.datetime] = None
    steps: list = dataclasses.field(default_factory=list)


def test_the_documentation_reads_what_is_written_here_and_the_other_way_round(own, admin):
    async def check():
        client = RedisClient(own.kwargs)
        await client.initialize()
        tasks.redis_client = results.redis_client = sessions.redis_client = client
        statuses, outcomes, users = (
            TaskStatusStore(client),
            TaskResultStore(client),
            SessionStore(client),
        )
        await tasks.cache_task_status("1", "running", 75)
        found = await statuses.get("1")
        assert (found.task_id, found.status, found.progress) == ("1", "running", 75)
        await statuses.set("2", "done", 100)
        there = await tasks.get_task_status("2")
        assert (there["status"], there["progress"]) == ("done", "100")
        assert abs(int(there["updated_at"]) - time.time()) < 60

        await results.cache_task_result("1", {"name": "Jürgen"})
        assert await outcomes.get("1") == {"name": "Jürgen"}
        await outcomes.set("2", {"accuracy": 0.95})
        assert await results.get_task_result("2") == {"accuracy": 0.95}

        documented = await sessions.create_user_session("u", {"role": "admin"})
        assert (await users.get(documented)).data == {"role": "admin"}
        ours = await users.create("u", {"role": "admin"})
        there = await sessions.get_user_session(ours.session_id)
        assert (there["user_id"], there["role"]) == ("u", "admin")
        await client.close()

    asyncio.run(check())


async def test_statuses(any_client, admin):
    store = TaskStatusStore(any_client)
    assert await store.get("1") is None
    assert await store.update("1", progress=5) is None
    assert admin.keys("*") == []
    first = await store.set("1", "running", 75, note="half")
    assert first == await store.get("1")
    assert (first.status, first.progress, first.extra) == ("running", 75, {"note": "half"})
    assert 86_000 < admin.ttl("task:1") <= 86_400
    admin.expire("task:1", 5)
    second = await store.update("1", progress=80)
    assert (second.status, second.progress, second.extra) == ("running", 80, {"note": "half"})
    assert admin.ttl("task:1") > 86_000
    assert await store.delete("1", "2") == 1
    assert await store.delete() == 0


async def test_typed_records(any_client, admin):
    store = TaskStatusStore(any_client, record=Job, prefix="job:", ttl=50)
    when = datetime.datetime(2024, 5, 6, 7, 8, 9, 123456)
    job = await store.set(
        "1",
        "running",
        worker="a",
        priority=Priority.HIGH,
        load=0.25,
        urgent=True,
        started=when,
        steps=["x", {"y": 1}],
    )
    assert isinstance(job, Job)
    assert await store.get("1") == job
    assert (job.worker, job.priority, job.load, job.urgent) == ("a", Priority.HIGH, 0.25, True)
    assert (job.started, job.steps) == (when, ["x", {"y": 1}])
    assert admin.hget("job:1", "priority") == "2"
    job = await store.update("1", worker=None, started=None)
    assert (job.worker, job.started) == (None, None)
    assert "worker" not in admin.hgetall("job:1")


async def test_damage_names_key_and_field(client, admin):
    store = TaskStatusStore(client)
    admin.hset("task:1", mapping={"status": "running", "progress": "much"})
    with pytest.raises(SerializationError, match=r"task:1.*'progress' is no int"):
        await store.get("1")
    admin.hset("task:2", "progress", "5")
    with pytest.raises(SerializationError, match=r"task:2.*status"):
        await store.get("2")


async def test_what_cannot_be_written_is_named(client, admin):
    store = TaskStatusStore(client)
    with pytest.raises(TypeError, match="note: a dict"):
        await store.set("1", "running", note={})
    with pytest.raises(TypeError, match="task_id"):
        await store.update("1", task_id="2")
    with pytest.raises(ValueError, match="id is empty"):
        await store.set("", "running")
    assert admin.keys("*") == []
    with pytest.raises(TypeError, match="no dataclass"):
        TaskStatusStore(client, record=dict)
    with pytest.raises(ValueError, match="ttl=0"):
        SessionStore(client, ttl=0)
    with pytest.raises(ValueError, match="prefix"):
        SessionStore(client, prefix="")


async def test_iteration_without_keys(any_client, admin):
    store = TaskStatusStore(any_client, prefix="t[*]:")
    for number in range(500):
        await store.set(str(number), "running", number)
    admin.mset({f"other:{number}": 1 for number in range(500)})
    admin.set("t[*]:text", "no hash")
    admin.set("t*:1", "what the pattern would match unquoted")
    admin.hset("t[*]:strange", "a", "b")
    admin.config_resetstat()
    found = [record async for record in store]
    assert sorted(int(record.task_id) for record in found) == list(range(500))
    assert all(record.progress == int(record.task_id) for record in found)
    assert "cmdstat_keys" not in admin.info("commandstats")


async def test_results(any_client, admin):
    @dataclasses.dataclass
    class Outcome:
        accuracy: float
        name: str

    store = TaskResultStore(any_client, result_type=Outcome)
    assert await store.get("1") is None
    assert await store.get("1", "none") == "none"
    await store.set("1", Outcome(0.5, "Jürgen"))
    assert await store.get("1") == Outcome(0.5, "Jürgen")
    assert 3500 < admin.ttl("result:1") <= 3600
    await store.set("2", {"accuracy": 1.0, "name": ""}, ttl=60)
    assert admin.ttl("result:2") <= 60
    with pytest.raises(ValueError, match="ttl=0"):
        await store.set("3", 1, ttl=0)
    assert sorted([one async for one in store], key=lambda one: one[0]) == [
        ("1", Outcome(0.5, "Jürgen")),
        ("2", Outcome(1.0, "")),
    ]
    assert await store.delete("1", "2", "3") == 2


async def test_results_of_a_codec(client):
    store = TaskResultStore(client, codec=Codec("pickle", signing_key="k" * 16))
    await store.set("1", {1, 2})
    await store.set("2", None)
    assert await store.get("1") == {1, 2}
    assert await store.get("2", "none") is None


async def test_sessions_slide(any_client, admin):
    store = SessionStore(any_client)
    session = await store.create("user_123", {"username": "John", "visits": 5})
    key = f"session:{session.session_id}"
    assert len(session.session_id) >= 43
    assert session.session_id not in repr(session)
    assert 1790 < admin.ttl(key) <= 1800
    admin.expire(key, 5)
    assert await store.get(session.session_id, touch=False) == session
    assert admin.ttl(key) <= 5
    assert await store.get(session.session_id) == session
    assert admin.ttl(key) > 1790
    admin.expire(key, 5)
    assert await store.touch(session.session_id)
    assert admin.ttl(key) > 1790
    admin.expire(key, 5)
    changed = await store.update(session.session_id, {"page": "/"}, visits=6)
    assert changed.data == {"username": "John", "visits": "6", "page": "/"}
    assert admin.ttl(key) > 1790
    assert await store.delete(session.session_id) == 1
    assert await store.get(session.session_id) is None
    assert await store.get("") is None
    assert not await store.touch(session.session_id)
    assert await store.update(session.session_id, {"page": "/"}) is None
    assert admin.keys("*") == []


async def test_no_two_sessions_are_one(client):
    store = SessionStore(client)
    made = await asyncio.gather(*(store.create("u") for _ in range(100)))
    assert len({session.session_id for session in made}) == 100
    assert len([session async for session in store]) == 100
    assert isinstance(made[0], Session)


async def test_callbacks_when_records_end(any_client, admin, until):
    users = SessionStore(any_client, ttl=0.2)
    statuses = TaskStatusStore(any_client, ttl=0.2)
    outcomes = TaskResultStore(any_client, ttl=0.2)
    ended = []
    events = KeyspaceEvents(any_client)

    async def session_ended(session_id):
        await asyncio.sleep(0)
        ended.append(("session", session_id))

    users.on_expired(events, session_ended)
    statuses.on_expired(events, lambda one: ended.append(("task", one)))
    remove = outcomes.on_expired(events, lambda one: ended.append(("result", one)))
    async with events:
        session = await users.create("u")
        await statuses.set("1", "running")
        await outcomes.set("2", 5)
        await until(lambda: len(ended) == 3)
        remove()
        await outcomes.set("3", 5)
        await until(lambda: not admin.exists("result:3"))
        await asyncio.sleep(0.05)
    assert sorted(ended) == [("result", "2"), ("session", session.session_id), ("task", "1")]
