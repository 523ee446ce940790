"""The two C libraries compiled into the extension, pinned by version and content."""

from __future__ import annotations

import fnmatch
import hashlib
from pathlib import Path
from typing import NamedTuple


class Source(NamedTuple):
    """A C library that travels inside another project's source distribution."""

    name: str  # folder below vendored/
    project: str  # the source distribution it is taken from
    version: str
    sha256: str  # of that archive
    folder: str  # of the library inside the archive
    patterns: tuple[str, ...]  # files taken
    digest: str  # of the files taken, see digest_of()

    @property
    def stem(self) -> str:
        return f"{self.project}-{self.version}"

    @property
    def archive(self) -> str:
        return f"{self.stem}.tar.gz"

    def wants(self, filename: str) -> bool:
        return any(fnmatch.fnmatchcase(filename, pattern) for pattern in self.patterns)

    def matches(self, tree: Path) -> bool:
        """Whether `tree` holds exactly the pinned files (others in it are not looked at)."""
        return tree.is_dir() and digest_of(self.read_tree(tree)) == self.digest

    def read_tree(self, tree: Path) -> dict[str, bytes]:
        files = [path for path in tree.iterdir() if path.is_file() and self.wants(path.name)]
        return {path.name: path.read_bytes() for path in files}


def digest_of(files: dict[str, bytes]) -> str:
    """One SHA-256 over the names and contents, independent of archive format and order."""
    total = hashlib.sha256()
    for name in sorted(files):
        total.update(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n".encode())
    return total.hexdigest()


SOURCES = (
    Source(
        name="hiredis",
        project="hiredis",
        version="3.5.0",
        sha256="c227592cc56b7df247abe4755c26723965be68972be2149fa441ac33d82131ba",
        folder="vendor/hiredis",
        patterns=("COPYING", "*.c", "*.h"),
        digest="76b88f2f106d4bbdc07d8cb55e30b446a20da09a72130ec2711f112aa234362a",
    ),
    # Any gevent of the last years carries the same libev 4.33; this one installs on Python 3.9.
    Source(
        name="libev",
        project="gevent",
        version="25.9.1",
        sha256="adf9cd552de44a4e6754c51ff2e78d9193b7fa6eab123db9578a210e657235dd",
        folder="deps/libev",
        patterns=("LICENSE", "ev.c", "ev.h", "ev_*.[ch]"),
        digest="c70d555a278e8cc74e59f8f3fe8181ba51cc270ea46e782a843606a4fde33cd1",
    ),
)
