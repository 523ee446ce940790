"""The first level of the cache: a bounded dict, and what keeps late replies out of it."""

from __future__ import annotations

from collections import OrderedDict
from time import monotonic
from typing import Any

__all__ = ["LocalCache", "Token"]


class Token:
    """Stands for a read or write under way; it turns invalid when its key changes meanwhile.

    The reply to a GET and the invalidation come over two connections: the invalidation may be
    read first although it happened later, and what the reply holds is old by then.
    """

    __slots__ = ("key", "users", "valid")

    def __init__(self, key: str) -> None:
        self.key = key
        self.valid = True
        self.users = 0


class LocalCache:
    """Least recently used entries go first when there are more than `size`.

    Reading is `CacheManager.get_nowait`'s, without a further call.

    Attributes:
        entries: (value, until when on the clock of time.monotonic()) by key; never replaced.
        evicted: how many were dropped for want of room.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.evicted = 0
        self.entries: OrderedDict[str, tuple[Any, float]] = OrderedDict()
        self._tokens: dict[str, Token] = {}

    def __len__(self) -> int:
        return len(self.entries)

    def begin(self, key: str) -> Token:
        """Before anything is sent whose outcome may be kept."""
        token = self._tokens.get(key)
        if token is None:
            token = self._tokens[key] = Token(key)
        token.users += 1
        return token

    def end(self, token: Token) -> None:
        """The counterpart of `begin`, whatever became of it."""
        token.users -= 1
        if token.users == 0 and self._tokens.get(token.key) is token:
            del self._tokens[token.key]

    def keep(self, token: Token, value: Any, seconds: float) -> None:
        """Keep a value, unless its key has changed since `begin`."""
        if not token.valid or seconds <= 0 or self.size == 0:
            return
        self.entries[token.key] = (value, monotonic() + seconds)
        self.entries.move_to_end(token.key)
        if len(self.entries) > self.size:
            self.entries.popitem(last=False)
            self.evicted += 1

    def drop(self, key: str) -> None:
        """The key has changed: neither its entry nor what is under way counts any more."""
        self.entries.pop(key, None)
        token = self._tokens.pop(key, None)
        if token is not None:
            token.valid = False

    def flush(self) -> None:
        """Every key may have changed."""
        self.entries.clear()
        for token in self._tokens.values():
            token.valid = False
        self._tokens.clear()
