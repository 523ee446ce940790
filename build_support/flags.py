"""Compiler and linker flags of each build mode."""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

from .errors import stop

# Interposition buys an extension nothing; CPython itself is compiled with -fwrapv.
COMMON = ["-g", "-fwrapv", "-fvisibility=hidden", "-pthread"]
if sys.platform == "linux":
    COMMON.append("-fno-semantic-interposition")

# -O3 comes after the interpreter's own flags and so wins over them; -UNDEBUG keeps assert().
RELEASE = ["-O3", "-DNDEBUG"]
DEBUG = ["-O0", "-UNDEBUG", "-DAR_DEBUG", "-U_FORTIFY_SOURCE"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]

# CPython leaves it out too: {NULL} ends its tables.
OWN_WARNINGS = ["-Wall", "-Wextra", "-Wno-missing-field-initializers"]


# What is installed leaves debug information out, a megabyte, and keeps its symbols.
LEAN = ["-Wl,-S"]


class Flags(NamedTuple):
    """What one build mode adds to the interpreter's own flags."""

    mode: str
    compile: list[str]
    link: list[str]
    own: list[str]  # for the files of csrc/ alone

    def linked(self, installed: bool) -> list[str]:
        """The flags to link with: in place debug information stays."""
        return [*self.link, *LEAN] if installed and self.mode == "release" else self.link

    @property
    def label(self) -> str:
        """Names the object folder, so that modes keep their objects apart."""
        return f"{self.mode}-werror" if "-Werror" in self.own else self.mode


MODES = {
    "release": (RELEASE, []),
    "debug": (DEBUG, []),
    "asan": ([*DEBUG, "-O1", "-fno-omit-frame-pointer", *SANITIZERS], SANITIZERS),
    "coverage": ([*DEBUG, "--coverage", "-fprofile-update=atomic"], ["--coverage"]),
}


def from_environment() -> Flags:
    """Read AIECS_REDIS_BUILD (a key of MODES) and AIECS_REDIS_WERROR (1 for -Werror)."""
    mode = os.environ.get("AIECS_REDIS_BUILD") or "release"
    if mode not in MODES:
        stop(f"AIECS_REDIS_BUILD={mode} is none of {', '.join(MODES)}")
    own = list(OWN_WARNINGS)
    if os.environ.get("AIECS_REDIS_WERROR", "0") not in ("", "0"):
        own.append("-Werror")
    compile_flags, link_flags = MODES[mode]
    return Flags(mode, [*COMMON, *compile_flags], list(link_flags), own)
