"""Python in processes of its own, with the package that is tested."""

import os
import subprocess
import sys

import aiecs_redis

PACKAGE = os.path.dirname(os.path.dirname(aiecs_redis.__file__))
ISOLATED = os.path.join(os.path.dirname(__file__), "core", "isolated")


def environment(**more):
    return {**os.environ, "PYTHONPATH": PACKAGE, **more}


def run_python(*arguments, timeout=60, **more):
    """The finished process; `more`: environment variables."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment(**more),
    )


def run_isolated(script, *arguments, options=(), timeout=60, **more):
    """As above, of a script in tests/core/isolated; `options` are the interpreter's."""
    path = os.path.join(ISOLATED, script)
    return run_python(*options, path, *arguments, timeout=timeout, **more)
