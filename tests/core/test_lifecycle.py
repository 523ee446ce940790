"""Clients and loops that end in unusual ways: no crash, no warning, no descriptor is left."""

import gc
import re
import sys
import weakref

import pytest
from subprocesses import run_isolated

pytestmark = pytest.mark.leaks

STRICT = ["-X", "dev", "-W", "error", "-X", "faulthandler"]
KINDS = [  # and rounds of the short and the long form
    ("loops", 40, 1000),
    ("forks", 15, 1000),
    ("loop_closed", 40, 1000),
    ("cycles", 30, 500),
    ("closed_inside", 30, 1000),
    ("encoding_closes", 20, 500),
    ("exits_inside", 12, 300),
    ("threads", 100, 5000),
    ("signals", 40, 2000),
]


def silent(script, *args, options=STRICT, timeout=1200):
    done = run_isolated(script, *args, options=options, timeout=timeout)
    # What asyncio's debug mode tells of a busy machine is not about us.
    said = re.sub(r"^Executing <.*> took [\d.]+ seconds\n", "", done.stderr, flags=re.MULTILINE)
    assert (done.returncode, said) == (0, ""), done.stdout
    return done.stdout


@pytest.mark.parametrize(("kind", "rounds"), [(kind, short) for kind, short, _ in KINDS])
def test_lifecycle(native, port, admin, kind, rounds):
    assert silent("lifecycle.py", port, kind, rounds) == ""


@pytest.mark.long
@pytest.mark.parametrize(("kind", "rounds"), [(kind, long) for kind, _, long in KINDS])
def test_lifecycle_over_and_over(native, port, admin, kind, rounds):
    assert silent("lifecycle.py", port, kind, rounds) == ""


def test_subinterpreters(native, port, admin):
    own = "ImportError: module aiecs_redis._native does not support loading in subinterpreters\n"
    expected = "works\n" + (own if sys.version_info >= (3, 12) else "") + "works\nworks\n"
    assert silent("subinterpreters.py", port, options=["-X", "faulthandler"]) == expected


class Observer:
    def __init__(self):
        self.alive = True

    def __call__(self, record):
        raise AssertionError("nothing was sent")


def observed(native, number):
    """An observer, and so many clients that count in the counters of the first."""
    observer, clients = Observer(), [native() for _ in range(number)]
    clients[0]._native_observe(True, observer, None, 0.0)
    for client in clients[1:]:
        client._native_count_in(clients[0])
    for client in clients:
        client.itself = client  # for the garbage collector
    return observer, clients


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_an_observer_outlives_the_clients_that_share_it(native, number):
    kept = []
    gc.collect()  # now it belongs to a generation that is looked at seldom
    gc.disable()
    try:
        kept.extend([observed(native, number)[0]] * (number - 1 or 1))
        gc.collect(0)
        assert kept[0].alive
    finally:
        gc.enable()


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_an_observer_that_has_its_clients_goes_with_them(native, number):
    observer, clients = observed(native, number)
    observer.clients = clients
    gone = weakref.ref(observer)
    del observer, clients
    gc.collect()
    assert gone() is None
