"""Values as bytes: formats, compression, signatures, and what is said about damage."""

import dataclasses
import datetime
import decimal
import enum
import json
import pickle
import uuid
import zlib

import pytest

from aiecs_redis import serialization
from aiecs_redis.serialization import JSON, Codec, SerializationError, Values

KEY = "k" * 16
DOCUMENT = {"name": "Jürgen", "list": [1, 2.5, None, True], "nested": {"a": {"b": ""}}}


def codecs():
    yield "json", Codec("json")
    yield "json-zlib", Codec("json", compression="zlib", compress_above=10)
    yield "pickle", Codec("pickle", signing_key=KEY)
    yield "pickle-zlib", Codec("pickle", signing_key=KEY, compression="zlib", compress_above=10)
    for module, name, options in (
        ("msgpack", "msgpack", {"format": "msgpack"}),
        ("zstandard", "json-zstd", {"compression": "zstd", "compress_above": 10}),
    ):
        try:
            __import__(module)
        except ImportError:
            continue
        yield name, Codec(**options)


CODECS = dict(codecs())
every_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)


@pytest.fixture(params=["orjson", "json"])
def json_library(request, monkeypatch):
    if request.param == "json":
        monkeypatch.setattr(serialization, "_orjson", None)
    elif serialization._orjson is None:
        pytest.skip("needs orjson")


@every_codec
@pytest.mark.parametrize("value", [DOCUMENT, "text", 5, 0, "", [], None, False, 2**70, -1.5])
def test_there_and_back(codec, value):
    if codec.format == "msgpack" and value == 2**70:
        with pytest.raises(SerializationError, match="cannot be written as msgpack"):
            codec.encode(value, "key")
        return
    assert codec.decode(codec.encode(value, "key"), "key") == value


@every_codec
def test_every_other_codec_reads_it(codec):
    data = codec.encode(DOCUMENT, "key")
    for other in CODECS.values():
        if codec.format == "pickle" != other.format:
            with pytest.raises(SerializationError, match="'key'.*read only by Codec"):
                other.decode(data, "key")
        else:
            assert other.decode(data, "key") == DOCUMENT


def test_json_is_as_documented(json_library):
    value = {"accuracy": 0.95, "name": "Jürgen"}
    data = JSON.encode(value, "key")
    assert json.loads(data) == value
    assert "Jürgen".encode() in data  # ensure_ascii=False
    assert JSON.decode(json.dumps(value), "key") == value  # as str, too


def test_types_json_does_not_have(json_library):
    @dataclasses.dataclass
    class Point:
        x: int
        tags: list

    class Colour(enum.Enum):
        RED = "red"

    when = datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
    name = uuid.UUID(int=7)
    value = [Point(1, ["a"]), Colour.RED, when, when.date(), name, decimal.Decimal("1.50"), {5}]
    assert JSON.decode(JSON.encode(value, "key"), "key") == [
        {"x": 1, "tags": ["a"]},
        "red",
        "2024-01-02T03:04:05+00:00",
        "2024-01-02",
        str(name),
        "1.50",
        [5],
    ]
    assert JSON.decode(JSON.encode({1: "a"}, "key"), "key") == {"1": "a"}
    assert JSON.decode(JSON.encode([2**64, -(2**80)], "key"), "key") == [2**64, -(2**80)]
    with pytest.raises(SerializationError, match="key 'key': object cannot be written as json"):
        JSON.encode(object(), "key")


def test_msgpack_keeps_bytes():
    pytest.importorskip("msgpack")
    codec = Codec("msgpack")
    value = {"raw": b"\xff\x00", 5: "int key"}
    assert codec.decode(codec.encode(value, "key"), "key") == value


@pytest.mark.parametrize("compression", ["zlib", "zstd"])
def test_compression_above_a_size_only(compression):
    if compression == "zstd":
        pytest.importorskip("zstandard")
    codec = Codec(compression=compression, compress_above=1000)
    assert codec.encode("a" * 900, "key") == b'"' + b"a" * 900 + b'"'
    data = codec.encode("a" * 5000, "key")
    assert len(data) < 200
    assert codec.decode(data, "key") == "a" * 5000


def test_what_does_not_get_smaller_stays_as_it_is():
    codec = Codec(compression="zlib", compress_above=1)
    assert codec.encode("ab", "key") == b'"ab"'


@pytest.mark.parametrize("compression", ["zlib", "zstd"])
def test_a_bomb_is_refused(compression):
    if compression == "zstd":
        pytest.importorskip("zstandard")
    data = Codec(compression=compression).encode("a" * 1_000_000, "key")
    with pytest.raises(SerializationError, match="'key'.*max_bytes=10000"):
        Codec(max_bytes=10_000).decode(data, "key")


# --------------------------------------------------------------------- damage


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"{oops", "not valid json"),
        (b"\xff\xfe", "not valid json"),
        (b"\xc1", "no known format"),
        (b"\xc1q-1", "no known format"),
        (b"\xc1j?1", "no known format"),
        (b"\xc1jz" + zlib.compress(b"[1]")[:-2], "zlib stream is cut off"),
        (b"\xc1jz" + zlib.compress(b"[1]") + b"x", "followed by something else"),
        (b"\xc1jznonsense", "not valid json"),
    ],
)
def test_damage_names_the_key(data, said):
    with pytest.raises(SerializationError, match=f"key 'user:1'.*{said}") as caught:
        JSON.decode(data, "user:1")
    assert caught.value.key == "user:1"


