"""``python -m bot`` is ``lantern run``; ``python -m bot COMMAND`` is ``lantern COMMAND``."""

import gc
import sys
from collections.abc import Sequence

_EXTRAS = ("rich", "greenlet", "httpx._main")
"""Of structlog, to draw tracebacks with local variables and to log from green threads where some
other package brought them, and of httpx, for a command of its own."""


def lantern(arguments: Sequence[str] | None = None) -> None:
    """The program: runs a command, the process's own unless given, and exits with its code."""
    # Modules are no garbage: looking for some while they load takes a tenth of the start.
    # The event loop turns collection on again.
    gc.disable()
    # Both do without what is not installed. Loaded for nothing, these were seven MB of memory and a
    # twelfth of the start; our own commands load rich when they print.
    left_out = [name for name in _EXTRAS if name not in sys.modules]
    try:
        for name in left_out:
            sys.modules[name] = None  # pyright: ignore[reportArgumentType]  # says there is none
        from bot.cli import main

        for name in left_out:
            del sys.modules[name]
        main(arguments)
    # Loading takes a second or two on a slow machine, and Ctrl-C showed thirty lines of ours.
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    lantern(sys.argv[1:] or ["run"])
