"""Every argument of redis-py's constructors: honoured by the native client, or plainly refused.

Each argument has a proof, a coroutine that observes its effect on a real server. An argument of a
new redis-py that has none fails here, so that nobody's setting is ignored in silence.
"""

import asyncio
import contextlib
import inspect
import os
import re
import socket
import ssl
import subprocess

import pytest
import redis.asyncio
from asking import protocol_of
from redis._parsers import Encoder, _AsyncRESP3Parser
from redis.asyncio import connection as connections
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.event import (
    AfterPooledConnectionsInstantiationEvent,
    AsyncAfterConnectionReleasedEvent,
    AsyncEventListenerInterface,
    EventDispatcher,
    EventListenerInterface,
)
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError,
    RedisError,
    ResponseError,
    TimeoutError,
)
from waiting import until

import aiecs_redis
from aiecs_redis import _options
from aiecs_redis.testing import RedisServer

CIPHER = "ECDHE-ECDSA-AES128-GCM-SHA256"
CONSTRUCTORS = [
    redis.asyncio.Redis,
    connections.AbstractConnection,
    connections.Connection,
    connections.SSLConnection,
    connections.UnixDomainSocketConnection,
    connections.ConnectionPool,
    connections.BlockingConnectionPool,
]


def arguments_of(function):
    kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    parameters = inspect.signature(function).parameters.items()
    return {name for name, parameter in parameters if parameter.kind in kinds} - {"self"}


ARGUMENTS = {name for cls in CONSTRUCTORS for name in arguments_of(cls.__init__)}
URL_OPTIONS = set(connections.URL_QUERY_ARGUMENT_PARSERS)
PROOFS = {}


def proves(*names):
    def register(proof):
        PROOFS.update(dict.fromkeys(names, proof))
        return proof

    return register


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # some arguments are
@pytest.mark.parametrize("name", sorted(ARGUMENTS))
async def test_argument(name, case):
    assert name in PROOFS, f"redis-py has an argument {name} that nothing here knows"
    await PROOFS[name](case)


# ------------------------------------------------------------------- the setting


@pytest.fixture(scope="module")
def plain():
    """Without TLS; with a user, a unix socket, and DEBUG."""
    with RedisServer(
        unix_socket=True,
        users={"ann": "on >secret ~* &* +@all"},
        debug_command=True,
    ) as server:
        yield server


@pytest.fixture(scope="module")
def secure():
    """TLS 1.2 with one cipher; asks for a client certificate."""
    config = {"tls-protocols": "TLSv1.2", "tls-ciphers": CIPHER}
    with RedisServer(tls=True, tls_auth_clients=True, config=config) as server:
        yield server


@pytest.fixture(scope="module")
def impostor():
    """Shows a certificate for another host; TLS 1.3."""
    with RedisServer(tls=True, certificate="wrong-host") as server:
        yield server


class Case:
    def __init__(self, plain, request, tmp_path):
        self.server = plain
        self.request = request
        self.tmp_path = tmp_path
        self.admin = plain.connect(decode_responses=True)
        self.admin.flushall()
        self.admin.config_resetstat()

    @contextlib.asynccontextmanager
    async def client(self, native=True, made=None, **options):
        """A client that is connected; the proof is about the native one unless told."""
        where = {"host": "127.0.0.1", "port": self.server.port}
        client = made or aiecs_redis.Redis(**{**where, **options})
        try:
            assert await client.ping()
            assert client._native_ready is native
            transport = client._native_transport
            assert (transport is not None and transport.stats()["connects"] > 0) is native
            yield client
        finally:
            await client.aclose()
            await client.connection_pool.disconnect()

    async def info(self, **options):
        """What the server says of the connection of a client with these options."""
        async with self.client(**options) as client:
            return await client.client_info()

    async def protocol(self, **options):
        async with self.client(**options) as client:
            return await protocol_of(client)

    def secure(self, **options):
        server = self.request.getfixturevalue("secure")
        return {**server.kwargs, "retry": once(), **options}

    def impostor(self, **options):
        server = self.request.getfixturevalue("impostor")
        return {**server.kwargs, "retry": once(), **options}

    def calls(self, command):
        return self.admin.info("commandstats").get(f"cmdstat_{command}", {}).get("calls", 0)


