"""The local servers and the fault proxy that other tests rely on."""

import os
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
import redis

from aiecs_redis import testing
from aiecs_redis.testing import (
    ExternalServer,
    FaultProxy,
    ProgramMissingError,
    RedisServer,
    ServerError,
    find_server,
)

pytestmark = pytest.mark.usefixtures("server_program")


# --------------------------------------------------------------------- servers


def test_it_answers_as_soon_as_it_is_started_and_leaves_nothing_behind(alive):
    with RedisServer() as server:
        pid, folder = server.pid, server.folder
        assert server.connect().ping()
        assert server.connect().info("server")["process_id"] == pid
        assert folder.is_dir()
    assert not alive(pid)
    assert not folder.exists()
    assert server.pid is None


def test_start_and_stop_may_be_called_twice(alive):
    server = RedisServer()
    try:
        pid = server.start().pid
        assert server.start().pid == pid
    finally:
        server.stop()
    server.stop()
    assert not alive(pid)


def test_the_url_and_the_keywords_lead_to_the_same_server():
    with RedisServer(requirepass='p@ss/"w\\rd ü') as server:
        assert redis.Redis(**server.kwargs).set("a", "1")
        assert redis.Redis.from_url(server.url).get("a") == b"1"
        assert server.cli("GET", "a") == "1"
        with pytest.raises(redis.exceptions.AuthenticationError):
            server.connect(password=None).ping()


def test_it_listens_on_the_loopback_interface_only():
    with RedisServer() as server:
        assert server.connect().config_get("bind") == {"bind": "127.0.0.1"}


def test_nothing_is_written_to_disk_by_itself():
    with RedisServer() as server:
        assert server.connect().config_get("save") == {"save": ""}
        assert server.connect().config_get("appendonly") == {"appendonly": "no"}


def test_acl_users():
    with RedisServer(users={"ann": "on >secret ~a* &* +@all", "default": "off"}) as server:
        ann = redis.Redis(**server.kwargs, username="ann", password="secret")
        assert ann.acl_whoami() == "ann"
        with pytest.raises(redis.exceptions.NoPermissionError):
            ann.get("b")
        with pytest.raises(redis.exceptions.AuthenticationError):
            server.connect().ping()


def test_a_unix_socket():
    with RedisServer(unix_socket=True, requirepass="x") as server:
        assert server.kwargs["unix_socket_path"] == server.socket_path
        assert "host" not in server.kwargs
        assert server.connect().ping()
        assert redis.Redis.from_url(server.url, protocol=2).ping()  # RESP3: redis-py 8.0.0 fails
        assert server.cli("PING") == "PONG"
        assert redis.Redis(port=server.port, password="x").ping()


def test_tls_verifies_certificate_and_host_name():
    with RedisServer(tls=True) as server:
        assert server.connect().ping()
        assert redis.Redis.from_url(server.url).ping()
        assert server.connect(host="localhost").ping()
        assert server.cli("PING") == "PONG"
        with pytest.raises(redis.exceptions.ConnectionError, match="verify"):
            server.connect(ssl_ca_certs=server.certificates.certificate("stranger")).ping()
        with pytest.raises(redis.exceptions.RedisError):
            redis.Redis(port=server.port, retry=None).ping()


def test_tls_with_a_certificate_for_another_host():
    with RedisServer(tls=True, certificate="wrong-host") as server:
        assert server.connect(ssl_check_hostname=False).ping()
        with pytest.raises(redis.exceptions.ConnectionError, match="127.0.0.1"):
            server.connect().ping()


def test_tls_with_client_certificates():
    with RedisServer(tls=True, tls_auth_clients=True) as server:
        assert server.connect().ping()
        assert server.cli("PING") == "PONG"
        with pytest.raises(redis.exceptions.ConnectionError):
            server.connect(ssl_certfile=None, ssl_keyfile=None).ping()


