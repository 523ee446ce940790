"""`scan` and `delete`: keys by pattern, never with KEYS."""

import itertools
from collections.abc import AsyncIterator
from typing import Any, Optional

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from aiecs_redis.cli.connection import each_master, run
from aiecs_redis.cli.output import counted, emit, human_bytes, machine, notes, safe

EXAMPLES = 5


def wanted(pattern: str) -> str:
    """The pattern, which an empty variable of a shell is not."""
    if not pattern:
        raise ValueError("the pattern is empty: give one, such as 'user:*'")
    return pattern


def progress() -> Progress:
    """A progress bar on standard error, gone when it is done; none without a terminal."""
    screen = notes()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=screen,
        transient=True,
        disable=not screen.is_terminal,
    )


async def batches(
    client: Any, pattern: str, kind: Optional[str], size: int
) -> AsyncIterator[list[bytes]]:
    """Yield what each SCAN finds, empty lists too: they count for the progress."""
    cursor: Any = 0
    arguments: dict[str, Any] = {"match": pattern, "count": size}
    if kind is not None:
        arguments["_type"] = kind
    while True:
        cursor, found = await client.scan(cursor, **arguments)
        yield list(dict.fromkeys(found))  # SCAN may name a key twice
        if int(cursor) == 0:
            return


def printable(key: bytes) -> str:
    return key.decode("utf-8", "backslashreplace")


# ------------------------------------------------------------------------ scan


async def _scan(pattern: str, kind: Optional[str], limit: Optional[int], size: int) -> int:
    count = 0
    async with each_master(decode_responses=False) as (servers, _):
        for client, _where in servers:
            async for found in batches(client, pattern, kind, size):
                for key in found:
                    if count == limit:
                        return count
                    count += 1
                    name = printable(key)
                    if machine():
                        emit(name)
                    else:
                        print(name if name.isprintable() else repr(name))
    return count


def scan(
    pattern: str = typer.Argument("*", help="As in Redis: * ? [a-z]"),
    kind: Optional[str] = typer.Option(None, "--type", "-t", help="string, hash, list, ..."),
    limit: Optional[int] = typer.Option(None, "--limit", "-l", min=1, help="Stop after so many."),
    batch: int = typer.Option(1000, "--batch", "-b", min=1, help="Keys looked at in one go."),
) -> None:
    """List the keys that match a pattern, one in a line."""
    wanted(pattern)
    run(lambda: _scan(pattern, kind, limit, batch))


# ---------------------------------------------------------------------- delete


Servers = list[tuple[Any, str]]


async def _count(servers: Servers, pattern: str, kind: Optional[str], size: int) -> dict[str, Any]:
    """What matches: how many, some of them, and their memory by sample."""
    total = sum([await client.dbsize() for client, _ in servers])
    examples: list[str] = []
    count = memory = sampled = 0
    with progress() as bars:
        task = bars.add_task("looking for keys", total=total)
        for client, _ in servers:
            async for found in batches(client, pattern, kind, size):
                count += len(found)
                examples += [printable(key) for key in found[: EXAMPLES - len(examples)]]
                pipe = client.pipeline(transaction=False)
                for key in found[:10]:
                    pipe.memory_usage(key)
                sizes = [s for s in await pipe.execute(raise_on_error=False) if isinstance(s, int)]
                memory, sampled = memory + sum(sizes), sampled + len(sizes)
                bars.update(task, advance=min(size, total))
    estimate = memory * count // sampled if sampled else 0
    return {"matching": count, "examples": examples, "estimated_bytes": estimate}


async def _unlink(
    servers: Servers, pattern: str, kind: Optional[str], size: int, total: int, apart: bool
) -> int:
    deleted = 0
    with progress() as bars:
        task = bars.add_task("deleting", total=total)
        for client, _ in servers:
            async for found in batches(client, pattern, kind, size):
                for start in range(0, len(found), size):
                    part = list(itertools.islice(found, start, start + size))
                    deleted += await _unlink_some(client, part, apart)
                    bars.update(task, completed=min(deleted, total))
    return deleted


async def _unlink_some(client: Any, keys: list[bytes], apart: bool) -> int:
    if not apart:
        return int(await client.unlink(*keys))
    pipe = client.pipeline(transaction=False)  # one command takes the keys of one slot only
    for key in keys:
        pipe.unlink(key)
    return sum(await pipe.execute())


async def _delete(
    pattern: str, kind: Optional[str], size: int, dry_run: bool, yes: bool
) -> dict[str, Any]:
    async with each_master(decode_responses=False) as (servers, where):
        found = await _count(servers, pattern, kind, size)
        found = {"server": where, "pattern": pattern, **found, "deleted": 0, "dry_run": dry_run}
        if dry_run or not found["matching"]:
            return found
        if not yes:
            _ask(found)
        apart = servers[0][1] != where
        total = found["matching"]
        found["deleted"] = await _unlink(servers, pattern, kind, size, total, apart)
        return found


def _summary(found: dict[str, Any]) -> str:
    examples = ", ".join(map(safe, found["examples"]))
    more = ", ..." if found["matching"] > len(found["examples"]) else ""
    size = human_bytes(found["estimated_bytes"])
    keys = counted(found["matching"], "key")
    return f"{keys}, about {size}, at {found['server']}: {examples}{more}"


def _ask(found: dict[str, Any]) -> None:
    if machine():
        raise ValueError("delete --json deletes nothing without --yes (or try --dry-run)")
    them = "it" if found["matching"] == 1 else "them"
    typer.confirm(f"{_summary(found)}\nDelete {them}?", abort=True, err=True)


def delete(
    pattern: str = typer.Argument(..., help="As in Redis: * ? [a-z]"),
    dry_run: bool = typer.Option(False, "--dry-run", "-n", help="Only tell what matches."),
    yes: bool = typer.Option(False, "--yes", "-y", help="Do not ask."),
    kind: Optional[str] = typer.Option(None, "--type", "-t", help="string, hash, list, ..."),
    batch: int = typer.Option(500, "--batch", "-b", min=1, help="Keys in one go."),
) -> None:
    """Delete the keys that match a pattern, in batches (SCAN, UNLINK)."""
    wanted(pattern)
    found = run(lambda: _delete(pattern, kind, batch, dry_run, yes))
    if machine():
        emit(found)
    elif not found["matching"]:
        print(f"No key matches {pattern}.")
    elif dry_run:
        print(f"Would delete {_summary(found)}")
    else:
        print(f"Deleted {counted(found['deleted'], 'key')}.")
