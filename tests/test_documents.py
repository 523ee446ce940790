"""Every code block of README, docs/ and the other documents: Python runs, commands are checked.

The Python blocks of a page run one after the other in one namespace, with top-level `await`, on a
real server; `client` is an initialized RedisClient, and `redis` an aiecs_redis.Redis beside it.
What else a page takes for granted stands in an HTML comment, which readers do not see:

    <!-- setup: values = [1, 2] -->

A statement that ends in a comment that begins with a Python literal, such as `# 'v'` or `# None: it
is gone`, must have that value. A block behind `<!-- not run: reason -->` is compiled only.
"""

import ast
import contextlib
import importlib.util
import inspect
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
import tokenize
import types
from pathlib import Path
from typing import NamedTuple

import pytest
import redis
import yaml

import aiecs_redis
from aiecs_redis import settings
from aiecs_redis.testing import ClusterServers, SentinelServers

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")]
)
LANGUAGES = {"python", "sh", "text", "yaml", "toml", "json"}
MAX_NOT_RUN = 3

FENCE = re.compile(
    r"(?P<marks>(?:^ *<!--(?:(?!-->).)*-->\n+)*)"
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
MARK = re.compile(r"<!-- *(setup|not run): *(.*?) *-->", re.DOTALL)


class Block(NamedTuple):
    page: str
    line: int
    language: str
    text: str
    not_run: str

    @property
    def place(self):
        return f"{self.page}:{self.line}"


def read(page):
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page, language=None):
    text = read(page)
    found = []
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start("text")) + 1
        marks = dict(MARK.findall(match["marks"]))
        code = textwrap.dedent(match["text"])
        found.append(Block(page, line, match["language"], code, marks.get("not run", "")))
    return [block for block in found if language in (None, block.language)]


def setup(page):
    return "\n".join(
        textwrap.dedent(code) for kind, code in MARK.findall(read(page)) if kind == "setup"
    )


def with_blocks(language):
    return [page for page in PAGES if blocks(page, language)]


# ---------------------------------------------------------------- what there is


def test_every_block_says_its_language():
    assert len(PAGES) > 15
    wrong = [b.place for page in PAGES for b in blocks(page) if b.language not in LANGUAGES]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES)
def test_no_block_is_hidden_in_an_indentation(page):
    """Indented code has no language and would not be looked at."""
    text = FENCE.sub("", read(page))
    assert re.findall(r"(?:^|\n)(?![ \t]*[-*\d])[^\n]*\n\n((?:    )+\S[^\n]*)", text) == []
    assert text.count("```") == 0, "a fence is not closed, or closed with another indentation"


@pytest.mark.parametrize("page", PAGES)
def test_a_list_in_a_list_is_one_on_the_site(page):
    """MkDocs wants four spaces, and takes what has fewer for items of the list around it."""
    assert re.findall(r"^ {1,3}(?:[-*]|\d+\.) .*", FENCE.sub("", read(page)), re.MULTILINE) == []


def test_few_blocks_are_not_run():
    left = [b.place for page in PAGES for b in blocks(page) if b.not_run]
    assert len(left) <= MAX_NOT_RUN, left


# ----------------------------------------------------------------------- Python


def literal(comment):
    """What a comment says the value is; Ellipsis if it says something else."""
    text = comment.lstrip("# ")
    for end in (len(text), *(m.start() for m in re.finditer(r"[;:,] ", text))):
        with contextlib.suppress(ValueError, SyntaxError):
            return ast.literal_eval(text[:end].strip())
    return ...


class Checked(ast.NodeTransformer):
    """Statements with a value in their comment become calls that compare."""

    def __init__(self, comments):
        self.comments = comments

    def visit_Expr(self, node):
        expected = literal(self.comments.get(node.end_lineno, "# no value"))
        if expected is ...:
            return node
        value = node.value
        if isinstance(value, ast.Call) and getattr(value.func, "id", "") == "print":
            [value] = value.args
        call = ast.Call(
            ast.Name("_compare", ast.Load()),
            [value, ast.Constant(repr(expected)), ast.Constant(node.lineno)],
            [],
        )
        return ast.copy_location(ast.Expr(call), node)


