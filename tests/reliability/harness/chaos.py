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
    """Tasks that INCR, SET and GET keys of their own, one by one, in pipelines and in transactions.

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
        ways: tuple[Any, ...] = (self._incr, self._incr, self._set, self._get)
        ways = (*ways, *ways, self._pipeline, self._transaction, self._mget)
        while not self.stopped:
            key = rng.choice(keys)
            try:
                await rng.choice(ways)(key)
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
        key.answered_at = (began, time.monotonic())
        self._counted(key, count)

    def _counted(self, key: Key, count: int) -> None:
        key.acknowledged += 1
        if not key.acknowledged <= count <= key.acknowledged + key.ambiguous:
            self.misrouted += 1

    def _new_value(self, key: Key) -> str:
        self._nonce += 1
        return f"{key.value}={self._nonce}"

    def _stored(self, key: Key, nonce: str) -> None:
        # One that was in doubt before may still be in a server's queue.
        key.possible = {nonce, *key.possible} if len(key.possible) > 1 else {nonce}

    async def _set(self, key: Key) -> None:
        nonce = self._new_value(key)
        try:
            await self.client.set(key.value, nonce)
        except Exception as error:
            if not isinstance(error, (*REFUSED, ResponseError)):
                key.possible.add(nonce)
            raise
        self._stored(key, nonce)

    async def _get(self, key: Key) -> None:
        value = await self.client.get(key.value)
        if value not in key.possible:
            self.misrouted += 1

    async def _mget(self, key: Key) -> None:
        """Of two keys in one slot, which a slot on its way may have half of."""
        value, count = await self.client.mget(key.value, key.counter)
        known = key.acknowledged <= int(count or 0) <= key.acknowledged + key.ambiguous
        self.misrouted += value not in key.possible or not known

    async def _pipeline(self, key: Key, transaction: bool = False) -> None:
        nonce = self._new_value(key)
        pipeline = self.client.pipeline(transaction=transaction)
        pipeline.incr(key.counter)
        pipeline.set(key.value, nonce)
        pipeline.get(key.value)
        try:
            count, _, value = await pipeline.execute()
        except Exception:  # one of the three may have been executed
            key.ambiguous += 1
            key.possible.add(nonce)
            raise
        self._counted(key, count)
        self._stored(key, nonce)
        self.misrouted += value != nonce

    async def _transaction(self, key: Key) -> None:
        await self._pipeline(key, transaction=True)

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


def stop_writing(master: Any, replicas: list[Any]) -> None:
    """Let writes wait, and return when the replicas have all that the master has acknowledged.

    Replication is asynchronous: without it a killed master takes some of that with it.
    """
    master.call("CLIENT", "PAUSE", 10_000, "WRITE")
    end = time.monotonic() + 5
    offset = int(master.replication()["master_repl_offset"])
    while any(int(one.replication()["slave_repl_offset"]) < offset for one in replicas):
        assert time.monotonic() < end, "the replicas do not keep up"
        time.sleep(0.001)
