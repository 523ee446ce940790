"""What a server may answer instead of doing it: redis-py's exception, and no attempt too many.

First at a scripted server, every code in every place, attempts counted; then at real servers.
"""

import asyncio
import contextlib
import random
import threading
import time

import pytest
import redis.asyncio.retry
from harness.figures import OURS
from harness.measure import hung, in_thread, run
from harness.scripted import OK, ScriptedServer, bulk, error, introduce
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

import aiecs_redis

BOTH = (redis.asyncio.Redis, aiecs_redis.Redis)

CODES = {
    "LOADING": "LOADING Redis is loading the dataset in memory",
    "READONLY": "READONLY You can't write against a read only replica.",
    "MASTERDOWN": "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is 'no'.",
    "OOM": "OOM command not allowed when used memory > 'maxmemory'.",
    "NOAUTH": "NOAUTH Authentication required.",
    "WRONGPASS": "WRONGPASS invalid username-password pair or user is disabled.",
    "NOPERM": "NOPERM this user has no permissions to run the 'set' command",
    "BUSY": "BUSY Redis is busy running a script.",
    "NOSCRIPT": "NOSCRIPT No matching script. Please use EVAL.",
    "EXECABORT": "EXECABORT Transaction discarded because of previous errors.",
    "MISCONF": "MISCONF Redis is configured to save RDB snapshots, but it cannot",
    "max clients": "ERR max number of clients reached",
    "TRYAGAIN": "TRYAGAIN Multiple keys request during rehashing of slot",
    "WRONGTYPE": "WRONGTYPE Operation against a key holding the wrong kind of value",
}
# redis-py takes these for the loss of a connection, and its default policy tries again.
ONCE = redis.__version__.startswith("7.")  # redis-py 7 introduces itself only once
CONNECTION_ERRORS = ("LOADING", "NOAUTH", "WRONGPASS", "max clients")


@pytest.fixture
def short_pauses(monkeypatch):
    """The default policy as its jitter may well have it: with redis-py 7 it pauses up to 8 s."""
    monkeypatch.setattr(random, "random", lambda: 0.01)


async def subscribed(client):
    pubsub = client.pubsub()
    try:
        await pubsub.subscribe("channel")
        return await pubsub.get_message(timeout=5)
    finally:
        await pubsub.aclose()


async def listening(client):
    pubsub = client.pubsub()
    try:
        await pubsub.subscribe("channel")
        async for message in pubsub.listen():
            return message
    finally:
        await pubsub.aclose()


def queue(client, transaction):
    return client.pipeline(transaction=transaction).set("key", "value").set("key", "value")


PLACES = {
    "single": lambda client: client.set("key", "value"),
    "pipeline": lambda client: queue(client, False).execute(),
    "pipeline, errors returned": lambda client: queue(client, False).execute(raise_on_error=False),
    "MULTI, queueing": lambda client: queue(client, True).execute(),
    "MULTI, EXEC": lambda client: queue(client, True).execute(),
    "MULTI, within EXEC": lambda client: queue(client, True).execute(),
    "pub/sub": subscribed,
    "introduction": lambda client: client.set("key", "value"),
}


class Refusing:
    """A server that gives an error in one place, the first so many times; counts the attempts."""

    def __init__(self, place, code, times=1000):
        self.place, self.text, self.times = place, error(CODES[code]), times
        self.attempts = 0
        self.aborted = {}
        self.half = {}  # by connection: whether the second SET of an attempt is to come

    def refuses(self, first=True):
        self.attempts += first
        return self.attempts <= self.times

    def answer(self, request):
        transaction = self.place.startswith("MULTI")
        if request.name == "SET":
            first = self.is_first(request)
            if self.place == "MULTI, queueing" and self.refuses(first):
                self.aborted[request.connection] = True
                return self.text
            if transaction:
                return b"+QUEUED\r\n"
            if self.place != "introduction" and self.refuses(first):
                return self.text
        if request.name == "EXEC":
            if self.aborted.pop(request.connection, False):
                return error(CODES["EXECABORT"])
            if self.place == "MULTI, EXEC" and self.refuses():
                return self.text
            if self.place == "MULTI, within EXEC" and self.refuses():
                return b"*2\r\n" + OK + self.text
            return b"*2\r\n" + OK + OK
        if request.name == "SUBSCRIBE":
            if self.refuses():
                return self.text
            return b">3\r\n" + bulk(b"subscribe") + bulk(b"channel") + b":1\r\n"
        return OK

    def is_first(self, request):
        """Two SET make one attempt; that on a new connection may be there before the second."""
        if self.place == "single":
            return True
        first = not self.half.get(request.connection, False)
        self.half[request.connection] = first
        return first

    def introduction(self, request):
        if self.place == "introduction" and request.name == "HELLO" and self.refuses():
            return self.text
        return introduce(request)


