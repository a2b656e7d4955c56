"""What a wire must be able to say, and the answers all of them share."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Protocol

from bot.sim.providers.asking import Ask, HttpAnswer
from bot.sim.providers.config import SimProviderModel
from bot.sim.providers.faults import Fault, FaultName
from bot.sim.providers.frames import Frame
from bot.sim.providers.replying import Reply
from bot.sim.wire_json import JsonObject


@dataclass(frozen=True, slots=True)
class Scene:
    """What the words of an error may tell of a request."""

    now: datetime
    number: int = 0
    model: str = ""
    window: int = 0
    prompt_tokens: int = 0
    shown_key: str = ""
    """The offered key as far as error texts repeat it; never the whole."""


class ProviderWire(Protocol):
    """One provider's way of speaking HTTP."""

    prefix: str
    """Where its paths begin."""
    chat: str
    """Path of requests for an answer, after the prefix."""
    elsewhere: FaultName | None
    """A fault it has no HTTP answer for and shows in the stream."""
    has_broken_finish: bool
    """Whether it reports its own breakdown as a finish reason."""

    def key_of(self, headers: Mapping[str, str]) -> str | None:
        """Return the key a request offers."""
        ...

    def admit(self, headers: Mapping[str, str]) -> None:
        """Check what every request with a right key must carry.

        Raises:
            Declined: it is missing.
        """
        ...

    def understand(
        self, body: JsonObject, headers: Mapping[str, str], models: Sequence[SimProviderModel]
    ) -> Ask:
        """Return what a request asks for.

        Raises:
            Declined: it breaks a rule of this wire.
        """
        ...

    def user_of(self, body: JsonObject) -> str:
        """Return what stands in the field for the asker."""
        ...

    def frames(self, ask: Ask, reply: Reply, faults: Mapping[FaultName, Fault]) -> Iterator[Frame]:
        """Yield a streamed reply."""
        ...

    def whole(self, ask: Ask, reply: Reply) -> JsonObject:
        """Return a reply in one piece."""
        ...

    def answer(self, fault: Fault, scene: Scene) -> HttpAnswer:
        """Return the HTTP answer of a fault in this wire's form."""
        ...

    def error_event(self, fault: Fault, scene: Scene) -> Frame:
        """Return the event by which a stream reports an error."""
        ...

    def headers(self, number: int) -> Mapping[str, str]:
        """Return what every answer carries."""
        ...

    def model_list(self, models: Sequence[SimProviderModel]) -> JsonObject:
        """Return the list of models."""
        ...

    def model(self, model: SimProviderModel) -> JsonObject:
        """Return the description of one model."""
        ...


def wait_headers(fault: Fault, now: datetime) -> Mapping[str, str]:
    """Return the headers that ask for a wait in the form a dial wants."""
    if fault.wait_form == "nonsense":
        return {"retry-after": "in a little while"}
    if fault.wait_s is None:
        return {}
    match fault.wait_form:
        case "date":
            at = now + timedelta(seconds=fault.wait_s)
            return {"retry-after": format_datetime(at, usegmt=True)}
        case "ms":
            return {"retry-after-ms": f"{fault.wait_s * 1000:g}"}
        case _:
            return {"retry-after": f"{fault.wait_s:g}"}


def edge_answer(fault: Fault) -> HttpAnswer | None:
    """Return what an edge in front of a provider answers, whatever the wire behind it."""
    status = int(fault.code) if fault.code.isdecimal() else 0
    match fault.name:
        case "html":
            page = (
                "<!doctypehtml><html><head><title>Error</title></head><body>Blocked.</body></html>"
            )
            return HttpAnswer(status or 502, page, content_type="text/html", reason="html")
        case "bad_json":
            return HttpAnswer(status or 200, '{"id": "broken", "choices": [{', reason="bad json")
        case _:
            return None


def bearer_of(headers: Mapping[str, str]) -> str | None:
    """Return the key of an Authorization header."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None


def http_status(code: str, usual: int) -> int:
    """Return the status a code names, or the usual one."""
    return int(code) if code.isdecimal() and 400 <= int(code) < 600 else usual
