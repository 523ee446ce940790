"""One clear sentence when an optional feature's packages are not installed."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["MissingExtraError", "need"]


class MissingExtraError(ImportError):
    """A package is missing that one of our extras brings along."""


def need(module: str, extra: str, purpose: str) -> Any:
    """Import and return a module.

    Raises:
        MissingExtraError: it is not installed; says which extra to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as exc:
        package = module.partition(".")[0]
        raise MissingExtraError(
            f"{purpose} needs {package}: pip install 'aiecs-redis[{extra}]'"
        ) from exc
