"""Finalizers that cancel, close and ask in the middle of whatever a client does."""

import pytest
from collecting import assert_finalizers_do_no_harm

SCENARIOS = [  # and of the short form: the first collection that is tried, and each how manieth
    ("blocking", 2, 13),
    ("closing", 5, 13),
    ("commands", 8, 13),
    ("connecting", 10, 61),
    ("losing_connections", 5, 13),
    ("pipelines", 9, 13),
    ("subscribing", 11, 29),
    ("watching", 3, 13),
]


@pytest.mark.parametrize(("scenario", "first", "step"), SCENARIOS)
def test_finalizers(native, port, admin, scenario, first, step):
    assert_finalizers_do_no_harm(port, scenario, first, step)


@pytest.mark.long
@pytest.mark.parametrize("scenario", [scenario for scenario, _, _ in SCENARIOS])
def test_finalizers_everywhere(native, port, admin, scenario):
    assert_finalizers_do_no_harm(port, scenario)
