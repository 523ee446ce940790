"""`serve`: the start command of a container. Watches over the server until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import os
import signal
import sys

from redis.exceptions import RedisClusterException, RedisError

from aiecs_redis import _checks as checks
from aiecs_redis.alerts import Alerts
from aiecs_redis.cli.connection import current, run
from aiecs_redis.cli.plain import plain_parser
from aiecs_redis.health import HealthServer
from aiecs_redis.redis_client import RedisClient

__all__ = ["serve"]

logger: logging.Logger = logging.getLogger("aiecs_redis.serve")

_LONGEST_PAUSE = 15.0


def _stop_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError, RuntimeError):  # not the main thread
            loop.add_signal_handler(number, stop.set)


async def _wait(stop: asyncio.Event, seconds: float) -> bool:
    """Wait; tell whether it is time to stop."""
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
    return stop.is_set()


async def _connect(client: RedisClient, stop: asyncio.Event) -> None:
    """Until it works: in a compose file nobody says who starts first."""
    pause = 0.5
    while not stop.is_set():
        try:
            await client.initialize()
            return
        except (RedisError, RedisClusterException, OSError) as exc:
            logger.warning("Trying again in %.1f s: %s", pause, exc)
            await _wait(stop, pause)
            pause = min(pause * 2, _LONGEST_PAUSE)


async def _serve(host: str, port: int, interval: float) -> int:
    stop = asyncio.Event()
    _stop_signals(stop)
    client = RedisClient({"socket_connect_timeout": current().timeout, **current().config})
    exporter = None
    if importlib.util.find_spec("prometheus_client") is not None:
        from aiecs_redis.prometheus import PrometheusExporter

        exporter = PrometheusExporter(client, interval=interval)
    metrics = exporter.render if exporter is not None else None
    async with HealthServer(client, host, port, metrics=metrics) as server:
        paths = "/livez, /readyz" + (", /metrics" if metrics else "")
        logger.info("Answering %s on %s:%d", paths, host, server.port)
        try:
            await _connect(client, stop)
            if stop.is_set():
                return 0
            if exporter is not None:
                await exporter.start()
            async with Alerts(client, interval=interval):
                await stop.wait()
        finally:
            if exporter is not None:
                await exporter.stop()
            await client.close()
    return 0


def serve(arguments: list[str]) -> int:
    """Answer probes, export metrics and log alerts until SIGTERM."""
    parser = plain_parser(
        "serve",
        "Connect to the server, answer /livez, /readyz and (extra prometheus) /metrics over HTTP,\n"
        "and log alerts; until SIGTERM or Ctrl-C. The start command of the container.",
    )
    parser.add_argument(
        "--listen",
        default=os.environ.get("LISTEN", "127.0.0.1"),
        metavar="HOST",
        help="address to answer on, 0.0.0.0 for all (LISTEN, else 127.0.0.1)",
    )
    parser.add_argument(
        "--listen-port",
        type=int,
        default=os.environ.get("PORT", "8080"),
        metavar="PORT",
        help="its TCP port, 0 for a free one (PORT, else 8080)",
    )
    parser.add_argument(
        "--interval",
        type=float,
        default=15.0,
        metavar="SECONDS",
        help="between two looks at the server (15)",
    )
    options = parser.parse_args(arguments)
    checks.filled("--listen", options.listen)
    checks.whole("--listen-port", options.listen_port, 0, 65535)
    checks.seconds("--interval", options.interval)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    return run(lambda: _serve(options.listen, options.listen_port, options.interval))
