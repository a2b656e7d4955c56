"""What one stream of deltas gave: read once, asked about by every test of a wire."""

from collections.abc import Callable
from dataclasses import dataclass, field

from bot.domain.chat import Endpoint, InferenceRequest, Message
from bot.domain.errors import BotError
from bot.domain.events import Delta, ReasoningDelta, StreamEnd, TextDelta
from bot.inference.streams import Inference


@dataclass(slots=True)
class Collected:
    """Everything one stream gave."""

    deltas: list[Delta] = field(default_factory=list[Delta])
    error: BotError | None = None
    was_opened: bool = False

    @property
    def text(self) -> str:
        """The answer."""
        return "".join(delta.text for delta in self.deltas if isinstance(delta, TextDelta))

    @property
    def reasoning(self) -> str:
        """The thinking."""
        return "".join(delta.text for delta in self.deltas if isinstance(delta, ReasoningDelta))

    @property
    def end(self) -> StreamEnd:
        """The one end of a whole answer, in its place."""
        assert self.error is None, self.error
        ends = [delta for delta in self.deltas if isinstance(delta, StreamEnd)]
        assert ends == self.deltas[-1:], self
        return ends[0]

    @property
    def kind(self) -> object:
        """The kind of the failure."""
        return getattr(self.error, "kind", None)


def asking(*texts: str) -> InferenceRequest:
    """A request of user messages."""
    return InferenceRequest(tuple(Message("user", text) for text in texts or ("Hello?",)))


async def collect(
    inference: Inference,
    endpoint: Endpoint,
    request: InferenceRequest | None = None,
    on_delta: Callable[[Collected], object] = lambda _: None,
) -> Collected:
    """Reads a stream to its end, or to its error; tells of each delta before waiting for more."""
    got = Collected()
    try:
        async with inference.open(endpoint, request or asking()) as deltas:
            got.was_opened = True
            async for delta in deltas:
                got.deltas.append(delta)
                on_delta(got)
    except BotError as error:
        got.error = error
    return got
