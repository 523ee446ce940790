"""Which client a pipeline made by hand belongs to.

Libraries build redis-py's `Pipeline(client.connection_pool, client.response_callbacks, ...)`.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiecs_redis.client import Redis

known_clients: weakref.WeakValueDictionary[int, Redis[Any]] = weakref.WeakValueDictionary()
"""By the identity of their response_callbacks."""


def client_of(pool: Any, callbacks: Any) -> Redis[Any] | None:
    """The client whose pool and response callbacks these are."""
    client = known_clients.get(id(callbacks))
    if client is None or client.response_callbacks is not callbacks:
        return None
    return client if client.connection_pool is pool else None
