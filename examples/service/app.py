"""The web service: python -m uvicorn examples.service.app:app  (extra `examples`).

POST   /login            {"user_id": "ann"} -> {"token": ...}
GET    /me               who am I (Authorization: Bearer <token>)
POST   /logout
GET    /users/{user_id}  from the cache, else from the database
PUT    /users/{user_id}  changes the database, and forgets the cached one
POST   /tasks            {"name": "report"}; 409 while another one of yours is running
GET    /tasks/{task_id}  how far it is; with its result in the end
WS     /events?token=    progress of your tasks, whichever process runs them; closed with 4401 when
                         the session ends
GET    /health/readyz, /health/livez, /health/metrics
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import Any

from fastapi import Depends, FastAPI, Header, HTTPException, Request, WebSocket
from pydantic import BaseModel
from starlette.websockets import WebSocketDisconnect

from aiecs_redis import (
    RedisClient,
    close_redis_client,
    get_redis_client,
    initialize_redis_client,
)
from aiecs_redis.cache import CacheManager
from aiecs_redis.health import health_app
from aiecs_redis.sessions import Session, SessionStore
from examples.service.events import EventBus, SessionWatch
from examples.service.jobs import Busy, Jobs

SESSION_ENDED = 4401  # close code


class Database:
    """Stands for the real one; counts how often it is asked."""

    def __init__(self) -> None:
        self.users: dict[str, dict[str, Any]] = {"ann": {"name": "Ann"}, "bob": {"name": "Bob"}}
        self.queries = 0

    async def get_user(self, user_id: str) -> dict[str, Any] | None:
        self.queries += 1
        await asyncio.sleep(0.05)
        return self.users.get(user_id)


@dataclass
class Parts:
    """What the service is made of, while it runs."""

    client: RedisClient
    sessions: SessionStore[Session]
    watch: SessionWatch
    cache: CacheManager
    events: EventBus
    jobs: Jobs
    database: Database


@contextlib.asynccontextmanager
async def exporting(client: RedisClient) -> AsyncIterator[Any]:
    """What answers /health/metrics; None without the extra `prometheus`."""
    if importlib.util.find_spec("prometheus_client") is None:
        yield None
        return
    from aiecs_redis.prometheus import PrometheusExporter

    async with PrometheusExporter(client, name="service") as exporter:
        yield exporter.render


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    await initialize_redis_client()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(close_redis_client)
        client = await get_redis_client()
        sessions = SessionStore(client)
        watch = SessionWatch(client, sessions)
        await stack.enter_async_context(watch.events)
        cache = await stack.enter_async_context(CacheManager(client))
        events = EventBus(client)
        await events.start()
        stack.push_async_callback(events.stop)
        jobs = Jobs(client, events)
        stack.push_async_callback(jobs.stop)
        app.state.parts = Parts(client, sessions, watch, cache, events, jobs, Database())
        metrics = await stack.enter_async_context(exporting(client))
        app.mount("/health", health_app(client, metrics=metrics))
        yield


app = FastAPI(title="aiecs_redis example", lifespan=lifespan)


# ----------------------------------------------------------------- dependencies


def parts(request: Request) -> Parts:
    found: Parts = request.app.state.parts
    return found


def token(authorization: str = Header(default="")) -> str:
    scheme, _, found = authorization.partition(" ")
    if scheme.lower() != "bearer" or not found:
        raise HTTPException(401, "Authorization: Bearer <token> is missing")
    return found


async def session(found: str = Depends(token), its: Parts = Depends(parts)) -> Session:
    known = await its.sessions.get(found)
    if known is None:
        raise HTTPException(401, "the session has ended")
    return known


# ---------------------------------------------------------------------- sessions


class Login(BaseModel):
    user_id: str


@app.post("/login")
async def login(body: Login, its: Parts = Depends(parts)) -> dict[str, str]:
    if await its.database.get_user(body.user_id) is None:
        raise HTTPException(403, "no such user")
    made = await its.sessions.create(body.user_id, {"role": "user"})
    return {"token": made.session_id}


@app.get("/me")
async def me(known: Session = Depends(session)) -> dict[str, Any]:
    return {"user_id": known.user_id, "created_at": known.created_at, **known.data}


@app.post("/logout")
async def logout(found: str = Depends(token), its: Parts = Depends(parts)) -> dict[str, bool]:
    return {"ended": await its.sessions.delete(found) == 1}


# ------------------------------------------------------------------------- cache


class User(BaseModel):
    name: str


@app.get("/users/{user_id}")
async def user(user_id: str, its: Parts = Depends(parts)) -> dict[str, Any]:
    found = await its.cache.get(f"user:{user_id}", loader=lambda: its.database.get_user(user_id))
    if found is None:
        raise HTTPException(404, "no such user")
    return {**found, "queries": its.database.queries}


@app.put("/users/{user_id}")
async def change_user(user_id: str, body: User, its: Parts = Depends(parts)) -> dict[str, str]:
    its.database.users[user_id] = {"name": body.name}
    await its.cache.delete(f"user:{user_id}")
    return {"name": body.name}


# ------------------------------------------------------------------ tasks, events


class Task(BaseModel):
    name: str


@app.post("/tasks", status_code=202)
async def start_task(
    body: Task, known: Session = Depends(session), its: Parts = Depends(parts)
) -> dict[str, str]:
    try:
        return {"task_id": await its.jobs.start(known.user_id, body.name)}
    except Busy:
        raise HTTPException(409, "your task before is still running") from None


@app.get("/tasks/{task_id}")
async def task_status(
    task_id: str, known: Session = Depends(session), its: Parts = Depends(parts)
) -> dict[str, Any]:
    found = await its.jobs.status(task_id)
    if found is None or found.user_id != known.user_id:
        raise HTTPException(404, "no such task")
    return {**asdict(found), "result": await its.jobs.result(task_id)}


@app.websocket("/events")
async def events(socket: WebSocket, token: str = "") -> None:
    its: Parts = socket.app.state.parts
    known = await its.sessions.get(token)
    if known is None:
        await socket.close(SESSION_ENDED, "the session has ended")
        return
    with its.events.queue(known.user_id) as queue, its.watch.ending(token) as ended:
        await socket.accept()
        # A peer that leaves is seen by reading only.
        gone = asyncio.create_task(_until_gone(socket))
        over = asyncio.create_task(ended.wait())
        try:
            while not (gone.done() or over.done()):
                event = asyncio.create_task(queue.get())
                await asyncio.wait({event, gone, over}, return_when=asyncio.FIRST_COMPLETED)
                if event.done():
                    await socket.send_text(event.result())
                else:
                    event.cancel()
            if over.done():
                await socket.close(SESSION_ENDED, "the session has ended")
        except (WebSocketDisconnect, RuntimeError):
            pass  # it left while we were sending
        finally:
            gone.cancel()
            over.cancel()


async def _until_gone(socket: WebSocket) -> None:
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            await socket.receive_text()
