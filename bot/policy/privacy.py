"""Whether words may leave the LAN: one decision, and the only proof of it that calls accept.

A ``CloudConsent`` can be made nowhere else. It lists the very messages it holds for, and every
one of them was traced to where it was said: the place, the person, the persona, the turn. What
cannot be traced, or was not looked up, is private. Words said in private stay private for good:
their turn is marked, and so is every turn that was answered after reading them.
"""

import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import InitVar, dataclass, field
from functools import lru_cache
from typing import final

from bot.domain.chat import Message, Origin, OriginKind, Place, Quote, Turn, TurnRequest
from bot.domain.errors import Bug
from bot.domain.ids import PersonaName, PlaceId, ProviderName, TurnId, UserId
from bot.domain.personas import Persona
from bot.domain.values import value
from bot.policy.names import shown_name

PROBE_TEXT = "Say ok."
"""What a provider is asked in a check: our own words, nobody else's."""

LEDGER = "ledger"
"""The purpose of the hash people go by in the ledger."""

CLOCKS_MS = 60_000
"""Others' clocks and ours may differ by this: words said so shortly before a place was closed, or
after it was opened, count as said in between."""

_IDS = re.compile(r"<(@|#)[!&]?\d+>")
"""How Discord writes a person, a role or a channel into a text."""

_CALLED: Mapping[OriginKind, str] = {
    "own": "this message",
    "earlier": "an earlier message",
    "quote": "a quoted message",
    "fact": "a remembered fact",
    "prompt": "the persona's prompt",
}
"""What words are called, for people."""

_ANOTHER = "choose another by `/persona`"
OPEN_OWN = "`/settings local_only:off`"
"""What opens a person's own words, from then on; nobody else can."""
# Read by others, too: whoever pressed Retry ran the command, was told it was done, and nothing was.
_ONLY_THEY = f"only they can open what they say from then on, by {OPEN_OWN}"
_WAY_ROUND: Mapping[OriginKind, str] = {
    "own": "",
    "earlier": "`/reset` begins afresh without it",
    "quote": "ask again without quoting it",
    "fact": "ask once more, and it is left out",
    "prompt": _ANOTHER,
}
"""How such words come to be none of a question: what was said in private stays so for good, and no
setting opens it; who was led to one found that nothing changed."""

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


@value
class LocalOnly:
    """The words stay here, and why, for people."""

    reason: str
    is_by_earlier: bool = False
    """It is for words said before, such as somebody else's; nothing in the question tells why."""
    way_out: str = ""
    """What its asker can do, for people; empty where nothing is known to help."""

    @property
    def words(self) -> str:
        """The reason and the way out."""
        return "; ".join(filter(None, (self.reason, self.way_out)))


Consent = CloudConsent | LocalOnly

Judge = Callable[[Sequence[Message]], Awaitable[Consent]]
"""The consent for messages, as it stands when it is called: asked for right before each sending."""


Sent = tuple[UserId, int]
"""Who said something, and when: UTC milliseconds."""

Span = tuple[int, int]
"""From when until when, UTC milliseconds."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything whose privacy must be looked up before a transcript may leave."""

    places: AbstractSet[PlaceId]
    people: AbstractSet[UserId]
    turns: AbstractSet[TurnId]
    moments: AbstractSet[Sent] = frozenset()


@dataclass(frozen=True, slots=True)
class Marks:
    """What is marked local only, of everything that was looked up."""

    asked: Sources
    """What was looked up; anything else counts as private."""
    places: AbstractSet[PlaceId] = frozenset()
    people: AbstractSet[UserId] = frozenset()
    turns: AbstractSet[TurnId] = frozenset()
    spans: Mapping[str, Sequence[Span]] = field(default_factory=dict[str, Sequence[Span]])
    """When the mark of a place or a person stood that was taken away; only of those that had one.
    """
    moments: AbstractSet[Sent] = frozenset()
    """At which a turn was asked that is marked."""


