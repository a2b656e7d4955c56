"""What a client asks to be relayed, where its answer goes, and what came of it so far."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from bot.chat.abroad import Abroad
from bot.chat.choices import Resolved
from bot.chat.flights import Flight
from bot.cloud.serve import ProviderTries
from bot.domain.chat import Candidate, Place, Rejection, Route, Timing, TurnRequest, Usage
from bot.domain.errors import FailureKind, Interrupted, Unavailable
from bot.domain.events import Delta, Progress, Queued
from bot.domain.hosts import HostSnapshot
from bot.domain.ids import HostName, TurnId, UserId
from bot.domain.values import value
from bot.fleet.lease import Lease
from bot.inference.passing import Form, OwnHead
from bot.policy.privacy import Judge

RequestForm = Form | Literal["embeddings"]


@value
class RelayRequest:
    """One request of a client, validated and filled in."""

    id: TurnId
    form: RequestForm
    path: str
    """Below a host's ``/v1``."""
    fields: Mapping[str, object]
    """Its JSON, but for the model and whether usage is told."""
    resolved: Resolved
    user: UserId
    """Whose limits count, and who takes turns in a queue: a key."""
    daily_micro_usd: int | None
    """What providers' answers to this user may cost a day; None leaves the limits of everybody."""
    place: Place
    prompt_tokens: int
    """Estimated."""
    answer_tokens: int
    is_stream: bool = False
    """Never of embeddings, which come as a whole."""
    wants_usage: bool = True
    needs_vision: bool = False
    abroad: Abroad | None = None
    """The same for a provider; None where only a host can be asked."""
    models: tuple[str, ...] = ()
    """Patterns of the models its key is for, where they bind providers too; empty is every one."""
    only_host: HostName | None = None
    """Keeps the answer it goes on from; nobody else has it."""

    def as_turn(self) -> TurnRequest:
        """Who asks and where, as consent is judged by them: the words are judged beside them."""
        return TurnRequest(self.user, str(self.user), self.place, "")


class Sink(Protocol):
    """Where an answer goes; leaving the request cancels what runs."""

    async def routed(self, route: Route) -> None:
        """Who will be asked; before anything is waited for."""
        ...

    async def waits(self, step: Progress) -> None:
        """It waits for a host: in its queue, for an eviction or a load."""
        ...

    async def begins(self, candidate: Candidate, seen: HostSnapshot | None) -> None:
        """This one is asked now: a host as it stands, or a provider."""
        ...

    def own_head(self) -> OwnHead:
        """What stands in a stream's chunks in place of the host's own."""
        ...

    def beside_usage(
        self, timing: Timing, usage: Usage, told: Mapping[str, object]
    ) -> Mapping[str, object]:
        """More fields for the chunk of a stream that tells its usage.

        Args:
            timing: Of the answer.
            usage: As that chunk tells it.
            told: The chunk's own fields.
        """
        ...

    async def write(self, data: bytes, told: Mapping[str, object] | None = None) -> None:
        """Bytes of the answer, in its own form; of a whole one what they tell, too."""
        ...

    def straight(self, chunks: bytes) -> bool:
        """The same in HTTP's chunks, out at once; False where they must be written."""
        ...

    async def say(self, delta: Delta, candidate: Candidate) -> None:
        """A piece of a provider's answer, which comes in no form of the client's."""
        ...

    async def pass_on(self, payloads: Sequence[str], *, wants_usage: bool) -> None:
        """Chunks of a provider's answer in the client's own form, as they came."""
        ...


@dataclass(slots=True)
class Relay:
    """One request under way: what is asked, and what came of it so far.

    Times are on the event loop's clock.
    """

    request: RelayRequest
    sink: Sink
    """Takes the answer."""
    flight: Flight
    judge: Judge
    """Asked right before each sending to a provider whether the words may go."""
    route: Route
    """As it was planned."""
    began_at: float
    patient_until: float
    """So long it may wait for a place, and a whole answer, which shows no life, for a load."""
    tries: ProviderTries = field(default_factory=ProviderTries)
    """At any provider."""
    lease: Lease | None = None
    """Of the host that was asked last."""
    is_loading: bool = False
    """Was the wait given up while a load was under way?"""
    loading_since: float | None = None
    """Of the load that is waited for now."""
    sent_at: float | None = None
    first_at: float | None = None
    """Of an answer in pieces."""
    last_at: float | None = None
    deltas: int = 0
    usage: Usage = field(default_factory=Usage)
    """As whoever answered told it."""
    queue_s: float = 0.0
    """Waited for a slot, at whoever is asked."""
    load_s: float = 0.0
    left: list[Rejection] = field(default_factory=list[Rejection])
    """Hosts that did not fail, and were left for one that was sooner by then."""
    has_written: bool = False
    renews_in_s: float | None = None
    """After how long a spent budget begins anew; infinite where it allows too little even then."""

    def waits(self, step: Progress) -> None:
        """It waits in a line or for a load."""
        self.flight.waits(step)
        self.is_loading = not isinstance(step, Queued)
        now = asyncio.get_running_loop().time()
        self.loading_since = (self.loading_since or now) if self.is_loading else None

    async def begins(self, candidate: Candidate, seen: HostSnapshot | None = None) -> None:
        """The request is sent; what an earlier candidate began does not count.

        Args:
            candidate: To whom.
            seen: A host as it stands now.
        """
        now, self.loading_since = asyncio.get_running_loop().time(), None
        self.sent_at, self.first_at, self.last_at, self.deltas = now, None, None, 0
        self.flight.begins(candidate, now, seen)
        await self.sink.begins(candidate, seen)

    def heard(self, now: float) -> None:
        """A piece of the answer came."""
        self.last_at = now
        if self.first_at is None:
            self.first_at = now
            self.flight.heard(now)

    def timing(self, last_at: float | None) -> Timing:
        """Its wait, as it stands now.

        Args:
            last_at: When the newest piece of the answer came.
        """
        first, asked_at = self.first_at, self.sent_at
        sent_s = 0.0 if asked_at is None else asked_at - self.began_at
        return Timing(
            until_asked_s=max(0.0, sent_s - self.queue_s - self.load_s),
            queue_s=self.queue_s,
            load_s=self.load_s,
            first_token_s=first - asked_at if first and asked_at else None,
            generation_s=last_at - first if first and last_at else 0.0,
            whole_s=last_at - asked_at if last_at and asked_at and not first else None,
            total_s=asyncio.get_running_loop().time() - self.began_at,
        )

    async def failed(self, candidate: Candidate, error: Unavailable) -> None:
        """Notes a failure; after the first words it ends the answer: none can be unsent."""
        attempt = Rejection.of(candidate, error)
        self.flight.attempts.append(attempt)
        if error.retry_after_s is not None and error.kind is FailureKind.BUDGET:
            # Of several the soonest: one of them can pay then.
            self.renews_in_s = min(error.retry_after_s, self.renews_in_s or math.inf)
        if self.has_written:
            raise Interrupted(error.user_message, error.kind) from error
        self.usage = Usage()
        self.again()

    def again(self) -> None:
        """Whoever was asked failed, and nothing was passed on: somebody is asked anew."""
        # What a host worked at it is no wait: one that hung used that up, and an idle host that had
        # the model on its disk was given 0 s to load it.
        # Nor is a load that stood still, but for who sees no sign of it.
        since = None if self.flight.is_waiting else self.sent_at
        if self.loading_since is not None and self.request.is_stream:
            since = self.loading_since
        if since is not None:
            self.patient_until += asyncio.get_running_loop().time() - since
        self.loading_since = None
        self.queue_s = self.load_s = 0.0
        self.flight.again()
