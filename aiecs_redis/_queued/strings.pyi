"""Strings, counters and bits, queued in a pipeline."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, Literal

from aiecs_redis._commands.newer import DataPersistOptions
from aiecs_redis._commands.types import AbsExpiry, AnyKey, BitOffset, Expiry, Key, Keys, T_co, Value
from aiecs_redis._queued.types import Queued

class StringCommands(Generic[T_co]):
    def append(self, key: Key, value: Value) -> Queued[T_co]: ...
    def bitcount(
        self, key: Key, start: int | None = None, end: int | None = None, mode: str | None = None
    ) -> Queued[T_co]: ...
    def bitfield_ro(
        self,
        key: Key,
        encoding: str,
        offset: BitOffset,
        items: Sequence[tuple[str, BitOffset]] | None = None,
    ) -> Queued[T_co]: ...
    def bitop(self, operation: str, dest: Key, *keys: Key) -> Queued[T_co]: ...
    def bitpos(
        self,
        key: Key,
        bit: int,
        start: int | None = None,
        end: int | None = None,
        mode: str | None = None,
    ) -> Queued[T_co]: ...
    def decr(self, name: Key, amount: int = 1) -> Queued[T_co]: ...
    def decrby(self, name: Key, amount: int = 1) -> Queued[T_co]: ...
    def delex(
        self,
        name: Key,
        ifeq: bytes | str | None = None,
        ifne: bytes | str | None = None,
        ifdeq: str | None = None,
        ifdne: str | None = None,
    ) -> Queued[T_co]: ...
    def digest(self, name: Key) -> Queued[T_co]: ...
    def get(self, name: Key) -> Queued[T_co]: ...
    def getbit(self, name: Key, offset: int) -> Queued[T_co]: ...
    def getdel(self, name: Key) -> Queued[T_co]: ...
    def getex(
        self,
        name: Key,
        ex: Expiry | None = None,
        px: Expiry | None = None,
        exat: AbsExpiry | None = None,
        pxat: AbsExpiry | None = None,
        persist: bool = False,
    ) -> Queued[T_co]: ...
    def getrange(self, key: Key, start: int, end: int) -> Queued[T_co]: ...
    def getset(self, name: Key, value: Value) -> Queued[T_co]: ...
    def incr(self, name: Key, amount: int = 1) -> Queued[T_co]: ...
    def incrby(self, name: Key, amount: int = 1) -> Queued[T_co]: ...
    def incrbyfloat(self, name: Key, amount: float = 1.0) -> Queued[T_co]: ...
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
    ) -> Queued[T_co]: ...
    def lcs(
        self,
        key1: Key,
        key2: Key,
        len: bool | None = False,
        idx: bool | None = False,
        minmatchlen: int | None = 0,
        withmatchlen: bool | None = False,
    ) -> Queued[T_co]: ...
    def mget(self, keys: Keys, *args: Key) -> Queued[T_co]: ...
    def mset(self, mapping: Mapping[AnyKey, Value]) -> Queued[T_co]: ...
    def msetex(
        self,
        mapping: Mapping[AnyKey, Value],
        data_persist_option: DataPersistOptions | None = None,
        ex: Expiry | None = None,
        px: Expiry | None = None,
        exat: AbsExpiry | None = None,
        pxat: AbsExpiry | None = None,
        keepttl: bool = False,
    ) -> Queued[T_co]: ...
    def msetnx(self, mapping: Mapping[AnyKey, Value]) -> Queued[T_co]: ...
    def psetex(self, name: Key, time_ms: Expiry, value: Value) -> Queued[T_co]: ...
    def set(
        self,
        name: Key,
        value: Value,
        ex: Expiry | None = None,
        px: Expiry | None = None,
        nx: bool = False,
        xx: bool = False,
        keepttl: bool = False,
        get: bool = False,
        exat: AbsExpiry | None = None,
        pxat: AbsExpiry | None = None,
        ifeq: bytes | str | None = None,
        ifne: bytes | str | None = None,
        ifdeq: str | None = None,
        ifdne: str | None = None,
    ) -> Queued[T_co]: ...
    def setbit(self, name: Key, offset: int, value: int) -> Queued[T_co]: ...
    def setex(self, name: Key, time: Expiry, value: Value) -> Queued[T_co]: ...
    def setnx(self, name: Key, value: Value) -> Queued[T_co]: ...
    def setrange(self, name: Key, offset: int, value: Value) -> Queued[T_co]: ...
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
    ) -> Queued[T_co]: ...
    def strlen(self, name: Key) -> Queued[T_co]: ...
    def substr(self, name: Key, start: int, end: int = -1) -> Queued[T_co]: ...
