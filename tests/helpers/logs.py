"""What a command does to the logs, taken back."""

import logging
from collections.abc import Generator
from contextlib import contextmanager

import structlog


@contextmanager
def logs_put_back() -> Generator[None]:
    """Leaves the logs, and who gets warnings, as they were before the block."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    kept = structlog.get_config()
    # Whoever captured them before and did not let go makes it a step that is left out.
    logging.captureWarnings(False)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.captureWarnings(False)
        structlog.configure(**kept)
        structlog.contextvars.clear_contextvars()
