"""Background tasks: status in Redis, progress as events, one of each user at a time."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid

from redis.exceptions import RedisError

from aiecs_redis import RedisClient
from examples.service.stores import DistributedLock, EventBus

logger = logging.getLogger(__name__)

STEPS = 5
STEP_SECONDS = 0.05
KEPT = 86_400  # seconds, as documented


class Busy(Exception):
    """The user's task before has not ended yet."""


class Jobs:
    """Starts tasks, and knows how far they are."""

    def __init__(self, client: RedisClient, events: EventBus) -> None:
        self._client = client
        self._events = events
        self._running: set[asyncio.Task[None]] = set()

    async def start(self, user_id: str, name: str) -> str:
        """Start a task; return its id.

        Raises:
            Busy: another one of the user's is running, in whatever process.
        """
        lock = DistributedLock(self._client, f"job:{user_id}", timeout=60)
        if not await lock.acquire():
            raise Busy
        task_id = uuid.uuid4().hex
        await self._note(task_id, user_id, name, "running", 0)
        task = asyncio.create_task(self._run(task_id, user_id, name, lock))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task_id

    async def status(self, task_id: str) -> dict[str, str]:
        """What is known of a task; {} if there is none."""
        return await self._client.hgetall(f"task:{task_id}")

    async def stop(self) -> None:
        """Wait for the tasks that run."""
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _run(self, task_id: str, user_id: str, name: str, lock: DistributedLock) -> None:
        try:
            try:
                for step in range(1, STEPS + 1):
                    await asyncio.sleep(STEP_SECONDS)  # the work itself
                    await self._note(task_id, user_id, name, "running", 100 * step // STEPS)
            finally:
                await lock.release()
            await self._note(task_id, user_id, name, "completed", 100)
        except RedisError as exc:  # the lock ends by itself
            logger.error("Task %s is lost: %s", task_id, exc)

    async def _note(
        self, task_id: str, user_id: str, name: str, status: str, progress: int
    ) -> None:
        key = f"task:{task_id}"
        now = str(int(time.time()))
        known = {"name": name, "user_id": user_id, "status": status, "progress": str(progress)}
        await self._client.hset(key, {**known, "updated_at": now})
        await self._client.expire(key, KEPT)
        event = {"task_id": task_id, "status": status, "progress": progress}
        await self._events.publish(user_id, event)