def test_what_follows_a_zstd_frame_is_damage():
    codec = Codec(compression="zstd", compress_above=1)
    data = codec.encode("x" * 1000, "user:1")
    with pytest.raises(SerializationError, match="key 'user:1'.*1 bytes of unused data"):
        codec.decode(data + b"x", "user:1")


@pytest.mark.parametrize(
    ("compression", "level", "usable"),
    [
        ("zlib", 10, "0 to 9"),
        ("zstd", 23, "1 to 22"),
        ("zstd", "3", "1 to 22"),
        ("none", 1, "none"),
    ],
)
def test_a_level_that_the_compression_does_not_have(compression, level, usable):
    with pytest.raises(ValueError, match=f"level={level!r} .*give {usable}"):
        Codec(compression=compression, level=level)


def test_damage_of_any_byte_is_an_error_or_a_value_never_something_else():
    for codec in CODECS.values():
        data = codec.encode(DOCUMENT, "key")
        for position in range(len(data)):
            for damaged in (
                data[:position],
                data[:position] + bytes([data[position] ^ 0x55]) + data[position + 1 :],
            ):
                try:
                    value = codec.decode(damaged, "key")
                except SerializationError:
                    continue
                assert codec.format != "pickle", "the signature held"
                assert value is None or isinstance(value, (dict, list, str, int, float))


def test_the_value_is_not_in_the_text():
    with pytest.raises(SerializationError) as caught:
        JSON.decode(b'{"password": "hunter2" oops', "key")
    assert "hunter2" not in str(caught.value)


# --------------------------------------------------------------------- pickle


class Nasty:
    ran = False

    def __reduce__(self):
        return (setattr, (Nasty, "ran", True))


def test_pickle_is_never_read_unless_asked_for():
    data = b"\xc1p-" + b"\0" * 32 + pickle.dumps(Nasty())
    for codec in CODECS.values():
        with pytest.raises(SerializationError, match="pickle|signature"):
            codec.decode(data, "key")
    assert not Nasty.ran


def test_a_signature_holds_for_one_key_and_one_secret():
    codec = Codec("pickle", signing_key=KEY)
    data = codec.encode({1, 2}, "key")
    assert codec.decode(data, b"key") == {1, 2}
    for reader, key in ((codec, "other"), (Codec("pickle", signing_key="x" * 16), "key")):
        with pytest.raises(SerializationError, match="signature is wrong"):
            reader.decode(data, key)


def test_secrets_can_be_exchanged():
    old, new = Codec("pickle", signing_key="o" * 16), Codec("pickle", signing_key="n" * 16)
    both = Codec("pickle", signing_key=["n" * 16, b"o" * 16])
    assert both.decode(old.encode(1, "key"), "key") == 1
    assert new.decode(both.encode(2, "key"), "key") == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"format": "pickle"}, "needs signing_key"),
        ({"format": "pickle", "signing_key": "short"}, "16 bytes"),
        ({"format": "json", "signing_key": KEY}, "for format='pickle'"),
        ({"format": "yaml"}, "format='yaml'"),
        ({"compression": "lz5"}, "compression='lz5'"),
        ({"max_bytes": 0}, "max_bytes=0"),
    ],
)
def test_wrong_options(options, said):
    with pytest.raises(ValueError, match=said):
        Codec(**options)


def test_the_secret_is_in_no_repr():
    assert KEY not in repr(Codec("pickle", signing_key=KEY))


@pytest.mark.parametrize(
    ("options", "module", "extra"),
    [({"format": "msgpack"}, "msgpack", "msgpack"), ({"compression": "zstd"}, "zstandard", "zstd")],
)
def test_a_missing_extra_is_named(options, module, extra, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install aiecs-redis\[{extra}\]"):
        Codec(**options)


# --------------------------------------------------------------------- Values


async def test_values_of_each_client(any_client):
    packed = Codec("pickle", signing_key=KEY, compression="zlib", compress_above=10)
    values = Values(any_client, Codec(compression="zlib", compress_above=50))
    assert await values.set("a", DOCUMENT, ex=60)
    assert await values.set("b", {1, 2}, codec=packed)
    assert not await values.set("a", 1, nx=True)
    assert await values.get("a") == DOCUMENT
    assert await values.get("b", codec=packed) == {1, 2}
    assert await values.get("c", "nothing") == "nothing"
    assert await values.get_many(["a", "c"]) == [DOCUMENT, None]
    assert await values.get_many([]) == []
    assert await values.delete("a", "b", "c") == 2
    assert await values.delete() == 0


async def test_a_damaged_value_names_its_key(client):
    await client.set("user:5", b"\xc1jz\xc1")
    with pytest.raises(SerializationError, match="user:5"):
        await Values(client).get("user:5")


def test_what_is_no_client_is_refused(admin):
    with pytest.raises(TypeError, match="synchronous"):
        Values(admin)
    with pytest.raises(TypeError, match="no Redis client"):
        Values("localhost")
