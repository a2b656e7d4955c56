"""Lines from a pipe or a file."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import TextIO

from bot.domain.errors import BotError

# Some editors and shells put it before a script; it is no part of the first command.
BYTE_ORDER_MARK = "\ufeff"


class Script:
    """Lines of a stream.

    Args:
        stream: a pipe or a file, or a terminal whose output is read elsewhere.
        asks: shows somebody who types a prompt; called before each line is waited for.
    """

    def __init__(self, stream: TextIO, asks: Callable[[], None] | None = None) -> None:
        self._stream = stream
        self._asks = asks
        self.is_typed = asks is not None
        """Somebody types its lines, and sees them."""
        self._first: str | None = None

    async def has_lines(self) -> bool:
        """Waits for the first line; False when the stream ended without one.

        Raises:
            BotError: the stream cannot be read.
        """
        # Kept for ``lines``: whoever asks whether a script comes must not lose its first line.
        if self._first is None:
            self._first = (await self._readline()).removeprefix(BYTE_ORDER_MARK)
        return self._first != ""

    async def lines(self) -> AsyncIterator[str]:
        """Every line until the end of the stream.

        Raises:
            BotError: the stream cannot be read.
        """
        if await self.has_lines():
            yield (self._first or "").rstrip("\r\n")
            while line := await self._readline():
                yield line.rstrip("\r\n")

    async def _readline(self) -> str:
        if self._asks is not None:
            self._asks()
        loop = asyncio.get_running_loop()
        found: asyncio.Queue[str | Exception] = asyncio.Queue()

        def read() -> None:
            try:
                line: str | Exception = self._stream.readline()
            except (OSError, ValueError) as error:  # a decoding error is a ValueError
                line = error
            # The chat may end, and its loop close, while a line is still waited for.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(found.put_nowait, line)

        # A daemon, not the loop's own pool: a silent pipe must not keep the program from ending.
        threading.Thread(target=read, name="script input", daemon=True).start()
        match await found.get():
            case str() as line:
                return line
            case UnicodeDecodeError() as error:
                words = "The script is no text in UTF-8; save it so and try again."
                raise BotError(words) from error
            case error:
                raise BotError(f"The script cannot be read: {error}.") from error
