"""Code that runs wherever an object is made: the garbage collector calls it there."""

import contextlib
import gc


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
