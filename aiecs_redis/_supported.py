"""Which redis-py works with this package; looked at before anything else of redis-py is."""

from __future__ import annotations

import re

__all__ = ["check"]

RANGE = ">=7.0,<9"
FIRST, BEYOND = (7, 0), (9, 0)


def check(version: str | None) -> None:
    """Raise ImportError, in one sentence, for a redis-py that is not supported.

    Args:
        version: what `redis.__version__` says; None if there is no redis-py.
    """
    found = re.match(r"(\d+)\.(\d+)", version or "")
    if found is None or not FIRST <= (int(found[1]), int(found[2])) < BEYOND:
        raise ImportError(
            f"aiecs_redis works with redis-py {RANGE} and found {version or 'none'}: "
            f'run: pip install "redis{RANGE}"'
        )


def _installed() -> str | None:
    try:
        import redis
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        return None
    return getattr(redis, "__version__", None)


check(_installed())
