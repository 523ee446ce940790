"""Checks an installed wheel, from outside of the repository: what is in it, and that it works.

    python -I tools/check_wheel.py [--bundled] [--no-compiler]

Everything runs on a redis-server (or valkey-server) of its own, over TCP and TLS.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import shutil
import sys
from pathlib import Path

LICENCES = ["LICENSE", "vendored/hiredis/COPYING", "vendored/libev/LICENSE"]
FILES = ["py.typed", "_native.pyi", "_commands/", "testing/__init__.py"]


def contents(bundled: bool) -> None:
    import aiecs_redis
    from aiecs_redis import _native

    home = Path(sys.prefix).resolve()
    for module in (aiecs_redis, _native):
        assert home in Path(module.__file__).resolve().parents, (
            f"{module.__file__} is not the wheel's"
        )
    distribution = importlib.metadata.distribution("aiecs-redis")
    names = [str(path) for path in distribution.files or ()]
    for name in FILES:
        assert any(path.startswith(f"aiecs_redis/{name}") for path in names), f"{name} is missing"
    sources = [name for name in names if name.endswith((".c", ".h"))]
    assert not sources, f"sources in the wheel: {sources[:3]}"
    licences = [*LICENCES, "vendored/openssl/LICENSE"] if bundled else LICENCES
    for name in licences:
        assert any(path.endswith(f".dist-info/licenses/{name}") for path in names), f"no {name}"
    if sys.platform == "linux":
        assert b".debug_info" not in Path(_native.__file__).read_bytes(), "debug information"
    libraries = loaded("libssl") | loaded("libcrypto")
    own = {path for path in libraries if "aiecs_redis.libs" in path}
    if bundled and sys.platform == "linux":
        assert len(own) == 2, f"not the wheel's own OpenSSL: {libraries}"
        assert all(home in Path(path).resolve().parents for path in own)
    print(f"{distribution.version}: {_native.__file__}")
    print(f"{_native.OPENSSL_VERSION}: {', '.join(sorted(own or libraries)) or 'linked in'}")


def loaded(name: str) -> set[str]:
    """The shared libraries of that name in this process, as far as the system tells."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return set()
    paths = [line.split()[-1] for line in maps.read_text().splitlines() if "/" in line]
    return {path for path in paths if path.rpartition("/")[2].startswith(name)}


async def works() -> None:
    import redis.exceptions

    import aiecs_redis
    from aiecs_redis.testing import RedisServer

    with RedisServer() as server:
        async with aiecs_redis.Redis(**server.kwargs, decode_responses=True) as client:
            await client.mset({f"k{n}": n for n in range(100)})
            assert await asyncio.gather(*(client.get(f"k{n}") for n in range(100))) == [
                str(n) for n in range(100)
            ]
            async with client.pipeline(transaction=True) as pipe:
                assert await pipe.incr("n").hset("h", "a", 1).hgetall("h").execute() == [
                    1,
                    1,
                    {"a": "1"},
                ]
            waiting = asyncio.ensure_future(client.blpop("q", 5))
            await client.rpush("q", "item")
            assert list(await waiting) == ["q", "item"]
        shared = aiecs_redis.RedisClient(server.kwargs)
        await shared.initialize()
        assert await shared.set("a", "1") is True
        await shared.close()
    with RedisServer(tls=True) as server:
        async with aiecs_redis.Redis(**server.kwargs) as client:
            assert await client.ping() is True
        stranger = {**server.kwargs, "ssl_ca_certs": server.certificates.certificate("stranger")}
        async with aiecs_redis.Redis(**stranger, retry=None) as client:
            try:
                await client.ping()
            except redis.exceptions.ConnectionError as error:
                assert "certificate verify failed" in str(error), error
            else:
                raise AssertionError("a certificate of an unknown authority was accepted")
    print("it works: TCP, TLS, pipelines, blocking commands, RedisClient")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tools/check_wheel.py")
    parser.add_argument("--bundled", action="store_true", help="OpenSSL has to be in the wheel")
    parser.add_argument("--no-compiler", action="store_true", help="none may be on the PATH")
    options = parser.parse_args(arguments)
    if options.no_compiler:
        found = [name for name in ("cc", "gcc", "clang", "c99") if shutil.which(name)]
        assert not found, f"a compiler is here: {found}"
    contents(options.bundled)
    asyncio.run(works())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
