"""Streams, queued in a pipeline."""

from collections.abc import Mapping, Sequence
from typing import Generic, Literal

from aiecs_redis._commands.types import AnyKey, Key, StreamId, T_co, Value
from aiecs_redis._queued.types import Queued

class StreamCommands(Generic[T_co]):
    def xack(self, name: Key, groupname: Key, *ids: StreamId) -> Queued[T_co]: ...
    def xackdel(
        self,
        name: Key,
        groupname: Key,
        *ids: StreamId,
        ref_policy: Literal["KEEPREF", "DELREF", "ACKED"] = "KEEPREF",
    ) -> Queued[T_co]: ...
    def xadd(
        self,
        name: Key,
        fields: Mapping[AnyKey, Value],
        id: StreamId = "*",
        maxlen: int | None = None,
        approximate: bool = True,
        nomkstream: bool = False,
        minid: StreamId | None = None,
        limit: int | None = None,
        ref_policy: Literal["KEEPREF", "DELREF", "ACKED"] | None = None,
        idmpauto: str | None = None,
        idmp: tuple[str, bytes] | None = None,
    ) -> Queued[T_co]: ...
    def xautoclaim(
        self,
        name: Key,
        groupname: Key,
        consumername: Key,
        min_idle_time: int,
        start_id: StreamId = "0-0",
        count: int | None = None,
        justid: bool = False,
    ) -> Queued[T_co]: ...
    def xcfgset(
        self, name: Key, idmp_duration: int | None = None, idmp_maxsize: int | None = None
    ) -> Queued[T_co]: ...
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
        justid: bool = False,
    ) -> Queued[T_co]: ...
    def xdel(self, name: Key, *ids: StreamId) -> Queued[T_co]: ...
    def xdelex(
        self,
        name: Key,
        *ids: StreamId,
        ref_policy: Literal["KEEPREF", "DELREF", "ACKED"] = "KEEPREF",
    ) -> Queued[T_co]: ...
    def xgroup_create(
        self,
        name: Key,
        groupname: Key,
        id: StreamId = "$",
        mkstream: bool = False,
        entries_read: int | None = None,
    ) -> Queued[T_co]: ...
    def xgroup_createconsumer(
        self, name: Key, groupname: Key, consumername: Key
    ) -> Queued[T_co]: ...
    def xgroup_delconsumer(self, name: Key, groupname: Key, consumername: Key) -> Queued[T_co]: ...
    def xgroup_destroy(self, name: Key, groupname: Key) -> Queued[T_co]: ...
    def xgroup_setid(
        self, name: Key, groupname: Key, id: StreamId, entries_read: int | None = None
    ) -> Queued[T_co]: ...
    def xinfo_consumers(self, name: Key, groupname: Key) -> Queued[T_co]: ...
    def xinfo_groups(self, name: Key) -> Queued[T_co]: ...
    def xinfo_stream(self, name: Key, full: bool = False) -> Queued[T_co]: ...
    def xlen(self, name: Key) -> Queued[T_co]: ...
    def xnack(
        self,
        name: Key,
        groupname: Key,
        mode: Literal["SILENT", "FAIL", "FATAL"],
        *ids: StreamId,
        retrycount: int | None = None,
        force: bool = False,
    ) -> Queued[T_co]: ...
    def xpending(self, name: Key, groupname: Key) -> Queued[T_co]: ...
    def xpending_range(
        self,
        name: Key,
        groupname: Key,
        min: StreamId,
        max: StreamId,
        count: int,
        consumername: Key | None = None,
        idle: int | None = None,
    ) -> Queued[T_co]: ...
    def xrange(
        self, name: Key, min: StreamId = "-", max: StreamId = "+", count: int | None = None
    ) -> Queued[T_co]: ...
    def xread(
        self,
        streams: Mapping[AnyKey, StreamId],
        count: int | None = None,
        block: int | None = None,
        max_count: int | None = None,
        max_size: int | None = None,
    ) -> Queued[T_co]: ...
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
    ) -> Queued[T_co]: ...
    def xrevrange(
        self, name: Key, max: StreamId = "+", min: StreamId = "-", count: int | None = None
    ) -> Queued[T_co]: ...
    def xtrim(
        self,
        name: Key,
        maxlen: int | None = None,
        approximate: bool = True,
        minid: StreamId | None = None,
        limit: int | None = None,
        ref_policy: Literal["KEEPREF", "DELREF", "ACKED"] | None = None,
    ) -> Queued[T_co]: ...
