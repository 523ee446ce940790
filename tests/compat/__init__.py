"""Runs redis-py's own asyncio tests on this package's classes: `make compat`.

The tests come from redis-py's source distribution, unpacked into a temporary folder; nothing of
them is kept here. `plugin/` is for the pytest process that runs them.
"""
