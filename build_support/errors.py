"""How a build stops."""

from __future__ import annotations

from typing import NoReturn


def stop(sentence: str) -> NoReturn:
    """End the build with one sentence; as SystemExit it passes setuptools and pip untouched."""
    raise SystemExit(f"aiecs-redis: {sentence}")
