"""A request as a provider understood it, and what it answers when it does not take one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from bot.sim.answers import Message
from bot.sim.prompts import count_tokens
from bot.sim.providers.config import SimProviderModel
from bot.sim.providers.journal import Outcome
from bot.sim.wire_json import JsonObject, as_list, as_object, text_of

Thinks = Literal["auto", "less", "off"]


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for an answer that will be served."""

    model: SimProviderModel
    messages: tuple[Message, ...]
    stream: bool = False
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    thinks: Thinks = "auto"
    include_usage: bool = False
    obfuscate: bool = True
    may_cache: bool = True

    @property
    def prompt_tokens(self) -> int:
        """Size of the prompt."""
        return count_tokens(self.messages)


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer in one piece."""

    status: int
    body: JsonObject | str
    """JSON, or text as it stands."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    content_type: str = "application/json"
    outcome: Outcome = "error"
    reason: str = ""


class Declined(Exception):
    """A request is not served; carries what is answered instead."""

    def __init__(self, answer: HttpAnswer) -> None:
        super().__init__(answer.reason)
        self.answer = answer


def is_within(value: object, low: float, high: float) -> bool:
    """Tell whether a JSON value is a number between two others."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and low <= float(value) <= high
    )


def chat_message(raw: object) -> Message:
    """Read a message of either wire: its content is a string or an array of blocks."""
    source = as_object(raw)
    role = text_of(source, "role") or "user"
    content = source.get("content")
    if isinstance(content, str):
        return Message(role, content)
    blocks = [as_object(block) for block in as_list(content)]
    text = "".join(text_of(block, "text") or "" for block in blocks)
    images = sum(block.get("type") in ("image_url", "image") for block in blocks)
    return Message(role, text, images)


def find_model(models: Iterable[SimProviderModel], key: object) -> SimProviderModel | None:
    """Return the model of a name."""
    return next((model for model in models if model.key == key), None)
