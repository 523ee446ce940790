"""OpenTelemetry: a request's span, and the spans of its commands below it (extra `otel`).

Needs opentelemetry-sdk too, which an application configures with an exporter of its choice.
"""

from __future__ import annotations

import asyncio

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from aiecs_redis import RedisClient
from aiecs_redis.telemetry import instrument
from examples.operations.run import alone


async def main(client: RedisClient) -> None:
    provider = TracerProvider()
    console = ConsoleSpanExporter(formatter=lambda span: f"{span.name}: {span.attributes}\n")
    provider.add_span_processor(SimpleSpanProcessor(console))
    telemetry = instrument(await client.get_client(), tracer_provider=provider, metrics=False)
    with provider.get_tracer("example").start_as_current_span("GET /users/1"):
        await client.set("example:tracing", "x", ex=60)
        await client.get("example:tracing")
        await client.delete("example:tracing")
    await asyncio.sleep(0.01)  # spans are made in the loop turn after their command
    telemetry.stop()


if __name__ == "__main__":
    alone(main)
