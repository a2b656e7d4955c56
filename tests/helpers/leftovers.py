"""What something leaves behind for the garbage collector."""

import gc
from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def leftovers() -> Generator[Callable[[], set[str]]]:
    """Gives what names the kinds, and the functions, that came to be since and are still there."""
    was_on = gc.isenabled()
    gc.collect()
    # Whatever nobody collects stays in the youngest generation.
    gc.disable()
    try:
        yield lambda: {
            getattr(each, "__qualname__", type(each).__qualname__)
            for each in gc.get_objects(generation=0)
        }
    finally:
        if was_on:
            gc.enable()
