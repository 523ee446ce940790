"""The core without memory: an error, never a crash, a hang, a lost wake-up or a leak.

Every allocation made by or for the core fails once, and as the first of several: Python's,
hiredis', libev's and OpenSSL's alike.
"""

import os
import platform
import shutil
import subprocess
import sysconfig

import pytest
from subprocesses import ISOLATED, run_isolated

from aiecs_redis.testing import ClusterServers, RedisServer

pytestmark = [
    pytest.mark.leaks,
    pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc is replaced as in glibc"),
    pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="malloc is ASan's"),
]

SCENARIOS = [
    "blocking",
    "cancel",
    "close",
    "connect",
    "followed",
    "gather",
    "get",
    "handback",
    "large",
    "names",
    "pipeline",
    "pubsub",
    "reconnect",
    "resubscribe",
    "single",
    "watch",
]
OVER_TLS = ["get", "large", "pubsub", "resubscribe", "watch"]
FRAMES = 40  # allocations of what the core calls count too, up to a task of asyncio


@pytest.fixture(scope="session")
def preload(tmp_path_factory):
    compiler = os.environ.get("CC") or (sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        pytest.skip("needs a C compiler")
    library = tmp_path_factory.mktemp("preload") / "failing_malloc.so"
    source = os.path.join(ISOLATED, "failing_malloc.c")
    options = ["-shared", "-fPIC", "-O1", "-o", str(library), source, "-ldl", "-pthread"]
    subprocess.run([compiler, *options], check=True)
    return str(library)


def survives(preload, port, scenario, first, step, burst, *more):
    numbers = [port, scenario, first, 5000, step, burst, FRAMES, *more]
    done = run_isolated(
        "failing_malloc.py",
        *numbers,
        options=["-X", "faulthandler"],
        timeout=1200,
        LD_PRELOAD=preload,
        PYTHONMALLOC="malloc",
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert " 0 with trouble" in done.stdout
    print(done.stdout)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_few_allocations_fail(preload, native, port, admin, scenario):
    survives(preload, port, scenario, 1 + len(scenario), 61, 2)


@pytest.mark.long
@pytest.mark.parametrize("burst", [1, 8, 25])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_allocation_fails(preload, native, port, admin, scenario, burst):
    survives(preload, port, scenario, 1, 1, burst)


@pytest.fixture(scope="module")
def tls_server():
    with RedisServer(tls=True) as server:
        yield server


@pytest.mark.parametrize(
    ("first", "step", "burst"),
    [(3, 1999, 2), pytest.param(1, 1, 1, marks=pytest.mark.long)],
)
def test_allocations_of_tls_fail(preload, native, tls_server, first, step, burst):
    ca = tls_server.kwargs["ssl_ca_certs"]
    survives(preload, tls_server.port, "tls", first, step, burst, ca)


@pytest.mark.parametrize(
    ("first", "step", "burst"),
    [(5, 499, 2), pytest.param(1, 1, 1, marks=pytest.mark.long)],
)
@pytest.mark.parametrize("scenario", OVER_TLS)
def test_allocations_of_commands_over_tls_fail(
    preload, native, tls_server, scenario, first, step, burst
):
    ca = tls_server.kwargs["ssl_ca_certs"]
    survives(preload, tls_server.port, scenario, first, step, burst, ca)


@pytest.fixture(scope="module")
def lone_node():
    with ClusterServers(masters=1) as cluster:
        yield cluster.nodes[0]


@pytest.mark.parametrize(
    ("first", "step", "burst"),
    [(3, 31, 2), pytest.param(1, 1, 1, marks=pytest.mark.long)],
)
@pytest.mark.parametrize("scenario", ["cluster", "topology"])
def test_allocations_of_clusters_fail(preload, native, lone_node, scenario, first, step, burst):
    survives(preload, lone_node.port, scenario, first, step, burst)
