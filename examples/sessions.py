"""Documentation 4.3: user sessions.

The documentation's lines stand here as they are written there.
"""
# fmt: off

import time

from aiecs_redis import get_redis_client

redis_client = None


async def create_user_session(user_id: str, session_data: dict) -> str:
    """Create user session"""
    session_id = f"session_{user_id}_{int(time.time())}"
    session_key = f"session:{session_id}"

    # Store session data
    session_data["user_id"] = user_id
    session_data["created_at"] = str(int(time.time()))
    await redis_client.hset(session_key, session_data)

    # Set session expiration time (30 minutes)
    await redis_client.expire(session_key, 1800)
    print(f"User {user_id} session created: {session_id}")
    return session_id


async def get_user_session(session_id: str) -> dict:
    """Get user session"""
    session_key = f"session:{session_id}"
    if await redis_client.exists(session_key):
        return await redis_client.hgetall(session_key)
    else:
        return {"error": "session_not_found"}


async def update_user_session(session_id: str, updates: dict):
    """Update user session"""
    session_key = f"session:{session_id}"
    if await redis_client.exists(session_key):
        await redis_client.hset(session_key, updates)
        # Extend expiration time
        await redis_client.expire(session_key, 1800)
        print(f"Session {session_id} updated")
    else:
        print(f"Session {session_id} does not exist")


async def main() -> str:
    global redis_client
    redis_client = await get_redis_client()

    # Usage example
    session_id = await create_user_session("user_123", {
        "username": "John Doe",
        "role": "admin",
        "last_activity": str(int(time.time()))
    })
    session = await get_user_session(session_id)
    print(f"Session information: {session}")
    await update_user_session(session_id, {
        "last_activity": str(int(time.time())),
        "current_page": "/dashboard"
    })

    await update_user_session("session_nobody", {"role": "guest"})
    session = await get_user_session(session_id)
    return f"session of {session['username']} now on {session['current_page']}"


if __name__ == "__main__":
    import demo

    demo.alone(main)
