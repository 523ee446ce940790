"""Keys of any type: life, names, scanning, copies."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Generic, Literal, overload

from aiecs_redis._commands.types import AbsExpiry, Call, Expiry, Key, Keys, T_co, Value

class KeyCommands(Generic[T_co]):
    def copy(
        self,
        source: Key,
        destination: Key,
        destination_db: int | str | None = None,
        replace: bool = False,
    ) -> Call[bool]: ...
    def delete(self, *names: Key) -> Call[int]: ...
    def dump(self, name: Key) -> Call[bytes | None]: ...
    def exists(self, *names: Key) -> Call[int]: ...
    def expire(
        self,
        name: Key,
        time: Expiry,
        nx: bool = False,
        xx: bool = False,
        gt: bool = False,
        lt: bool = False,
    ) -> Call[bool]: ...
    def expireat(
        self,
        name: Key,
        when: AbsExpiry,
        nx: bool = False,
        xx: bool = False,
        gt: bool = False,
        lt: bool = False,
    ) -> Call[bool]: ...
    def expiretime(self, key: Key) -> Call[int]: ...
    def keys(self, pattern: Key = "*", **kwargs: Any) -> Call[list[T_co]]: ...
    def migrate(
        self,
        host: str,
        port: int,
        keys: Keys,
        destination_db: int,
        timeout: int,
        copy: bool = False,
        replace: bool = False,
        auth: str | None = None,
        **kwargs: Any,
    ) -> Call[T_co]: ...
    def move(self, name: Key, db: int) -> Call[bool]: ...
    def object(self, infotype: str, key: Key, **kwargs: Any) -> Call[Any]: ...
    def persist(self, name: Key) -> Call[bool]: ...
    def pexpire(
        self,
        name: Key,
        time: Expiry,
        nx: bool = False,
        xx: bool = False,
        gt: bool = False,
        lt: bool = False,
    ) -> Call[bool]: ...
    def pexpireat(
        self,
        name: Key,
        when: AbsExpiry,
        nx: bool = False,
        xx: bool = False,
        gt: bool = False,
        lt: bool = False,
    ) -> Call[bool]: ...
    def pexpiretime(self, key: Key) -> Call[int]: ...
    def pttl(self, name: Key) -> Call[int]: ...
    def randomkey(self, **kwargs: Any) -> Call[T_co | None]: ...
    def rename(self, src: Key, dst: Key) -> Call[bool]: ...
    def renamenx(self, src: Key, dst: Key) -> Call[bool]: ...
    def restore(
        self,
        name: Key,
        ttl: float,
        value: Value,
        replace: bool = False,
        absttl: bool = False,
        idletime: int | None = None,
        frequency: int | None = None,
    ) -> Call[T_co]: ...
    def scan(
        self,
        cursor: int = 0,
        match: Key | None = None,
        count: int | None = None,
        _type: str | None = None,
        **kwargs: Any,
    ) -> Call[tuple[int, list[T_co]]]: ...
    def scan_iter(
        self,
        match: Key | None = None,
        count: int | None = None,
        _type: str | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[T_co]: ...
    @overload
    def sort(
        self,
        name: Key,
        start: int | None = None,
        num: int | None = None,
        by: Key | None = None,
        get: None = None,
        desc: bool = False,
        alpha: bool = False,
        store: None = None,
        groups: Literal[False] = False,
    ) -> Call[list[T_co]]: ...
    @overload
    def sort(
        self,
        name: Key,
        start: int | None = None,
        num: int | None = None,
        by: Key | None = None,
        *,
        get: Key | Sequence[Key],
        desc: bool = False,
        alpha: bool = False,
        store: None = None,
        groups: Literal[False] = False,
    ) -> Call[list[T_co | None]]: ...
    @overload
    def sort(
        self,
        name: Key,
        start: int | None = None,
        num: int | None = None,
        by: Key | None = None,
        *,
        get: Key | Sequence[Key],
        desc: bool = False,
        alpha: bool = False,
        store: None = None,
        groups: Literal[True],
    ) -> Call[list[tuple[T_co | None, ...]]]: ...
    @overload
    def sort(
        self,
        name: Key,
        start: int | None = None,
        num: int | None = None,
        by: Key | None = None,
        get: Key | Sequence[Key] | None = None,
        desc: bool = False,
        alpha: bool = False,
        *,
        store: Key,
        groups: bool = False,
    ) -> Call[int]: ...
    @overload
    def sort_ro(
        self,
        key: Key,
        start: int | None = None,
        num: int | None = None,
        by: Key | None = None,
        get: None = None,
        desc: bool = False,
        alpha: bool = False,
    ) -> Call[list[T_co]]: ...
    @overload
    def sort_ro(
        self,
        key: Key,
        start: int | None = None,
        num: int | None = None,
        by: Key | None = None,
        *,
        get: Key | Sequence[Key],
        desc: bool = False,
        alpha: bool = False,
    ) -> Call[list[T_co | None]]: ...
    def touch(self, *args: Key) -> Call[int]: ...
    def ttl(self, name: Key) -> Call[int]: ...
    def type(self, name: Key) -> Call[T_co]: ...
    def unlink(self, *names: Key) -> Call[int]: ...
    def wait(self, num_replicas: int, timeout: int, **kwargs: Any) -> Call[int]: ...
    def waitaof(
        self, num_local: int, num_replicas: int, timeout: int, **kwargs: Any
    ) -> Call[list[int]]: ...