@pytest.fixture
def case(plain, request, tmp_path):
    case = Case(plain, request, tmp_path)
    yield case
    case.admin.close()


def once():
    return Retry(NoBackoff(), 0)


async def fails(case, error, match=None, **options):
    with pytest.raises(error, match=match):
        async with case.client(**options):
            pass


@contextlib.asynccontextmanager
async def own_socket(client):
    """The socket of a native client's connection, duplicated."""
    host, _, port = (await client.client_info())["addr"].rpartition(":")
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            with socket.socket(fileno=os.dup(int(name))) as found:
                if found.getsockname()[:2] == (host, int(port)):
                    yield found
                    return
    raise AssertionError("no such socket")


class Relay:
    """Passes on to a server, and keeps what the client has said."""

    def __init__(self, port):
        self.port = port
        self.said = b""

    async def __aenter__(self):
        self.listener = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.where = {"host": "127.0.0.1", "port": self.listener.sockets[0].getsockname()[1]}
        return self

    async def __aexit__(self, *exc_info):
        self.listener.close()

    async def serve(self, reader, writer):
        answers, questions = await asyncio.open_connection("127.0.0.1", self.port)

        async def copy(source, target, keep):
            while data := await source.read(65536):
                if keep:
                    self.said += data
                target.write(data)
            target.close()

        await asyncio.gather(copy(reader, questions, True), copy(answers, writer, False))


async def greeting(case, **options):
    """The words with which a client introduces itself."""
    async with Relay(case.server.port) as relay:
        async with case.client(**relay.where, **options):
            pass
        return re.findall(rb"\r\n\$\d+\r\n([^\r]*)", relay.said)


# --------------------------------------------------------------------- where to


@proves("host")
async def host(case):
    assert (await case.info(host="127.0.0.1"))["addr"].startswith("127.0.0.1:")
    await fails(case, ConnectionError, r"127\.0\.0\.2", host="127.0.0.2", retry=once())


@proves("port")
async def port(case):
    assert (await case.info())["laddr"] == f"127.0.0.1:{case.server.port}"
    assert (await case.info(port=str(case.server.port)))["laddr"].endswith(str(case.server.port))
    await fails(case, ConnectionError, "connecting to 127.0.0.1:1", port=1, retry=once())


@proves("db")
async def db(case):
    assert (await case.info(db=3))["db"] == 3
    assert (await case.info(db="4"))["db"] == 4


@proves("unix_socket_path", "path")
async def unix_socket_path(case):
    path = case.server.socket_path
    assert (await case.info(unix_socket_path=path))["laddr"] == f"{path}:0"
    pool = redis.asyncio.ConnectionPool(
        connection_class=connections.UnixDomainSocketConnection, path=path
    )
    async with case.client(made=aiecs_redis.Redis(connection_pool=pool)) as client:
        assert (await client.client_info())["laddr"] == f"{path}:0"


@proves("socket_type")
async def socket_type(case):
    """redis-py keeps it, and uses it nowhere."""
    source = inspect.getsource(connections)
    assert source.count("self.socket_type") == source.count("self.socket_type = socket_type") == 1
    pool = redis.asyncio.ConnectionPool(host="127.0.0.1", port=case.server.port, socket_type=1)
    async with case.client(made=aiecs_redis.Redis(connection_pool=pool)):
        pass


# ------------------------------------------------------------------- who one is


@proves("username", "password")
async def username(case):
    async with case.client(username="ann", password="secret") as client:
        assert await client.acl_whoami() == "ann"
    await fails(case, ConnectionError, username="ann", password="wrong", retry=once())


@proves("credential_provider")
async def credential_provider(case):
    class Provider(CredentialProvider):
        async def get_credentials_async(self):
            return "ann", "secret"

    async with case.client(credential_provider=Provider()) as client:
        assert await client.acl_whoami() == "ann"
    with pytest.raises(RedisError, match="cannot be passed along"):
        aiecs_redis.Redis(password="x", credential_provider=Provider())


@proves("client_name")
async def client_name(case):
    assert (await case.info(client_name="somebody"))["name"] == "somebody"


