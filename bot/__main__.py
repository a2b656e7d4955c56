"""``python -m bot`` is ``lantern run``; ``python -m bot COMMAND`` is ``lantern COMMAND``."""

import sys

from bot.cli import main

if __name__ == "__main__":
    main(sys.argv[1:] or ["run"])
