"""The pages about operations: their tables are complete."""

import re
from pathlib import Path

import pytest

from aiecs_redis import RedisCluster
from aiecs_redis.testing import ClusterServers

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"


def test_every_command_is_in_the_page():
    pytest.importorskip("rich")
    typer = pytest.importorskip("typer")
    from aiecs_redis.cli.app import app

    text = (DOCS / "command-line.md").read_text()
    group = typer.main.get_command(app)
    for name, command in group.commands.items():
        for inner in getattr(command, "commands", {}):
            assert f"{name} {inner}" in text
        assert re.search(rf"`{name}[` ]", text), name
    for option in set(re.findall(r"--[a-z]+(?:-[a-z]+)*", text)) - {"--password"}:
        sources = [path.read_text() for path in (ROOT / "aiecs_redis" / "cli").glob("*.py")]
        assert any(f'"{option}"' in source for source in sources), option


async def exported_by(client):
    from aiecs_redis.prometheus import PrometheusExporter

    async with PrometheusExporter(client) as exporter:
        await client.set("a", 1)
        await exporter.refresh()
        return exporter.render()[0].decode()


async def test_every_metric_of_the_page_is_exported(client):
    pytest.importorskip("prometheus_client")
    text = (DOCS / "monitoring.md").read_text()
    named = set(re.findall(r"`((?:aiecs_)?redis_[a-z_]+)`", text)) - {"aiecs_redis", "redis_"}
    exported = await exported_by(client)
    with ClusterServers(masters=1) as cluster:
        async with RedisCluster(**cluster.kwargs) as clustered:
            exported += await exported_by(clustered)
    for name in named:
        assert re.search(rf"^{name}", exported, re.M), name
