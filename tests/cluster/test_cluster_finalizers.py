"""Finalizers that cancel, close and ask in the middle of what a client of a cluster does."""

import pytest
from collecting import assert_finalizers_do_no_harm

SCENARIOS = ["misled", "scattered", "without_topology"]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_finalizers(start_cluster, scenario):
    assert_finalizers_do_no_harm(start_cluster().kwargs["port"], scenario, 4, 29)


@pytest.mark.long
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_finalizers_everywhere(start_cluster, scenario):
    assert_finalizers_do_no_harm(start_cluster().kwargs["port"], scenario)
