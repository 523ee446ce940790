"""RedisMonitor: the server's state, latencies by command, slow commands."""

from __future__ import annotations

import asyncio

from aiecs_redis import RedisClient
from aiecs_redis.monitor import RedisMonitor
from examples.operations.run import alone


async def main(client: RedisClient) -> None:
    monitor = RedisMonitor(client)
    print("health:", await monitor.get_health_status())
    print("memory:", await monitor.get_memory_usage())

    # From here on the core counts. It costs a twentieth more instructions for a command.
    await monitor.log_slow(0.03)
    key = "example:monitoring"
    for n in range(200):
        await client.set(key, str(n), ex=60)
    await asyncio.gather(*(client.get(key) for _ in range(1000)))
    native = await client.get_client()
    await native.blpop(["example:nothing"], timeout=0.05)
    await client.delete(key)
    await asyncio.sleep(0)  # the slow command is noted in the next loop turn

    print(f"\n{'command':<10} {'calls':>6} {'errors':>6} {'median':>10} {'99 %':>10}")
    for command in (await monitor.get_command_metrics()).values():
        median, slow = command.percentile(0.5) * 1e6, command.percentile(0.99) * 1e6
        figures = f"{command.calls:>6} {command.errors:>6} {median:>7.0f} µs {slow:>7.0f} µs"
        print(f"{command.name:<10} {figures}")
    print("\npool:", await monitor.get_pool_metrics())
    for record in await monitor.get_slow_commands():
        print(f"slow: {record.name} {record.key}, {record.seconds * 1000:.0f} ms")
    await monitor.stop()


if __name__ == "__main__":
    alone(main)
