"""What commands take and give."""

import datetime
from collections.abc import Coroutine, Iterable
from typing import Any, TypeAlias

from typing_extensions import TypeVar

T_co = TypeVar("T_co", bound=bytes | str, covariant=True, default=bytes | str)
"""Strings in replies: str with decode_responses=True, else bytes."""

Reply = TypeVar("Reply")
Score = TypeVar("Score", default=float)

Call: TypeAlias = Coroutine[Any, Any, Reply]
"""A command: awaited, gathered, made a task."""

Key: TypeAlias = bytes | str | memoryview
Keys: TypeAlias = Key | Iterable[Key]
Value: TypeAlias = bytes | bytearray | memoryview | str | int | float
Values: TypeAlias = Value | Iterable[Value]
Expiry: TypeAlias = int | datetime.timedelta
AbsExpiry: TypeAlias = int | datetime.datetime
BitOffset: TypeAlias = int | str  # str for "#2"
ScoreBound: TypeAlias = float | str  # str for "(1" and "-inf"
StreamId: TypeAlias = int | bytes | str | memoryview

# Mappings are invariant in their keys: a variable lets a dict[str, ...] pass.
AnyKey = TypeVar("AnyKey", bound=Value)

Entry: TypeAlias = tuple[T_co, dict[T_co, T_co]]
"""An entry of a stream: its id and its fields."""
