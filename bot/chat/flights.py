"""Clients' requests under way: what each is doing now, who looks on, and how one is ended."""

import asyncio
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from bot.domain.chat import Candidate, Receipt, Rejection, Route
from bot.domain.cloud import CloudEvent
from bot.domain.errors import (
    BotError,
    Interrupted,
    NoCandidates,
    RequestCancelled,
    RequestRefused,
)
from bot.domain.events import FleetEvent, Loading, Progress
from bot.domain.hosts import HostSnapshot
from bot.domain.ids import HostName, ModelKey, TurnId, UserId
from bot.domain.values import value

State = Literal["routing", "queued", "loading", "reading", "answering", "streaming"]
"""``answering``: as a whole, so that whether it still reads is told nobody before its end."""

Outcome = Literal["done", "refused", "failed", "cut", "cancelled", "left"]
"""How it ended; ``refused`` for what it asks or by whose key, ``cut`` after its first byte,
``cancelled`` by an admin, ``left`` by its client."""


@dataclass(eq=False, slots=True)
class Flight:
    """One request under way; written by whoever relays it."""

    id: TurnId
    user: UserId
    form: str
    """Of its endpoint: ``chat``, ``embeddings``."""
    model: ModelKey
    """As asked for; ``auto`` where none was named."""
    is_stream: bool
    began_at: float
    """On the event loop's clock, as all times here."""
    tell: Callable[["FlightNews"], None]
    state: State = "routing"
    route: Route = field(default_factory=Route)
    by: Candidate | None = None
    """Who is asked now."""
    seen: HostSnapshot | None = None
    """The host that is asked, as it stood then."""
    step: Progress | None = None
    """What it waits for; None while it waits for nothing."""
    sent_at: float | None = None
    first_at: float | None = None
    ended_at: float | None = None
    count: Callable[[], int] = int
    """Pieces of the answer so far, about a token each."""
    attempts: list[Rejection] = field(default_factory=list[Rejection])
    """Who was asked and failed."""
    mistaken: list[HostName] = field(default_factory=list[HostName])
    """Hosts that answered with another model; nothing of it was passed on."""
    receipt: Receipt | None = None
    """What it used and waited, once its work is over, also where it broke; None before."""
    outcome: Outcome | None = None
    error: BaseException | None = None
    """Why it is not whole."""
    scope: asyncio.Timeout = field(default_factory=lambda: asyncio.timeout(None))
    """Entered around the work, inside of what ``Flights.open`` gives."""

    @property
    def is_waiting(self) -> bool:
        """Is it still to be sent to whoever will answer?"""
        return self.state in ("routing", "queued", "loading")

    def routed(self, route: Route) -> None:
        """Who will be asked is known."""
        self.route = route
        self.tell(FlightNews("routed", self))

    def waits(self, step: Progress) -> None:
        """It waits in a line or for a load."""
        self.step = step
        self.state = "loading" if isinstance(step, Loading) else "queued"

    def begins(self, by: Candidate, now: float, seen: HostSnapshot | None = None) -> None:
        """This one is sent the request; after a failure it is not the first."""
        self.by, self.seen, self.step = by, seen, None
        self.state = "reading" if self.is_stream else "answering"
        self.sent_at, self.first_at, self.count = now, None, int

    def again(self) -> None:
        """Whoever was asked failed, and nothing was passed on: somebody is asked anew."""
        self.state, self.step = "routing", None

    def heard(self, now: float) -> None:
        """The first word of an answer came."""
        self.first_at, self.state = now, "streaming"
        self.tell(FlightNews("first word", self))

    def cancel(self, error: BotError | None = None) -> bool:
        """Ends it: its client is told this error, else that an admin did; its host stops.

        False when it was ending already: what its client is told then stands.
        """
        # It is listed until its host has stopped, and a deadline that rang cannot be set again:
        # of two admins who ended one request at once, the second was told of a broken Lantern.
        if self.outcome is not None or self.scope.when() is not None:
            return False
        self.error = error
        # A deadline already past cancels exactly this request, and says that we did.
        self.scope.reschedule(0.0)
        return True


@value
class FlightNews:
    """What became of a request, each thing said once."""

    what: Literal["began", "routed", "first word", "ended"]
    flight: Flight


def outcome_of(error: BaseException) -> Outcome:
    """How a request ended that is not whole."""
    match error:
        case asyncio.CancelledError():
            return "left"
        case RequestCancelled():
            return "cancelled"
        case Interrupted():
            return "cut"
        case RequestRefused():
            return "refused"
        # Counted as failed it was an alarm of the hosts, which had done nothing wrong.
        case NoCandidates(is_askers_fault=True):
            return "refused"
        case _:
            return "failed"


News = FleetEvent | Loading | CloudEvent | FlightNews


class Newsroom:
    """Passes on what happens anywhere in Lantern to whoever listens just now; keeps nothing."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[News], None]] = []

    def tell(self, news: News) -> None:
        """Tells everybody. A listener writes it down and returns: it may neither wait nor raise."""
        for listener in tuple(self._listeners):
            listener(news)

    @contextmanager
    def heard_by(self, listener: Callable[[News], None]) -> Generator[None]:
        """It hears of everything while the block runs."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)


class Flights:
    """The requests under way; their only list."""

    def __init__(self, tell: Callable[[News], None]) -> None:
        self._tell = tell
        self._all: dict[TurnId, Flight] = {}
        self.none_left = asyncio.Event()
        """Set while none is under way."""
        self.none_left.set()

    def __iter__(self) -> Iterator[Flight]:
        """Oldest first; safe against changes meanwhile."""
        return iter(tuple(self._all.values()))

    @contextmanager
    def open(
        self, id: TurnId, user: UserId, form: str, model: ModelKey, *, is_stream: bool
    ) -> Generator[Flight]:
        """One more, while the block runs; notes how it ended and tells of it.

        Its work is done within its ``scope``, by which it is ended.

        Raises:
            BotError: it was ended by this; ``RequestCancelled`` by an admin.
        """
        clock = asyncio.get_running_loop().time
        flight = Flight(id, user, form, model, is_stream, clock(), self._tell)
        self._all[id] = flight
        self.none_left.clear()
        try:
            self._tell(FlightNews("began", flight))
            try:
                yield flight
            except TimeoutError as error:
                if not flight.scope.expired():
                    raise
                if flight.error is not None:
                    raise flight.error from error
                raise RequestCancelled("An admin ended this request.") from error
            flight.outcome = "done"
        except BaseException as error:
            flight.error, flight.outcome = error, outcome_of(error)
            raise
        finally:
            flight.step, flight.ended_at = None, clock()
            self._tell(FlightNews("ended", flight))
            del self._all[id]
            if not self._all:
                self.none_left.set()

    def cancel(self, id: TurnId) -> Literal["cancelled", "ending"] | None:
        """Ends a request, unless it is ending already; None where none of this id is under way."""
        flight = self._all.get(id)
        if flight is None:
            return None
        return "cancelled" if flight.cancel() else "ending"
