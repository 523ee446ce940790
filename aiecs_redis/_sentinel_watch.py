"""What Sentinels publish, for the clients of `aiecs_redis.Sentinel`: who is master, who is well."""

from __future__ import annotations

import asyncio
import logging
import weakref
from typing import TYPE_CHECKING, Any

import redis.exceptions

from aiecs_redis._backoff import Backoff
from aiecs_redis._bind import BaseRedis

if TYPE_CHECKING:
    from aiecs_redis.sentinel import Sentinel, SentinelConnectionPool

__all__ = ["Watch"]

logger: logging.Logger = logging.getLogger("aiecs_redis.sentinel")

_CHANNELS = (
    *("+switch-master", "+sentinel", "+slave", "+reboot", "+sdown", "-sdown"),
    *("+promoted-slave", "+slave-reconf-done", "-monitor", "+monitor", "+config-update-from"),
)
_LOOK_EVERY = 10.0
"""Seconds after which a silent Sentinel is asked, in case that something was missed."""

_FORGET_AFTER = 8
"""Attempts to reach a learned Sentinel, half a minute."""


class _LoopWatch:
    """The subscriptions that serve the pools of one event loop."""

    def __init__(self, sentinel: Sentinel) -> None:
        self.sentinel = sentinel
        self.loop = asyncio.get_running_loop()
        self.pools: weakref.WeakSet[SentinelConnectionPool] = weakref.WeakSet()
        self._listeners: dict[int, asyncio.Task[None]] = {}  # by id of their Sentinel's client

    def listen(self) -> None:
        """Subscribe to every Sentinel that is known and not subscribed to."""
        for client in self.sentinel._everybody():
            if isinstance(client, BaseRedis) and id(client) not in self._listeners:
                task = self.loop.create_task(self._listener(client))
                self._listeners[id(client)] = task

    async def end(self) -> None:
        tasks = self.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)

    def cancel(self) -> list[asyncio.Task[None]]:
        tasks = list(self._listeners.values())
        self._listeners.clear()
        for task in tasks:
            task.cancel()
        return tasks

    async def _listener(self, client: Any) -> None:
        failures, pauses = 0, Backoff(0.1)
        last: type[Exception] | None = None
        while self.pools:
            try:
                async with client.pubsub(ignore_subscribe_messages=True) as pubsub:
                    await pubsub.subscribe(*_CHANNELS)
                    await self._look(client)  # for what happened before
                    failures, looked = 0, self.loop.time()
                    pauses.reset()
                    while self.pools:
                        message = await pubsub.get_message(timeout=_LOOK_EVERY)
                        if message is not None:
                            await self._hear(client, message)
                        elif self.loop.time() - looked > _LOOK_EVERY * 0.9:
                            await self._look(client)  # not after each reply to SUBSCRIBE
                            looked = self.loop.time()
            except Exception as exc:
                failures += 1
                if isinstance(exc, (redis.exceptions.RedisError, OSError)):
                    level = logging.INFO if failures == 1 else logging.DEBUG
                    logger.log(level, "Subscription to Sentinel %r lost: %s", client, exc)
                else:  # a reply that nobody expects, or a subclass of the user's that fails
                    again = failures > 1 and type(exc) is last
                    logger.log(
                        logging.DEBUG if again else logging.ERROR,
                        "Cannot take in what Sentinel %r says; it is subscribed to again",
                        client,
                        exc_info=exc,
                    )
                last = type(exc)
            if failures >= _FORGET_AFTER and client not in self.sentinel.sentinels:
                self._listeners.pop(id(client), None)
                await self.sentinel._forget(client)
                return
            await asyncio.sleep(pauses.next())
        self._listeners.pop(id(client), None)

    async def _hear(self, client: Any, message: dict[str, Any]) -> None:
        channel, words = _text(message["channel"]), _text(message["data"]).split(" ")
        if channel == "+switch-master":
            logger.info("Sentinel: the master %s is at %s:%s now", words[0], *words[3:5])
            await self._look(client, words[0])
        elif channel == "+promoted-slave":
            await self._promoted(client, words[words.index("@") + 1])
        elif "@" in words:
            await self._look(client, words[words.index("@") + 1])
        elif len(words) > 1:
            await self._look(client, words[1])

    async def _promoted(self, client: Any, service_name: str) -> None:
        """In the middle of a failover: the new master takes writes, the old one still does."""
        sentinel = self.sentinel
        state = (await client.sentinel_masters()).get(service_name)
        if not state or sentinel._promoted_lately(service_name):
            return
        address = await sentinel._told_by(client, service_name, state)
        pools = [p for p in self.pools if p.is_master and p.service_name == service_name]
        if any(pool.master_address != address for pool in pools):
            sentinel._promoted(service_name, address)
            for pool in pools:
                await pool.moved_to(address)

    async def _look(self, client: Any, service_name: str | None = None) -> None:
        """Ask one Sentinel about one master, or all that are of interest; tell the pools."""
        pools = [pool for pool in self.pools if service_name in (None, pool.service_name)]
        if not pools:
            return
        sentinel = self.sentinel
        masters = await client.sentinel_masters()
        for name in {pool.service_name for pool in pools}:
            state = masters.get(name)
            if state is None:
                continue
            epoch = int(state.get("config-epoch", 0))
            if epoch < sentinel._epochs.get(name, 0):
                continue  # it has not heard of the last failover
            replicas = None
            if any(not pool.is_master for pool in pools if pool.service_name == name):
                replicas = sentinel._fit(await client.sentinel_slaves(name))
            well = sentinel.check_master_state(state, name)
            if well:
                sentinel._epochs[name] = epoch
            for pool in pools:
                if pool.service_name == name and pool.is_master and well:
                    await pool.moved_to(await sentinel._told_by(client, name, state))
                elif pool.service_name == name and not pool.is_master:
                    await pool.replicas_are(replicas or ())
            await sentinel._learn(client, name)
        self.listen()


class Watch:
    """The subscriptions of one `Sentinel`, for each event loop on which it has clients."""

    def __init__(self, sentinel: Sentinel) -> None:
        self._sentinel = weakref.ref(sentinel)
        self._loops: dict[asyncio.AbstractEventLoop, _LoopWatch] = {}

    def add(self, pool: SentinelConnectionPool) -> None:
        """Tell the pool, on this loop, from now on."""
        loop = asyncio.get_running_loop()
        watch = self._loops.get(loop)
        sentinel = self._sentinel()
        if sentinel is None:
            return
        if watch is None:
            for other in [other for other in self._loops if other.is_closed()]:
                del self._loops[other]
            watch = self._loops[loop] = _LoopWatch(sentinel)
        watch.pools.add(pool)
        watch.listen()

    async def remove(self, pool: SentinelConnectionPool) -> None:
        """Tell it nothing any more; the last one ends the subscriptions."""
        for watch in list(self._loops.values()):
            watch.pools.discard(pool)
            if not watch.pools:
                await self._end(watch)

    async def stop(self) -> None:
        """End all subscriptions."""
        for watch in list(self._loops.values()):
            await self._end(watch)

    async def _end(self, watch: _LoopWatch) -> None:
        self._loops.pop(watch.loop, None)
        if watch.loop is asyncio.get_running_loop():
            await watch.end()
        elif not watch.loop.is_closed():
            watch.loop.call_soon_threadsafe(watch.cancel)


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
