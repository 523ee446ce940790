"""Documentation 8.2, issue 4: a transfer of points in a Lua script.

The documentation's lines stand here as they are written there.
"""
# fmt: off

from aiecs_redis import get_redis_client

redis_client = None


# 2. Use Lua script to ensure atomicity
async def atomic_transfer_points(from_user: str, to_user: str, points: int):
    """Atomically transfer points"""
    lua_script = """
    local from_key = KEYS[1]
    local to_key = KEYS[2]
    local points = tonumber(ARGV[1])

    local from_balance = tonumber(redis.call('hget', from_key, 'points') or 0)
    if from_balance < points then
        return {false, 'insufficient_balance'}
    end

    redis.call('hincrby', from_key, 'points', -points)
    redis.call('hincrby', to_key, 'points', points)
    return {true, 'success'}
    """

    client = await redis_client.get_client()
    result = await client.eval(
        lua_script,
        2,
        f"user:{from_user}",
        f"user:{to_user}",
        points
    )
    return result[0], result[1]


async def main() -> str:
    global redis_client
    redis_client = await get_redis_client()
    await redis_client.hset("user:giver", {"points": "100"})
    await redis_client.hset("user:taker", {"points": "0"})
    first = await atomic_transfer_points("giver", "taker", 70)
    second = await atomic_transfer_points("giver", "taker", 70)
    print(f"Transfers: {first}, {second}")
    left = await redis_client.hget("user:giver", "points")
    return f"70 points: {first[1]}; 70 more: {second[1]}; {left} left"


if __name__ == "__main__":
    import demo

    demo.alone(main)
