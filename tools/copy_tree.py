"""Mirrors the source tree, without what is built, into the folder given as the argument."""

from __future__ import annotations

import filecmp
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILT = {".git", ".venv", "build", "dist", "__pycache__"}
SUFFIXES = {".so", ".pyc"}


def source_files(folder: Path) -> list[Path]:
    files = []
    for path in folder.iterdir():
        if path.name in BUILT or path.suffix in SUFFIXES or path.name.endswith("_cache"):
            continue
        if path.is_dir():
            files += [] if path.name.endswith(".egg-info") else source_files(path)
        elif path.is_file():
            files.append(path)
    return files


def mirror(target: Path) -> None:
    wanted = {path.relative_to(ROOT) for path in source_files(ROOT)}
    for old in source_files(target) if target.is_dir() else ():
        if old.relative_to(target) not in wanted:
            old.unlink()
    for name in wanted:
        copy = target / name
        if not copy.is_file() or not filecmp.cmp(ROOT / name, copy):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy)


if __name__ == "__main__":
    mirror(Path(sys.argv[1]))
