"""The Typer application: which commands there are."""

from __future__ import annotations

import typer

from aiecs_redis.cli import (
    alerting,
    bench,
    doctor,
    keys,
    latency,
    listen,
    memory,
    plain,
    server,
    slowlog,
    top,
)
from aiecs_redis.cli.connection import CONNECTION_HELP
from aiecs_redis.cli.output import need_command

__all__ = ["run"]


def _version(wanted: bool) -> None:
    if wanted:
        raise typer.Exit(plain.version())


app: typer.Typer = typer.Typer(
    name="aiecs-redis",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    # \b keeps the lines as they are
    epilog="\b\n" + CONNECTION_HELP,
    help="Operate a Redis server: what it does, what is in it, and what is wrong with it.",
)


@app.callback()
def options(
    context: typer.Context,
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """Options of the whole program."""
    need_command(context)


_PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


@app.command(context_settings=_PASS_ON)
def ping(context: typer.Context) -> None:
    """Send PING, and tell how long the answer takes."""
    raise typer.Exit(plain.run_command(["ping", *context.args]))


@app.command(context_settings=_PASS_ON)
def health(context: typer.Context) -> None:
    """Tell whether the server is well: exit status 0, else 1."""
    raise typer.Exit(plain.run_command(["health", *context.args]))


@app.command(name="run", context_settings=_PASS_ON)
def run_program(context: typer.Context) -> None:
    """Run a Python script or module with native redis.asyncio clients."""
    from aiecs_redis import _run

    raise typer.Exit(_run.main(context.args) or 0)


@app.command(context_settings=_PASS_ON)
def serve(context: typer.Context) -> None:
    """Answer probes, export metrics and log alerts until SIGTERM: a container's start command."""
    raise typer.Exit(plain.run_command(["serve", *context.args]))


app.command()(server.info)
app.command()(top.top)
app.command()(latency.latency)
app.command()(slowlog.slowlog)
app.command()(keys.scan)
app.command()(keys.delete)
app.command()(memory.bigkeys)
app.add_typer(memory.app, name="memory")
app.command()(listen.monitor)
app.command()(listen.pubsub)
app.command()(listen.publish)
app.command()(bench.bench)
app.command()(doctor.doctor)
app.command()(alerting.alerts)


def run(arguments: list[str]) -> int:
    """Run a command; return its exit status."""
    try:
        app(args=arguments, prog_name="aiecs-redis")
    except SystemExit as exc:
        if exc.code is None:
            return 0
        return exc.code if isinstance(exc.code, int) else 1
    return 0
