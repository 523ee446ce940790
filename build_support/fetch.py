"""Downloads a pinned source distribution with the user's own pip and its configuration."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from .errors import stop
from .sources import Source

SHIM = Path(__file__).with_name("pip_shim")


def download(source: Source, folder: Path) -> Path:
    """Fetch `source`'s archive into `folder` and return its path; its hash is not checked here."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--no-binary", source.project, "--no-build-isolation", "--dest", str(folder)]
    command += [f"{source.project}=={source.version}"]
    try:
        result = subprocess.run(
            command,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
    except OSError as error:
        _give_up(source, str(error))
    archive = folder / source.archive
    if "No module named pip" in result.stderr:
        _give_up(source, f"{sys.executable} has no pip, run it with -m ensurepip")
    if result.returncode != 0 or not archive.is_file():
        _give_up(source, _reason(result.stderr))
    return archive


def _environment() -> dict[str, str]:
    """pip asks an archive for its metadata before it hands it over.

    The shim answers from PKG-INFO, in place of a build environment with compilers of Cython and
    the like, which takes minutes.
    """
    env = dict(os.environ)
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(SHIM), env.get("PYTHONPATH")]))
    env["SETUPTOOLS_USE_DISTUTILS"] = "stdlib"  # the shim has no distutils to lend
    env["PIP_USE_PEP517"] = "1"  # old pips would run setup.py instead of the shim
    env["PIP_REQUIRE_VIRTUALENV"] = "0"
    env.pop("PIP_CONSTRAINT", None)  # may pin another version for the user's own use
    return env


def _reason(stderr: str) -> str:
    """pip's most telling line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines[-1:]
    reason = errors[0].replace("ERROR:", "").strip() if errors else "no message"
    return reason if len(reason) <= 200 else reason[:200] + "..."


def _give_up(source: Source, reason: str) -> NoReturn:
    stop(
        f"could not download {source.archive} with pip ({reason}); check the network and pip's "
        f"index settings (pip.conf, PIP_INDEX_URL), or put that file into a folder and set "
        f"AIECS_REDIS_SOURCES to the folder"
    )
