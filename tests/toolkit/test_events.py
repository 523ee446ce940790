"""Keyspace events: the server's setting, delivery, and what happens around lost connections."""

import asyncio

import pytest
import redis

from aiecs_redis import _event_flags as flags
from aiecs_redis.events import GapEvent, KeyEvent, KeyspaceEvents, KeyspaceEventsError


def setting(admin):
    return set(admin.config_get("notify-keyspace-events")["notify-keyspace-events"])


# -------------------------------------------------------------------- setting


@pytest.mark.parametrize(
    ("current", "wanted", "target"),
    [
        ("", "Ex", "Ex"),
        ("Kg", "Ex", "KgEx"),
        ("AKE", "Ex", "AKE"),  # A stands for all but m and n
        ("AE", "Em", "AEm"),
        ("xE", "Ex", "xE"),
    ],
)
def test_flags_are_added(current, wanted, target):
    assert flags.merged(current, wanted) == target


def test_the_letters_events_need():
    assert flags.needed(["expired"]) == "Ex"
    assert flags.needed(["set", "del", "hset", "evicted"]) == "E$egh"
    with pytest.raises(ValueError, match="'expires' is no keyspace event"):
        flags.needed(["expires"])


@pytest.mark.parametrize(
    ("event", "commands"),
    [
        ("setbit", ["SETBIT k 7 1"]),
        ("pfadd", ["PFADD k a"]),
        ("sortstore", ["RPUSH l 2 1", "SORT l STORE k"]),
        ("zremrangebyscore", ["ZADD k 1 a", "ZREMRANGEBYSCORE k 1 1"]),
        ("zremrangebyrank", ["ZADD k 1 a", "ZREMRANGEBYRANK k 0 0"]),
        ("zremrangebylex", ["ZADD k 0 a", "ZREMRANGEBYLEX k - +"]),
        ("zpopmin", ["ZADD k 1 a", "ZPOPMIN k"]),
        ("zpopmax", ["ZADD k 1 a", "ZPOPMAX k"]),
    ],
)
async def test_the_server_sends_the_event_for_its_letter(any_client, admin, event, commands):
    admin.config_set("notify-keyspace-events", "")
    heard = asyncio.Event()
    events = KeyspaceEvents(any_client)
    events.on(event, lambda _: heard.set(), match="k")
    async with events:
        for command in commands:
            admin.execute_command(*command.split())
        await asyncio.wait_for(heard.wait(), 5)


async def test_enabling_keeps_the_flags_of_others(any_client, admin):
    admin.config_set("notify-keyspace-events", "Kl")
    events = KeyspaceEvents(any_client)
    events.on("expired", print)
    async with events:
        assert setting(admin) == set("KlEx")


async def test_a_server_that_forbids_it_says_what_to_set(start_server, make_client):
    server = start_server(users={"default": "on nopass ~* &* +@all -config"})
    client = await make_client(server)
    events = KeyspaceEvents(client)
    events.on("expired", print)
    with pytest.raises(KeyspaceEventsError) as caught:
        await events.start()
    for part in ("notify-keyspace-events", "'Ex'", "redis.conf", "CONFIG SET", "configure=False"):
        assert part in str(caught.value)


async def test_a_server_that_lets_us_read_only(start_server, make_client):
    server = start_server(
        users={"default": "on nopass ~* &* +@all -config +config|get"},
        config={"notify-keyspace-events": "Kg"},
    )
    client = await make_client(server)
    events = KeyspaceEvents(client)
    events.on("expired", print)
    with pytest.raises(KeyspaceEventsError) as caught:
        await events.start()
    assert "'gKEx'" in str(caught.value)  # what it has and what is missing
    heard = []
    events = KeyspaceEvents(client, configure=False)
    events.on("del", heard.append)  # the server's setting lacks E
    async with events:
        await client.set("a", 1)
        await client.delete("a")
    assert heard == []


# ------------------------------------------------------------------- delivery


async def test_events_reach_their_handlers_in_order(any_client, admin, until):
    heard, expired = [], []
    events = KeyspaceEvents(any_client)

    async def slow(event):
        await asyncio.sleep(0)
        heard.append((event.event, event.key))

    events.on("set del", slow, match="user:*")
    remove = events.on("expired", expired.append)
    async with events:
        for i in range(50):
            admin.set(f"user:{i}", 1)
            admin.delete(f"user:{i}")
            admin.set(f"other:{i}", 1)
        admin.set("gone", 1, px=1)
        await until(lambda: expired and len(heard) == 100)
        remove()
        admin.set("gone", 1, px=1)
        admin.set("user:last", 1)
        await until(lambda: len(heard) == 101)
    assert heard[:100] == [(event, f"user:{i}") for i in range(50) for event in ("set", "del")]
    assert expired == [KeyEvent("expired", "gone", 0)]


