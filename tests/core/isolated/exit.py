"""The interpreter ends with commands in every phase; MODE says how it ends."""

import asyncio
import os
import sys
import threading

import aiecs_redis

port, mode = int(sys.argv[1]), sys.argv[2]
client = aiecs_redis.Redis(host="127.0.0.1", port=port)  # no thread can look up a name at exit
kept = []


async def main():
    await client.ping()
    kept.append(asyncio.ensure_future(client.blpop("list", 30)))
    kept.append(asyncio.create_task(client.blpop("list", 30)))
    await asyncio.sleep(0.01)
    kept.extend(asyncio.ensure_future(client.echo(str(n))) for n in range(20))
    unstarted = client.get("key")
    kept.append(unstarted)
    kept.append(unstarted.close)
    await asyncio.sleep(0)
    if mode == "exit":
        sys.exit(3)
    if mode == "interrupt":
        raise KeyboardInterrupt
    if mode == "raise":
        raise ZeroDivisionError
    if mode == "daemon":

        def work():
            async def forever():
                mine = aiecs_redis.Redis(host="127.0.0.1", port=port)
                while True:
                    await asyncio.gather(*(mine.echo(str(n)) for n in range(50)))

            asyncio.run(forever())

        threading.Thread(target=work, daemon=True).start()
        await asyncio.sleep(0.05)
    if mode == "thread":
        threading.Thread(target=lambda: asyncio.run(client.ping())).start()


if mode == "open-loop":  # never closed, and still there when the modules are torn down
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    sys.modules["keep"] = loop
elif mode == "at-exit":
    import atexit

    atexit.register(lambda: asyncio.run(client.echo("late")) and print("late", flush=True))
    asyncio.run(main())
else:
    asyncio.run(main())
kept[-1]()
print("end", flush=True)
os.environ.clear()
