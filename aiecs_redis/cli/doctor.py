"""`doctor`: what is set up badly, and what to do about it."""

import typer

from aiecs_redis.cli.connection import connected, current, run
from aiecs_redis.cli.diagnosis import LEVELS, Finding, examine
from aiecs_redis.cli.output import console, emit, machine, shown

_MARKS = {"ok": "[green]ok  [/]", "note": "[cyan]note[/]", "warn": "[yellow]warn[/]"}
_MARKS["bad"] = "[red bold]bad [/]"


async def _examine() -> list[Finding]:
    async with connected() as (client, _):
        return await examine(client, current().timeout)


def doctor(
    strict: bool = typer.Option(False, "--strict", help="Exit status 1 for warnings too."),
) -> None:
    """Examine configuration, versions, TLS, eviction, persistence and events; give remedies.

    Exit status 1 if something is bad.
    """
    findings = run(_examine)
    findings.sort(key=lambda finding: -LEVELS.index(finding.level))
    if machine():
        emit([vars(finding) for finding in findings])
    else:
        for finding in findings:
            console().print(f"{_MARKS[finding.level]} {shown(finding.text)}")
            if finding.remedy:
                console().print(f"     [dim]{shown(finding.remedy)}[/]")
    worst = {finding.level for finding in findings}
    if "bad" in worst or (strict and "warn" in worst):
        raise typer.Exit(1)
