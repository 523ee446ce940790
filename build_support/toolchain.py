"""Finds out before the build what it would fail on, and says so in one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from typing import NamedTuple

from .errors import stop

OPENSSL_CHECK = """#include <openssl/ssl.h>
#if OPENSSL_VERSION_NUMBER < 0x10101000L
#error "OpenSSL 1.1.1 or newer is needed"
#endif
"""


class Toolchain(NamedTuple):
    """The commands the extension is built with."""

    compile: list[str]  # compiler, interpreter flags, flags of the mode, include folders
    link: list[str]
    libraries: list[str]  # -l and -L options

    def try_build(self, program: str, *, link: bool = False) -> str | None:
        """Compile (and link) `program`; None when that worked, else the first error line."""
        with tempfile.TemporaryDirectory(prefix="aiecs-redis-") as folder:
            source, target = os.path.join(folder, "probe.c"), os.path.join(folder, "probe.o")
            with open(source, "w", encoding="utf-8") as file:
                file.write(program)
            error = _run([*self.compile, "-c", source, "-o", target])
            if error is None and link:
                library = os.path.join(folder, "probe.so")
                error = _run([*self.link, target, "-o", library, *self.libraries])
            return error


def check(toolchain: Toolchain) -> None:
    """Stop with the remedy unless the compiler, the headers and the libraries are all there."""
    program = "int main(void) { return 0; }\n"
    python, openssl = "#include <Python.h>\n" + program, OPENSSL_CHECK + program
    if toolchain.try_build("#include <Python.h>\n" + openssl, link=True) is None:
        return
    headers = f"python{sys.version_info.major}.{sys.version_info.minor}-dev or python3-dev"
    compiler = " ".join(toolchain.compile[:1])
    for probe, link, what, package in (
        (program, False, f"a working C compiler (tried {compiler!r})", "build-essential"),
        (python, False, f"the C headers of {sys.executable} (Python.h)", headers),
        (openssl, False, "the headers of OpenSSL 1.1.1 or newer (openssl/ssl.h)", "libssl-dev"),
        (openssl, True, "a linker and the libraries libssl and libcrypto", "libssl-dev"),
    ):
        error = toolchain.try_build(probe, link=link)
        if error is not None:
            stop(f"building needs {what}: {_remedy(package)} [{error}]")
    stop(f"the C compiler {compiler!r} fails on a program with Python.h and openssl/ssl.h")


def _remedy(package: str) -> str:
    if sys.platform == "darwin":
        return "run xcode-select --install, and brew install openssl with CFLAGS and LDFLAGS set"
    return f"install it, on Debian and Ubuntu with apt-get install {package}"


def _run(command: list[str]) -> str | None:
    try:
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
        )
    except OSError as error:
        return f"{command[0]}: {error.strerror}"
    if result.returncode == 0:
        return None
    lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line] or lines or ["no message"]
    return errors[0]
