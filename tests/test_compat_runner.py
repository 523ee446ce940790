"""`make compat` itself: which tests count, and when it fails."""

import pytest

from compat import classes, report
from compat.comparing import Result, _regressions
from compat.legs import LEGS

PREFIX = "tests/test_asyncio/"


def passed(number):
    outcome = {"outcome": "passed", "made": {"ours": 1}, "reads": 0}
    return {f"{PREFIX}test_commands.py::test_{n}": dict(outcome) for n in range(number)}


@pytest.mark.parametrize(
    ("test", "letter"),
    [
        ("test_commands.py::TestRedisCommands::test_get_and_set[pool]", "A"),
        ("test_commands.py::TestRedisCommands::test_readonly[single]", "B"),
        ("test_usage_counter.py::test_any", "B"),
        ("test_connect.py::test_tcp_connect", "N"),
        ("a file of later versions.py::test_any", "A"),
    ],
)
def test_classes(test, letter):
    assert classes.class_of(PREFIX + test) == letter


def test_what_a_run_leaves_out():
    slow = f"{PREFIX}test_pubsub.py::TestPubSubRedisDown::test_channel_subscribe[pool]"
    on_usual_ports = f"{PREFIX}test_sentinel.py::test_master_for[pool]"
    assert classes.is_any_of(slow, "NS") and not classes.is_any_of(slow, "NP")
    assert classes.is_any_of(on_usual_ports, "P") and not classes.is_any_of(on_usual_ports, "NS")


def test_every_line_is_understood():
    assert {rule.letter for rule in classes.rules()} == set("ABNXSP")


@pytest.mark.parametrize("outcome", ["failed", "crash", "hang", "skipped", "not collected"])
def test_what_passes_with_redis_py_only_is_lost(outcome):
    test = f"{PREFIX}test_commands.py::test_any[pool]"
    theirs = {test: {"outcome": "passed"}}
    (lost,) = _regressions({test: {"outcome": outcome, "message": "E  why"}}, theirs)
    assert (lost.letter, lost.test) == ("A", "test_commands.py::test_any[pool]")
    assert (lost.outcome, lost.message) == (outcome, "E  why")
    assert _regressions({test: {"outcome": outcome}}, {test: {"outcome": "failed"}}) == []


def test_a_file_that_cannot_be_collected_is_lost_test_by_test():
    file = f"{PREFIX}test_commands.py"
    theirs = {f"{file}::test_one": {"outcome": "passed"}, f"{file}::test_two": {"outcome": "xfail"}}
    (lost,) = _regressions({file: {"outcome": "not collected", "message": "E  import"}}, theirs)
    assert (lost.test, lost.outcome) == ("test_commands.py::test_one", "not collected")


@pytest.mark.parametrize("letter", "AB")
def test_a_lost_test_of_class_a_is_a_failure(letter, tmp_path, capsys):
    lost = _regressions(
        {f"{PREFIX}test_usage_counter.py::test_x": {"outcome": "failed"}},
        {f"{PREFIX}test_usage_counter.py::test_x": {"outcome": "passed"}},
    )[0]._replace(letter=letter)
    results = [Result("default", passed(1000), [lost], [], 1.0)]
    report.write(results, tmp_path)
    assert report.verdict(results, False, True, tmp_path) == (letter == "A")
    assert "test_usage_counter.py::test_x  [failed]" in capsys.readouterr().out
    assert "test_usage_counter.py::test_x [failed]" in (tmp_path / "regressions.txt").read_text()


def test_a_run_that_never_was_on_ours_is_a_failure(tmp_path, capsys):
    outcomes = passed(LEGS["default"].floor[False])
    results = [Result("default", outcomes, [], [], 1.0)]
    assert report.verdict(results, False, True, tmp_path) == 0
    next(iter(outcomes.values()))["made"] = {"redis-py": 1}
    assert report.verdict(results, False, True, tmp_path) == 1
    assert "class A tests ran on ours, not" in capsys.readouterr().out
    assert report.verdict(results, False, False, tmp_path) == 0  # some tests were chosen