def test_certificates_pass_the_strict_checks_of_newer_pythons():
    with RedisServer(tls=True) as server:
        context = ssl.create_default_context(cafile=server.certificates.certificate("ca"))
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        with socket.create_connection((server.host, server.port)) as plain:
            with context.wrap_socket(plain, server_hostname="localhost") as tls:
                assert tls.version().startswith("TLS")


def test_lines_of_configuration():
    lines = {
        "maxmemory": "10mb",
        "notify-keyspace-events": "Ex",
        "lazyfree-lazy-expire": True,
        "rename-command": ["GETSET X1", "APPEND X2"],
    }
    with RedisServer(config=lines) as server:
        client = server.connect(decode_responses=True)
        assert client.config_get("maxmemory") == {"maxmemory": str(10 * 1024 * 1024)}
        assert client.config_get("lazyfree-lazy-expire") == {"lazyfree-lazy-expire": "yes"}
        # Before it is called by its new name: Redis 8 then knows it by the old one, too.
        with pytest.raises(redis.exceptions.ResponseError, match="unknown command"):
            client.append("k", "v")
        assert client.execute_command("X2", "k", "v") == 1


def test_a_wrong_line_of_configuration_is_reported_in_the_servers_words():
    server = RedisServer(config={"no-such-line": "1"}, requirepass="hush")
    with pytest.raises(ServerError, match="no-such-line") as caught:
        server.start()
    assert "hush" not in str(caught.value)
    assert server.folder is None
    assert server.pid is None


def test_a_port_of_ones_own_that_is_taken_is_an_error():
    with RedisServer() as first, pytest.raises(ServerError, match="in use"):
        RedisServer(port=first.port).start()


def test_a_free_port_that_is_taken_meanwhile_is_replaced(monkeypatch):
    with RedisServer() as first:
        ports = iter([first.port, testing.free_port()])
        monkeypatch.setattr(testing._server, "free_port", lambda: next(ports))
        with RedisServer() as second:
            assert second.port != first.port
            assert second.connect().info("server")["process_id"] == second.pid != first.pid


def test_kill_and_restart_keep_the_port(alive):
    with RedisServer() as server:
        port, pid = server.port, server.pid
        client = server.connect()
        client.set("a", "1")
        server.kill()
        assert not alive(pid)
        assert server.pid is None
        with pytest.raises(redis.exceptions.ConnectionError):
            client.ping()
        server.restart()
        assert server.port == port
        assert server.pid != pid
        assert client.get("a") is None


def test_appendonly_keeps_the_data_over_a_kill():
    with RedisServer(appendonly=True) as server:
        server.connect().set("a", "1")
        server.kill()
        server.restart()
        assert server.connect().get("a") == b"1"


def test_restart_of_a_running_server_and_with_tls():
    with RedisServer(tls=True) as server:
        pid = server.pid
        server.restart()
        assert server.pid != pid
        assert server.connect().ping()


def test_a_paused_server_keeps_the_connection_and_answers_later():
    with RedisServer() as server:
        client = server.connect(socket_timeout=0.2, single_connection_client=True)
        client.ping()
        server.pause()
        with pytest.raises(redis.exceptions.RedisError, match="Timeout"):
            client.ping()
        server.resume()
        assert server.connect().ping()


@pytest.mark.parametrize("end", ["stop", "kill", "restart"])
def test_a_paused_server_can_be_ended(end, alive):
    with RedisServer() as server:
        pid = server.pid
        server.pause()
        began = time.monotonic()
        getattr(server, end)()
        assert not alive(pid)
        assert time.monotonic() - began < 4


@pytest.mark.parametrize("act", ["pause", "resume"])
def test_signals_to_a_server_that_does_not_run_are_an_error(act):
    with pytest.raises(ServerError, match="not run"):
        getattr(RedisServer(), act)()