def checked(source):
    """The syntax tree of some code, with its comparisons."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {t.start[0]: t.string for t in tokens if t.type == tokenize.COMMENT}
    return ast.fix_missing_locations(Checked(comments).visit(ast.parse(source)))


def compiled(block, places=()):
    source = at("\n" * (block.line - 1) + block.text, places)
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    return compile(checked(source), str(ROOT / block.page), "exec", flags=flags)


def places_of(page, server, stack):
    """The addresses that a page uses, as patterns, and the servers of ours that stand there."""
    places = [(r"localhost:6379(/0)?\b", "{host}:{port}/{db}".format(**server.kwargs))]
    code = "".join(block.text for block in blocks(page, "python"))
    if "10.0.0.1" in code and "RedisCluster" in code:
        cluster = stack.enter_context(ClusterServers(masters=3))
        for number, node in enumerate(cluster.nodes, 1):
            places.append((rf'10\.0\.0\.{number}", 6379', f'{node.host}", {node.port}'))
            places.append((rf'host="10\.0\.0\.{number}"', f'host="{node.host}", port={node.port}'))
    elif "10.0.0.1" in code:
        passwords = {"requirepass": "redissecret", "sentinel_password": "sentinelsecret"}
        group = stack.enter_context(SentinelServers(replicas=1, **passwords))
        for number, (host, port) in enumerate(group.addresses, 1):
            places.append((rf'10\.0\.0\.{number}(", |:)26379', rf"{host}\g<1>{port}"))
    if "localhost:7001" in code:
        cluster = stack.enter_context(ClusterServers(masters=3))
        for number, node in enumerate(cluster.nodes, 1):
            places.append((rf"localhost:700{number}\b", f"{node.host}:{node.port}"))
    return places


def at(source, places):
    for pattern, place in places:
        source = re.sub(pattern, place, source)
    return source


def comparison(page):
    def compare(value, expected, line):
        assert value == ast.literal_eval(expected), f"{page}:{line}: {value!r}, not {expected}"

    return compare


async def execute(code, names):
    result = eval(code, names)
    if inspect.iscoroutine(result):
        await result


def run_program(block, server, places):
    """A whole program, as a reader would run it; only the server's address is another one."""
    preamble = "from tests.test_documents import comparison\n_compare = comparison('program')\n"
    source = preamble + ast.unparse(checked(at(block.text, places)))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", source],
        env=environment(server),
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
    )
    assert done.returncode == 0, f"{block.place}: {done.stdout}{done.stderr}"


def environment(server):
    own = {k: v for k, v in os.environ.items() if not k.startswith("REDIS_")}
    own.update({f"REDIS_{key.upper()}": str(value) for key, value in server.kwargs.items()})
    return {**own, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "NO_COLOR": "1"}


