"""Probes and Prometheus over HTTP (extra `prometheus`)."""

from __future__ import annotations

import asyncio
import urllib.request

from aiecs_redis import RedisClient
from aiecs_redis.prometheus import PrometheusExporter
from examples.operations.run import alone


def fetch(port: int | None, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        text: str = answer.read().decode()
        return text


async def main(client: RedisClient) -> None:
    exporter = PrometheusExporter(client, name="example")
    await exporter.start(port=0)  # a free one; 9121 is usual
    try:
        await client.set("example:exporting", "x", ex=60)
        print("/readyz ", await asyncio.to_thread(fetch, exporter.port, "/readyz"))
        for line in (await asyncio.to_thread(fetch, exporter.port, "/metrics")).splitlines():
            if line.startswith(("aiecs_redis_commands", "redis_up", "redis_memory_used_bytes")):
                print("/metrics", line)
    finally:
        await exporter.stop()
        await client.delete("example:exporting")


if __name__ == "__main__":
    alone(main)
