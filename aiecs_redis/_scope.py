"""Cancelling the task inside of a block, and knowing afterwards that it was us."""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["CancelScope"]


class CancelScope:
    """Stands for the code that the current task runs from now on until `leave()`."""

    def __init__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("needs a running task")
        self._task: asyncio.Task[Any] = task
        cancelling = getattr(task, "cancelling", None)  # since Python 3.11
        self._before: int = cancelling() if cancelling is not None else 0
        self._cancelled = False

    def cancel(self) -> None:
        """Cancel the task, once."""
        if not self._cancelled:
            self._cancelled = True
            self._task.cancel()

    def leave(self, exc: BaseException | None) -> bool:
        """The block ends with `exc`; return whether it ended because of `cancel()` only.

        When others have cancelled the task as well, their CancelledError has to go on.
        """
        if not self._cancelled:
            return False
        uncancel = getattr(self._task, "uncancel", None)
        others = uncancel is not None and uncancel() > self._before
        return isinstance(exc, asyncio.CancelledError) and not others
