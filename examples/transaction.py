"""Documentation 8.2, issue 4: a transaction.

The documentation's lines stand here as they are written there.
"""
# fmt: off

import asyncio
import time

from aiecs_redis import get_redis_client

redis_client = None


# 1. Use transactions to ensure atomicity
async def atomic_update_user_score(user_id: str, score_delta: int):
    """Atomically update user score"""
    client = await redis_client.get_client()

    # Use MULTI/EXEC transaction
    pipe = client.pipeline()
    pipe.hget(f"user:{user_id}", "score")
    pipe.hincrby(f"user:{user_id}", "score", score_delta)
    pipe.hset(f"user:{user_id}", "last_updated", str(int(time.time())))
    results = await pipe.execute()

    old_score = int(results[0] or 0)
    new_score = results[1]
    print(f"User {user_id} score updated: {old_score} -> {new_score}")
    return new_score


async def main() -> str:
    global redis_client
    redis_client = await get_redis_client()
    await redis_client.delete("user:scorer")
    updates = (atomic_update_user_score("scorer", delta) for delta in (5, 10, -3))
    scores = await asyncio.gather(*updates)
    return f"scores {', '.join(map(str, scores))} out of three concurrent updates"


if __name__ == "__main__":
    import demo

    demo.alone(main)
