"""Sorted sets, queued in a pipeline."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic

from aiecs_redis._commands.types import AnyKey, Key, Keys, ScoreBound, T_co, Value
from aiecs_redis._queued.types import Queued

class SortedSetCommands(Generic[T_co]):
    def bzmpop(
        self,
        timeout: float,
        numkeys: int,
        keys: Sequence[Key],
        min: bool | None = False,
        max: bool | None = False,
        count: int | None = 1,
    ) -> Queued[T_co]: ...
    def bzpopmax(self, keys: Keys, timeout: float | str = 0) -> Queued[T_co]: ...
    def bzpopmin(self, keys: Keys, timeout: float | str = 0) -> Queued[T_co]: ...
    def zadd(
        self,
        name: Key,
        mapping: Mapping[AnyKey, Value],
        nx: bool = False,
        xx: bool = False,
        ch: bool = False,
        incr: bool = False,
        gt: bool = False,
        lt: bool = False,
    ) -> Queued[T_co]: ...
    def zcard(self, name: Key) -> Queued[T_co]: ...
    def zcount(self, name: Key, min: ScoreBound, max: ScoreBound) -> Queued[T_co]: ...
    def zdiff(self, keys: Keys, withscores: bool = False) -> Queued[T_co]: ...
    def zdiffstore(self, dest: Key, keys: Keys) -> Queued[T_co]: ...
    def zincrby(self, name: Key, amount: float, value: Value) -> Queued[T_co]: ...
    def zinter(
        self, keys: Keys, aggregate: str | None = None, withscores: bool = False
    ) -> Queued[T_co]: ...
    def zintercard(self, numkeys: int, keys: Sequence[Key], limit: int = 0) -> Queued[T_co]: ...
    def zinterstore(
        self, dest: Key, keys: Sequence[Key] | Mapping[AnyKey, float], aggregate: str | None = None
    ) -> Queued[T_co]: ...
    def zlexcount(self, name: Key, min: Value, max: Value) -> Queued[T_co]: ...
    def zmpop(
        self,
        num_keys: int,
        keys: Sequence[Key],
        min: bool | None = False,
        max: bool | None = False,
        count: int | None = 1,
    ) -> Queued[T_co]: ...
    def zmscore(self, key: Key, members: Sequence[Value]) -> Queued[T_co]: ...
    def zpopmax(self, name: Key, count: int | None = None) -> Queued[T_co]: ...
    def zpopmin(self, name: Key, count: int | None = None) -> Queued[T_co]: ...
    def zrandmember(
        self, key: Key, count: int | None = None, withscores: bool = False
    ) -> Queued[T_co]: ...
    def zrange(
        self,
        name: Key,
        start: Value,
        end: Value,
        desc: bool = False,
        withscores: bool = False,
        score_cast_func: Callable[[Any], Any] = float,
        byscore: bool = False,
        bylex: bool = False,
        offset: int | None = None,
        num: int | None = None,
    ) -> Queued[T_co]: ...
    def zrangebylex(
        self, name: Key, min: Value, max: Value, start: int | None = None, num: int | None = None
    ) -> Queued[T_co]: ...
    def zrangebyscore(
        self,
        name: Key,
        min: ScoreBound,
        max: ScoreBound,
        start: int | None = None,
        num: int | None = None,
        withscores: bool = False,
        score_cast_func: Callable[[Any], Any] = float,
    ) -> Queued[T_co]: ...
    def zrangestore(
        self,
        dest: Key,
        name: Key,
        start: Value,
        end: Value,
        byscore: bool = False,
        bylex: bool = False,
        desc: bool = False,
        offset: int | None = None,
        num: int | None = None,
    ) -> Queued[T_co]: ...
    def zrank(
        self,
        name: Key,
        value: Value,
        withscore: bool = False,
        score_cast_func: Callable[[Any], Any] = float,
    ) -> Queued[T_co]: ...
    def zrem(self, name: Key, *values: Value) -> Queued[T_co]: ...
    def zremrangebylex(self, name: Key, min: Value, max: Value) -> Queued[T_co]: ...
    def zremrangebyrank(self, name: Key, min: int, max: int) -> Queued[T_co]: ...
    def zremrangebyscore(self, name: Key, min: ScoreBound, max: ScoreBound) -> Queued[T_co]: ...
    def zrevrange(
        self,
        name: Key,
        start: int,
        end: int,
        withscores: bool = False,
        score_cast_func: Callable[[Any], Any] = float,
    ) -> Queued[T_co]: ...
    def zrevrangebylex(
        self, name: Key, max: Value, min: Value, start: int | None = None, num: int | None = None
    ) -> Queued[T_co]: ...
    def zrevrangebyscore(
        self,
        name: Key,
        max: ScoreBound,
        min: ScoreBound,
        start: int | None = None,
        num: int | None = None,
        withscores: bool = False,
        score_cast_func: Callable[[Any], Any] = float,
    ) -> Queued[T_co]: ...
    def zrevrank(
        self,
        name: Key,
        value: Value,
        withscore: bool = False,
        score_cast_func: Callable[[Any], Any] = float,
    ) -> Queued[T_co]: ...
    def zscan(
        self,
        name: Key,
        cursor: int = 0,
        match: Key | None = None,
        count: int | None = None,
        score_cast_func: Callable[[Any], Any] = float,
    ) -> Queued[T_co]: ...
    def zscore(self, name: Key, value: Value) -> Queued[T_co]: ...
    def zunion(
        self,
        keys: Sequence[Key] | Mapping[AnyKey, float],
        aggregate: str | None = None,
        withscores: bool = False,
        score_cast_func: Callable[[Any], Any] = float,
    ) -> Queued[T_co]: ...
    def zunionstore(
        self, dest: Key, keys: Sequence[Key] | Mapping[AnyKey, float], aggregate: str | None = None
    ) -> Queued[T_co]: ...