@proves("lib_name", "lib_version")
async def lib_name(case):
    said = await greeting(case, lib_name="a-library", lib_version="1.2.3")
    assert said[said.index(b"LIB-NAME") :][:2] == [b"LIB-NAME", b"a-library"]
    assert said[said.index(b"LIB-VER") :][:2] == [b"LIB-VER", b"1.2.3"]


@proves("driver_info")
async def driver_info(case):
    info = redis.DriverInfo(name="lib", lib_version="7").add_upstream_driver("above", "2.0")
    said = await greeting(case, driver_info=info)
    assert said[said.index(b"LIB-NAME") + 1] == info.formatted_name.encode()
    assert said[said.index(b"LIB-VER") + 1] == b"7"
    without = await greeting(case, driver_info=None)
    if redis.__version__ in ("7.2.0", "7.2.1", "7.3.0", "7.4.0"):  # None is nothing said to them
        assert without[without.index(b"LIB-NAME") + 1] == b"redis-py"
    else:
        assert b"LIB-NAME" not in without


# -------------------------------------------------------------------- the socket


@proves("socket_timeout")
async def socket_timeout(case):
    async with case.client(socket_timeout=0.2, retry=once()) as client:
        with pytest.raises(TimeoutError):
            await client.execute_command("DEBUG", "SLEEP", "0.6")
    async with case.client(socket_timeout=None) as client:
        assert await client.execute_command("DEBUG", "SLEEP", "0.3") == b"OK"
    for wrong in (0, -1, "5", True):
        with pytest.raises(ValueError, match=f"socket_timeout={wrong!r}: give a number of seconds"):
            aiecs_redis.Redis(socket_timeout=wrong)


@proves("socket_connect_timeout")
async def socket_connect_timeout(case):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        options = {"port": silent.getsockname()[1], "socket_timeout": None, "retry": once()}
        await asyncio.wait_for(
            fails(case, (TimeoutError, ConnectionError), socket_connect_timeout=0.1, **options), 10
        )
    with pytest.raises(ValueError, match="socket_connect_timeout=0"):
        aiecs_redis.Redis(socket_connect_timeout=0)


@proves("socket_read_size")
async def socket_read_size(case):
    """How much redis-py reads at once, which changes nothing that is read; ours reads 64 KiB."""
    pool = redis.asyncio.ConnectionPool(host="127.0.0.1", port=case.server.port, socket_read_size=7)
    async with case.client(made=aiecs_redis.Redis(connection_pool=pool)) as client:
        await client.set("large", b"x" * 1_000_000)
        assert await client.get("large") == b"x" * 1_000_000


@proves("socket_keepalive", "socket_keepalive_options")
async def socket_keepalive(case):
    options = {socket.TCP_KEEPIDLE: 77, socket.TCP_KEEPCNT: 4}
    async with case.client(socket_keepalive=True, socket_keepalive_options=options) as client:
        async with own_socket(client) as found:
            assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            for option, value in options.items():
                assert found.getsockopt(socket.IPPROTO_TCP, option) == value
    async with case.client(socket_keepalive=False) as client:
        async with own_socket(client) as found:
            assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0


@proves("health_check_interval")
async def health_check_interval(case):
    async with case.client(health_check_interval=0.05):
        before = case.calls("ping")
        await until(lambda: case.calls("ping") >= before + 2)


# ----------------------------------------------------------------------- the text


@proves("encoding")
async def encoding(case):
    async with case.client(encoding="utf-16-le") as client:
        await client.set("key", "ä")
    with case.server.connect() as reader:
        assert reader.get("key".encode("utf-16-le")) == "ä".encode("utf-16-le")


@proves("encoding_errors")
async def encoding_errors(case):
    case.admin.set("key", b"a\xff")
    async with case.client(decode_responses=True, encoding_errors="replace") as client:
        assert await client.get("key") == "a\N{REPLACEMENT CHARACTER}"
    async with case.client(decode_responses=True) as client:
        with pytest.raises(UnicodeDecodeError):
            await client.get("key")


@proves("decode_responses")
async def decode_responses(case):
    async with case.client(decode_responses=True) as client:
        assert await client.echo("ä") == "ä"
    async with case.client(decode_responses=False) as client:
        assert await client.echo("ä") == "ä".encode()


