"""Strings, counters and bits."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, Literal, overload

from aiecs_redis._commands.newer import DataPersistOptions
from aiecs_redis._commands.types import (
    AbsExpiry,
    AnyKey,
    BitOffset,
    Call,
    Expiry,
    Key,
    Keys,
    T_co,
    Value,
)

class StringCommands(Generic[T_co]):
    def append(self, key: Key, value: Value) -> Call[int]: ...
    def bitcount(
        self, key: Key, start: int | None = None, end: int | None = None, mode: str | None = None
    ) -> Call[int]: ...
    def bitfield_ro(
        self,
        key: Key,
        encoding: str,
        offset: BitOffset,
        items: Sequence[tuple[str, BitOffset]] | None = None,
    ) -> Call[list[int]]: ...
    def bitop(self, operation: str, dest: Key, *keys: Key) -> Call[int]: ...
    def bitpos(
        self,
        key: Key,
        bit: int,
        start: int | None = None,
        end: int | None = None,
        mode: str | None = None,
    ) -> Call[int]: ...
    def decr(self, name: Key, amount: int = 1) -> Call[int]: ...
    def decrby(self, name: Key, amount: int = 1) -> Call[int]: ...
    def delex(
        self,
        name: Key,
        ifeq: bytes | str | None = None,
        ifne: bytes | str | None = None,
        ifdeq: str | None = None,
        ifdne: str | None = None,
    ) -> Call[int]: ...
    def digest(self, name: Key) -> Call[str | None]: ...
    def get(self, name: Key) -> Call[T_co | None]: ...
    def getbit(self, name: Key, offset: int) -> Call[int]: ...
    def getdel(self, name: Key) -> Call[T_co | None]: ...
    def getex(
        self,
        name: Key,
        ex: Expiry | None = None,
        px: Expiry | None = None,
        exat: AbsExpiry | None = None,
        pxat: AbsExpiry | None = None,
        persist: bool = False,
    ) -> Call[T_co | None]: ...
    def getrange(self, key: Key, start: int, end: int) -> Call[T_co]: ...
    def getset(self, name: Key, value: Value) -> Call[T_co | None]: ...
    def incr(self, name: Key, amount: int = 1) -> Call[int]: ...
    def incrby(self, name: Key, amount: int = 1) -> Call[int]: ...
    def incrbyfloat(self, name: Key, amount: float = 1.0) -> Call[float]: ...
    def increx(
        self,
        name: Key,
        *,
        byfloat: Value | None = None,
        byint: Value | None = None,
        lbound: Value | None = None,
        ubound: Value | None = None,
        saturate: bool = False,
        ex: Expiry | None = None,
        px: Expiry | None = None,
        exat: AbsExpiry | None = None,
        pxat: AbsExpiry | None = None,
        persist: bool = False,
        enx: bool = False,
    ) -> Call[list[Any]]: ...
    @overload
    def lcs(
        self,
        key1: Key,
        key2: Key,
        len: Literal[False] = False,
        idx: Literal[False] = False,
        minmatchlen: int | None = 0,
        withmatchlen: bool | None = False,
    ) -> Call[T_co]: ...
    @overload
    def lcs(
        self,
        key1: Key,
        key2: Key,
        len: Literal[True],
        idx: Literal[False] = False,
        minmatchlen: int | None = 0,
        withmatchlen: bool | None = False,
    ) -> Call[int]: ...
    @overload
    def lcs(
        self,
        key1: Key,
        key2: Key,
        len: bool | None = False,
        idx: bool | None = False,
        minmatchlen: int | None = 0,
        withmatchlen: bool | None = False,
    ) -> Call[Any]: ...
    def mget(self, keys: Keys, *args: Key) -> Call[list[T_co | None]]: ...
    def mset(self, mapping: Mapping[AnyKey, Value]) -> Call[bool]: ...
    def msetex(
        self,
        mapping: Mapping[AnyKey, Value],
        data_persist_option: DataPersistOptions | None = None,
        ex: Expiry | None = None,
        px: Expiry | None = None,
        exat: AbsExpiry | None = None,
        pxat: AbsExpiry | None = None,
        keepttl: bool = False,
    ) -> Call[int]: ...
    def msetnx(self, mapping: Mapping[AnyKey, Value]) -> Call[bool]: ...
    def psetex(self, name: Key, time_ms: Expiry, value: Value) -> Call[bool]: ...
    @overload
    def set(
        self,
        name: Key,
        value: Value,
        ex: Expiry | None = None,
        px: Expiry | None = None,
        nx: bool = False,
        xx: bool = False,
        keepttl: bool = False,
        get: Literal[False] = False,
        exat: AbsExpiry | None = None,
        pxat: AbsExpiry | None = None,
        ifeq: bytes | str | None = None,
        ifne: bytes | str | None = None,
        ifdeq: str | None = None,
        ifdne: str | None = None,
    ) -> Call[bool | None]: ...
    @overload
    def set(
        self,
        name: Key,
        value: Value,
        ex: Expiry | None = None,
        px: Expiry | None = None,
        nx: bool = False,
        xx: bool = False,
        keepttl: bool = False,
        *,
        get: Literal[True],
        exat: AbsExpiry | None = None,
        pxat: AbsExpiry | None = None,
        ifeq: bytes | str | None = None,
        ifne: bytes | str | None = None,
        ifdeq: str | None = None,
        ifdne: str | None = None,
    ) -> Call[T_co | None]: ...
    @overload
    def set(
        self,
        name: Key,
        value: Value,
        ex: Expiry | None = None,
        px: Expiry | None = None,
        nx: bool = False,
        xx: bool = False,
        keepttl: bool = False,
        get: bool = ...,
        exat: AbsExpiry | None = None,
        pxat: AbsExpiry | None = None,
        ifeq: bytes | str | None = None,
        ifne: bytes | str | None = None,
        ifdeq: str | None = None,
        ifdne: str | None = None,
    ) -> Call[bool | T_co | None]: ...
    def setbit(self, name: Key, offset: int, value: int) -> Call[int]: ...
    def setex(self, name: Key, time: Expiry, value: Value) -> Call[bool]: ...
    def setnx(self, name: Key, value: Value) -> Call[bool]: ...
    def setrange(self, name: Key, offset: int, value: Value) -> Call[int]: ...
    def stralgo(
        self,
        algo: Literal["LCS"],
        value1: Key,
        value2: Key,
        specific_argument: Literal["strings", "keys"] = "strings",
        len: bool = False,
        idx: bool = False,
        minmatchlen: int | None = None,
        withmatchlen: bool = False,
        **kwargs: Any,
    ) -> Call[Any]: ...
    def strlen(self, name: Key) -> Call[int]: ...
    def substr(self, name: Key, start: int, end: int = -1) -> Call[T_co]: ...
