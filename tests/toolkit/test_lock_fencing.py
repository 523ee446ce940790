"""Holders that stand still beyond the time-out: what they write afterwards does not get through."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from aiecs_redis.lock import DistributedLock

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).parent / "isolated" / "lock_holders.py"


async def start(url, first, count, timeout):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(SCRIPT),
        url,
        str(first),
        str(count),
        str(timeout),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert await process.stdout.readline() == b"ready\n"
    return process


@pytest.mark.parametrize(
    ("processes", "each", "timeout"),
    [(2, 5, 2.0), pytest.param(25, 40, 5.0, marks=pytest.mark.long)],
)
async def test_only_fenced_writes_of_the_newest_holder_pass(
    own, admin, client, until, processes, each, timeout
):
    total = processes * each
    running = []
    try:
        for number in range(processes):
            running.append(await start(own.url, number * each, each, timeout))
        for process in running:
            process.send_signal(signal.SIGSTOP)
        names = [f"lock:resource:{number}" for number in range(total)]
        await until(lambda: admin.exists(*names) == 0, 6 * timeout)

        locks = [DistributedLock(client, f"resource:{n}", timeout=60) for n in range(total)]
        assert await asyncio.gather(*(lock.acquire() for lock in locks)) == [True] * total
        for number, lock in enumerate(locks):
            await lock.execute(("SET", f"resource:{number}", "fresh"))

        for process in running:
            process.send_signal(signal.SIGCONT)
        reports = []
        for process in running:
            out, _ = await asyncio.wait_for(process.communicate(), 60)
            reports.append(json.loads(out))
    finally:
        for process in running:
            if process.returncode is None:
                process.kill()
                await process.wait()

    sums = {name: sum(report[name] for report in reports) for name in reports[0]}
    assert sums == {"passed": 0, "refused": total, "lost": total}
    assert set(admin.mget([f"resource:{n}" for n in range(total)])) == {"fresh"}
    # They did write: without the fence it would have got through.
    assert set(admin.mget([f"unfenced:{n}" for n in range(total)])) == {"stale"}
    for lock in locks:
        assert await lock.release()
