"""Trying again, and not trying again what must not be executed twice."""

from aiecs_redis import OutcomeUnknownError, get_redis_client
from aiecs_redis.retry import RetryPolicy, robust_redis_operation, safe_redis_operation


class Flaky:
    """An operation that fails a number of times before it works."""

    def __init__(self, operation, *errors):
        self.operation = operation
        self.errors = list(errors)
        self.attempts = 0

    async def __call__(self, *args):
        self.attempts += 1
        if self.errors:
            raise self.errors.pop(0)
        return await self.operation(*args)


async def main() -> str:
    client = await get_redis_client()
    await client.hset("user:123", {"name": "Jane Roe"})

    user = await robust_redis_operation(client.hgetall, "user:123")
    print(f"User: {user}")

    policy = RetryPolicy(attempts=5, base=0.01, deadline=10)
    lost = Flaky(client.hgetall, ConnectionError("on purpose"))
    nothing = await safe_redis_operation(lost, "user:123")  # logs the error
    print(f"After an error: {nothing}")

    # Nobody knows whether it was counted: it is not counted again...
    count = Flaky(client.hincrby, OutcomeUnknownError("the connection was lost"))
    try:
        await policy.call(count, "user:123", "visits")
    except OutcomeUnknownError as e:
        print(f"Not repeated: {e}")

    # ... while what may be executed twice is tried again.
    @policy.replace(idempotent=True)
    async def rename(name):
        return await store("user:123", {"name": name})

    store = Flaky(client.hset, OutcomeUnknownError("the connection was lost"))
    await rename("Jane Doe")
    name = await client.hget("user:123", "name")
    return (
        f"{name}: stored in attempt {store.attempts}, counted in {count.attempts} attempt or none"
    )


if __name__ == "__main__":
    import demo

    demo.alone(main)
