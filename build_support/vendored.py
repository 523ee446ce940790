"""Puts the pinned C sources into vendored/: from there, a given folder, the cache or pip."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

from .errors import stop
from .fetch import download
from .sources import SOURCES, Source, digest_of


def ensure(root: Path) -> None:
    """Make vendored/<name> hold each pinned source; touches nothing when it does already."""
    for source in SOURCES:
        tree = root / "vendored" / source.name
        if not source.matches(tree):
            _write_tree(source, tree, _obtain(source))


def _obtain(source: Source) -> dict[str, bytes]:
    given = os.environ.get("AIECS_REDIS_SOURCES")
    files = _from_folder(source, Path(given)) if given else _from_cache(source)
    if digest_of(files) != source.digest:
        stop(f"the content of {source.stem} is not the pinned one; nothing was built from it")
    return files


def _from_folder(source: Source, folder: Path) -> dict[str, bytes]:
    """From an archive, an unpacked archive or a copy of vendored/."""
    archive = folder / source.archive
    if archive.is_file():
        if not _hash_matches(source, archive):
            stop(f"{archive} does not have the pinned SHA-256 {source.sha256}")
        return _read_archive(source, archive)
    for tree in (folder / source.stem / source.folder, folder / source.name):
        if tree.is_dir():
            return source.read_tree(tree)
    stop(
        f"AIECS_REDIS_SOURCES={folder} holds neither {source.archive} nor a folder "
        f"{source.stem} or {source.name}"
    )


def _from_cache(source: Source) -> dict[str, bytes]:
    """From the user's cache, filled by a download when the archive is not there."""
    cached = _cache_folder() / source.archive
    if cached.is_file() and _hash_matches(source, cached):
        return _read_archive(source, cached)
    with tempfile.TemporaryDirectory(prefix="aiecs-redis-") as scratch:
        archive = download(source, Path(scratch))
        if not _hash_matches(source, archive):
            stop(f"the {source.archive} that pip found does not have SHA-256 {source.sha256}")
        _keep(archive, cached)
        return _read_archive(source, archive)


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "aiecs-redis" / "sources"


def _keep(archive: Path, cached: Path) -> None:
    """A cache that cannot be written costs the next build a download, not this one its result."""
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=cached.parent)
        os.close(handle)
        shutil.copyfile(archive, name)
        os.replace(name, cached)
    except OSError:
        pass


def _hash_matches(source: Source, archive: Path) -> bool:
    return hashlib.sha256(archive.read_bytes()).hexdigest() == source.sha256


def _read_archive(source: Source, archive: Path) -> dict[str, bytes]:
    prefix = f"{source.stem}/{source.folder}/"
    files = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            filename = member.name[len(prefix) :]
            if member.isfile() and member.name.startswith(prefix) and source.wants(filename):
                content = tar.extractfile(member)
                if content is not None and "/" not in filename:
                    files[filename] = content.read()
    return files


def _write_tree(source: Source, tree: Path, files: dict[str, bytes]) -> None:
    """Written aside and renamed, so that an interrupted build leaves no half tree."""
    tree.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=tree.parent))
    scratch.chmod(0o755)
    for filename, content in files.items():
        (scratch / filename).write_bytes(content)
    shutil.rmtree(tree, ignore_errors=True)
    try:
        scratch.rename(tree)
    except OSError:
        shutil.rmtree(scratch)
        if not source.matches(tree):  # else a build beside this one was quicker
            raise
