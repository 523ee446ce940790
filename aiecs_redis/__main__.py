"""`python -m aiecs_redis`: `run` starts a program, everything else is the command line."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main(arguments: list[str]) -> int | None:
    """Run a command line (without the program's name) and return its exit code.

    `run` has arguments of its own, which nobody else looks at.
    """
    if arguments[:1] == ["run"]:
        from aiecs_redis import _run

        return _run.main(arguments[1:])
    from aiecs_redis import cli

    return cli.main(arguments)


def program() -> int | None:
    """The console script `aiecs-redis`."""
    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(program())
