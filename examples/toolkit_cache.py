"""The cache of the toolkit: this process, Redis, the database."""

from __future__ import annotations

import asyncio

from aiecs_redis import get_redis_client
from aiecs_redis.cache import CacheManager


class Database:
    """A slow one, which counts its queries."""

    def __init__(self) -> None:
        self.queries = 0
        self.names = {"456": "Jane Roe"}

    async def get_user(self, user_id: str) -> dict[str, str] | None:
        self.queries += 1
        await asyncio.sleep(0.05)
        name = self.names.get(user_id)
        return None if name is None else {"id": user_id, "name": name}


async def main() -> str:
    client = await get_redis_client()
    database = Database()

    # Two caches stand for two processes.
    async with CacheManager(client) as here, CacheManager(client) as there:

        @here.cached(ttl=600, key="user:{user_id}", tags=("users",))
        async def get_user(user_id: str) -> dict[str, str] | None:
            return await database.get_user(user_id)

        # A thousand readers at once, in both: one query.
        await asyncio.gather(
            *(get_user("456") for _ in range(500)),
            *(there.get("user:456", loader=lambda: database.get_user("456")) for _ in range(500)),
        )
        print(f"1000 reads at once, {database.queries} query")

        # A change anywhere reaches every process; reading what is local asks nobody.
        await there.get("user:456")
        database.names["456"] = "Jane Doe"
        await get_user.invalidate("456")
        while there.get_nowait("user:456") is not None:
            await asyncio.sleep(0.001)
        user = await there.get("user:456", loader=lambda: database.get_user("456"))
        print(f"After the change: {user}")

        # That there is nobody is remembered, too.
        for _ in range(3):
            await get_user("no-such-user")
        await here.invalidate_tag("users")
        print(here.stats)
        queries = database.queries
    return f"1005 reads, {queries} queries; {user['name']} everywhere"


if __name__ == "__main__":
    import demo

    demo.alone(main)
