"""Getting in: addresses, credentials, database, names; and what is said when it fails."""

import asyncio
import socket
import threading
import time

import pytest
import redis.asyncio.retry
from asking import protocol_of
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider, UsernamePasswordCredentialProvider
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,
    NoPermissionError,
    ResponseError,
    TimeoutError,
)

from aiecs_redis.testing import RedisServer, free_port


def once():
    """No further attempts: redis-py's default is ten."""
    return redis.asyncio.retry.Retry(NoBackoff(), 0)


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def guarded():
    """A server with passwords, users and a unix socket, that also listens on ::1."""
    config = {"bind": "127.0.0.1 ::1"} if has_ipv6() else {}
    users = {"ann": "on >ann-secret ~* &* +@all", "poor": "on >poor-secret ~allowed:* +get +hello"}
    with RedisServer(
        requirepass="s3cr et:@/", users=users, unix_socket=True, config=config
    ) as server:
        yield server


@pytest.fixture
def opened(run_plain, impl):
    """`opened(**options)`: CLIENT INFO, and "proto", of a client with these options."""

    def opened(**options):
        async def main():
            async with impl(**options) as client:
                assert await client.ping() is True
                return {**await client.client_info(), "proto": await protocol_of(client)}

        return run_plain(main)

    return opened


# --- addresses ---


def test_tcp_v4(opened, core_server):
    assert (
        opened(host="127.0.0.1", port=core_server.port)["laddr"] == f"127.0.0.1:{core_server.port}"
    )


@pytest.mark.skipif(not has_ipv6(), reason="no ::1 here")
def test_tcp_v6(opened, guarded):
    options = {"port": guarded.port, "password": guarded.requirepass}
    assert opened(host="::1", **options)["laddr"] == f"[::1]:{guarded.port}"


def test_host_name(opened, core_server):
    """Whichever of its addresses comes first, one is served."""
    assert opened(host="localhost", port=core_server.port)["laddr"].endswith(f":{core_server.port}")


def test_unix_socket(opened, guarded):
    info = opened(unix_socket_path=guarded.socket_path, password=guarded.requirepass)
    assert info["laddr"] == f"{guarded.socket_path}:0"


@pytest.mark.parametrize("protocol", [2, 3])
def test_protocol(opened, port, protocol):
    assert opened(port=port, protocol=protocol)["proto"] == protocol


def test_from_url(run_plain, impl, guarded):
    async def main():
        for url in (
            f"redis://:s3cr%20et%3A%40%2F@127.0.0.1:{guarded.port}/3",
            f"redis://ann:ann-secret@localhost:{guarded.port}?db=3&client_name=url",
            f"unix://ann:ann-secret@{guarded.socket_path}?db=3",
        ):
            async with impl.from_url(url, decode_responses=True) as client:
                assert (await client.client_info())["db"] == 3
                assert await client.echo("x") == "x"

    run_plain(main)


# --- credentials ---


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize(
    "credentials",
    [
        {"password": "s3cr et:@/"},
        {"username": "default", "password": "s3cr et:@/"},
        {"username": "ann", "password": "ann-secret"},
        {"credential_provider": UsernamePasswordCredentialProvider("ann", "ann-secret")},
    ],
    ids=["password", "default", "user", "provider"],
)
def test_credentials(opened, guarded, credentials, protocol):
    info = opened(port=guarded.port, protocol=protocol, **credentials)
    expected = "default" if credentials.get("password") == "s3cr et:@/" else "ann"
    assert info["user"] == expected
    assert info["proto"] == protocol


