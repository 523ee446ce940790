"""`_native.encode` makes the bytes redis-py makes, of every type it takes, and refuses the rest."""

import array
import enum
import random
import re

import pytest
from redis.asyncio.connection import Connection
from redis.exceptions import DataError

from aiecs_redis import _native


def without_address(value):
    """As a name that is the same in every process."""
    return re.sub(" at 0x[0-9a-f]+", "", repr(value))


def reference(args, encoding="utf-8", errors="strict"):
    # Before version 8, redis-py refuses a bytearray.
    args = [bytes(arg) if isinstance(arg, bytearray) else arg for arg in args]
    connection = Connection(encoding=encoding, encoding_errors=errors)
    return b"".join(connection.pack_command(*args))


class Text(str):
    def __str__(self):
        return "not this"

    __repr__ = __str__


class Whole(int):
    def __str__(self):
        return "not this"


class LoudWhole(int):
    def __repr__(self):
        return "whole!"


class LoudReal(float):
    def __repr__(self):
        return "real!"


class Blob(bytes):
    pass


class Colour(enum.IntEnum):
    RED = 1


class Mode(str, enum.Enum):
    FAST = "fast"


VALUES = [
    "", "value", "grüß", "日本語", "\U0001f600", "nul\0inside", "line\r\nend",
    "x" * 5999, "x" * 6001, "ü" * 70_000,
    b"", b"value", b"\x00\xff\r\n", b"x" * 70_000, Blob(b"blob"),
    bytearray(b""), bytearray(b"array"), bytearray(70_000),
    memoryview(b""), memoryview(b"v"), memoryview(bytearray(b"w")), memoryview(b"0123456789")[3:7],
    0, 1, -1, 9, 10, 99, 100, 2**31, -(2**31), 2**63 - 1, -(2**63), 2**63, -(2**63) - 1,
    10**100, -(10**100),
    0.0, -0.0, 0.1, 1.0, -1.5, 1e16, 1e15, 1e300, 1e-300, 5e-324, 1.7976931348623157e308, 1 / 3,
    float("inf"), float("-inf"), float("nan"),
    Text("subclass"), Whole(7), LoudWhole(7), LoudReal(7), Colour.RED, Mode.FAST,
]  # fmt: skip


@pytest.mark.parametrize(
    "value", VALUES, ids=lambda value: f"{type(value).__name__}-{without_address(value)[:20]}"
)
def test_value_is_encoded_as_by_redis_py(value):
    for args in [("SET", "key", value), ("ECHO", value), ("MSET", value, value, b"k", value)]:
        assert _native.encode(args) == reference(args)


@pytest.mark.skipif(not hasattr(enum, "StrEnum"), reason="enum.StrEnum came with Python 3.11")
def test_str_enum_is_its_value():
    kind = enum.StrEnum("kind", {"BIG": "big"})
    assert (
        _native.encode(("ECHO", kind.BIG))
        == reference(("ECHO", kind.BIG))
        == b"*2\r\n$4\r\nECHO\r\n$3\r\nbig\r\n"
    )


@pytest.mark.parametrize(
    "view",
    [
        memoryview(b"abcdefgh")[::2],
        memoryview(b"abcdefgh")[::-1],
        memoryview(array.array("i", [1, 2, 3])),
        memoryview(bytes(range(12))).cast("B", (3, 4)),
        memoryview(array.array("d", [1.5, -2.5]))[::-1],
    ],
    ids=["strided", "reversed", "wide", "two-dimensional", "wide-reversed"],
)
def test_any_memoryview_is_its_bytes(view):
    """redis-py sends a wrong length or fails here, so this is our own promise."""
    assert _native.encode(("ECHO", view)) == reference(("ECHO", view.tobytes()))


@pytest.mark.parametrize(
    "name",
    [
        "GET", "get", "CLIENT LIST", "CONFIG  GET", " PING ", "A\tB", "A\nB C", "A\x0bB", "A\x1cB",
        "Ä B", "A\xa0B", b"GET", b"CLIENT LIST", b"A\tB", b"A\tB C", b" PING ", b"",
        bytearray(b"CLIENT LIST"), bytearray(b"GET"), Text("CLIENT LIST"), Blob(b"CLIENT LIST"),
        Mode.FAST,
    ],
    ids=without_address,
)  # fmt: skip
def test_command_name_splits_as_in_redis_py(name):
    for args in [(name,), (name, "a b", b"c d")]:
        assert _native.encode(args) == reference(args)


