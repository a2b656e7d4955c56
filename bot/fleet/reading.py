"""What is read of one host: never older than the last load or unload there."""

import asyncio
import math
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from bot.domain.chat import Candidate
from bot.domain.errors import FailureKind, HostUnreachable, Unavailable
from bot.domain.hosts import AWAY, HostSnapshot, Instance, ModelKind, Report
from bot.domain.ids import HostName, InstanceRef, ModelKey
from bot.domain.values import value
from bot.fleet.client import HostClient, LoadValue
from bot.fleet.connection import Connection
from bot.fleet.lease import Lease, Silent
from bot.fleet.queue import Ticket
from bot.fleet.residents import reference_of
from bot.fleet.rules import LEAST_TIMER_S, FleetRules
from bot.policy.deadlines import AGAIN_S, is_deaf

VOUCHED_S = 1.0
"""A list, or a word of an answer under way, tells for so long that an instance is in memory."""
ENDED_S = 0.02
"""The last word of an answer that is over tells so about as long as a look takes: what rests may
be evicted."""
LOOK_S = 2.0
"""How long a turn about to be sent waits to hear whether its instance is still there."""
COUNT_S = 0.3
"""How long it waits for the host's own count of its tokens, where that could change what fits."""
DOUBTED_S = 1.0
"""So often it is looked whether a host in doubt was heard, and whether another could answer."""


@value
class Doubts:
    """When a host that is silent after a request may hang, and how much longer it has then."""

    after_s: float
    """So long silent it is asked whether it is there."""
    sooner: Callable[[float], Candidate | None]
    """Who could answer instead, given when it was asked: one that has told of itself since then."""
    limit_s: Callable[[float, bool], float]
    """The longest silence, given in how many seconds that one could (infinity for nobody), and
    whether this one is deaf."""


