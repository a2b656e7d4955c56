"""The one walk over a route's candidates: to answer, to warm a choice, to load by hand."""

import asyncio
import math
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import TypeVar

import structlog

from bot.chat.override import Override
from bot.domain.chat import Candidate, Rejection, Route
from bot.domain.errors import FailureKind, Unavailable
from bot.domain.events import Progress
from bot.domain.hosts import Instance, Wish
from bot.domain.ids import AUTO, HostName, ModelKey, ProviderName
from bot.domain.values import value
from bot.fleet.fleet import Fleet
from bot.fleet.lease import Elsewhere, Silent

_log = structlog.get_logger(__name__)

Planned = TypeVar("Planned")
"""Whatever a question's plan is; it has a route."""

HOST_AT_FAULT = frozenset(
    {
        FailureKind.CONNECT,
        FailureKind.TIMEOUT,
        FailureKind.CUT,
        FailureKind.STALL,
        FailureKind.SERVER,
        FailureKind.OVERLOAD,
        FailureKind.GARBAGE,
        FailureKind.AUTH,
    }
)
"""Failures of a running request that take the host out until it is probed back in."""


@value
class Readiness:
    """Whether a wanted model is in memory now, and who answers where it is not.

    The last item of a load being watched, after its progress.
    """

    model: ModelKey
    """What was wanted."""
    by: Candidate | None
    """Who answers now: a host that has it (or an alternative) in memory, or a provider; None is
    nobody."""
    waited_s: float | None = None
    """From the wish to the end of the load; None when nothing had to be loaded."""
    failed: tuple[Rejection, ...] = ()
    """Who could not, and why, whether tried or not."""
    provider: ProviderName | None = None
    """Was wanted instead of a model."""
    instance: Instance | None = None
    """The loaded copy; None of a provider."""

    @property
    def is_as_wished(self) -> bool:
        """Is the wanted model itself in memory?"""
        by = self.by
        return by is not None and by.host is not None and self.model in (AUTO, by.model)


Newcomers = Callable[[], Awaitable[Sequence[Candidate]]]

LoadSteps = AbstractAsyncContextManager[AsyncIterator[Progress | Readiness]]
"""A load being watched: its progress, then one ``Readiness``."""


@dataclass(slots=True)
class _Line:
    """Who is still to be asked in one walk, and what was learnt of them."""

    waiting: deque[Candidate]
    max_wait_s: float | None
    """Longest wait for one candidate while others are left; None: for ever."""
    later: deque[Candidate] = field(default_factory=deque[Candidate])
    """Providers that failed."""
    patient: set[Candidate] = field(default_factory=set[Candidate])
    """Whose queue is waited in without a limit the next time."""
    broken: set[HostName] = field(default_factory=set[HostName])
    could_not: set[tuple[HostName, ModelKey]] = field(
        default_factory=set[tuple[HostName, ModelKey]]
    )
    """Hosts that are well and failed with this model."""
    has_lost: bool = False
    """Has any host failed?"""

    def failed(
        self,
        candidate: Candidate,
        why: Unavailable,
        limit_s: float | None,
        since: float,
        *,
        is_repeat: bool,
    ) -> None:
        """Where a candidate that failed comes again, if anywhere.

        Args:
            candidate: Who.
            why: Its failure.
            limit_s: How many seconds it was waited for at most; None: for ever.
            since: When its wait began, in monotonic seconds.
            is_repeat: It was asked before.
        """
        host, kind = candidate.host, why.kind
        self.has_lost = self.has_lost or host is not None
        # Nobody else may be able to, so whoever was only late is kept as the last resort; a line
        # that was waited in to its end is not waited in again.
        is_late = kind is FailureKind.BUSY and candidate not in self.patient
        if is_late and (host is not None or limit_s is not None):
            # With the time it has waited: it came back to the tail of the same line, and whoever
            # had come meanwhile was answered first.
            again = candidate if host is None else replace(candidate, since=since)
            self.patient.add(again)
            at = len(self.waiting) if host is not None else len(self.waiting) - self._late()
            self.waiting.insert(at, again)
        elif host is None:
            self.later.extend([] if is_repeat else [candidate])
        elif kind in HOST_AT_FAULT:
            self.broken.add(host)
            if isinstance(why, Silent) and why.sooner is not None:
                self.silent(why.sooner)
        else:
            self.could_not.add((host, candidate.model))

    def out(self, model: ModelKey) -> frozenset[HostName]:
        """Hosts that are not asked for a model again."""
        return frozenset(self.broken) | {host for host, key in self.could_not if key == model}

    def is_chosen(self, provider: ProviderName | None) -> None:
        """Of this one the asker wants its answer, and waits in its line to the end."""
        if provider is not None:
            self.patient |= {each for each in self.waiting if each.provider == provider}

    def goes_first(self, wanted: Candidate) -> None:
        """Whoever the asker chose is next, and stands in the line once."""
        where = (wanted.where, wanted.model)
        others = [o for o in self.waiting if (o.where, o.model) != where]
        self.waiting.clear()
        self.waiting.extend((wanted, *others))

    def left(self, candidate: Candidate, better: Candidate) -> None:
        """A wait ended for a host that is clearly sooner: no failure, and the last resort."""
        # With the time it has waited by then: back in its line it was the newest of all.
        again = replace(candidate, since=better.since)
        if candidate in self.patient:
            self.patient.add(again)
        self.goes_first(better)
        self.waiting.append(again)

    def silent(self, sooner: Candidate) -> None:
        """A host hung, and was left before all its time was over since this one could answer."""
        mine = (o for o in self.waiting if (o.where, o.model) == (sooner.where, sooner.model))
        # As it stands in the line: with the time it has waited, and without a limit.
        self.goes_first(next(mine, sooner))

    def limit_s(self, candidate: Candidate) -> float | None:
        """How many seconds a candidate is waited for at most; None: for ever."""
        is_hurried = len(self.waiting) > (0 if candidate.host is not None else self._late())
        return self.max_wait_s if is_hurried and candidate not in self.patient else None

    def _late(self) -> int:
        """How many of those left are hosts predicted to take longer than anybody waits."""
        longest_s = math.inf if self.max_wait_s is None else self.max_wait_s
        return sum(o.host is not None and (o.seconds or 0.0) > longest_s for o in self.waiting)

    async def take_in(self, newcomers: Newcomers | None) -> bool:
        """Takes in hosts that came once all others had failed; whether there was one."""
        if newcomers is not None and self.has_lost:
            self.waiting.extend(await newcomers())
        return bool(self.waiting)


