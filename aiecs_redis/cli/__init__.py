"""The command line: `aiecs-redis ...`, or `python -m aiecs_redis ...`.

`main()` takes the connection's options out of the arguments, wherever they stand. `ping`,
`health`, `serve` and `run` need nothing but this package, so that a container works without the
extra; the other commands are made with Typer and Rich (extra `cli`).

Exit status: 0 for yes and done, 1 for no and failed, 2 for what was asked wrongly, 130 for Ctrl-C.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence

from redis.exceptions import RedisClusterException, RedisError

from aiecs_redis._extras import MissingExtraError, need

__all__ = ["explained", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments without the program's name; `sys.argv[1:]` by default.

    Returns:
        the exit status. Never raises SystemExit.
    """
    from aiecs_redis.cli.connection import take_options

    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        rest = take_options(arguments)
        return _dispatch(rest)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has gone: `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, MissingExtraError) as exc:
        return _say(exc, 2)
    except (RedisError, RedisClusterException, OSError) as exc:
        return _say(exc, 1)
    except asyncio.TimeoutError:
        return _say(TimeoutError("the server did not answer in time"), 1)


_NO_PASSWORD = ("HELLO must be called with", "NOAUTH", "Authentication required")
_REMEDIES = (
    ("certificate verify failed", "name the authority's certificates: --ca, REDIS_SSL_CA_CERTS"),
    ("invalid username-password pair", "see --user and --ask-password, or REDIS_PASSWORD"),
)
_REMEDIES_WITH_TLS = (("Timeout connecting", "does the server speak TLS? leave --tls out if not"),)
_REMEDIES_WITHOUT_TLS = (("reset by peer", "does the server speak nothing but TLS? --tls"),)


def explained(exc: BaseException) -> str:
    """An error in one sentence, with its remedy where one is known."""
    from aiecs_redis.cli.connection import speaks_tls

    text = str(exc) or type(exc).__name__
    if any(part in text for part in _NO_PASSWORD):
        return "the server asks for a password: REDIS_PASSWORD, --ask-password"
    also = _REMEDIES_WITH_TLS if speaks_tls() else _REMEDIES_WITHOUT_TLS
    for part, remedy in (*_REMEDIES, *also):
        if part in text:
            return f"{text} ({remedy})"
    return text


def _say(exc: Exception, status: int) -> int:
    print(f"aiecs-redis: {explained(exc)}", file=sys.stderr)
    return status


def _dispatch(arguments: list[str]) -> int:
    from aiecs_redis.cli import plain

    if arguments and arguments[0] in plain.COMMANDS:
        return plain.run_command(arguments)
    if arguments == ["--version"]:
        return plain.version()
    try:
        for module in ("typer", "rich"):
            need(module, "cli", f"Every command but {plain.NAMES}")
    except MissingExtraError:
        if arguments and arguments != ["--help"]:
            raise
        return plain.usage(sys.stdout if arguments else sys.stderr)
    from aiecs_redis.cli.app import run

    return run(arguments)
