"""`python -m aiecs_redis COMMAND ...`: finds the module of a command and hands it the rest."""

from __future__ import annotations

import importlib
import sys

COMMANDS = {
    "run": ("aiecs_redis._run", "run a script or module with native redis.asyncio clients"),
}
"""Command -> module, imported when it is asked for, and what the command does. The module has
main(arguments), which returns an exit code or None."""


def usage() -> str:
    lines = "\n".join(f"  {name:<10} {what}" for name, (_, what) in COMMANDS.items())
    return f"usage: python -m aiecs_redis COMMAND ...\n\ncommands:\n{lines}\n"


def main(arguments: list[str]) -> int | None:
    """Run a command line (without the program's name) and return its exit code."""
    if arguments and arguments[0] in ("-h", "--help"):
        sys.stdout.write(usage())
        return 0
    if not arguments or arguments[0] not in COMMANDS:
        problem = f"no such command: {arguments[0]}" if arguments else "name a command"
        sys.stderr.write(f"{usage()}\naiecs_redis: {problem}\n")
        return 2
    module = importlib.import_module(COMMANDS[arguments[0]][0])
    code: int | None = module.main(arguments[1:])
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
