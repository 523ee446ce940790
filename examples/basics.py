"""Documentation 4.1: key-value and hash operations.

The documentation's lines stand here as they are written there.
"""
# fmt: off

from aiecs_redis import get_redis_client


async def key_value_operations():
    # Get Redis client
    redis_client = await get_redis_client()

    # Set key-value pairs
    await redis_client.set("user:123:name", "John Doe")
    await redis_client.set("user:123:email", "john@example.com", ex=3600)  # 1 hour expiration

    # Get values
    name = await redis_client.get("user:123:name")
    email = await redis_client.get("user:123:email")
    print(f"Username: {name}")
    print(f"Email: {email}")

    # Check if key exists
    if await redis_client.exists("user:123:name"):
        print("User information exists")


async def hash_table_operations():
    redis_client = await get_redis_client()

    # Set hash table fields
    user_info = {
        "name": "John Doe",
        "email": "john@example.com",
        "age": "25",
        "city": "New York"
    }
    await redis_client.hset("user:123", user_info)

    # Get single field
    name = await redis_client.hget("user:123", "name")
    print(f"Username: {name}")

    # Get all fields
    user_data = await redis_client.hgetall("user:123")
    print(f"User information: {user_data}")

    # Atomic increment
    await redis_client.hincrby("user:123", "login_count", 1)
    login_count = await redis_client.hget("user:123", "login_count")
    print(f"Login count: {login_count}")
    return user_data


async def main() -> str:
    await key_value_operations()
    fields = await hash_table_operations()
    return f"{fields['name']} stored and read, as keys and as a hash"


if __name__ == "__main__":
    import demo

    demo.alone(main)
