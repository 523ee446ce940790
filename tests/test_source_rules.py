"""Rules about the source, kept by tests rather than by reviewers."""

import ast
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
SOURCES = sorted(CSRC.glob("*.[ch]"))
NAMES = [path.name for path in SOURCES]

LINES = 500  # a file beyond this holds more than one concept

pytestmark = pytest.mark.skipif(not SOURCES, reason="the sources are not here")


def code(path):
    """A C file without comments, and with its string literals emptied."""
    text = path.read_text()
    pattern = r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'"

    def blank(match):
        found = match.group()
        return found[0] * 2 if found[0] in "\"'" else re.sub(r"[^\n]", " ", found)

    return re.sub(pattern, blank, text, flags=re.DOTALL)


def own_includes(path):
    included = re.findall(r'^\s*#\s*include\s+"([^"]+)"', path.read_text(), re.MULTILINE)
    return [name for name in included if (CSRC / name).exists()]


def layers():
    """The units of ARCHITECTURE.md's table of csrc/, bottom first, each with its files."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    section = text.split("\n## csrc/", 1)[1].split("\n## ", 1)[0]
    found = []
    for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE):
        headers, _, files = row.partition("(")
        units = re.findall(r"`([\w.]+)`", headers)
        sources = list(re.findall(r"`(\w+\.c)`", files))
        found.append((units, sources))
    return found


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_files_are_short(path):
    assert len(path.read_text().splitlines()) <= LINES


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_every_file_says_what_it_is_for(path):
    first = path.read_text().lstrip()
    assert first.startswith("/*"), "begin with a comment"
    purpose = first[2:].split("*/", 1)[0].strip(" *\n")
    assert len(purpose.split()) >= 4


def test_only_libev_c_includes_libev():
    for path in SOURCES:
        included = re.findall(r'#\s*include\s+["<](ev\.[ch])[">]', path.read_text())
        if path.name == "libev.c":
            assert "ev.c" in included
        else:
            assert "ev.c" not in included, path.name
            assert not included or path.name == "libev.h", path.name


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_headers_are_guarded(path):
    if path.suffix == ".h":
        guard = f"AR_{path.stem.upper()}_H"
        assert f"#ifndef {guard}\n#define {guard}\n" in path.read_text()


def test_the_table_of_layers_is_complete():
    units = [unit for row, _ in layers() for unit in row]
    listed = {*units, *(name[:-2] for _, sources in layers() for name in sources)}
    assert len(units) == len(set(units))
    assert {path.stem for path in SOURCES} == listed


def test_the_walk_through_the_code_names_what_is_there():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    walk = text.split("\n## From `await", 1)[1].split("\n## ", 1)[0]
    file, named = None, 0
    for name in re.findall(r"`([\w./]+)`", walk):
        if "/" in name:
            file = ROOT / name
            assert file.is_file(), name
        elif "_" in name and re.fullmatch(r"[a-z_]+", name) and name != "execute_command":
            defined = re.search(rf"^{name}\(", file.read_text(), re.MULTILINE)
            assert defined, f"{name} is not in {file.name}"
            named += 1
    assert named > 10


PACKAGE = ROOT / "aiecs_redis"
MODULES = [
    path.relative_to(PACKAGE).as_posix()
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "__init__.py"
]


@pytest.mark.parametrize("module", MODULES)
def test_every_python_file_is_in_the_architecture(module):
    """By its name, in one of the tables; a table row of a folder may leave the folder out."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    name = re.escape(module.rpartition("/")[2][: -len(".py")])
    assert re.search(rf"`(\w+/)?{name}(\.py)?`", text), f"ARCHITECTURE.md does not tell of {module}"


