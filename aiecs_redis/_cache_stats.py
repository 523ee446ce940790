"""What a cache counts."""

from __future__ import annotations

import dataclasses

__all__ = ["CacheStats"]


@dataclasses.dataclass
class CacheStats:
    """What a `CacheManager` has done so far.

    Attributes:
        local_hits: reads answered by this process.
        redis_hits: reads answered by Redis.
        misses: reads that Redis had no answer to.
        loads: how often a loader ran.
        load_errors: how often it failed.
        early_refreshes: loads that began before the value ran out.
        shared: reads that waited for the same read or load of another task.
        stores: values written to Redis.
        refused_stores: loaded values that were not stored, as the key changed meanwhile.
        invalidations: keys that Redis told us have changed.
        flushes: how often all local entries were dropped.
        evictions: local entries that were dropped for want of room.
        errors: reads and writes that Redis failed to do.
        local_size: local entries now.
    """

    local_hits: int = 0
    redis_hits: int = 0
    misses: int = 0
    loads: int = 0
    load_errors: int = 0
    early_refreshes: int = 0
    shared: int = 0
    stores: int = 0
    refused_stores: int = 0
    invalidations: int = 0
    flushes: int = 0
    evictions: int = 0
    errors: int = 0
    local_size: int = 0

    @property
    def hit_rate(self) -> float:
        """Hits of both levels by all reads, 0 to 1; 0 before the first read."""
        hits = self.local_hits + self.redis_hits
        return hits / (hits + self.misses) if hits + self.misses else 0.0
