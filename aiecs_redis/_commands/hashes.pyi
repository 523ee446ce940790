"""Hashes."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Generic, Literal, overload

from redis.commands.core import HashDataPersistOptions

from aiecs_redis._commands.types import AbsExpiry, AnyKey, Call, Expiry, Key, T_co, Value, Values

class HashCommands(Generic[T_co]):
    def hdel(self, name: Key, *keys: Value) -> Call[int]: ...
    def hexists(self, name: Key, key: Value) -> Call[bool]: ...
    def hexpire(
        self,
        name: Key,
        seconds: Expiry,
        *fields: Value,
        nx: bool = False,
        xx: bool = False,
        gt: bool = False,
        lt: bool = False,
    ) -> Call[list[int]]: ...
    def hexpireat(
        self,
        name: Key,
        unix_time_seconds: AbsExpiry,
        *fields: Value,
        nx: bool = False,
        xx: bool = False,
        gt: bool = False,
        lt: bool = False,
    ) -> Call[list[int]]: ...
    def hexpiretime(self, key: Key, *fields: Value) -> Call[list[int]]: ...
    def hget(self, name: Key, key: Value) -> Call[T_co | None]: ...
    def hgetall(self, name: Key) -> Call[dict[T_co, T_co]]: ...
    def hgetdel(self, name: Key, *keys: Value) -> Call[list[T_co | None]]: ...
    def hgetex(
        self,
        name: Key,
        *keys: Value,
        ex: Expiry | None = None,
        px: Expiry | None = None,
        exat: AbsExpiry | None = None,
        pxat: AbsExpiry | None = None,
        persist: bool = False,
    ) -> Call[list[T_co | None]]: ...
    def himport_set(self, key: Key, fieldset_name: str, values: Iterable[Value]) -> Call[bool]: ...
    def hincrby(self, name: Key, key: Value, amount: int = 1) -> Call[int]: ...
    def hincrbyfloat(self, name: Key, key: Value, amount: float = 1.0) -> Call[float]: ...
    def hkeys(self, name: Key) -> Call[list[T_co]]: ...
    def hlen(self, name: Key) -> Call[int]: ...
    def hmget(self, name: Key, keys: Values, *args: Value) -> Call[list[T_co | None]]: ...
    def hmset(self, name: Key, mapping: Mapping[AnyKey, Value]) -> Call[bool]: ...
    def hpersist(self, name: Key, *fields: Value) -> Call[list[int]]: ...
    def hpexpire(
        self,
        name: Key,
        milliseconds: Expiry,
        *fields: Value,
        nx: bool = False,
        xx: bool = False,
        gt: bool = False,
        lt: bool = False,
    ) -> Call[list[int]]: ...
    def hpexpireat(
        self,
        name: Key,
        unix_time_milliseconds: AbsExpiry,
        *fields: Value,
        nx: bool = False,
        xx: bool = False,
        gt: bool = False,
        lt: bool = False,
    ) -> Call[list[int]]: ...
    def hpexpiretime(self, key: Key, *fields: Value) -> Call[list[int]]: ...
    def hpttl(self, key: Key, *fields: Value) -> Call[list[int]]: ...
    @overload
    def hrandfield(
        self, key: Key, count: None = None, withvalues: Literal[False] = False
    ) -> Call[T_co | None]: ...
    @overload
    def hrandfield(
        self, key: Key, count: int, withvalues: Literal[False] = False
    ) -> Call[list[T_co]]: ...
    @overload
    def hrandfield(self, key: Key, count: int, withvalues: Literal[True]) -> Call[list[Any]]: ...
    @overload
    def hscan(
        self,
        name: Key,
        cursor: int = 0,
        match: Key | None = None,
        count: int | None = None,
        no_values: Literal[False] | None = None,
    ) -> Call[tuple[int, dict[T_co, T_co]]]: ...
    @overload
    def hscan(
        self,
        name: Key,
        cursor: int = 0,
        match: Key | None = None,
        count: int | None = None,
        *,
        no_values: Literal[True],
    ) -> Call[tuple[int, list[T_co]]]: ...
    @overload
    def hscan_iter(
        self,
        name: Key,
        match: Key | None = None,
        count: int | None = None,
        no_values: Literal[False] | None = None,
    ) -> AsyncIterator[tuple[T_co, T_co]]: ...
    @overload
    def hscan_iter(
        self,
        name: Key,
        match: Key | None = None,
        count: int | None = None,
        *,
        no_values: Literal[True],
    ) -> AsyncIterator[T_co]: ...
    def hset(
        self,
        name: Key,
        key: Value | None = None,
        value: Value | None = None,
        mapping: Mapping[AnyKey, Value] | None = None,
        items: Sequence[Value] | None = None,
    ) -> Call[int]: ...
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
    ) -> Call[int]: ...
    def hsetnx(self, name: Key, key: Value, value: Value) -> Call[int]: ...
    def hstrlen(self, name: Key, key: Value) -> Call[int]: ...
    def httl(self, key: Key, *fields: Value) -> Call[list[int]]: ...
    def hvals(self, name: Key) -> Call[list[T_co]]: ...
