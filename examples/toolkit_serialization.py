"""Python values in Redis: JSON, compressed, msgpack, signed pickle; and damage with its key."""

from importlib import util

from aiecs_redis import get_redis_client
from aiecs_redis.serialization import Codec, SerializationError, Values


async def main() -> str:
    client = await get_redis_client()
    redis = await client.get_client()
    report = {"title": "Report", "lines": ["the same line again"] * 200}

    codecs = {
        "json": Codec(),
        "json, zlib": Codec(compression="zlib", compress_above=1024),
        "pickle, signed": Codec("pickle", signing_key="a secret of 16 bytes or more"),
    }
    if util.find_spec("msgpack"):  # pip install aiecs-redis[msgpack]
        codecs["msgpack"] = Codec("msgpack")
    if util.find_spec("zstandard"):  # pip install aiecs-redis[zstd]
        codecs["json, zstd"] = Codec(compression="zstd")

    values = Values(client)  # JSON, unless a call says otherwise
    for name, codec in codecs.items():
        await values.set("value:report", report, ex=60, codec=codec)
        assert await values.get("value:report", codec=codec) == report
        print(f"{name}: {await redis.strlen('value:report')} bytes")

    await redis.set("value:report", '{"title": "Rep')
    try:
        await values.get("value:report")
    except SerializationError as e:
        print(f"Damaged: {e}")
        key = e.key
    return f"{len(codecs)} ways to write a value; a damaged one is named: {key}"


if __name__ == "__main__":
    import demo

    demo.alone(main)
