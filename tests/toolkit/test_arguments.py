"""Wrong arguments: an error that names the value and the fix, before anything is sent.

The client's server is nobody: what is sent all the same is a ConnectionError, not what is expected.
"""

import asyncio
import dataclasses
import datetime
import math
import re

import pytest

import aiecs_redis
from aiecs_redis.alert_rules import Rule, hit_rate, prometheus_rules
from aiecs_redis.alerts import Alerts, Webhook
from aiecs_redis.cache import CacheManager
from aiecs_redis.events import KeyspaceEvents
from aiecs_redis.health import HealthCheck, HealthServer, health_app
from aiecs_redis.lock import DistributedLock
from aiecs_redis.metrics import ClientMetrics
from aiecs_redis.monitor import RedisMonitor
from aiecs_redis.prometheus import PrometheusExporter
from aiecs_redis.retry import RetryPolicy
from aiecs_redis.serialization import Codec, Values
from aiecs_redis.sessions import Session, SessionStore
from aiecs_redis.tasks import TaskResultStore, TaskStatusStore
from aiecs_redis.testing import free_port

NAN = math.nan
ENDLESS = math.inf
HOUR = datetime.timedelta(hours=1)
NO_SECONDS = [0, -1, NAN, ENDLESS, "10", True, HOUR]
NEITHER_SECONDS_NOR_0 = [value for value in NO_SECONDS if value != 0]
NO_COUNT = [0, -1, NAN, 1.5, "10", True]


@dataclasses.dataclass
class Job(Session):
    parts: int = 0
    cost: float = 0.0


async def load():
    return 1


def coroutine():
    return load()


@pytest.fixture
def nobody():
    """A client whose server is not there."""
    return aiecs_redis.Redis(port=free_port(), retry=None)


def rule(**options):
    given = {"name": "mine", "measure": print, "limit": 2.0, "clear": 1.0, "text": "{value}"}
    return Rule(**{**given, **options})


# ------------------------------------------------------------------- constructors

MAKE = {
    "KeyspaceEvents": KeyspaceEvents,
    "DistributedLock": lambda client, lock_name="a", **options: DistributedLock(
        client, lock_name, **options
    ),
    "CacheManager": CacheManager,
    "TaskStatusStore": TaskStatusStore,
    "TaskResultStore": TaskResultStore,
    "SessionStore": SessionStore,
    "Values": Values,
    "Alerts": Alerts,
    "HealthCheck": HealthCheck,
    "HealthServer": HealthServer,
    "health_app": health_app,
    "PrometheusExporter": PrometheusExporter,
    "RedisMonitor": RedisMonitor,
}
TAKES = {
    "KeyspaceEvents": {"queue_size": NO_COUNT, "heartbeat": NO_SECONDS, "db": [-1, 1.5, "1"]},
    "DistributedLock": {
        "lock_name": ["", None, 42],
        "timeout": NO_SECONDS,
        "wait": NEITHER_SECONDS_NOR_0,
        "on_lost": ["print"],
    },
    "CacheManager": {
        "prefix": [None, 5],
        "ttl": NO_SECONDS,
        "lease": NO_SECONDS,
        "heartbeat": NO_SECONDS,
        "local_ttl": NEITHER_SECONDS_NOR_0,
        "negative_ttl": NEITHER_SECONDS_NOR_0,
        "local_size": [-1, NAN, 1.5, "10"],
        "jitter": [-0.1, 1, NAN, "0.1"],
        "beta": [-1, NAN, "1"],
        "codec": ["json", Codec, None],
    },
    "TaskStatusStore": {"prefix": ["", None], "ttl": NO_SECONDS},
    "TaskResultStore": {
        "prefix": ["", None],
        "ttl": NO_SECONDS,
        "codec": ["json"],
        "result_type": ["Outcome"],
    },
    "SessionStore": {"prefix": ["", None], "ttl": NO_SECONDS},
    "Values": {"codec": ["json"]},
    "Alerts": {"interval": NO_SECONDS, "timeout": NO_SECONDS, "notify": [print, ["print"]]},
    "HealthCheck": {"timeout": NO_SECONDS},
    "HealthServer": {
        "host": ["", None],
        "port": [-1, 65536, "8080", 1.5],
        "timeout": NO_SECONDS,
        "metrics": ["text"],
    },
    "health_app": {"timeout": NO_SECONDS, "metrics": ["text"]},
    "PrometheusExporter": {"interval": NO_SECONDS, "name": [None, 5]},
}
WRONG = [
    (kind, name, value)
    for kind, names in TAKES.items()
    for name, values in names.items()
    for value in values
]


