"""User sessions that end half an hour after they were last used.

    sessions = SessionStore(client)
    session = await sessions.create("user_123", {"username": "John Doe", "role": "admin"})
    session = await sessions.get(session.session_id)          # lives on for 30 minutes
    await sessions.update(session.session_id, {"current_page": "/dashboard"})

Keys and contents are those of 4.3 of the RedisClient documentation; but an id is 256 random bits,
while the documented one can be guessed.
"""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Mapping
from typing import Any, TypeVar, overload

from aiecs_redis._checks import filled
from aiecs_redis._hash_store import HashStore
from aiecs_redis._records import REST

__all__ = ["Session", "SessionStore"]


@dataclasses.dataclass
class Session:
    """A user's session; subclass it to add fields with types.

    Attributes:
        session_id: its id: whoever knows it is the user.
        user_id: whose it is.
        created_at: Unix time, seconds.
        data: further fields, as str.
    """

    session_id: str = dataclasses.field(repr=False)
    user_id: str
    created_at: int = 0
    data: dict[str, str] = dataclasses.field(default_factory=dict, metadata=REST)


AnySession = TypeVar("AnySession", bound=Session)


class SessionStore(HashStore[AnySession]):
    """A hash `session:{session_id}` for each session; it ends `ttl` seconds after its last use.

    Args:
        client: a RedisClient, or a Redis or RedisCluster of aiecs_redis or
            redis.asyncio.
        prefix: of the keys.
        ttl: seconds.
        record: `Session` or a dataclass made from it.

    `async for session in store` goes over all of them, which is no use of them. Errors of Redis
    pass through.
    """

    @overload
    def __init__(
        self: SessionStore[Session], client: Any, *, prefix: str = ..., ttl: float = ...
    ) -> None: ...

    @overload
    def __init__(
        self, client: Any, *, prefix: str = ..., ttl: float = ..., record: type[AnySession]
    ) -> None: ...

    def __init__(
        self,
        client: Any,
        *,
        prefix: str = "session:",
        ttl: float = 1800,
        record: Any = Session,
    ) -> None:
        super().__init__(client, prefix, ttl, record, "session_id")

    async def create(
        self, user_id: str, data: Mapping[str, Any] | None = None, **fields: Any
    ) -> AnySession:
        """Begin a session.

        Args:
            user_id: whose it is.
            data: further fields: of the record, or str, int and float, which come back as str.
            **fields: the same.

        Raises:
            TypeError: a value that cannot be written; it is named.
            ValueError: the user's id is empty.
        """
        filled("user_id", user_id)
        values = {**(data or {}), **fields, "user_id": user_id, "created_at": int(time.time())}
        return await self._write(secrets.token_urlsafe(32), values)

    async def get(self, session_id: str, *, touch: bool = True) -> AnySession | None:
        """The session, which lives on for `ttl` seconds; None if it has ended.

        Args:
            session_id: its id; an empty one, or None, is nobody's.
            touch: False only looks at it.

        Raises:
            SerializationError: the hash is no record; the text names key and field.
            TypeError: the id is something else than a str.
        """
        return await self._read(session_id, touch) if session_id else None

    async def update(
        self, session_id: str, changes: Mapping[str, Any] | None = None, **fields: Any
    ) -> AnySession | None:
        """Change fields of a session, which lives on; None, and nothing written, if it has ended.

        A field of the record that is None is taken away.

        Args:
            session_id: its id.
            changes: fields of the record, or str, int and float, which come back as str.
            **fields: the same.

        Raises:
            TypeError: a value that cannot be written; it is named. An id that is no str.
            ValueError: the id is empty.
        """
        return await self._update(session_id, {**(changes or {}), **fields})

    async def touch(self, session_id: str) -> bool:
        """Let a session live on, for `ttl` seconds from now; False if it has ended.

        Raises:
            TypeError: the id is no str.
            ValueError: it is empty.
        """
        return await self._update(session_id, {}) is not None
