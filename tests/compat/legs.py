"""The legs of a run: which files of the suite, on which servers, with which options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from compat.errors import CompatError
from compat.suite import TESTS

FAST = ("commands", "pipeline", "pubsub", "lock", "scripting", "encoding")

# What the protocol or the shapes of replies can alter; the rest runs once only.
PROTOCOL = (
    *FAST,
    *("hash", "monitor", "keyspace_notifications", "sentinel", "connection_pool", "usage_counter"),
)
CLUSTER = (
    *FAST,
    *("cluster", "cluster_transaction", "command_policies", "cwe_404", "keyspace_notifications"),
    *("himport_integration", "ssl", "usage_counter"),
)


class Leg(NamedTuple):
    """One run of pytest.

    Attributes:
        names: of the test files, without `test_`; None for all.
        cluster: whether it needs a cluster.
        options: for pytest, those that redis-py's conftest adds.
        exported: the class that the package has to export for the leg to say anything.
        floor: class A tests that pass at least, of the full leg and of the fast one.
    """

    names: tuple[str, ...] | None
    cluster: bool = False
    options: tuple[str, ...] = ()
    exported: str = "Redis"
    floor: tuple[int, int] = (700, 400)


LEGS = {
    "default": Leg(None),  # RESP3 on the wire, RESP2 shapes: what users get
    "resp2": Leg(PROTOCOL, options=("--protocol=2",)),
    "resp3": Leg(PROTOCOL, options=("--protocol=3",)),
    "unified": Leg(PROTOCOL, options=("--legacy-responses=false",)),
    "cluster": Leg(CLUSTER, cluster=True, exported="RedisCluster", floor=(300, 150)),
    "uvloop": Leg((*PROTOCOL, "connect", "connection", "cwe_404"), options=("--uvloop",)),
}

USUAL = ("default", "resp2", "resp3", "unified", "cluster")


def marker(name: str, leg: Leg) -> str:
    """The `-m` expression of the leg."""
    unwanted = ["redismod", "cp_integration", "multidb_integration"]
    unwanted.append("onlynoncluster" if leg.cluster else "onlycluster")
    if name != "default":
        unwanted.append("fixed_client")  # no option reaches these
    return " and ".join(f"not {mark}" for mark in unwanted)


def files(leg: Leg, suite: Path, fast: bool, chosen: Sequence[str]) -> list[str]:
    """The test files of the leg, relative to the suite's folder.

    Args:
        leg: the leg.
        suite: where the suite is.
        fast: whether only those of the fast run are wanted.
        chosen: globs of file names, below the folder of the tests; empty for no choice.

    Raises:
        CompatError: there are none.
    """
    names = leg.names
    if fast:
        names = FAST
    found = []
    for path in sorted((suite / TESTS).rglob("test_*.py")):
        below = path.relative_to(suite / TESTS)
        if names is not None and path.stem[len("test_") :] not in names:
            continue
        if chosen and not any(below.match(glob) for glob in chosen):
            continue
        found.append(TESTS + below.as_posix())
    if not found:
        raise CompatError("no test file is chosen")
    return found
