"""What the toolkit refuses before anything is sent, in words that name the value and the fix."""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Iterable
from typing import Any

__all__ = ["filled", "function", "milliseconds", "number", "seconds", "string", "tuple_of", "whole"]

_LONGEST = 1e12  # seconds; in milliseconds it fits into the server's 64 bits beside the clock


def number(name: str, value: Any, least: float, most: float) -> None:
    """Refuse what is no number from `least` to `most`; NaN is none.

    Raises:
        ValueError: so.
    """
    if not (_is_number(value) and least <= value <= most):
        raise ValueError(f"{name}={value!r}: give a number from {least:g} to {most:g}")


def seconds(name: str, value: Any, *, zero: bool = False, besides: str = "") -> None:
    """Refuse what is no length of time above 0.

    Args:
        name: the argument's.
        value: what was given.
        zero: 0 is one, too.
        besides: what may be given instead, for the text: " (None: no limit)".

    Raises:
        ValueError: so.
    """
    usable = _is_number(value) and (value >= 0 if zero else value > 0)
    if usable and value <= _LONGEST:
        return
    what = f"seconds, {_LONGEST:g} at most" if usable else "seconds, 0 or more"
    if not (usable or zero):
        what = "seconds above 0"
    raise ValueError(f"{name}={value!r}: give {what}{besides}")


def whole(name: str, value: Any, least: int, most: int | None = None) -> None:
    """Refuse what is no whole number in these bounds.

    Raises:
        ValueError: so.
    """
    if not _is_whole(value) or value < least or (most is not None and value > most):
        bounds = f", {least} or more" if most is None else f" from {least} to {most}"
        raise ValueError(f"{name}={value!r}: give a whole number{bounds}")


def string(name: str, value: Any) -> None:
    """Refuse what is no str.

    Raises:
        TypeError: so.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name}={value!r}: give a str")


def filled(name: str, value: Any) -> None:
    """Refuse what is no str, and an empty one.

    Raises:
        TypeError: no str.
        ValueError: an empty one.
    """
    string(name, value)
    if not value:
        raise ValueError(f"{name} is empty: give at least one character")


def function(name: str, value: Any) -> None:
    """Refuse what cannot be called, a coroutine instead of its function above all.

    Raises:
        TypeError: so.
    """
    if callable(value):
        return
    if inspect.iscoroutine(value):
        value.close()  # without a warning that it was never awaited
    raise TypeError(f"{name}={value!r}: give a function, not what it returns")


def tuple_of(name: str, values: Iterable[str]) -> tuple[str, ...]:
    """Several str as a tuple; a single one, which is an iterable of its characters, is refused.

    Raises:
        TypeError: so.
    """
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise TypeError(f"{name}={values!r}: give a list of str, such as ['one', 'two']")
    found = tuple(values)
    for value in found:
        filled(f"one of {name}", value)
    return found


def milliseconds(seconds: float) -> int:
    """Seconds as Redis' commands with P take them; at least one."""
    return max(1, round(seconds * 1000))


def _is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
