"""A conversation's nouns: places, requests, transcripts, endpoints, usage, routes and receipts."""

from collections.abc import Awaitable, Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import field
from typing import Literal, Self

from bot.domain.errors import FailureKind, Unavailable
from bot.domain.ids import HostName, ModelKey, PersonaName, PlaceId, ProviderName, TurnId, UserId
from bot.domain.personas import Priority, Sampling
from bot.domain.values import value

Role = Literal["system", "user", "assistant"]
Wire = Literal["openai", "anthropic"]
DialectName = Literal["lmstudio", "openai", "zai", "generic"]
FinishReason = Literal["stop", "length", "cancelled", "error", "refused"]


@value
class Place:
    """Where somebody speaks; choices are looked up thread first, then channel, then server."""

    channel: PlaceId
    """The channel, direct message or, for a thread, its parent channel."""
    thread: PlaceId | None = None
    server: PlaceId | None = None
    is_private: bool = False
    """A direct message or a terminal: only the asker reads it."""
    # A thread taken for its channel would carry the channel's permission to leave the LAN.
    is_certain: bool = True
    """False where the face could not tell a thread from a channel, so not whose it is."""

    @property
    def conversation(self) -> PlaceId:
        """The place whose turns share a history."""
        return self.thread or self.channel


@value
class Asker:
    """Somebody who asks, as far as it decides whether they are answered."""

    user: UserId
    is_owner: bool = False
    """The bot belongs to them."""
    roles: AbstractSet[str] = frozenset()
    """Ids and names of their roles, in the server they ask in or, in private, in any allowed."""
    is_member: bool = True
    """Of a server that is answered; in question in direct messages alone."""
    is_admin: bool = False
    """Owns the bot, manages the server they ask in, or has one of the admins' roles."""


@value
class Attachment:
    """A file read into the turn: text already decoded, or an image's bytes."""

    name: str
    media_type: str
    text: str | None = None
    image: bytes | None = None
    message_id: str | None = None
    """Whose file it is, where that is not the question's own: it leaves with that message."""


@value
class Quote:
    """Words said earlier that a question takes along."""

    text: str
    user: UserId
    user_name: str
    place: Place
    """Where they were said."""
    said_at_ms: int
    """UTC milliseconds."""
    message_id: str | None = None
    """The message they stand in: they leave with it."""


OriginKind = Literal["own", "earlier", "quote", "fact", "prompt"]
"""The question's words, those of a turn before it, what it quotes, what is remembered of its asker,
the persona's texts."""


@value
class Origin:
    """Where some words of a transcript were said."""

    kind: OriginKind
    places: tuple[PlaceId | None, ...]
    """None is a place nobody knows, such as that of a forwarded message."""
    user: UserId | None
    """None where they are nobody's but the persona's."""
    persona: PersonaName
    turn: TurnId | None = None
    said_at_ms: int | None = None
    """When, where that is not the turn's own time; UTC milliseconds."""
    asked_in: Place | None = None
    """Of a question's own words: where it is asked."""


@value
class Message:
    """One message as sent to a model."""

    role: Role
    text: str
    images: tuple[Attachment, ...] = ()
    # Beside the words, so that none can be put into a prompt and forgotten when it is judged.
    origins: tuple[Origin, ...] = field(default=(), compare=False, repr=False)
    """Where its words were said; of unknown origin, it never leaves the LAN."""


TurnKind = Literal["new", "retry", "continue"]
"""What a request asks for.

``retry``: answer the same user message again, as a new branch;
``continue``: go on with the parent turn's reply where it stopped, as a part of it.
"""


