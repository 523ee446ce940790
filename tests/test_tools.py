"""The tools of the repository that no other test runs."""

import base64
import hashlib
import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---------------------------------------------------------------------- wheels


@pytest.fixture
def wheel(tmp_path):
    """As auditwheel leaves it: with OpenSSL in it, and no word of its licence."""
    pytest.importorskip("wheel")
    name = "aiecs_redis-1.0-cp311-cp311-manylinux_2_34_x86_64"
    about = "aiecs_redis-1.0.dist-info"
    files = {
        "aiecs_redis/__init__.py": b"",
        "aiecs_redis.libs/libssl-0123abcd.so.3": b"library",
        "aiecs_redis.libs/libcrypto-0123abcd.so.3": b"library",
        f"{about}/METADATA": b"Metadata-Version: 2.4\nName: aiecs-redis\nVersion: 1.0\n",
        f"{about}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: false\n"
        b"Tag: cp311-cp311-manylinux_2_34_x86_64\n",
    }
    path = tmp_path / f"{name}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in files.items():
            archive.writestr(file, content)
        lines = [f"{file},{digest(content)},{len(content)}" for file, content in files.items()]
        archive.writestr(f"{about}/RECORD", "\n".join([*lines, f"{about}/RECORD,,", ""]))
    return path


def digest(content):
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip(
        "="
    )


def test_the_licence_of_a_bundled_openssl_goes_with_it(wheel):
    repair_wheel = tool("repair_wheel")
    assert len(repair_wheel.bundled(wheel)) == 2
    repair_wheel.add_licence(wheel)
    name = "aiecs_redis-1.0.dist-info/licenses/vendored/openssl/LICENSE"
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(name)
        record = archive.read("aiecs_redis-1.0.dist-info/RECORD").decode()
    assert b"Apache License" in text
    assert f"{name},{digest(text)},{len(text)}" in record.splitlines()


def test_the_check_of_a_wheel_refuses_the_sources(tmp_path):
    """It must not be fooled by the package that lies beside it."""
    check = [sys.executable, str(ROOT / "tools" / "check_wheel.py")]
    done = subprocess.run(check, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 1
    assert "is not the wheel's" in done.stderr


# --------------------------------------------------------------- interpreters


def test_the_interpreter_that_runs_is_among_those_found():
    pythons = tool("pythons")
    found = pythons.found()
    assert sys.executable in found
    versions = [pythons.version_of(path) for path in found]
    assert versions == sorted(versions, key=lambda text: [int(n) for n in text.split(".")])
    assert {".".join(version.split(".")[:2]) for version in versions} <= set(pythons.MINORS)
    assert pythons.version_of("/nonexistent/python") == ""


def test_what_is_not_about_pythons_or_servers_is_for_pytest(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    test_all = tool("test_all")
    monkeypatch.setattr(test_all, "FOLDER", tmp_path)
    chosen = ["-n", "0", "-k", "among_those_found", "tests/test_tools.py"]
    assert test_all.main(["--python", sys.executable, *chosen]) == 0
    assert "1 passed" in capsys.readouterr().out


def test_an_unknown_server_or_python_is_refused_before_anything_runs():
    script = [sys.executable, str(ROOT / "tools" / "test_all.py")]
    for option, value in (("--server", "no-such-server"), ("--python", "no-such-python")):
        done = subprocess.run([*script, option, value], capture_output=True, text=True, timeout=60)
        assert done.returncode == 2
        assert value in done.stderr
