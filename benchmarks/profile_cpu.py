"""`python -m benchmarks.profile_cpu`: where the client's CPU time of a command goes, by Linux perf.

Two runs with different numbers of commands are sampled, and their difference is free of start-up. A
sample counts for the innermost function, in the kernel for the system call it is part of.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks import data
from benchmarks.address import Address
from benchmarks.clients import OURS
from benchmarks.fixed_count import command_line
from benchmarks.server import is_external, server
from benchmarks.svg import COLORS, Drawing
from benchmarks.tables import Table
from benchmarks.workloads import WORKLOADS

HERTZ = 4_000
ROOT = Path(__file__).resolve().parent.parent
PAGE, PLOT = ROOT / "docs/performance.md", ROOT / "docs/performance/profile.svg"
MARKED = re.compile(r"(<!-- profile -->\n).*?(<!-- /profile -->)", re.DOTALL)
COMMANDS = {
    "get-1": (2_000, 42_000),
    "get-50": (10_000, 510_000),
    "set-50": (10_000, 410_000),
    "hgetall-50": (5_000, 105_000),
    "pipeline-100": (10_000, 1_010_000),
    "large-8": (800, 30_800),
}
"""Of the shorter and of the longer run."""

SENDING, RECEIVING = "kernel: sending", "kernel: receiving"
WAITING, OTHER_KERNEL = "kernel: epoll", "kernel: other"
CORE, HIREDIS, LIBEV = "core", "hiredis", "libev"
ASYNCIO, BYTECODE = "asyncio (C)", "CPython: bytecode"
MEMORY, OBJECTS, LIBC = "CPython: memory", "CPython: objects", "libc: copying and other"
PARTS = (
    SENDING,
    RECEIVING,
    WAITING,
    OTHER_KERNEL,
    CORE,
    HIREDIS,
    LIBEV,
    ASYNCIO,
    BYTECODE,
    MEMORY,
    OBJECTS,
    LIBC,
)
SHADES = (
    *("#1f4e79", "#2e75b6", "#7fb2e0", "#b4d2ee"),
    *("#1e8449", "#58b983", "#a9dfbf"),
    *("#7d3c98", "#b9770e", "#e0a458", "#f3d19c", "#8a8a8a"),
)

_CALL = re.compile(
    r"(?:_sys_|^|_)(?:(?P<sending>send(?:msg|to)?|writev?)|(?P<receiving>recv(?:msg|from)?|readv?)"
    r"|(?P<waiting>epoll_\w+))(?:\.|$)"
)
_CALLS = {"sending": SENDING, "receiving": RECEIVING, "waiting": WAITING}
_HIREDIS = re.compile(r"^(redis|string2ll|sds|process|seekNewline|readLine|moveToNext|hi_)")
_LIBEV = re.compile(r"^(ev_|epoll_|fd_|time_update|evpipe|timers_reify)")
_MEMORY = re.compile(r"(alloc|Alloc|Free|_free|dealloc|_GC_|gc_|GC_|NewReference|Dealloc)")
_FRAME = re.compile(r"^\s+[0-9a-f]+ (?P<symbol>.*) \((?P<object>[^()]*)\)$")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.profile_cpu",
        description="Samples the client with Linux perf, and tells where its CPU time goes.",
    )
    parser.add_argument("--workloads", help="comma-separated, of: " + ", ".join(COMMANDS))
    parser.add_argument("--client", default=OURS)
    parser.add_argument(
        "--publish", action="store_true", help="into docs/performance.md, with a plot"
    )
    options = parser.parse_args(arguments)
    names = options.workloads.split(",") if options.workloads else list(COMMANDS)
    for name in names:
        if name not in COMMANDS:
            raise SystemExit(f"unknown name {name!r}; known: {', '.join(COMMANDS)}")
    if not available():
        print("perf cannot sample here (Debian: apt install linux-perf, as root)", file=sys.stderr)
        return 2
    try:
        profiles = profile(names, options.client)
    except ProfileError as error:
        print(error, file=sys.stderr)
        return 2
    print(table(profiles, options.client).as_text())
    if options.publish:
        publish(profiles, options.client)
    return 0


def available() -> bool:
    if shutil.which("perf") is None:
        return False
    with tempfile.TemporaryDirectory(prefix="perf-") as folder:
        tried = ["perf", "record", "-q", "-e", "cpu-clock", "-o", f"{folder}/data", "true"]
        return subprocess.run(tried, capture_output=True).returncode == 0


def profile(names: Iterable[str], client: str = OURS) -> dict[str, dict[str, float]]:
    """Microseconds of CPU per command, by workload and part.

    Raises:
        ProfileError: perf fails, or takes no samples.
    """
    with server() as address:
        data.seed(address)
        found = {name: _profile_one(name, client, address) for name in names}
        if is_external():
            data.clear(address)
    return found


class ProfileError(Exception):
    """There is no profile."""


def _profile_one(workload: str, client: str, address: Address) -> dict[str, float]:
    few, many = COMMANDS[workload]
    before = _sample(workload, client, address, few)
    after = _sample(workload, client, address, many)
    microseconds = 1e6 / HERTZ / (many - few)
    found = {part: max(after[part] - before[part], 0) * microseconds for part in PARTS}
    if not any(found.values()):
        raise ProfileError(f"perf has no samples of {workload}")
    return found


def _sample(workload: str, client: str, address: Address, commands: int) -> Counter[str]:
    with tempfile.TemporaryDirectory(prefix="perf-") as folder:
        output = f"{folder}/data"
        tool = ["perf", "record", "-q", "-g", "-e", "cpu-clock", "-F", str(HERTZ), "-o", output]
        command = [*tool, *command_line(workload, client, address, commands)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        if done.returncode:
            raise ProfileError(f"perf record {workload} failed: {done.stderr.strip()}")
        script = ["perf", "script", "-i", output, "-F", "ip,sym,dso"]
        with subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as lister:
            assert lister.stdout is not None
            return count_parts(line.decode(errors="replace") for line in lister.stdout)


def count_parts(lines: Iterable[str]) -> Counter[str]:
    """Samples by part, out of `perf script`: a stack a paragraph, the innermost function first."""
    parts: Counter[str] = Counter()
    stack: list[tuple[str, str]] = []
    for line in (*lines, ""):
        frame = _FRAME.match(line)
        if frame:
            stack.append((frame["symbol"], Path(frame["object"]).name))
        elif not line.strip() and stack:
            parts[part_of(stack)] += 1
            stack = []
    return parts


def part_of(stack: Sequence[tuple[str, str]]) -> str:
    """The part that a stack of (symbol, object) counts for."""
    symbol, place = stack[0]
    if place.startswith(("[kernel", "[guest.kernel")):
        called = [name for name, where in stack if "kernel" in where and "_sys_" in name]
        caller = [name for name, where in stack if "kernel" not in where][:1]
        found = _CALL.search((called or caller or [""])[0])
        return _CALLS[found.lastgroup or ""] if found else OTHER_KERNEL
    if place.startswith("_native"):
        return HIREDIS if _HIREDIS.match(symbol) else LIBEV if _LIBEV.match(symbol) else CORE
    if place.startswith("_asyncio"):
        return ASYNCIO
    if place.startswith(("libpython", "python")):
        if symbol.startswith(("_PyEval", "_PyFrame", "_PyFunction")):
            return BYTECODE
        return MEMORY if _MEMORY.search(symbol) else OBJECTS
    return LIBC


def table(profiles: dict[str, dict[str, float]], client: str) -> Table:
    rows = [("all", *(f"{sum(parts.values()):.2f}" for parts in profiles.values()))]
    for part in PARTS:
        figures = []
        for parts in profiles.values():
            share = parts[part] / sum(parts.values())
            figures.append(f"{parts[part]:.2f} ({share:.0%})")
        rows.append((part, *figures))
    header = ("part", *(WORKLOADS[name].title for name in profiles))
    return Table(f"CPU time per command, µs: {client}", header, rows)


def publish(profiles: dict[str, dict[str, float]], client: str = OURS) -> None:
    """Write the table and the plot into the documentation."""
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    PLOT.write_text(draw(profiles, client), "utf-8")
    text = table(profiles, client).as_markdown()
    page = PAGE.read_text("utf-8")
    PAGE.write_text(MARKED.sub(lambda mark: f"{mark[1]}{text}\n{mark[2]}", page), "utf-8")


def draw(profiles: dict[str, dict[str, float]], client: str) -> str:
    """A bar for each workload, whose pieces are the parts."""
    assert len(SHADES) == len(PARTS) and COLORS
    left, right, row, top = 205, 780, 40, 118
    title = f"Where the CPU time of a command goes ({client})"
    drawing = Drawing(860, top + row * len(profiles) + 14, title)
    drawing.text(12, 24, title, "title")
    for number in range(0, len(PARTS), 4):
        x = 12.0
        for part, shade in zip(PARTS[number : number + 4], SHADES[number : number + 4]):
            drawing.legend(x, 48 + 5 * number, [part], [shade])
            x += 205
    for number, (name, parts) in enumerate(profiles.items()):
        y, x, total = top + row * number, float(left), sum(parts.values())
        drawing.text(left - 10, y + 18, WORKLOADS[name].title, anchor="end")
        for part, shade in zip(PARTS, SHADES):
            width = parts[part] / total * (right - left)
            drawing.rectangle(x, y, width, row - 14, shade, f"{part}: {parts[part]:.2f} µs")
            x += width
        drawing.text(right + 8, y + 18, f"{total:.1f} µs", "strong")
    return drawing.as_text()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
