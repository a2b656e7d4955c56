"""``python -m bot`` is ``lantern run``; ``python -m bot COMMAND`` is ``lantern COMMAND``."""

import gc
import sys
from collections.abc import Sequence


def lantern(arguments: Sequence[str] | None = None) -> None:
    """The program: runs a command, the process's own unless given, and exits with its code."""
    # Modules are no garbage: looking for some while they load takes a tenth of the start.
    # The event loop turns collection on again.
    gc.disable()
    try:
        from bot.cli import main

        main(arguments)
    # Loading takes a second or two on a slow machine, and Ctrl-C showed thirty lines of ours.
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    lantern(sys.argv[1:] or ["run"])
