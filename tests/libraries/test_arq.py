"""arq: ArqRedis is a subclass of redis.asyncio.Redis; arq is imported afresh."""

import asyncio
import collections

import pytest

pytest.importorskip("arq", reason="arq is not installed, `make libraries` does that")


@pytest.fixture
async def arq(imported_afresh, native_names):
    arq = imported_afresh("arq")
    assert issubclass(arq.ArqRedis, native_names)
    return arq


@pytest.fixture
async def pool(arq, server):
    pool = await arq.create_pool(arq.connections.RedisSettings.from_dsn(server.url))
    yield pool
    await pool.aclose(close_connection_pool=True)


def make_worker(arq, functions, **options):
    return arq.Worker(
        [arq.func(function, name=function.__name__) for function in functions],
        poll_delay=0.01,
        handle_signals=False,
        **options,
    )


async def work_off(arq, pool, functions, **options):
    """Run a worker until the queue is empty."""
    worker = make_worker(arq, functions, redis_pool=pool, burst=True, **options)
    await worker.main()
    return worker


async def test_two_workers_share_the_jobs(arq, pool, admin):
    ran = collections.Counter()

    async def add(ctx, a, b):
        ran[a] += 1
        await ctx["redis"].incr("sum", a + b)
        return a + b

    jobs = await asyncio.gather(*(pool.enqueue_job("add", n, b=1) for n in range(100)))
    assert await pool.enqueue_job("add", 0, _job_id=jobs[0].job_id) is None
    assert len(await pool.queued_jobs()) == 100
    workers = await asyncio.gather(*(work_off(arq, pool, [add]) for _ in range(2)))
    assert sum(worker.jobs_complete for worker in workers) == 100
    assert ran == dict.fromkeys(range(100), 1)
    assert await asyncio.gather(*(job.result(timeout=5) for job in jobs)) == list(range(1, 101))
    assert admin.get("sum") == str(sum(range(1, 101)))
    assert len(await pool.all_job_results()) == 100


async def test_a_worker_on_a_client_of_its_own(arq, pool, server):
    """Enqueued while it runs; the result is awaited through another client."""

    async def double(ctx, n):
        return 2 * n

    settings = arq.connections.RedisSettings.from_dsn(server.url)
    worker = make_worker(arq, [double], redis_settings=settings)
    running = asyncio.ensure_future(worker.async_run())
    try:
        for n in range(10):
            job = await pool.enqueue_job("double", n)
            assert await job.result(timeout=5, poll_delay=0.01) == 2 * n
            assert await job.status() is arq.jobs.JobStatus.complete
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await worker.close()


async def test_retries_failures_and_delays(arq, pool):
    async def moody(ctx):
        if ctx["job_try"] < 3:
            raise arq.Retry(defer=0.05)
        return ctx["job_try"]

    async def broken(ctx):
        raise LookupError("no such thing")

    retried = await pool.enqueue_job("moody")
    failing = await pool.enqueue_job("broken")
    later = await pool.enqueue_job("moody", _defer_by=0.2)
    assert await later.status() is arq.jobs.JobStatus.deferred
    worker = await work_off(arq, pool, [moody, broken])
    assert (worker.jobs_complete, worker.jobs_failed, worker.jobs_retried) == (2, 1, 4)
    assert [await retried.result(), await later.result()] == [3, 3]
    with pytest.raises(LookupError, match="no such thing"):
        await failing.result()


async def test_a_running_job_is_aborted(arq, pool):
    started = asyncio.Event()

    async def forever(ctx):
        started.set()
        await asyncio.sleep(60)

    job = await pool.enqueue_job("forever")
    working = asyncio.ensure_future(work_off(arq, pool, [forever], allow_abort_jobs=True))
    await asyncio.wait_for(started.wait(), 5)
    assert await job.abort(timeout=5, poll_delay=0.01)
    await asyncio.wait_for(working, 5)
