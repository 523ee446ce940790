"""Fixtures of the Sentinel tests: real ones, shared by the tests of a session where possible."""

import contextlib

import pytest

from aiecs_redis.testing import SentinelServers


@pytest.fixture(scope="session")
def three_sentinels():
    with SentinelServers() as group:
        yield group


@pytest.fixture
def group(three_sentinels):
    """Three Sentinels over a master without data and two replicas. Tests may kill and promote."""
    three_sentinels.recover()
    three_sentinels.master().call("FLUSHALL")
    return three_sentinels


class Groups:
    def __init__(self, stack):
        self._stack = stack
        self.started = []

    def __call__(self, **options):
        self.started.append(self._stack.enter_context(SentinelServers(**options)))
        return self.started[-1]

    def logs(self):
        return "\n".join(group.logs() for group in self.started)


@pytest.fixture
def start_group():
    """`start_group(tls=True)`: a SentinelServers with options of its own, for one test."""
    with contextlib.ExitStack() as stack:
        yield Groups(stack)
