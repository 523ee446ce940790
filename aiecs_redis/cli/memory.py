"""`bigkeys` and `memory`: what takes the room."""

import heapq
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

import typer

from aiecs_redis._server_info import read_info
from aiecs_redis.cli.connection import connected, each_master, run
from aiecs_redis.cli.keys import batches, printable, progress, wanted
from aiecs_redis.cli.output import (
    bar,
    console,
    counted,
    emit,
    fields,
    human_bytes,
    human_count,
    machine,
    need_command,
    table,
)

app: typer.Typer = typer.Typer(
    invoke_without_command=True,
    callback=need_command,
    help="Memory: in use, by prefix, and giving it back.",
)

BATCH = 500

_LENGTH = {
    "string": "strlen",
    "list": "llen",
    "hash": "hlen",
    "set": "scard",
    "zset": "zcard",
    "stream": "xlen",
}


@dataclass(frozen=True, order=True)
class Key:
    """A key and what it takes."""

    memory: int
    name: str
    kind: str = ""
    length: int = 0


async def _sizes(client: Any, keys: list[bytes], samples: int) -> list[tuple[bytes, int]]:
    """MEMORY USAGE of each; keys that have gone meanwhile are left out."""
    pipe = client.pipeline(transaction=False)
    for key in keys:
        pipe.memory_usage(key, samples=samples)
    return [(key, size) for key, size in zip(keys, await pipe.execute()) if size is not None]


async def _describe(client: Any, found: list[tuple[int, bytes]]) -> list[Key]:
    pipe = client.pipeline(transaction=False)
    for _, key in found:
        pipe.type(key)
    kinds = [str(kind, "ascii") for kind in await pipe.execute()] if found else []
    pipe = client.pipeline(transaction=False)
    for (_, key), kind in zip(found, kinds):
        if kind in _LENGTH:
            getattr(pipe, _LENGTH[kind])(key)
        else:
            pipe.exists(key)
    lengths = await pipe.execute(raise_on_error=False) if found else []
    return [
        Key(size, printable(key), kind, length if isinstance(length, int) else 0)
        for (size, key), kind, length in zip(found, kinds, lengths)
    ]


async def _bigkeys(pattern: str, count: int, samples: int) -> tuple[list[Key], int, int]:
    largest: list[tuple[int, bytes, int]] = []
    seen = total = 0
    async with each_master(decode_responses=False) as (servers, _):
        clients: list[Any] = [client for client, _ in servers]
        with progress() as bars:
            keys_in_all = sum([await client.dbsize() for client in clients])
            task = bars.add_task("measuring keys", total=keys_in_all)
            for number, client in enumerate(clients):
                async for keys in batches(client, pattern, None, BATCH):
                    for key, size in await _sizes(client, keys, samples):
                        seen, total = seen + 1, total + size
                        heapq.heappush(largest, (size, key, number))
                        if len(largest) > count:
                            heapq.heappop(largest)
                    bars.update(task, advance=len(keys))
        described: list[Key] = []
        for number, client in enumerate(clients):
            its = [(size, key) for size, key, owner in largest if owner == number]
            described += await _describe(client, its)
        return sorted(described, reverse=True), seen, total


def bigkeys(
    pattern: str = typer.Argument("*", help="As in Redis: * ? [a-z]"),
    count: int = typer.Option(20, "--count", "-c", min=1, help="How many to show."),
    samples: int = typer.Option(5, "--samples", min=0, help="Of large values; 0 for all."),
) -> None:
    """Show the keys that take most memory."""
    wanted(pattern)
    keys, seen, total = run(lambda: _bigkeys(pattern, count, samples))
    if machine():
        emit({"keys": [vars(key) for key in keys], "seen": seen, "bytes": total})
        return
    if not keys:
        print(f"No key matches {pattern}.")
        return
    rows = [
        (human_bytes(k.memory), f"{k.memory / total:.1%}", k.kind, human_count(k.length), k.name)
        for k in keys
    ]
    console().print(table(("memory>", "part>", "type", "length>", "key"), rows))
    take = "takes" if seen == 1 else "take"
    print(f"\n{counted(seen, 'key')} {take} {human_bytes(total)}.")


# --------------------------------------------------------------------- prefixes


def prefix_of(name: str, separator: str, depth: int) -> str:
    """`user:1:name` by one `:` is `user:*`; a name without a separator is a group of its own."""
    pieces = name.split(separator)
    if len(pieces) <= depth:
        return name if len(pieces) == 1 else separator.join(pieces[:-1]) + f"{separator}*"
    return separator.join(pieces[:depth]) + f"{separator}*"


