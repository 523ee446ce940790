"""Liveness and readiness over HTTP, for a container platform's probes.

    async with HealthServer(client, port=8080):
        ...                           # GET /livez, /readyz, /healthz

or, inside an ASGI service, `app.mount("/health", health_app(client))`.

`/livez` says that the event loop turns, and nothing about Redis: restarting the application does
not mend a server that is away. `/readyz` (and `/healthz`) says whether commands work now: PING
within a time limit. 200 for yes, 503 for no; the body is JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiecs_redis import _checks as checks
from aiecs_redis._nodes import is_cluster
from aiecs_redis._underlying import check_client
from aiecs_redis.metrics import ClientMetrics, current_client

if TYPE_CHECKING:
    from aiecs_redis.client import Redis
    from aiecs_redis.cluster import RedisCluster
    from aiecs_redis.redis_client import RedisClient

__all__ = ["HealthCheck", "HealthServer", "Report", "health_app"]

logger: logging.Logger = logging.getLogger(__name__)

_HEAD_BYTES = 8192
_HEAD_SECONDS = 5.0
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
}

Scope = MutableMapping[str, Any]
ASGIApp = Callable[
    [Scope, Callable[[], Awaitable[Any]], Callable[[dict[str, Any]], Awaitable[None]]],
    Awaitable[None],
]


@dataclass(frozen=True)
class Report:
    """The answer to a probe.

    Attributes:
        ok: alive, or ready.
        details: what JSON shows, `status` first.
    """

    ok: bool
    details: Mapping[str, Any]


class HealthCheck:
    """Answers probes about a client.

    Args:
        client: a `RedisClient`, or an `aiecs_redis.Redis` or `RedisCluster`; the first need not be
            initialized yet, it is not ready until then.
        timeout: seconds PING may take.

    Raises:
        TypeError: the client is none.
        ValueError: timeout is not above 0.
    """

    def __init__(self, client: RedisClient | Redis | RedisCluster, timeout: float = 1.0) -> None:
        checks.seconds("timeout", timeout)
        self._client = check_client(client)
        self._timeout = timeout
        self._began = time.monotonic()

    async def liveness(self) -> Report:
        """Always ok: whoever can answer is alive."""
        return Report(True, {"status": "alive", "uptime": round(time.monotonic() - self._began, 3)})

    async def readiness(self) -> Report:
        """Whether the server, or every master of a cluster, answers PING in time. Never raises."""
        began = time.monotonic()
        try:
            client = await current_client(self._client)
            masters = {"target_nodes": type(client).PRIMARIES} if is_cluster(client) else {}
            await asyncio.wait_for(client.ping(**masters), self._timeout)
        except asyncio.TimeoutError:
            return Report(False, {"status": "not ready", "error": f"no PONG in {self._timeout} s"})
        except Exception as exc:
            return Report(False, {"status": "not ready", "error": f"{type(exc).__name__}: {exc}"})
        details: dict[str, Any] = {
            "status": "ready",
            "latency_ms": round((time.monotonic() - began) * 1000, 3),
        }
        if masters:
            details["masters"] = len(client.get_primaries())
        if hasattr(client, "_native_observe"):  # not redis-py's own cluster client
            pool = ClientMetrics.of(client).pool()
            details.update(
                connections=pool.connections, inflight=pool.inflight, waiting=pool.waiting
            )
        return Report(True, details)


@dataclass(frozen=True)
class _Answer:
    status: int
    content_type: str
    body: bytes


Metrics = Callable[[], tuple[bytes, str]]


class _Routes:
    """Which path asks what; shared by the server and the ASGI app."""

    def __init__(self, check: HealthCheck, metrics: Metrics | None) -> None:
        if metrics is not None:
            checks.function("metrics", metrics)
        self._check = check
        self._metrics = metrics

    async def answer(self, method: str, path: str) -> _Answer:
        name = path.partition("?")[0].rstrip("/").rpartition("/")[2]
        if method not in ("GET", "HEAD"):
            return _text(405, "only GET and HEAD")
        if name == "livez":
            return _json(await self._check.liveness())
        if name in ("readyz", "healthz"):
            return _json(await self._check.readiness())
        if name == "metrics" and self._metrics is not None:
            body, content_type = self._metrics()
            return _Answer(200, content_type, body)
        return _text(404, "try /livez, /readyz or /healthz")


def _json(report: Report) -> _Answer:
    body = json.dumps(dict(report.details)).encode() + b"\n"
    return _Answer(200 if report.ok else 503, "application/json", body)


def _text(status: int, text: str) -> _Answer:
    return _Answer(status, "text/plain; charset=utf-8", f"{text}\n".encode())


def _as_check(
    client: HealthCheck | RedisClient | Redis | RedisCluster, timeout: float
) -> HealthCheck:
    return client if isinstance(client, HealthCheck) else HealthCheck(client, timeout)


def health_app(
    client: HealthCheck | RedisClient | Redis | RedisCluster,
    *,
    timeout: float = 1.0,
    metrics: Metrics | None = None,
) -> ASGIApp:
    """Return an ASGI application with /livez, /readyz and /healthz, for the scope "http".

    Args:
        client: the client, or a `HealthCheck` of it.
        timeout: seconds PING may take (unless a `HealthCheck` is given).
        metrics: what answers /metrics, such as `PrometheusExporter.render`.

    Raises:
        TypeError: the client is none, or metrics no function.
        ValueError: timeout is not above 0.
        RuntimeError: from the application, for any other scope.
    """
    routes = _Routes(_as_check(client, timeout), metrics)

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"health_app answers http, not {scope['type']}")
        answer = await routes.answer(scope["method"], scope["path"])
        headers = [
            (b"content-type", answer.content_type.encode()),
            (b"content-length", str(len(answer.body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        body = b"" if scope["method"] == "HEAD" else answer.body
        await send({"type": "http.response.body", "body": body})

    return app


class HealthServer:
    """A small HTTP server for probes; no framework needed.

    Args:
        client: the client, or a `HealthCheck` of it.
        host: address to listen on; "0.0.0.0" for a container's probes.
        port: TCP port; 0 for a free one.
        timeout: seconds PING may take (unless a `HealthCheck` is given).
        metrics: what answers /metrics, such as `PrometheusExporter.render`.

    Attributes:
        port: the port it listens on, once started.

    Raises:
        TypeError: the client is none, or metrics no function.
        ValueError: an empty host, a port that is none, or a timeout that is not above 0.
    """

    def __init__(
        self,
        client: HealthCheck | RedisClient | Redis | RedisCluster,
        host: str = "127.0.0.1",
        port: int = 8080,
        *,
        timeout: float = 1.0,
        metrics: Metrics | None = None,
    ) -> None:
        checks.filled("host", host)
        checks.whole("port", port, 0, 65535)
        self._routes = _Routes(_as_check(client, timeout), metrics)
        self._host = host
        self.port: int = port
        self._server: asyncio.AbstractServer | None = None
        self._wanted = False  # by the last of start() and stop()
        self._starting: asyncio.Lock | None = None

    async def start(self) -> HealthServer:
        """Listen; of concurrent calls one does. After a `stop()` meanwhile it does not listen.

        Raises:
            OSError: the address is in use or not ours.
        """
        self._wanted = True
        if self._starting is None:  # not before: Python 3.9's belong to a loop from the first
            self._starting = asyncio.Lock()
        async with self._starting:
            if self._server is None:
                await self._listen()
        return self

    async def _listen(self) -> None:
        # Not at once: cancelled then, start_server() would leave behind what listens.
        server = await asyncio.start_server(
            self._serve, self._host, self.port, limit=_HEAD_BYTES, start_serving=False
        )
        if not self._wanted:
            server.close()
            return
        self._server = server
        self.port = server.sockets[0].getsockname()[1]
        try:
            await server.start_serving()
        except BaseException:
            server.close()
            self._server = None
            raise

    async def stop(self) -> None:
        """Listen no longer. Twice does no harm."""
        self._wanted = False
        server, self._server = self._server, None
        if server is not None:
            server.close()
            await server.wait_closed()

    async def __aenter__(self) -> HealthServer:
        return await self.start()

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request on each connection: probes come seconds apart."""
        try:
            await self._respond(reader, writer)
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError):
            pass  # the peer has gone, or said nothing
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method = ""
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _HEAD_SECONDS)
            line = head.split(b"\r\n", 1)[0].decode("latin-1")
            method, path, version = line.split(" ")
            if not version.startswith("HTTP/1."):
                raise ValueError(version)
        except (ValueError, asyncio.LimitOverrunError):
            answer = _text(400, "not an HTTP/1 request")
        else:
            try:
                answer = await self._routes.answer(method, path)
            except Exception:  # metrics of the user's: whoever asks is told that there are none
                logger.exception("Cannot answer %s", path)
                answer = _text(500, "failed: see the log")
        reason = _REASONS.get(answer.status, "Service Unavailable")
        lines = (
            f"HTTP/1.1 {answer.status} {reason}",
            f"Content-Type: {answer.content_type}",
            f"Content-Length: {len(answer.body)}",
            "Cache-Control: no-store",
            "Connection: close",
        )
        writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")
        if method != "HEAD":
            writer.write(answer.body)
        await writer.drain()
