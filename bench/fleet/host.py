"""One LM Studio machine, reckoned: what it takes, when each word comes, what it loses.

It keeps to what LM Studio 0.4 does: a load that does not fit is refused before it begins
(guardrail), one load at a time, four slots for each instance and a line behind them, a time to live
counted from the end of work, and just-in-time loads that push out the other just-in-time models,
busy or not. A slot still holds the transcript it read or wrote last (llama.cpp's prompt cache), so
that a follow-up there reads only what is new. Instances at work share the machine evenly.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random  # noqa: TID251  # made-up data, the same for one seed

from bench.fleet.trace import HostSpec, ModelSpec
from bot.domain.ids import HostName, ModelKey

SLOTS = 4
"""LM Studio's default for parallel requests to an instance."""
BESIDE = 0.35
"""How much each further answer slows those being written by its instance: batching shares the
reading of the weights, not the rest."""
SENT_S = 0.03
"""From sending a request until somebody works on it."""
UNLOAD_S = 0.3
NOISE = 0.08
"""Loads of one model by one machine differ by so much (standard deviation of the logarithm)."""
_DONE_S = 1e-7


class NotServed(Exception):
    """Nothing comes of it here; ``cause`` is one of ``memory``, ``down``, ``unloaded``."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Work:
    """What a machine is sent."""

    chat: int
    """Whose transcript it is: a slot that holds its beginning need not read that again."""
    prompt: int
    answer: int


@dataclass(slots=True, eq=False)
class Slot:
    """One of an instance's places, and what its cache holds."""

    chat: int = -1
    tokens: int = 0
    """Of that conversation's transcript, from its beginning."""
    used_at: float = 0.0
    answers: "Generation | None" = None


@dataclass(slots=True, eq=False)
class Generation:
    """A request at an instance; both futures raise ``NotServed`` when it is broken off."""

    request: Work
    copy: "Copy"
    first: asyncio.Future[None]
    last: asyncio.Future[None]
    read: int = 0
    """Prompt tokens that were not in the slot's cache."""
    left_s: float = 0.0
    """Of what it does now, alone."""
    rate: float = 1.0
    is_reading: bool = True
    slot: Slot | None = None

    def written(self) -> int:
        """Tokens of the answer that have come."""
        if self.is_reading or self.slot is None:
            return 0
        done = 1 - max(0.0, self.left_s) / max(self.copy.write_s * (self.request.answer - 1), 1e-9)
        return max(1, int(done * self.request.answer))

    def ends_in(self) -> float:
        """Seconds until it is whole, if nothing else changed."""
        left_s = self.left_s
        if self.is_reading:
            left_s += (self.request.answer - 1) * self.copy.write_s
        return left_s / self.rate


@dataclass(slots=True, eq=False)
class Copy:
    """One instance in memory."""

    model: ModelSpec
    name: str
    number: int
    context: int
    size_bytes: int
    write_s: float
    ttl_s: float | None
    is_jit: bool
    used_at: float
    slots: tuple[Slot, ...]
    line: list[Generation] = field(default_factory=list[Generation])
    is_leaving: bool = False
    """Somebody has decided to take it out: nothing new is sent there."""
    timer: asyncio.TimerHandle | None = None

    @property
    def running(self) -> list[Generation]:
        """In their slots."""
        return [slot.answers for slot in self.slots if slot.answers is not None]

    @property
    def free(self) -> int:
        """Slots that nobody has or waits for."""
        return sum(slot.answers is None for slot in self.slots) - len(self.line)

    @property
    def is_busy(self) -> bool:
        return self.free < len(self.slots)

    def held(self, chat: int) -> int:
        """Tokens of a conversation that a free slot here still holds."""
        return max((s.tokens for s in self.slots if s.chat == chat and not s.answers), default=0)


@dataclass(slots=True, eq=False)
class LoadAtWork:
    """The load under way."""

    model: ModelSpec
    context: int
    ends_at: float


