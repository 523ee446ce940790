"""Sorted sets."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Generic, Literal, overload

from aiecs_redis._commands.types import AnyKey, Call, Key, Keys, Score, ScoreBound, T_co, Value

class SortedSetCommands(Generic[T_co]):
    def bzmpop(
        self,
        timeout: float,
        numkeys: int,
        keys: Sequence[Key],
        min: bool | None = False,
        max: bool | None = False,
        count: int | None = 1,
    ) -> Call[list[Any] | None]: ...
    def bzpopmax(
        self, keys: Keys, timeout: float | str = 0
    ) -> Call[tuple[T_co, T_co, float] | None]: ...
    def bzpopmin(
        self, keys: Keys, timeout: float | str = 0
    ) -> Call[tuple[T_co, T_co, float] | None]: ...
    @overload
    def zadd(
        self,
        name: Key,
        mapping: Mapping[AnyKey, Value],
        nx: bool = False,
        xx: bool = False,
        ch: bool = False,
        incr: Literal[False] = False,
        gt: bool = False,
        lt: bool = False,
    ) -> Call[int]: ...
    @overload
    def zadd(
        self,
        name: Key,
        mapping: Mapping[AnyKey, Value],
        nx: bool = False,
        xx: bool = False,
        ch: bool = False,
        *,
        incr: Literal[True],
        gt: bool = False,
        lt: bool = False,
    ) -> Call[float | None]: ...
    def zcard(self, name: Key) -> Call[int]: ...
    def zcount(self, name: Key, min: ScoreBound, max: ScoreBound) -> Call[int]: ...
    @overload
    def zdiff(self, keys: Keys, withscores: Literal[False] = False) -> Call[list[T_co]]: ...
    @overload
    def zdiff(self, keys: Keys, withscores: bool) -> Call[list[Any]]: ...
    def zdiffstore(self, dest: Key, keys: Keys) -> Call[int]: ...
    def zincrby(self, name: Key, amount: float, value: Value) -> Call[float]: ...
    @overload
    def zinter(
        self, keys: Keys, aggregate: str | None = None, withscores: Literal[False] = False
    ) -> Call[list[T_co]]: ...
    @overload
    def zinter(
        self, keys: Keys, aggregate: str | None = None, *, withscores: Literal[True]
    ) -> Call[list[tuple[T_co, float]]]: ...
    @overload
    def zinter(
        self, keys: Keys, aggregate: str | None = None, withscores: bool = ...
    ) -> Call[list[Any]]: ...
    def zintercard(self, numkeys: int, keys: Sequence[Key], limit: int = 0) -> Call[int]: ...
    def zinterstore(
        self, dest: Key, keys: Sequence[Key] | Mapping[AnyKey, float], aggregate: str | None = None
    ) -> Call[int]: ...
    def zlexcount(self, name: Key, min: Value, max: Value) -> Call[int]: ...
    def zmpop(
        self,
        num_keys: int,
        keys: Sequence[Key],
        min: bool | None = False,
        max: bool | None = False,
        count: int | None = 1,
    ) -> Call[list[Any] | None]: ...
    def zmscore(self, key: Key, members: Sequence[Value]) -> Call[list[float | None]]: ...
    def zpopmax(self, name: Key, count: int | None = None) -> Call[list[tuple[T_co, float]]]: ...
    def zpopmin(self, name: Key, count: int | None = None) -> Call[list[tuple[T_co, float]]]: ...
    @overload
    def zrandmember(
        self, key: Key, count: None = None, withscores: Literal[False] = False
    ) -> Call[T_co | None]: ...
    @overload
    def zrandmember(
        self, key: Key, count: int, withscores: Literal[False] = False
    ) -> Call[list[T_co]]: ...
    @overload
    def zrandmember(self, key: Key, count: int, withscores: Literal[True]) -> Call[list[Any]]: ...
    @overload
    def zrange(
        self,
        name: Key,
        start: Value,
        end: Value,
        desc: bool = False,
        withscores: Literal[False] = False,
        score_cast_func: Callable[[Any], Any] = float,
        byscore: bool = False,
        bylex: bool = False,
        offset: int | None = None,
        num: int | None = None,
    ) -> Call[list[T_co]]: ...
    @overload
    def zrange(
        self,
        name: Key,
        start: Value,
        end: Value,
        desc: bool = False,
        *,
        withscores: Literal[True],
        score_cast_func: Callable[[Any], Score] = ...,
        byscore: bool = False,
        bylex: bool = False,
        offset: int | None = None,
        num: int | None = None,
    ) -> Call[list[tuple[T_co, Score]]]: ...
    @overload
    def zrange(
        self,
        name: Key,
        start: Value,
        end: Value,
        desc: bool = False,
        withscores: bool = ...,
        score_cast_func: Callable[[Any], Any] = float,
        byscore: bool = False,
        bylex: bool = False,
        offset: int | None = None,
        num: int | None = None,
    ) -> Call[list[Any]]: ...
    def zrangebylex(
        self, name: Key, min: Value, max: Value, start: int | None = None, num: int | None = None
    ) -> Call[list[T_co]]: ...
    @overload
    def zrangebyscore(
        self,
        name: Key,
        min: ScoreBound,
        max: ScoreBound,
        start: int | None = None,
        num: int | None = None,
        withscores: Literal[False] = False,
        score_cast_func: Callable[[Any], Any] = float,
    ) -> Call[list[T_co]]: ...
    @overload
    def zrangebyscore(
        self,
        name: Key,
        min: ScoreBound,
        max: ScoreBound,
        start: int | None = None,
        num: int | None = None,
        *,
        withscores: Literal[True],
        score_cast_func: Callable[[Any], Score] = ...,
    ) -> Call[list[tuple[T_co, Score]]]: ...
    @overload
    def zrangebyscore(
        self,
        name: Key,
        min: ScoreBound,
        max: ScoreBound,
        start: int | None = None,
        num: int | None = None,
        withscores: bool = ...,
        score_cast_func: Callable[[Any], Any] = float,
    ) -> Call[list[Any]]: ...
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
    ) -> Call[int]: ...
    @overload
    def zrank(
        self,
        name: Key,
        value: Value,
        withscore: Literal[False] = False,
        score_cast_func: Callable[[Any], Any] = float,
    ) -> Call[int | None]: ...
    @overload
    def zrank(
        self,
        name: Key,
        value: Value,
        withscore: Literal[True],
        score_cast_func: Callable[[Any], Any] = float,
    ) -> Call[list[Any] | None]: ...
    def zrem(self, name: Key, *values: Value) -> Call[int]: ...
    def zremrangebylex(self, name: Key, min: Value, max: Value) -> Call[int]: ...
    def zremrangebyrank(self, name: Key, min: int, max: int) -> Call[int]: ...
    def zremrangebyscore(self, name: Key, min: ScoreBound, max: ScoreBound) -> Call[int]: ...
    @overload
    def zrevrange(
        self,
        name: Key,
        start: int,
        end: int,
        withscores: Literal[False] = False,
        score_cast_func: Callable[[Any], Any] = float,
    ) -> Call[list[T_co]]: ...
    @overload
    def zrevrange(
        self,
        name: Key,
        start: int,
        end: int,
        withscores: Literal[True],
        score_cast_func: Callable[[Any], Score] = ...,
    ) -> Call[list[tuple[T_co, Score]]]: ...
    @overload
    def zrevrange(
        self,
        name: Key,
        start: int,
        end: int,
        withscores: bool = ...,
        score_cast_func: Callable[[Any], Any] = float,
    ) -> Call[list[Any]]: ...
    def zrevrangebylex(
        self, name: Key, max: Value, min: Value, start: int | None = None, num: int | None = None
    ) -> Call[list[T_co]]: ...
    @overload
    def zrevrangebyscore(
        self,
        name: Key,
        max: ScoreBound,
        min: ScoreBound,
        start: int | None = None,
        num: int | None = None,
        withscores: Literal[False] = False,
        score_cast_func: Callable[[Any], Any] = float,
    ) -> Call[list[T_co]]: ...
    @overload
    def zrevrangebyscore(
        self,
        name: Key,
        max: ScoreBound,
        min: ScoreBound,
        start: int | None = None,
        num: int | None = None,
        *,
        withscores: Literal[True],
        score_cast_func: Callable[[Any], Score] = ...,
    ) -> Call[list[tuple[T_co, Score]]]: ...
    @overload
    def zrevrangebyscore(
        self,
        name: Key,
        max: ScoreBound,
        min: ScoreBound,
        start: int | None = None,
        num: int | None = None,
        withscores: bool = ...,
        score_cast_func: Callable[[Any], Any] = float,
    ) -> Call[list[Any]]: ...
    @overload
    def zrevrank(
        self,
        name: Key,
        value: Value,
        withscore: Literal[False] = False,
        score_cast_func: Callable[[Any], Any] = float,
    ) -> Call[int | None]: ...
    @overload
    def zrevrank(
        self,
        name: Key,
        value: Value,
        withscore: Literal[True],
        score_cast_func: Callable[[Any], Any] = float,
    ) -> Call[list[Any] | None]: ...
    def zscan(
        self,
        name: Key,
        cursor: int = 0,
        match: Key | None = None,
        count: int | None = None,
        score_cast_func: Callable[[Any], Score] = ...,
    ) -> Call[tuple[int, list[tuple[T_co, Score]]]]: ...
    def zscan_iter(
        self,
        name: Key,
        match: Key | None = None,
        count: int | None = None,
        score_cast_func: Callable[[Any], Score] = ...,
    ) -> AsyncIterator[tuple[T_co, Score]]: ...
    def zscore(self, name: Key, value: Value) -> Call[float | None]: ...
    @overload
    def zunion(
        self,
        keys: Sequence[Key] | Mapping[AnyKey, float],
        aggregate: str | None = None,
        withscores: Literal[False] = False,
        score_cast_func: Callable[[Any], Any] = float,
    ) -> Call[list[T_co]]: ...
    @overload
    def zunion(
        self,
        keys: Sequence[Key] | Mapping[AnyKey, float],
        aggregate: str | None = None,
        *,
        withscores: Literal[True],
        score_cast_func: Callable[[Any], Score] = ...,
    ) -> Call[list[tuple[T_co, Score]]]: ...
    @overload
    def zunion(
        self,
        keys: Sequence[Key] | Mapping[AnyKey, float],
        aggregate: str | None = None,
        withscores: bool = ...,
        score_cast_func: Callable[[Any], Any] = float,
    ) -> Call[list[Any]]: ...
    def zunionstore(
        self, dest: Key, keys: Sequence[Key] | Mapping[AnyKey, float], aggregate: str | None = None
    ) -> Call[int]: ...
