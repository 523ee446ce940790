"""Concurrent callers share one run of a coroutine function."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

__all__ = ["SingleFlight"]


class SingleFlight:
    """Runs one attempt at a time per event loop; who comes meanwhile shares its outcome.

    Nothing in it is bound to a loop between two runs, so that one object serves every loop
    there will be, several at a time (in several threads) included.
    """

    def __init__(self) -> None:
        self._flights: dict[asyncio.AbstractEventLoop, asyncio.Future[None]] = {}

    async def run(self, attempt: Callable[[], Awaitable[None]]) -> None:
        """Run `attempt`, or wait for the run that is under way.

        Raises what the attempt raised, in every caller. When the caller that runs it is
        cancelled, one of those who wait runs theirs.
        """
        loop = asyncio.get_running_loop()
        while True:
            flight = self._flights.get(loop)
            if flight is None:
                break
            await asyncio.wait([flight])  # does not cancel it when the waiter is cancelled
            if not flight.cancelled():
                return flight.result()
        flight = self._flights[loop] = loop.create_future()
        try:
            await attempt()
        except BaseException as exc:
            if isinstance(exc, Exception):
                flight.set_exception(exc)
                flight.exception()  # it reaches the caller here, even if no one else waits
            else:
                flight.cancel()
            raise
        else:
            flight.set_result(None)
        finally:
            del self._flights[loop]
