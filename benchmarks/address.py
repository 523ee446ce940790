"""Where a server listens; apart from what starts one: a cell imports its own client only."""

from __future__ import annotations

from typing import NamedTuple


class Address(NamedTuple):
    host: str
    port: int
