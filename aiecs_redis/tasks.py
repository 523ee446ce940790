"""What tasks are doing, and what came out: the status and result stores of AIECS.

    statuses = TaskStatusStore(client)
    await statuses.set("task_456", "running", 75)
    (await statuses.get("task_456")).progress                # 75

    results = TaskResultStore(client)
    await results.set("task_456", {"accuracy": 0.95})

Keys and contents are those of 4.2 of the RedisClient documentation, so that programs written
after it read what is written here, and the other way round.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from aiecs_redis._checks import filled, function, milliseconds, seconds
from aiecs_redis._hash_store import HashStore, forward_expired, key_of, scan
from aiecs_redis._nodes import is_cluster, of_each
from aiecs_redis._records import REST
from aiecs_redis._underlying import binary, check_client, text, underlying
from aiecs_redis.serialization import JSON, Codec, Values

if TYPE_CHECKING:
    from aiecs_redis.events import KeyspaceEvents

__all__ = ["TaskResultStore", "TaskStatus", "TaskStatusStore"]


@dataclasses.dataclass
class TaskStatus:
    """What a task is doing; subclass it to add fields with types.

    Attributes:
        task_id: its id.
        status: "running", say.
        progress: per cent.
        updated_at: Unix time of the last write, seconds.
        extra: further fields of the hash.
    """

    task_id: str
    status: str
    progress: int = 0
    updated_at: int = 0
    extra: dict[str, str] = dataclasses.field(default_factory=dict, metadata=REST)


Status = TypeVar("Status", bound=TaskStatus)


class TaskStatusStore(HashStore[Status]):
    """A hash `task:{task_id}` for each task, kept for 24 hours after the last write.

    Args:
        client: a RedisClient, or a Redis or RedisCluster of aiecs_redis or
            redis.asyncio.
        prefix: of the keys.
        ttl: seconds.
        record: `TaskStatus` or a dataclass made from it.

    `async for status in store` goes over all of them. Errors of Redis pass through.
    """

    @overload
    def __init__(
        self: TaskStatusStore[TaskStatus], client: Any, *, prefix: str = ..., ttl: float = ...
    ) -> None: ...

    @overload
    def __init__(
        self, client: Any, *, prefix: str = ..., ttl: float = ..., record: type[Status]
    ) -> None: ...

    def __init__(
        self,
        client: Any,
        *,
        prefix: str = "task:",
        ttl: float = 86400,
        record: Any = TaskStatus,
    ) -> None:
        super().__init__(client, prefix, ttl, record, "task_id")

    async def set(self, task_id: str, status: str, progress: int = 0, **fields: Any) -> Status:
        """Write what a task is doing; fields that are not given stay as they are.

        Args:
            task_id: its id.
            status: "running", say.
            progress: per cent.
            **fields: further ones: of the record, or str, int and float, which come back as str.

        Raises:
            TypeError: a value that cannot be written; it is named. An id that is no str.
            ValueError: the id is empty.
        """
        values = {"status": status, "progress": progress, "updated_at": int(time.time()), **fields}
        return await self._write(task_id, values)

    async def update(self, task_id: str, **changes: Any) -> Status | None:
        """Change some fields of a task that is there; None, and nothing written, if it is not.

        Args:
            task_id: its id.
            **changes: as `fields` of `set()`; None takes a field of the record away.

        Raises:
            TypeError: a value that cannot be written; it is named. An id that is no str.
            ValueError: the id is empty.
        """
        return await self._update(task_id, {"updated_at": int(time.time()), **changes})

    async def get(self, task_id: str) -> Status | None:
        """What a task is doing; None if that is not known (any more).

        Args:
            task_id: its id.

        Returns:
            The record, of the store's type; asking does not make it last longer.

        Raises:
            SerializationError: the hash is no record; the text names key and field.
            TypeError: the id is no str.
            ValueError: the id is empty.
            redis.exceptions.RedisError: the server cannot be asked.
        """
        return await self._read(task_id, touch=False)


class TaskResultStore:
    """The result of each task as JSON in `result:{task_id}`, kept for an hour.

    Args:
        client: a RedisClient, or a Redis or RedisCluster of aiecs_redis or
            redis.asyncio.
        prefix: of the keys.
        ttl: seconds.
        codec: how results are written (`serialization`).
        result_type: a dataclass that results are read as; None: as the codec gives them.

    `async for task_id, result in store` goes over all of them. Errors of Redis pass through.
    """

    def __init__(
        self,
        client: Any,
        *,
        prefix: str = "result:",
        ttl: float = 3600,
        codec: Codec = JSON,
        result_type: Callable[..., Any] | None = None,
    ) -> None:
        filled("prefix", prefix)
        seconds("ttl", ttl)
        if result_type is not None:
            function("result_type", result_type)
        self._client = check_client(client)
        self._values = Values(client, codec)
        self._type = result_type
        self.prefix = prefix
        self.ttl = ttl

    async def set(self, task_id: str, result: Any, ttl: float | None = None) -> None:
        """Write the result of a task.

        Args:
            task_id: its id.
            result: whatever the codec writes.
            ttl: seconds it is kept, instead of the store's.

        Raises:
            SerializationError: it cannot be written.
            TypeError: the id is no str.
            ValueError: a ttl that is not above 0, or an empty id.
        """
        if ttl is None:
            ttl = self.ttl
        seconds("ttl", ttl)
        await self._values.set(self._key(task_id), result, px=milliseconds(ttl))

    async def get(self, task_id: str, default: Any = None) -> Any:
        """The result of a task, `default` if there is none (any more).

        Args:
            task_id: its id.
            default: whatever is wanted then.

        Raises:
            SerializationError: it is damaged; the text names the key.
            TypeError: the id is no str; or `result_type` does not take what stands there.
            ValueError: the id is empty.
        """
        missing = object()
        found = await self._values.get(self._key(task_id), missing)
        return default if found is missing else self._typed(found)

    async def delete(self, *task_ids: str) -> int:
        """Delete results; return how many there were.

        Args:
            *task_ids: the ids of their tasks.

        Raises:
            TypeError: an id that is no str.
            ValueError: an empty id.
        """
        return await self._values.delete(*map(self._key, task_ids))

    async def __aiter__(self) -> AsyncIterator[tuple[str, Any]]:
        """Every result with the id of its task, in no order, found with SCAN."""
        redis_ = await underlying(self._client)
        async for keys in scan(redis_, self.prefix, "string"):
            for key, data in zip(keys, await _values(redis_, keys)):
                if data is not None:
                    name = text(key)
                    value = self._values.codec.decode(data, name)
                    yield name[len(self.prefix) :], self._typed(value)

    def on_expired(
        self, events: KeyspaceEvents, handler: Callable[[str], Any]
    ) -> Callable[[], None]:
        """Call a function or coroutine function with the id of each task whose result expires.

        Args:
            events: listens; register here before its `start()`.
            handler: takes the id. The result itself is gone by then.

        Returns:
            A function that takes the handler away again.

        Raises:
            TypeError: the handler is no function.
            RuntimeError: `events` runs already, and does not hear of the ends of keys.
        """
        return forward_expired(events, self.prefix, handler)

    def _key(self, task_id: str) -> str:
        return key_of(self.prefix, "task_id", task_id)

    def _typed(self, value: Any) -> Any:
        return self._type(**value) if self._type is not None else value


async def _values(redis_: Any, keys: list[Any]) -> list[Any]:
    """The strings of some keys, as bytes; a cluster is asked for each one."""
    if is_cluster(redis_):
        return await of_each(lambda key: binary(redis_, "GET", key), keys)
    found: list[Any] = await binary(redis_, "MGET", *keys)
    return found
