"""Subinterpreters: those that share the GIL can use a client, others get a clear ImportError."""

import importlib
import sys

if sys.version_info < (3, 12):
    # Up to 3.11 _asyncio has one set of the coroutine types it has met, for all interpreters, and
    # through it whatever those reach: it outlives the interpreter that imported it first, and later
    # ones use what is left of that one's modules. Told in docs/compatibility.md.
    import asyncio  # noqa: F401  so that the first is this one, which stays

port = int(sys.argv[1])
CODE = f"""
import sys
sys.path[:] = {sys.path!r}
import asyncio
try:
    import aiecs_redis
except ImportError as exc:
    print("ImportError:", exc, flush=True)
else:
    async def main():
        async with aiecs_redis.Redis(host="127.0.0.1", port={port}) as client:
            assert await asyncio.gather(client.ping(), client.echo("x")) == [True, b"x"]
            assert await asyncio.create_task(client.echo("task")) == b"task"
            assert await client.blpop("nothing", 0.01) is None
    asyncio.run(main())
    print("works", flush=True)
"""


def interpreter(isolated):
    """How to make one, and how to run code in it: private modules, another one in each Python."""
    if sys.version_info >= (3, 13):
        module = importlib.import_module("_interpreters")
        return module, module.create("isolated" if isolated else "legacy"), module.exec
    module = importlib.import_module("_xxsubinterpreters")
    return module, module.create(isolated=isolated), module.run_string


def own_gil_is_possible():
    return sys.version_info >= (3, 12)


for isolated in (False, True, False):
    if isolated and not own_gil_is_possible():
        continue
    module, made, execute = interpreter(isolated)
    failure = execute(made, CODE)
    if failure is not None:
        print(failure)
    module.destroy(made)

# And the one that was first is none the worse for it.
exec(CODE)