@proves("encoder_class")
async def encoder_class(case):
    """An encoder of the user's own is redis-py's to call."""

    class Shouting(Encoder):
        def encode(self, value):
            return super().encode(value).upper()

    for cls, native, said in ((Encoder, True, b"hello"), (Shouting, False, b"HELLO")):
        pool = redis.asyncio.ConnectionPool(
            host="127.0.0.1", port=case.server.port, encoder_class=cls
        )
        made = aiecs_redis.Redis(connection_pool=pool)
        async with case.client(native=native, made=made) as client:
            assert await client.echo("hello") == said
            assert await client.pipeline().echo("hello").execute() == [said]


@proves("parser_class")
async def parser_class(case):
    """A parser of the user's own is redis-py's to call; redis-py's all read the same."""
    read = []

    class Watching(_AsyncRESP3Parser):
        async def read_response(self, *args, **kwargs):
            read.append(await super().read_response(*args, **kwargs))
            return read[-1]

    for cls, native in ((_AsyncRESP3Parser, True), (Watching, False)):
        pool = redis.asyncio.ConnectionPool(
            host="127.0.0.1", port=case.server.port, parser_class=cls, protocol=3
        )
        made = aiecs_redis.Redis(connection_pool=pool)
        async with case.client(native=native, made=made) as client:
            assert await client.echo("hello") == b"hello"
    assert b"hello" in read


@proves("protocol")
async def protocol(case):
    assert await case.protocol(protocol=3) == 3
    assert await case.protocol(protocol=2) == 2
    with pytest.raises(ConnectionError, match="protocol must be"):
        aiecs_redis.Redis(protocol=4)


@proves("legacy_responses")
async def legacy_responses(case):
    by_setting = []
    for legacy in (True, False):
        found = []
        for cls in (redis.asyncio.Redis, aiecs_redis.Redis):
            options = {"protocol": 3, "legacy_responses": legacy}
            async with cls(host="127.0.0.1", port=case.server.port, **options) as client:
                await client.zadd("zset", {"a": 1, "b": 2})
                scores = await client.zrange("zset", 0, -1, withscores=True)
                found.append((await client.acl_users(), scores, await client.config_get("port")))
        assert found[0] == found[1]
        by_setting.append(found[1])
    assert by_setting[0] != by_setting[1]


# ------------------------------------------------------------------- the retries


@proves("retry")
async def retry(case):
    async with case.client(retry=Retry(NoBackoff(), 3, (BusyLoadingError,))) as client:
        with pytest.raises(BusyLoadingError):
            await client.eval("return redis.error_reply('LOADING in a test')", 0)
        assert case.calls("eval") == 4


@proves("retry_on_error")
async def retry_on_error(case):
    options = {"retry": Retry(NoBackoff(), 2), "retry_on_error": [ResponseError]}
    async with case.client(**options) as client:
        with pytest.raises(ResponseError, match="a test"):
            await client.eval("return redis.error_reply('ERR a test')", 0)
        assert case.calls("eval") == 3


@proves("retry_on_timeout")
async def retry_on_timeout(case):
    case.admin.set("key", "value")
    for options in ({"retry_on_timeout": True}, {"retry_on_timeout": False}):
        async with case.client(socket_timeout=0.6, **options) as client:
            case.admin.execute_command("CLIENT", "PAUSE", "900", "ALL")
            if options["retry_on_timeout"]:
                assert await client.get("key") == b"value"
            else:
                with pytest.raises(TimeoutError):
                    await client.get("key")
        case.admin.execute_command("CLIENT", "UNPAUSE")


# ---------------------------------------------------------------------- the pool


@proves("connection_pool")
async def connection_pool(case):
    pool = redis.asyncio.ConnectionPool(port=case.server.port, client_name="the-pool")
    async with case.client(made=aiecs_redis.Redis(connection_pool=pool)) as client:
        assert (await client.client_info())["name"] == "the-pool"


@proves("connection_class")
async def connection_class(case):
    class Own(connections.Connection):
        pass

    for cls, native in ((connections.Connection, True), (Own, False)):
        pool = redis.asyncio.ConnectionPool(
            connection_class=cls, host="127.0.0.1", port=case.server.port
        )
        async with case.client(native=native, made=aiecs_redis.Redis(connection_pool=pool)):
            pass