def test_credential_provider_is_asked_for_each_connection(run_plain, impl, guarded):
    class Provider(CredentialProvider):
        asked = 0

        def get_credentials(self):
            raise AssertionError("the asynchronous one is there")

        async def get_credentials_async(self):
            await asyncio.sleep(0)
            self.asked += 1
            return ("ann", "ann-secret")

    async def main():
        provider = Provider()
        async with impl(port=guarded.port, credential_provider=provider) as client:
            assert await client.acl_whoami() == "ann"
            assert provider.asked == 1
            with guarded.connect() as admin:
                admin.client_kill_filter(_id=await client.client_id())
            await asyncio.sleep(0.01)
            assert await client.acl_whoami() == "ann"
            assert provider.asked == 2

    run_plain(main)


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize(
    "credentials",
    [
        {"password": "wrong"},
        {"username": "ann", "password": "wrong"},
        {"username": "nobody", "password": "x"},
    ],
    ids=["password", "user", "nobody"],
)
def test_wrong_password(run_plain, impl, guarded, credentials, protocol):
    async def main():
        client = impl(port=guarded.port, protocol=protocol, retry=once(), **credentials)
        for _ in range(2):
            with pytest.raises(
                AuthenticationError, match="invalid username-password pair"
            ) as caught:
                await client.ping()
            assert "wrong" not in str(caught.value)
        await client.aclose()

    run_plain(main)


def test_wrong_password_fails_every_waiting_command(run_plain, connect_guarded):
    async def main():
        client = connect_guarded(password="wrong", retry=once())
        results = await asyncio.gather(*(client.ping() for _ in range(5)), return_exceptions=True)
        assert [type(result) for result in results] == [AuthenticationError] * 5
        await client.aclose()

    run_plain(main)


@pytest.fixture
def connect_guarded(native, guarded):
    return lambda **options: native(port=guarded.port, **options)


def test_no_password(run_plain, impl, guarded):
    async def main():
        client = impl(port=guarded.port, retry=once())
        with pytest.raises(AuthenticationError):
            await client.ping()
        await client.aclose()

    run_plain(main)


def test_password_where_none_is_needed(run_plain, impl, port):
    async def main():
        client = impl(port=port, password="unneeded", protocol=2, retry=once())
        with pytest.raises(AuthenticationError):
            await client.ping()
        await client.aclose()

    run_plain(main)


def test_no_permission(run_plain, impl, guarded):
    async def main():
        options = {"username": "poor", "password": "poor-secret", "retry": once()}
        async with impl(port=guarded.port, **options) as client:
            assert await client.get("allowed:key") is None
            for command in (client.get("other"), client.incr("allowed:key")):
                with pytest.raises(NoPermissionError):
                    await command

    run_plain(main)


# --- database and names ---


def test_database(opened, port):
    assert opened(port=port, db=7)["db"] == 7
    assert opened(port=port, db="7", protocol=2)["db"] == 7


def test_database_out_of_range(run_plain, impl, port):
    async def main():
        client = impl(port=port, db=99, retry=once())
        with pytest.raises(ResponseError, match="DB index is out of range"):
            await client.ping()
        await client.aclose()

    run_plain(main)


def test_client_name(opened, port):
    assert opened(port=port, client_name="tester")["name"] == "tester"
    assert opened(port=port)["name"] == ""


def test_library_name(opened, port):
    """That of redis-py, as with redis-py. Redis 7.2 has CLIENT SETINFO; an older one refuses it,
    which does no harm."""
    info = opened(port=port)
    if "lib-name" in info:
        assert info["lib-name"] == "redis-py"
        assert info["lib-ver"] == redis.__version__


def test_every_connection_is_set_up(run_plain, connect_native, blocked, admin):
    """Also those for blocking commands."""

    async def main():
        async with connect_native(db=3, client_name="tester") as client:
            waiting = [asyncio.ensure_future(client.blpop("list", 30)) for _ in range(3)]
            await client.ping()
            await blocked(3)
            ours = [each for each in admin.client_list() if each["name"] == "tester"]
            assert len(ours) >= 4
            assert {each["db"] for each in ours} == {"3"}
            for future in waiting:
                future.cancel()

    run_plain(main)


# --- socket options ---


@pytest.mark.parametrize(
    "options",
    [
        {"socket_keepalive": True, "socket_keepalive_options": {socket.TCP_KEEPIDLE: 77}},
        {"socket_keepalive": True, "socket_keepalive_options": None},
        {"socket_keepalive": False},
        {"socket_keepalive": True},
    ],
)
def test_keepalive_options_are_taken(opened, port, options):
    assert opened(port=port, protocol=3, **options)["proto"] == 3


# --- failures ---


