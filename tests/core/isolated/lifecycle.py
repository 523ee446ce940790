"""Clients and loops that end in every unusual way, many times over.

    lifecycle.py PORT KIND ROUNDS

To be run under `-X dev -W error`. Prints what is wrong: nothing, when all is well.
"""

import asyncio
import contextlib
import gc
import os
import signal
import sys
import threading
import weakref

import redis

import aiecs_redis

port, kind, rounds = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
# redis-py's clients hold an asyncio.Lock, which asks for the thread's loop up to Python 3.9.
OUTSIDE = asyncio.new_event_loop() if sys.version_info < (3, 10) else None
asyncio.set_event_loop(OUTSIDE)
problems = []
sys.unraisablehook = lambda hook: problems.append(f"unraisable: {hook.exc_value!r}")
threading.excepthook = lambda hook: problems.append(f"in a thread: {hook.exc_value!r}")


def made(**options):
    return aiecs_redis.Redis(host="127.0.0.1", port=port, **options)


def descriptors():
    return len(os.listdir("/proc/self/fd"))


async def quietly(awaitable):
    try:
        return await awaitable
    except (redis.RedisError, asyncio.CancelledError) as error:
        return type(error)


def run(coroutine, quiet=False):
    """asyncio.run(), but everything the loop reports counts."""
    loop = asyncio.new_event_loop()
    loop.slow_callback_duration = 60  # a busy machine is no trouble
    loop.set_exception_handler(
        lambda _, found: quiet or problems.append(f"{found['message']}: {found.get('exception')!r}")
    )
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(coroutine)
    finally:
        while tasks := asyncio.all_tasks(loop):
            for task in tasks:
                task.cancel()
                # Up to Python 3.9 gather() makes tasks of commands, and what they set off may exit.
                with contextlib.suppress(asyncio.CancelledError, SystemExit):
                    if not task.done():  # one that has exited does not stop the loop again
                        loop.run_until_complete(task)
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(OUTSIDE)
        loop.close()


def loops():
    """A loop each, clients of their own and one that is shared."""
    shared = made()

    async def work():
        async with made() as client:
            assert await asyncio.gather(client.ping(), shared.ping()) == [True, True]

    for _ in range(rounds):
        run(work())
    run(shared.aclose())


def forks():
    """The child uses the inherited client on a loop of its own, the parent goes on."""

    async def parent():
        async with made() as client:
            identity = await client.client_id()
            for number in range(rounds):
                pending = [asyncio.ensure_future(client.echo(str(n))) for n in range(3)]
                pid = os.fork()
                if pid == 0:
                    status = 1
                    try:
                        asyncio.events._set_running_loop(None)
                        if number % 2:
                            assert asyncio.run(client.echo("child")) == b"child"
                        del client, pending
                        gc.collect()
                        status = 0
                    finally:
                        os._exit(status)
                assert await asyncio.gather(*pending) == [b"0", b"1", b"2"]
                _, status = os.waitpid(pid, 0)
                assert status == 0, status
            assert await client.client_id() == identity

    run(parent())


def loop_closed():
    """The loop goes away under its client, in every phase of a command."""
    client = made()

    async def leave(turns):
        pending = [asyncio.ensure_future(client.get("key")) for _ in range(3)]
        pending.append(asyncio.ensure_future(client.blpop("nothing", 20)))
        for _ in range(turns):
            await asyncio.sleep(0)
        return pending

    for number in range(rounds):
        pending = run(leave(number % 7), quiet=True)
        for future in pending:
            if future.done() and not future.cancelled():
                future.exception()
        del pending
    run(client.aclose())


def cycles():
    """Pending commands in cycles that only the collector can see."""

    class Holder:
        pass

    def make():
        holder = Holder()
        holder.client = made()
        holder.future = asyncio.ensure_future(holder.client.blpop("nothing", 20))
        holder.future.add_done_callback(lambda _, holder=holder: None)
        holder.unstarted = holder.client.get("key")
        holder.unstarted.close()
        return weakref.ref(holder)

    async def work():
        seen = make()
        await asyncio.sleep(0.001)
        gc.collect()
        return seen

    left = [run(work(), quiet=True) for _ in range(rounds)]
    gc.collect()
    alive = sum(holder() is not None for holder in left)
    if alive > 1:  # what ran last may live with the loop's core
        problems.append(f"{alive} of {rounds} cycles live")


