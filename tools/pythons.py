"""The Pythons that are on this machine, and environments of them in which the tests run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MINORS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
FOLDERS = (  # where version managers keep them, below a home that a variable may name
    ("PYENV_ROOT", ".pyenv", "versions/{minor}*/bin/python"),
    ("UV_PYTHON_INSTALL_DIR", ".local/share/uv/python", "cpython-{minor}*/bin/python"),
    ("ASDF_DATA_DIR", ".asdf", "installs/python/{minor}*/bin/python"),
    ("MISE_DATA_DIR", ".local/share/mise", "installs/python/{minor}*/bin/python"),
)


def version_of(python: str) -> str:
    """Its version; empty for a name that leads nowhere, such as a version manager's."""
    command = [python, "-c", "import platform; print(platform.python_version())"]
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""


def found() -> list[str]:
    """One interpreter of each supported minor version, as far as they are here, oldest first."""
    chosen = []
    for minor in MINORS:
        for path in _candidates(minor):
            if re.match(rf"{re.escape(minor)}\.\d+$", version_of(path)):
                chosen.append(path)
                break
    return chosen


def _candidates(minor: str) -> Iterator[str]:
    if sys.version_info[:2] == tuple(map(int, minor.split("."))):
        yield sys.executable
    on_path = shutil.which(f"python{minor}")
    if on_path is not None:
        yield on_path
    for variable, usual, pattern in FOLDERS:
        home = Path(os.environ.get(variable) or Path.home() / usual)
        here = home.glob(pattern.format(minor=minor))
        yield from map(str, sorted(here, key=_by_numbers, reverse=True))


def _by_numbers(path: Path) -> list[int]:
    """3.9.18 comes behind 3.9.9."""
    return [int(number) for number in re.findall(r"\d+", str(path))]


def environment(python: str, folder: Path) -> str:
    """A virtual environment in `folder` with what the tests need, and the extension built in place.

    Returns its interpreter; for this interpreter, which has all that, itself.
    """
    if python == sys.executable:
        return python
    home = folder / f"python{version_of(python)}"
    own = str(home / "bin" / "python")
    if not Path(own).exists():
        subprocess.run([python, "-m", "venv", "--clear", str(home)], check=True)
    state = home / "installed"
    wanted = (ROOT / "pyproject.toml").read_text()
    if not state.exists() or state.read_text() != wanted:
        pip = [own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "setuptools>=77", "wheel"], check=True)
        subprocess.run([*pip, "--no-build-isolation", "--editable", f"{ROOT}[test]"], check=True)
        state.write_text(wanted)
    build = [own, "setup.py", "--quiet", "build_ext", "--inplace"]
    subprocess.run(build, check=True, cwd=ROOT)
    return own


def pytest(python: str, tests: list[str], log: Path, patience: float, **environ: str) -> str | None:
    """Run the tests; None if they pass, else why not. The output goes to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [python, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", *tests]
    with log.open("w") as out:
        try:
            status = subprocess.run(
                command,
                cwd=ROOT,
                env={**os.environ, **environ},
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=patience,
            ).returncode
        except subprocess.TimeoutExpired:
            return f"not done after {patience:.0f} s"
    return None if status == 0 else f"exit status {status}"


def last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip("= ") if lines else "no output"
