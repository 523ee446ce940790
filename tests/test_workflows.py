"""The workflows of GitHub and .ci/run: what they call is there, and they test what is promised."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = {path.name: yaml.safe_load(path.read_text()) for path in FOLDER.glob("*.yml")}
JOBS = {
    f"{file}:{name}": job for file, flow in WORKFLOWS.items() for name, job in flow["jobs"].items()
}
PYPROJECT = (ROOT / "pyproject.toml").read_text()
SUPPORTED = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', PYPROJECT)
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

pytestmark = pytest.mark.skipif(not WORKFLOWS, reason="the workflows are not here")


def commands(job):
    return [line for step in job["steps"] for line in step.get("run", "").splitlines()]


@pytest.mark.parametrize("name", JOBS)
def test_a_job_is_bounded_and_calls_what_exists(name):
    job = JOBS[name]
    assert job["timeout-minutes"] <= 120
    assert all(("run" in step) != ("uses" in step) for step in job["steps"])
    for step in job["steps"]:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@v\d+", step.get("uses", "a/b@v1")), "a major version"
    for line in commands(job):
        for call in re.findall(r"(?:^|sudo |&& )make ([^&|]*)", line):
            words = [word for word in shlex.split(call) if "=" not in word]
            assert set(words) <= TARGETS, line
        for script in re.findall(r"(?:^|\s)((?:\.ci|tools)/\S+)", line):
            assert (ROOT / script).exists(), script


def test_every_python_and_every_server_is_tested():
    assert SUPPORTED[0] == "3.9"
    for name in ("test", "servers"):
        assert JOBS[f"ci.yml:{name}"]["strategy"]["matrix"]["python"] == SUPPORTED
    servers = JOBS["ci.yml:servers"]["strategy"]["matrix"]["server"]
    assert servers == ["redis:6.2", "redis:7.2", "redis:8", "valkey/valkey:8"]


def test_a_wheel_is_built_for_every_python():
    built = re.search(r'^build = "(.*)"$', PYPROJECT.split("[tool.cibuildwheel]")[1], re.MULTILINE)
    assert built[1].split() == [f"cp{version.replace('.', '')}-*" for version in SUPPORTED]
    systems = {entry["os"] for entry in JOBS["wheels.yml:wheels"]["strategy"]["matrix"]["include"]}
    assert {re.sub(r"-[\d.]+", "", system) for system in systems} == {
        "ubuntu-latest",
        "ubuntu-arm",
        "macos",
        "macos-intel",
    }


def test_ci_fails_before_it_is_ended():
    text = (ROOT / ".ci" / "run").read_text()
    steps = re.findall(r"^timeout (\d+)m make ([a-z -]+)$", text, re.MULTILINE)
    assert len(steps) == text.count("\nmake ") + text.count(" make ")
    assert all(set(targets.split()) <= TARGETS for _, targets in steps)
    assert {"test", "compat-fast", "lint", "type", "docs", "asan", "package"} <= {
        target for _, targets in steps for target in targets.split()
    }
