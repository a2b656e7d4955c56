"""What both wires share: JSON read without trust, what goes wrong, and the error made of it."""

import json
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Literal, TypeGuard, cast
from urllib.parse import urlencode, urlsplit

from pydantic_core import PydanticSerializationError, to_json
from pydantic_core import from_json as read_json

from bot.domain.chat import MOST_COUNTED, NO_EXTRAS, Endpoint, Extras
from bot.domain.errors import BotError, FailureKind, HostUnreachable, Refused, Unavailable
from bot.domain.values import value

Method = Literal["GET", "POST"]

RefusalKind = FailureKind | Literal["refused"]
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

_WORDS: dict[RefusalKind, str] = {
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
    FailureKind.NO_PATH: "{source} does not offer this path: its LM Studio is too old",
    FailureKind.LOAD_FAILED: "{source} could not load {model}",
}

_REASON_LIMIT = 200
_ECHO = 24
"""Characters in a row that, found in the prompt too, count as an echo of it."""
_SHORTEST_ECHO = 8
_SHORTEST_SECRET = 8
_GONE = "…"
_KEY = re.compile(r"\bsk-[\w\-.:*]{4,}|\bBearer\s+\S+", re.IGNORECASE)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]+")


@value
class Call:
    """One HTTP request, ready to be sent."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    before_words: Callable[[], Awaitable[None]] | None = None
    """Awaited before the first byte of the body leaves; what it raises keeps it here."""
    method: Method = "POST"
    is_act: bool = False
    """Does it more than make an answer? Then it is sent once, whatever becomes of its connection.
    """


def extended(call: Call, extras: Extras, given: Collection[str] = ()) -> Call:
    """A call with what its provider's owner wants sent as well.

    Args:
        call: As its wire asks, with a body of JSON and an address without a query.
        extras: What is added; it goes before what is ours.
        given: Fields that a client gave itself, which go before both.
    """
    if extras == NO_EXTRAS:
        return call
    ours: dict[str, object] = read_json(call.body)
    added = {name: each for name, each in extras.body.items() if name not in given}
    query = f"?{urlencode(extras.query)}" if extras.query else ""
    return replace(
        call,
        url=f"{call.url}{query}",
        headers={**call.headers, **extras.headers},
        body=json.dumps(ours | added).encode(),
    )


@value
class Verdict:
    """One failure, told apart by what the caller does next."""

    kind: RefusalKind
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
    """The fault of bytes that are no answer."""
    return WireFault(Verdict(FailureKind.GARBAGE, reason))


def is_object(value: object) -> TypeGuard[dict[str, object]]:
    """Is a JSON value an object?"""
    return isinstance(value, dict)


def object_of(value: object) -> dict[str, object]:
    """A JSON object; an empty one for anything that is none."""
    return value if is_object(value) else {}


def first_of(value: object) -> object:
    """The first entry of a JSON array; None for anything that has none."""
    return cast(list[object], value)[0] if isinstance(value, list) and value else None


def text_of(value: object) -> str:
    """A JSON string, or nothing."""
    return value if isinstance(value, str) else ""


def count_of(value: object) -> int:
    """A JSON count, or 0 for anything that is none."""
    # A cost made of a larger one is no number the ledger can hold, and spent every budget at once.
    return value if isinstance(value, int) and 0 < value <= MOST_COUNTED else 0


_JSON = json.JSONDecoder()
_BLANKS = " \t\n\r"


def parse_object(payload: str) -> dict[str, object]:
    """The object a payload holds.

    Raises:
        WireFault: it is not JSON, or not an object.
    """
    text = payload.strip(_BLANKS)
    try:
        # One call where json.loads makes three and looks for blanks twice: each token comes here.
        value, end = _JSON.raw_decode(text)
    except (ValueError, RecursionError) as err:
        # Nesting deeper than the reader goes is no ValueError.
        raise garbage("broken JSON in the stream") from err
    if end != len(text):
        raise garbage("broken JSON in the stream")
    if not is_object(value):
        raise garbage("the stream holds no JSON objects")
    return value


def as_json(told: Mapping[str, object]) -> bytes:
    """An object's JSON, in a fifth of the time that the standard library takes."""
    try:
        return to_json(told)
    # Half a character, which a persona's file may hold: written as an escape.
    except PydanticSerializationError:
        return json.dumps(told).encode()