async def _prefixes(
    pattern: str, separator: str, depth: int, every: int
) -> tuple[Counter[str], Counter[str], dict[str, int]]:
    keys: Counter[str] = Counter()
    memory: Counter[str] = Counter()
    without_expiry: dict[str, int] = defaultdict(int)
    number = 0
    async with each_master(decode_responses=False) as (servers, _):
        clients: list[Any] = [client for client, _ in servers]
        with progress() as bars:
            keys_in_all = sum([await client.dbsize() for client in clients])
            task = bars.add_task("measuring keys", total=keys_in_all)
            for client in clients:
                async for found in batches(client, pattern, None, BATCH):
                    chosen = [key for n, key in enumerate(found, number) if n % every == 0]
                    number += len(found)
                    pipe = client.pipeline(transaction=False)
                    for key in chosen:
                        pipe.ttl(key)
                    lasting = await pipe.execute() if chosen else []
                    ttls = dict(zip(chosen, lasting))
                    for key, size in await _sizes(client, chosen, 5) if chosen else []:
                        group = prefix_of(printable(key), separator, depth)
                        keys[group] += every
                        memory[group] += size * every
                        without_expiry[group] += every * (ttls[key] == -1)
                    bars.update(task, advance=len(found))
    return keys, memory, without_expiry


@app.command()
def prefixes(
    pattern: str = typer.Argument("*", help="As in Redis: * ? [a-z]"),
    separator: str = typer.Option(":", "--separator", "-s", help="Between the pieces of a name."),
    depth: int = typer.Option(1, "--depth", "-d", min=1, help="Pieces that make a prefix."),
    every: int = typer.Option(1, "--every", min=1, help="Measure each n-th key only."),
    count: int = typer.Option(30, "--count", "-c", min=1, help="How many to show."),
) -> None:
    """Show how much memory the keys of each prefix take, and how many never expire."""
    wanted(pattern)
    if not separator:
        raise ValueError("--separator is empty: give what stands between the pieces of a name")
    keys, memory, lasting = run(lambda: _prefixes(pattern, separator, depth, every))
    total = sum(memory.values())
    if machine():
        emit(
            [
                {"prefix": p, "keys": keys[p], "bytes": size, "without_expiry": lasting[p]}
                for p, size in memory.most_common()
            ]
        )
        return
    if not memory:
        print(f"No key matches {pattern}.")
        return
    rows = [
        (
            prefix,
            human_count(keys[prefix]),
            human_bytes(size),
            human_bytes(size / keys[prefix]),
            human_count(lasting[prefix]),
            f"{bar(size / total, 16)} {size / total:.1%}",
        )
        for prefix, size in memory.most_common(count)
    ]
    columns = ("prefix", "keys>", "memory>", "each>", "no expiry>", "")
    console().print(table(columns, rows))
    if every > 1:
        print(f"\nEstimated from one key in {every}.")


# ----------------------------------------------------------------- usage, purge


async def _usage() -> dict[str, Any]:
    async with connected() as (client, _):
        info = await read_info(client)
    found: dict[str, Any] = {
        name: int(info.number(name))
        for name in (
            "used_memory",
            "used_memory_peak",
            "used_memory_rss",
            "used_memory_dataset",
            "used_memory_overhead",
            "maxmemory",
        )
    }
    found["maxmemory_policy"] = info.text("maxmemory_policy")
    found["mem_fragmentation_ratio"] = info.number("mem_fragmentation_ratio")
    return found


@app.command()
def usage() -> None:
    """Show the memory in use."""
    found = run(_usage)
    if machine():
        emit(found)
        return
    limit = found["maxmemory"]
    shown = {
        "in use": human_bytes(found["used_memory"]),
        "limit": human_bytes(limit) if limit else "none",
        "policy": found["maxmemory_policy"],
        "peak": human_bytes(found["used_memory_peak"]),
        "data": human_bytes(found["used_memory_dataset"]),
        "overhead": human_bytes(found["used_memory_overhead"]),
        "resident": human_bytes(found["used_memory_rss"]),
        "fragmentation": f"{found['mem_fragmentation_ratio']:.2f}",
    }
    if limit:
        part = found["used_memory"] / limit
        shown["in use"] += f"  {bar(part, 20)} {part:.1%}"
    console().print(fields(shown))


async def _purge() -> tuple[int, int]:
    before = after = 0
    async with each_master() as (servers, _):
        for client, _where in servers:
            anything: Any = client
            before += (await anything.info("memory"))["used_memory_rss"]
            await anything.execute_command("MEMORY", "PURGE")
            after += (await anything.info("memory"))["used_memory_rss"]
    return before, after


@app.command()
def purge() -> None:
    """Have the server give unused memory back to the system (MEMORY PURGE)."""
    before, after = run(_purge)
    if machine():
        emit({"rss_before": before, "rss_after": after})
    else:
        print(f"Resident memory: {human_bytes(before)} before, {human_bytes(after)} now.")