class HostReader:
    """Reads one host's lists, and takes words of its answers for signs of life.

    What asks the host raises ``HostUnreachable`` when it is lost or does not answer in time.
    """

    def __init__(
        self,
        link: Connection,
        rules: FleetRules,
        snapshot: Callable[[], HostSnapshot],
        on_listed: Callable[[tuple[Instance, ...]], object],
        on_spoke: Callable[[Ticket], object],
        knock: Callable[[], object],
    ) -> None:
        """Of one host.

        Args:
            link: To it.
            rules: With the times it has to answer.
            snapshot: Gives what is known of it now.
            on_listed: Is told each list of its instances that was read here.
            on_spoke: Is told whose answer has begun.
            knock: Has it probed soon, without waiting for that.
        """
        self.acts = 0
        """Loads and unloads ended; a list read before the newest of them is out of date."""
        self.listed_at = -math.inf
        """When the newest list that the scheduler was told was asked for."""
        self._link = link
        self._rules = rules
        self.snapshot = snapshot
        self._on_listed = on_listed
        self.on_spoke = on_spoke
        self.knock = knock
        self.told_at = -math.inf
        """When it last told about itself, as a probe asks."""
        self._unanswered_at = -math.inf
        """When it was first asked to since then."""
        self.heard_at = -math.inf
        """When it last said anything of a load, or in an answer that is over."""
        self.spoke: dict[Ticket, tuple[InstanceRef, Callable[[], float]]] = {}
        """Each answer under way: by which instance, and what tells when its newest word came."""
        self.ended: dict[InstanceRef, float] = {}
        """When the newest word came of the newest answer that is over and was well."""
        self._looks: dict[ModelKey, tuple[asyncio.Lock, float]] = {}
        """Who looks for copies of a model now, and when the newest look began."""

    async def report(self, is_at_work: Callable[[], bool]) -> Report:
        """Everything a probe tells, no older than the newest act."""
        if self._unanswered_at <= self.told_at:
            self._unanswered_at = asyncio.get_running_loop().time()
        async with self._link.within(self._rules.probe_timeout_s):
            while True:
                acts, client = self.acts, self._link.client
                # There may be a richer interface by now.
                if client is not None and client.interface != "SDK socket" and not is_at_work():
                    await self._link.drop()
                report = await self._link.ask(lambda client: client.inventory())
                self.told_at = asyncio.get_running_loop().time()
                if acts == self.acts:
                    return report

    async def residents(
        self, client: HostClient, kind: ModelKind | None = None
    ) -> tuple[Instance, ...]:
        """What is in memory now; of one kind at least, and sooner, where one is given."""
        rules = self._rules
        async with self._link.within(
            rules.call_timeout_s if kind is None else rules.probe_timeout_s
        ):
            return await client.resident(kind)

    async def residents_if_there(self) -> tuple[Instance, ...] | None:
        """What is in memory now; None when the host does not tell."""
        try:
            with self._link.understood():
                return await self._link.ask(self.residents)
        except Unavailable:
            return None

    async def load_config(self, instance: Instance) -> Mapping[str, LoadValue]:
        """How the host says that an instance was loaded; empty where it does not tell."""
        try:
            with self._link.understood():
                async with self._link.within(self._rules.probe_timeout_s):
                    return await self._link.ask(lambda client: client.load_config(instance))
        except Unavailable:
            return {}

    async def count_tokens(self, instance: Instance, text: str) -> int | None:
        """Tokens of a text as this instance reads it; None where it does not tell at once."""
        try:
            with self._link.understood():
                async with self._link.within(COUNT_S):
                    return await self._link.ask(lambda client: client.count_tokens(instance, text))
        except Unavailable:
            return None

    async def copies(self, key: ModelKey, kind: ModelKind) -> set[InstanceRef]:
        """Which instances of one model are in memory now."""
        there = await self._link.ask(lambda client: self.residents(client, kind))
        return {reference_of(instance) for instance in there if instance.model_key == key}

    async def confirm(self, lease: Lease) -> None:
        """Makes sure, right before a request is sent, that what was granted is still in memory.

        With JIT on LM Studio loads whatever it is asked for and has not: a host that restarted, or
        whose model somebody else unloaded, did so for each of many turns at once, with none of our
        settings. Looking costs a question at the host, so that it is left out where a list read
        since the asker came, or words of another answer by the instance, vouch for it. Whatever is
        missed so is found out by the first event of the answer itself (docs/adr/0020).

        Raises:
            Unavailable: it left memory (``NOT_THERE``).
            HostUnreachable: the host is lost.
        """
        granted, now = lease.granted.instance, asyncio.get_running_loop().time()
        key, reference = granted.model_key, reference_of(granted)
        try:
            ended_at = self.ended.get(reference, -math.inf)
            is_spoken = any(
                r == reference and now - at() < VOUCHED_S for r, at in self.spoke.values()
            )
            if not is_spoken and now - ended_at >= ENDED_S:
                await self.look(key, granted.kind, max(lease.asked_at, now - VOUCHED_S))
        except HostUnreachable as error:
            # A machine that reads a long prompt may have no time to answer, and is there.
            if error.kind is not FailureKind.TIMEOUT:
                raise
        host = self.snapshot()
        # One interface tells references and another none: then the name has to do.
        is_there = any(
            copy.identifier == granted.identifier
            and (None in (copy.reference, granted.reference) or copy.reference == granted.reference)
            for copy in host.instances
        )
        if not is_there:
            text = f"`{key}` is not in memory on {host.name} any more."
            raise Unavailable(text, FailureKind.NOT_THERE)

    def silent_since(self, asked_at: float) -> float | None:
        """Since when it has not told of itself, nor said a word; None where it spoke since."""
        heard_at = max([self.heard_at, *(newest_at() for _, newest_at in self.spoke.values())])
        return None if heard_at >= asked_at else max(self._unanswered_at, heard_at)

    def is_deaf(self, asked_at: float) -> bool:
        """Has it not told of itself since it was asked to, though it had the time?"""
        asked_s = asyncio.get_running_loop().time() - asked_at
        return self.told_at < asked_at and is_deaf(asked_s, self._rules.probe_timeout_s)

    def first_word_within(
        self, seconds: float, lease: Lease, doubts: Doubts | None = None
    ) -> "Heard":
        """Around one request by a lease; whoever sends it calls what this gives at its words.

        Until its first delta the host may say nothing for so long. Words of other answers there
        and the progress of a load are signs of life: the time counts from the newest of them. With
        ``doubts`` it may be shorter.

        Raises:
            Silent: on leaving; the host hangs: it said nothing for so long.
        """
        return Heard(self, seconds, lease, doubts)

    async def look(self, key: ModelKey, kind: ModelKind, since: float) -> None:
        """Reads the host's whole list when its copies of a model are not those we know.

        Not where that was done at a time after ``since``: those who come while one looks share the
        next look.
        """
        lock, looked_at = self._looks.setdefault(key, (asyncio.Lock(), -math.inf))
        if max(looked_at, self.listed_at) >= since:
            return
        async with lock, self._link.within(LOOK_S):
            host, began = self.snapshot(), asyncio.get_running_loop().time()
            if host.state in AWAY - {"unknown"}:
                # Whoever looked first has told: nobody else need knock at a dead host.
                raise HostUnreachable(f"{host.name} is away: {host.reason}")
            if max(self._looks[key][1], self.listed_at) < since:
                with self._link.understood():
                    await self._compare(key, kind)
                self._looks[key] = (lock, began)

    async def _compare(self, key: ModelKey, kind: ModelKind) -> None:
        copies = await self.copies(key, kind)
        known = {reference_of(i) for i in self.snapshot().instances if i.model_key == key}
        while copies != known:
            acts, began = self.acts, asyncio.get_running_loop().time()
            residents = await self._link.ask(self.residents)
            if acts == self.acts:
                self.listed_at = began
                self._on_listed(residents)
                return


