"""What a command of a pipeline gives."""

from collections.abc import Generator
from typing import Any, type_check_only

from aiecs_redis._commands.types import T_co
from aiecs_redis.pipeline import Pipeline

@type_check_only
class Queued(Pipeline[T_co]):
    """The pipeline, for the next command; after WATCH, the reply when awaited."""

    def __await__(self) -> Generator[Any, Any, Any]: ...
