"""Streams."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, Literal, overload

from aiecs_redis._commands.types import (
    AnyKey,
    Call,
    Entry,
    Key,
    StreamId,
    T_co,
    Value,
)

class StreamCommands(Generic[T_co]):
    def xack(self, name: Key, groupname: Key, *ids: StreamId) -> Call[int]: ...
    def xackdel(
        self,
        name: Key,
        groupname: Key,
        *ids: StreamId,
        ref_policy: Literal["KEEPREF", "DELREF", "ACKED"] = "KEEPREF",
    ) -> Call[int]: ...
    @overload
    def xadd(
        self,
        name: Key,
        fields: Mapping[AnyKey, Value],
        id: StreamId = "*",
        maxlen: int | None = None,
        approximate: bool = True,
        nomkstream: Literal[False] = False,
        minid: StreamId | None = None,
        limit: int | None = None,
        ref_policy: Literal["KEEPREF", "DELREF", "ACKED"] | None = None,
        idmpauto: str | None = None,
        idmp: tuple[str, bytes] | None = None,
    ) -> Call[T_co]: ...
    @overload
    def xadd(
        self,
        name: Key,
        fields: Mapping[AnyKey, Value],
        id: StreamId = "*",
        maxlen: int | None = None,
        approximate: bool = True,
        *,
        nomkstream: bool,
        minid: StreamId | None = None,
        limit: int | None = None,
        ref_policy: Literal["KEEPREF", "DELREF", "ACKED"] | None = None,
        idmpauto: str | None = None,
        idmp: tuple[str, bytes] | None = None,
    ) -> Call[T_co | None]: ...
    def xautoclaim(
        self,
        name: Key,
        groupname: Key,
        consumername: Key,
        min_idle_time: int,
        start_id: StreamId = "0-0",
        count: int | None = None,
        justid: bool = False,
    ) -> Call[list[Any]]: ...
    def xcfgset(
        self, name: Key, idmp_duration: int | None = None, idmp_maxsize: int | None = None
    ) -> Call[T_co]: ...
    @overload
    def xclaim(
        self,
        name: Key,
        groupname: Key,
        consumername: Key,
        min_idle_time: int,
        message_ids: Sequence[StreamId],
        idle: int | None = None,
        time: int | None = None,
        retrycount: int | None = None,
        force: bool = False,
        justid: Literal[False] = False,
    ) -> Call[list[Entry[T_co]]]: ...
    @overload
    def xclaim(
        self,
        name: Key,
        groupname: Key,
        consumername: Key,
        min_idle_time: int,
        message_ids: Sequence[StreamId],
        idle: int | None = None,
        time: int | None = None,
        retrycount: int | None = None,
        force: bool = False,
        *,
        justid: Literal[True],
    ) -> Call[list[T_co]]: ...
    def xdel(self, name: Key, *ids: StreamId) -> Call[int]: ...
    def xdelex(
        self,
        name: Key,
        *ids: StreamId,
        ref_policy: Literal["KEEPREF", "DELREF", "ACKED"] = "KEEPREF",
    ) -> Call[int]: ...
    def xgroup_create(
        self,
        name: Key,
        groupname: Key,
        id: StreamId = "$",
        mkstream: bool = False,
        entries_read: int | None = None,
    ) -> Call[bool]: ...
    def xgroup_createconsumer(self, name: Key, groupname: Key, consumername: Key) -> Call[int]: ...
    def xgroup_delconsumer(self, name: Key, groupname: Key, consumername: Key) -> Call[int]: ...
    def xgroup_destroy(self, name: Key, groupname: Key) -> Call[bool]: ...
    def xgroup_setid(
        self, name: Key, groupname: Key, id: StreamId, entries_read: int | None = None
    ) -> Call[bool]: ...
    def xinfo_consumers(self, name: Key, groupname: Key) -> Call[list[dict[str, Any]]]: ...
    def xinfo_groups(self, name: Key) -> Call[list[dict[str, Any]]]: ...
    def xinfo_stream(self, name: Key, full: bool = False) -> Call[dict[str, Any]]: ...
    def xlen(self, name: Key) -> Call[int]: ...
    def xnack(
        self,
        name: Key,
        groupname: Key,
        mode: Literal["SILENT", "FAIL", "FATAL"],
        *ids: StreamId,
        retrycount: int | None = None,
        force: bool = False,
    ) -> Call[int]: ...
    def xpending(self, name: Key, groupname: Key) -> Call[dict[str, Any]]: ...
    def xpending_range(
        self,
        name: Key,
        groupname: Key,
        min: StreamId,
        max: StreamId,
        count: int,
        consumername: Key | None = None,
        idle: int | None = None,
    ) -> Call[list[dict[str, Any]]]: ...
    def xrange(
        self, name: Key, min: StreamId = "-", max: StreamId = "+", count: int | None = None
    ) -> Call[list[Entry[T_co]]]: ...
    def xread(
        self,
        streams: Mapping[AnyKey, StreamId],
        count: int | None = None,
        block: int | None = None,
        max_count: int | None = None,
        max_size: int | None = None,
    ) -> Call[list[Any]]: ...
    def xreadgroup(
        self,
        groupname: Key,
        consumername: Key,
        streams: Mapping[AnyKey, StreamId],
        count: int | None = None,
        block: int | None = None,
        noack: bool = False,
        claim_min_idle_time: int | None = None,
        max_count: int | None = None,
        max_size: int | None = None,
    ) -> Call[list[Any]]: ...
    def xrevrange(
        self, name: Key, max: StreamId = "+", min: StreamId = "-", count: int | None = None
    ) -> Call[list[Entry[T_co]]]: ...
    def xtrim(
        self,
        name: Key,
        maxlen: int | None = None,
        approximate: bool = True,
        minid: StreamId | None = None,
        limit: int | None = None,
        ref_policy: Literal["KEEPREF", "DELREF", "ACKED"] | None = None,
    ) -> Call[int]: ...