async def test_the_database_of_the_client(make_client, admin, until):
    client = await make_client(db=3)
    heard = []
    events = KeyspaceEvents(client)
    events.on("set", heard.append)
    async with events:
        admin.set("zero", 1)
        await client.set("three", 1)
        await until(lambda: heard)
    assert heard == [KeyEvent("set", "three", 3)]


async def test_a_handler_that_fails_does_not_stop_the_others(client, admin, until, caplog):
    heard = []

    def broken(event):
        raise LookupError("on purpose")

    events = KeyspaceEvents(client)
    events.on("set", broken)
    events.on("set", heard.append)
    async with events:
        admin.set("a", 1)
        admin.set("b", 1)
        await until(lambda: len(heard) == 2)
    assert sum("LookupError" in (r.exc_text or "") for r in caplog.records) == 2


async def test_listening_in_a_loop(client, admin):
    events = KeyspaceEvents(client)
    await events.start("expired", "set")
    found = []

    async def listen():
        async for event in events.listen("set", match="user:*"):
            found.append(event.key)
            if len(found) == 2:
                return

    task = asyncio.ensure_future(listen())
    await asyncio.sleep(0)
    for key in ("user:1", "other", "user:2"):
        admin.set(key, 1)
    await asyncio.wait_for(task, 10)
    assert found == ["user:1", "user:2"]
    with pytest.raises(RuntimeError, match="before start"):
        events.on("del", print)
    await events.aclose()


async def test_listening_ends_with_its_events(client, admin, until):
    events = KeyspaceEvents(client)
    await events.start("set")
    found = []

    async def listen():
        async for event in events.listen("set"):
            found.append(event.key)

    task = asyncio.ensure_future(listen())
    await asyncio.sleep(0)
    admin.set("a", 1)
    await until(lambda: found)
    await events.aclose()
    await asyncio.wait_for(task, 10)
    assert found == ["a"]


async def test_nothing_to_listen_to(client):
    with pytest.raises(ValueError, match="register a handler"):
        await KeyspaceEvents(client).start()


# ----------------------------------------------------------------------- gaps


async def test_a_cut_connection_is_a_gap_and_then_events_come_again(
    kind, make_client, proxy, admin, until
):
    client = await make_client(proxy, kind)
    heard = []
    events = KeyspaceEvents(client)
    events.on("set", heard.append)
    events.on_gap(heard.append)
    async with events:
        admin.set("before", 1)
        await until(lambda: heard)
        for _ in range(3):
            heard.clear()
            proxy.cut()
            await until(lambda: heard)
            assert isinstance(heard[0], GapEvent)
            assert heard[0].since <= heard[0].until
            admin.set("after", 1)
            await until(lambda: len(heard) == 2)
            assert heard[1].key == "after"


async def test_our_own_subscription_tells_why_and_is_not_replaced(
    make_client, proxy, admin, until, monkeypatch
):
    client = await make_client(proxy)
    made, heard = [], []
    pubsub = client.pubsub

    def counted(**options):
        made.append(pubsub(**options))
        return made[-1]

    monkeypatch.setattr(client, "pubsub", counted)
    events = KeyspaceEvents(client)
    events.on("set", heard.append)
    events.on_gap(heard.append)
    async with events:
        before = len(made)
        for _ in range(3):
            heard.clear()
            proxy.cut()
            await until(lambda: heard)
            assert heard[0].reason.startswith("the connection was lost: ")
            admin.set("after", 1)
            await until(lambda: len(heard) == 2)
        assert len(made) == before


async def test_a_server_that_restarts_has_its_setting_again(start_server, make_client, until):
    server = start_server()
    client = await make_client(server)
    heard = []
    events = KeyspaceEvents(client)
    events.on("set", heard.append)
    events.on_gap(heard.append)
    async with events:
        server.kill()
        server.start()
        await until(lambda: heard, 30)
        assert isinstance(heard[0], GapEvent)
        server.cli("SET", "after", "1")
        await until(lambda: len(heard) == 2)
    assert heard[1] == KeyEvent("set", "after", 0)


async def test_a_connection_that_fell_silent_is_noticed(make_client, proxy, admin, until):
    client = await make_client(proxy)
    heard = []
    events = KeyspaceEvents(client, heartbeat=0.1)
    events.on("set", heard.append)
    events.on_gap(heard.append)
    async with events:
        await asyncio.sleep(0.5)  # several heartbeats
        assert heard == []
        proxy.to_client.stall()
        admin.set("unheard", 1)
        await asyncio.sleep(0.5)
        proxy.cut()
        proxy.to_client.resume()
        await until(lambda: heard, 20)
        assert isinstance(heard[0], GapEvent)


