"""Fixtures of the cluster tests: real clusters, shared by the tests of a session where possible."""

import contextlib

import pytest
import pytest_asyncio

from aiecs_redis import RedisCluster
from aiecs_redis.testing import ClusterServers


@pytest.fixture(scope="session")
def three_masters():
    with ClusterServers() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def three_masters_three_replicas():
    with ClusterServers(replicas=1, node_timeout=1.0) as cluster:
        yield cluster


def put_right(cluster):
    """Start and resume what a test has killed and paused, and remove all data."""
    cluster.recover()
    for node in cluster.masters():
        node.call("FLUSHALL")


@pytest.fixture
def cluster(three_masters):
    """Three masters without data. Tests may move slots, but leave each master some."""
    put_right(three_masters)
    return three_masters


@pytest.fixture
def replicated(three_masters_three_replicas):
    """Three masters with a replica each, without data. Tests may kill, pause and promote."""
    put_right(three_masters_three_replicas)
    return three_masters_three_replicas


@pytest_asyncio.fixture
async def native(cluster):
    """Our RedisCluster on it, which decodes replies."""
    async with RedisCluster(**cluster.kwargs, decode_responses=True) as client:
        yield client


class Clusters:
    def __init__(self, stack):
        self._stack = stack
        self.started = []

    def __call__(self, **options):
        self.started.append(self._stack.enter_context(ClusterServers(**options)))
        return self.started[-1]

    def logs(self):
        return "\n".join(cluster.logs() for cluster in self.started)


@pytest.fixture
def start_cluster():
    """`start_cluster(tls=True)`: a ClusterServers with options of its own, for one test."""
    with contextlib.ExitStack() as stack:
        yield Clusters(stack)
