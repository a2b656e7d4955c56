"""What a provider may be sent of a client's request: its own JSON, or its words alone."""

from collections.abc import Callable, Mapping
from dataclasses import field, replace

from bot.cloud.call import CloudAsk
from bot.domain.chat import Message, Origin, Verbatim, Wire
from bot.domain.cloud import AnswerRoom
from bot.domain.ids import TurnId, UserId
from bot.domain.personas import Sampling
from bot.domain.values import value
from bot.policy.context import message_tokens
from bot.policy.privacy import Judge


@value
class Abroad:
    """One chat as it may leave the LAN, where its origins allow that."""

    fields: Mapping[str, object] = field(repr=False)
    """By OpenAI's names."""
    words: Message
    """All that is said in it, tools and formats too: what is judged, and counted."""
    answer_tokens: int
    messages: tuple[Message, ...] = ()
    """The same for a wire into which it must be translated; none where it cannot be."""
    why_not: str = ""
    """Why it cannot."""
    sampling: Sampling = field(default_factory=Sampling)

    @property
    def prompt_tokens(self) -> int:
        """Estimated, as it is held for."""
        return message_tokens(self.words)

    @property
    def room(self) -> AnswerRoom:
        """The answer's, before a provider's own."""
        return AnswerRoom.of(self.answer_tokens, self.sampling)

    def ask(
        self,
        turn: TurnId,
        wire: Wire,
        origins: tuple[Origin, ...],
        judge: Judge,
        user: UserId,
        tap: Callable[[str], None],
    ) -> CloudAsk:
        """The question to a provider that speaks this wire.

        Args:
            turn: The request.
            wire: The provider's.
            origins: Where the words were said.
            judge: Whether they may go.
            user: Who asks.
            tap: Hears the answer's events as they come, where they need no translation.
        """
        is_own = wire == "openai"
        said = (self.words,) if is_own else self.messages
        return CloudAsk(
            turn=turn,
            messages=tuple(replace(message, origins=origins) for message in said),
            judge=judge,
            answer_tokens=self.answer_tokens,
            sampling=self.sampling,
            user=user,
            verbatim=Verbatim(self.fields, tap) if is_own else None,
        )