@pytest.mark.parametrize(("kind", "name", "value"), WRONG)
async def test_what_is_made(nobody, kind, name, value):
    with pytest.raises((TypeError, ValueError)) as caught:
        MAKE[kind](nobody, **{name: value})
    said = str(caught.value)
    assert name in said
    assert said.endswith("is empty: give at least one character") or (
        re.search(r"\bgive\b", said) and (repr(value) in said or repr("print") in said)
    )


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("client", [None, "localhost", aiecs_redis.Redis])
def test_what_is_no_client(kind, client):
    with pytest.raises(TypeError, match="is no Redis client: give a RedisClient"):
        MAKE[kind](client)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("attempts", value) for value in NO_COUNT),
        *((name, value) for name in ("base", "cap") for value in NEITHER_SECONDS_NOR_0),
        *(("deadline", value) for value in NO_SECONDS),
        ("on_retry", "print"),
        ("retry_on", [ConnectionError]),
        ("retry_on", ConnectionError),
        ("retry_on", ("ConnectionError",)),
    ],
)
def test_a_retry_policy(name, value):
    with pytest.raises((TypeError, ValueError), match=rf"^{name}=.*: give "):
        RetryPolicy(**{name: value})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"format": ["json"]}, r"format=\['json'\]: give one of"),
        ({"compression": {}}, r"compression=\{\}: give one of"),
        ({"compress_above": -1}, "compress_above=-1: give a whole number, 0 or more"),
        ({"compress_above": NAN}, "compress_above=nan: give a whole number"),
        ({"max_bytes": NAN}, "max_bytes=nan: give a whole number"),
        ({"max_bytes": "64M"}, "max_bytes='64M': give a whole number"),
        ({"format": "pickle", "signing_key": 5}, "signing_key: give str or bytes"),
        ({"format": "pickle", "signing_key": [None]}, "signing_key: give str or bytes"),
    ],
)
def test_a_codec(options, said):
    with pytest.raises((TypeError, ValueError), match=said):
        Codec(**options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": ""}, "name is empty"),
        ({"name": None}, "name=None: give a str"),
        ({"measure": None}, "mine: measure=None: give a function"),
        ({"limit": NAN}, "mine: limit=nan: give a number"),
        ({"clear": NAN}, "mine: clear=nan: give a number"),
        ({"clear": 3}, "mine: clear=3 has to be below 2"),
        ({"scale": "100"}, "mine: scale='100': give a number"),
        ({"hold": NAN}, "mine: hold=nan: give seconds"),
        ({"hold": -1}, "mine: hold=-1: give seconds, 0 or more"),
        ({"severity": "fatal"}, "mine: severity='fatal': give warning or critical"),
    ],
)
def test_a_rule(options, said):
    with pytest.raises((TypeError, ValueError), match=said):
        rule(**options)


def test_what_is_made_of_rules(nobody):
    with pytest.raises(TypeError, match="'memory' among the rules is no Rule"):
        Alerts(nobody, ["memory"])
    with pytest.raises(ValueError, match="lookups=-1: give a whole number, 0 or more"):
        hit_rate(lookups=-1)
    with pytest.raises(ValueError, match="group is empty"):
        prometheus_rules(group="")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"url": None}, "URL is a str, not NoneType"),
        ({"url": ""}, "begins with http"),
        ({"timeout": 0}, "timeout=0: give seconds above 0"),
        ({"timeout": NAN}, "timeout=nan: give seconds above 0"),
        ({"attempts": 0}, "attempts=0: give a whole number, 1 or more"),
        ({"attempts": NAN}, "attempts=nan: give a whole number, 1 or more"),
    ],
)
def test_a_webhook(options, said):
    with pytest.raises((TypeError, ValueError), match=said):
        Webhook(**{"url": "https://hooks.example.com/redis", **options})


