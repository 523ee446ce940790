"""Runs every example of the documentation and of the toolkit, then a short race against redis-py.

    python examples/demo.py [--verbose] [--only NAME] [--seconds S]

It uses the server that REDIS_HOST (REDIS_PORT, REDIS_DB, REDIS_PASSWORD, ...) names, and starts
one of its own when there is no REDIS_HOST.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import io
import logging
import os
import platform
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from importlib import metadata, util

import redis

from aiecs_redis import close_redis_client, initialize_redis_client, settings
from aiecs_redis.testing import RedisServer, Server, ServerError, server_from_environment

EXAMPLES = {
    "basics": "keys and hashes",
    "tasks": "status of tasks",
    "results": "results of tasks",
    "sessions": "user sessions",
    "lock": "distributed lock",
    "cache_manager": "cache in two levels",
    "configuration": "configuration in code",
    "documented_client": "the client as documented",
    "monitor": "monitor",
    "retry": "retry after time-outs",
    "memory": "memory check",
    "expiry_listener": "key-expiry listener",
    "transaction": "transaction",
    "transfer": "transfer in Lua",
    "best_practices": "best practices",
    "toolkit_lock": "toolkit: lock",
    "toolkit_cache": "toolkit: cache",
    "toolkit_serialization": "toolkit: serialization",
    "toolkit_stores": "toolkit: tasks, sessions",
    "toolkit_events": "toolkit: keyspace events",
    "toolkit_retry": "toolkit: retry",
}
"""Modules of this folder, each with a `main()` that returns its result in one line."""

PREFIXES = (
    "aiecs:",
    "{lock:",
    "user:",
    "task:",
    "result:",
    "session:",
    "lock:",
    "cache:",
    "other:",
    "value:",
)
"""How the keys begin that the examples write."""


def load(name: str) -> Callable[[], Awaitable[str]]:
    """Return the `main()` of an example, whether this is run as a script or imported."""
    module = importlib.import_module(f"{__package__}.{name}" if __package__ else name)
    main: Callable[[], Awaitable[str]] = module.main
    return main


@contextlib.contextmanager
def running_server(force: bool = False) -> Iterator[Server]:
    """Yield the server of the environment, or a new one, with REDIS_ variables leading to it."""
    config = {"maxmemory": "64mb", "maxmemory-policy": "allkeys-lru"}
    with server_from_environment(config=config) as server:
        if isinstance(server, RedisServer):
            for key, value in server.kwargs.items():
                os.environ[f"REDIS_{key.upper()}"] = str(value)
            yield server
            return
        with server.connect() as admin:
            if admin.dbsize() and not force:
                raise ServerError(
                    f"the database at {settings.location(server.kwargs)} is not empty, and the"
                    " examples write keys such as user:123: name an empty one in REDIS_DB, or"
                    " use --force"
                )
            yield server
            if not force:
                for prefix in PREFIXES:
                    for key in admin.scan_iter(match=f"{prefix}*", count=1000):
                        admin.delete(key)


async def run(name: str) -> tuple[str, str]:
    """Run one example on a fresh shared client; return its result and what it printed."""
    main = load(name)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        await initialize_redis_client()
        try:
            result = await main()
        finally:
            await close_redis_client()
    return result, said.getvalue()


def alone(main: Callable[[], Awaitable[str]]) -> None:
    """Run one example for itself: `python examples/tasks.py`."""

    async def body() -> str:
        await initialize_redis_client()
        try:
            return await main()
        finally:
            await close_redis_client()

    with running_server():
        print(f"-> {asyncio.run(body())}")


# ------------------------------------------------------------------ the report


def painted(text: str, code: str) -> str:
    """Return the text in colour on a terminal, else as it is."""
    wanted = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    return f"\033[{code}m{text}\033[0m" if wanted else text


def heading(server: Server) -> str:
    with server.connect(decode_responses=True) as admin:
        info = admin.info("server")
    product, version = "Redis", info["redis_version"]
    if "valkey_version" in info:
        product, version = "Valkey", info["valkey_version"]
    started = "started for this" if isinstance(server, RedisServer) else "yours"
    try:
        name = f"aiecs_redis {metadata.version('aiecs-redis')}"
    except metadata.PackageNotFoundError:
        name = "aiecs_redis"
    return (
        f"{name} on Python {platform.python_version()}, redis-py {redis.__version__},\n"
        f"{product} {version} at {settings.location(server.kwargs)} ({started})"
    )


def run_examples(names: list[str], verbose: bool) -> int:
    """Run them and print a line each; return how many failed."""
    marks = {"ok": "32", "skip": "33", "FAIL": "31;1"}
    counts = dict.fromkeys(marks, 0)
    width = max(map(len, EXAMPLES.values()))
    for name in names:
        began = time.perf_counter()
        try:
            result, said = asyncio.run(run(name))
            mark = "skip" if result.startswith("skipped") else "ok"
        except Exception as exc:
            result, said = f"{type(exc).__name__}: {exc}", traceback.format_exc()
            mark = "FAIL"
        counts[mark] += 1
        took = time.perf_counter() - began
        shown = painted(f"{mark:<4}", marks[mark])
        print(f"{shown}  {EXAMPLES[name]:<{width}}  {took:5.2f} s  {result}", flush=True)
        if verbose or mark == "FAIL":
            print("".join(f"          | {line}\n" for line in said.splitlines()), end="")
    skipped = f", {counts['skip']} skipped" if counts["skip"] else ""
    print(f"\n{counts['ok']} of {len(names)} examples ran{skipped}.")
    return counts["FAIL"]


def run_comparison(server: Server, seconds: float) -> None:
    comparison = importlib.import_module(
        f"{__package__}.comparison" if __package__ else "comparison"
    )
    parser = "with hiredis" if util.find_spec("hiredis") else "without hiredis"
    print(f"\nAgainst redis-py {redis.__version__} ({parser}), {seconds:g} s each, per second:\n")
    print(f"      {'':<18} {'redis-py':>10} {'aiecs_redis':>12}")
    for result in asyncio.run(comparison.compare(server.kwargs, seconds)):
        times = painted(f"{result.times:6.1f} times", "1")
        rates = f"{result.redis_py:>10,.0f} {result.ours:>12,.0f}"
        print(f"      {result.workload:<18} {rates} {times}")


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--verbose", action="store_true", help="show what the examples print")
    parser.add_argument("--only", choices=EXAMPLES, action="append", help="run this example")
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="of each race and side, 0 for no race (2)"
    )
    parser.add_argument("--force", action="store_true", help="use a database with keys in it")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.CRITICAL)  # errors the examples provoke on purpose
    try:
        with running_server(options.force) as server:
            print(heading(server), end="\n\n")
            names = options.only or list(EXAMPLES)
            failed = run_examples(names, options.verbose)
            if options.seconds > 0 and not options.only:
                run_comparison(server, options.seconds)
    except (ServerError, ValueError, redis.exceptions.RedisError) as exc:
        print(f"demo: {exc}", file=sys.stderr)
        return 2
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
