"""python-socketio: AsyncRedisManager looks up redis.asyncio.Redis when it connects; the patched
name suffices. Two servers share the clients of a room, as two processes behind a balancer do.
"""

import asyncio

import pytest

pytest.importorskip("socketio", reason="python-socketio is not installed, `make libraries` does")
pytest.importorskip("aiohttp", reason="aiohttp is not installed, `make libraries` does that")

import socketio
from aiohttp import web

EACH = 4  # clients of each server


class Cluster:
    """Two socket.io servers on one Redis server, and clients of both."""

    def __init__(self, url):
        self.url = url
        self.servers = []
        self.clients = []
        self.received = []  # one list for each client
        self._runners = []

    async def start(self):
        for number in range(2):
            manager = socketio.AsyncRedisManager(self.url)
            server = socketio.AsyncServer(async_mode="aiohttp", client_manager=manager)
            self._add_handlers(server, number)
            self.servers.append(server)
            app = web.Application()
            server.attach(app)
            runner = web.AppRunner(app)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self._runners.append(runner)
            for _ in range(EACH):
                await self._connect(runner.addresses[0][1])
        # A manager listens from its first client on; it says when it is there in no way.
        await self._until(lambda: all(s.manager.pubsub.subscribed for s in self.servers))

    def _add_handlers(self, server, number):
        @server.event
        async def join(sid, room):
            await server.enter_room(sid, room)
            return number

        @server.event
        async def shout(sid, text):
            await server.emit("message", text)

    async def _connect(self, port):
        client = socketio.AsyncClient(reconnection=False)
        received = []
        client.on("message", received.append)
        client.on("question", lambda text: f"{text} {client.get_sid()}")
        await client.connect(f"http://127.0.0.1:{port}", transports=["websocket"])
        self.clients.append(client)
        self.received.append(received)

    async def _until(self, condition):
        for _ in range(500):
            if condition():
                return
            await asyncio.sleep(0.01)
        pytest.fail("it did not come about in five seconds")

    async def have_received(self, *expected):
        """Every client of `expected` (one list for each) has received just that."""
        await self._until(
            lambda: all(len(got) >= len(want) for got, want in zip(self.received, expected))
        )
        await asyncio.sleep(0.05)
        assert self.received == list(expected)

    async def stop(self):
        for client in self.clients:
            await client.disconnect()
        for server, runner in zip(self.servers, self._runners):
            await server.shutdown()
            server.manager.thread.cancel()
            await asyncio.gather(server.manager.thread, return_exceptions=True)
            await server.manager.pubsub.aclose()
            await server.manager.redis.aclose()
            await runner.cleanup()


@pytest.fixture
async def cluster(server, native_names):
    cluster = Cluster(server.url)
    try:
        await cluster.start()
        assert [type(s.manager.redis) for s in cluster.servers] == [native_names] * 2
        yield cluster
    finally:
        await cluster.stop()


async def test_what_one_server_emits_reaches_the_clients_of_both(cluster):
    first = cluster.servers[0]
    for n in range(100):
        await first.emit("message", n)
    await cluster.have_received(*[list(range(100))] * 2 * EACH)
    await cluster.clients[-1].emit("shout", "from a client of the second")
    await cluster.have_received(*[[*range(100), "from a client of the second"]] * 2 * EACH)


async def test_rooms_span_both_servers(cluster):
    first, second = cluster.servers
    members = cluster.clients[0], cluster.clients[EACH]
    assert [await client.call("join", "room") for client in members] == [0, 1]
    await asyncio.gather(*(s.emit("message", "hello", room="room") for s in cluster.servers))
    expected = [[] for _ in cluster.clients]
    expected[0] = expected[EACH] = ["hello", "hello"]
    await cluster.have_received(*expected)
    await first.close_room("room")
    await asyncio.sleep(0.1)
    await second.emit("message", "nobody", room="room")
    await cluster.have_received(*expected)


async def test_an_acknowledgement_comes_back_from_the_other_server(cluster):
    first = cluster.servers[0]
    sid = cluster.clients[EACH].get_sid()
    answers = await asyncio.gather(
        *(first.call("question", f"q{n}", to=sid, timeout=5) for n in range(20))
    )
    assert answers == [f"q{n} {sid}" for n in range(20)]


async def test_a_client_of_the_other_server_is_disconnected(cluster):
    gone = asyncio.Event()
    cluster.clients[EACH].on("disconnect", lambda *_: gone.set())
    await cluster.servers[0].disconnect(cluster.clients[EACH].get_sid())
    await asyncio.wait_for(gone.wait(), 5)


async def test_another_process_may_emit(cluster, server, python_connections):
    outside = socketio.AsyncRedisManager(server.url, write_only=True)
    await asyncio.gather(*(outside.emit("message", "from outside") for _ in range(50)))
    await cluster.have_received(*[["from outside"] * 50] * 2 * EACH)
    assert not python_connections
    await outside.redis.aclose()