# ------------------------------------------------------------------------- calls


async def first(iterator):
    async for one in iterator:
        return one


def cached(client, **options):
    return CacheManager(client).cached(**options)(load)


CALLS = {
    "on: no name": (lambda c: KeyspaceEvents(c).on("", print), "event='' names no event"),
    "on: blanks": (lambda c: KeyspaceEvents(c).on("  ", print), "event='  ' names no event"),
    "on: bytes": (lambda c: KeyspaceEvents(c).on(b"set", print), "event=b'set': give a str"),
    "on: no event": (lambda c: KeyspaceEvents(c).on("nonsense", print), "'nonsense' is no"),
    "on: None": (lambda c: KeyspaceEvents(c).on("set", None), "handler=None: give a function"),
    "on: match": (lambda c: KeyspaceEvents(c).on("set", print, match=""), "match is empty"),
    "on_gap": (lambda c: KeyspaceEvents(c).on_gap(None), "handler=None: give a function"),
    "start": (lambda c: KeyspaceEvents(c, configure=False).start("foo"), "'foo' is no keyspace"),
    "start: one of two": (lambda c: KeyspaceEvents(c).start("set", ""), "event='' names no event"),
    "start: None": (lambda c: KeyspaceEvents(c).start(None), "event=None: give a str"),
    "acquire": (lambda c: DistributedLock(c, "a").acquire(NAN), "wait=nan: give seconds, 0 or"),
    "acquire: True": (lambda c: DistributedLock(c, "a").acquire(True), "wait=True: give seconds"),
    "extend": (lambda c: DistributedLock(c, "a").extend(NAN), "seconds=nan: give seconds above 0"),
    "status: id": (lambda c: TaskStatusStore(c).set(5, "runs"), "task_id=5: give a str"),
    "status: no id": (lambda c: TaskStatusStore(c).get(""), "task_id is empty"),
    "status: update": (lambda c: TaskStatusStore(c).update(""), "task_id is empty"),
    "status: delete": (lambda c: TaskStatusStore(c).delete("a", ""), "task_id is empty"),
    "status: progress": (
        lambda c: TaskStatusStore(c).set("a", "runs", "75"),
        "progress='75' is no int",
    ),
    "status: half": (lambda c: TaskStatusStore(c).set("a", "runs", 0.5), "progress=0.5 is no int"),
    "status: None": (lambda c: TaskStatusStore(c).set("a", None), "status=None: TaskStatus needs"),
    "status: extra": (lambda c: TaskStatusStore(c).set("a", "runs", extra=5), "extra=5: give a d"),
    "status: on_expired": (
        lambda c: TaskStatusStore(c).on_expired(KeyspaceEvents(c), None),
        "handler=None: give a function",
    ),
    "result: set": (lambda c: TaskResultStore(c).set("", 1), "task_id is empty"),
    "result: id": (lambda c: TaskResultStore(c).set(5, 1), "task_id=5: give a str"),
    "result: ttl": (lambda c: TaskResultStore(c).set("a", 1, ttl=NAN), "ttl=nan: give seconds"),
    "result: endless": (lambda c: TaskResultStore(c).set("a", 1, ttl=ENDLESS), "ttl=inf: give sec"),
    "result: get": (lambda c: TaskResultStore(c).get(""), "task_id is empty"),
    "result: delete": (lambda c: TaskResultStore(c).delete(""), "task_id is empty"),
    "result: on_expired": (
        lambda c: TaskResultStore(c).on_expired(KeyspaceEvents(c), None),
        "handler=None: give a function",
    ),
    "session: user": (lambda c: SessionStore(c).create(""), "user_id is empty"),
    "session: nobody": (lambda c: SessionStore(c).create(None), "user_id=None: give a str"),
    "session: get": (lambda c: SessionStore(c).get(5), "session_id=5: give a str"),
    "session: touch": (lambda c: SessionStore(c).touch(""), "session_id is empty"),
    "session: field": (
        lambda c: SessionStore(c, record=Job).create("u", parts=1.5),
        "parts=1.5 is no int",
    ),
    "session: word": (
        lambda c: SessionStore(c, record=Job).create("u", cost="much"),
        "cost='much' is no float",
    ),
    "cache: key": (lambda c: CacheManager(c).get(5), "key=5: give a str"),
    "cache: loader": (
        lambda c: CacheManager(c).get("a", loader=coroutine()),
        "loader=<coroutine .*>: give a function, not what it returns",
    ),
    "cache: ttl": (lambda c: CacheManager(c).set("a", 1, ttl=NAN), "ttl=nan: give seconds above"),
    "cache: tags": (lambda c: CacheManager(c).set("a", 1, tags="users"), "tags='users': give a l"),
    "cache: tag": (lambda c: CacheManager(c).set("a", 1, tags=[""]), "one of tags is empty"),
    "cache: codec": (lambda c: CacheManager(c).set("a", 1, codec="json"), "codec='json': give a"),
    "cache: delete": (lambda c: CacheManager(c).delete("a", 5), "key=5: give a str"),
    "cache: tag of nobody": (lambda c: CacheManager(c).invalidate_tag(""), "one of tags is empty"),
    "cached: no call": (lambda c: CacheManager(c).cached(load), "with parentheses"),
    "cached: ttl": (lambda c: cached(c, ttl=-1), "ttl=-1: give seconds above 0"),
    "cached: key": (lambda c: cached(c, key=5), "key=5: give a function"),
    "cached: tags": (lambda c: cached(c, tags="users"), "tags='users': give a list of str"),
    "cached: codec": (lambda c: cached(c, codec="json"), "codec='json': give a Codec"),
    "cached: template": (lambda c: cached(c, key="{user}"), r"'{user}' names 'user', which is no"),
    "cached: place": (lambda c: cached(c, key="user:{}"), r"'user:{}' names '', which is no"),
    "cached: tag": (lambda c: cached(c, tags=["{a.b}"]), r"'{a.b}' names 'a', which is no"),
    "cached: nothing": (lambda c: CacheManager(c).cached()(5), "decorates=5: give a function"),
    "slow": (lambda c: ClientMetrics.of(c).log_slow(NAN), "seconds=nan: give seconds, 0 or more"),
    "slow: size": (lambda c: ClientMetrics.of(c).log_slow(1, size=1.5), "size=1.5: give a whole"),
    "observe": (lambda c: ClientMetrics.of(c).observe(None), "observer=None: give a function"),
    "export: port": (lambda c: PrometheusExporter(c).start(70000), "port=70000: give a whole num"),
    "export: host": (lambda c: PrometheusExporter(c).start(0, host=""), "host is empty: give"),
    "watch": (lambda c: PrometheusExporter(c).watch("a", None), "figures=None: give a function"),
    "watch: name": (lambda c: PrometheusExporter(c).watch(None, dict), "name=None: give a str"),
}


