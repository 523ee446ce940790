"""`_native.Reader` makes redis-py's values of every reply type, wherever the stream is cut."""

import asyncio
import math
import random
from types import SimpleNamespace

import pytest
from redis._parsers import Encoder, _AsyncRESP3Parser
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,
    InvalidResponse,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from aiecs_redis import _native

Reader = _native.Reader
NOTHING = Reader.NOTHING


def reference(data, encoding=None, errors="strict"):
    """What redis-py's own RESP3 parser makes of a complete reply."""
    loop = asyncio.new_event_loop()
    stream = asyncio.StreamReader(limit=1 << 30, loop=loop)
    loop.close()
    stream.feed_data(data)
    stream.feed_eof()
    parser = _AsyncRESP3Parser(65536)
    encoder = Encoder(encoding or "utf-8", errors, encoding is not None)
    parser.on_connect(SimpleNamespace(_reader=stream, encoder=encoder))
    try:
        parser.read_response(push_request=True).send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("redis-py's parser wants more data")


def plain(value):
    """A value in a form that compares by type and content, which exceptions and NaN do not."""
    if isinstance(value, BaseException):
        return type(value), value.args
    if isinstance(value, float):
        return "float", repr(value)
    if isinstance(value, list):
        return "list", [plain(item) for item in value]
    if isinstance(value, dict):
        return "dict", [(plain(key), plain(item)) for key, item in value.items()]
    return type(value), value


def parse(data, **options):
    reader = Reader(**options)
    reader.feed(data)
    value = reader.gets()
    assert reader.gets() is NOTHING
    return value


BULK = b"$5\r\nhello\r\n"
REPLIES = [
    b"+OK\r\n",
    b"+\r\n",
    b"+PONG with spaces\r\n",
    b":0\r\n",
    b":1\r\n",
    b":-1\r\n",
    b":9223372036854775807\r\n",
    b":-9223372036854775808\r\n",
    b"$0\r\n\r\n",
    BULK,
    b"$8\r\na\r\nb\x00cde\r\n",
    b"$2\r\n\r\n\r\n",
    b"$6\r\ngr\xc3\xbc\xc3\x9f\r\n",
    b"_\r\n",
    b"#t\r\n",
    b"#f\r\n",
    b",1.5\r\n",
    b",-0.25\r\n",
    b",10\r\n",
    b",1e300\r\n",
    b",1.5E-7\r\n",
    b",inf\r\n",
    b",-inf\r\n",
    b",nan\r\n",
    b"(3492890328409238509324850943850943825024385\r\n",
    b"(-3492890328409238509324850943850943825024385\r\n",
    b"(12\r\n",
    b"=15\r\ntxt:Some string\r\n",
    b"=4\r\nmkd:\r\n",
    b"*0\r\n",
    b"*3\r\n:1\r\n+two\r\n" + BULK,
    b"*2\r\n*2\r\n:1\r\n:2\r\n*1\r\n" + BULK,
    b"~0\r\n",
    b"~3\r\n+a\r\n+b\r\n:3\r\n",
    b"~1\r\n%1\r\n+k\r\n:1\r\n",
    b"%0\r\n",
    b"%2\r\n+first\r\n:1\r\n" + BULK + b"*2\r\n:1\r\n_\r\n",
    b"%2\r\n+same\r\n:1\r\n+same\r\n:2\r\n",
    b"%3\r\n:1\r\n+i\r\n,2.5\r\n+f\r\n#t\r\n+b\r\n",
    b"%1\r\n+outer\r\n%1\r\n+inner\r\n~2\r\n:1\r\n:2\r\n",
    b">3\r\n+message\r\n$2\r\nch\r\n" + BULK,
    b"-ERR unknown command 'x'\r\n",
    b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
    b"-NOSCRIPT No matching script.\r\n",
    b"-MOVED 3999 127.0.0.1:6381\r\n",
    b"-ASK 3999 127.0.0.1:6381\r\n",
    b"-\r\n",
    b"-CODEONLY\r\n",
    b"-ERR Error loading the extension. Please check the server logs.\r\n",
    b"-ERR wrong number of arguments for 'auth' command\r\n",
    b"-READONLY You can't write against a read only replica.\r\n",
    b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
    b"-EXECABORT Transaction discarded because of previous errors.\r\n",
    b"-NOPERM this user has no permissions to run the 'get' command\r\n",
    b"-ERR no such fieldset\r\n",
    b"-bad utf-8 \xff\xfe\r\n",
    b"*3\r\n:1\r\n-ERR in the middle\r\n+OK\r\n",
    b"*1\r\n*1\r\n-NOSCRIPT deep\r\n",
    b"%1\r\n+k\r\n-ERR as value\r\n",
    b"~1\r\n-ERR x\r\n",
]
IDS = [repr(reply)[2:40] for reply in REPLIES]


