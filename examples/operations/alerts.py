"""Alerts: rules of ours and of one's own, told to a function and to the log."""

from __future__ import annotations

import logging

from aiecs_redis import RedisClient
from aiecs_redis.alert_rules import Rule, Sample, default_rules
from aiecs_redis.alerts import Alert, Alerts, log_alerts
from examples.operations.run import alone


def connected(_: Sample | None, now: Sample) -> float | None:
    """A figure of one's own: any field of INFO."""
    return now.server.number("connected_clients") if now.server else None


def page(alert: Alert) -> None:
    """Where a pager would be called; `Webhook(url)` is there too."""
    print("told:", alert.as_dict())


async def main(client: RedisClient) -> None:
    crowd = Rule("crowd", connected, limit=0, clear=0, text="{value} clients are connected")
    alerts = Alerts(client, [*default_rules(), crowd], notify=[page, log_alerts()])
    changed = await alerts.check()  # `await alerts.start()` looks every 15 seconds
    print("firing:", alerts.firing)
    assert [alert.rule for alert in changed] == ["crowd"]


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="log: %(message)s")
    alone(main)
