"""What is asked of a provider, and what is written down of one call."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Literal

from bot.domain.chat import Endpoint, InferenceRequest, Message
from bot.domain.events import Delta
from bot.domain.ids import PlaceId, TurnId, UserId
from bot.domain.personas import Sampling
from bot.policy.privacy import CloudConsent

OpenStream = Callable[
    [Endpoint, InferenceRequest], AbstractAsyncContextManager[AsyncIterator[Delta]]
]
"""Sends a request to an endpoint; ``Inference.open``."""


@dataclass(frozen=True, slots=True)
class CloudAsk:
    """One question to any provider; without a consent that covers it, none is asked."""

    turn: TurnId
    messages: tuple[Message, ...]
    consent: CloudConsent
    answer_tokens: int
    """Room for the answer itself; thinking gets its own."""
    sampling: Sampling = field(default_factory=Sampling)
    user: UserId | None = None
    server: PlaceId | None = None
    thinking: Literal["auto", "off"] | None = None
    """None is as configured for the provider."""