def test_server_down(run_plain, impl):
    port = free_port()

    async def main():
        client = impl(host="127.0.0.1", port=port, retry=once())
        started = time.monotonic()
        for _ in range(2):
            with pytest.raises(ConnectionError) as caught:
                await client.ping()
            assert type(caught.value) is ConnectionError
            assert str(caught.value).startswith(f"Error 111 connecting to 127.0.0.1:{port}.")
        assert time.monotonic() - started < 2
        await client.aclose()

    run_plain(main)


def test_server_down_fails_every_waiting_command(run_plain, connect_native, native):
    port = free_port()

    async def main():
        client = native(port=port, host="127.0.0.1", retry=once())
        results = await asyncio.gather(*(client.ping() for _ in range(5)), return_exceptions=True)
        assert [type(result) for result in results] == [ConnectionError] * 5
        await client.aclose()

    run_plain(main)


def test_unix_socket_missing(run_plain, impl, tmp_path):
    path = str(tmp_path / "missing.sock")

    async def main():
        client = impl(unix_socket_path=path, retry=once())
        with pytest.raises(ConnectionError, match="Error 2 connecting to") as caught:
            await client.ping()
        assert path in str(caught.value)
        await client.aclose()

    run_plain(main)


def test_unknown_host(run_plain, impl):
    async def main():
        client = impl(host="no-such-host.invalid", retry=once())
        with pytest.raises(ConnectionError, match=r"connecting to no-such-host\.invalid:6379"):
            await client.ping()
        await client.aclose()

    run_plain(main)


def test_the_loop_runs_while_a_name_is_looked_up(run_plain, native, monkeypatch):
    original = socket.getaddrinfo
    loop_ran = threading.Event()
    looked_up = []

    def slow(host, *args, **options):
        if host == "slow.invalid":
            looked_up.append(loop_ran.wait(10))
        return original(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)

    async def main():
        client = native(host="slow.invalid", retry=once())
        future = asyncio.ensure_future(client.ping())
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert not future.done()
        loop_ran.set()
        with pytest.raises(ConnectionError):
            await future
        assert looked_up == [True]
        await client.aclose()

    run_plain(main)


ENTRY = (socket.AF_INET, socket.SOCK_STREAM, 6, "")


