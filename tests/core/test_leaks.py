"""Nothing is left behind: objects, memory, descriptors, warnings. Each in a process of its own."""

import pytest
from subprocesses import run_isolated

pytestmark = pytest.mark.leaks

KINDS = [
    "awaited",
    "gathered",
    "tasks",
    "errors",
    "wrong_arguments",
    "cancelled",
    "cancelled_before",
    "cancelled_tasks",
    "timed_out",
    "undecodable",
    "closed",
    "thrown",
    "forgotten",
    "callbacks",
    "cycles",
    "aggregates",
    "large",
    "pipelines",
    "response_callbacks",
    "blocking",
    "cancelled_pops",
    "subscribed",
    "lent",
    "reconnects",
    "moved",
    "reauthenticated",
    "clients",
    "dropped_clients",
    "guarded",
    "encoding",
    "parsing",
    "measured",
    "observed_clients",
]


@pytest.fixture
def isolated(native, port, admin):
    """`isolated("leaks.py", "awaited", 10)`: a script run on the server, as a finished process."""

    def isolated(script, *args, options=(), **environment):
        return run_isolated(script, port, *args, options=options, timeout=300, **environment)

    return isolated


def outcome(done):
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_grows(isolated, kind):
    assert outcome(isolated("leaks.py", kind, 8, options=["-W", "ignore"])) == (0, "", "")


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_grows_over_a_hundred_thousand(isolated, kind):
    assert outcome(isolated("leaks.py", kind, 1000, options=["-W", "ignore"])) == (0, "", "")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_no_descriptor_is_left(isolated, loop):
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    assert outcome(isolated("descriptors.py", loop)) == (0, "", "")


@pytest.mark.parametrize("options", [("-X", "dev", "-W", "error"), ("-W", "error"), ("-O",)])
def test_quiet(isolated, options):
    assert outcome(isolated("quiet.py", options=options)) == (0, "done\n", "")


@pytest.mark.parametrize(
    ("mode", "status", "output"),
    [
        ("normal", 0, "end\n"),
        ("open-loop", 0, "end\n"),
        ("at-exit", 0, "end\nlate\n"),
        ("thread", 0, "end\n"),
        ("daemon", 0, "end\n"),
        ("exit", 3, ""),
        ("raise", 1, ""),
        ("interrupt", -2, ""),
    ],
)
def test_exit_with_commands_in_flight(isolated, mode, status, output):
    done = isolated("exit.py", mode, options=["-X", "faulthandler"])
    assert (done.returncode, done.stdout) == (status, output), done.stderr
    for trouble in ("Fatal", "Segmentation", "Exception ignored"):
        assert trouble not in done.stderr


@pytest.mark.parametrize("mode", ["kept", "dropped", "collected", "module"])
def test_exit_with_everything_pending(isolated, mode):
    done = isolated("pending.py", mode, options=["-X", "faulthandler"])
    assert (done.returncode, done.stdout) == (0, "end\n"), done.stderr


@pytest.mark.parametrize("kind", ["encode", "parse", "start", "observe", "count", "forget"])
def test_failing_allocations(isolated, kind):
    pytest.importorskip("_testcapi")
    done = isolated("no_memory.py", kind, options=["-X", "faulthandler"])
    assert (done.returncode, done.stdout) == (0, "survived\n"), done.stderr