@value
class TurnRequest:
    """One user message, as plain values a face can make."""

    user: UserId
    user_name: str
    place: Place
    text: str
    attachments: tuple[Attachment, ...] = ()
    quotes: tuple[Quote, ...] = ()
    parent: TurnId | None = None
    """The turn replied to; None goes on from the conversation's latest turn."""
    opened_on: TurnId | None = None
    """Of a thread, the turn it was opened on: its first words go on from there."""
    fresh_after_s: float | None = None
    """Without a parent it begins afresh where nothing was said for so long; 0 always, None never.
    """
    kind: TurnKind = "new"
    persona: PersonaName | None = None
    """Said for this turn alone."""
    model: ModelKey | None = None
    """Said for this turn alone."""
    request_type: str | None = None
    """Said for this turn alone; else the persona's."""
    priority: Priority | None = None
    """Said for this turn alone; else the persona's."""
    greeting: int | None = None
    """Which of the persona's greetings is asked for, counted from 1; None: one is drawn."""
    must_see: bool = False
    """Whatever model sees the pictures, the soonest, instead of the one that is chosen here."""
    no_cache: bool = False
    """The answer is made anew though the very same question was answered before."""
    question: str | None = None
    """Of Discord's, the message or interaction that is answered."""
    said_at_ms: int | None = None
    """When its words were said, where that was before they were heard; UTC milliseconds."""
    facts: tuple[Quote, ...] = ()
    """What its person asked to be remembered, as far as it may be told here."""
    asker: Asker | None = None
    """Who asked or pressed, as far as their face knows them."""
    asked: str = ""
    """Said under each answer, where others cannot read the question: who asked what."""


TurnStatus = Literal["running", "done", "partial", "failed"]
"""How a stored turn stands.

``partial``: the reply was cut or stopped; its text so far is kept.
"""


@value
class Turn:
    """A stored turn; ``parent`` makes the tree."""

    id: TurnId
    parent: TurnId | None
    user: UserId
    user_name: str
    place: Place
    persona: PersonaName
    user_text: str
    reply_text: str
    reasoning_text: str
    status: TurnStatus
    created_at_ms: int
    """UTC milliseconds."""
    receipt: "Receipt | None" = None
    attachments: tuple[Attachment, ...] = ()
    quotes: tuple[Quote, ...] = ()


@value
class Extras:
    """What one provider is sent beside what its wire asks for; its owner's words."""

    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    body: Mapping[str, object] = field(default_factory=dict[str, object])
    """Fields of the request, in place of ours of the same name."""


NO_EXTRAS = Extras()


@value
class Endpoint:
    """Where and how one request is sent, once the right to send it was granted."""

    base_url: str
    """Up to and including the version, such as ``http://10.0.0.2:1234/v1``."""
    model: str
    """The name put in the request: an instance identifier or a provider's model."""
    wire: Wire = "openai"
    token: str | None = field(default=None, repr=False)
    source: str = ""
    """Host or provider name, for messages and logs."""
    is_local: bool = True
    # With one model in memory LM Studio serves any name with it: the name in the reply decides.
    accepted_models: frozenset[str] = frozenset()
    """Names the reply may give as its model; empty accepts anything (cloud aliases)."""
    connect_s: float = 5.0
    first_token_s: float = 900.0
    """Longest silence before the first delta; long, because prefill of a long prompt is silent."""
    quiet_s: float = 10.0
    """After so much silence between deltas it is told, once."""
    idle_s: float = 60.0
    """Longest silence between deltas."""
    dialect: DialectName = "lmstudio"
    """Which fields the server takes; only the OpenAI wire has dialects."""
    thinking: Literal["auto", "off"] = "auto"
    """``off`` asks the model not to reason first, where its wire has a switch for it."""
    extras: Extras = NO_EXTRAS


@value
class Verbatim:
    """A client's own chat, to be sent as it is to whoever speaks its wire."""

    fields: Mapping[str, object] = field(repr=False)
    """Its JSON, by OpenAI's names."""
    tap: Callable[[str], None] = field(repr=False)
    """Hears the payload of each event of the answer, as it came."""


