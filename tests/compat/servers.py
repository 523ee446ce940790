"""The servers that redis-py's tests expect: one with a replica and Sentinels, or a cluster."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiecs_redis.testing import Certificates, RedisServer
from compat import network
from compat.errors import CompatError

NODES = 6
SENTINELS = 3
PATIENCE = 30.0
"""Seconds for Sentinels to find each other, or a cluster to form."""


@contextlib.contextmanager
def standalone(suite: Path, scratch: Path, sentinels: bool) -> Iterator[list[str]]:
    """A server on a plain and a TLS port, its replica, and Sentinels; gives pytest's options."""
    main, tls, replica, *watchers = _ports([6379, 6666, 6380, 26379, 26380, 26381])
    certificates = _certificates(suite, scratch)
    with contextlib.ExitStack() as stack:
        stack.enter_context(RedisServer(port=main, config=_config(certificates, tls)))
        replication = {**_config(), "replicaof": f"127.0.0.1 {main}"}
        stack.enter_context(RedisServer(port=replica, config=replication))
        if sentinels:
            for port in watchers:
                stack.enter_context(_sentinel(scratch, port, main))
            _wait(lambda: _sentinels_agree(watchers), "the Sentinels do not find each other")
        yield [
            f"--redis-url=redis://localhost:{main}/0",
            f"--redis-ssl-url=rediss://localhost:{tls}",
            "--sentinels=" + ",".join(f"localhost:{port}" for port in watchers),
        ]


@contextlib.contextmanager
def cluster(suite: Path, scratch: Path) -> Iterator[list[str]]:
    """Three primaries, each with a replica; gives pytest's options."""
    ports = _ports([16379 + number for number in range(NODES)])
    tls = _ports([27379 + number for number in range(NODES)])
    certificates = _certificates(suite, scratch)
    with contextlib.ExitStack() as stack:
        for port, tls_port in zip(ports, tls):
            config = _config(certificates, tls_port)
            config.update({"cluster-enabled": True, "cluster-node-timeout": 5000})
            stack.enter_context(RedisServer(port=port, config=config))
        nodes = [f"127.0.0.1:{port}" for port in ports]
        _cli("--cluster", "create", *nodes, "--cluster-replicas", "1", "--cluster-yes")
        _wait(
            lambda: all("cluster_state:ok" in _cli("-p", str(p), "cluster", "info") for p in ports),
            "the cluster does not form",
        )
        _wait(lambda: _replicas(ports[0]) == NODES // 2, "the cluster's replicas do not connect")
        yield [
            f"--redis-url=redis://localhost:{ports[0]}/0",
            f"--redis-ssl-url=rediss://localhost:{tls[0]}",
        ]


def version() -> str:
    """Of the redis-server on the PATH."""
    said = subprocess.run(["redis-server", "--version"], capture_output=True, text=True).stdout
    found = re.search(r"v=(\S+)", said)
    return found[1] if found else "unknown"


def _config(certificates: Path | None = None, tls_port: int | None = None) -> dict[str, Any]:
    config: dict[str, Any] = {"repl-diskless-sync-delay": 0}
    if int(version().partition(".")[0]) >= 7:
        config["enable-debug-command"] = True
    if certificates is not None:
        config["tls-port"] = tls_port
        config["tls-auth-clients"] = "optional"
        config["tls-cert-file"] = certificates / "redis.crt"
        config["tls-key-file"] = certificates / "redis.key"
        config["tls-ca-cert-file"] = certificates / "ca.crt"
    return config


def _certificates(suite: Path, scratch: Path) -> Path:
    """Certificates under the names, and in the folders, where the tests look for them."""
    made = scratch / "certificates"
    if not made.exists():
        made.mkdir(parents=True)
        certificates = Certificates(made)
        for role in ("standalone", "cluster"):
            folder = suite / "dockers" / role / "tls"
            folder.mkdir(parents=True, exist_ok=True)
            for ours, theirs in (("ca", "ca"), ("server", "redis"), ("client", "client")):
                shutil.copy(certificates.certificate(ours), folder / f"{theirs}.crt")
                shutil.copy(certificates.key(ours), folder / f"{theirs}.key")
    return suite / "dockers" / "standalone" / "tls"


@contextlib.contextmanager
def _sentinel(scratch: Path, port: int, main: int) -> Iterator[None]:
    folder = Path(scratch) / f"sentinel-{port}"
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "sentinel.conf"
    config.write_text(
        f"bind 127.0.0.1\nport {port}\ndir {folder}\n"
        f"sentinel monitor redis-py-test 127.0.0.1 {main} 2\n"
        "sentinel down-after-milliseconds redis-py-test 5000\n"
    )
    with (folder / "log").open("w") as log:
        command = ["redis-server", str(config), "--sentinel"]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _sentinels_agree(ports: list[int]) -> bool:
    others = f"num-other-sentinels\n{len(ports) - 1}\n"
    return all(
        others in _cli("-p", str(port), "sentinel", "master", "redis-py-test") for port in ports
    )


def _replicas(port: int) -> int:
    """Replicas that the node knows, and is in touch with."""
    known = _cli("-p", str(port), "cluster", "nodes").splitlines()
    return sum(" slave " in f" {line} ".replace(",", " ") and "connected" in line for line in known)


def _cli(*arguments: str) -> str:
    done = subprocess.run(["redis-cli", *arguments], capture_output=True, text=True, timeout=60)
    return done.stdout


def _wait(met: Any, complaint: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not met():
        if time.monotonic() > deadline:
            raise CompatError(f"{complaint} in {PATIENCE:g} seconds")
        time.sleep(0.1)


def _ports(wanted: list[int]) -> list[int]:
    """The ports wanted where all are ours, else as many that are free, as their bus ports are."""
    if network.is_private():
        return wanted
    found: list[int] = []
    candidate = 20000
    while len(found) < len(wanted):
        candidate += 1
        if candidate not in _given and _is_free(candidate) and _is_free(candidate + 10000):
            found.append(candidate)
    _given.update(found)
    return found


_given: set[int] = set()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