@pytest.mark.parametrize(
    "entries", [tuple, list, iter, lambda entries: [[*entry[:4], [*entry[4]]] for entry in entries]]
)
def test_a_replaced_getaddrinfo(entries, run_plain, native, port, monkeypatch):
    found = [(*ENTRY, ("127.0.0.1", port)), (*ENTRY, ("127.0.0.1", port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: entries(found))

    async def main():
        client = native(host="replaced.invalid", port=port, retry=once())
        assert await client.ping()
        await client.aclose()

    run_plain(main)


@pytest.mark.parametrize(
    "found",
    [
        None,
        (None,),
        [()],
        [(*ENTRY, None)],
        [(*ENTRY, ())],
        [(*ENTRY, (7, 6379))],
        [(*ENTRY, ("\udc80", 6379))],
    ],
)
def test_a_replaced_getaddrinfo_that_gives_no_addresses(found, run_plain, native, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found)

    async def main():
        client = native(host="replaced.invalid", retry=once())
        with pytest.raises((TypeError, IndexError, UnicodeError)):
            await client.ping()
        await client.aclose()

    run_plain(main)


@pytest.fixture
def silent():
    """A port that takes connections, and never says anything."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_connect_timeout(run_plain, impl, silent):
    """It covers the handshake as well."""

    async def main():
        client = impl(
            port=silent,
            host="127.0.0.1",
            socket_connect_timeout=0.1,
            socket_timeout=0.1,
            retry=once(),
        )
        started = time.monotonic()
        with pytest.raises((TimeoutError, ConnectionError)) as caught:
            await client.ping()
        assert "imed out" in str(caught.value) or "imeout" in str(caught.value)
        assert 0.05 < time.monotonic() - started < 2
        await client.aclose()

    run_plain(main)


def test_connect_timeout_to_a_full_backlog(run_plain, native):
    """The SYN is not answered: the three-way handshake itself hangs."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            fillers.append(filler)
        time.sleep(0.01)

        async def main():
            client = native(port=port, host="127.0.0.1", socket_connect_timeout=0.1, retry=once())
            started = time.monotonic()
            with pytest.raises((TimeoutError, ConnectionError)):
                await client.ping()
            assert 0.05 < time.monotonic() - started < 2
            await client.aclose()

        try:
            run_plain(main)
        finally:
            for filler in fillers:
                filler.close()


@pytest.mark.parametrize(
    "greeting",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"",
        b"+OK\r\n+OK\r\nrubbish\r\n",
        b"$-7\r\n",
        b"\x15\x03\x01",
    ],
    ids=repr,
)
def test_what_is_no_redis(run_plain, native, greeting):
    """Not a hang, not a crash: a ConnectionError or InvalidResponse."""

    async def answer(reader, writer):
        await reader.read(100)
        writer.write(greeting)
        writer.close()

    async def main():
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        client = native(port=port, host="127.0.0.1", socket_timeout=1, retry=once())
        with pytest.raises(redis.exceptions.RedisError):
            await asyncio.wait_for(client.get("key"), 5)
        await client.aclose()
        server.close()
        await server.wait_closed()

    run_plain(main)


def test_no_secret_in_errors(run_plain, native):
    port = free_port()

    async def main():
        client = native(
            port=port, host="127.0.0.1", username="ann", password="top-secret", retry=once()
        )
        with pytest.raises(ConnectionError) as caught:
            await client.ping()
        assert "top-secret" not in str(caught.value) + repr(caught.value)
        await client.aclose()

    run_plain(main)


# --- old servers ---


class OldServer:
    """The handshake of a server of version 5: no HELLO, AUTH with a password only."""

    def __init__(self, password=None):
        self.password, self.seen, self.open = password, [], 0

    async def done(self):
        while self.open:
            await asyncio.sleep(0.001)

    async def serve(self, reader, writer):
        self.open += 1
        authenticated = self.password is None
        while True:
            line = await reader.readline()
            if not line:
                writer.close()
                self.open -= 1
                return
            args = []
            for _ in range(int(line[1:])):
                size = int((await reader.readline())[1:])
                args.append((await reader.readexactly(size + 2))[:-2])
            self.seen.append(args)
            name = args[0].upper()
            if name == b"AUTH" and len(args) == 3:
                writer.write(b"-ERR wrong number of arguments for 'auth' command\r\n")
            elif name == b"AUTH":
                authenticated = args[1] == self.password
                writer.write(b"+OK\r\n" if authenticated else b"-ERR invalid password\r\n")
            elif name in (b"HELLO", b"CLIENT"):
                writer.write(b"-ERR unknown command\r\n")
            elif not authenticated:
                writer.write(b"-NOAUTH Authentication required.\r\n")
            elif name == b"SELECT":
                writer.write(b"+OK\r\n")
            elif name == b"GET":
                writer.write(b"$-1\r\n")
            elif name == b"HGETALL":
                writer.write(b"*2\r\n$1\r\nf\r\n$1\r\nv\r\n")
            else:
                writer.write(b"+PONG\r\n")


@pytest.mark.parametrize(
    ("options", "password"),
    [
        ({}, None),
        ({"db": 2}, None),
        ({"protocol": 3}, None),
        ({"password": "pw"}, b"pw"),
        ({"username": "default", "password": "pw", "db": 2}, b"pw"),
        ({"client_name": None, "protocol": 2, "password": "pw"}, b"pw"),
    ],
)
def test_server_without_hello(run_plain, native, options, password):
    async def main():
        old = OldServer(password)
        server = await asyncio.start_server(old.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        client = native(host="127.0.0.1", port=port, retry=once(), **options)
        assert await client.ping() is True
        assert await client.get("key") is None
        assert await client.hgetall("key") == {b"f": b"v"}
        assert ([b"SELECT", b"2"] in old.seen) == ("db" in options)
        await client.aclose()
        server.close()
        await old.done()

    run_plain(main)


def test_wrong_password_at_a_server_without_hello(run_plain, native):
    async def main():
        old = OldServer(b"pw")
        server = await asyncio.start_server(old.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        client = native(host="127.0.0.1", port=port, password="wrong", retry=once())
        with pytest.raises(AuthenticationError):
            await client.ping()
        await client.aclose()
        server.close()
        await old.done()

    run_plain(main)
