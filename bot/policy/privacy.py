"""Whether words may leave the LAN: one decision, and the only proof of it that calls accept.

A ``CloudConsent`` can be made nowhere else. It lists the very messages it holds for, and every
one of them was traced to where it was said: the place, the person, the persona, the turn. What
cannot be traced, or was not looked up, is private. Words said in private stay private for good:
their turn is marked, and so is every turn that was answered after reading them.
"""

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import InitVar, dataclass, field
from typing import final

from bot.domain.chat import Message, Place, Turn, TurnRequest
from bot.domain.errors import Bug
from bot.domain.ids import PersonaName, PlaceId, ProviderName, TurnId, UserId
from bot.domain.personas import Persona

PROBE_TEXT = "Say ok."
"""What a provider is asked in a check: our own words, nobody else's."""

LEDGER = "ledger"
"""The purpose of the hash people go by in the ledger."""

_SEAL = object()


@final
@dataclass(frozen=True, slots=True)
class CloudConsent:
    """These messages may go to these providers; made by ``consent_to_cloud`` alone."""

    messages: AbstractSet[Message] = field(repr=False)
    providers: AbstractSet[ProviderName] | None
    """None is every configured one."""
    seal: InitVar[object] = None

    def __post_init__(self, seal: object) -> None:
        """Refuse to be made by anybody else.

        Raises:
            Bug: somebody did.
        """
        if seal is not _SEAL:
            raise Bug("only policy.privacy may consent to the cloud")

    def covers(self, messages: Iterable[Message], provider: ProviderName) -> bool:
        """Does it hold for every one of these messages, at this provider?"""
        if self.providers is not None and provider not in self.providers:
            return False
        return all(message in self.messages for message in messages)


@dataclass(frozen=True, slots=True)
class LocalOnly:
    """The words stay here, and why, for people."""

    reason: str


Consent = CloudConsent | LocalOnly

Judge = Callable[[Sequence[Message]], Awaitable[Consent]]
"""The consent for messages, as it stands when it is called: asked for right before each sending."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything whose privacy must be looked up before a transcript may leave."""

    places: AbstractSet[PlaceId]
    people: AbstractSet[UserId]
    turns: AbstractSet[TurnId]


@dataclass(frozen=True, slots=True)
class Marks:
    """What is marked local only, of everything that was looked up."""

    asked: Sources
    """What was looked up; anything else counts as private."""
    places: AbstractSet[PlaceId] = frozenset()
    people: AbstractSet[UserId] = frozenset()
    turns: AbstractSet[TurnId] = frozenset()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where some words of a transcript were said."""

    what: str
    """For people: ``this message``, ``an earlier message``."""
    places: tuple[PlaceId | None, ...]
    """None is a place nobody knows, such as that of a forwarded message."""
    user: UserId
    persona: PersonaName
    turn: TurnId | None = None


def origins_of(
    persona: Persona,
    request: TurnRequest,
    branch: Sequence[Turn],
    quoted: Sequence[Place | None] = (),
) -> tuple[Origin, ...]:
    """Where every word of a turn's transcript comes from.

    Args:
        persona: Who answers.
        request: What is asked.
        branch: The turns before it.
        quoted: Where forwarded or quoted messages were said; None where that is unknown.
    """
    places = _places(request.place)
    now = Origin("this message", places, request.user, persona.name)
    forwarded = [
        Origin("a forwarded message", _places(place), request.user, persona.name)
        for place in quoted
    ]
    earlier = [
        Origin("an earlier message", _places(turn.place), turn.user, turn.persona, turn.id)
        for turn in branch
    ]
    return (now, *forwarded, *earlier)


def to_look_up(origins: Iterable[Origin]) -> Sources:
    """What must be looked up to judge them."""
    listed = tuple(origins)
    return Sources(
        places=frozenset(place for o in listed for place in o.places if place is not None),
        people=frozenset(origin.user for origin in listed),
        turns=frozenset(origin.turn for origin in listed if origin.turn is not None),
    )


def consent_to_cloud(
    messages: Iterable[Message],
    origins: Sequence[Origin],
    *,
    persona: Persona,
    personas: Mapping[PersonaName, bool],
    marks: Marks | None,
) -> CloudConsent | LocalOnly:
    """Whether a transcript may leave the LAN. Anything unknown keeps it here.

    Args:
        messages: The transcript, system prompt included.
        origins: Where all of it was said, from ``origins_of``.
        persona: Who answers; its own providers limit the consent.
        personas: Which personas are local only, by name; one that is missing counts as such.
        marks: What was looked up; None when it could not be.
    """
    if persona.cloud == ():
        return LocalOnly(f"persona {persona.name} never uses the cloud")
    if persona.local_only:
        return LocalOnly(f"persona {persona.name} is local only")
    if marks is None:
        return LocalOnly("what is private could not be looked up")
    if not origins:
        return LocalOnly("nobody knows where these words were said")
    for origin in origins:
        if reason := _why_private(origin, personas, marks):
            return LocalOnly(reason)
    allowed = None if persona.cloud is None else frozenset(persona.cloud)
    return CloudConsent(frozenset(messages), allowed, seal=_SEAL)


PROBE = (Message("user", PROBE_TEXT),)
"""A question of our own, to try a provider with."""


async def judge_probe(messages: Sequence[Message]) -> CloudConsent:
    """The consent to send ``PROBE``, and nothing else."""
    return CloudConsent(frozenset(PROBE), None, seal=_SEAL)


def user_hash(salt: str, purpose: str, user: UserId) -> str:
    """A person's opaque name for one purpose: a provider, or the ledger.

    Two providers cannot tell that they know the same person, and nobody can tell who it is.
    """
    words = f"{purpose}\0{user}".encode("utf-8", "surrogatepass")
    return hmac.new(salt.encode(), words, hashlib.sha256).hexdigest()[:32]


def _places(place: Place | None) -> tuple[PlaceId | None, ...]:
    if place is None or not place.is_certain:
        return (None,)
    known = (place.channel, place.thread, place.server)
    return tuple(part for part in known if part is not None)


def _why_private(origin: Origin, personas: Mapping[PersonaName, bool], marks: Marks) -> str:
    what = origin.what
    if personas.get(origin.persona, True):
        return f"{what}: persona {origin.persona} is local only or unknown"
    if not marks.asked.people >= {origin.user} or origin.user in marks.people:
        return f"{what}: its author keeps their words here"
    for place in origin.places:
        if place is None or place not in marks.asked.places:
            return f"{what}: nobody knows whether its place is local only"
        if place in marks.places:
            return f"{what}: its place is local only"
    if origin.turn is None:
        return ""
    if origin.turn in marks.turns or origin.turn not in marks.asked.turns:
        return f"{what}: it was said in private"
    return ""