@pytest.mark.parametrize("data", REPLIES, ids=IDS)
@pytest.mark.parametrize("encoding", [None, "utf-8"])
def test_values_are_those_of_redis_py(data, encoding):
    assert plain(parse(data, encoding=encoding)) == plain(reference(data, encoding))


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"$-1\r\n", None),
        (b"*-1\r\n", None),
        (b"*2\r\n$-1\r\n*-1\r\n", [None, None]),
        (b"|1\r\n+ttl\r\n:3600\r\n:5\r\n", 5),
        (b"|0\r\n+OK\r\n", b"OK"),
        (b"|1\r\n+k\r\n%1\r\n+a\r\n*2\r\n:1\r\n:2\r\n*2\r\n:5\r\n:6\r\n", [5, 6]),
        (b"|1\r\n+a\r\n+b\r\n|1\r\n+a\r\n+b\r\n:5\r\n", 5),
        (b"|1\r\n+a\r\n-ERR x\r\n:5\r\n", 5),
        (b"|1\r\n+a\r\n+b\r\n*0\r\n", []),
    ],
)
def test_resp2_nulls_and_attributes(data, value):
    """redis-py's RESP3 parser knows neither."""
    assert plain(parse(data)) == plain(value)
    for cut in range(1, len(data)):
        reader = Reader()
        reader.feed(data[:cut])
        assert reader.gets() is NOTHING
        reader.feed(data[cut:])
        assert plain(reader.gets()) == plain(value)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"*2\r\n|1\r\n+k\r\n+v\r\n:5\r\n:6\r\n", [5, 6]),
        (b"%1\r\n+key\r\n|1\r\n+a\r\n+b\r\n:5\r\n", {b"key": 5}),
        (b"%1\r\n|1\r\n+a\r\n+b\r\n+key\r\n:5\r\n", {b"key": 5}),
        (b"|1\r\n+a\r\n|1\r\n+b\r\n+c\r\n+d\r\n:5\r\n", 5),
    ],
)
def test_attributes_inside_a_reply_never_bring_it_out_of_step(data, value):
    """No server sends them there, and hiredis counts them as elements: refusing is good enough."""
    reader = Reader()
    reader.feed(data + b"+next\r\n")
    try:
        found = reader.gets()
    except InvalidResponse:
        return
    assert found == value
    assert reader.gets() == b"next"


@pytest.mark.parametrize("data", REPLIES, ids=IDS)
@pytest.mark.parametrize("encoding", [None, "utf-8"])
def test_every_cut(data, encoding):
    expected = plain(reference(data, encoding))
    for cut in range(1, len(data)):
        reader = Reader(encoding=encoding)
        reader.feed(data[:cut])
        assert reader.gets() is NOTHING
        reader.feed(data[cut:])
        assert plain(reader.gets()) == expected
        assert reader.gets() is NOTHING


@pytest.mark.parametrize("encoding", [None, "utf-8"])
def test_one_byte_at_a_time(encoding):
    reader = Reader(encoding=encoding)
    values = []
    for index in range(len(STREAM)):
        reader.feed(STREAM[index : index + 1])
        value = reader.gets()
        if value is not NOTHING:
            values.append(plain(value))
    assert values == [plain(reference(data, encoding)) for data in REPLIES]


STREAM = b"".join(REPLIES)


@pytest.mark.parametrize("size", [2, 3, 7, 61, 1000, len(STREAM)])
def test_replies_in_a_row(size):
    reader = Reader()
    values = []
    for start in range(0, len(STREAM), size):
        reader.feed(STREAM[start : start + size])
        while True:
            value = reader.gets()
            if value is NOTHING:
                break
            values.append(plain(value))
    assert values == [plain(reference(data)) for data in REPLIES]


