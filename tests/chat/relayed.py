"""What a client of the gateway asks, and who takes its answer in."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from bot.chat.abroad import Abroad
from bot.chat.choices import PLAIN, Resolved
from bot.chat.relayed import RelayRequest
from bot.chat.relaying import Relaying
from bot.domain.chat import Candidate, Message, Place, Receipt, Route, Timing, Usage
from bot.domain.events import Delta, Progress
from bot.domain.hosts import HostSnapshot
from bot.domain.ids import AUTO, ModelKey, PlaceId, TurnId, UserId
from bot.domain.personas import Persona
from bot.inference.passing import OwnHead


class DeafSink:
    """Takes any answer; hears of waits alone, where somebody wants to know of them."""

    def __init__(self, heard: Callable[[Progress], Awaitable[None]] | None = None) -> None:
        self._heard = heard

    async def routed(self, route: Route) -> None: ...

    async def waits(self, step: Progress) -> None:
        if self._heard is not None:
            await self._heard(step)

    async def begins(self, candidate: Candidate, seen: HostSnapshot | None) -> None: ...

    def own_head(self) -> OwnHead:
        return OwnHead()

    def beside_usage(
        self, timing: Timing, usage: Usage, told: Mapping[str, object]
    ) -> Mapping[str, object]:
        return {}

    def straight(self, chunks: bytes) -> bool:
        return False

    async def write(self, data: bytes, told: Mapping[str, object] | None = None) -> None: ...

    async def say(self, delta: Delta, candidate: Candidate) -> None: ...

    async def pass_on(self, payloads: Sequence[str], *, wants_usage: bool) -> None: ...


async def relay(
    relaying: Relaying,
    text: str,
    *,
    user: str = "key:1",
    persona: Persona = PLAIN,
    model: ModelKey = AUTO,
    waits: Callable[[Progress], Awaitable[None]] | None = None,
) -> Receipt:
    """One chat of a client's, to its end."""
    fields: dict[str, object] = {"messages": [{"role": "user", "content": text}], "stream": True}
    request = RelayRequest(
        id=TurnId(f"relayed {text}"[:60]),
        form="chat",
        path="/chat/completions",
        fields=fields,
        resolved=Resolved(persona, "asked for", model, "asked for", False),
        user=UserId(user),
        place=Place(PlaceId(user), is_private=True),
        prompt_tokens=20,
        answer_tokens=100,
        daily_micro_usd=None,
        is_stream=True,
        abroad=Abroad(fields, Message("user", text), 100),
    )
    return await relaying.answer(request, DeafSink(waits))
