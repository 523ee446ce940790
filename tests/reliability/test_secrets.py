"""Passwords: changed under load without a failure, and never shown to anybody."""

import asyncio
import contextlib
import hashlib
import io
import logging
import os
import secrets
import subprocess
import sys
import traceback
import warnings

import pytest
import redis.asyncio.retry
from harness.measure import hung, in_thread, run, sizes
from harness.scripted import Cut, ScriptedServer, error, introduce
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import RedisError
from subprocesses import environment

import aiecs_redis
from aiecs_redis import RedisClient
from aiecs_redis.testing import RedisServer

SECRET = "s3cr3t-Pa55w0rd"


class Vault(CredentialProvider):
    """What a secret store gives out: the password of the moment."""

    def __init__(self, password):
        self.password = password
        self.asked = 0

    def get_credentials(self):
        return "ann", self.password

    async def get_credentials_async(self):
        self.asked += 1
        await asyncio.sleep(0)
        return self.get_credentials()


@pytest.mark.parametrize("rotations", sizes(everyday=5, long=100))
def test_rotation_under_load(impl, name, figure, rotations):
    """The new one is added, the vault gives it out, the old one is removed, all are thrown out."""
    vault = Vault("password-0")

    async def main():
        done, failures = 0, []
        stop = asyncio.Event()

        async def worker(client, n):
            nonlocal done
            while not stop.is_set():
                try:
                    await client.set(f"key{n}", done)
                    await client.get(f"key{n}")
                    done += 2
                except RedisError as exception:
                    failures.append(exception)

        async with impl(**server.kwargs, credential_provider=vault) as client:
            tasks = [asyncio.create_task(worker(client, n)) for n in range(50)]
            for number in range(1, rotations + 2):
                target = done + 200
                while done < target and not failures:
                    await asyncio.sleep(0.002)
                if number <= rotations:
                    await in_thread(rotate, number)
            stop.set()
            assert await hung(tasks, 20) == 0
            for task in tasks:
                task.result()
        return done, failures

    def rotate(number):
        admin.execute_command("ACL", "SETUSER", "ann", f">password-{number}")
        vault.password = f"password-{number}"
        admin.execute_command("ACL", "SETUSER", "ann", f"<password-{number - 1}")
        admin.client_kill_filter(_type="normal", skipme=True)

    users = {"ann": "on >password-0 ~* &* +@all"}
    with RedisServer(users=users) as server, server.connect() as admin:
        done, failures = run(main(), 300)
    figure(
        "rotation",
        f"{rotations} rotations, {done:,} commands, all connections closed each time: "
        f"{len(failures)} failures",
        name,
    )
    assert failures == []
    assert vault.asked >= rotations


# --- secrets ---


async def shown_by(awaitable):
    """Everything an exception says: text, arguments, causes, traceback."""
    try:
        return repr(await awaitable)
    except Exception as exception:
        said = io.StringIO()
        while exception is not None:
            said.write(repr(exception) + str(exception) + repr(exception.args))
            said.write("".join(traceback.format_exception_only(type(exception), exception)))
            exception = exception.__cause__ or exception.__context__
        return said.getvalue()


def cuts(_request):
    return Cut()


def wrong_password(request):
    if request.name in ("HELLO", "AUTH"):
        return error("WRONGPASS invalid username-password pair or user is disabled.")
    return introduce(request)