@proves("max_connections")
async def max_connections(case):
    async with case.client(max_connections=3, client_name="counted") as client:
        waiting = [asyncio.ensure_future(client.blpop("nothing", 30)) for _ in range(6)]
        await until(lambda: case.admin.info("clients")["blocked_clients"] >= 2)
        assert await client.ping()
        names = [found["name"] for found in case.admin.client_list()]
        assert names.count("counted") == 3
        for future in waiting:
            future.cancel()
    with pytest.raises(ValueError, match="positive integer"):
        aiecs_redis.Redis(max_connections=-1)


@proves("timeout")
async def timeout(case):
    """Of BlockingConnectionPool."""
    for seconds in (0.1, None):
        pool = redis.asyncio.BlockingConnectionPool(
            port=case.server.port, max_connections=2, timeout=seconds
        )
        async with case.client(made=aiecs_redis.Redis(connection_pool=pool)) as client:
            first = asyncio.ensure_future(client.blpop("nothing", 0.6))
            await asyncio.sleep(0)
            if seconds is None:
                assert await client.blpop("nothing", 0.1) is None
            else:
                with pytest.raises(ConnectionError, match="No connection available"):
                    await client.blpop("nothing", 0.1)
            assert await first is None


@proves("queue_class")
async def queue_class(case):
    """redis-py takes it, and uses it nowhere."""
    source = inspect.getsource(connections.BlockingConnectionPool)
    assert "self.queue_class" not in source and "queue_class(" not in source
    pool = redis.asyncio.BlockingConnectionPool(port=case.server.port, queue_class=asyncio.Queue)
    async with case.client(made=aiecs_redis.Redis(connection_pool=pool)):
        pass


@proves("single_connection_client")
async def single_connection_client(case):
    """One connection, redis-py's own, for everything."""
    options = {"single_connection_client": True, "client_name": "single"}
    async with case.client(native=False, **options) as client:
        await client.select(5)
        assert (await client.client_info())["db"] == 5
        assert await client.blpop("nothing", 0.05) is None
        names = [found["name"] for found in case.admin.client_list()]
        assert names.count("single") == 1


@proves("auto_close_connection_pool")
async def auto_close_connection_pool(case):
    for auto in (True, False):
        with pytest.deprecated_call():
            client = aiecs_redis.Redis(port=case.server.port, auto_close_connection_pool=auto)
        connection = await client.connection_pool.get_connection()
        await client.connection_pool.release(connection)
        await client.ping()
        await client.aclose()
        assert connection.is_connected is not auto
        await client.connection_pool.disconnect()


@proves("redis_connect_func")
async def redis_connect_func(case):
    """It is handed redis-py's connection: such pools have no others."""
    connected = []

    async def connect(connection):
        connected.append(connection)
        await connection.on_connect()

    async with case.client(native=False, redis_connect_func=connect) as client:
        assert await client.echo("hello") == b"hello"
        assert await client.pipeline().echo("hello").execute() == [b"hello"]
    assert connected
    assert all(isinstance(found, connections.Connection) for found in connected)


@proves("event_dispatcher")
async def event_dispatcher(case):
    """A listener for released connections has redis-py's: ours are never handed out."""
    told = []

    class Listener(EventListenerInterface):
        def listen(self, event):
            told.append(event.connection_pools)

    class ReleaseListener(AsyncEventListenerInterface):
        async def listen(self, event):
            told.append(event.connection)

    dispatcher = EventDispatcher({AfterPooledConnectionsInstantiationEvent: [Listener()]})
    async with case.client(event_dispatcher=dispatcher) as client:
        assert told == [[client.connection_pool]]
        assert client._event_dispatcher is dispatcher
    told.clear()
    quiet, loud = EventDispatcher(), EventDispatcher()
    loud.register_listeners({AsyncAfterConnectionReleasedEvent: [ReleaseListener()]})
    for given, native in ((quiet, True), (loud, False)):
        pool = redis.asyncio.ConnectionPool(port=case.server.port, event_dispatcher=given)
        async with case.client(native=native, made=aiecs_redis.Redis(connection_pool=pool)):
            assert bool(told) is not native


