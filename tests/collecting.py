"""Code that runs wherever an object is made: the garbage collector calls it there."""

import contextlib
import gc

from subprocesses import run_isolated


@contextlib.contextmanager
def at_each_collection(act):
    """Garbage is looked for all the time, and `act` called each time, wherever the core may be."""
    before = gc.get_threshold()

    def callback(phase, info):
        if phase == "start":
            act()

    gc.collect()
    gc.freeze()  # what there is already is not looked through each time
    gc.callbacks.append(callback)
    gc.set_threshold(1, 1, 1)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(callback)
        gc.unfreeze()


def assert_finalizers_do_no_harm(port, scenario, first=0, step=1):
    """Finalizers act in the middle of it, at one collection out of `step`."""
    arguments = (port, scenario, first, step)
    options = ["-X", "faulthandler"]
    done = run_isolated("finalizers.py", *arguments, options=options, timeout=1200)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr[-4000:]
