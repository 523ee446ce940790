"""Subscriptions on native connections: what redis-py's own tests do not ask."""

import asyncio

import pytest
import redis
from waiting import until

import aiecs_redis
from aiecs_redis.connection import LeasedConnection
from aiecs_redis.testing import RedisServer

pytestmark = pytest.mark.parametrize("protocol", [2, 3])


@pytest.fixture
async def client(protocol, port, admin):
    async with aiecs_redis.Redis(port=port, protocol=protocol, decode_responses=True) as client:
        yield client


async def subscribed(client, *channels, **options):
    pubsub = client.pubsub(**options)
    await pubsub.subscribe(*channels)
    for _ in channels:
        assert (await pubsub.get_message(timeout=10))["type"] == "subscribe"
    return pubsub


async def take(pubsub, count):
    data = []
    async for message in pubsub.listen():
        if message["type"] == "message":
            data.append(message["data"])
        if len(data) == count:
            return data


async def test_it_runs_on_a_connection_of_the_native_pool(client):
    async with await subscribed(client, "a") as pubsub:
        assert isinstance(pubsub.connection, LeasedConnection)
        assert client._native_transport is not None
        await client.ping()
        assert client._native_transport.stats()["lent"] == 1
    assert client._native_transport.stats()["lent"] == 0


async def test_many_messages_come_whole_and_in_order(client, admin):
    async with await subscribed(client, "a") as pubsub:
        with admin.pipeline(transaction=False) as pipeline:
            for number in range(20_000):
                pipeline.publish("a", f"{number} {'x' * (number % 300)}")
            pipeline.execute()
        data = await asyncio.wait_for(take(pubsub, 20_000), 60)
        assert [int(text.split()[0]) for text in data] == list(range(20_000))


async def test_a_large_message_is_more_than_may_wait(client, admin):
    async with await subscribed(client, "a", buffer_limit=10_000) as pubsub:
        for _ in range(3):
            admin.publish("a", "x" * 3_000_000)
        data = await asyncio.wait_for(take(pubsub, 3), 60)
        assert [len(text) for text in data] == [3_000_000] * 3


async def test_other_tasks_get_their_turn_while_messages_pour_in(client, admin):
    turns = 0

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with await subscribed(client, "a") as pubsub:
        with admin.pipeline(transaction=False) as pipeline:
            for number in range(10_000):
                pipeline.publish("a", number)
            pipeline.execute()
        await asyncio.sleep(0.05)
        task = asyncio.ensure_future(other())
        await asyncio.wait_for(take(pubsub, 10_000), 60)
        task.cancel()
    assert turns > 20


async def test_giving_up_while_waiting_loses_nothing(client, admin):
    async with await subscribed(client, "a") as pubsub:
        for number in range(300):
            task = asyncio.ensure_future(pubsub.get_message(timeout=None))
            await asyncio.sleep(0)
            admin.publish("a", number)
            task.cancel()
            message = None
            try:
                message = await task
            except asyncio.CancelledError:
                while message is None:
                    message = await pubsub.get_message(timeout=1)
            assert message["data"] == str(number)


async def test_two_readers_share_the_messages(client, admin):
    async with await subscribed(client, "a") as pubsub:
        got = []

        async def reader():
            while True:
                got.append((await pubsub.get_message(timeout=None))["data"])

        readers = [asyncio.ensure_future(reader()) for _ in range(2)]
        for number in range(200):
            admin.publish("a", number)
            await asyncio.sleep(0)
        while len(got) < 200:
            await asyncio.sleep(0.001)
        for task in readers:
            task.cancel()
        assert sorted(map(int, got)) == list(range(200))


async def test_a_lost_connection_is_a_gap(client, admin):
    gaps = []

    async def on_gap(gap):
        gaps.append(gap)

    pubsub = await subscribed(client, "a", "b", on_gap=on_gap)
    await pubsub.psubscribe("p*")
    assert (await pubsub.get_message(timeout=10))["type"] == "psubscribe"
    for times in (1, 2):
        admin.client_kill_filter(_type="pubsub")
        types = [(await pubsub.get_message(timeout=10))["type"] for _ in range(3)]
        assert sorted(types) == ["psubscribe", "subscribe", "subscribe"]
        assert len(gaps) == times
    assert gaps[0].reason == "reconnected"
    assert gaps[0].channels == ("a", "b")
    assert gaps[0].patterns == ("p*",)
    assert isinstance(gaps[0].error, redis.exceptions.ConnectionError)
    admin.publish("a", "after")
    assert (await pubsub.get_message(timeout=10))["data"] == "after"
    await pubsub.aclose()


