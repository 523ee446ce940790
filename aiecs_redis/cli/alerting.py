"""`alerts`: the alert rules, looked at once or written for Prometheus."""

import asyncio
from typing import Any

import typer

from aiecs_redis.alert_rules import default_rules, prometheus_rules
from aiecs_redis.alerts import Alert, Alerts
from aiecs_redis.cli.connection import connected, run
from aiecs_redis.cli.output import emit, machine

WAIT = 1.0  # seconds between two looks, for rules about what changes


async def _look() -> list[Alert]:
    from dataclasses import replace

    rules = [replace(rule, hold=0) for rule in default_rules()]
    found: dict[str, Any] = {}
    async with connected() as (client, _):
        alerts = Alerts(client, rules, notify=[])
        for pause in (WAIT, 0.0):
            for alert in await alerts.check():
                found[alert.rule] = alert
            await asyncio.sleep(pause)
    return [alert for alert in found.values() if alert.firing]


def alerts(
    prometheus: bool = typer.Option(False, "--prometheus", help="Write a rules file, and end."),
) -> None:
    """Look at the alert rules once; exit status 1 if one fires."""
    if prometheus:
        print(prometheus_rules(), end="")
        return
    firing = run(_look)
    if machine():
        emit([alert.as_dict() for alert in firing])
    elif not firing:
        print("No alert.")
    else:
        for alert in firing:
            print(f"{alert.severity}: {alert.text}")
    if firing:
        raise typer.Exit(1)