def origins_of_turn(turn: Turn) -> tuple[Origin, ...]:
    """Where the words of a stored turn were said, those it quotes included."""
    own = Origin("earlier", _places(turn.place), turn.user, turn.persona, turn.id)
    return (own, *[_quoted(quote, turn.persona) for quote in turn.quotes])


def origins_of_request(
    persona: PersonaName, request: TurnRequest, turn: TurnId | None = None
) -> tuple[Origin, ...]:
    """Where the words of a question were said, those it takes along included.

    With its ``turn`` it stays private once it was, whatever is opened while it waits.
    """
    places = _places(request.place)
    own = Origin("own", places, request.user, persona, turn, request.said_at_ms, request.place)
    quotes = (_quoted(quote, persona) for quote in request.quotes)
    return (own, *quotes, *(_quoted(fact, persona, "fact") for fact in request.facts))


def origin_of_prompt(persona: Persona) -> Origin:
    """Where a persona's own texts come from: what somebody made in a chat are their words."""
    return Origin("prompt", (), persona.maker, persona.name)


def _quoted(quote: Quote, persona: PersonaName, kind: OriginKind = "quote") -> Origin:
    places = _places(quote.place)
    return Origin(kind, places, quote.user, persona, said_at_ms=quote.said_at_ms)


def origin_of_fact(fact: Quote) -> Origin:
    """Where a remembered fact was said; no persona heard it."""
    return _quoted(fact, PersonaName(""), "fact")


def stays_here(origin: Origin, marks: Marks) -> bool:
    """Whether these words alone, said to no persona of its own, keep a transcript on the LAN."""
    return _why_private(origin, {origin.persona: False}, marks)[0] != ""


def to_look_up(origins: Iterable[Origin]) -> Sources:
    """What must be looked up to judge them."""
    listed = tuple(origins)
    return Sources(
        places=frozenset(place for o in listed for place in o.places if place is not None),
        people=frozenset(origin.user for origin in listed if origin.user is not None),
        turns=frozenset(origin.turn for origin in listed if origin.turn is not None),
        moments=frozenset(
            (origin.user, origin.said_at_ms)
            for origin in listed
            if origin.user is not None and origin.said_at_ms is not None
        ),
    )


def consent_to_cloud(
    messages: Sequence[Message],
    origins: Sequence[Origin],
    *,
    persona: Persona,
    personas: Mapping[PersonaName, bool],
    marks: Marks | None,
) -> CloudConsent | LocalOnly:
    """Whether a transcript may leave the LAN. Anything unknown keeps it here.

    Args:
        messages: The transcript, system prompt included; each is judged by its own origins.
        origins: Where else words were said that count, such as those of a branch.
        persona: Who answers; its own providers limit the consent.
        personas: Which personas are local only, by name; one that is missing counts as such.
        marks: What was looked up; None when it could not be.
    """
    if persona.cloud == ():
        return LocalOnly(
            f"persona {shown_name(persona.name)} never uses the cloud", way_out=_ANOTHER
        )
    if persona.local_only:
        return LocalOnly(f"persona {shown_name(persona.name)} is local only", way_out=_ANOTHER)
    if marks is None:
        return LocalOnly("what is private could not be looked up")
    # Words without an origin came in by a way nobody thought of: quotes once did.
    if not origins or not all(message.origins for message in messages):
        return LocalOnly("nobody knows where these words were said")
    for origin in (*origins, *(origin for message in messages for origin in message.origins)):
        reason, way_out = _why_private(origin, personas, marks)
        if reason:
            is_told = origin.turn is not None or origin.said_at_ms is not None
            is_earlier = is_told and origin.kind != "own"
            return LocalOnly(reason, is_earlier, way_out)
    allowed = None if persona.cloud is None else frozenset(persona.cloud)
    return CloudConsent(frozenset(messages), allowed, seal=_SEAL)