async def test_listen_goes_on_over_a_lost_connection(client, admin):
    gaps = []
    pubsub = await subscribed(client, "a", on_gap=gaps.append)
    task = asyncio.ensure_future(take(pubsub, 1))
    await asyncio.sleep(0.01)
    admin.client_kill_filter(_type="pubsub")
    while not gaps:
        await asyncio.sleep(0.001)
    admin.publish("a", "after")
    assert await asyncio.wait_for(task, 10) == ["after"]
    await pubsub.aclose()


async def test_an_overflow_drops_the_oldest_and_says_how_many(client, admin):
    gaps = []
    pubsub = await subscribed(
        client, "a", on_gap=gaps.append, buffer_limit=50_000, overflow="drop_oldest"
    )
    await pubsub.subscribe("late")
    with admin.pipeline(transaction=False) as pipeline:
        for number in range(5_000):
            pipeline.publish("a", f"{number:5} {'x' * 100}")
        pipeline.execute()
    await asyncio.sleep(0.2)
    numbers, others = [], []
    while (message := await pubsub.get_message(timeout=0.2)) is not None:
        if message["type"] == "message":
            numbers.append(int(message["data"].split()[0]))
        else:
            others.append(message["channel"])
    assert others == ["late"]
    assert numbers == list(range(5_000 - len(numbers), 5_000))
    assert 0 < len(numbers) < 1_000
    assert sum(gap.dropped for gap in gaps) == 5_000 - len(numbers)
    assert {gap.reason for gap in gaps} == {"overflow"}
    await pubsub.aclose()


async def test_an_overflow_may_end_the_connection(client, admin):
    gaps = []
    pubsub = await subscribed(
        client, "a", on_gap=gaps.append, buffer_limit=50_000, overflow="disconnect"
    )
    for _ in range(100):
        admin.publish("a", "x" * 10_000)
    await asyncio.sleep(0.2)
    while not gaps:
        await pubsub.get_message(timeout=0.1)
    assert "50000" in str(gaps[0].error)
    await pubsub.aclose()


async def test_a_silent_connection_is_asked_and_given_up(port, protocol, admin):
    gaps = []
    async with aiecs_redis.Redis(port=port, protocol=protocol, health_check_interval=0.1) as client:
        pubsub = await subscribed(client, "a", on_gap=gaps.append)
        task = asyncio.ensure_future(pubsub.get_message(timeout=None))
        before = admin.info("commandstats").get("cmdstat_ping", {}).get("calls", 0)
        await asyncio.sleep(0.5)
        assert admin.info("commandstats")["cmdstat_ping"]["calls"] > before
        assert not gaps
        task.cancel()
        await pubsub.aclose()


