"""What `Redis` has besides commands."""

from collections.abc import Awaitable, Callable, Generator
from types import TracebackType
from typing import Any, Generic

from redis._parsers import Encoder
from redis.asyncio import ConnectionPool
from redis.asyncio.client import Monitor
from redis.asyncio.lock import Lock
from redis.commands.core import AsyncScript, BitFieldOperation
from typing_extensions import Self

from aiecs_redis._commands.types import Call, Key, T_co
from aiecs_redis.pipeline import Pipeline

class ClientMethods(Generic[T_co]):
    @classmethod
    def from_pool(cls, connection_pool: ConnectionPool) -> Self: ...
    def __await__(self) -> Generator[Any, Any, Self]: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
    async def initialize(self) -> Self: ...
    def client(self) -> Self: ...
    async def close(self, close_connection_pool: bool | None = None) -> None: ...
    def get_connection_kwargs(self) -> dict[str, Any]: ...
    def get_encoder(self) -> Encoder: ...
    def set_response_callback(self, command: str, callback: Callable[..., Any]) -> None: ...
    def execute_command(self, *args: Any, **options: Any) -> Call[Any]: ...
    def bitfield(self, key: Key, default_overflow: str | None = None) -> BitFieldOperation: ...
    def register_script(self, script: Key) -> AsyncScript: ...
    def monitor(self) -> Monitor: ...
    def lock(
        self,
        name: Key,
        timeout: float | None = None,
        sleep: float = 0.1,
        blocking: bool = True,
        blocking_timeout: float | None = None,
        lock_class: type[Lock] | None = None,
        thread_local: bool = True,
        raise_on_release_error: bool = True,
    ) -> Lock: ...
    async def transaction(
        self,
        func: Callable[[Pipeline[T_co]], Awaitable[Any] | Any],
        *watches: Key,
        shard_hint: str | None = None,
        value_from_callable: bool = False,
        watch_delay: float | None = None,
    ) -> Any: ...
