"""redis-py's source distribution: fetched through the user's package index, checked, unpacked."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from compat.errors import CompatError

SHA256 = {
    "7.0.1": "c949df947dca995dc68fdf5a7863950bf6df24f8d6022394585acc98e81624f1",
    "7.1.1": "a2814b2bda15b39dad11391cc48edac4697214a8a5a4bd10abe936ab4892eb43",
    "7.2.2": "91125c133362620d9f2caec11c70e6febc2745bbb8a0ce15ad8542811bd2dfd1",
    "7.3.1": "c19dc44d1aa6d56d882fb17fc2e93183e5371be0ae0049b7400786658e09a561",
    "7.4.1": "1a1df5067062cf7cbe677994e391f8ee0840f499d370f1a71266e0dd3aa9308e",
    "8.0.1": "afc5a7a2f5a084f5b1880dec548dd45be17db7e43c82a30d84f952aefb05cfb0",
    "8.1.0": "6e1a19beef9225c83efd689c7e6b7da2d5215b1f42cd13b7fc3714d0a09c7b25",
}
"""The archives known, by version."""

TESTS = "tests/test_asyncio/"


def default_version() -> str:
    """The newest version known that this Python can run."""
    return "8.1.0" if sys.version_info >= (3, 10) else "7.0.1"


def unpack(version: str, folder: Path, left_out: Sequence[re.Pattern[str]]) -> None:
    """Put the package `redis` of that version and its tests into the folder.

    Args:
        version: a key of `SHA256`.
        folder: an empty folder.
        left_out: patterns for files below `TESTS` that are not unpacked.

    Raises:
        CompatError: the archive cannot be had, or is another one.
    """
    with tarfile.open(archive(version)) as tar:
        for member in tar:
            path = member.name.partition("/")[2]
            wanted = path == "pyproject.toml" or path.startswith(("redis/", "tests/"))
            if not member.isfile() or not wanted:
                continue
            if path.startswith(TESTS) and any(p.match(path[len(TESTS) :]) for p in left_out):
                continue
            target = (folder / path).resolve()
            if folder.resolve() not in target.parents:
                raise CompatError(f"the archive has a file outside of it: {member.name}")
            content = tar.extractfile(member)
            assert content is not None
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as out:
                shutil.copyfileobj(content, out)


def archive(version: str) -> Path:
    """The checked archive, from the cache or through the user's own pip.

    Raises:
        CompatError: it cannot be had, or is another one.
    """
    if version not in SHA256:
        known = ", ".join(SHA256)
        raise CompatError(f"redis-py {version}: its archive is not pinned, these are: {known}")
    name = f"redis-{version}.tar.gz"
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    cached = Path(base) / "aiecs-redis" / "sources" / name
    if cached.is_file() and _digest(cached) == SHA256[version]:
        return cached
    with tempfile.TemporaryDirectory(prefix="aiecs-redis-") as scratch:
        _download(version, Path(scratch))
        fetched = Path(scratch) / name
        if not fetched.is_file() or _digest(fetched) != SHA256[version]:
            raise CompatError(f"the {name} that pip found does not have SHA-256 {SHA256[version]}")
        _keep(fetched, cached)
    return cached


def _keep(fetched: Path, cached: Path) -> None:
    part = cached.with_name(f"{cached.name}.{os.getpid()}")
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(fetched, part)
        os.replace(part, cached)
    except OSError as error:
        raise CompatError(f"the cache cannot be written ({error}): set XDG_CACHE_HOME") from None


def _download(version: str, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--no-binary", "redis", "--dest", str(folder)]
    done = subprocess.run([*command, f"redis=={version}"], capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise CompatError(
            f"pip could not download redis-py {version} ({reason}); check the network and pip's "
            "index settings (pip.conf, PIP_INDEX_URL)"
        )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