def test_a_missing_program_is_named_with_its_package(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.delenv("AIECS_REDIS_SERVER", raising=False)
    with pytest.raises(ProgramMissingError, match="apt-get install redis-server") as caught:
        RedisServer().start()
    assert (caught.value.program, caught.value.package) == ("redis-server", "redis-server")
    assert isinstance(caught.value, ServerError)
    with pytest.raises(ProgramMissingError, match="apt-get install redis-tools"):
        ExternalServer({"host": "127.0.0.1", "port": 1}).cli("PING")


def test_the_environment_names_the_program(monkeypatch, tmp_path):
    server = tmp_path / "mine-server"
    server.write_text(f'#!/bin/sh\ntouch {tmp_path}/started\nexec {find_server()} "$@"\n')
    server.chmod(0o700)
    command_line = tmp_path / "mine-cli"
    command_line.write_text("#!/bin/sh\necho asked for $5\n")
    command_line.chmod(0o700)
    monkeypatch.setenv("AIECS_REDIS_SERVER", str(server))
    assert find_server() == str(server)
    with RedisServer() as running:
        assert (tmp_path / "started").exists()
        assert running.cli("PING") == "asked for 127.0.0.1"  # the one beside the server
    monkeypatch.setenv("AIECS_REDIS_SERVER", "no-such-server")
    with pytest.raises(ServerError, match="AIECS_REDIS_SERVER=no-such-server"):
        RedisServer().start()


def test_the_command_line_is_the_one_beside_the_program_that_was_chosen(tmp_path):
    server = tmp_path / "mine-server"
    server.symlink_to(find_server())
    command_line = tmp_path / "mine-cli"
    command_line.write_text("#!/bin/sh\necho asked for $5\n")
    with RedisServer(executable=str(server)) as running:
        assert running.cli("PING") == "PONG"  # there is none that can be run
        command_line.chmod(0o700)
        assert running.cli("PING") == "asked for 127.0.0.1"


def test_debug_is_allowed_where_it_is_asked_for():
    with RedisServer(debug_command=True) as server:
        assert server.connect().execute_command("DEBUG", "SLEEP", "0") == b"OK"


def test_redis_cli_reports_the_error_of_the_server():
    with RedisServer() as server:
        server.cli("SET", "a", "1")
        with pytest.raises(ServerError, match="WRONGTYPE"):
            server.cli("LPUSH", "a", "x")


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(
    "ending",
    ["pass", "sys.exit(3)", "raise RuntimeError('boom')", "os.kill(os.getpid(), 9)", "os.abort()"],
)
def test_a_server_ends_with_the_interpreter(ending):
    script = f"""
        import os, sys
        from aiecs_redis.testing import RedisServer
        server = RedisServer().start()
        print(server.port, server.folder, flush=True)
        {ending}
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(testing.__file__).parents[2])},
    )
    port, folder = done.stdout.split()
    deadline = time.monotonic() + 15
    while Path(folder).exists() and time.monotonic() < deadline:
        time.sleep(0.01)  # who is killed cannot wait for the end of the server
    assert not Path(folder).exists()
    while answers(int(port)) and time.monotonic() < deadline:
        time.sleep(0.01)  # the signal was sent; dying takes its time, too
    assert not answers(int(port))


def test_a_server_survives_the_interrupt_key_of_the_terminal():
    with RedisServer() as server:
        assert os.getpgid(server.pid) != os.getpgid(0)


# ----------------------------------------------------------------- environment


def test_without_redis_host_a_server_is_started(alive):
    with testing.server_from_environment({}, requirepass="x") as server:
        assert isinstance(server, RedisServer)
        assert server.kwargs["password"] == "x"
        pid = server.pid
        assert server.connect().ping()
    assert not alive(pid)


def test_with_redis_host_that_server_is_used_and_left_running():
    with RedisServer(requirepass="x") as running:
        environ = {
            "REDIS_HOST": running.host,
            "REDIS_PORT": str(running.port),
            "REDIS_PASSWORD": "x",
            "REDIS_DB": "2",
        }
        with testing.server_from_environment(environ) as server:
            assert isinstance(server, ExternalServer)
            assert server.kwargs == {**running.kwargs, "db": 2}
            assert server.connect().ping()
            assert server.cli("PING") == "PONG"
        assert running.connect().ping()
        with testing.server_from_environment({"REDIS_URL": running.url}) as server:
            assert server.kwargs == running.kwargs


def test_a_wrong_environment_is_an_error():
    with pytest.raises(ValueError, match="REDIS_PORT"):
        testing.server_from_environment({"REDIS_HOST": "h", "REDIS_PORT": "x"})


# ----------------------------------------------------------------- fault proxy


class Echo:
    """A server that sends back what it gets, and records the pieces it got."""

    def __init__(self):
        self.pieces = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self.listener.getsockname()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.echo, args=(connection,), daemon=True).start()

    def echo(self, connection):
        with connection:
            try:
                while piece := connection.recv(1 << 20):
                    self.pieces.append(piece)
                    connection.sendall(piece)
            except OSError as exc:
                self.pieces.append(exc)


@pytest.fixture
def echo():
    echo = Echo()
    yield echo
    echo.listener.close()


@pytest.fixture
def proxy(echo):
    with FaultProxy(echo.host, echo.port) as proxy:
        yield proxy


def dial(proxy):
    connection = socket.create_connection((proxy.host, proxy.port), timeout=5)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def receive(connection, size):
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        assert piece, f"closed after {len(data)} bytes"
        data += piece
    return data


def test_the_proxy_passes_on_and_counts(proxy):
    block = os.urandom(3_000_000)
    with dial(proxy) as connection:
        sender = threading.Thread(target=connection.sendall, args=(block,))
        sender.start()
        assert receive(connection, len(block)) == block
        sender.join()
        assert proxy.connections == proxy.open_connections == 1
    end = time.monotonic() + 10  # the proxy counts after it has sent
    while proxy.to_client.bytes < len(block) and time.monotonic() < end:
        time.sleep(0.001)
    assert proxy.to_server.bytes == proxy.to_client.bytes == len(block)


def test_the_proxy_passes_on_the_end_of_a_stream(proxy):
    with dial(proxy) as connection:
        connection.sendall(b"last words")
        connection.shutdown(socket.SHUT_WR)
        assert receive(connection, 10) == b"last words"
        assert connection.recv(1) == b""


def test_the_proxy_chops(proxy, echo):
    proxy.to_server.chop = 3
    proxy.to_server.gap = 0.05
    with dial(proxy) as connection:
        connection.sendall(b"abcdefgh")
        assert receive(connection, 8) == b"abcdefgh"
    assert echo.pieces[:3] == [b"abc", b"def", b"gh"]


@pytest.mark.parametrize("flow", ["to_server", "to_client"])
def test_the_proxy_delays_without_holding_up(proxy, flow):
    getattr(proxy, flow).latency = 0.1
    with dial(proxy) as connection:
        began = time.monotonic()
        for _ in range(10):
            connection.sendall(b"x")
            time.sleep(0.005)
        receive(connection, 10)
        assert 0.1 <= time.monotonic() - began < 0.5  # 1 s if each waited for the one before


@pytest.mark.parametrize("flow", ["to_server", "to_client"])
def test_the_proxy_stalls_and_goes_on(proxy, flow):
    with dial(proxy) as connection:
        connection.sendall(b"a")
        assert receive(connection, 1) == b"a"
        getattr(proxy, flow).stall()
        connection.sendall(b"b")
        connection.settimeout(0.1)
        with pytest.raises(socket.timeout):
            connection.recv(1)
        getattr(proxy, flow).resume()
        connection.settimeout(5)
        assert receive(connection, 1) == b"b"


def test_a_stalled_proxy_holds_the_sender_back(proxy):
    proxy.to_server.stall()
    with dial(proxy) as connection:
        connection.settimeout(0.3)
        with pytest.raises(socket.timeout):
            connection.sendall(bytes(64 << 20))


def test_the_proxy_cuts(proxy, echo):
    with dial(proxy) as first, dial(proxy) as second:
        for connection in (first, second):
            connection.sendall(b"a")
            receive(connection, 1)
        proxy.cut()
        assert proxy.open_connections == 0
        for connection in (first, second):
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
    with dial(proxy) as third:
        third.sendall(b"b")
        assert receive(third, 1) == b"b"
    assert proxy.connections == 3


@pytest.mark.parametrize("flow", ["to_server", "to_client"])
def test_the_proxy_cuts_after_so_many_bytes(proxy, echo, flow):
    getattr(proxy, flow).cut_after = 5
    with dial(proxy) as connection:
        connection.sendall(b"abcdefgh")
        received = b""
        with pytest.raises(ConnectionResetError):
            while True:
                received += connection.recv(100)
    if flow == "to_client":
        assert received == b"abcde"
    else:
        deadline = time.monotonic() + 5
        while len(echo.pieces) < 2 and time.monotonic() < deadline:
            time.sleep(0.001)
        assert echo.pieces[0] == b"abcde"
        assert isinstance(echo.pieces[1], ConnectionResetError)
    with dial(proxy) as connection:  # once only
        connection.sendall(b"abcdefgh")
        assert receive(connection, 8) == b"abcdefgh"


def test_the_proxy_refuses_and_accepts(proxy):
    proxy.refuse()
    with pytest.raises(ConnectionResetError), dial(proxy) as connection:
        connection.sendall(b"a")
        connection.recv(1)
    proxy.accept()
    with dial(proxy) as connection:
        connection.sendall(b"b")
        assert receive(connection, 1) == b"b"


def test_a_server_that_is_down_resets_the_connection():
    with FaultProxy("127.0.0.1", testing.free_port()) as proxy:
        with pytest.raises(ConnectionResetError), dial(proxy) as connection:
            connection.recv(1)


def test_the_proxy_keeps_its_port_and_can_be_stopped_twice(echo):
    proxy = FaultProxy(echo.host, echo.port).start()
    port = proxy.port
    connection = dial(proxy)
    connection.sendall(b"a")
    receive(connection, 1)
    proxy.stop()
    proxy.stop()
    with connection, pytest.raises(ConnectionResetError):
        connection.recv(1)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), 1)
    with pytest.raises(RuntimeError, match="not started"):
        proxy.cut()
    with proxy.start():
        assert proxy.port == port
        with dial(proxy) as connection:
            connection.sendall(b"b")
            assert receive(connection, 1) == b"b"


def test_a_redis_client_through_the_proxy():
    with RedisServer() as server, FaultProxy(server.host, server.port) as proxy:
        client = server.connect(**proxy.kwargs)
        proxy.to_client.chop = proxy.to_server.chop = 1
        client.mset({f"k{i}": "v" * i for i in range(20)})
        assert client.mget("k0", "k19") == [b"", b"v" * 19]
        client.close()


def test_a_proxy_leaves_no_thread_and_no_descriptor(echo):
    def count():
        return threading.active_count(), len(os.listdir("/proc/self/fd"))

    if not os.path.exists("/proc/self/fd"):
        pytest.skip("needs /proc")
    with FaultProxy(echo.host, echo.port):
        pass
    before = count()
    for _ in range(3):
        with FaultProxy(echo.host, echo.port) as proxy, dial(proxy) as connection:
            connection.sendall(b"x")
            receive(connection, 1)
    deadline = time.monotonic() + 5
    while count() != before and time.monotonic() < deadline:
        time.sleep(0.01)  # the echo's threads
    assert count() == before


def test_pausing_is_by_signal():
    with RedisServer() as server:
        server.pause()
        if os.path.exists(f"/proc/{server.pid}/stat"):
            assert Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        os.kill(server.pid, signal.SIGCONT)
        assert server.connect().ping()
