"""Single servers: one of our own, and one that someone else runs."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Union
from urllib.parse import quote, urlencode

import redis
import redis.exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from aiecs_redis import settings
from aiecs_redis.testing._certificates import Certificates, ServerError, program

__all__ = [
    "ExternalServer",
    "RedisServer",
    "Server",
    "find_server",
    "free_port",
    "redis_version",
    "server_from_environment",
]

ConfigValue = Union[str, int, bool, "list[str]"]


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on at the moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def free_local_port(and_above: int = 0) -> int:
    """Return a free port that the system gives to nobody by itself, so that it stays free.

    Args:
        and_above: the port this much above it is to be free too, such as 10000 for the bus of a
            cluster.
    """
    for _ in range(1000):
        port = random.randrange(11000, 22000)
        try:
            for number in {port, port + and_above}:
                with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", number))
        except OSError:
            continue
        return port
    raise ServerError("no free port between 11000 and 22000")


def find_server() -> str | None:
    """Return the path of the server program that `RedisServer` starts; None if there is none.

    It is the one in AIECS_REDIS_SERVER, else redis-server, else valkey-server on the PATH.

    Raises:
        ServerError: AIECS_REDIS_SERVER names no program.
    """
    named = os.environ.get("AIECS_REDIS_SERVER")
    if not named:
        return shutil.which("redis-server") or shutil.which("valkey-server")
    found = shutil.which(named)
    if found is None:
        raise ServerError(f"AIECS_REDIS_SERVER={named} is no program: give a path, or a name")
    return found


def _server() -> str:
    return find_server() or program("redis-server", "redis-server")


def redis_version(executable: str | None = None) -> tuple[int, ...]:
    """Return the version of a server program, such as (7, 0, 15).

    Args:
        executable: its path; what `find_server()` finds when it is None.

    Raises:
        ProgramMissingError: it is not installed.
        ServerError: it says nothing that looks like a version.
    """
    return _version(executable or _server())


@functools.cache
def _version(executable: str) -> tuple[int, ...]:
    command = [executable, "--version"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=30).stdout
    found = re.search(r"v=(\d+)\.(\d+)\.(\d+)", said)
    if found is None:
        raise ServerError(f"{executable} --version says {said.strip()!r}")
    return tuple(map(int, found.groups()))


def _command_line(server: str | None) -> str:
    """The program for commands: the one that came with the server, else any."""
    beside = []
    if server is not None and server.endswith("-server"):
        beside = [server[: -len("server")] + "cli"]
    for name in [*beside, "redis-cli", "valkey-cli"]:
        found = shutil.which(name)
        if found is not None:
            return found
    return program("redis-cli", "redis-tools")


# -------------------------------------------------------------------- a server


class Server:
    """A server to talk to: where it is, and how to get in.

    Attributes:
        kwargs: keyword arguments for `redis.Redis`, `redis.asyncio.Redis` and
            `aiecs_redis.Redis`: host and port or unix_socket_path, db, and, where it takes
            them, username, password and the ssl_ options.
    """

    kwargs: dict[str, Any]

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Leave a server that someone else runs as it is."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {settings.location(self.kwargs)}>"

    @property
    def url(self) -> str:
        """The redis://, rediss:// or unix:// URL that says the same as `kwargs`."""
        known = dict(self.kwargs)
        user, password = known.pop("username", None), known.pop("password", None)
        credentials = ""
        if password is not None:
            credentials = f"{quote(user or '', safe='')}:{quote(password, safe='')}@"
        db = known.pop("db", 0)
        path = known.pop("unix_socket_path", None)
        if path is not None:
            return f"unix://{credentials}{quote(path)}?{urlencode({'db': db})}"
        host, port = known.pop("host"), known.pop("port")
        host = f"[{host}]" if ":" in host else host
        scheme = "rediss" if known.pop("ssl", False) else "redis"
        options = f"?{urlencode(known)}" if known else ""
        return f"{scheme}://{credentials}{host}:{port}/{db}{options}"

    def cli(self, *args: str) -> str:
        """Run a command through redis-cli and return what it prints, without the newline.

        It is the redis-cli (valkey-cli) beside the server's program, else one on the PATH.

        Raises:
            ProgramMissingError: there is no redis-cli.
            ServerError: the server answered with an error.
        """
        known = self.kwargs
        command = [_command_line(self._program()), "-e", "-n", str(known.get("db", 0))]
        if "unix_socket_path" in known:
            command += ["-s", known["unix_socket_path"]]
        else:
            command += ["-h", known["host"], "-p", str(known["port"])]
        if known.get("username"):
            command += ["--user", known["username"]]
        if known.get("ssl"):
            command += ["--tls"]
            options = ("--cacert", "ssl_ca_certs"), ("--cert", "ssl_certfile")
            for option, key in (*options, ("--key", "ssl_keyfile")):
                command += [option, known[key]] if known.get(key) else []
        environment = dict(os.environ)
        environment.pop("REDISCLI_AUTH", None)
        if known.get("password"):
            environment["REDISCLI_AUTH"] = known["password"]
        done = subprocess.run(
            [*command, *args], capture_output=True, text=True, timeout=30, env=environment
        )
        if done.returncode:
            said = (done.stderr + done.stdout).strip()
            raise ServerError(f"redis-cli {' '.join(args[:1])} failed: {said}")
        return done.stdout.rstrip("\n")

    def _program(self) -> str | None:
        """Path of the server's program, as far as known."""
        return find_server()

    def connect(self, **kwargs: Any) -> redis.Redis:
        """Return a synchronous redis-py client; it neither retries nor decodes replies."""
        patience: dict[str, Any] = {"retry": Retry(NoBackoff(), 0), "socket_timeout": 5}
        if "unix_socket_path" in self.kwargs:
            # With RESP3 redis-py 8.0.0 asks for notifications there, too, and misses the host.
            patience["protocol"] = 2
        return redis.Redis(**{**self.kwargs, **patience, **kwargs})


