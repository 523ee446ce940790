"""Celery: a prefork worker whose tasks call asyncio.run() around one shared client.

Celery itself uses redis-py's synchronous client as broker and result store; ours is in the tasks
of `celery_app.py`. It is made before the worker forks, and used there.
"""

import contextlib
import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("celery", reason="Celery is not installed, `make libraries` does that")

HERE = Path(__file__).parent
COMMAND = ["worker", "--pool=prefork", "--concurrency=3", "--loglevel=INFO", "--without-gossip"]

pytestmark = pytest.mark.long


@pytest.fixture
def celery_app(start_server, monkeypatch):
    """The application on a server of its own, for this process and the workers."""
    server = start_server()
    monkeypatch.setenv("CELERY_TEST_URL", server.url)
    monkeypatch.syspath_prepend(str(HERE))
    sys.modules.pop("celery_app", None)
    import celery_app

    celery_app.server = server
    yield celery_app
    # A result tells the server when it is collected, and would wait for one that is gone.
    gc.collect()
    celery_app.app.close()
    del sys.modules["celery_app"]


@contextlib.contextmanager
def worker(log):
    """A worker; stopped as a service manager would, it must end by itself and in peace."""
    path = os.pathsep.join([str(HERE), *filter(None, sys.path)])
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "--app", "celery_app", *COMMAND],
            env={**os.environ, "PYTHONPATH": path, "PYTHONFAULTHANDLER": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=HERE,
        )
        try:
            yield process
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0, log.read_text()
        except BaseException:
            print(log.read_text())
            raise
        finally:
            process.kill()
            process.wait()


def test_tasks_share_a_client_over_forks_and_loops(celery_app, tmp_path):
    log = tmp_path / "worker.log"
    with worker(log), celery_app.server.connect(decode_responses=True) as admin:
        results = [celery_app.work.delay(n) for n in range(60)]
        abandoned = [celery_app.abandon.delay() for _ in range(6)]
        documented = [celery_app.documented.delay(n) for n in range(20)]
        processes = set()
        for n, result in enumerate(results):
            pid, counts, value, popped = result.get(timeout=60)
            processes.add(pid)
            assert sorted(counts) == list(range(1, 21))
            assert (value, popped) == (str(n), [f"work:{n}:list", "item"])
        assert [result.get(timeout=20) for result in abandoned] == ["fine"] * 6
        assert [result.get(timeout=20) for result in documented] == [str(n) for n in range(20)]
        assert len(processes) >= 6  # 60 tasks, ten for each process
        assert admin.mget("hellos", "total", "dropped") == ["10", "60", None]
        # Three processes are left, with the connections of two clients and of a last BLPOP; those
        # of some ninety loops before are closed.
        ours = [c for c in admin.client_list() if c["cmd"] in ("incr", "blpop", "exec", "echo")]
        assert len(ours) <= 3 * 4
    said = log.read_text()
    for trouble in "Traceback", "ERROR", "CRITICAL", "Exception ignored", "was never", "signal 11":
        assert trouble not in said, said