async def walk(
    candidates: Iterable[Candidate],
    serve: Callable[[Candidate, float | None, bool, Collection[HostName]], Awaitable[None]],
    on_failure: Callable[[Candidate, Unavailable], Awaitable[None]],
    *,
    override: Override | None = None,
    max_wait_s: float | None = None,
    comes_again: Callable[[ProviderName], bool] | None = None,
    newcomers: Newcomers | None = None,
    patient_with: ProviderName | None = None,
) -> Candidate | None:
    """Lets candidates serve, in order, until one has.

    1. What the asker chose meanwhile goes first.
    2. A host that broke is not asked again, for another model either.
    3. Nobody waits in a queue longer than ``max_wait_s`` while others are left; who was too busy
       comes once more after them, then without a limit. A provider's line is left only for those
       who could be sooner: not for hosts that take longer than ``max_wait_s``, behind whom it
       would wait twice; and where the asker chose it before, for nobody.
    4. A candidate left for the asker's choice comes again as the last resort.
    5. Everybody is asked once; only then is a provider that failed asked again, where that helps.
    6. A wait ends where another host is clearly sooner by now: that one is next, and the one left
       comes again as the last resort. Never for one that failed in this walk: it would not be
       asked, and whoever stands behind it, a provider, would be; or it would fail once more.
       Whoever a host that hangs was left for is next as well: else a provider in front of it would
       be paid.
    7. Where a host broke, no provider is paid, and nobody is told that none can, before hosts of
       which nobody knows yet whether they serve. One that came up while the question waited in the
       only line there was is asked too, though all others have failed by then.

    Args:
        candidates: Best first.
        serve: Is given the candidate, its longest wait in seconds (None is for ever), whether it is
            the last, and the hosts that failed meanwhile; raises ``Unavailable`` where the next may
            do better, ``Elsewhere`` where another host but those is clearly sooner.
        on_failure: Is told of each such failure; what it raises ends the walk.
        override: The asker's own choice; None where there is none to make.
        max_wait_s: Longest wait for one candidate while others are left.
        comes_again: Is asked of each provider that failed once nobody fresh is left.
        newcomers: Waits for hosts that the candidates were made without; they go first. Asked again
            until it knows none.
        patient_with: The provider that the asker chose before.

    Returns:
        Who served; None when nobody could.
    """
    line, chosen = _Line(deque(candidates), max_wait_s), None
    line.is_chosen(patient_with)
    waiting, later = line.waiting, line.later
    while waiting or later or await line.take_in(newcomers):
        # Also chosen between two attempts, or before the first.
        if override is not None and (wanted := override.take()) is not None:
            line.goes_first(wanted)
            chosen = wanted.provider
        is_repeat = not waiting
        candidate = (waiting or later).popleft()
        name = candidate.provider
        if is_repeat and not (name is not None and comes_again and comes_again(name)):
            continue
        # Right after the start one dead host among the first sent its questions to be paid for,
        # though its twin was about to be seen.
        if name is not None and name != chosen and line.has_lost and newcomers is not None:
            if found := await newcomers():
                waiting.extendleft((candidate, *reversed(found)))
                continue
            newcomers = None
        # Its other models are behind the same dead line, and each would cost a timeout.
        if candidate.host in line.broken:
            continue
        limit_s, began_s = line.limit_s(candidate), asyncio.get_running_loop().time()
        try:
            async with nullcontext() if override is None else override.attempt(candidate):
                await serve(candidate, limit_s, not waiting, line.out(candidate.model))
                return candidate
        except Elsewhere as better:
            line.left(candidate, better.candidate)
        except Unavailable as failed:
            _log.info(
                "candidate failed",
                where=candidate.where,
                model=candidate.model,
                kind=str(failed.kind),
                reason=failed.user_message,
            )
            await on_failure(candidate, failed)
            since = began_s if candidate.since is None else candidate.since
            line.failed(candidate, failed, limit_s, since, is_repeat=is_repeat)
        else:
            # Its load goes on meanwhile, so it may be the one that can when the choice cannot.
            waiting.append(candidate)
    return None