def test_only_the_name_splits():
    assert _native.encode(("PING", "a b")) == b"*2\r\n$4\r\nPING\r\n$3\r\na b\r\n"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "UTF8", "latin-1", "ascii", "utf-16", "utf-16-le", "cp1252", "shift_jis"]
)
@pytest.mark.parametrize(
    "errors",
    ["strict", "ignore", "replace", "surrogateescape", "backslashreplace", "xmlcharrefreplace"],
)
def test_encoding_and_errors(encoding, errors):
    for text in ["plain", "grüß", "日本", "\udc80 lone", "\U0001f600", Text("ü")]:
        args = ("SET", "kü", text, "last")
        try:
            expected = reference(args, encoding, errors)
        except UnicodeError as error:
            with pytest.raises(type(error)) as caught:
                _native.encode(args, encoding, errors)
            assert caught.value.args == error.args
        else:
            assert _native.encode(args, encoding, errors) == expected


def test_the_name_is_utf8_whatever_the_encoding():
    assert _native.encode(("Ü", "ü"), "latin-1") == reference(("Ü", "ü"), "latin-1")


def test_numbers_are_ascii_whatever_the_encoding():
    args = ("SET", 12, -3.5)
    assert _native.encode(args, "utf-16-le") == reference(args, "utf-16-le")


def test_unknown_encoding():
    with pytest.raises(LookupError):
        _native.encode(("ECHO", "text"), "no-such-encoding")


class Odd:
    pass


@pytest.mark.parametrize(
    "value",
    [True, False, None, [], (), {}, set(), Odd(), Odd, 1j, range(3), array.array("b")],
    ids=without_address,
)
@pytest.mark.parametrize("position", [1, 2, 5])
def test_other_types_are_refused_by_name(value, position):
    args = ["SET", "a", "b", "c", "d", "e"]
    args[position] = value
    with pytest.raises(DataError) as expected:
        reference(tuple(args))
    with pytest.raises(DataError) as caught:
        _native.encode(tuple(args))
    assert type(caught.value) is type(expected.value)
    assert caught.value.args == expected.value.args


def test_message_of_the_refusal():
    with pytest.raises(DataError) as caught:
        _native.encode(("SET", "key", None))
    assert (
        str(caught.value)
        == "Invalid input of type: 'NoneType'. Convert to a bytes, string, int or float first."
    )


@pytest.mark.parametrize("name", [None, True, [], object()], ids=without_address)
def test_odd_command_names_are_refused(name):
    with pytest.raises((DataError, TypeError)):
        _native.encode((name, "a"))


@pytest.mark.parametrize("args", [None, (), 5, ["GET", "k"], "GET"], ids=without_address)
def test_arguments_are_a_tuple_with_a_name(args):
    with pytest.raises((DataError, TypeError, ValueError, IndexError)):
        _native.encode(args)


def test_an_exception_of_repr_passes_through():
    class Broken(int):
        def __repr__(self):
            raise ZeroDivisionError("from repr")

    with pytest.raises(ZeroDivisionError, match="from repr"):
        _native.encode(("ECHO", Broken(1)))


def test_int_beyond_the_digit_limit_is_refused_as_by_redis_py():
    value = 10**5000
    try:
        expected = reference(("ECHO", value))
    except ValueError as error:
        with pytest.raises(ValueError) as caught:
            _native.encode(("ECHO", value))
        assert str(caught.value) == str(error)
    else:
        assert _native.encode(("ECHO", value)) == expected


def test_many_arguments():
    args = ("SADD", "key", *range(100_000))
    assert _native.encode(args) == reference(args)


def test_large_value():
    args = ("SET", "key", b"x" * (64 << 20))
    encoded = _native.encode(args)
    assert len(encoded) == len(b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$67108864\r\n\r\n") + (64 << 20)
    assert encoded[:60] == reference(args)[:60]


def random_value(rng):
    kind = rng.randrange(8)
    if kind == 0:
        return "".join(
            chr(rng.choice((0x20, 0x41, 0xE4, 0x65E5, 0x1F600)) + rng.randrange(20))
            for _ in range(rng.randrange(30))
        )
    if kind == 1:
        return rng.getrandbits(8 * 20).to_bytes(20, "big")[: rng.randrange(21)]
    if kind == 2:
        return bytearray(rng.randrange(40))
    if kind == 3:
        return memoryview(bytes(range(40)))[rng.randrange(20) : rng.randrange(20, 40)]
    if kind == 4:
        return rng.getrandbits(rng.randrange(1, 200)) * rng.choice((1, -1))
    if kind == 5:
        return rng.uniform(-1, 1) * 10.0 ** rng.randrange(-300, 300)
    if kind == 6:
        return rng.randrange(-1000, 1000)
    return Text(rng.randrange(10**6))


def test_random_commands():
    rng = random.Random(20)
    for _ in range(1500):
        args = ("CMD", *(random_value(rng) for _ in range(rng.randrange(12))))
        assert _native.encode(args) == reference(args)
