"""Python values as bytes in Redis: JSON, msgpack or signed pickle, compressed above a size.

    codec = Codec("msgpack", compression="zstd", compress_above=1024)
    values = Values(client, codec)                      # per client
    await values.set("user:1", {"name": "Jane"}, ex=60)
    await values.get("user:1")
    await values.set("user:2", 5, codec=Codec("json"))  # per call

`CacheManager` and the stores take a codec of their own (per cache). Whatever was written says
itself how it was written, so that a codec reads what any other codec wrote, with two exceptions:
pickle is read only by a codec that was made for it by name and with the same key, and the extra
that a value needs has to be installed.

Plain JSON stands in Redis as it is, as in the RedisClient documentation. Anything else begins
with three bytes, C1 (which begins neither UTF-8 nor msgpack), the format and the compression.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import decimal
import enum
import hashlib
import hmac
import importlib
import json
import pickle
import uuid
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from aiecs_redis import _checks as checks
from aiecs_redis._underlying import binary, check_client, text, underlying

__all__ = ["JSON", "Codec", "SerializationError", "Values", "check_codec"]

_MAGIC = 0xC1
_FORMATS = {"json": b"j", "msgpack": b"m", "pickle": b"p"}
_COMPRESSIONS = {"none": b"-", "zlib": b"z", "zstd": b"s"}
_LEVELS = {"zlib": range(10), "zstd": range(1, 23)}
_MAC = hashlib.sha256().digest_size


class SerializationError(ValueError):
    """A value cannot be written, or what stands in Redis cannot be read; names the key.

    Attributes:
        key: the key.
    """

    def __init__(self, key: object, what: str) -> None:
        super().__init__(f"key {text(key)!r}: {what}")
        self.key = key


def _extra(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ImportError(
            f"{module} is not installed: pip install aiecs-redis[{extra}]", name=module
        ) from None


# ------------------------------------------------------------------------ JSON

_orjson: Any = None
with contextlib.suppress(ImportError):
    _orjson = importlib.import_module("orjson")


def _plain(value: Any) -> Any:
    """What JSON has no type for, in one form for every JSON library."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (uuid.UUID, decimal.Decimal)):
        return str(value)
    if isinstance(value, (set, frozenset)):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _json_dumps(value: Any) -> bytes:
    if _orjson is not None:
        try:
            return _orjson.dumps(  # type: ignore[no-any-return]
                value,
                _plain,
                _orjson.OPT_NON_STR_KEYS
                | _orjson.OPT_PASSTHROUGH_DATETIME
                | _orjson.OPT_PASSTHROUGH_DATACLASS,
            )
        except TypeError:  # an integer beyond 64 bits, say: json decides
            # The space tells the reader not to use orjson, which would make it a float.
            return b" " + _stdlib_dumps(value)
    return _stdlib_dumps(value)


def _stdlib_dumps(value: Any) -> bytes:
    options: dict[str, Any] = {"ensure_ascii": False, "separators": (",", ":")}
    return json.dumps(value, default=_plain, **options).encode()


def _json_loads(data: bytes) -> Any:
    if _orjson is None or data[:1] == b" ":
        return json.loads(data)
    try:
        return _orjson.loads(data)
    except ValueError:
        return json.loads(data)  # NaN, which orjson does not know


# --------------------------------------------------------------------- msgpack


def _msgpack_dumps(value: Any) -> bytes:
    packed: bytes = _extra("msgpack", "msgpack").packb(value, default=_plain, use_bin_type=True)
    return packed


def _msgpack_loads(data: bytes) -> Any:
    return _extra("msgpack", "msgpack").unpackb(data, raw=False, strict_map_key=False)


# ----------------------------------------------------------------- compression


def _zlib_compress(data: bytes, level: int | None) -> bytes:
    return zlib.compress(data, -1 if level is None else level)


