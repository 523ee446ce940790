"""Makes classes generic for type checkers, and nothing more: `class Redis(Commands[T], ...)`.

At runtime a base such as `Commands[T]` vanishes, and its file is a stub only. `Redis[str]` is
an alias that makes a `Redis` when called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiecs_redis._commands import Commands
    from aiecs_redis._commands.pubsub import PubSubMethods
    from aiecs_redis._commands.types import T_co
    from aiecs_redis._queued import QueuedCommands
else:
    from typing import TypeVar

    T_co = TypeVar("T_co", covariant=True)

    class _Vanishing:
        """A base class that leaves no trace, see object.__mro_entries__ (PEP 560)."""

        def __getitem__(self, parameter: Any) -> _Vanishing:
            return self

        def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[Any, ...]:
            return ()

    Commands = PubSubMethods = QueuedCommands = _Vanishing()

__all__ = ["Commands", "PubSubMethods", "QueuedCommands", "T_co"]