async def outcome(awaitable):
    """The class of an exception, or the result with exceptions as their classes."""
    try:
        result = await awaitable
    except RedisError as exception:
        return type(exception)
    if isinstance(result, list):
        return [type(item) if isinstance(item, Exception) else item for item in result]
    return result


def observed(place, code, times, make=None, **options):
    """For each client, the outcome and the number of attempts."""
    make = make or PLACES[place]
    found = []

    async def main(impl):
        async with impl(**server.kwargs, **options) as client:
            return await outcome(make(client))

    for impl in BOTH:
        refusing = Refusing(place, code, times)
        with ScriptedServer(refusing.answer, refusing.introduction) as server:
            result = run(main(impl))
        found.append((result, refusing.attempts))
    return found


MATRIX = []


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("place", PLACES)
def test_same_class_and_as_many_attempts(place, code):
    """With an explicit policy, which means the same to both: two more attempts, no pause."""
    retry = redis.asyncio.retry.Retry(NoBackoff(), 2)
    theirs, ours = observed(place, code, 1000, retry=retry)
    if place == "MULTI, within EXEC" and code in CONNECTION_ERRORS:
        # No server answers so: redis-py returns the error, we raise it.
        assert ours[0] is theirs[0][1]
        ours = (theirs[0], ours[1])
    gives_up = CONNECTION_ERRORS if ONCE else ("NOAUTH", "WRONGPASS")
    if place == "introduction" and code in gives_up:
        assert ours[0] is theirs[0]
    elif place == "pub/sub" and code in CONNECTION_ERRORS:
        assert ours[0] is theirs[0]
        assert {ours[1], theirs[1]} <= {3, 4}  # once more, in vain, before giving up
    else:
        assert ours == theirs
    MATRIX.append((place, code))


@pytest.mark.parametrize("code", CONNECTION_ERRORS)
@pytest.mark.parametrize("make", [subscribed, listening])
def test_a_refused_subscriber_without_retries_is_told_what_was_answered(make, code):
    """Both connect anew and subscribe there before they raise the answer."""
    retry = redis.asyncio.retry.Retry(NoBackoff(), 0)
    theirs, ours = observed("pub/sub", code, 1000, make, retry=retry)
    assert ours[0] is theirs[0]
    assert issubclass(ours[0], redis.exceptions.ConnectionError)
    assert {ours[1], theirs[1]} <= {1, 2}  # the second is given up before the server looks at it


@pytest.mark.parametrize("code", [code for code in CODES if code not in CONNECTION_ERRORS])
@pytest.mark.parametrize("place", PLACES)
def test_what_is_answered_is_asked_once(place, code):
    """With the default policy an answer is an answer, for both."""
    theirs, ours = observed(place, code, 1000)
    assert ours == theirs
    assert ours[1] == 1


def test_subscriber_that_listens_is_told_nothing_of_a_loading_server(short_pauses):
    """`listen()` goes on, too."""
    refusing = Refusing("pub/sub", "LOADING", 2)

    async def main():
        async with aiecs_redis.Redis(**server.kwargs) as client:
            pubsub = client.pubsub()
            await pubsub.subscribe("channel")
            async for message in pubsub.listen():
                await pubsub.aclose()
                return message

    with ScriptedServer(refusing.answer, refusing.introduction) as server:
        assert run(main())["type"] == "subscribe"
    assert refusing.attempts == 3


@pytest.mark.parametrize("code", ["LOADING", "max clients"])
@pytest.mark.parametrize("place", [p for p in PLACES if p != "MULTI, within EXEC"])
def test_refused_for_the_moment(short_pauses, place, code):
    """The server has done nothing and will be ready soon: default policy, both try again."""
    theirs, ours = observed(place, code, 2)
    assert ours == theirs or (ONCE and place == "introduction")
    assert ours[1] == 3
    assert not isinstance(ours[0], type)


