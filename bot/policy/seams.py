"""An answer whose host was lost in the middle: what the next one is asked, how its words join on.

Another host that has the same model is sent the transcript and, after it, the words so far as the
assistant's own (prefill): LM Studio leaves such a last message open and goes on from it. Where a
model's template takes none, the same words are followed by the plain asking of ``Continue``.
"""

from collections.abc import Sequence

from bot.domain.chat import Message
from bot.policy.context import CONTINUE_TEXT

ECHO_CHARS = 16
"""Words so far that are shorter may be said again by chance."""


def resumed(messages: Sequence[Message], text: str, *, in_words: bool) -> tuple[Message, ...]:
    """The transcript of an answer's rest; nothing but blanks said so far is no beginning.

    Args:
        messages: What the answer was asked with.
        text: The answer so far.
        in_words: Ask for the rest, where a begun answer is not taken.
    """
    # Most templates trim it: sent as it is, the model would not know of the blanks either.
    begun = text.rstrip()
    if not begun.strip():
        return tuple(messages)
    origins = tuple(origin for message in messages for origin in message.origins)
    said = Message("assistant", begun, origins=origins)
    asked = (Message("user", CONTINUE_TEXT, origins=origins),) if in_words else ()
    return (*messages, said, *asked)


class Joint:
    """Joins the words of the next host to an answer so far; nothing is there twice.

    1. Said once more from the beginning (LM Studio did, bugs 2041 and 2058), it is left out. What
       may become that is held back.
    2. Blanks that end the words so far were not sent, so they come again and are left out.
    """

    def __init__(self, text: str) -> None:
        begun = text.rstrip()
        self._echo = begun if len(begun) >= ECHO_CHARS else ""
        self._blanks = text[len(begun) :]
        self._held = ""

    def feed(self, text: str) -> str:
        """What is new of a further piece; may hold back what came."""
        text, self._held = self._held + text, ""
        if self._echo:
            if len(text) < len(self._echo) and self._echo.startswith(text):
                self._held = text
                return ""
            text, self._echo = text.removeprefix(self._echo), ""
        while self._blanks and text.startswith(self._blanks[0]):
            self._blanks, text = self._blanks[1:], text[1:]
        if text:
            self._blanks = ""
        return text

    def flush(self) -> str:
        """What was held back; nothing more comes."""
        held, self._echo, self._held = self._held, "", ""
        return self.feed(held)
