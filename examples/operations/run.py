"""Runs an example on the server that REDIS_HOST names, else on one of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiecs_redis import RedisClient
from aiecs_redis.testing import server_from_environment

Main = Callable[[RedisClient], Awaitable[None]]


async def _with_client(main: Main, kwargs: dict[str, object]) -> None:
    client = RedisClient(kwargs)
    await client.initialize()
    try:
        await main(client)
    finally:
        await client.close()


def alone(main: Main) -> None:
    """Run `main(client)` with an initialized client."""
    with server_from_environment() as server:
        asyncio.run(_with_client(main, server.kwargs))