@pytest.mark.parametrize(
    "options", [{"overflow": "forget"}, {"buffer_limit": 0}, {"buffer_limit": True}]
)
async def test_bad_arguments_are_named(client, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        client.pubsub(**options)


async def test_past_max_connections_subscribers_wait_in_order(port, protocol, admin):
    async with aiecs_redis.Redis(port=port, protocol=protocol, max_connections=3) as client:
        first = [await subscribed(client, "a") for _ in range(2)]
        order = []

        async def late(number):
            async with await subscribed(client, "a"):
                order.append(number)

        tasks = [asyncio.ensure_future(late(number)) for number in range(5)]
        await asyncio.sleep(0.05)
        assert order == []
        await first[0].aclose()
        await asyncio.wait_for(asyncio.gather(*tasks), 10)
        assert order == [0, 1, 2, 3, 4]
        await first[1].aclose()


async def test_closing_the_client_ends_the_wait_of_a_subscriber(port, protocol, admin):
    client = aiecs_redis.Redis(port=port, protocol=protocol, retry=None)
    pubsub = await subscribed(client, "a")
    task = asyncio.ensure_future(pubsub.get_message(timeout=None))
    await asyncio.sleep(0.01)
    await client.aclose()
    await asyncio.wait({task}, timeout=0.2)
    await pubsub.aclose()  # it had reconnected, as with redis-py
    task.cancel()
    await client.aclose()
    while admin.client_list(_type="pubsub"):
        await asyncio.sleep(0.001)


async def test_closing_it_ends_the_wait_of_its_readers(client, admin):
    # redis-py's get_message() and listen() wait for ever then; its run() raises this RuntimeError.
    for interval in (0, 60):
        client.connection_pool.connection_kwargs["health_check_interval"] = interval
        reading = await subscribed(client, "a")
        reader = asyncio.ensure_future(reading.get_message(timeout=None))
        listening = await subscribed(client, "a")
        listener = asyncio.ensure_future(take(listening, 1))
        handling = client.pubsub()
        await handling.subscribe(a=print)
        runner = asyncio.ensure_future(handling.run())
        await asyncio.sleep(0.05)
        for pubsub in (reading, listening, handling):
            await pubsub.aclose()
        for waiting in (reader, runner):
            with pytest.raises(RuntimeError, match="pubsub connection not set"):
                await asyncio.wait_for(waiting, 10)
        assert await asyncio.wait_for(listener, 10) is None
        await until(lambda: admin.pubsub_numsub("a")[0][1] == 0)


async def test_a_peer_that_is_gone_without_a_word_is_found_out(protocol):
    gaps = []
    with RedisServer() as server:
        async with aiecs_redis.Redis(
            port=server.port,
            protocol=protocol,
            health_check_interval=0.1,
            socket_timeout=0.5,
            socket_connect_timeout=0.5,
        ) as client:
            pubsub = await subscribed(client, "a", on_gap=gaps.append)
            task = asyncio.ensure_future(take(pubsub, 1))
            await asyncio.sleep(0)
            server.pause()
            await asyncio.sleep(1)
            server.resume()
            while not gaps:
                await asyncio.sleep(0.01)
                assert not task.done()
            assert "health check" in str(gaps[0].error)
            await client.publish("a", "after")
            assert (await asyncio.wait_for(task, 20))[0] == b"after"
            await pubsub.aclose()


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
async def test_handlers_get_every_message(client, admin, kind):
    got = []

    async def coroutine(message):
        await asyncio.sleep(0)
        got.append(message)

    pubsub = client.pubsub(ignore_subscribe_messages=True)
    await pubsub.subscribe(a=got.append if kind == "plain" else coroutine)
    await pubsub.psubscribe(**{"p*": got.append})
    task = asyncio.ensure_future(pubsub.run())
    while len(admin.pubsub_channels()) < 1 or not admin.pubsub_numpat():
        await asyncio.sleep(0.001)
    with admin.pipeline(transaction=False) as pipeline:
        for number in range(2_000):
            pipeline.publish("a" if number % 2 else "part", number)
        pipeline.execute()
    while len(got) < 2_000:
        await asyncio.sleep(0.001)
    assert [int(message["data"]) for message in got] == list(range(2_000))
    assert got[0] == {"type": "pmessage", "pattern": "p*", "channel": "part", "data": "0"}
    assert got[1] == {"type": "message", "pattern": None, "channel": "a", "data": "1"}
    task.cancel()
    await pubsub.aclose()


async def test_a_handler_that_raises_is_reported_and_the_rest_goes_on(client, admin):
    got, errors = [], []

    def handler(message):
        if message["data"] == "1":
            raise ValueError(message["data"])
        got.append(message["data"])

    pubsub = client.pubsub()
    await pubsub.subscribe(a=handler)
    task = asyncio.ensure_future(
        pubsub.run(exception_handler=lambda error, _pubsub: errors.append(error))
    )
    while not admin.pubsub_channels():
        await asyncio.sleep(0.001)
    for number in range(4):
        admin.publish("a", number)
    while len(got) < 3:
        await asyncio.sleep(0.001)
    assert got == ["0", "2", "3"]
    assert [str(error) for error in errors] == ["1"]
    task.cancel()
    await pubsub.aclose()


async def test_a_subclass_with_handling_of_its_own_is_asked(client, admin):
    class Shouting(aiecs_redis.PubSub):
        async def handle_message(self, response, ignore_subscribe_messages=False):
            message = await super().handle_message(response, ignore_subscribe_messages)
            return message and {**message, "data": str(message["data"]).upper()}

    pubsub = Shouting(client._leases)
    await pubsub.subscribe("a")
    assert (await pubsub.get_message(timeout=10))["type"] == "subscribe"
    admin.publish("a", "hello")
    assert (await pubsub.get_message(timeout=10))["data"] == "HELLO"
    await pubsub.aclose()


async def test_a_push_handler_is_for_its_own_subscriptions(client):
    """redis-py's stays with the connection."""
    pushed = []

    async def handler(push):
        pushed.append(push)

    async with client.pubsub(push_handler_func=handler) as pubsub:
        await pubsub.subscribe("a")
        await pubsub.get_message(timeout=0.2)
    heard = list(pushed)
    async with client.pubsub() as pubsub:
        await pubsub.subscribe("b")
        assert (await pubsub.get_message(timeout=10))["channel"] == "b"
    assert pushed == heard
