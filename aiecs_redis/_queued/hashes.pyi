"""Hashes, queued in a pipeline."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Generic

from redis.commands.core import HashDataPersistOptions

from aiecs_redis._commands.types import AbsExpiry, AnyKey, Expiry, Key, T_co, Value, Values
from aiecs_redis._queued.types import Queued

class HashCommands(Generic[T_co]):
    def hdel(self, name: Key, *keys: Value) -> Queued[T_co]: ...
    def hexists(self, name: Key, key: Value) -> Queued[T_co]: ...
    def hexpire(
        self,
        name: Key,
        seconds: Expiry,
        *fields: Value,
        nx: bool = False,
        xx: bool = False,
        gt: bool = False,
        lt: bool = False,
    ) -> Queued[T_co]: ...
    def hexpireat(
        self,
        name: Key,
        unix_time_seconds: AbsExpiry,
        *fields: Value,
        nx: bool = False,
        xx: bool = False,
        gt: bool = False,
        lt: bool = False,
    ) -> Queued[T_co]: ...
    def hexpiretime(self, key: Key, *fields: Value) -> Queued[T_co]: ...
    def hget(self, name: Key, key: Value) -> Queued[T_co]: ...
    def hgetall(self, name: Key) -> Queued[T_co]: ...
    def hgetdel(self, name: Key, *keys: Value) -> Queued[T_co]: ...
    def hgetex(
        self,
        name: Key,
        *keys: Value,
        ex: Expiry | None = None,
        px: Expiry | None = None,
        exat: AbsExpiry | None = None,
        pxat: AbsExpiry | None = None,
        persist: bool = False,
    ) -> Queued[T_co]: ...
    def himport_set(
        self, key: Key, fieldset_name: str, values: Iterable[Value]
    ) -> Queued[T_co]: ...
    def hincrby(self, name: Key, key: Value, amount: int = 1) -> Queued[T_co]: ...
    def hincrbyfloat(self, name: Key, key: Value, amount: float = 1.0) -> Queued[T_co]: ...
    def hkeys(self, name: Key) -> Queued[T_co]: ...
    def hlen(self, name: Key) -> Queued[T_co]: ...
    def hmget(self, name: Key, keys: Values, *args: Value) -> Queued[T_co]: ...
    def hmset(self, name: Key, mapping: Mapping[AnyKey, Value]) -> Queued[T_co]: ...
    def hpersist(self, name: Key, *fields: Value) -> Queued[T_co]: ...
    def hpexpire(
        self,
        name: Key,
        milliseconds: Expiry,
        *fields: Value,
        nx: bool = False,
        xx: bool = False,
        gt: bool = False,
        lt: bool = False,
    ) -> Queued[T_co]: ...
    def hpexpireat(
        self,
        name: Key,
        unix_time_milliseconds: AbsExpiry,
        *fields: Value,
        nx: bool = False,
        xx: bool = False,
        gt: bool = False,
        lt: bool = False,
    ) -> Queued[T_co]: ...
    def hpexpiretime(self, key: Key, *fields: Value) -> Queued[T_co]: ...
    def hpttl(self, key: Key, *fields: Value) -> Queued[T_co]: ...
    def hrandfield(
        self, key: Key, count: int | None = None, withvalues: bool = False
    ) -> Queued[T_co]: ...
    def hscan(
        self,
        name: Key,
        cursor: int = 0,
        match: Key | None = None,
        count: int | None = None,
        no_values: bool | None = None,
    ) -> Queued[T_co]: ...
    def hset(
        self,
        name: Key,
        key: Value | None = None,
        value: Value | None = None,
        mapping: Mapping[AnyKey, Value] | None = None,
        items: Sequence[Value] | None = None,
    ) -> Queued[T_co]: ...
    def hsetex(
        self,
        name: Key,
        key: Value | None = None,
        value: Value | None = None,
        mapping: Mapping[AnyKey, Value] | None = None,
        items: Sequence[Value] | None = None,
        ex: Expiry | None = None,
        px: Expiry | None = None,
        exat: AbsExpiry | None = None,
        pxat: AbsExpiry | None = None,
        data_persist_option: HashDataPersistOptions | None = None,
        keepttl: bool = False,
    ) -> Queued[T_co]: ...
    def hsetnx(self, name: Key, key: Value, value: Value) -> Queued[T_co]: ...
    def hstrlen(self, name: Key, key: Value) -> Queued[T_co]: ...
    def httl(self, key: Key, *fields: Value) -> Queued[T_co]: ...
    def hvals(self, name: Key) -> Queued[T_co]: ...