def test_half_refused_pipeline_is_not_repeated():
    """Its first command has been executed."""

    def answer(request):
        return error(CODES["LOADING"]) if request.words[1] == b"b" else b":1\r\n"

    async def main():
        async with aiecs_redis.Redis(**server.kwargs) as client:
            return await outcome(client.pipeline(transaction=False).incr("a").incr("b").execute())

    with ScriptedServer(answer) as server:
        assert run(main()) is redis.exceptions.BusyLoadingError
        assert server.count("INCRBY") == 2


@pytest.mark.long
def test_refusals_come_to_an_end():
    """After as many attempts as the default policy has."""

    async def main():
        async with aiecs_redis.Redis(**server.kwargs) as client:
            retries = client.get_retry().get_retries()
            return retries, await outcome(client.incr("n"))

    with ScriptedServer(lambda request: error(CODES["LOADING"])) as server:
        retries, result = run(main())
        assert result is redis.exceptions.BusyLoadingError
        assert server.count() == retries + 1


def test_every_refused_command_is_done_once(short_pauses):
    def answer(request):
        return error(CODES["LOADING"]) if request.number <= 30 else b":1\r\n"

    async def main():
        async with aiecs_redis.Redis(**server.kwargs) as client:
            futures = []
            for n in range(60):
                futures.append(asyncio.ensure_future(client.rpush("list", n)))
                await asyncio.sleep(0.0005)
            await asyncio.gather(*futures)

    with ScriptedServer(answer) as server:
        run(main())
        done = [int(request.words[2]) for request in server.requests[30:]]
    assert sorted(done) == list(range(60))


def test_password_refused_is_not_tried_again_and_again(short_pauses):
    """redis-py's default policy hammers the server with a wrong password; the core does not."""
    (_, theirs), (result, ours) = observed("introduction", "WRONGPASS", 3)
    assert result is redis.exceptions.AuthenticationError
    tried = 1 if redis.__version__.startswith(("7.0.", "7.1.")) else 4
    assert (ours, theirs) == (1, tried)


# --- real servers ---


@pytest.fixture
def both_say(start_server):
    """`both_say(server, make)`: what both clients' `make(client)` comes to, found equal."""

    def both_say(server, make, **options):
        async def main(impl):
            retry = redis.asyncio.retry.Retry(NoBackoff(), 0)
            async with impl(**{**server.kwargs, "retry": retry, **options}) as client:
                return await outcome(make(client))

        theirs, ours = (run(main(impl)) for impl in BOTH)
        assert ours == theirs
        REAL.append(ours)
        return ours

    return both_say


REAL = []


def test_readonly_and_masterdown(start_server, both_say):
    """A replica whose master is gone."""
    replica = start_server(config={"replicaof": "127.0.0.1 1"})
    assert both_say(replica, lambda c: c.set("k", "v")) is redis.exceptions.ReadOnlyError
    with replica.connect() as admin:
        admin.config_set("replica-serve-stale-data", "no")
    for make in (lambda c: c.get("k"), lambda c: c.pipeline(False).get("k").execute()):
        assert both_say(replica, make) is redis.exceptions.MasterDownError


def test_oom(start_server, both_say):
    full = start_server(config={"maxmemory": "1", "maxmemory-policy": "noeviction"})
    for make in (PLACES["single"], PLACES["pipeline"], PLACES["MULTI, queueing"]):
        assert both_say(full, make) is redis.exceptions.OutOfMemoryError


def test_authentication(start_server, both_say):
    locked = start_server(requirepass="right", users={"ann": "on >secret ~* &* +@all -set"})
    for make in (PLACES["single"], PLACES["pipeline"], subscribed):
        for wrong in ({"password": None}, {"password": "wrong"}):
            assert both_say(locked, make, **wrong) is redis.exceptions.AuthenticationError
    ann = {"username": "ann", "password": "secret"}
    for make in (PLACES["single"], PLACES["pipeline"], PLACES["MULTI, queueing"]):
        assert both_say(locked, make, **ann) is redis.exceptions.NoPermissionError
    assert both_say(locked, lambda c: c.get("k"), **ann) is None