@pytest.mark.parametrize("page", with_blocks("python"))
async def test_python_runs(page, client, server, environment_of_extras, capsys, monkeypatch):
    native = await client.get_client()
    module = types.ModuleType("document")  # where dataclasses look for the types of their fields
    monkeypatch.setitem(sys.modules, "document", module)
    names = vars(module)
    names.update(client=client, redis_client=client, redis=native, aiecs_redis=aiecs_redis)
    names["_compare"] = comparison(page)
    stack = contextlib.ExitStack()
    try:
        places = places_of(page, server, stack)
        code = compile(setup(page), page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        await execute(code, names)
        for block in blocks(page, "python"):
            if block.not_run:
                compiled(block)
            elif "asyncio.run(" in block.text:
                run_program(block, server, places)
            else:
                await execute(compiled(block, places), names)
    finally:
        for made in {id(v): v for v in names.values() if v is not native}.values():
            if isinstance(made, aiecs_redis.Redis):
                await made.aclose()
        stack.close()


@pytest.fixture
def environment_of_extras():
    for module in ("prometheus_client", "opentelemetry.trace", "msgpack", "zstandard"):
        pytest.importorskip(module)


def test_a_wrong_value_in_a_comment_is_noticed():
    block = Block("page", 3, "python", "1 + 1  # 3\n", "")
    with pytest.raises(AssertionError, match="page:3: 2, not 3"):
        exec(compiled(block), {"_compare": comparison("page")})


@pytest.mark.parametrize(
    ("comment", "value"),
    [
        ("# 'v'", "v"),
        ("# True; False after an error", True),
        ("# None: it is gone", None),
        ("# {'a': '1', 'b': '2'}", {"a": "1", "b": "2"}),
        ("# None if it is gone", ...),
        ("# seconds", ...),
        ("# logs None", ...),
    ],
)
def test_values_in_comments(comment, value):
    assert literal(comment) == value


# --------------------------------------------------------------------- commands

MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
EXTRAS = set(
    re.findall(
        r"^([a-z]+) = \[",
        (ROOT / "pyproject.toml").read_text().split("[project.optional-dependencies]")[1],
        re.MULTILINE,
    )
)
ENDLESS = {"serve", "top", "monitor", "pubsub"}
COMPOSE = yaml.safe_load((ROOT / "deploy" / "compose.yml").read_text())


def check_make(words, server):
    targets = [word for word in words[1:] if "=" not in word]
    assert set(targets) <= TARGETS


def check_install(words, server):
    for requirement in words:
        match = re.fullmatch(r"(?:aiecs-redis|\.)\[([\w,]+)\]", requirement)
        assert match is None or set(match[1].split(",")) <= EXTRAS
    assert re.search(r"^(aiecs-redis|\.)(\[|$)", words[-1]), words


def check_command_line(words, server):
    """Run it: it must succeed, or go on for ever, if that is its purpose."""
    pytest.importorskip("rich")
    running = subprocess.Popen(
        [sys.executable, "-m", "aiecs_redis", *words],
        env={**environment(server), "PORT": "0"},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said, _ = running.communicate(timeout=3 if words[0] in ENDLESS else 60)
        assert running.returncode == 0, said
    except subprocess.TimeoutExpired:
        assert words[0] in ENDLESS, f"{words} does not end"
        running.send_signal(signal.SIGTERM)
        said, _ = running.communicate(timeout=20)
        assert running.returncode in (0, -signal.SIGTERM), said


def check_compose(words, server):
    assert (ROOT / words[words.index("-f") + 1]).samefile(ROOT / "deploy" / "compose.yml")
    services = COMPOSE["services"]
    profiles = {profile for service in services.values() for profile in service.get("profiles", ())}
    for option, value in zip(words, words[1:]):
        assert option != "--profile" or value in profiles
    if "run" in words:
        assert words[-1] in services


def check_python(words, server):
    """A module or a script of ours: its options are those that its --help lists."""
    if words[:2] == ["-m", "aiecs_redis"]:
        return check_command_line(words[2:], server)
    if words[:2] == ["-m", "uvicorn"]:
        assert importlib.util.find_spec(words[2].split(":")[0])
        return
    start = 2 if words[0] == "-m" else 1
    command = [sys.executable, *words[:start]]
    options = {word.split("=")[0] for word in words[start:] if word.startswith("--")}
    if options or words[1].startswith("benchmarks"):
        done = subprocess.run([*command, "--help"], capture_output=True, text=True, cwd=ROOT)
        assert options <= set(re.findall(r"--[a-z-]+", done.stdout)), done.stdout + done.stderr
    else:
        done = subprocess.run(
            command, env=environment(server), capture_output=True, text=True, cwd=ROOT, timeout=60
        )
    assert done.returncode == 0, done.stdout + done.stderr


def check_variable(words, server):
    name = words[0].split("=")[0]
    source = "".join(p.read_text() for p in [*ROOT.glob("build_support/*.py"), ROOT / "Makefile"])
    assert name in settings.VARIABLES or name in source, name


CHECKS = {
    "make": check_make,
    "pip": lambda words, server: check_install(words[1:], server),
    "aiecs-redis": lambda words, server: check_command_line(words[1:], server),
    "python": lambda words, server: check_python(words[1:], server),
    "docker": check_compose,
    "export": lambda words, server: check_variable(words[1:], server),
}


@pytest.mark.parametrize("page", with_blocks("sh"))
def test_commands_are_right(page, server):
    checked = 0
    for block in blocks(page, "sh"):
        for line in block.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if not words or block.not_run:
                continue
            if words[0].endswith(".sh"):
                assert os.access(ROOT / words[0], os.X_OK), line
            else:
                assert words[0] in CHECKS, f"{block.place}: how to check {line!r}?"
                CHECKS[words[0]](words, server)
            checked += 1
    assert checked or all(block.not_run for block in blocks(page, "sh"))


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_the_text_exist(page):
    for target in re.findall(r"`make ([a-z-]+)", read(page)):
        assert target in TARGETS, target
    for extras in re.findall(r"aiecs-redis\[([\w,]+)\]", read(page)):
        assert set(extras.split(",")) <= EXTRAS, extras


@pytest.mark.parametrize("page", PAGES)
def test_data_can_be_read(page):
    for block in blocks(page):
        if block.language == "yaml":
            yaml.safe_load(block.text)
        elif block.language == "json":
            json.loads(block.text)
        elif block.language == "toml" and sys.version_info >= (3, 11):
            import tomllib

            tomllib.loads(block.text)


def test_every_setting_is_in_its_page():
    named = set(re.findall(r"`(REDIS_\w+)`", read("docs/settings.md")))
    assert named >= set(settings.VARIABLES)
    if not redis.__version__.startswith("7."):  # which does not have all of them
        assert named == set(settings.VARIABLES)


# ------------------------------------------------------------------------ links


def anchors(text):
    for heading in re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", heading.lower().replace("`", ""))
        yield words.strip().replace(" ", "-")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", read(page))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), target
        if anchor and path.suffix == ".md":
            assert anchor in set(anchors(path.read_text())), target


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_exist(page):
    named = r"`((?:deploy|examples|tests|tools|docs|csrc|aiecs_redis|benchmarks)/[\w./-]+)`"
    for name in re.findall(named, read(page)):
        assert (ROOT / name).exists(), name
