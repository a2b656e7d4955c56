"""Completion of slash commands and names for the prompt; imported only with a keyboard."""

from collections.abc import Callable, Iterable

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document


class SlashCompleter(Completer):
    """Completes lines that start with a slash."""

    def __init__(self, complete: Callable[[str], Iterable[str]]) -> None:
        self._complete = complete

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """Whole-line completions for what stands before the cursor."""
        typed = document.text_before_cursor
        if typed.startswith("/"):
            for line in self._complete(typed):
                yield Completion(line, start_position=-len(typed))