PROBE = (Message("user", PROBE_TEXT),)
"""A question of our own, to try a provider with."""


async def judge_probe(messages: Sequence[Message]) -> CloudConsent:
    """The consent to send ``PROBE``, and nothing else."""
    return CloudConsent(frozenset(PROBE), None, seal=_SEAL)


@lru_cache(maxsize=4096)
def user_hash(salt: str, purpose: str, user: UserId) -> str:
    """A person's opaque name for one purpose: a provider, or the ledger.

    Two providers cannot tell that they know the same person, and nobody can tell who it is.
    """
    words = f"{purpose}\0{user}".encode("utf-8", "surrogatepass")
    return hmac.new(salt.encode(), words, hashlib.sha256).hexdigest()[:32]


def without_names(text: str, names: Mapping[str, str]) -> str:
    """A text as a provider may see it: no ids of people or places, nobody named by a mention.

    Args:
        text: As it was said.
        names: What each known person is called instead.
    """
    text = _IDS.sub(lambda found: "@someone" if found[1] == "@" else "#channel", text)
    # Of two that begin alike the longer one comes first.
    for name in sorted(filter(str.strip, names), reverse=True):
        text = text.replace(f"@{name}", f"@{names[name]}")
    return text


def _places(place: Place | None) -> tuple[PlaceId | None, ...]:
    if place is None or not place.is_certain:
        return (None,)
    known = (place.channel, place.thread, place.server)
    return tuple([part for part in known if part is not None])


def _why_private(
    origin: Origin, personas: Mapping[PersonaName, bool], marks: Marks
) -> tuple[str, str]:
    """Why words of this origin stay here, and what its asker can do; twice nothing where none.

    Without a colon: each of them stands behind one.
    """
    way_out, called = _WAY_ROUND[origin.kind], _CALLED[origin.kind]
    if personas.get(origin.persona, True):
        name = shown_name(origin.persona)
        return f"{called} was for persona {name}, which is local only or unknown", way_out
    user = origin.user
    if user is not None and (user not in marks.asked.people or user in marks.people):
        return f"the author of {called} keeps their words here", way_out or _ONLY_THEY
    for place in origin.places:
        if place is None or place not in marks.asked.places:
            return f"nobody knows whether the place of {called} is local only", way_out
        if place in marks.places and origin.asked_in is not None:
            return why_place(origin.asked_in, marks)
        if place in marks.places:
            return f"the place of {called} is local only", way_out
    is_marked = origin.turn in marks.turns or origin.turn not in marks.asked.turns
    said_at_ms = origin.said_at_ms
    if (origin.turn is not None and is_marked) or (
        said_at_ms is not None and _was_private(origin, said_at_ms, marks)
    ):
        return f"{called} was said in private", way_out or "ask it once more"
    return "", ""


def why_place(place: Place, marks: Marks) -> tuple[str, str]:
    """Which mark of a place keeps words said there, and what opens it; twice nothing where none."""
    # First the widest: a server's choice is judged for the server as a place of its own.
    for what, at in (
        ("server", place.server),
        ("channel", place.channel),
        ("thread", place.thread),
    ):
        if at in marks.places:
            scope = "server" if what == "server" else "channel"
            way_out = f"`/settings local_only:off scope:{scope}` opens it"
            return f"this {what} is local only", way_out
    return "", ""


def _was_private(origin: Origin, said_at_ms: int, marks: Marks) -> bool:
    """Were words private when they were said? They then stay so, whatever was opened since."""
    if origin.user is None or (origin.user, said_at_ms) not in marks.asked.moments:
        return True
    was_closed = any(
        since_ms - CLOCKS_MS < said_at_ms < until_ms + CLOCKS_MS
        for name in (*origin.places, origin.user)
        if name is not None
        for since_ms, until_ms in marks.spans.get(name, ())
    )
    return was_closed or (origin.user, said_at_ms) in marks.moments
