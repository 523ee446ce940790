"""A pytest plugin that chooses tests, and writes down what becomes of each as it happens.

COMPAT_LOG: a file of JSON lines, appended to: what is in it survives a crash.
COMPAT_SELECTION: a JSON file: "only", a list of node ids or whole files to run, or null; "skip", a
    list of node ids not to run; "without", letters of classes.txt not to run.
"""

import json
import os
import time

import redis

from compat import classes, swapping

_log = open(os.environ["COMPAT_LOG"], "a")  # noqa: SIM115  open as long as pytest runs
_current = {}


def _write(event, **fields):
    _log.write(json.dumps({"event": event, **fields}) + "\n")
    _log.flush()


def _errors(text):
    """What pytest marks as the error, without the source around it."""
    marked = [line for line in text.splitlines() if line.startswith("E ")]
    return "\n".join(marked[-6:])[-800:]


def pytest_configure(config):
    _write("session", redis=redis.__version__, swapped=sorted(swapping.swapped))


def pytest_collection_modifyitems(config, items):
    with open(os.environ["COMPAT_SELECTION"]) as file:
        selection = json.load(file)
    only, skip = selection["only"], set(selection["skip"])
    chosen = None if only is None else set(only)
    kept, dropped = [], []
    for item in items:
        wanted = item.nodeid not in skip and not classes.is_any_of(
            item.nodeid, selection["without"]
        )
        if chosen is not None and not {item.nodeid, item.nodeid.split("::")[0]} & chosen:
            wanted = False
        (kept if wanted else dropped).append(item)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept


def pytest_collectreport(report):
    if report.failed:
        message = _errors(str(report.longrepr))
        _write("test", id=report.nodeid, outcome="not collected", message=message)


def pytest_runtest_logstart(nodeid):
    swapping.reset()
    _current.clear()
    _current.update(outcome="passed", message="", since=time.perf_counter())
    _write("start", id=nodeid)


def pytest_runtest_logreport(report):
    if report.outcome == "skipped":
        _current["outcome"] = "xfailed" if hasattr(report, "wasxfail") else "skipped"
    elif report.failed:
        if _current["outcome"] != "failed":
            _current["outcome"] = "failed"
            _current["message"] = _errors(report.longreprtext)
    elif report.when == "call" and hasattr(report, "wasxfail"):
        _current["outcome"] = "xpassed"


def pytest_runtest_logfinish(nodeid):
    _write(
        "test",
        id=nodeid,
        outcome=_current["outcome"],
        message=_current["message"],
        seconds=round(time.perf_counter() - _current["since"], 3),
        made=dict(swapping.made),
        reads=swapping.reads,
    )