def test_busy(start_server, both_say):
    server = start_server(config={"lua-time-limit": 5})
    with server.connect(socket_timeout=60) as looping, server.connect() as admin:

        def loop():
            with contextlib.suppress(redis.exceptions.RedisError):
                looping.eval("while true do end", 0)

        thread = threading.Thread(target=loop)
        thread.start()
        try:
            time.sleep(0.2)
            assert both_say(server, lambda c: c.get("k")) is redis.exceptions.ResponseError
        finally:
            admin.script_kill()
            thread.join()


def test_noscript_and_execabort(start_server, both_say):
    server = start_server()
    assert both_say(server, lambda c: c.evalsha("0" * 40, 0)) is redis.exceptions.NoScriptError
    make = lambda c: c.pipeline().set("a", 1).execute_command("NO-SUCH").execute()  # noqa: E731
    assert both_say(server, make) is redis.exceptions.ResponseError


def test_misconf(start_server, both_say):
    """A snapshot cannot be written: a folder has its name."""
    server = start_server(config={"dbfilename": "taken.rdb"})
    (server.folder / "taken.rdb").mkdir()
    (server.folder / "taken.rdb" / "something").touch()
    with server.connect() as admin:
        admin.config_set("save", "3600 1")
        admin.set("k", "v")
        admin.bgsave()
        while admin.info("persistence")["rdb_last_bgsave_status"] == "ok":
            time.sleep(0.01)
    assert both_say(server, PLACES["single"]) is redis.exceptions.ResponseError
    assert both_say(server, lambda c: c.get("k")) == b"v"
    with server.connect() as admin:
        admin.config_set("save", "")  # or it would refuse to stop


def test_max_clients(start_server, both_say):
    server = start_server(config={"maxclients": 4})
    held = [server.connect() for _ in range(4)]
    for client in held:
        client.ping()
    for make in (PLACES["single"], PLACES["pipeline"], subscribed):
        assert both_say(server, make) is redis.exceptions.ConnectionError
    for client in held:
        client.close()


@pytest.mark.since("7.0", "loading-process-events-interval-bytes")
def test_loading_server_is_waited_for(start_server, figure):
    """A restart with a data set that takes its time: nobody notices, nothing is counted twice."""
    # Few long pauses: on a busy machine each is longer by a turn of the others.
    config = {"key-load-delay": 5000, "loading-process-events-interval-bytes": 1024}
    server = start_server(appendonly=True, config=config)
    patience = {"socket_timeout": 60, "socket_connect_timeout": 60}
    with server.connect(**patience) as admin:
        admin.mset({f"key{n}": "x" * 1000 for n in range(200)})
        admin.bgrewriteaof()
        while admin.info("persistence")["aof_rewrite_in_progress"]:
            time.sleep(0.01)

    async def main():
        done = 0
        errors = []

        async def worker(client):
            nonlocal done
            while not stop.is_set():
                try:
                    await client.incr("counter")
                    done += 1
                except RedisError as exception:
                    errors.append(exception)

        stop = asyncio.Event()
        async with aiecs_redis.Redis(**server.kwargs, **patience) as client:
            await client.ping()
            server._end(9)
            restart = asyncio.ensure_future(in_thread(server.start))
            await asyncio.sleep(0.2)
            tasks = [asyncio.create_task(worker(client)) for _ in range(50)]
            await restart
            while done < 500:
                await asyncio.sleep(0.01)
            stop.set()
            assert await hung(tasks, 60) == 0
            refused = (await client.info("errorstats"))["errorstat_LOADING"]["count"]
            return done, errors, refused, int(await client.get("counter"))

    done, errors, refused, counter = run(main(), 180)
    assert errors == []
    assert counter == done
    assert refused > 0
    figure(
        "loading",
        f"{done:,} INCR while it restarts: {refused} refused by it, {len(errors)} errors, "
        f"{counter - done} counted twice",
    )


def test_figures(figure):
    """After the others: how much of the matrix they went through."""
    if len(MATRIX) < len(CODES) * len(PLACES):
        pytest.skip("run the whole file")
    figure(
        "errors",
        f"{len(MATRIX)} of {len(CODES) * len(PLACES)} cells with redis-py's class and number of "
        f"attempts; {len(REAL)} more at real servers",
        OURS,
    )
