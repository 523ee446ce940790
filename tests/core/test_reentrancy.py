"""Code of the user's that the core calls in the middle of something: it closes, raises, cancels."""

import asyncio
import codecs
import contextlib
import gc
import itertools

import pytest
from collecting import at_each_collection
from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError, ConnectionError, RedisError

import aiecs_redis
from aiecs_redis.metrics import ClientMetrics

SURE = 10.0  # seconds after which something hangs


@pytest.fixture
async def made(port):
    clients = []

    def make(**options):
        clients.append(aiecs_redis.Redis(port=port, **options))
        return clients[-1]

    yield make
    for client in clients:
        await client.aclose()


class Provider(CredentialProvider):
    """Does something each time it is asked, and then gives no password out."""

    def __init__(self, act, in_async):
        self.act, self.asked = act, 0
        if in_async:
            self.get_credentials_async = self.later
        else:
            self.get_credentials_async = self.get_credentials

    def get_credentials(self):
        self.asked += 1
        return self.act()

    async def later(self):
        self.asked += 1
        await asyncio.sleep(0)
        result = self.act()
        if asyncio.isfuture(result):
            result = await result
        return result


class Native(Provider):
    """As the core calls it for a provider that is not asynchronous."""

    get_credentials_async = CredentialProvider.get_credentials_async

    def __init__(self, act):
        self.act, self.asked = act, 0


def providers(act):
    return [Native(act), Provider(act, True)]


@pytest.mark.parametrize("kind", [0, 1], ids=["sync", "async"])
@pytest.mark.parametrize("protocol", [2, 3])
async def test_a_credential_provider_that_closes_the_client(kind, protocol, made):
    def close():
        client._native_transport.close()
        return ("default", "")

    client = made(credential_provider=providers(close)[kind], protocol=protocol)
    commands = [asyncio.ensure_future(client.get("key")) for _ in range(3)]
    commands.append(asyncio.ensure_future(client.blpop("nothing", 1)))
    results = await asyncio.wait_for(asyncio.gather(*commands, return_exceptions=True), SURE)
    assert [type(result) for result in results] == [ConnectionError] * 4


@pytest.mark.parametrize("kind", [0, 1], ids=["sync", "async"])
@pytest.mark.parametrize(
    ("error", "expected"),
    [(KeyError("no such secret"), KeyError), (AuthenticationError("no"), AuthenticationError)],
)
async def test_a_credential_provider_that_raises(kind, error, expected, made):
    def fail():
        raise error

    provider = providers(fail)[kind]
    client = made(credential_provider=provider)
    for _ in range(2):
        with pytest.raises(expected):
            await asyncio.wait_for(client.get("key"), SURE)
    provider.act = lambda: ("default", "")
    with contextlib.suppress(RedisError):  # a server without a password says so
        await asyncio.wait_for(client.get("key"), SURE)


@pytest.mark.parametrize("kind", [0, 1], ids=["sync", "async"])
@pytest.mark.parametrize("wrong", [None, "text", (), ("a", "b", "c"), 7], ids=repr)
async def test_a_credential_provider_that_returns_nonsense(kind, wrong, made):
    client = made(credential_provider=providers(lambda: wrong)[kind])
    if wrong is None:
        assert await asyncio.wait_for(client.ping(), SURE)  # no password
        return
    with pytest.raises(TypeError, match="credential provider returns"):
        await asyncio.wait_for(client.get("key"), SURE)


async def test_a_credential_provider_that_is_cancelled_cancels_nobody_else(made):
    def cancelled():
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.cancel)
        return future

    client = made(credential_provider=Provider(cancelled, True))
    with pytest.raises(ConnectionError, match="cancelled") as caught:
        await asyncio.wait_for(client.get("key"), SURE)
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)


async def test_a_credential_provider_that_issues_commands(made, port):
    async with aiecs_redis.Redis(port=port) as other:

        def issue():
            return asyncio.ensure_future(asked())

        async def asked():
            await other.set("vault", "x")
            assert await other.get("vault") == b"x"
            return None

        client = made(credential_provider=Provider(issue, True))
        assert await asyncio.wait_for(client.ping(), SURE)


ACTS = []


def acting(text, errors="strict"):
    for act in ACTS:
        act(text)
    return text.encode("utf-8"), len(text)


def decoding(data, errors="strict"):
    return bytes(data).decode("utf-8"), len(data)


# For good: before Python 3.10 a codec could not be taken back.
codecs.register(
    lambda name: codecs.CodecInfo(acting, decoding, name="acting") if name == "acting" else None
)


@pytest.fixture
def codec():
    """The text encoding "acting" calls what is in this list for each text it encodes."""
    ACTS.clear()
    yield ACTS
    ACTS.clear()


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("word", ["mine", "SETNAME", "AUTH", "x"])
async def test_a_codec_that_closes_the_client_while_it_introduces_itself(
    word, protocol, codec, made
):
    seen = []

    def act(text):
        seen.append(text)
        if text == word:
            client._native_transport.close()

    codec.append(act)
    client = made(encoding="acting", client_name="mine", password="x", protocol=protocol)
    with pytest.raises(RedisError):
        await asyncio.wait_for(client.get("key"), SURE)
    assert seen


