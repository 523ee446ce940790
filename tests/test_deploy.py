"""The container files: as far as they can be checked without Docker, and what they run."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")

from aiecs_redis import settings  # noqa: E402
from aiecs_redis.testing import free_port  # noqa: E402
from aiecs_redis.testing._server import free_local_port  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yml").read_text())
SERVICES = COMPOSE["services"]
OURS = {"aiecs-app", "tests", "service"}
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def instructions():
    """The Dockerfile as (instruction, rest), continued lines joined."""
    joined = re.sub(r"\\\n\s*", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.M))
    return [tuple(line.split(" ", 1)) for line in joined.splitlines() if line.strip()]


# -------------------------------------------------------------------- Dockerfile


def test_dockerfile_stages():
    stages = [rest for name, rest in instructions() if name == "FROM"]
    names = [rest.partition(" AS ")[2] for rest in stages]
    assert names == ["build", "app", "test", ""]
    assert stages[-1] == "app"  # what is built without a target
    for name, rest in instructions():
        if name == "COPY" and "--from=" in rest:
            assert re.search(r"--from=(\w+)", rest)[1] in names


def test_dockerfile_is_clean():
    for name, rest in instructions():
        assert name in {
            *("ARG", "FROM", "RUN", "WORKDIR", "COPY", "USER", "ENV", "EXPOSE"),
            *("HEALTHCHECK", "CMD"),
        }, name
        if "apt-get install" in rest:
            assert "--no-install-recommends" in rest
            assert "rm -rf /var/lib/apt/lists/*" in rest
        if re.search(r"\bpip (install|wheel)\b", rest):
            assert "--no-cache-dir" in rest
        assert not re.search(r"(?i)password\s*=", rest), "no secret in an image"
    assert ("USER", "app") in instructions()


def test_dockerfile_variables_are_ours():
    found = dict(
        pair.split("=", 1)
        for name, rest in instructions()
        if name == "ENV"
        for pair in shlex.split(rest)
    )
    assert found["REDIS_HOST"] == "redis"
    assert found["REDIS_PORT"] == "6379"
    assert found["REDIS_DB"] == "0"
    named = {name for name in found if name.startswith("REDIS_")}
    assert named <= set(settings.VARIABLES)
    settings.load(None, {name: found[name] for name in named})


def test_the_extras_of_the_image_exist():
    project = (ROOT / "pyproject.toml").read_text()
    for extras in re.findall(r"(?:\.|aiecs-redis)\[([\w,]+)\]'", DOCKERFILE):
        for extra in extras.split(","):
            assert re.search(rf"^{extra} = \[", project, re.M), extra


# ----------------------------------------------------------------------- compose


def test_services_of_the_document_are_there():
    assert {"redis", "aiecs-app"} <= set(SERVICES)
    assert {"redis-node-1", "redis-node-2", "redis-node-3"} <= set(SERVICES)
    assert "redis_data" in COMPOSE["volumes"]
    default = {name for name, service in SERVICES.items() if "profiles" not in service}
    assert default == {"redis", "aiecs-app"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_whole(name):
    service = SERVICES[name]
    assert ("image" in service) != ("build" in service)
    if "image" in service:
        assert re.fullmatch(r"[\w/-]+:[\w.-]+", service["image"]), "name a version"
        assert not service["image"].endswith(":latest")
    else:
        build = service["build"]
        context = build if isinstance(build, str) else build["context"]
        assert (DEPLOY / context / "Dockerfile").is_file()
        if isinstance(build, dict):
            assert f" AS {build['target']}\n" in DOCKERFILE
    depends = service.get("depends_on", [])
    for other in depends:
        assert other in SERVICES
        if isinstance(depends, dict) and depends[other]["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[other], other
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        if source.startswith("."):
            assert (DEPLOY / source).exists(), source
        else:
            assert source in COMPOSE["volumes"]
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:"), "reachable from this machine only"


def test_ports_are_different():
    ports = [
        port.split(":")[1] for service in SERVICES.values() for port in service.get("ports", [])
    ]
    assert len(ports) == len(set(ports))


@pytest.mark.parametrize("name", sorted(OURS))
def test_variables_of_our_services_are_ours(name):
    environment = SERVICES[name]["environment"]
    known = {*settings.VARIABLES, "REDIS_TEST_DB"}
    assert set(environment) <= known
    assert set(environment) >= {"REDIS_HOST", "REDIS_PORT", "REDIS_DB", "REDIS_PASSWORD"}
    values = {key: value for key, value in environment.items() if key in settings.VARIABLES}
    found = settings.load(None, {**values, "REDIS_PASSWORD": "x"})
    assert (found["host"], found["port"], found["db"]) == ("redis", 6379, 0)


def test_no_password_is_written_down():
    text = (DEPLOY / "compose.yml").read_text()
    for line in text.splitlines():
        if re.search(r"(?i)(requirepass|password|auth)", line) and "${" in line:
            assert "${REDIS_PASSWORD:?" in line
    example = (DEPLOY / ".env.example").read_text()
    assert "REDIS_PASSWORD=\n" in example
    used = set(re.findall(r"\$\{(\w+)", text))
    assert used == set(re.findall(r"^(\w+)=", example, re.M))


def test_a_real_server_takes_the_options_of_the_compose_file(start_server):
    """What stands behind redis-server, given to one."""
    options = SERVICES["redis"]["command"][1:]
    values = [
        re.sub(r"\$\{\w+:-(.*?)\}", r"\1", re.sub(r"\$\{\w+:\?.*?\}", "s3cret", value))
        for value in options[1::2]
    ]
    config = dict(zip((name[2:] for name in options[::2]), values))
    password = config.pop("requirepass")
    config["appendonly"] = {True: "yes"}.get(config["appendonly"], config["appendonly"])
    server = start_server(requirepass=password, config=config)
    with server.connect(decode_responses=True) as admin:
        assert admin.config_get("maxmemory-policy")["maxmemory-policy"] == "allkeys-lru"
        assert "x" in admin.config_get("notify-keyspace-events")["notify-keyspace-events"]


def test_cluster(start_server):
    """The script of the cluster profile makes one of three real nodes; twice does no harm."""
    config = {"cluster-enabled": True, "cluster-node-timeout": 5000, "masterauth": "s3cret"}
    # Nodes talk to each other on a second port, 10,000 above the first.
    ports = (free_local_port(and_above=10_000) for _ in range(3))
    nodes = [start_server(requirepass="s3cret", config=config, port=port) for port in ports]
    environment = {
        **os.environ,
        "REDISCLI_AUTH": "s3cret",
        "NODES": " ".join(f"localhost:{node.port}" for node in nodes),
    }

    def create():
        script = ["sh", str(DEPLOY / "create-cluster.sh")]
        done = subprocess.run(script, capture_output=True, text=True, env=environment, timeout=90)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert create().endswith("A cluster of 3 nodes.\n")
    assert create() == "The cluster is there already.\n"
    with nodes[0].connect(decode_responses=True) as admin:
        info = admin.execute_command("CLUSTER INFO")
        assert info["cluster_slots_assigned"] == "16384"
        assert info["cluster_size"] == "3"
    command = SERVICES["redis-node-1"]["command"][-1]
    for option in ("--cluster-enabled yes", "--cluster-node-timeout 5000", "--masterauth"):
        assert option in command
    assert [SERVICES[f"redis-node-{n}"]["environment"]["PORT"] for n in (1, 2, 3)] == [
        "7001",
        "7002",
        "7003",
    ]


# ------------------------------------------------------------ what the image runs


def command_of(name):
    """CMD or HEALTHCHECK of the app stage, with this interpreter."""
    stage = DOCKERFILE.split(" AS app\n")[1].split("\nFROM ")[0]
    pattern = r"^CMD (\[.*\])$" if name == "CMD" else r"HEALTHCHECK[^\[]*CMD (\[.*\])$"
    words = json.loads(re.search(pattern, stage, re.M)[1])
    assert words[0] == "python"
    return [sys.executable, *words[1:]]


def status(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read().decode()
    except OSError:
        return 0, ""


def wait_for(port, path, wanted):
    for _ in range(600):
        found, text = status(port, path)
        if found == wanted:
            return text
        time.sleep(0.05)
    raise AssertionError(f"{path} does not answer {wanted} in half a minute")


def test_start_command_and_healthcheck(start_server, no_environment):
    """The container's life: Redis comes late, goes, comes back; SIGTERM ends it."""
    server = start_server(requirepass="s3cret")
    server.kill()
    port = free_port()
    environment = {
        **os.environ,
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": str(server.port),
        "REDIS_PASSWORD": "s3cret",
        "PORT": str(port),
    }

    def healthcheck():
        command = command_of("HEALTHCHECK")
        return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True).returncode

    process = subprocess.Popen(
        command_of("CMD"), env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(port, "/livez", 200)
        assert status(port, "/readyz")[0] == 503
        assert healthcheck() == 1
        server.start()
        wait_for(port, "/readyz", 200)
        assert healthcheck() == 0
        pytest.importorskip("prometheus_client")
        for _ in range(200):
            if "redis_up" in status(port, "/metrics")[1]:
                break
            time.sleep(0.05)
        assert 'redis_up{client="default"} 1.0' in status(port, "/metrics")[1]
    finally:
        process.terminate()
        said = process.communicate(timeout=30)[1]
    assert process.returncode == 0, said
    assert "Redis client closed" in said
    assert "s3cret" not in said


# -------------------------------------------------------------------- monitoring


def test_prometheus_configuration():
    found = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    (target,) = found["scrape_configs"][0]["static_configs"][0]["targets"]
    service, port = target.split(":")
    assert service in SERVICES
    assert f"EXPOSE {port}" in DOCKERFILE


def test_the_dashboard_shows_metrics_that_are_exported(start_server):
    pytest.importorskip("prometheus_client")
    import asyncio

    import aiecs_redis
    from aiecs_redis.prometheus import PrometheusExporter

    async def export():
        async with aiecs_redis.Redis(**start_server().kwargs) as client:
            async with PrometheusExporter(client) as exporter:
                await client.set("a", 1)
                await exporter.refresh()
                return exporter.render()[0].decode()

    exported = set(re.findall(r"^(\w+?)(?:\{| )", asyncio.run(export()), re.M))
    dashboard = json.loads((DEPLOY / "grafana" / "dashboards" / "redis.json").read_text())
    asked = set()
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            asked |= set(re.findall(r"\b((?:aiecs_)?redis_\w+)\{", target["expr"]))
            assert target["expr"].count("(") == target["expr"].count(")")
    assert asked - exported == {"redis_replication_lag_seconds"}  # only with replicas
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