@proves("himport_registry")
async def himport_registry(case):
    """HIMPORT goes redis-py's way, and finds it there."""
    from redis.himport import HImportRegistry

    registry = HImportRegistry()
    pool = redis.asyncio.ConnectionPool(port=case.server.port, himport_registry=registry)
    async with case.client(made=aiecs_redis.Redis(connection_pool=pool)) as client:
        assert client.connection_pool.himport_registry is registry
        with pytest.raises(ResponseError, match="unknown command"):  # before Redis 8.8
            await client.execute_command("HIMPORT", "SET", "key", "fields", "value")
        assert client.connection_pool._available_connections


@proves(
    "maint_notifications_config",
    # What follows is not the user's: redis-py's pools hand it to their connections.
    "maint_notifications_pool_handler",
    "maintenance_state",
    "maintenance_notification_hash",
    "orig_host_address",
    "orig_socket_timeout",
    "orig_socket_connect_timeout",
    "oss_cluster_maint_notifications_handler",
)
async def maint_notifications_config(case):
    """Asked for, it is redis-py's own connections that serve it; "auto" means: if they come."""
    from redis.maint_notifications import MaintNotificationsConfig

    for enabled in ("auto", False):
        config = MaintNotificationsConfig(enabled=enabled)
        async with case.client(maint_notifications_config=config, protocol=3):
            pass
    config = MaintNotificationsConfig(enabled=True)
    client = aiecs_redis.Redis(
        port=case.server.port, maint_notifications_config=config, protocol=3, retry=once()
    )
    with pytest.raises(RedisError, match=r"(?i)maint|unknown subcommand"):  # as Redis 7.0 has none
        await client.ping()
    assert not client._native_ready
    await client.aclose()


# ------------------------------------------------------------------------- TLS