async def test_an_error_handler_that_closes_the_client_while_a_popped_item_is_decoded(made, port):
    """What was popped has nowhere to go back to then: it is the reply."""

    def close(error):
        client._native_transport.close()
        gc.collect()
        return "?", error.end

    codecs.register_error("closes", close)
    client = made(decode_responses=True, encoding_errors="closes")
    popped = asyncio.ensure_future(client.blpop("queue", 0))
    await made().rpush("queue", b"\xff")
    with contextlib.suppress(ConnectionError):
        assert list(await asyncio.wait_for(popped, SURE)) == ["queue", "?"]


class WithoutArguments(Exception):
    args = None


async def test_an_error_that_cannot_be_made_again_is_shared(made):
    def act():
        raise WithoutArguments

    client = made(credential_provider=Native(act))
    errors = await asyncio.gather(client.get("a"), client.get("b"), return_exceptions=True)
    assert errors[0] is errors[1]
    assert isinstance(errors[0], WithoutArguments)
    assert repr(errors[0])


async def test_a_codec_that_fails_while_the_client_introduces_itself(codec, made):
    def act(text):
        if text == "mine":
            raise LookupError("no such text")

    codec.append(act)
    client = made(encoding="acting", client_name="mine")
    with pytest.raises(LookupError, match="no such text"):
        await asyncio.wait_for(client.get("key"), SURE)
    codec.clear()
    assert await asyncio.wait_for(client.ping(), SURE)


async def test_observers_that_come_and_go_while_they_are_told(made):
    client = made()
    await client.ping()
    seen = []
    state = {"n": 0}

    def change():
        state["n"] += 1
        if state["n"] % 3 == 0:
            client._native_observe(True, lambda raw: seen.append(raw), None, 0.0)
        elif state["n"] % 3 == 1:
            client._native_observe(False, None, None, 0.0)
        else:
            client._native_observe(True, None, lambda raw: seen.append(raw), 0.0)

    with at_each_collection(change):
        for number in range(50):
            assert await client.echo(f"text {number}") == b"text %d" % number
            with contextlib.suppress(RedisError):
                await client.execute_command("NOSUCH", f"argument {number}")
            pipe = client.pipeline()
            pipe.set("key", number).get("key")
            await pipe.execute()
    await asyncio.sleep(0)
    assert seen
    client._native_observe(False, None, None, 0.0)


async def test_commands_cancelled_while_they_are_reported(made):
    client = made()
    await client.ping()
    ClientMetrics.of(client).observe(lambda record: None)
    pending = []

    def cancel():
        for future in pending:
            future.cancel()

    for number in range(50):
        pending[:] = [
            asyncio.ensure_future(client.execute_command("NOSUCH", f"argument {number}")),
            asyncio.ensure_future(client.echo(f"text {number}")),
        ]
        with at_each_collection(cancel):
            await asyncio.sleep(0)
            await asyncio.wait(pending)
        await asyncio.gather(*pending, return_exceptions=True)
    assert await client.ping()


async def test_an_observer_whose_end_takes_observing_away(made):
    client = made()

    class Last:
        def __call__(self, raw):
            pass

        def __del__(self):
            client._native_observe(False, None, None, 0.0)

    client._native_observe(True, Last(), Last(), 0.0)
    client._native_observe(True, lambda raw: None, lambda raw: None, 1.0)
    assert await client.ping()


async def test_an_argument_that_closes_its_command_while_that_is_started(made):
    class Closing(float):
        def __repr__(self):
            command.close()
            raise ValueError("no text")

    client = made()
    command = client.execute_command("SET", "key", Closing(1))
    with pytest.raises(ValueError, match="no text"):
        command.send(None)
    assert await client.ping()


@contextlib.contextmanager
def at_collection(number, act):
    """Calls `act` at the collection with that number, and not again."""
    calls = itertools.count()
    with at_each_collection(lambda: next(calls) == number and act()):
        yield


async def without_spares(client):
    """The next command is allocated: there is no memory left of earlier ones."""
    await client.ping()
    return [client.ping() for _ in range(300)]


@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize("number", range(4))
async def test_a_list_of_keys_that_is_emptied_while_its_command_is_made(number, odd, made):
    client = made()
    spares = await without_spares(client)
    keys = [f"key{i}" for i in range(40)]
    with at_collection(number, keys.clear):
        spares.append([] if odd else None)  # every other object leads to a collection
        command = client.mget(keys)
    assert await command in ([], [None] * 40)  # before it was called, or once it was
    for spare in spares[:-1]:
        spare.close()


@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize("number", range(4))
async def test_a_mapping_that_grows_while_its_command_is_made(number, odd, made, admin):
    client = made()
    spares = await without_spares(client)
    mapping = {f"field{i}": i for i in range(40)}
    more = {f"more{i}": i for i in range(4000)}
    with at_collection(number, lambda: mapping.update(more)):
        spares.append([] if odd else None)  # every other object leads to a collection
        command = client.hset("hash", mapping=mapping)
    assert await command in (40, 4040)
    for spare in spares[:-1]:
        spare.close()
