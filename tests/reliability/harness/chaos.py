"""Load on counters and values while servers fail; every acknowledged effect is accounted for."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from typing import Any

from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TryAgainError,
)

from harness.measure import hung, in_thread

# What the server answers without having executed the command, or the client without having sent it.
REFUSED = (
    AskError,
    ClusterDownError,
    MovedError,
    ReadOnlyError,
    TryAgainError,
    RedisClusterException,
)


class Key:
    """One key's counter and one key's value, used by one task only."""

    def __init__(self, name: str) -> None:
        self.counter, self.value = f"{name}:n", f"{name}:v"
        self.acknowledged = self.ambiguous = 0
        self.possible: set[str | None] = {None}  # what the value may be
        self.answered_at = (0.0, 0.0)  # when the last INCR that was answered began and ended


class Load:
    """Tasks that INCR, SET and GET keys of their own until they are stopped.

    Args:
        client: of the cluster or the master; it decodes replies.
        names: of keys, with their hash tags; shared out among the tasks.
        tasks: how many.
    """

    def __init__(self, client: Any, names: list[str], tasks: int) -> None:
        self.client = client
        self.keys = [Key(name) for name in names]
        self.answers = self.misrouted = self.still = self.strange = 0
        self.errors: Counter[str] = Counter()
        self.stopped = False
        self._nonce = 0
        self._tasks = [
            asyncio.ensure_future(self._work(self.keys[number::tasks]))
            for number in range(min(tasks, len(self.keys)))
        ]

    async def _work(self, keys: list[Key]) -> None:
        rng = random.Random(keys[0].counter)
        while not self.stopped:
            key = rng.choice(keys)
            try:
                await rng.choice((self._incr, self._incr, self._set, self._get))(key)
                self.answers += 1
            except Exception as error:
                self.errors[type(error).__name__] += 1
                self.strange += not isinstance(error, (RedisError, RedisClusterException))
                await asyncio.sleep(0.005)
            if rng.random() < 0.02:
                await asyncio.sleep(0.001)

    async def _incr(self, key: Key) -> None:
        began = time.monotonic()
        try:
            count = await self.client.incr(key.counter)
        except Exception as error:
            key.ambiguous += not isinstance(error, (*REFUSED, ResponseError))
            raise
        key.acknowledged += 1
        key.answered_at = (began, time.monotonic())
        if not key.acknowledged <= count <= key.acknowledged + key.ambiguous:
            self.misrouted += 1

    async def _set(self, key: Key) -> None:
        self._nonce += 1
        nonce = f"{key.value}={self._nonce}"
        try:
            await self.client.set(key.value, nonce)
        except Exception as error:
            if not isinstance(error, (*REFUSED, ResponseError)):
                key.possible.add(nonce)
            raise
        # One that was in doubt before may still be in a server's queue.
        key.possible = {nonce, *key.possible} if len(key.possible) > 1 else {nonce}

    async def _get(self, key: Key) -> None:
        value = await self.client.get(key.value)
        if value not in key.possible:
            self.misrouted += 1

    async def served(self, names: set[str], since: float, limit: float = 20.0) -> float:
        """Seconds from `since` to the first answer to an INCR of these keys that began later."""
        keys = [key for key in self.keys if key.counter in names]
        assert keys, "no key is on that shard"
        while time.monotonic() - since < limit:
            ended = [key.answered_at[1] for key in keys if key.answered_at[0] >= since]
            if ended:
                return min(ended) - since
            await asyncio.sleep(0.002)
        return limit

    async def flowing(self) -> None:
        """Return when every key has been counted, so that every server is in use."""
        while not all(key.acknowledged for key in self.keys):
            await asyncio.sleep(0.01)

    async def stop(self, limit: float = 30.0) -> Load:
        """Let every task come to its end; count those that do not."""
        self.stopped = True
        self.still = await hung(self._tasks, limit)
        for task in self._tasks:
            if not task.cancelled():
                task.result()
        return self

    def lost(self, counts: dict[str, int]) -> int:
        """How many keys were counted less than acknowledged, or more than was tried."""
        return sum(
            not key.acknowledged <= counts.get(key.counter, 0) <= key.acknowledged + key.ambiguous
            for key in self.keys
        )

    def told(self) -> str:
        ambiguous = sum(key.ambiguous for key in self.keys)
        return (
            f"{self.answers:,} answers, {ambiguous} ambiguous: {self.still} hung, "
            f"{self.misrouted} misrouted"
        )


async def counts(servers: list[Any], names: list[str]) -> dict[str, int]:
    """The counters as the masters have them, each asked directly."""

    def ask() -> dict[str, int]:
        found: dict[str, int] = {}
        for server in servers:
            for key in server.call("KEYS", "*:n"):
                if key in wanted:
                    found[key] = int(server.call("GET", key))
        return found

    wanted = {f"{name}:n" for name in names}
    return await in_thread(ask)