@proves("ssl", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
async def tls(case):
    async with case.client(**case.secure()) as client:
        assert await client.echo("hello") == b"hello"
    for missing in ("ssl_ca_certs", "ssl_certfile"):
        options = case.secure()
        options.pop(missing)
        if missing == "ssl_certfile":
            options.pop("ssl_keyfile")
        await fails(case, ConnectionError, **options)
    await fails(case, (ConnectionError, TimeoutError), **case.secure(ssl=False, socket_timeout=2))


@proves("ssl_cert_reqs")
async def ssl_cert_reqs(case):
    options = case.secure()
    options.pop("ssl_ca_certs")
    for requirement in ("none", ssl.CERT_NONE):
        async with case.client(**options, ssl_cert_reqs=requirement, ssl_check_hostname=False):
            pass
    await fails(case, ConnectionError, "verify failed", **options, ssl_cert_reqs="required")
    with pytest.raises(RedisError, match="Invalid SSL Certificate Requirements Flag: maybe"):
        aiecs_redis.Redis(ssl=True, ssl_cert_reqs="maybe")


@proves("ssl_check_hostname")
async def ssl_check_hostname(case):
    await fails(case, ConnectionError, **case.impostor(ssl_check_hostname=True))
    async with case.client(**case.impostor(ssl_check_hostname=False)):
        pass


@proves("ssl_include_verify_flags", "ssl_exclude_verify_flags")
async def ssl_verify_flags(case):
    """To look for a revocation list, when there is none, fails."""
    flags = [ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF]
    await fails(case, ConnectionError, **case.secure(ssl_include_verify_flags=flags))
    async with case.client(
        **case.secure(ssl_include_verify_flags=flags, ssl_exclude_verify_flags=flags)
    ):
        pass


@proves("ssl_ca_data")
async def ssl_ca_data(case):
    options = case.secure()
    with open(options.pop("ssl_ca_certs")) as file:
        async with case.client(**options, ssl_ca_data=file.read()):
            pass


@proves("ssl_ca_path")
async def ssl_ca_path(case):
    options = case.secure()
    authority = options.pop("ssl_ca_certs")
    command = ["openssl", "x509", "-hash", "-noout", "-in", authority]
    digest = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    os.symlink(authority, case.tmp_path / f"{digest}.0")
    async with case.client(**options, ssl_ca_path=str(case.tmp_path)):
        pass
    await fails(case, ConnectionError, **options)


@proves("ssl_min_version")
async def ssl_min_version(case):
    async with case.client(**case.secure(ssl_min_version=ssl.TLSVersion.TLSv1_2)):
        pass
    await fails(case, ConnectionError, **case.secure(ssl_min_version=ssl.TLSVersion.TLSv1_3))


@proves("ssl_ciphers")
async def ssl_ciphers(case):
    async with case.client(**case.secure(ssl_ciphers=CIPHER)):
        pass
    other = CIPHER.replace("128", "256").replace("SHA256", "SHA384")
    await fails(case, ConnectionError, **case.secure(ssl_ciphers=other))


@proves("ssl_password")
async def ssl_password(case):
    key = str(case.tmp_path / "encrypted.key")
    options = case.secure()
    subprocess.run(
        [
            *("openssl", "ec", "-aes256", "-passout", "pass:let me in", "-out", key),
            *("-in", options["ssl_keyfile"]),
        ],
        check=True,
        capture_output=True,
    )
    options["ssl_keyfile"] = key
    async with case.client(**options, ssl_password="let me in"):
        pass
    with pytest.raises(ConnectionError) as caught:
        aiecs_redis.Redis(**options, ssl_password="a wrong one")
    assert "a wrong one" not in str(caught.value)


# -------------------------------------------------------------------- from_url


URL_VALUES = {
    "db": ("3", 3),
    "socket_timeout": ("2.5", 2.5),
    "socket_connect_timeout": ("1.5", 1.5),
    "socket_read_size": ("4096", 4096),
    "socket_keepalive": ("False", False),
    "retry_on_timeout": ("yes", True),
    "max_connections": ("7", 7),
    "health_check_interval": ("9", 9),
    "ssl_check_hostname": ("no", False),
    "ssl_include_verify_flags": ("VERIFY_X509_STRICT", [ssl.VerifyFlags.VERIFY_X509_STRICT]),
    "ssl_exclude_verify_flags": ("VERIFY_X509_STRICT", [ssl.VerifyFlags.VERIFY_X509_STRICT]),
    "ssl_min_version": ("771", 771),
    "timeout": ("4", 4.0),
    "protocol": ("2", 2),
    "legacy_responses": ("False", False),
}


@pytest.mark.parametrize("name", sorted(URL_OPTIONS))
def test_option_of_a_url(name):
    assert name in URL_VALUES, f"redis-py has a URL option {name} that nothing here knows"
    text, value = URL_VALUES[name]
    scheme = "rediss" if name.startswith("ssl_") else "redis"
    url = f"{scheme}://127.0.0.1:1?{name}={text}"
    if name == "timeout":  # of BlockingConnectionPool alone
        pool = redis.asyncio.BlockingConnectionPool.from_url(url)
        assert aiecs_redis.Redis(connection_pool=pool).connection_pool.timeout == value
        with pytest.raises(TypeError, match="timeout"):
            aiecs_redis.Redis.from_url(url)
        return
    by_url = aiecs_redis.Redis.from_url(url)
    by_name = aiecs_redis.Redis.from_url(f"{scheme}://127.0.0.1:1", **{name: value})
    for client in (by_url, by_name):
        client.connection_pool.connection_kwargs.pop("himport_registry", None)
        for internal in ("maint_notifications_pool_handler", "maint_notifications_config"):
            client.connection_pool.connection_kwargs.pop(internal, None)
    assert _options._settings(by_url.connection_pool) == _options._settings(by_name.connection_pool)
    assert name in {**by_url.connection_pool.connection_kwargs, "max_connections": 7}


def test_own_options_of_a_url():
    url = (
        "redis://127.0.0.1:1/2?client_name=a%2520b&pool_timeout=2.5&max_pending_bytes=1000"
        "&operation_timeout=1e0&circuit%5fbreaker=3&pool_timeout=9&health_check_interval=7"
    )
    client = aiecs_redis.Redis.from_url(url, pool_timeout=8)
    assert client.connection_pool._aiecs_options == {
        "pool_timeout": 2.5,  # the URL's before the keyword, and the first of two, as with redis-py
        "max_pending_bytes": 1000,
        "operation_timeout": 1.0,
        "circuit_breaker": aiecs_redis.CircuitBreaker(failures=3),
    }
    given = client.connection_pool.connection_kwargs
    version = tuple(map(int, redis.__version__.split(".")[:2]))
    assert given["client_name"] == ("a%20b" if version >= (8, 1) else "a b")  # it decoded twice
    assert (given["db"], given["health_check_interval"]) == (2, 7)


@pytest.mark.parametrize(
    ("option", "fix"),
    [
        ("pool_timeout=soon", "pool_timeout='soon' in the URL: give a number greater than 0"),
        ("pool_timeout=0", "pool_timeout=0.0: give a number greater than 0"),
        ("operation_timeout=nan", "operation_timeout=nan: give a number greater than 0"),
        ("max_pending_bytes=1.5", "max_pending_bytes='1.5' in the URL: give a whole number"),
        ("circuit_breaker=0", "circuit_breaker='0' in the URL: give the number of failures"),
    ],
)
def test_wrong_own_option_of_a_url(option, fix):
    with pytest.raises(ValueError, match=re.escape(fix)):
        aiecs_redis.Redis.from_url(f"redis://127.0.0.1:1?{option}")


async def test_a_url_with_everything(case):
    url = f"redis://ann:secret@127.0.0.1:{case.server.port}/2?client_name=from-url&protocol=2"
    async with case.client(made=aiecs_redis.Redis.from_url(url)) as client:
        found = await client.client_info()
        assert (found["name"], found["db"], found["user"]) == ("from-url", 2, "ann")
        assert await protocol_of(client) == 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: aiecs_redis.Redis(cache_config=object()),
        lambda: aiecs_redis.Redis(no_such_option=1),
        lambda: aiecs_redis.Redis.from_url("redis://?no_such_option=1"),
        lambda: aiecs_redis.Redis(connection_pool=redis.asyncio.ConnectionPool(no_such_option=1)),
    ],
)
def test_unknown_arguments_are_refused(make):
    with pytest.raises(TypeError, match="cache_config|no_such_option"):
        make()


