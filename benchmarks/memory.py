"""Resident memory of waiting tasks, while the server holds all replies back, and of clients."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Callable, NamedTuple

from benchmarks import data
from benchmarks.address import Address
from benchmarks.clients.commands import Connect
from benchmarks.measure import WrongReply

PAUSE_SECONDS = 2.5
SETTLE_SECONDS = 1.5
REPLY_SECONDS = 30.0
MIB = 1024 * 1024

Get = Callable[[str], Awaitable[Any]]


class Memory(NamedTuple):
    before_mib: float
    growth_mib: float


async def measure_waiting(get: Get, address: Address, tasks: int) -> Memory:
    """Grows by `tasks` tasks, each in one GET. Every reply is then awaited and verified."""
    await get(data.value_key(0))
    gc.collect()
    before = resident_bytes()
    _pause(address)
    waiting = [asyncio.ensure_future(_get_once(get, number)) for number in range(tasks)]
    await asyncio.sleep(SETTLE_SECONDS)
    growth = resident_bytes() - before
    for task in waiting:
        if task.done():
            task.result()  # raises what the client did
            raise RuntimeError("the server answered while it was to be paused")
    await asyncio.wait_for(asyncio.gather(*waiting), REPLY_SECONDS)
    return Memory(before / MIB, growth / MIB)


async def measure_clients(connect: Connect, address: Address, clients: int) -> Memory:
    """Grows by so many clients, each with one connection; the growth told is that of one."""
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(connect(address, 1))
        await _get_once(first.get, 0)
        gc.collect()
        before = resident_bytes()
        for number in range(clients):
            further = await stack.enter_async_context(connect(address, 1))
            await _get_once(further.get, number)
        gc.collect()
        growth = resident_bytes() - before
    return Memory(before / MIB, growth / clients / MIB)


async def measure_floor(tasks: int) -> Memory:
    """The same tasks without any client, each waiting on one future."""
    loop = asyncio.get_running_loop()
    futures: dict[str, asyncio.Future[bytes]] = {}

    def get(key: str) -> Awaitable[Any]:
        return futures.setdefault(key, loop.create_future())

    gc.collect()
    before = resident_bytes()
    waiting = [asyncio.ensure_future(_get_once(get, number)) for number in range(tasks)]
    await asyncio.sleep(0)
    growth = resident_bytes() - before
    for number in range(tasks):
        futures[data.value_key(number)].set_result(data.value(number))
    await asyncio.gather(*waiting)
    return Memory(before / MIB, growth / MIB)


def resident_bytes() -> int:
    return _status_bytes("VmRSS")


def peak_resident_bytes() -> int:
    """Not ru_maxrss, which a new process inherits from the one that started it."""
    return _status_bytes("VmHWM")


async def _get_once(get: Get, number: int) -> None:
    reply = await get(data.value_key(number))
    if reply != data.value(number):
        raise WrongReply(f"{reply!r:.200} instead of {data.value(number)!r:.200}")


def _pause(address: Address) -> None:
    milliseconds = int(PAUSE_SECONDS * 1000)
    with socket.create_connection(address) as connection:
        connection.sendall(f"CLIENT PAUSE {milliseconds} ALL\r\n".encode())
        if connection.recv(5) != b"+OK\r\n":
            raise RuntimeError("the server refuses CLIENT PAUSE")


def _status_bytes(name: str) -> int:
    """Bytes from /proc/self/status; 0 on systems that have none."""
    if not sys.platform.startswith("linux"):
        return 0
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    return 0
