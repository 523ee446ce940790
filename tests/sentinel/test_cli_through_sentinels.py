"""The command line finds the master through Sentinels."""

import json

import pytest


@pytest.fixture
def cli(group, no_environment, command_line):
    nodes = ",".join(f"{host}:{port}" for host, port in group.addresses)
    no_environment.setenv("REDIS_SENTINELS", nodes)
    no_environment.setenv("REDIS_SENTINEL_MASTER", group.name)
    return command_line


def test_bench(cli, group):
    short = ("--seconds", "0.02", "--rounds", "1", "--tasks", "2")
    status, out, err = cli("bench", *short, "--json")
    assert status == 0, err
    found = json.loads(out)
    assert found["server"].startswith(f"{group.name}@")
    assert all(one["ours"] > 0 and one["theirs"] > 0 for one in found["results"])
    assert group.master().call("DBSIZE") == 0


def test_doctor_examines_the_master(cli):
    status, out, err = cli("doctor", "--json")
    found = {finding["check"]: finding for finding in json.loads(out)}
    assert status == 0, err
    assert "tls" not in found  # it is on this machine
    assert found["password"]["level"] == "note"
    assert "role" not in found
