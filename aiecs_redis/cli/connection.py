"""From options and environment to a connected client, for one command."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import getpass
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiecs_redis import _checks as checks
from aiecs_redis import settings
from aiecs_redis._nodes import is_cluster, node_settings
from aiecs_redis._opening import open_redis
from aiecs_redis.client import Redis
from aiecs_redis.pools import ConnectionPool

__all__ = [
    "CONNECTION_HELP",
    "Options",
    "connected",
    "current",
    "each_master",
    "run",
    "speaks_tls",
    "take_options",
]

T = TypeVar("T")

CONNECTION_HELP = """\
connection, by default that of REDIS_URL, REDIS_HOST, REDIS_PORT, REDIS_DB, REDIS_PASSWORD, ...:
  --url URL             redis://, rediss:// (TLS) or unix://
  --host H --port P     server
  --db N                database
  --user NAME           user name (ACL)
  --ask-password        ask for the password; better put it in REDIS_PASSWORD
  --socket PATH         unix socket
  --tls                 TLS, certificate and host name verified
  --ca FILE             certificates of authorities to trust
  --timeout SECONDS     for connecting and for each answer (5)
output:
  --json                for machines
"""


@dataclass
class Options:
    """How to connect, and how to print.

    Attributes:
        config: settings as `aiecs_redis.settings` knows them.
        timeout: seconds for connecting and for each answer.
        json: print JSON.
    """

    config: dict[str, Any] = field(default_factory=dict)
    timeout: float = 5.0
    json: bool = False


_OPTIONS = {"unix_socket_path": "socket", "username": "user", "ssl_ca_certs": "ca"}
"""Options that are called otherwise than their settings."""

_current: ContextVar[Options] = ContextVar("options")


def current() -> Options:
    """The options of the command that runs."""
    found = _current.get(None)
    return Options() if found is None else found


def speaks_tls() -> bool:
    """Whether the command speaks TLS to its server."""
    try:
        return bool(settings.load(_settings({})).get("ssl"))
    except ValueError:  # somebody else's to tell
        return False


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise ValueError(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--url")
    parser.add_argument("--host")
    parser.add_argument("--port")
    parser.add_argument("--db")
    parser.add_argument("--user", dest="username")
    parser.add_argument("--ask-password", action="store_true")
    parser.add_argument("--socket", dest="unix_socket_path")
    parser.add_argument("--tls", dest="ssl", action="store_true", default=None)
    parser.add_argument("--ca", dest="ssl_ca_certs")
    parser.add_argument("--timeout", type=float, default=5.0)
    parser.add_argument("--json", action="store_true")
    return parser


def take_options(arguments: list[str]) -> list[str]:
    """Take the connection's options out of the arguments, before `--`; return the others.

    Raises:
        ValueError: an option without its value, or a wrong one.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    found, rest = _parser().parse_known_args(arguments[:end])
    known = vars(found)
    options = Options(json=known.pop("json"), timeout=known.pop("timeout"))
    checks.seconds("--timeout", options.timeout)
    if known.pop("ask_password"):
        known["password"] = getpass.getpass("Redis password: ")
    given = {key: value for key, value in known.items() if value is not None}
    try:
        options.config = settings.check(given)
    except ValueError as exc:
        name, _, said = str(exc).partition("=")
        if name not in given:
            raise
        raise ValueError(f"--{_OPTIONS.get(name, name)}={said}") from None
    _current.set(options)
    return [*rest, *arguments[end:]]


@contextlib.asynccontextmanager
async def connected(**config: Any) -> AsyncIterator[tuple[Redis, str]]:
    """Yield a client that has said PING, and where its server is: `host:port/db`.

    Of a cluster it is the first node that is named; through Sentinels it is the master.

    Args:
        **config: settings that come before those of the command line; None: the default.

    Raises:
        ValueError: a wrong setting in the environment.
        redis.exceptions.RedisError: the server cannot be reached, or sends us away.
    """
    merged = _settings(config)
    nodes = settings.load(merged).get("cluster_nodes")
    if nodes:  # these commands look at servers, one at a time
        merged["host"], merged["port"] = nodes[0]
    client, where = await open_redis({**merged, "cluster": False})
    try:
        yield client, where
    finally:
        await client.aclose()


@contextlib.asynccontextmanager
async def each_master(**config: Any) -> AsyncIterator[tuple[list[tuple[Redis, str]], str]]:
    """Yield clients of the server, or of each master of its cluster, and what to call them all.

    Raises as `connected`.
    """
    client, where = await open_redis(_settings(config))
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(client.aclose)
        if not is_cluster(client):
            yield [(client, where)], where
            return
        masters = []
        for node in client.get_primaries():
            connection_class, arguments = node_settings(node)
            pool = ConnectionPool(connection_class=connection_class, **arguments)
            one = Redis.from_pool(pool)
            stack.push_async_callback(one.aclose)
            masters.append((one, node.name))
        masters.sort(key=lambda master: master[1])
        yield masters, f"the {len(masters)} masters of the cluster at {where}"


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    options = current()
    return {
        "socket_timeout": options.timeout,
        "socket_connect_timeout": options.timeout,
        "encoding_errors": "backslashreplace",  # names of keys may be anything
        "client_name": "aiecs-redis-cli",
        **options.config,
        **config,
    }


def run(body: Callable[[], Awaitable[T]]) -> T:
    """Run a command's coroutine function in a loop of its own."""

    async def start() -> T:
        return await body()

    return asyncio.run(start())
