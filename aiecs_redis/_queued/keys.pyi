"""Keys of any type: life, names, scanning, copies, queued in a pipeline."""

from collections.abc import Sequence
from typing import Any, Generic

from aiecs_redis._commands.types import AbsExpiry, Expiry, Key, Keys, T_co, Value
from aiecs_redis._queued.types import Queued

class KeyCommands(Generic[T_co]):
    def copy(
        self,
        source: Key,
        destination: Key,
        destination_db: int | str | None = None,
        replace: bool = False,
    ) -> Queued[T_co]: ...
    def delete(self, *names: Key) -> Queued[T_co]: ...
    def dump(self, name: Key) -> Queued[T_co]: ...
    def exists(self, *names: Key) -> Queued[T_co]: ...
    def expire(
        self,
        name: Key,
        time: Expiry,
        nx: bool = False,
        xx: bool = False,
        gt: bool = False,
        lt: bool = False,
    ) -> Queued[T_co]: ...
    def expireat(
        self,
        name: Key,
        when: AbsExpiry,
        nx: bool = False,
        xx: bool = False,
        gt: bool = False,
        lt: bool = False,
    ) -> Queued[T_co]: ...
    def expiretime(self, key: Key) -> Queued[T_co]: ...
    def keys(self, pattern: Key = "*", **kwargs: Any) -> Queued[T_co]: ...
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
    ) -> Queued[T_co]: ...
    def move(self, name: Key, db: int) -> Queued[T_co]: ...
    def object(self, infotype: str, key: Key, **kwargs: Any) -> Queued[T_co]: ...
    def persist(self, name: Key) -> Queued[T_co]: ...
    def pexpire(
        self,
        name: Key,
        time: Expiry,
        nx: bool = False,
        xx: bool = False,
        gt: bool = False,
        lt: bool = False,
    ) -> Queued[T_co]: ...
    def pexpireat(
        self,
        name: Key,
        when: AbsExpiry,
        nx: bool = False,
        xx: bool = False,
        gt: bool = False,
        lt: bool = False,
    ) -> Queued[T_co]: ...
    def pexpiretime(self, key: Key) -> Queued[T_co]: ...
    def pttl(self, name: Key) -> Queued[T_co]: ...
    def randomkey(self, **kwargs: Any) -> Queued[T_co]: ...
    def rename(self, src: Key, dst: Key) -> Queued[T_co]: ...
    def renamenx(self, src: Key, dst: Key) -> Queued[T_co]: ...
    def restore(
        self,
        name: Key,
        ttl: float,
        value: Value,
        replace: bool = False,
        absttl: bool = False,
        idletime: int | None = None,
        frequency: int | None = None,
    ) -> Queued[T_co]: ...
    def scan(
        self,
        cursor: int = 0,
        match: Key | None = None,
        count: int | None = None,
        _type: str | None = None,
        **kwargs: Any,
    ) -> Queued[T_co]: ...
    def sort(
        self,
        name: Key,
        start: int | None = None,
        num: int | None = None,
        by: Key | None = None,
        get: Key | Sequence[Key] | None = None,
        desc: bool = False,
        alpha: bool = False,
        store: Key | None = None,
        groups: bool | None = False,
    ) -> Queued[T_co]: ...
    def sort_ro(
        self,
        key: Key,
        start: int | None = None,
        num: int | None = None,
        by: Key | None = None,
        get: Key | Sequence[Key] | None = None,
        desc: bool = False,
        alpha: bool = False,
    ) -> Queued[T_co]: ...
    def touch(self, *args: Key) -> Queued[T_co]: ...
    def ttl(self, name: Key) -> Queued[T_co]: ...
    def type(self, name: Key) -> Queued[T_co]: ...
    def unlink(self, *names: Key) -> Queued[T_co]: ...
    def wait(self, num_replicas: int, timeout: int, **kwargs: Any) -> Queued[T_co]: ...
    def waitaof(
        self, num_local: int, num_replicas: int, timeout: int, **kwargs: Any
    ) -> Queued[T_co]: ...