@value
class InferenceRequest:
    """What is asked of an endpoint."""

    messages: tuple[Message, ...]
    sampling: Sampling = field(default_factory=Sampling)
    user_hash: str | None = None
    """Opaque salted hash of the asker, for providers that want one."""
    before_words: Callable[[], Awaitable[None]] | None = field(default=None, compare=False)
    """Awaited once the connection stands, right before the first word leaves; what it raises keeps
    them all here."""
    verbatim: Verbatim | None = field(default=None, compare=False)
    """Sent in place of the messages, which then only tell what is said in it."""


MOST_COUNTED = 1_000_000_000
"""Tokens, or whatever else is counted, of one number that others wrote: with more of them the worst
case of an answer is no number that a ledger can hold. The widest windows read a hundredth of it."""


@value
class Usage:
    """Tokens of one turn as the other side counted them; ``estimated`` when it did not."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False


LOST_S = 0.5
"""Until somebody was asked less than that is Lantern's own work, and is told nobody."""


@value
class Timing:
    """The wait of one turn, split; float seconds."""

    queue_s: float = 0.0
    """At whoever answered, as the load."""
    load_s: float = 0.0
    first_token_s: float | None = None
    """From sending the request to the first delta: prefill."""
    generation_s: float = 0.0
    total_s: float = 0.0
    thinking_s: float = 0.0
    """From the first delta to the first word of the answer; part of ``generation_s``."""
    until_asked_s: float = 0.0
    """From the question until whoever answered was asked: mostly at others that failed or were
    left."""
    whole_s: float | None = None
    """From sending the request to an answer that came as a whole; None of any other. Nobody tells
    how much of it was prefill: ``first_token_s`` is unknown, and ``generation_s`` 0."""

    @property
    def wait_s(self) -> float:
        """From the question to the first word."""
        return self.until_asked_s + self.queue_s + self.load_s + (self.first_token_s or 0.0)

    @property
    def answer_s(self) -> float:
        """From sending the request to the end of the answer."""
        return self.whole_s or (self.first_token_s or 0.0) + self.generation_s


@value
class Timed:
    """Tokens of an answer that a speed is told by, and the seconds they were written in."""

    tokens: int = 0
    seconds: float = 0.0

    def __add__(self, other: "Timed") -> "Timed":
        """Those of two parts of one answer."""
        return Timed(self.tokens + other.tokens, self.seconds + other.seconds)


@value
class Candidate:
    """A host or provider able to serve one request, with why and how soon."""

    model: ModelKey
    host: HostName | None = None
    provider: ProviderName | None = None
    seconds: float | None = None
    """Predicted seconds to the first token; None when nothing is known."""
    since: float | None = None
    """From when on it was waited for elsewhere, by the loop's clock; None where it was not."""
    burden_s: float = 0.0
    """Of a host, what it is compared by: the same, with what others will miss and the writing."""
    cost_micro_usd: int | None = None
    """Worst-case cost; None when the price is unknown, 0 for local hosts."""
    likely_micro_usd: int | None = None
    """What such a request usually costs; None when the price is unknown."""
    reason: str = ""

    @property
    def where(self) -> str:
        """Host or provider name."""
        return str(self.host or self.provider or "?")


@value
class Rejection:
    """A host or provider that cannot serve, or could not, and why."""

    where: str
    model: ModelKey
    reason: str
    kind: FailureKind | None = None
    """Of its failure; None where it was not asked."""
    brief: str = ""
    """The same for readers, as after "is", without an address.

    Empty: as ``BRIEFLY`` says of its kind; without one, no news to anybody."""
    is_cloud: bool = False
    is_beyond: bool = False
    """Does it cost more than a whole limit allows, so that waiting does not help?"""
    spent_s: float = 0.0
    """Seconds from when it was turned to, or had failed before, until it failed or was left for
    another; waits and loads there count. 0 where it was not turned to."""

    @classmethod
    def of(cls, candidate: Candidate, failure: Unavailable, spent_s: float = 0.0) -> Self:
        """That a candidate was asked and could not, after so many seconds."""
        return cls(
            candidate.where,
            candidate.model,
            failure.user_message,
            failure.kind,
            failure.brief,
            is_cloud=candidate.provider is not None,
            spent_s=spent_s,
        )