def test_nothing_on_an_empty_reader():
    reader = Reader()
    assert reader.gets() is NOTHING
    reader.feed(b"")
    assert reader.gets() is NOTHING


def test_feed_takes_any_bytes():
    reader = Reader()
    for piece in (bytearray(b"$5\r"), memoryview(b"\nhe"), b"llo\r\n"):
        reader.feed(piece)
    assert reader.gets() == b"hello"
    for wrong in ("text", None, 5):
        with pytest.raises(TypeError):
            reader.feed(wrong)


def test_the_fed_buffer_may_change_afterwards():
    reader = Reader()
    buffer = bytearray(b"$5\r\nhel")
    reader.feed(buffer)
    buffer[:] = b"#######"
    reader.feed(b"lo\r\n")
    assert reader.gets() == b"hello"


@pytest.mark.parametrize("encoding", [None, "utf-8", "latin-1"])
def test_bulk_of_64_mib_in_pieces(encoding):
    size = 64 << 20
    reader = Reader(encoding=encoding)
    reader.feed(b"$%d\r\n" % size)
    piece = b"0123456789abcdef" * 65536
    for _ in range(size // len(piece)):
        assert reader.gets() is NOTHING
        reader.feed(piece)
    reader.feed(b"\r\n+next\r\n")
    value = reader.gets()
    assert len(value) == size
    assert value[-17:] == (b"f0123456789abcdef" if encoding is None else "f0123456789abcdef")
    assert reader.gets() == (b"next" if encoding is None else "next")


def test_array_of_many():
    count = 300_000
    value = parse(b"*%d\r\n" % count + b":7\r\n" * count)
    assert value == [7] * count


# --- decoding ---

BAD = b"$4\r\na\xffbc\r\n"


@pytest.mark.parametrize("errors", ["replace", "ignore", "backslashreplace", "surrogateescape"])
@pytest.mark.parametrize(
    "data", [BAD, b"+a\xffb\r\n", b"=8\r\ntxt:a\xffbc\r\n", b"*1\r\n" + BAD, b"%1\r\n" + BAD + BAD]
)
def test_lenient_decoding(data, errors):
    assert plain(parse(data, encoding="utf-8", errors=errors)) == plain(
        reference(data, "utf-8", errors)
    )


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-16-le", "cp1252"])
def test_other_encodings(encoding):
    text = "abc" if encoding == "ascii" else "grüß"
    raw = text.encode(encoding)
    data = b"*2\r\n$%d\r\n%s\r\n:1\r\n" % (len(raw), raw)
    assert parse(data, encoding=encoding) == reference(data, encoding) == [text, 1]


def test_error_texts_are_utf8_whatever_the_encoding():
    data = "-ERR grüß\r\n".encode()
    assert plain(parse(data, encoding="latin-1")) == plain(reference(data, "latin-1"))


@pytest.mark.parametrize(
    "data",
    [
        BAD,
        b"+a\xff\r\n",
        b"=8\r\ntxt:a\xffbc\r\n",
        b"*3\r\n:1\r\n" + BAD + b"*1\r\n:2\r\n",
        b"*2\r\n" + BAD + BAD,
        b"%1\r\n" + BAD + b":1\r\n",
        b"%2\r\n+k\r\n" + BAD + b"+l\r\n:1\r\n",
        b"*1\r\n*1\r\n~1\r\n" + BAD,
    ],
)
def test_undecodable_reply_is_an_error_of_that_reply_only(data):
    """redis-py drops the connection here; a shared one must rather stay in step."""
    with pytest.raises(UnicodeDecodeError) as expected:
        reference(data, "utf-8")
    for cut in range(1, len(data)):
        reader = Reader(encoding="utf-8")
        reader.feed(b"+before\r\n" + data[:cut])
        assert reader.gets() == "before"
        assert reader.gets() is NOTHING
        reader.feed(data[cut:] + b"+after\r\n")
        with pytest.raises(UnicodeDecodeError) as caught:
            reader.gets()
        assert caught.value.args == expected.value.args
        assert reader.gets() == "after"
        assert reader.gets() is NOTHING


def test_unknown_encoding():
    with pytest.raises(LookupError):
        parse(BULK, encoding="no-such-encoding")


# --- errors ---


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"-ERR max number of clients reached\r\n", ConnectionError),
        (b"-LOADING Redis is loading the dataset in memory\r\n", BusyLoadingError),
        (b"-ERR invalid password\r\n", AuthenticationError),
        (b"-NOAUTH Authentication required.\r\n", AuthenticationError),
        (
            b"-WRONGPASS invalid username-password pair or user is disabled.\r\n",
            AuthenticationError,
        ),
        (b"-READONLY x\r\n", ReadOnlyError),
        (b"-NOSCRIPT x\r\n", NoScriptError),
        (b"-ERR x\r\n", ResponseError),
    ],
)
def test_errors_are_returned_whatever_their_class(data, kind):
    """Also those which redis-py's parser raises, since here they belong to one command of many."""
    error = parse(data)
    expected = _AsyncRESP3Parser.parse_error(data[1:-2].decode())
    assert type(error) is kind
    assert plain(error) == plain(expected)
    assert plain(parse(b"*2\r\n" + data + b":1\r\n")) == plain([expected, 1])


