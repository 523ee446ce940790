"""Dataclasses as hashes of strings, field by field."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import types
import typing
from collections.abc import Mapping
from typing import Any, Generic, TypeVar, Union

from aiecs_redis._underlying import text
from aiecs_redis.serialization import JSON, SerializationError

__all__ = ["REST", "Fields"]

R = TypeVar("R")


REST: Mapping[str, bool] = types.MappingProxyType({"rest": True})
"""Metadata of a dataclass' field of type dict[str, str] that takes the hash fields which the
dataclass does not name."""


class Fields(Generic[R]):
    """How the fields of one dataclass stand in a hash.

    str as it is; int, float and bool as numbers; datetimes as ISO strings; enums by their
    value; a field that is None has no hash field; anything else as JSON.

    Args:
        record: the dataclass.
        identity: its field that is the name of the key, not a field of the hash.

    Raises:
        TypeError: it is no dataclass, or has no such field.
    """

    def __init__(self, record: type[R], identity: str) -> None:
        if not dataclasses.is_dataclass(record):
            raise TypeError(f"record={record!r} is no dataclass")
        named = {field.name: field for field in dataclasses.fields(record)}
        if identity not in named:
            raise TypeError(f"{record.__name__} needs a field {identity!r}")
        hints = typing.get_type_hints(record)
        self._record: type[R] = record
        self._identity = identity
        self._rest = next((n for n, f in named.items() if f.metadata.get("rest")), None)
        self._types = {
            name: _without_none(hints[name]) for name in named if name not in (identity, self._rest)
        }
        missing = dataclasses.MISSING
        self._needed = {
            name
            for name in self._types
            if named[name].default is missing and named[name].default_factory is missing
        }

    def write(self, values: Mapping[str, Any], key: str) -> tuple[dict[str, str], list[str]]:
        """Hash fields to set, and hash fields to delete (those that are None).

        Raises:
            TypeError: a value beyond the dataclass' fields that is no str, int or float, or one
                that its field could not be read from again.
            SerializationError: a value has no form in JSON.
        """
        wanted: dict[str, str] = {}
        gone: list[str] = []
        for name, value in values.items():
            if name == self._identity:
                raise TypeError(f"{name!r} names the key and cannot be changed")
            if name == self._rest:
                if not isinstance(value, Mapping):
                    raise TypeError(f"{name}={value!r}: give a dict")
                wanted.update((n, _scalar(n, v)) for n, v in value.items())
            elif name not in self._types:
                if self._rest is None:
                    raise TypeError(f"{self._record.__name__} has no field {name!r}")
                wanted[name] = _scalar(name, value)
            elif value is None:
                if name in self._needed:
                    raise TypeError(f"{name}=None: {self._record.__name__} needs this field")
                gone.append(name)
            else:
                wanted[name] = self._readable(name, value, key)
        return wanted, gone

    def _readable(self, name: str, value: Any, key: str) -> str:
        kind = self._types[name]
        plain = _written(value, kind, key)
        try:
            _read(plain, kind, key)
        except (ValueError, KeyError):
            raise TypeError(f"{name}={value!r} is no {_name(kind)}") from None
        return plain

    def read(self, identity: str, found: Mapping[Any, Any], key: str) -> R:
        """The record out of the fields of a hash.

        Raises:
            SerializationError: a field holds what its type cannot be, or one is missing.
        """
        values: dict[str, Any] = {self._identity: identity}
        others: dict[str, str] = {}
        for name, value in found.items():
            field, plain = text(name), text(value)
            kind = self._types.get(field)
            if kind is None:
                others[field] = plain
                continue
            try:
                values[field] = _read(plain, kind, key)
            except (ValueError, KeyError) as exc:
                raise SerializationError(key, f"field {field!r} is no {_name(kind)}") from exc
        if self._rest is not None:
            values[self._rest] = others
        try:
            return self._record(**values)
        except TypeError as exc:
            raise SerializationError(key, f"fields are missing: {exc}") from exc


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind))


def _without_none(hint: Any) -> Any:
    """The X of Optional[X]; other hints as they are."""
    if typing.get_origin(hint) is Union or type(hint).__name__ == "UnionType":
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        return members[0] if len(members) == 1 else object
    return hint


def _scalar(name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise TypeError(
            f"{name}: a {type(value).__name__} cannot stand in a plain field; give a str, int or"
            " float, or a record with a field of that name"
        )
    return str(value)


def _written(value: Any, kind: Any, key: str) -> str:
    if kind is str and isinstance(value, str):
        return value
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, (int, float)) and kind in (int, float):
        return str(value)
    if isinstance(value, (datetime.datetime, datetime.date)):
        return value.isoformat()
    return JSON.encode(value, key).decode()


def _read(plain: str, kind: Any, key: str) -> Any:
    if kind is str:
        return plain
    if kind is bool:
        return {"1": True, "0": False}[plain]
    if kind in (int, float):
        return kind(plain)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return {str(member.value): member for member in kind}[plain]
    if isinstance(kind, type) and issubclass(kind, (datetime.datetime, datetime.date)):
        return kind.fromisoformat(plain)
    return JSON.decode(plain, key)