def rows_of_the_package():
    """The number of the row of ARCHITECTURE.md's tables in which each Python file stands."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    section = text.split("\n## aiecs_redis/", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return {
        name.removesuffix(".py"): number
        for number, row in enumerate(rows)
        for name in re.findall(r"`([\w.]+)/?`", row)
    }


def imported_at_once(path):
    """The files of ours that a file imports when it is imported, by their names in the tables."""
    tree = ast.parse(path.read_text())
    statements = [s for s in tree.body if isinstance(s, (ast.Import, ast.ImportFrom))]
    for one in statements:
        modules = [name.name for name in one.names]
        if isinstance(one, ast.ImportFrom):
            modules = [f"{one.module}.{name}" for name in modules]
        for module in modules:
            package, _, rest = module.partition(".")
            name = rest.partition(".")[0]
            if package == "aiecs_redis" and any(PACKAGE.glob(f"{name}.py")):
                yield name


def test_imports_point_up_the_tables():
    rows = rows_of_the_package()
    for module in MODULES:
        name = module.partition("/")[0].removesuffix(".py")
        assert name in rows, f"{module} has no row in ARCHITECTURE.md"
        for other in imported_at_once(PACKAGE / module):
            assert rows[other] <= rows[name], f"{module} imports {other}.py, which stands below it"


def test_includes_point_strictly_down():
    level = {}
    for number, (units, sources) in enumerate(layers()):
        for position, unit in enumerate(units):
            level[unit] = (number, position)
        for name in sources:  # parts of the row's last unit
            level.setdefault(name[:-2], (number, len(units)))
    for path in SOURCES:
        if path.name == "module.c":  # at the very end: it chains the set-ups
            continue
        for name in own_includes(path):
            below = level[name[:-2]]
            if path.suffix == ".c":
                # a unit and its internal header stand in one row
                assert below[0] <= level[path.stem][0], f"{path.name} includes {name}"
            else:
                assert below < level[path.stem], f"{path.name} includes {name}"


# CPython and hiredis take pointers to tables without const, which nobody writes to; the number of
# forks is counted by a handler of pthread_atfork(), which is handed nothing, and neither is libev's
# allocator.
MUTABLE = re.compile(
    r"PyMethodDef|PyGetSetDef|PyMemberDef|PyType_Slot|PyType_Spec|PyModuleDef(_Slot)?"
    r"|redisReplyObjectFunctions|char \*keywords\[\]|unsigned process_generation"
    r"|_Thread_local void \*first_blocks"
)


DECLARATION = re.compile(r"\s*(static\s+)?[A-Za-z_][\w\s*\[\]]*[\w\]]\s*(=|;)")


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_no_mutable_globals(path):
    """Two interpreters, or two threads, must not meet in one: state belongs to the module."""
    depth, found = 0, []
    for line in code(path).splitlines():
        scope = depth == 0 or re.match(r"\s+static\b", line)
        other = re.match(r"\s*(typedef|extern|struct\s+\w+\s*;|enum|#)", line)
        if scope and not other and DECLARATION.match(line):
            found.append(line.strip())
        depth += line.count("{") - line.count("}")
    mutable = (line for line in found if not MUTABLE.search(line) and "const" not in line)
    assert [line for line in mutable if "(" not in line.split("=")[0]] == []


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_names_that_cross_files_say_whose_they_are(path):
    """Only names that begin with ar_, and module init, are visible to the linker."""
    if path.suffix == ".h":
        return
    text = code(path)
    definitions = re.findall(
        r"^(?!static)[A-Za-z_][\w *]*\n(\w+)\([^;]*?\)\n\{", text, re.MULTILINE
    )
    lines = text.splitlines()
    for name in definitions:
        number = next(n for n, line in enumerate(lines) if line.startswith(f"{name}("))
        if "static" not in lines[number - 1]:
            assert name.startswith(("ar_", "PyInit_")), name


def test_the_table_of_commands_is_sorted():
    """It is searched by bisection."""
    text = (CSRC / "lanes.c").read_text()
    table = text.split("table[] = {", 1)[1].split("\n};", 1)[0]
    names = re.findall(r'^\s*(?:\w+\(|\{)"([A-Z_ -]+)"', table, re.MULTILINE)
    assert len(names) > 100
    assert names == sorted(set(names))


# Writes whose repetition leaves another state, or another meaning: never to be sent twice unasked.
ONCE = [
    "APPEND",
    "BITFIELD",
    "COPY",
    "DECR",
    "DECRBY",
    "EVAL",
    "EVALSHA",
    "EXEC",
    "FCALL",
    "FLUSHALL",
    "FLUSHDB",
    "GETDEL",
    "GETEX",
    "GETSET",
    "HINCRBY",
    "HINCRBYFLOAT",
    "HSETNX",
    "INCR",
    "INCRBY",
    "INCRBYFLOAT",
    "LINSERT",
    "LMOVE",
    "LMPOP",
    "LPOP",
    "LPUSH",
    "LPUSHX",
    "LREM",
    "LTRIM",
    "MOVE",
    "MSETNX",
    "PUBLISH",
    "RENAME",
    "RENAMENX",
    "RESTORE",
    "RPOP",
    "RPOPLPUSH",
    "RPUSH",
    "RPUSHX",
    "SETNX",
    "SINTERSTORE",
    "SMOVE",
    "SORT",
    "SPOP",
    "SPUBLISH",
    "XACK",
    "XADD",
    "XAUTOCLAIM",
    "XCLAIM",
    "XREADGROUP",
    "XTRIM",
    "ZADD",
    "ZINCRBY",
    "ZMPOP",
    "ZPOPMAX",
    "ZPOPMIN",
]


def test_what_is_not_repeatable_is_not_listed_as_such():
    text = (CSRC / "lanes.c").read_text()
    repeatable = set(re.findall(r'(?:READ|SAME)\("([A-Z_ -]+)"', text))
    assert sorted(repeatable & set(ONCE)) == []


# --- the whole tree ---


def tracked():
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


# Put together here, so that this file does not find itself.
LOCAL = re.compile(
    "|".join(
        [
            r"(?<![\w.$}/])/" + r"(?:home|Users|work|root)/\w",
            r"/tmp/" + r"[\w.-]+",
            r"(?:pypi|files\.pythonhosted|pythonhosted)" + r"\.org",
            r"(?:index|extra-index)-url\s*[= ]\s*http",
            r"https?://[\w.-]*(?:artifactory|nexus|devpi|jfrog)",
        ]
    )
)


def test_no_local_paths_and_no_package_hosts():
    found = []
    for path in tracked():
        if path == Path(__file__).resolve():
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if LOCAL.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert found == []


def test_no_binary_and_no_vendored_source_is_committed():
    for path in tracked():
        name = path.relative_to(ROOT).as_posix()
        assert not name.startswith(("vendored/", "build/", ".venv/")), name
        assert path.suffix not in {".so", ".o", ".pyc", ".whl", ".gz"}, name
        assert os.path.getsize(path) < 1_000_000, name


PYTHON = sorted((ROOT / "aiecs_redis").glob("*.py"))


@pytest.mark.parametrize("path", PYTHON, ids=[path.name for path in PYTHON])
def test_python_modules_are_short_and_documented(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 2 * LINES
    assert re.match(r'(#!.*\n)?r?"""\S', text)


CORE = ["client", "connection", "exceptions", "pipeline", "pubsub", "redis_client", "settings"]
TOOLKIT = ["cache", "events", "lock", "retry", "serialization", "sessions", "tasks"]


@pytest.mark.parametrize("name", CORE)
def test_the_clients_know_nothing_of_the_toolkit(name):
    text = (ROOT / "aiecs_redis" / f"{name}.py").read_text()
    imported = re.findall(r"^\s*(?:from|import) aiecs_redis[.\w]* import (.*)", text, re.MULTILINE)
    modules = re.findall(r"^\s*(?:from|import) aiecs_redis\.(\w+)", text, re.MULTILINE)
    words = {word.strip(" ()") for line in imported for word in line.split(",")}
    assert not (words | set(modules)) & set(TOOLKIT)