def _zlib_decompress(data: bytes, limit: int) -> bytes:
    stream = zlib.decompressobj()
    plain = stream.decompress(data, limit)
    if stream.unconsumed_tail:
        raise ValueError(f"more than max_bytes={limit} when decompressed")
    if not stream.eof or stream.unused_data:
        raise ValueError("the zlib stream is cut off or followed by something else")
    return plain


def _zstd_compress(data: bytes, level: int | None) -> bytes:
    zstandard = _extra("zstandard", "zstd")
    compressed: bytes = zstandard.ZstdCompressor(level=3 if level is None else level).compress(data)
    return compressed


def _zstd_decompress(data: bytes, limit: int) -> bytes:
    zstandard = _extra("zstandard", "zstd")
    size = zstandard.frame_content_size(data)
    if size > limit:
        raise ValueError(f"more than max_bytes={limit} when decompressed")
    plain: bytes = zstandard.ZstdDecompressor().decompress(
        data, max_output_size=limit, allow_extra_data=False
    )
    return plain


_WRITERS: dict[str, Callable[[Any], bytes]] = {
    "json": _json_dumps,
    "msgpack": _msgpack_dumps,
    "pickle": lambda value: pickle.dumps(value, protocol=4),  # read by every supported Python
}
_READERS: dict[bytes, Callable[[bytes], Any]] = {
    b"j": _json_loads,
    b"m": _msgpack_loads,
    b"p": pickle.loads,  # reached only behind a valid signature
}
_COMPRESS = {"zlib": _zlib_compress, "zstd": _zstd_compress}
_DECOMPRESS = {b"z": _zlib_decompress, b"s": _zstd_decompress}


