"""Ends with readers, blocked commands, lent connections and connects pending, in a cycle."""

import asyncio
import gc
import sys

import aiecs_redis

port, mode = int(sys.argv[1]), sys.argv[2]
kept = []


class Node:
    pass


async def main():
    client = aiecs_redis.Redis(host="127.0.0.1", port=port)
    single = aiecs_redis.Redis(host="127.0.0.1", port=port, single_connection_client=True)
    unreachable = aiecs_redis.Redis(host="10.255.255.1", port=1)
    waiting = [client.blpop("pending:a", 0), client.blpop("pending:b", 0)]
    waiting += [single.blpop("pending:c", 0), unreachable.ping()]
    waiting += [unreachable.pubsub().subscribe("pending:d")]
    for number in range(3):
        pubsub = client.pubsub()
        await pubsub.subscribe(f"pending:{number}")
        waiting.append(anext_of(pubsub))
    pipeline = client.pipeline()
    await pipeline.watch("pending:e")
    monitor = client.monitor()
    await monitor.__aenter__()
    tasks = [asyncio.ensure_future(each) for each in waiting]
    await asyncio.sleep(0.05)
    tasks[0].cancel()
    node = Node()
    node.all = (node, client, single, unreachable, tasks, pipeline, monitor)
    kept.append(node)


async def anext_of(pubsub):
    async for message in pubsub.listen():
        kept.append(message)


loop = asyncio.new_event_loop()
loop.run_until_complete(main())
if mode != "kept":
    kept.clear()
if mode == "collected":
    del loop
    gc.collect()
if mode == "module":
    aiecs_redis._native.loop = loop
print("end")