class ExternalServer(Server):
    """A server that runs already, and is not ours to stop.

    Args:
        kwargs: as `Server.kwargs`.
    """

    def __init__(self, kwargs: Mapping[str, Any]) -> None:
        self.kwargs: dict[str, Any] = dict(kwargs)


_running: weakref.WeakSet[RedisServer] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    for server in list(_running):
        with contextlib.suppress(ServerError, OSError):
            server.stop()


class RedisServer(Server):
    """A redis-server process of our own, on a free port of 127.0.0.1, in a temporary folder.

    It starts with `start()` or `with`, and keeps its port over `stop()`, `kill()` and
    `restart()`. Nothing is written to disk unless `appendonly` is set.

    Args:
        requirepass: password of the default user.
        users: ACL rules by user name, such as {"ann": "on >secret ~* &* +@all"}.
        unix_socket: listen on a unix socket too, and let `kwargs` lead to it.
        tls: speak TLS only, with certificates made at the first start (`certificates`).
        tls_auth_clients: with `tls`, demand a client certificate.
        certificate: with `tls`, which certificate the server shows: "server" or
            "wrong-host".
        appendonly: keep the data over `restart()` (appendfsync always).
        debug_command: allow DEBUG, which servers refuse from Redis 7 on.
        config: further lines of redis.conf; a list gives the line several times.
        port: TCP port; a free one when it is None.
        executable: path of the program; what `find_server()` finds when it is None.
        certificates: with `tls`, those to use instead of new ones.

    Attributes:
        host: "127.0.0.1".
        port: the TCP (or TLS) port; None until it is started, unless given.
        folder: the temporary folder; None when it is stopped for good.
        paused: whether `pause()` holds it.
        certificates: the `Certificates`; None without `tls`.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        *,
        requirepass: str | None = None,
        users: Mapping[str, str] | None = None,
        unix_socket: bool = False,
        tls: bool = False,
        tls_auth_clients: bool = False,
        certificate: str = "server",
        appendonly: bool = False,
        debug_command: bool = False,
        config: Mapping[str, ConfigValue] | None = None,
        port: int | None = None,
        executable: str | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        self.requirepass = requirepass
        self.users: dict[str, str] = dict(users or {})
        self.unix_socket = unix_socket
        self.tls = tls
        self.tls_auth_clients = tls_auth_clients
        self.certificate = certificate
        self.appendonly = appendonly
        self.debug_command = debug_command
        self.config: dict[str, ConfigValue] = dict(config or {})
        self.port = port
        self.folder: Path | None = None
        self.certificates: Certificates | None = certificates if tls else None
        self.paused: bool = False
        self._any_port = port is None
        self._executable = executable
        self._keeps_certificates = self.certificates is not None
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RedisServer:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """Process id while it runs, else None."""
        running = self._process is not None and self._process.poll() is None
        return self._process.pid if running and self._process is not None else None

    @property
    def socket_path(self) -> str:
        """Path of the unix socket (with `unix_socket`)."""
        return str(self._files() / "redis.sock")

    @property
    def kwargs(self) -> dict[str, Any]:  # type: ignore[override]
        """Keyword arguments that lead to it as the default user; see `Server`."""
        found: dict[str, Any] = {"db": 0}
        if self.unix_socket:
            found["unix_socket_path"] = self.socket_path
        else:
            found.update(host=self.host, port=self.port)
        if self.requirepass is not None:
            found["password"] = self.requirepass
        if self.certificates is not None and not self.unix_socket:
            found.update(ssl=True, ssl_ca_certs=self.certificates.certificate("ca"))
            if self.tls_auth_clients:
                found["ssl_certfile"] = self.certificates.certificate("client")
                found["ssl_keyfile"] = self.certificates.key("client")
        return found

    # --------------------------------------------------------------- life cycle

    def start(self) -> RedisServer:
        """Start it and return when it answers PING; does nothing when it runs already.

        Raises:
            ProgramMissingError: the program is not installed.
            ServerError: it does not start; with its last words.
        """
        if self.pid is not None:
            return self
        executable = self._executable or _server()
        if self.folder is None:
            self.folder = self._make_folder()
        if self.tls and self.certificates is None:
            self.certificates = Certificates(self.folder)
        _running.add(self)
        try:
            # Between looking for a free port and using it someone else may have taken it.
            for attempt in range(5):
                fresh = self._any_port and (self.port is None or attempt > 0)
                if fresh:
                    self.port = self._choose_port()
                try:
                    return self._launch(executable)
                except ServerError as exc:
                    if not (fresh and "already in use" in str(exc)):
                        raise
            raise ServerError("redis-server found no free port in five attempts")
        except BaseException:
            self._give_up()
            raise

    def stop(self) -> None:
        """End it at once (SIGKILL: there is nothing for it to keep) and remove its folder."""
        self._end(signal.SIGKILL)
        _running.discard(self)
        if not self._keeps_certificates:
            self.certificates = None
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would; the folder stays for `restart()`."""
        self._end(signal.SIGKILL)

    def interrupt(self) -> None:
        """End it (SIGTERM, after 5 s SIGKILL); the folder stays for `start()`."""
        self._end(signal.SIGTERM)

    def restart(self) -> RedisServer:
        """End it if it still runs (SIGTERM), and start it on the same port."""
        self._end(signal.SIGTERM)
        return self.start()

    def pause(self) -> None:
        """Stop it in its tracks (SIGSTOP): connections stay, nothing is answered."""
        pid = self._signal(signal.SIGSTOP)
        self.paused = True
        if hasattr(os, "waitid"):  # returns once it really stands still
            os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let it go on after `pause()` (SIGCONT)."""
        self._signal(signal.SIGCONT)
        self.paused = False

    def log(self, lines: int | None = None) -> str:
        """Return what the server has logged since its first start, without passwords.

        Args:
            lines: only so many, the last ones.
        """
        file = None if self.folder is None else self.folder / "redis.log"
        text = file.read_text(errors="replace").strip() if file and file.exists() else ""
        found = text.splitlines()
        text = "\n".join(line.strip() for line in (found if lines is None else found[-lines:]))
        return text.replace(self.requirepass, "***") if self.requirepass else text

    # ------------------------------------------------------------------ helpers

    # What the members of a group do in another way.

    _arguments: tuple[str, ...] = ()  # after the path of the configuration
    _rewritten = False  # whether the server keeps its state in the configuration
    _swept_folders: tuple[Path, ...] = ()  # removed too when this interpreter dies

    def _make_folder(self) -> Path:
        return Path(tempfile.mkdtemp(prefix="aiecs-redis-"))

    def _choose_port(self) -> int:
        return free_port()

    def _give_up(self) -> None:
        self.stop()

    def _program(self) -> str | None:
        return self._executable or find_server()

    def _files(self) -> Path:
        if self.folder is None:
            raise ServerError("the server is not started")
        return self.folder

    def _signal(self, number: signal.Signals) -> int:
        pid = self.pid
        if pid is None:
            raise ServerError("the server does not run")
        os.kill(pid, number)
        return pid

    def _end(self, number: signal.Signals) -> None:
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is not None:
            watchdog.kill()
            watchdog.wait()
            assert watchdog.stdin is not None
            watchdog.stdin.close()
        self.paused = False
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)  # a paused process dies only when it goes on
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()

    def _launch(self, executable: str) -> RedisServer:
        folder = self._files()
        file = folder / "redis.conf"
        if not (self._rewritten and file.exists()):
            lines = "\n".join(f"{key} {value}" for key, value in self._configuration())
            file.write_text(lines + "\n")
            file.chmod(0o600)
        log = folder / "redis.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [executable, str(file), *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                start_new_session=True,  # Ctrl-C is for us, not for the server
            )
        # Should this interpreter be killed, the shell sees the end of its standard input.
        self._watchdog = subprocess.Popen(
            [
                *("/bin/sh", "-c", 'read _; kill -9 "$0"; rm -rf "$@"'),
                *(str(self._process.pid), str(folder), *map(str, self._swept_folders)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 20
        while not self._answers():
            if self._process.poll() is not None:
                self._end(signal.SIGKILL)
                raise ServerError(f"redis-server does not start: {self._last_words()}")
            if time.monotonic() > deadline:
                self._end(signal.SIGKILL)
                raise ServerError(f"redis-server does not answer: {self._last_words()}")
            time.sleep(0.01)
        return self

    def _answers(self) -> bool:
        # Its certificate may be for another host on purpose.
        client = self.connect(**({"ssl_check_hostname": False} if self.tls else {}))
        try:
            client.ping()
            return bool(client.info("server")["process_id"] == self.pid)
        except (redis.exceptions.AuthenticationError, redis.exceptions.NoPermissionError):
            return True  # it answers, if only to send us away (ACL rules without default)
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
            return False
        finally:
            client.close()

    def _last_words(self) -> str:
        return " / ".join(self.log(4).splitlines()) or "it says nothing"

    def _configuration(self) -> Iterator[tuple[str, ConfigValue]]:
        yield from self._access()
        yield "save", '""'
        yield "appendonly", "yes" if self.appendonly else "no"
        if self.appendonly:
            yield "appendfsync", "always"
        if self.debug_command and redis_version(self._executable) >= (7,):
            yield "enable-debug-command", "yes"
        yield from self._own_lines()

    def _access(self) -> Iterator[tuple[str, ConfigValue]]:
        """How to get in: what a Sentinel knows of too."""
        yield "bind", self.host
        yield "dir", f'"{self.folder}"'
        yield "daemonize", "no"
        if self.certificates is not None:
            yield "port", 0
            yield "tls-port", int(self.port or 0)
            yield "tls-cert-file", f'"{self.certificates.certificate(self.certificate)}"'
            yield "tls-key-file", f'"{self.certificates.key(self.certificate)}"'
            yield "tls-ca-cert-file", f'"{self.certificates.certificate("ca")}"'
            yield "tls-auth-clients", "yes" if self.tls_auth_clients else "no"
            if redis_version(self._executable) >= (6, 2):  # what it shows to other servers
                yield "tls-client-cert-file", f'"{self.certificates.certificate("client")}"'
                yield "tls-client-key-file", f'"{self.certificates.key("client")}"'
        else:
            yield "port", int(self.port or 0)
        if self.unix_socket:
            yield "unixsocket", f'"{self.socket_path}"'
        if self.requirepass is not None:
            yield "requirepass", quoted(self.requirepass)
        for name, rules in self.users.items():
            yield "user", f"{name} {rules}"

    def _own_lines(self) -> Iterator[tuple[str, ConfigValue]]:
        for key, value in self.config.items():
            for one in value if isinstance(value, list) else [value]:
                yield key, {True: "yes", False: "no"}[one] if isinstance(one, bool) else one


def quoted(text: str) -> str:
    """Return it as redis.conf takes it."""
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def server_from_environment(environ: Mapping[str, str] | None = None, **options: Any) -> Server:
    """Return the server the environment names, else one of our own.

    Args:
        environ: environment variables (default: `os.environ`). With REDIS_HOST, REDIS_URL or
            REDIS_UNIX_SOCKET_PATH set, the server they and REDIS_PORT, REDIS_PASSWORD and
            the like name (see `aiecs_redis.settings`).
        **options: for the `RedisServer` that is started otherwise.

    Use it with `with`: the server is stopped after the block if it was started by it.

    Raises:
        ValueError: a wrong value in the environment.
        ProgramMissingError, ServerError: as `RedisServer.start()`.
    """
    environ = os.environ if environ is None else environ
    named = ("REDIS_HOST", "REDIS_URL", "REDIS_UNIX_SOCKET_PATH")
    if not any(environ.get(name, "").strip() for name in named):
        return RedisServer(**options).start()
    found = settings.load(None, environ)
    for key in ("decode_responses", "max_connections", "retry_on_timeout"):
        found.pop(key)
    return ExternalServer({k: v for k, v in found.items() if v is not None})
