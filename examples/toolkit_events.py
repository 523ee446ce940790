"""Hearing of keys that expire, with the server's setting made and gaps told."""

import asyncio

from redis.exceptions import ResponseError

from aiecs_redis import get_redis_client
from aiecs_redis.events import KeyspaceEvents, KeyspaceEventsError
from aiecs_redis.sessions import SessionStore


async def main() -> str:
    client = await get_redis_client()
    redis = await client.get_client()
    events = KeyspaceEvents(client)
    heard: list[str] = []
    both = asyncio.Event()

    def ended(what: str) -> None:
        print(f"Ended: {what}")
        heard.append(what)
        if len(heard) == 2:
            both.set()

    sessions = SessionStore(client, ttl=0.05)
    sessions.on_expired(events, lambda session_id: ended("a session"))
    events.on("expired", lambda event: ended(event.key), match="task:*")
    events.on_gap(lambda gap: print(f"Look for yourself, from {gap.since} on: {gap.reason}"))
    try:
        before = await redis.config_get("notify-keyspace-events")
    except ResponseError as e:
        return f"skipped: the server does not let its configuration be read ({e})"
    try:
        async with events:
            await sessions.create("user_123")
            await redis.set("task:demo", "1", px=50)
            await redis.set("other:demo", "1", px=50)
            await asyncio.wait_for(both.wait(), 20)
    except KeyspaceEventsError as e:
        return f"skipped: {e}"
    finally:
        # An application leaves it on.
        if await redis.config_get("notify-keyspace-events") != before:
            await redis.config_set("notify-keyspace-events", before["notify-keyspace-events"])
    return f"heard of {' and '.join(sorted(heard))}"


if __name__ == "__main__":
    import demo

    demo.alone(main)