def extended_json(body: bytes, told: Mapping[str, object], more: Mapping[str, object]) -> bytes:
    """A host's JSON object with more fields behind its own, which stay as it wrote them.

    Args:
        body: As it came.
        told: What it says.
        more: What is to stand behind it.
    """
    text = body.strip()
    is_plain = text.startswith(b"{") and text.endswith(b"}")
    # One that has a field of that name already, or came in UTF-16, is written anew.
    if not told or not is_plain or not more.keys().isdisjoint(told):
        return as_json({**told, **more})
    return b"%b, %b" % (text[:-1], as_json(more)[1:])


def from_json(text: bytes | bytearray) -> object:
    """What a host's JSON says, in a third of that time.

    Raises:
        ValueError: it is none.
        RecursionError: it is nested too deep.
    """
    try:
        return read_json(text)
    # UTF-16, or half a character: the standard library reads them.
    except ValueError:
        return json.loads(text)


def to_error(verdict: Verdict, endpoint: Endpoint, prompt: Sequence[str] = ()) -> BotError:
    """The domain error of a verdict, in plain words and free of secrets and prompt text.

    Of a host it is ``HostUnreachable`` when its line broke, of a refusal ``Refused``, else
    ``Unavailable``; the last two keep kind, code and the wait asked for.
    """
    source = endpoint.source or urlsplit(endpoint.base_url).netloc or endpoint.base_url
    words = _WORDS.get(verdict.kind, "{source} failed")
    happened = words.format(source=source, model=f"`{endpoint.model}`")
    reason = clean_reason(verdict.reason, endpoint.token, prompt)
    message = f"{f'{happened}: {reason}' if reason else happened}".rstrip(".") + "."
    kind = verdict.kind
    if kind == "refused":
        return Refused(message)
    if endpoint.is_local and kind in _LINE_KINDS:
        return HostUnreachable(message, kind)
    return Unavailable(message, kind, retry_after_s=verdict.retry_after_s, code=verdict.code)


def clean_reason(text: str, secret: str | None = None, prompt: Sequence[str] = ()) -> str:
    """A server's own words as one bounded line, without keys or echoes of the prompt.

    Servers quote what they were sent: a wrong key in a 401, the rejected input in a 422. Reasons
    reach the log and the channel, where neither belongs.
    """
    line = " ".join(_UNPRINTABLE.sub(" ", text[: 4 * _REASON_LIMIT]).split())
    # LM Studio's token is two halves, and its refusal may quote one of them.
    halves = re.split(r"[.:]", secret) if secret else []
    for part in (secret, *(half for half in halves if len(half) >= _SHORTEST_SECRET)):
        line = line.replace(part, _GONE) if part else line
    line = _without_echo(_KEY.sub(_GONE, line)[: 2 * _REASON_LIMIT], prompt)
    return line if len(line) <= _REASON_LIMIT else line[: _REASON_LIMIT - 1].rstrip() + _GONE


def _without_echo(line: str, prompt: Sequence[str]) -> str:
    for message in prompt:
        said = " ".join(message.split())
        if _SHORTEST_ECHO <= len(said) < _ECHO:
            line = line.replace(said, _GONE)
        elif len(said) >= _ECHO:
            # A longer echo may be cut or escaped further on: nothing after its beginning is kept.
            starts = range(len(line) - _ECHO + 1)
            echo = next((at for at in starts if line[at : at + _ECHO] in said), None)
            line = line if echo is None else line[:echo] + _GONE
    return line
