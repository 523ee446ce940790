"""Makes a built wheel fit for other machines: its libraries go into it, and their licence.

    python tools/repair_wheel.py WHEEL FOLDER

auditwheel (Linux, with patchelf) or delocate (macOS) copies libssl and libcrypto into the wheel
under names of their own, so that they meet no other OpenSSL in the process. Prints the path of
the result.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OPENSSL_LICENCE = ROOT / "build_support" / "licenses" / "OpenSSL.txt"


def repair(wheel: Path, folder: Path) -> Path:
    """Returns the repaired wheel, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        if sys.platform == "darwin":
            command = ["delocate-wheel", "-v", "-w", scratch, str(wheel)]
        else:
            command = [sys.executable, "-m", "auditwheel", "repair", "-w", scratch, str(wheel)]
        subprocess.run(command, check=True, stdout=sys.stderr)
        [repaired] = Path(scratch).glob("*.whl")
        if bundled(repaired):
            add_licence(repaired)
        return Path(shutil.copy(repaired, folder))


def bundled(wheel: Path) -> list[str]:
    """The libraries of OpenSSL in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    return [name for name in names if name.rpartition("/")[2].startswith(("libssl", "libcrypto"))]


def add_licence(wheel: Path) -> None:
    """Unpack, add, pack: the list of files with their hashes is written anew."""
    with tempfile.TemporaryDirectory() as scratch:
        tool = [sys.executable, "-m", "wheel"]
        unpack = [*tool, "unpack", "--dest", scratch, str(wheel)]
        subprocess.run(unpack, check=True, stdout=sys.stderr)
        [tree] = Path(scratch).iterdir()
        [metadata] = tree.glob("*.dist-info")
        target = metadata / "licenses" / "vendored" / "openssl" / "LICENSE"
        target.parent.mkdir(parents=True)
        shutil.copy(OPENSSL_LICENCE, target)
        pack = [*tool, "pack", "--dest-dir", str(wheel.parent), str(tree)]
        subprocess.run(pack, check=True, stdout=sys.stderr)


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    print(repair(Path(arguments[0]), Path(arguments[1])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