def closed_inside():
    """The client is closed by what its replies set off."""

    async def work(where):
        client = made()
        await client.ping()
        closing = []

        def close(*args, **options):
            closing.append(asyncio.ensure_future(client.aclose()))
            starting = client.aclose()
            with contextlib.suppress(StopIteration):
                starting.send(None)  # now, as far as it goes without waiting
            starting.close()
            return args[0] if args else None

        pending = [asyncio.ensure_future(client.echo(str(n))) for n in range(5)]
        if where == "callback":
            pending[1].add_done_callback(close)
        elif where == "response callback":
            client.set_response_callback("ECHO", close)
        else:

            async def waiter():
                await pending[1]
                close()
                await client.aclose()

            pending.append(asyncio.ensure_future(waiter()))
        await asyncio.gather(*map(quietly, pending))
        await asyncio.gather(*closing)
        assert await client.ping()
        await client.aclose()

    for number in range(rounds):
        run(work(("callback", "response callback", "task")[number % 3]))


def encoding_closes():
    """repr() of a number, in the middle of encoding a command, sends another one and closes."""

    class Number(float):
        def __repr__(self):
            act()
            return "1.5"

    def act():
        for make in actions:
            starting = make()
            with contextlib.suppress(StopIteration, redis.RedisError):
                starting.send(None)
            starting.close()

    actions = []

    async def work(number):
        client = made()
        await client.ping()
        actions[:] = [
            [client.aclose],
            [lambda: client.echo("inner")],
            [lambda: client.echo(b"x" * 100_000), client.aclose],
        ][number % 3]
        results = await asyncio.gather(
            *(
                quietly(client.execute_command("ECHO", arg))
                for arg in (b"first", Number(1), b"last")
            ),
            quietly(client.execute_command("ECHO", Number(1), "one too many")),
            quietly(client.execute_command("ECHO", "large" * 20_000, Number(1), object())),
        )
        for result, expected in zip(results, (b"first", b"1.5", b"last")):
            if result != expected and not isinstance(result, type):
                problems.append(f"{result!r} instead of {expected!r}")
        actions.clear()
        assert await client.ping()
        await client.aclose()

    for number in range(rounds):
        run(work(number))


def exits_inside():
    """sys.exit() in what a reply sets off leaves the loop; the next loop works."""

    async def work(where):
        async with made() as client:
            pending = [asyncio.ensure_future(client.echo("x")) for _ in range(5)]

            def leave(*args, **options):
                sys.exit(3)

            async def waiter():
                await pending[1]
                leave()

            if where == "callback":
                pending[1].add_done_callback(leave)
            elif where == "response callback":
                client.set_response_callback("ECHO", leave)
            else:
                pending.append(asyncio.ensure_future(waiter()))
            await asyncio.gather(*pending)
            await asyncio.sleep(10)

    for number in range(rounds):
        try:
            run(work(("callback", "response callback", "task")[number % 3]), quiet=True)
            problems.append("sys.exit() was lost")
        except SystemExit as exc:
            assert exc.code == 3
    run(made().ping())


def threads():
    """Two threads with loops of their own on one client, at once."""
    client = made()

    async def work():
        for number in range(rounds):
            text = f"{threading.get_ident()}-{number}"
            found = await asyncio.gather(*(client.echo(text) for _ in range(5)))
            assert found == [text.encode()] * 5

    workers = [threading.Thread(target=run, args=(work(),)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    run(client.aclose())
    gc.collect()


def signals():
    """Signals arrive all the time: their handlers run, and no reply is lost."""
    caught = []
    signal.signal(signal.SIGALRM, lambda *_: caught.append(1))

    async def work():
        async with made() as client:
            for number in range(rounds):
                text = str(number)
                assert (
                    await asyncio.gather(*(client.echo(text) for _ in range(20)))
                    == [text.encode()] * 20
                )

    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    run(work())
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert caught


work = globals()[kind]
wanted, rounds = rounds, 3
work()  # what is made once is there
gc.collect()
before, rounds = descriptors(), wanted
work()
gc.collect()
if descriptors() > before + 2:  # a client that was left keeps the last loop's
    problems.append(f"{descriptors() - before} descriptors")
if OUTSIDE is not None:
    OUTSIDE.close()
for problem in dict.fromkeys(problems):
    print(problem[:300])
