"""`serve`: the start command of a container. Watches over the server until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import logging
import os
import signal
import sys

from redis.exceptions import RedisClusterException, RedisError

from aiecs_redis.alerts import Alerts
from aiecs_redis.cli.connection import current, run
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
    parser = argparse.ArgumentParser(
        prog="aiecs-redis serve",
        description="Connect to the server, answer /livez, /readyz and (extra prometheus) /metrics "
        "over HTTP, and log alerts; until SIGTERM or Ctrl-C. The start command of the container.",
    )
    parser.add_argument("--listen", default=os.environ.get("LISTEN", "127.0.0.1"), metavar="HOST")
    parser.add_argument(
        "--listen-port", type=int, default=os.environ.get("PORT", "8080"), metavar="PORT"
    )
    parser.add_argument("--interval", type=float, default=15.0, help="seconds between two looks")
    options = parser.parse_args(arguments)
    if not 0 <= options.listen_port <= 65535:
        parser.error(f"--listen-port={options.listen_port}: give a number from 0 to 65535")
    if not options.interval > 0:
        parser.error("--interval has to be above 0")
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    return run(lambda: _serve(options.listen, options.listen_port, options.interval))
