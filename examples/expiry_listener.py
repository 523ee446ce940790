"""Documentation 8.2, issue 3: hearing of keys that expire.

The documentation's lines stand here as they are written there.
"""
# fmt: off

import asyncio
import contextlib

import redis

from aiecs_redis import get_redis_client

redis_client = None

# 1. Enable keyspace notifications
# In Redis configuration set:
# notify-keyspace-events Ex

# 2. Implement key expiration listener
async def listen_for_key_expiration():
    """Listen for key expiration events"""
    client = await redis_client.get_client()
    pubsub = client.pubsub()

    # Subscribe to key expiration events
    await pubsub.psubscribe('__keyevent@0__:expired')

    async for message in pubsub.listen():
        if message['type'] == 'pmessage':
            expired_key = message['data']
            print(f"Key expired: {expired_key}")

            # Handle expiration event
            await handle_key_expiration(expired_key)


async def handle_key_expiration(key: str):
    """Handle key expiration event"""
    if key.startswith('session:'):
        print(f"Session expired: {key}")
        # Clean up related data
        handled.append(key)
    elif key.startswith('task:'):
        print(f"Task cache expired: {key}")
        # Update task status
        handled.append(key)


handled = []


async def main() -> str:
    global redis_client
    redis_client = await get_redis_client()
    client = await redis_client.get_client()
    handled.clear()
    if client.get_connection_kwargs().get("db"):
        return "skipped: the listener of the documentation listens to database 0"
    try:
        before = (await client.config_get("notify-keyspace-events"))["notify-keyspace-events"]
        await client.config_set("notify-keyspace-events", "Ex")
    except redis.exceptions.ResponseError as e:
        return f"skipped: the server does not let its configuration be changed ({e})"

    listener = asyncio.ensure_future(listen_for_key_expiration())
    try:
        while not await client.pubsub_numpat():
            await asyncio.sleep(0.01)
        for key in ("session:demo", "task:demo", "other:demo"):
            await redis_client.set(key, "1", px=50)
        for _ in range(500):
            if len(handled) == 2 or listener.done():
                break
            await asyncio.sleep(0.01)
    finally:
        listener.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listener
        await client.config_set("notify-keyspace-events", before)
    return f"heard of {' and '.join(sorted(handled))}"


if __name__ == "__main__":
    import demo

    demo.alone(main)