def without(route: Route, broken: Collection[HostName]) -> Route:
    """A route that leads to none of these."""
    return replace(route, candidates=tuple(c for c in route.candidates if c.host not in broken))


class FirstLook:
    """What one question may still wait for hosts that are being looked at, before it is paid."""

    def __init__(self, fleet: Fleet, left_s: float) -> None:
        self._fleet = fleet
        self._left_s = left_s
        """One bound for the whole question: the first host that is seen ends a wait, and may break.
        """
        self._known: set[HostName | None] = {None}

    async def planned(
        self,
        plan: Callable[[], Planned],
        route_of: Callable[[Planned], Route],
        pays_unseen: Callable[[Planned], bool],
        looking: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    ) -> Planned:
        """The plan of a question by which nobody is paid while a host may serve that is not seen.

        Args:
            plan: Makes it, as things stand at the moment.
            route_of: Its route.
            pays_unseen: Would a provider answer by it first, though a host is being looked at?
            looking: Is around one more look at hosts that are out.
        """
        found = plan()
        if not route_of(found).candidates:
            # A host that is out may just have started, or only have stumbled: one more look. Before
            # the wait, not after it: this look may leave a provider and a host that nobody knows.
            async with self._bounded(), looking():
                await self._fleet.look_again()
            found = plan()
        if pays_unseen(found):
            # Every start paid the cloud although hosts were up: no probe had come back yet.
            await self.until(lambda: not pays_unseen(plan()))
            found = plan()
        return found

    async def until(self, is_enough: Callable[[], bool]) -> None:
        """Returns when that holds, of each host is known whether it serves, or the time is over.

        A host that stumbled is being looked at until a second probe has failed: on a busy machine
        one probe that was late once sent a question to be paid for.
        """
        async with self._bounded():
            # Who was asked and broke may be back in a moment, and is not asked again all the same.
            await self._fleet.until(is_enough, self._left_s, self._known)

    @asynccontextmanager
    async def _bounded(self) -> AsyncGenerator[None]:
        """Ends what it is around once no time is left, and takes off what that took."""
        clock = asyncio.get_running_loop().time
        began_s = clock()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._left_s):
                yield
        self._left_s = max(0.0, self._left_s - (clock() - began_s))

    async def newcomers(self, route: Route, again: Callable[[], Route]) -> tuple[Candidate, ...]:
        """Hosts that can serve, new to a route and to earlier calls; the undecided are waited for.

        Args:
            route: As it was made; where the cloud goes first anyway, nobody is waited for.
            again: Makes it anew.
        """
        self._known.update(candidate.host for candidate in route.candidates)

        def found() -> tuple[Candidate, ...]:
            return tuple(c for c in again().candidates if c.host not in self._known)

        if route.prefers_cloud:
            return ()
        if not found():
            # What one loads by may have opened since: its last look refused for good.
            async with self._bounded():
                await self._fleet.look_again(only_settling=True)
        if not found():
            await self.until(lambda: bool(found()))
        new = found()
        self._known.update(candidate.host for candidate in new)
        return new


async def load_first(
    fleet: Fleet,
    wish: Wish,
    route: Route,
    emit: Callable[[Progress], Awaitable[None]],
) -> Readiness:
    """Loads for a wish on the first host of the route that can; a provider needs no load.

    Args:
        fleet: Where.
        wish: With the wanted model; each candidate's own takes its place.
        route: Whom to try, in order, and who is out already.
        emit: Hears the progress.
    """
    loop = asyncio.get_running_loop()
    # Progress is what tells a load from a model that was there: a grant alone says neither.
    began, has_waited = loop.time(), False
    instance: Instance | None = None
    failed: list[Rejection] = []

    async def serve(
        candidate: Candidate, max_wait_s: float | None, is_last: bool, _: Collection[HostName]
    ) -> None:
        nonlocal has_waited, instance
        # A provider has nothing to load; asking it would cost money.
        if candidate.host is None:
            return
        wanted = replace(wish, model_key=candidate.model)
        async with fleet.host(candidate.host).lease(wanted) as lease:
            async for step in lease:
                has_waited = True
                await emit(step)
            instance = lease.granted.instance

    async def note(candidate: Candidate, error: Unavailable) -> None:
        failed.append(Rejection.of(candidate, error))

    by = await walk(route.candidates, serve, note)
    return Readiness(
        model=wish.model_key,
        by=by,
        waited_s=loop.time() - began if has_waited else None,
        failed=(*failed, *route.rejected),
        instance=instance,
    )
