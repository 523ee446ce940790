"""Fixtures for other people's libraries: ours in the place of redis.asyncio.Redis.

These libraries make their clients themselves, from names in `redis.asyncio`. A test that asks for
`native_names` has aiecs_redis under these names while it runs. That suffices where a library looks
the name up when it connects; one that subclasses redis.asyncio.Redis, or imports the name from
there, gets it at its import, and is imported afresh (`imported_afresh`).
"""

import importlib
import sys

import pytest

import aiecs_redis


@pytest.fixture
def native_names():
    """aiecs_redis.install() is in effect. Returns our class."""
    aiecs_redis.install()
    yield aiecs_redis.Redis
    aiecs_redis.uninstall()


@pytest.fixture
def imported_afresh(native_names):
    """`imported_afresh("arq")`: the package, with all its modules, imported under those names."""
    replaced = {}

    def belonging_to(package):
        return [name for name in sys.modules if name == package or name.startswith(package + ".")]

    def import_afresh(package):
        replaced[package] = {name: sys.modules.pop(name) for name in belonging_to(package)}
        return importlib.import_module(package)

    yield import_afresh
    for package, modules in replaced.items():
        for name in belonging_to(package):
            del sys.modules[name]
        sys.modules.update(modules)
