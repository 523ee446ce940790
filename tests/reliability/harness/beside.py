"""What a slow PING is made of: the part of the server, seen by another process, and ours."""

from __future__ import annotations

import asyncio
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from typing import Any

Interval = tuple[float, float]

# On a socket of its own, without any client: what it waits for is the server (and the machine).
PROBE = """
import socket, sys, time
probe = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
print("ready", flush=True)
sys.stdin.read(1)
for second in iter(lambda: time.monotonic(), None):
    probe.sendall(b"PING\\r\\n")
    if not probe.recv(100):
        break
    print(second, time.monotonic(), flush=True)
    time.sleep(0.002)
"""


class Probe:
    """Another process that PINGs all the time: `with Probe(port) as probe`, then `probe.waits`."""

    def __init__(self, port: int) -> None:
        command = [sys.executable, "-c", PROBE, str(port)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
        )
        self.waits: list[Interval] = []
        self._reader = threading.Thread(target=self._read)  # a full pipe would stop it

    def __enter__(self) -> Probe:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        self._reader.start()
        return self

    def begin(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def looks_since(self, moment: float) -> int:
        """How many of its PINGs that began later have been answered."""
        return sum(begun >= moment for begun, _ in list(self.waits))

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            words = line.split()
            if len(words) == 2:
                self.waits.append((float(words[0]), float(words[1])))

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self._reader.join()
        self.process.communicate()


def without(wait: Interval, others: Iterable[Interval]) -> float:
    """Seconds of `wait` in which none of `others`, which follow each other, was going on."""
    begun, ended = wait
    covered = sum(max(0.0, min(ended, b) - max(begun, a)) for a, b in others)
    return max(0.0, ended - begun - covered)


class Turns(selectors.DefaultSelector):
    """A selector that notes the processor time of each turn of the loop, in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self._begun: float | None = None

    def select(self, timeout: float | None = None) -> Any:
        if self._begun is not None:
            self.seconds.append(time.thread_time() - self._begun)
        events = super().select(timeout)
        self._begun = time.thread_time()
        return events


def run_with_turns(coroutine: Any, turns: Turns, limit: float) -> Any:
    """`asyncio.run()` on a loop with that selector."""
    loop = asyncio.SelectorEventLoop(turns)
    try:
        return loop.run_until_complete(asyncio.wait_for(coroutine, limit))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
