"""Whatever bytes arrive, `_native.Reader` answers with a value, NOTHING or InvalidResponse."""

import contextlib
import random
import resource

import pytest
from redis.exceptions import InvalidResponse

from aiecs_redis import _native

Reader = _native.Reader
NOTHING = Reader.NOTHING

MALFORMED = [
    b"x\r\n",
    b"\r\n",
    b"\x00\r\n",
    b"HTTP/1.1 400 Bad Request\r\n",
    b":\r\n",
    b":abc\r\n",
    b":1x\r\n",
    b":1.5\r\n",
    b":9223372036854775808\r\n",
    b":-9223372036854775809\r\n",
    b"$\r\n",
    b"$abc\r\n",
    b"$-2\r\n",
    b"$99999999999999999999\r\n",
    b"$?\r\n",
    b"!5\r\nERR x\r\n",  # RESP3 has it, Redis does not send it, hiredis does not know it
    b"*\r\n",
    b"*x\r\n",
    b"*-2\r\n",
    b"*4294967296\r\n",
    b"*99999999999999999999\r\n",
    b"*?\r\n",
    b"%x\r\n",
    b"%9223372036854775807\r\n",
    b"~x\r\n",
    b"|x\r\n",
    b"#x\r\n",
    b"#\r\n",
    b"#true\r\n",
    b"_x\r\n",
    b",\r\n",
    b",abc\r\n",
    b",1.5x\r\n",
    b",infinite\r\n",
    b"(12a\r\n",
    b"(1.5\r\n",
    b"=3\r\nabc\r\n",
    b"=7\r\ntxt.abc\r\n",
    b"!x\r\n",
    b"*1\r\nx\r\n",
    b"*2\r\n:1\r\n:x\r\n",
    b"%1\r\n+k\r\n$x\r\n",
    b">1\r\n\x01\r\n",
]


@pytest.mark.parametrize("data", MALFORMED, ids=lambda data: repr(data)[2:30])
def test_malformed_reply_is_invalid_response(data):
    for cut in range(len(data)):
        reader = Reader()
        reader.feed(b"+fine\r\n" + data[:cut])
        assert reader.gets() == b"fine"
        with pytest.raises(InvalidResponse) as caught:
            assert reader.gets() is NOTHING
            reader.feed(data[cut:])
            assert reader.gets() is NOTHING
        assert str(caught.value)
        with pytest.raises(InvalidResponse):  # out of step for good: never a value again
            reader.feed(b"+OK\r\n+OK\r\n")
            reader.gets()


def test_message_shows_what_came():
    reader = Reader()
    reader.feed(b"HTTP/1.1 400 Bad Request\r\n")
    with pytest.raises(InvalidResponse, match="H"):
        reader.gets()


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@pytest.mark.parametrize(
    "data",
    [
        b"$9223372036854775807\r\n",
        b"$4611686018427387904\r\nabc",
        b"=9223372036854775807\r\n",
        b"!9223372036854775807\r\n",
        b"*2147483647\r\n",
        b"*4294967295\r\n",
        b"%2147483647\r\n",
        b"~2147483647\r\n",
        b">2147483647\r\n",
        b"|2147483647\r\n",
        b"*100000000\r\n" * 6,
        b"%100000000\r\n+k\r\n" * 6,
        b"*4611686018427387904\r\n",
        b"%4611686018427387904\r\n",
    ],
    ids=lambda data: repr(data)[2:30],
)
def test_announced_sizes_are_not_believed(data):
    before = resident()
    reader = Reader()
    reader.feed(data)
    with contextlib.suppress(InvalidResponse):
        assert reader.gets() is NOTHING
    assert resident() - before < 64 << 20


@pytest.mark.parametrize(
    "opening", [b"*1\r\n", b"~1\r\n", b">1\r\n", b"%1\r\n+k\r\n", b"|1\r\n+k\r\n"]
)
def test_depth_is_limited(opening):
    reader = Reader(max_depth=16)
    reader.feed(opening * 20)
    with pytest.raises(InvalidResponse):
        assert reader.gets() is NOTHING
        reader.feed(b":1\r\n" * 30)
        reader.gets()


def test_depth_below_the_limit_is_fine():
    reader = Reader(max_depth=16)
    reader.feed(b"*1\r\n" * 12 + b":5\r\n")
    value = reader.gets()
    for _ in range(12):
        (value,) = value
    assert value == 5


@pytest.mark.parametrize("opening", [b"*1\r\n", b"*2\r\n+a\r\n", b"%1\r\n+k\r\n", b"|1\r\n+k\r\n"])
def test_default_depth_stops_a_bomb(opening):
    for piece in (1, 1000):
        reader = Reader()
        with pytest.raises(InvalidResponse):
            for _ in range(100_000 // piece):
                reader.feed(opening * piece)
                assert reader.gets() is NOTHING


def drain(reader, limit=1000):
    """Read until the reader wants more; what it may raise is listed here."""
    for _ in range(limit):
        try:
            if reader.gets() is NOTHING:
                return
        except InvalidResponse:
            return
        except (UnicodeDecodeError, TypeError, ValueError):  # of one reply: text, map key, digits
            pass


ALPHABET = b"$*%~>|+-:_#,(=!0123456789\r\n\r\n\r\n\r\ntfab\xff"


@pytest.mark.parametrize("encoding", [None, "utf-8"])
def test_random_bytes(encoding):
    rng = random.Random(3)
    for _ in range(8000):
        reader = Reader(encoding=encoding)
        data = bytes(rng.choices(ALPHABET, k=rng.randrange(1, 60)))
        cut = rng.randrange(len(data) + 1)
        for piece in (data[:cut], data[cut:]):
            try:
                reader.feed(piece)
            except InvalidResponse:
                break
            drain(reader)


SEEDS = [
    b"*3\r\n$3\r\nfoo\r\n:12\r\n+OK\r\n",
    b"%2\r\n+a\r\n*2\r\n:1\r\n_\r\n$1\r\nb\r\n~1\r\n,1.5\r\n",
    b"|1\r\n+k\r\n+v\r\n*2\r\n-ERR x\r\n#t\r\n",
    b">2\r\n=7\r\ntxt:abc\r\n(123456789012345678901\r\n!5\r\nERR y\r\n",
]


@pytest.mark.parametrize("encoding", [None, "utf-8"])
def test_damaged_replies(encoding):
    rng = random.Random(4)
    for _ in range(8000):
        data = bytearray(rng.choice(SEEDS))
        for _ in range(rng.randrange(1, 4)):
            place = rng.randrange(len(data))
            if rng.random() < 0.5:
                data[place] = rng.choice(ALPHABET)
            elif rng.random() < 0.5:
                del data[place]
            else:
                data.insert(place, rng.choice(ALPHABET))
        reader = Reader(encoding=encoding)
        try:
            reader.feed(data)
            drain(reader)
            reader.feed(SEEDS[0] * 2)
        except InvalidResponse:
            continue
        drain(reader)


def test_dropping_half_a_reply():
    for data in SEEDS:
        for cut in range(len(data)):
            reader = Reader()
            reader.feed(data[:cut])
            drain(reader)
            del reader