@value
class Route:
    """The ordered candidates for one request and those rejected; what ``/why`` prints."""

    candidates: tuple[Candidate, ...] = ()
    rejected: tuple[Rejection, ...] = ()
    reason: str = ""
    prefers_cloud: bool = False
    """A provider goes before hosts that could serve: chosen, or so the settings want it."""
    chosen: ProviderName | None = None
    """Who was asked for by name."""


@value
class Told:
    """What the readers of a conversation were told already; each turn's goes on from the last."""

    kept: int | None = None
    """Messages that were kept when it was last said how many were; None: not said."""
    is_private: bool = False
    """Said that earlier words keep it on the LAN."""
    blind: ModelKey | None = None
    """Said of this model that it is not shown earlier pictures."""
    gone: tuple[str, ...] = ()
    """Said who answers in place of which persona that is gone."""


@value
class Seam:
    """Where the host of an answer was lost in the middle; the words after it are another's."""

    host: HostName
    """Who was lost."""
    reason: str = ""
    """How, as the other side put it."""
    tokens: int = 0
    """Said by it, counted by deltas."""
    pause_s: float | None = None
    """From its last delta to the first word of whoever went on; None: nobody has."""


@value
class Receipt:
    """What a person sees at the end of a turn: who answered, where, how fast, what it cost."""

    persona: PersonaName
    model: ModelKey | None = None
    host: HostName | None = None
    provider: ProviderName | None = None
    usage: Usage = Usage()
    timing: Timing = Timing()
    finish: FinishReason = "stop"
    cost_micro_usd: int = 0
    is_cost_estimated: bool = False
    """Some of it was counted here, since a provider did not tell what it counted."""
    route: Route = Route()
    attempts: tuple[Rejection, ...] = ()
    """Who was asked and failed, in order."""
    left: tuple[Rejection, ...] = ()
    """Who did not fail, and was left since another was sooner by then; why, in order."""
    choice_reason: str = ""
    """Why this persona and model: ``chosen for this channel``."""
    notices: tuple[str, ...] = ()
    """Said along the way: a trimmed transcript, a skipped image."""
    seer: Candidate | None = None
    """Who could have seen the pictures that were left out of this question."""
    told: Told = Told()
    """Said up to this turn, to be said only once."""
    from_cache: bool = False
    """Given before to the very same question; nobody was asked."""
    presses: tuple[str, ...] = ()
    """What its asker did meanwhile, in words: ``Use the cloud after 12 s``."""
    ending: str = ""
    """Why it broke off, as its readers were told."""
    cause: str = ""
    """The same as the other side put it, where it said more."""
    seams: tuple[Seam, ...] = ()
    """Where its hosts were lost, in order; ``host`` is the one that answered last."""
    before: tuple[Candidate, ...] = ()
    """Who gave the words it goes on with, where it was continued by somebody else."""
    asked: str = ""
    """As of the request."""
    option: str = ""
    """The model or provider that was named for this question alone; a retry asks it again."""

    timed_parts: Timed | None = None
    """Of an answer in several parts, what was timed of them; None where it is one."""

    @property
    def timed(self) -> Timed:
        """What of it a speed is told by.

        What is charged where a provider told no count is rounded up: a speed by it was half as high
        again as the true one. Nor is anything told by words that all came in one moment.
        """
        if self.timed_parts is not None:
            return self.timed_parts
        is_rough = self.provider is not None and self.usage.estimated
        seconds = self.timing.generation_s
        return Timed() if is_rough or seconds <= 0 else Timed(self.usage.completion_tokens, seconds)

    @property
    def tokens_per_s(self) -> float | None:
        """How fast it was written; None where nothing tells."""
        timed = self.timed
        return timed.tokens / timed.seconds if timed.tokens and timed.seconds else None
