"""Lines from a keyboard or from a script, one way for both."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from typing import Protocol, TextIO

from bot.domain.errors import BotError

BYTE_ORDER_MARK = "\ufeff"
"""Some editors and shells put it before a script; it is no part of the first command."""


class Input(Protocol):
    """Where lines come from."""

    is_interactive: bool

    def lines(self) -> AsyncIterator[str]:
        """Every line until the end of input."""
        ...


class ScriptInput:
    """Lines of a pipe or file; echoed by the session so that the output reads as a dialogue."""

    is_interactive = False

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._first: str | None = None

    async def has_lines(self) -> bool:
        """Waits for the first line; False when the stream ended without one.

        Raises:
            BotError: the stream cannot be read.
        """
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
        """One line, by a daemon thread: a silent pipe must not keep the program from ending."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[str] = loop.create_future()

        def deliver(line: str | Exception) -> None:
            if done.done():
                return
            if isinstance(line, str):
                done.set_result(line)
            else:
                done.set_exception(line)

        def read() -> None:
            try:
                line: str | Exception = self._stream.readline()
            except (OSError, ValueError) as error:  # a decoding error is a ValueError
                line = error
            # The chat may end, and its loop close, while a line is still waited for.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(deliver, line)

        threading.Thread(target=read, name="script input", daemon=True).start()
        try:
            return await done
        except UnicodeDecodeError as error:
            raise BotError("The script is no text in UTF-8; save it so and try again.") from error
        except (OSError, ValueError) as error:
            raise BotError(f"The script cannot be read: {error}.") from error


class KeyboardInput:
    """A prompt with history and completion; Ctrl-D ends, Ctrl-C clears the line."""

    is_interactive = True

    def __init__(self, prompt: str, complete: Callable[[str], Iterable[str]]) -> None:
        self._prompt = prompt
        self._complete = complete

    async def lines(self) -> AsyncIterator[str]:
        """Every line typed."""
        # Imported on first use: a script or a server never pays for it.
        from prompt_toolkit import PromptSession
        from prompt_toolkit.history import InMemoryHistory
        from prompt_toolkit.patch_stdout import patch_stdout

        from bot.terminal.completion import SlashCompleter

        session: PromptSession[str] = PromptSession(
            history=InMemoryHistory(),
            completer=SlashCompleter(self._complete),
            complete_while_typing=True,
        )
        while True:
            try:
                # What happens by itself meanwhile is printed above the prompt, not into it.
                with patch_stdout(raw=True):
                    line = await session.prompt_async(self._prompt)
            except KeyboardInterrupt:
                continue
            except EOFError:
                return
            yield line