@pytest.fixture
def logged():
    """Everything that is logged, by anybody."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    root.setLevel(before)


OCCASIONS = {
    "password refused": {"introduction": wrong_password},
    "lost during the introduction": {"introduction": cuts},
    "lost afterwards": {"answer": cuts},
    "answered with an error": {"answer": lambda request: error("ERR what is this")},
    "protocol violated": {"answer": lambda request: b"!!!\r\n"},
    "never answered": {"answer": lambda request: None},
    "nobody there": None,
}
WAYS = {
    "password": lambda: {"password": SECRET},
    "username and password": lambda: {"username": "ann", "password": SECRET},
    "provider": lambda: {"credential_provider": Vault(SECRET)},
}
LOOKED_AT = []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("occasion", OCCASIONS)
def test_never_shown(logged, capfd, way, occasion):
    shown = []
    contexts = []

    async def main(where):
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: contexts.append(repr(context)))
        loop.set_debug(True)
        retry = redis.asyncio.retry.Retry(NoBackoff(), 0)
        options = {**where, **WAYS[way](), "retry": retry, "socket_timeout": 0.1}
        client = aiecs_redis.Redis(**options)
        shown.append(repr(client) + str(client) + repr(vars(client.connection_pool).keys()))
        shown.append(repr(client._native_transport) + str(client._native_transport))
        commands = (
            lambda: client.get("key"),
            lambda: client.incr("n"),
            lambda: client.pipeline().incr("n").execute(),
            lambda: client.blpop("key", 0.1),
            lambda: client.auth(SECRET),
            lambda: client.execute_command("AUTH", "ann", SECRET),
            lambda: client.config_set("requirepass", SECRET),
            lambda: client.config_set("requirepass", SECRET + "\N{SNOWMAN}"),
            lambda: client.acl_setuser("ann", passwords=["+" + SECRET]),
        )
        for make in commands:
            command = make()
            shown.append(repr(command))
            if asyncio.iscoroutine(command):
                task = asyncio.ensure_future(command)
                shown.append(repr(task))
                shown.append(await shown_by(task))
                shown.append(repr(task))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            client.config_set("requirepass", SECRET)  # never awaited, which is a warning
            shown.extend(str(warning.message) for warning in caught)
        await client.aclose()

        documented = RedisClient({**where, "password": SECRET, "socket_timeout": 0.1})
        shown.append(repr(documented))
        with contextlib.suppress(Exception):
            await asyncio.wait_for(documented.initialize(), 0.5)
        shown.append(await shown_by(documented.get("key")))
        shown.append(await shown_by(documented.set("key", "value")))
        shown.append(await shown_by(documented.initialize()) if occasion == "nobody there" else "")
        await documented.close()

    if OCCASIONS[occasion] is None:
        run(main({"port": 1}))
    else:
        with ScriptedServer(**OCCASIONS[occasion]) as server:
            run(main(server.kwargs))
    out, err = capfd.readouterr()
    everything = shown + contexts + [logged.getvalue(), out, err]
    for text in everything:
        assert SECRET not in text
    LOOKED_AT.append(len(shown))


def test_urls_are_not_shown(logged):
    async def main():
        client = aiecs_redis.Redis.from_url(f"redis://ann:{SECRET}@127.0.0.1:1/0?socket_timeout=1")
        shown = repr(client) + await shown_by(client.get("key"))
        await client.aclose()
        return shown

    assert SECRET not in run(main()) + logged.getvalue()
    for url in (f"redis://ann:{SECRET}@host:port/0", f"nonsense://ann:{SECRET}@host/0"):
        try:
            aiecs_redis.Redis.from_url(url)
        except ValueError as exception:
            if SECRET in str(exception):
                with pytest.raises(ValueError, match=SECRET):  # redis-py's own words
                    redis.asyncio.Redis.from_url(url)


def test_figures(figure):
    """After the others."""
    if not LOOKED_AT:
        pytest.skip("run the whole file")
    figure(
        "secrets",
        f"{len(LOOKED_AT)} combinations of occasion and kind of credentials, {sum(LOOKED_AT)} "
        "reprs and exceptions, all logs, warnings and output: 0 with the secret in it",
    )


# --- in memory ---


def copies_in(pid, needle):
    """How often the bytes are found in the writable memory of another process."""
    found = 0
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            addresses, rights, *_ = line.split()
            if not rights.startswith("rw"):
                continue
            begin, end = (int(part, 16) for part in addresses.split("-"))
            try:
                memory.seek(begin)
                found += memory.read(end - begin).count(needle)
            except OSError:  # of the kernel's own
                continue
    return found


EVERYDAY = [("hello", True), ("codec", False), ("token", False)]


def readable_memory():
    try:
        with open("/proc/self/mem", "rb"):
            return hasattr(os, "geteuid") and os.geteuid() == 0
    except OSError:
        return False


@pytest.mark.skipif(not readable_memory(), reason="may not look into another process's memory")
@pytest.mark.skipif("ASAN_OPTIONS" in os.environ, reason="freed memory is kept back")
@pytest.mark.parametrize(
    ("how", "tls"),
    [
        pytest.param(how, tls, marks=[] if (how, tls) in EVERYDAY else pytest.mark.long)
        for how in ["hello", "auth", "codec", "late", "token"]
        for tls in [False, True]
    ],
)
def test_no_password_is_left_in_the_buffers_of_the_core(how, tls):
    """It was sent, in plain text or within TLS: what it was sent from holds it no longer."""
    number = secrets.randbits(255) | 1 << 252
    password = format(number, "064x")
    needle = password.encode()
    script = os.path.join(os.path.dirname(__file__), "isolated", "holds_password.py")
    digest = hashlib.sha256(needle).hexdigest()
    users = {"ann": f"on #{digest} ~* &* +@all", "bob": "on >bob ~* &* +@all"}
    with RedisServer(users=users, tls=tls) as server:
        command = [sys.executable, script, str(server.port), how]
        if tls:
            command.append(server.kwargs["ssl_ca_certs"])
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
        )
        counts = {}
        with child:
            child.stdin.write(f"{number}\n")
            child.stdin.flush()
            for where in ("before", "connected", "closed"):
                assert child.stdout.readline() == where + "\n"
                counts[where] = copies_in(child.pid, needle)
                child.stdin.write("\n")
                child.stdin.flush()
        assert child.returncode == 0
    assert counts["before"] >= 1, "the test does not see what is there"
    assert counts["connected"] <= counts["before"], counts
    assert counts["closed"] <= counts["before"], counts