@pytest.mark.parametrize("name", CALLS)
async def test_what_is_called(nobody, name):
    call, said = CALLS[name]

    async def body():
        result = call(nobody)
        if asyncio.iscoroutine(result):
            await result

    with pytest.raises((TypeError, ValueError), match=said):
        await asyncio.wait_for(body(), 10)


async def test_listening(nobody, client):
    with pytest.raises(RuntimeError, match=r"await start\('set del'\) first"):
        await asyncio.wait_for(first(KeyspaceEvents(nobody).listen("set del")), 10)
    events = KeyspaceEvents(client)
    await events.start("set")
    for options, said in (
        ({"event": ""}, "event='' names no event"),
        ({"event": "nonsense"}, "'nonsense' is no keyspace event"),
        ({"event": "set", "match": ""}, "match is empty"),
    ):
        with pytest.raises(ValueError, match=said):
            await asyncio.wait_for(first(events.listen(**options)), 10)
    await events.aclose()


async def test_numbers_that_are_right(nobody):
    lock = DistributedLock(nobody, "a", timeout=0.5, wait=None)
    assert lock.wait is None
    assert DistributedLock(nobody, "a", wait=0).wait == 0
    assert CacheManager(nobody, local_ttl=0, negative_ttl=0, local_size=0, beta=0).beta == 0
    assert RetryPolicy(base=0, cap=0, attempts=1).pause(1) == 0
    assert rule(hold=0, clear=2.0).is_clear(2.0)