class Machine:
    """One host; created inside a running loop, whose clock it goes by."""

    def __init__(self, spec: HostSpec, seed: int) -> None:
        self.spec = spec
        self.name: HostName = spec.name
        self.is_up = True
        self.copies: dict[str, Copy] = {}
        self.loading: LoadAtWork | None = None
        self.loads = self.evicted = self.cut = 0
        """Loads begun, instances taken out to make room, answers broken off by an unload."""
        self.watchers: list[Callable[[], None]] = []
        """Called in the loop's next step after anything changed that a policy could act on."""
        self._telling: asyncio.Handle | None = None
        self._random = Random(f"{seed}/{spec.name}")
        self._loop = asyncio.get_running_loop()
        self._at = self._loop.time()
        self._turn_at: asyncio.TimerHandle | None = None
        self._load_lock = asyncio.Lock()
        self.gone = asyncio.Event()
        """Set when it goes away; another one when it is back."""
        self._number = 0

    # --- memory ---------------------------------------------------------------------------

    def used_bytes(self) -> int:
        """In memory, the load under way included."""
        load = self.loading
        return sum(c.size_bytes for c in self.copies.values()) + (
            load.model.bytes_at(load.context) if load else 0
        )

    def resident(self, key: ModelKey) -> list[Copy]:
        """The copies of a model that stay."""
        return [c for c in self.copies.values() if c.model.key == key and not c.is_leaving]

    async def load(
        self,
        model: ModelSpec,
        context: int,
        *,
        ttl_s: float | None = None,
        is_jit: bool = False,
        on_progress: Callable[[float], None] = lambda _: None,
    ) -> Copy:
        """Loads one more copy, behind the load under way; leaving gives the load up.

        Just in time, whoever asks for what another has just loaded shares it.

        Raises:
            NotServed: it does not fit beside what is there (``memory``), or the host went away.
        """
        if is_jit:
            for other in [c for c in self.copies.values() if c.is_jit and c.model is not model]:
                self.evict(other, even_busy=True)
        async with self._load_lock:
            if not self.is_up:
                raise NotServed("down")
            if is_jit and (there := self.resident(model.key)):
                return there[0]
            size = model.bytes_at(context)
            if self.used_bytes() + size > self.spec.memory_bytes:
                raise NotServed("memory")
            seconds = self.spec.load_s(model) * self._random.lognormvariate(0.0, NOISE)
            self.loads += 1
            self.loading = LoadAtWork(model, context, self._loop.time() + seconds)
            try:
                await self._passes(seconds, on_progress)
            finally:
                self.loading = None
                self._told()
            self._number += 1
            names = [str(model.key), *(f"{model.key}:{n}" for n in range(2, 99))]
            copy = Copy(
                model, next(n for n in names if n not in self.copies), self._number, context, size,
                self.spec.write_s(model), ttl_s, is_jit, self._loop.time(),
                tuple(Slot() for _ in range(SLOTS)),
            )  # fmt: skip
            self.copies[copy.name] = copy
            self._rest(copy)
            return copy

    async def _passes(self, seconds: float, on_progress: Callable[[float], None]) -> None:
        began, steps = self._loop.time(), max(1, min(12, int(seconds)))
        for step in range(1, steps + 1):
            try:
                async with asyncio.timeout_at(began + seconds * step / steps):
                    await self.gone.wait()
            except TimeoutError:
                on_progress(step / steps)
            else:
                raise NotServed("down")

    def unload(self, copy: Copy) -> None:
        """Takes a copy out at once; whoever it was answering is cut."""
        if self.copies.get(copy.name) is not copy:
            return
        self._turn()
        del self.copies[copy.name]
        if copy.timer is not None:
            copy.timer.cancel()
        broken = [*copy.running, *copy.line]
        if self.is_up:
            self.cut += len(broken)
        cause = "unloaded" if self.is_up else "down"
        for answer in broken:
            self._break(answer, cause)
        self._turn()
        self._told()

    def evict(self, copy: Copy, *, even_busy: bool = False) -> None:
        """Takes a copy out by a command; one at work stays unless it is taken all the same."""
        if even_busy or not copy.is_busy:
            self.evicted += 1
            self.unload(copy)

    def _rest(self, copy: Copy) -> None:
        """Its time to live begins anew."""
        copy.used_at = self._loop.time()
        if copy.timer is not None:
            copy.timer.cancel()
        if copy.ttl_s is not None and self.copies.get(copy.name) is copy:
            copy.timer = self._loop.call_later(copy.ttl_s, self._outlived, copy)

    def _outlived(self, copy: Copy) -> None:
        if not copy.is_busy:
            self.unload(copy)

    # --- answers --------------------------------------------------------------------------

    def begin(self, copy: Copy, request: Work) -> Generation:
        """Sends a request; it waits in line where no slot is free.

        Raises:
            NotServed: the host is away, or the copy left memory.
        """
        if not self.is_up:
            raise NotServed("down")
        if self.copies.get(copy.name) is not copy:
            raise NotServed("unloaded")
        futures = self._loop.create_future(), self._loop.create_future()
        answer = Generation(request, copy, *futures)
        copy.line.append(answer)
        self._turn()
        return answer

    def leave(self, answer: Generation) -> None:
        """Whoever asked has closed the connection; nothing where the answer is over."""
        if not answer.last.done():
            self._turn()
            self._break(answer, "left")
            self._turn()

    def _break(self, answer: Generation, cause: str) -> None:
        """It ends here; what its slot holds stays."""
        copy = answer.copy
        if answer in copy.line:
            copy.line.remove(answer)
        if answer.slot is not None:
            answer.slot.tokens = answer.request.prompt + answer.written()
            answer.slot.answers = None
            self._rest(copy)
        for future in (answer.first, answer.last):
            if not future.done():
                future.set_exception(NotServed(cause))
                # Nobody need have waited for both.
                future.exception()

    def _turn(self) -> None:
        """Brings everybody up to now; then who is next, at which rate, and when to look again."""
        now = self._loop.time()
        elapsed, self._at = now - self._at, now
        at_work = [c for c in self.copies.values() if c.is_busy]
        for copy in at_work:
            for answer in copy.running:
                answer.left_s -= elapsed * answer.rate
                if answer.left_s <= _DONE_S:
                    self._step(answer)
            while copy.line and (empty := [s for s in copy.slots if s.answers is None]):
                self._seat(copy.line.pop(0), empty, now)
        at_work = [c for c in at_work if c.running]
        soonest = min((self._paced(copy, len(at_work)) for copy in at_work), default=None)
        if self._turn_at is not None:
            self._turn_at.cancel()
        self._turn_at = None
        if soonest is not None:
            self._turn_at = self._loop.call_later(max(0.0, soonest), self._turn)

    @staticmethod
    def _paced(copy: Copy, at_work: int) -> float:
        """Gives each answer of a copy its rate; returns the seconds to the first that is through.

        Answers being written go together in a batch; a prompt being read takes as much of the
        instance as all that one of them would have alone.
        """
        running = copy.running
        readers = sum(a.is_reading for a in running)
        writers = len(running) - readers
        reading = max(1.0, readers + BESIDE * writers)
        writing = 1.0 + BESIDE * (writers - 1) + readers
        for answer in running:
            answer.rate = 1.0 / (at_work * (reading if answer.is_reading else writing))
        return min(answer.left_s / answer.rate for answer in running)

    def _seat(self, answer: Generation, empty: Sequence[Slot], now: float) -> None:
        """Gives it the slot that holds most of its transcript, else the longest unused."""
        copy, request = answer.copy, answer.request
        same = [slot for slot in empty if slot.chat == request.chat]
        slot = max(same, key=lambda s: s.tokens, default=None)
        slot = slot or min(empty, key=lambda s: s.used_at)
        # The last token is read again in any case.
        held = min(slot.tokens, request.prompt - 1) if slot.chat == request.chat else 0
        slot.chat, slot.tokens, slot.used_at, slot.answers = request.chat, held, now, answer
        answer.slot, answer.read = slot, request.prompt - held
        spec = self.spec
        answer.left_s = SENT_S + spec.read_s(copy.model, answer.read) + copy.write_s
        copy.used_at = now

    def _step(self, answer: Generation) -> None:
        """Its prompt is read, or its answer whole."""
        if answer.is_reading:
            answer.is_reading = False
            answer.left_s = (answer.request.answer - 1) * answer.copy.write_s
            answer.first.set_result(None)
        if answer.left_s <= _DONE_S and answer.slot is not None:
            answer.slot.tokens = answer.request.prompt + answer.request.answer
            answer.slot.answers = None
            self._rest(answer.copy)
            answer.last.set_result(None)
            self._told()

    # --- life -----------------------------------------------------------------------------

    def goes(self) -> None:
        """It is switched off: everything in memory and under way is lost."""
        self.is_up = False
        self.gone.set()
        for copy in list(self.copies.values()):
            self.unload(copy)
        self._told()

    def returns(self) -> None:
        """It is back, with nothing in memory."""
        self.is_up = True
        self.gone = asyncio.Event()
        self._told()

    def _told(self) -> None:
        """Later, because a watcher may send requests: one change must be over before the next."""
        if self._telling is None:
            self._telling = self._loop.call_soon(self._tell)

    def _tell(self) -> None:
        self._telling = None
        for watcher in self.watchers:
            watcher()


def least_recently_used(copies: Iterable[Copy], free: int, needed: int) -> list[Copy] | None:
    """Idle copies to take out until so many bytes are free; None when that is not enough."""
    leaving: list[Copy] = []
    for copy in sorted((c for c in copies if not c.is_busy), key=lambda c: c.used_at):
        if free >= needed:
            break
        leaving.append(copy)
        free += copy.size_bytes
    return leaving if free >= needed else None
