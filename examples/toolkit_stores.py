"""The stores of the toolkit: what tasks do, what came out, and who is logged in."""

from __future__ import annotations

import dataclasses

from aiecs_redis import get_redis_client
from aiecs_redis.sessions import Session, SessionStore
from aiecs_redis.tasks import TaskResultStore, TaskStatusStore


@dataclasses.dataclass
class UserSession(Session):
    """A session with fields of its own, with types."""

    role: str = "guest"
    visits: int = 0


async def main() -> str:
    client = await get_redis_client()

    statuses = TaskStatusStore(client)  # task:{task_id}, 24 hours
    for number in range(3):
        await statuses.set(f"task_{number}", "running", 25 * number)
    await statuses.update("task_2", status="done", progress=100)
    async for status in statuses:  # SCAN, never KEYS
        print(status)

    results = TaskResultStore(client)  # result:{task_id}, 1 hour
    await results.set("task_2", {"accuracy": 0.95, "output_file": "result.csv"})
    print(await results.get("task_2"), await results.get("task_0", "no result yet"))

    sessions = SessionStore(client, record=UserSession)  # session:{session_id}, 30 minutes
    session = await sessions.create("user_123", role="admin", visits=1)
    session = await sessions.update(session.session_id, {"current_page": "/dashboard"}, visits=2)
    print(session)
    done = (await statuses.get("task_2")).progress
    return (
        f"task_2 {done} %; {session.role} on {session.data['current_page']}, visit {session.visits}"
    )


if __name__ == "__main__":
    import demo

    demo.alone(main)
