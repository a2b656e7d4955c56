"""The prompt where somebody types; imported only there, since a script never pays for it."""

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterable
from contextlib import contextmanager

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.patch_stdout import patch_stdout

try:
    import termios
except ImportError:  # Windows shows no key that nobody waits for
    termios = None


@contextmanager
def unechoed() -> Generator[None]:
    """What is typed between two prompts is not shown until the next one, where it then stands."""
    # Keys pressed while an answer streamed in stood in the middle of its words.
    if termios is None:
        yield
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    quiet = before.copy()
    quiet[3] &= ~termios.ECHO
    termios.tcsetattr(keyboard, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(keyboard, termios.TCSANOW, before)


class Keyboard(Completer):
    """A prompt with history and completion; Ctrl-D ends, Ctrl-C clears the line, Ctrl-Z stops."""

    def __init__(
        self, prompt: str, complete: Callable[[str], Awaitable[Iterable[tuple[str, str]]]]
    ) -> None:
        self._prompt = prompt
        self._complete = complete

    async def lines(self) -> AsyncIterator[str]:
        """Every line typed."""
        # As while an answer streams, Ctrl-Z stops the program: typed into the line it was sent on,
        # and the `fg` that was meant for the shell went to the persona.
        session: PromptSession[str] = PromptSession(
            history=InMemoryHistory(),
            completer=self,
            complete_while_typing=True,
            enable_suspend=True,
        )
        while True:
            try:
                # What happens by itself meanwhile is printed above the prompt, not into it.
                with patch_stdout(raw=True):
                    line = await session.prompt_async(self._prompt)
            except KeyboardInterrupt:
                # As in a shell: Ctrl-C gives up the line, not the program.
                continue
            except EOFError:
                return
            yield line

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """None at once: what may be chosen is looked up, by the way below."""
        return ()

    async def get_completions_async(
        self, document: Document, complete_event: CompleteEvent
    ) -> AsyncGenerator[Completion]:
        """Whole lines that could follow what stands before the cursor; asked by the prompt."""
        typed = document.text_before_cursor
        if typed.startswith("/"):
            for line, mark in await self._complete(typed):
                yield Completion(line, start_position=-len(typed), display_meta=mark)
