"""What went wrong on a wire, and the error a caller is given for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from bot.domain.chat import Endpoint
from bot.domain.errors import BotError, FailureKind, HostUnreachable, Refused, Unavailable
from bot.inference.redact import clean_reason

Kind = FailureKind | Literal["refused"]
"""A row of the error table; a refusal is no failure of the other side."""

_LINE_KINDS = frozenset(
    {
        FailureKind.CONNECT,
        FailureKind.TIMEOUT,
        FailureKind.CUT,
        FailureKind.STALL,
        FailureKind.GARBAGE,
    }
)

_WORDS: dict[Kind, str] = {
    "refused": "{source} declined to answer",
    FailureKind.AUTH: "{source} does not accept our key",
    FailureKind.NO_MONEY: "{source} has no money left for us",
    FailureKind.PLAN_LIMIT: "{source} has reached its plan's limit",
    FailureKind.RATE_LIMIT: "{source} asks us to slow down",
    FailureKind.OVERLOAD: "{source} is overloaded",
    FailureKind.SERVER: "{source} failed",
    FailureKind.CONNECT: "{source} cannot be reached",
    FailureKind.TIMEOUT: "{source} did not answer in time",
    FailureKind.CUT: "{source} broke off its answer",
    FailureKind.STALL: "{source} fell silent in the middle of its answer",
    FailureKind.TOO_LONG: "The conversation is too long for {model} on {source}",
    FailureKind.BAD_REQUEST: "{source} does not take the request",
    FailureKind.WRONG_MODEL: "{source} answered with another model than {model}",
    FailureKind.GARBAGE: "{source} sent something that is not an answer",
    FailureKind.NOT_THERE: "{source} does not have {model} ready",
    FailureKind.LOAD_FAILED: "{source} could not load {model}",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One failure, told apart by what the caller does next."""

    kind: Kind
    reason: str = ""
    """The other side's own words or ours; not yet cleaned of secrets."""
    retry_after_s: float | None = None
    code: str | None = None


class WireFault(Exception):
    """Raised by the readers of a wire; never leaves this room."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.kind)
        self.verdict = verdict


def garbage(reason: str) -> WireFault:
    """Return the fault of bytes that are no answer."""
    return WireFault(Verdict(FailureKind.GARBAGE, reason))


def source_of(endpoint: Endpoint) -> str:
    """Return how people call this endpoint."""
    return endpoint.source or urlsplit(endpoint.base_url).netloc or endpoint.base_url


def to_error(verdict: Verdict, endpoint: Endpoint, prompt: Sequence[str] = ()) -> BotError:
    """Return the domain error of a verdict, in plain words and free of secrets and prompt text."""
    words = _WORDS.get(verdict.kind, "{source} failed")
    happened = words.format(source=source_of(endpoint), model=f"`{endpoint.model}`")
    reason = clean_reason(verdict.reason, endpoint.token, prompt)
    message = f"{happened}: {reason}" if reason else happened
    return _error(verdict, f"{message.rstrip('.')}.", is_local=endpoint.is_local)


def _error(verdict: Verdict, message: str, *, is_local: bool) -> BotError:
    kind = verdict.kind
    if kind == "refused":
        return Refused(message)
    if is_local and kind in _LINE_KINDS:
        return HostUnreachable(message, kind)
    return Unavailable(message, kind, retry_after_s=verdict.retry_after_s, code=verdict.code)
