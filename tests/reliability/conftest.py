"""Fixtures of the reliability tests.

With AIECS_REDIS_FIGURES=FILE, what was measured is written into the table of that file.
"""

import os
from pathlib import Path

import pytest
import redis.asyncio
from harness.figures import OURS, REDIS_PY, Figures

import aiecs_redis

FIGURES = Figures()


def pytest_sessionfinish(session):
    path = os.environ.get("AIECS_REDIS_FIGURES")
    if path and FIGURES.measured:
        FIGURES.write(Path(path))


@pytest.fixture
def figure():
    """`figure(case, text, client)`: one cell of the table."""
    return FIGURES.add


@pytest.fixture(params=[OURS, pytest.param(REDIS_PY, marks=pytest.mark.long)])
def impl(request):
    """The client class: ours, and in the long form redis-py's own for comparison."""
    return aiecs_redis.Redis if request.param == OURS else redis.asyncio.Redis


@pytest.fixture
def name(impl):
    """The column of the implementation under test."""
    return OURS if impl is aiecs_redis.Redis else REDIS_PY


@pytest.fixture
def is_native(impl):
    return impl is aiecs_redis.Redis
