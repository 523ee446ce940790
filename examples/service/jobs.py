"""Background tasks: status and result in Redis, progress as events, one of each user at a time."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import uuid
from typing import Any

from redis.exceptions import RedisError

from aiecs_redis import RedisClient
from aiecs_redis.lock import DistributedLock, LockLostError, LockNotAcquiredError
from aiecs_redis.tasks import TaskResultStore, TaskStatus, TaskStatusStore
from examples.service.events import EventBus

logger = logging.getLogger(__name__)

STEPS = 5
STEP_SECONDS = 0.05


class Busy(Exception):
    """The user's task before has not ended yet."""


@dataclasses.dataclass
class JobStatus(TaskStatus):
    """What a task is doing, and whose it is."""

    user_id: str = ""
    name: str = ""


class Jobs:
    """Starts tasks, and knows how far they are."""

    def __init__(self, client: RedisClient, events: EventBus) -> None:
        self._client = client
        self._events = events
        self._statuses = TaskStatusStore(client, record=JobStatus)
        self._results = TaskResultStore(client)
        self._running: set[asyncio.Task[None]] = set()

    async def start(self, user_id: str, name: str) -> str:
        """Start a task; return its id.

        Raises:
            Busy: another one of the user's is running, in whatever process.
        """
        task_id = uuid.uuid4().hex
        started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._run(task_id, user_id, name, started))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        await started
        return task_id

    async def status(self, task_id: str) -> JobStatus | None:
        """What is known of a task."""
        return await self._statuses.get(task_id)

    async def result(self, task_id: str) -> Any:
        """What came out of a task; None if nothing has (yet)."""
        return await self._results.get(task_id)

    async def stop(self) -> None:
        """Wait for the tasks that run."""
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _run(
        self, task_id: str, user_id: str, name: str, started: asyncio.Future[None]
    ) -> None:
        try:
            # Renewed while this runs; if it is lost all the same, the block is cancelled.
            async with DistributedLock(self._client, f"job:{user_id}", timeout=10):
                await self._note(task_id, "running", 0, user_id=user_id, name=name)
                if not started.done():
                    started.set_result(None)
                for step in range(1, STEPS + 1):
                    await asyncio.sleep(STEP_SECONDS)  # the work itself
                    await self._note(task_id, "running", 100 * step // STEPS)
                await self._results.set(task_id, {"name": name, "steps": STEPS})
            await self._note(task_id, "completed", 100)
        except LockNotAcquiredError:
            _fail(started, Busy())
        except (LockLostError, RedisError) as exc:
            logger.error("Task %s is lost: %s", task_id, exc)
            _fail(started, exc)

    async def _note(self, task_id: str, status: str, progress: int, **fields: str) -> None:
        noted = await self._statuses.set(task_id, status, progress, **fields)
        event = {"task_id": task_id, "status": status, "progress": progress}
        await self._events.publish(noted.user_id, event)


def _fail(started: asyncio.Future[None], exc: Exception) -> None:
    if not started.done():
        started.set_exception(exc)