class Codec:
    """How values are written; it reads what every codec writes (pickle: see below).

    Args:
        format: "json" (orjson is used if it is installed, extra `json`), "msgpack" (extra
            `msgpack`; keeps bytes), or "pickle".
        compression: "none", "zlib", or "zstd" (extra `zstd`).
        compress_above: values of more bytes than this are compressed, if that makes them
            smaller.
        level: of the compression, 0 to 9 (zlib) or 1 to 22 (zstd); None for its default.
        signing_key: for pickle, needed: a secret of 16 bytes or more (HMAC-SHA-256), or a list
            of them, the first of which signs while all are accepted, to exchange keys. Whoever
            knows it and may write to Redis can run code in this process. The signature holds
            for one Redis key: a value that was copied to another one is refused.
        max_bytes: what a value may have at most after decompression; a larger one is an
            error, not a memory exhausted.

    Dataclasses, enums, datetimes, UUIDs, Decimals and sets are written to JSON and msgpack in
    their plain form, and read as that: dict, value, ISO string, string, list. NaN is no JSON:
    orjson writes null, json writes NaN. With orjson an integer beyond 64 bits that another
    program wrote is read as float.

    Raises:
        ValueError: an unknown format or compression, a level it does not have, a number that
            makes no sense, or pickle without a proper key.
        TypeError: a key that is neither str nor bytes.
        ImportError: an extra is missing; the text names it.
    """

    def __init__(
        self,
        format: str = "json",
        *,
        compression: str = "none",
        compress_above: int = 1024,
        level: int | None = None,
        signing_key: bytes | str | Sequence[bytes | str] | None = None,
        max_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        if format not in list(_FORMATS):
            raise ValueError(f"format={format!r}: give one of {', '.join(_FORMATS)}")
        if compression not in list(_COMPRESSIONS):
            raise ValueError(f"compression={compression!r}: give one of {', '.join(_COMPRESSIONS)}")
        levels = _LEVELS.get(compression)
        if level is not None and (levels is None or level not in levels):
            usable = f"{levels[0]} to {levels[-1]}, or None" if levels else "none"
            raise ValueError(f"level={level!r} with compression={compression!r}: give {usable}")
        checks.whole("compress_above", compress_above, 0)
        checks.whole("max_bytes", max_bytes, 1)
        if format == "msgpack":
            _extra("msgpack", "msgpack")
        if compression == "zstd":
            _extra("zstandard", "zstd")
        self.format = format
        self.compression = compression
        self.compress_above = compress_above
        self.level = level
        self.max_bytes = max_bytes
        self._keys = _signing_keys(format, signing_key)

    def __repr__(self) -> str:
        packed = "" if self.compression == "none" else f", compression={self.compression!r}"
        return f"Codec({self.format!r}{packed})"

    def encode(self, value: Any, key: object) -> bytes:
        """Return the value as bytes for the given Redis key.

        Args:
            value: whatever the format has a form for.
            key: the Redis key, for the signature and for errors.

        Raises:
            SerializationError: the format has no form for it.
        """
        try:
            body = _WRITERS[self.format](value)
        except ImportError:
            raise
        except Exception as exc:
            raise SerializationError(
                key, f"{type(value).__name__} cannot be written as {self.format}: {exc}"
            ) from exc
        compression = "none"
        if self.compression != "none" and len(body) > self.compress_above:
            smaller = _COMPRESS[self.compression](body, self.level)
            if len(smaller) < len(body):
                body, compression = smaller, self.compression
        if compression == "none" and self.format == "json":
            return body
        head = bytes([_MAGIC]) + _FORMATS[self.format] + _COMPRESSIONS[compression]
        if self.format == "pickle":
            return head + _signature(self._keys[0], head, key, body) + body
        return head + body

    def decode(self, data: bytes | str, key: object) -> Any:
        """Return the value that some codec wrote under the given Redis key.

        Args:
            data: what stands there; str as it is in UTF-8.
            key: the Redis key, for the signature and for errors.

        Raises:
            SerializationError: it is corrupt, too large, of a format this codec does not
                read, or its signature is wrong. The text holds the key, never the value.
            ImportError: the extra for it is missing.
        """
        raw = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else bytes(data)
        if not raw:
            raise SerializationError(key, "the value is empty")
        kind, packed, body = b"j", b"-", raw
        if raw[0] == _MAGIC:
            head, kind, packed, body = raw[:3], raw[1:2], raw[2:3], raw[3:]
            if kind not in _READERS or packed not in _COMPRESSIONS.values():
                raise SerializationError(key, f"begins with {head.hex()}, which is no known format")
            if kind == b"p":
                body = self._verified(head, key, body)
        if len(body) > self.max_bytes:
            raise SerializationError(key, f"{len(body)} bytes are above max_bytes={self.max_bytes}")
        try:
            if packed != b"-":
                body = _DECOMPRESS[packed](body, self.max_bytes)
            return _READERS[kind](body)
        except ImportError as exc:
            if kind == b"p":
                raise SerializationError(key, f"pickle refers to what is not here: {exc}") from exc
            raise
        except Exception as exc:
            name = next(name for name, code in _FORMATS.items() if code == kind)
            raise SerializationError(key, f"the value is not valid {name}: {_brief(exc)}") from exc

    def _verified(self, head: bytes, key: object, body: bytes) -> bytes:
        if not self._keys:
            raise SerializationError(
                key, "is a pickle, read only by Codec('pickle', signing_key=...)"
            )
        mac, body = body[:_MAC], body[_MAC:]
        if not any(hmac.compare_digest(mac, _signature(k, head, key, body)) for k in self._keys):
            raise SerializationError(
                key,
                "the signature is wrong: damaged, copied from another key, or signed with"
                " a key that is not in signing_key",
            )
        return body


def _brief(exc: Exception) -> str:
    """What went wrong without the document itself (json's errors carry it as an attribute)."""
    return f"{type(exc).__name__}: {exc}"[:200]


def _signing_keys(format: str, given: Any) -> list[bytes]:
    if format != "pickle":
        if given is not None:
            raise ValueError(f"signing_key is for format='pickle', not for {format!r}")
        return []
    several = list(given) if isinstance(given, (list, tuple)) else [given] if given else []
    if not all(isinstance(one, (str, bytes)) for one in several):
        raise TypeError("signing_key: give str or bytes, or a list of them")
    keys = [one.encode() if isinstance(one, str) else one for one in several]
    if not keys:
        raise ValueError("format='pickle' needs signing_key: a secret of 16 bytes or more")
    if min(map(len, keys)) < 16:
        raise ValueError("signing_key is too short: give 16 bytes or more")
    return keys


def _signature(secret: bytes, head: bytes, key: object, body: bytes) -> bytes:
    name = (
        bytes(key)
        if isinstance(key, (bytes, bytearray, memoryview))
        else str(key).encode("utf-8", "surrogateescape")
    )
    # Its length keeps key and body apart.
    return hmac.digest(secret, head + len(name).to_bytes(4, "big") + name + body, "sha256")


JSON = Codec("json")
"""Plain JSON, uncompressed: what the RedisClient documentation writes with json.dumps."""


def check_codec(codec: Any) -> Any:
    """Return the codec; TypeError if it is none.

    Raises:
        TypeError: it lacks `encode()` or `decode()`, or is a class.
    """
    usable = hasattr(codec, "encode") and hasattr(codec, "decode")
    if not usable or isinstance(codec, type):
        raise TypeError(f"codec={codec!r}: give a Codec, such as Codec('json')")
    return codec


class Values:
    """A client whose values are Python objects.

    Args:
        client: a RedisClient, or a Redis or RedisCluster of aiecs_redis or redis.asyncio.
        codec: how values are written, unless a call says otherwise.

    Errors of Redis pass through (`redis.exceptions.RedisError`), errors of values are
    `SerializationError`.

    Raises:
        TypeError: the client or the codec is none.
    """

    def __init__(self, client: Any, codec: Codec = JSON) -> None:
        self._client = check_client(client)
        self.codec: Codec = check_codec(codec)

    async def set(
        self, key: Any, value: Any, ex: Any = None, *, codec: Codec | None = None, **options: Any
    ) -> bool:
        """Set a key; return whether it was set.

        Args:
            key: the Redis key, str or bytes.
            value: whatever the codec writes.
            ex: seconds it lives, an int or a timedelta; None: for ever.
            codec: instead of the one of this object.
            **options: those of redis-py's `set` (nx, xx, px in milliseconds, ...).

        Raises:
            SerializationError: the codec cannot write the value.
        """
        data = (codec or self.codec).encode(value, key)
        redis_ = await underlying(self._client)
        return bool(await redis_.set(key, data, ex=ex, **options))

    async def get(self, key: Any, default: Any = None, *, codec: Codec | None = None) -> Any:
        """Return the value of a key, `default` if there is none.

        Args:
            key: the Redis key, str or bytes.
            default: whatever is wanted then.
            codec: instead of the one of this object.

        Raises:
            SerializationError: what stands there cannot be read; the text names the key.
        """
        data = await binary(await underlying(self._client), "GET", key)
        return default if data is None else (codec or self.codec).decode(data, key)

    async def get_many(
        self, keys: Sequence[Any], default: Any = None, *, codec: Codec | None = None
    ) -> list[Any]:
        """Return the values of several keys (MGET), in their order.

        Args:
            keys: Redis keys, str or bytes; in a cluster all of one slot.
            default: stands for each one that is not there.
            codec: instead of the one of this object.

        Raises:
            SerializationError: one of them cannot be read; the text names its key.
        """
        if not keys:
            return []
        reader = codec or self.codec
        found = await binary(await underlying(self._client), "MGET", *keys)
        return [
            default if data is None else reader.decode(data, key) for key, data in zip(keys, found)
        ]

    async def delete(self, *keys: Any) -> int:
        """Delete keys; return how many there were."""
        if not keys:
            return 0
        return int(await (await underlying(self._client)).delete(*keys))
