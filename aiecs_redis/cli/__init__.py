"""The command line: `aiecs-redis ...`, or `python -m aiecs_redis ...`.

`main()` takes the connection's options out of the arguments, wherever they stand. `ping`,
`health` and `serve` need nothing but this package, so that a container works without the extra; the
other commands are made with Typer and Rich (extra `cli`).

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


_REMEDIES = (
    ("HELLO must be called with", "the server asks for a password: REDIS_PASSWORD, --ask-password"),
    ("NOAUTH", "the server asks for a password: REDIS_PASSWORD, --ask-password"),
    ("Authentication required", "the server asks for a password: REDIS_PASSWORD, --ask-password"),
    ("certificate verify failed", "name the authority's certificates: --ca, REDIS_SSL_CA_CERTS"),
)


def explained(exc: BaseException) -> str:
    """An error in one sentence, with its remedy where one is known."""
    text = str(exc) or type(exc).__name__
    for part, remedy in _REMEDIES:
        if part in text:
            return remedy if "password" in remedy else f"{text} ({remedy})"
    return text


def _say(exc: Exception, status: int) -> int:
    print(f"aiecs-redis: {explained(exc)}", file=sys.stderr)
    return status


def _dispatch(arguments: list[str]) -> int:
    from aiecs_redis.cli import plain

    if arguments and arguments[0] in plain.COMMANDS:
        return plain.run_command(arguments)
    need("typer", "cli", "The command line")
    need("rich", "cli", "The command line")
    from aiecs_redis.cli.app import run

    return run(arguments)