def hangs_text(host: HostName, silent_s: float) -> str:
    """Why a host is given up that was silent for so many seconds."""
    return f"{host} said nothing for {silent_s:.0f} s: it hangs."


class Heard:
    """What ``HostReader.first_word_within`` gives: called as words come, left when all is heard."""

    def __init__(
        self, reader: HostReader, seconds: float, lease: Lease, doubts: Doubts | None
    ) -> None:
        self._reader = reader
        self._seconds = seconds
        self._lease = lease
        self._doubts = doubts
        self._doubted_at = -math.inf
        self._sooner: Candidate | None = None
        self._silent_s = 0.0
        self._reference = reference_of(lease.granted.instance)
        self._loop = asyncio.get_running_loop()
        self._sent_at = self._heard_at = self._loop.time()
        self._limit = asyncio.timeout(None)
        self._timer: asyncio.TimerHandle | None = None

    def __call__(
        self, newest_at: Callable[[], float] | None = None, *, is_whole: bool = False
    ) -> float:
        """Notes words that came now, and gives the moment, on the event loop's clock.

        Args:
            newest_at: At an answer's first call: tells when its newest word came, where it is not
                called for each of them.
            is_whole: Nothing more comes. The lease that ends with it tells that it was read.
        """
        self._heard_at, lease, reader = self._loop.time(), self._lease, self._reader
        if lease.ticket not in reader.spoke:
            lease.spoke_at = self._heard_at
            if not is_whole:
                reader.on_spoke(lease.ticket)
            reader.spoke[lease.ticket] = self._reference, newest_at or (lambda: self._heard_at)
        return self._heard_at

    async def __aenter__(self) -> Self:
        await self._limit.__aenter__()
        first_s = math.inf if self._doubts is None else self._doubts.after_s
        self._timer = self._loop.call_later(min(self._seconds, first_s), self._look)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        reader = self._reader
        if self._timer is not None:
            self._timer.cancel()
        _, newest_at = reader.spoke.pop(self._lease.ticket, (None, None))
        if newest_at is not None:
            reader.heard_at = max(reader.heard_at, newest_at())
        # Whatever broke it may have taken the instance along.
        if error is not None:
            reader.ended.pop(self._reference, None)
        elif newest_at is not None:
            reader.ended[self._reference] = newest_at()
        try:
            await self._limit.__aexit__(kind, error, trace)
        except TimeoutError as late:
            raise Silent(hangs_text(reader.snapshot().name, self._silent_s), self._sooner) from late

    def _look(self) -> None:
        reader = self._reader
        if self._lease.ticket in reader.spoke:
            return
        newest = max((at() for _, at in reader.spoke.values()), default=self._sent_at)
        since, now = max(self._sent_at, reader.heard_at, newest), self._loop.time()
        silent_s, self._sooner = now - since, None
        if silent_s >= self._seconds:
            self._ends(silent_s)
            return
        # Before anybody else is asked: a fault of ours there took the whole deadline away.
        self._looks_in(self._seconds - silent_s)
        if (doubts := self._doubts) is None:
            return
        if silent_s < doubts.after_s:
            self._looks_in(min(doubts.after_s, self._seconds) - silent_s)
            return
        limit_s = self._doubted_s(doubts, since, now)
        if silent_s >= limit_s:
            self._ends(silent_s)
        else:
            self._looks_in(min(DOUBTED_S, limit_s - silent_s))

    def _looks_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(max(LEAST_TIMER_S, seconds), self._look)

    def _ends(self, silent_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._silent_s = silent_s
        self._limit.reschedule(self._loop.time())

    def _doubted_s(self, doubts: Doubts, since: float, now: float) -> float:
        """The limit by who could answer instead, and by whether a knock in this silence was heard.

        A host that hung kept a question of thirty tokens for 92 s, while another would have loaded
        its model in five: only one that had it in memory already was taken for one that could.
        """
        reader = self._reader
        has_told = reader.told_at >= self._doubted_at
        if self._doubted_at < since or (has_told and now - reader.told_at >= AGAIN_S):
            self._doubted_at = now
            reader.knock()
        # Where the network is lost all fall silent, and turns left for hosts as lost failed.
        sooner = doubts.sooner(self._doubted_at)
        other_s = math.inf if sooner is None or sooner.seconds is None else sooner.seconds
        is_deaf = reader.is_deaf(self._doubted_at)
        limit_s = doubts.limit_s(other_s, is_deaf)
        if is_deaf:
            # When it last told of itself it was not hung yet.
            limit_s += max(0.0, reader.told_at - since)
        if limit_s >= self._seconds:
            return self._seconds
        self._sooner = sooner
        return limit_s