def test_error_instances_are_not_shared():
    reader = Reader()
    reader.feed(b"-ERR same\r\n-ERR same\r\n")
    assert reader.gets() is not reader.gets()


# --- special values ---


def test_verbatim_loses_its_prefix_only():
    assert parse(b"=8\r\ntxt:txt:\r\n") == b"txt:"


def test_doubles():
    assert math.copysign(1, parse(b",-0.0\r\n")) == -1


def test_unhashable_map_key_is_an_error_not_a_crash():
    reader = Reader()
    reader.feed(b"%1\r\n*1\r\n:1\r\n:2\r\n")
    with pytest.raises((TypeError, RedisError)):
        reader.gets()


@pytest.mark.parametrize(
    "options", [{"encodings": "utf-8"}, {"encoding": 5}, {"errors": 5}, {"max_depth": "x"}]
)
def test_wrong_options(options):
    with pytest.raises(TypeError):
        Reader(**options)


def random_reply(dice, depth=0):
    """Of the kinds that are read at once when they are whole, and of some that never are."""
    kind = dice.randrange(13 if depth < 4 else 9)
    if kind == 0:
        return b":%d\r\n" % dice.choice([0, 7, -7, 10**17, -(10**18), 2**63 - 1])
    if kind == 1:
        return dice.choice([b"_\r\n", b"$-1\r\n", b"#t\r\n", b"#f\r\n", b"+OK\r\n", b"+QUEUED\r\n"])
    if kind == 2:
        return dice.choice([b",1.5\r\n", b"(12345678901234567890123\r\n", b"=7\r\ntxt:abc\r\n"])
    if kind < 9:
        text = bytes(dice.randrange(32, 127) for _ in range(dice.choice([0, 1, 9, 10, 100])))
        return b"$%d\r\n%s\r\n" % (len(text), text)
    count = dice.choice([0, 1, 2, 5, 20])
    if kind < 11:
        elements = [random_reply(dice, depth + 1) for _ in range(count)]
        return dice.choice([b"*", b"~"]) + b"%d\r\n" % count + b"".join(elements)
    pairs = [b"$%d\r\nk%d\r\n" % (1 + len(b"%d" % n), n) for n in range(count)]
    values = b"".join(key + random_reply(dice, depth + 1) for key in pairs)
    return b"%%%d\r\n" % count + values


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("encoding", [None, "utf-8"])
def test_whole_replies_are_those_that_come_in_pieces(seed, encoding):
    dice = random.Random(seed)
    stream = [random_reply(dice) for _ in range(30)]
    whole, pieces = Reader(encoding=encoding), Reader(encoding=encoding)
    for data in stream:
        whole.feed(data)
        value = whole.gets()
        for position in range(len(data)):
            assert pieces.gets() is NOTHING
            pieces.feed(data[position : position + 1])
        assert repr(pieces.gets()) == repr(value)
        assert whole.gets() is NOTHING
    together = Reader(encoding=encoding)
    together.feed(b"".join(stream))
    apart = Reader(encoding=encoding)
    for data in stream:
        apart.feed(data)
        assert repr(together.gets()) == repr(apart.gets())
    assert together.gets() is NOTHING