async def test_handlers_that_are_too_slow_make_a_gap(client, admin, until):
    go, gaps, heard = asyncio.Event(), [], []
    events = KeyspaceEvents(client, queue_size=5)

    async def slow(event):
        await go.wait()
        heard.append(event.key)

    events.on("set", slow)
    events.on_gap(gaps.append)
    async with events:
        for i in range(50):
            admin.set(f"key:{i}", 1)
        await asyncio.sleep(0.2)
        go.set()
        await until(lambda: gaps)
        admin.set("last", 1)
        await until(lambda: "last" in heard)
    assert len(heard) < 20
    assert "too slow" in gaps[0].reason


async def test_no_server(make_client, start_server):
    server = start_server()
    client = await make_client(server, retry=None)
    server.kill()
    events = KeyspaceEvents(client)
    events.on("expired", print)
    with pytest.raises(redis.exceptions.ConnectionError):
        await events.start()


async def test_nothing_is_left_behind(client, admin, until):
    events = KeyspaceEvents(client)
    events.on("expired", print)
    before = asyncio.all_tasks()
    async with events:
        assert asyncio.all_tasks() != before
    await until(lambda: asyncio.all_tasks() == before)
    await until(lambda: admin.pubsub_numpat() == 0 and not admin.pubsub_channels())


# ------------------------------------------------------- closing, and starting twice


async def test_closing_ends_a_start_that_waits(make_client, proxy, admin, until):
    client = await make_client(proxy)
    events = KeyspaceEvents(client, configure=False)
    events.on("set", print)
    await client.ping()
    proxy.to_client.stall()
    starting = [asyncio.ensure_future(events.start()) for _ in range(2)]
    await asyncio.sleep(0.1)
    await events.aclose()
    for one in starting:
        with pytest.raises(redis.exceptions.ConnectionError, match="closed meanwhile"):
            await asyncio.wait_for(one, 5)
    proxy.to_client.resume()
    await until(lambda: not admin.pubsub_channels())
    async with events:
        assert "__keyevent@0__:set" in admin.pubsub_channels()


@pytest.mark.parametrize("configure", [True, False])
async def test_whoever_starts_it_second_waits_as_well(client, admin, configure):
    admin.config_set("notify-keyspace-events", "EA")
    events = KeyspaceEvents(client, configure=configure)
    events.on("set", print)
    first = asyncio.ensure_future(events.start())
    await asyncio.sleep(0)
    await events.start()
    assert "__keyevent@0__:set" in admin.pubsub_channels()
    await first
    await events.aclose()


async def test_a_second_start_fails_like_the_first(start_server, make_client):
    server = start_server()
    client = await make_client(server)
    with server.connect() as its_admin:
        its_admin.execute_command("ACL", "SETUSER", "default", "-config")
    events = KeyspaceEvents(client)
    events.on("set", print)
    results = await asyncio.gather(events.start(), events.start(), return_exceptions=True)
    assert [type(result) for result in results] == [KeyspaceEventsError] * 2


async def test_cancelling_a_start_leaves_nothing(make_client, proxy, admin, until):
    client = await make_client(proxy)
    events = KeyspaceEvents(client, configure=False)
    events.on("set", print)
    await client.ping()
    before = asyncio.all_tasks()
    proxy.to_client.stall()
    starting = asyncio.ensure_future(events.start())
    await asyncio.sleep(0.1)
    starting.cancel()
    await asyncio.wait([starting])
    assert starting.cancelled()
    proxy.to_client.resume()
    await until(lambda: asyncio.all_tasks() == before)
    await until(lambda: not admin.pubsub_channels())


async def test_a_handler_may_close_it(client, admin, until):
    before = asyncio.all_tasks()
    heard = []

    async def handler(event):
        heard.append(event.key)
        await asyncio.sleep(0.1)  # the others come and wait
        await events.aclose()

    events = KeyspaceEvents(client)
    events.on("set", handler)
    await events.start()
    for number in range(5):
        admin.set(f"key:{number}", 1)
    await until(lambda: asyncio.all_tasks() == before)
    assert heard == ["key:0"]
    heard.clear()
    await events.start()
    admin.set("again", 1)
    await until(lambda: asyncio.all_tasks() == before)
    assert heard == ["again"]


def test_a_second_run_after_one_that_was_not_closed(own):
    import aiecs_redis

    client = aiecs_redis.Redis(**own.kwargs)
    heard = []
    events = KeyspaceEvents(client)
    events.on("set", heard.append)

    async def use(count):
        await events.start()
        await client.set("a", count)
        while len(heard) < count:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(use(1), 10))
    asyncio.run(asyncio.wait_for(use(2), 10))