# --------------------------------------------- changes before the first command


async def test_settings_of_the_pool_may_change_before_the_first_command(case):
    pool = redis.asyncio.ConnectionPool(host="127.0.0.1", port=1)
    client = aiecs_redis.Redis(connection_pool=pool)
    pool.connection_kwargs["port"] = case.server.port
    pool.connection_kwargs.update(decode_responses=True, db=6, client_name="changed")
    async with case.client(made=client):
        assert await client.echo("hello") == "hello"
        found = await client.client_info()
        assert (found["name"], found["db"]) == ("changed", 6)
        pool.connection_kwargs["client_name"] = "later"  # what is connected stays
        assert (await client.client_info())["name"] == "changed"


async def test_a_pipeline_may_be_the_first(case):
    client = aiecs_redis.Redis(port=1)
    client.connection_pool.connection_kwargs["port"] = case.server.port
    assert await client.pipeline().set("key", 1).get("key").execute() == [True, b"1"]
    assert client._native_transport.stats()["connects"] == 1
    await client.aclose()


async def test_a_change_may_leave_the_native_way(case):
    connected = []

    async def connect(connection):
        connected.append(connection)
        await connection.on_connect()

    client = aiecs_redis.Redis(port=case.server.port)
    client.connection_pool.connection_kwargs["redis_connect_func"] = connect
    async with case.client(native=False, made=client):
        assert connected


async def test_a_change_that_is_wrong_is_told(case):
    client = aiecs_redis.Redis(port=case.server.port)
    client.connection_pool.connection_kwargs["socket_timeout"] = -1
    for _ in range(2):
        with pytest.raises(ValueError, match="socket_timeout=-1"):
            await client.get("key")
    client.connection_pool.connection_kwargs["socket_timeout"] = 5
    assert await client.get("key") is None
    await client.aclose()


def test_what_is_no_function_and_no_list_of_sentinels():
    with pytest.raises(TypeError, match="on_gap='print': give a function, or None"):
        aiecs_redis.Redis().pubsub(on_gap="print")
    with pytest.raises(
        TypeError, match=r"sentinels='localhost:26379': give a list of \(host, port"
    ):
        aiecs_redis.Sentinel("localhost:26379")
