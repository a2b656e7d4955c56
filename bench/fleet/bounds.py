"""What could be reached: one dispatcher over all hosts that binds a question only when it begins.

``Online`` knows the speeds and sizes of all machines and models exactly, and of people only who
asked in the last minutes: what an honest policy can reach. ``Clairvoyant`` also knows every
question to come: it loads ahead and keeps what is needed soonest. Both are heuristics, strong ones;
neither is a proof of the best.
"""

import asyncio
import math
from abc import abstractmethod
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator

from bench.fleet.dispatch import Begin, Bring, Dispatcher, Waiting
from bench.fleet.host import BESIDE, SENT_S, SLOTS, UNLOAD_S, Copy, Machine
from bench.fleet.people import Evening, PlayedQuestion
from bench.fleet.trace import CONTEXT
from bot.domain.ids import HostName, ModelKey

WRITING_COUNTS = 0.1
"""A second of writing beside one before the first word, where two hosts are compared."""


class LateBinding(Dispatcher):
    """Each time anything changed, everybody who waits is given what is soonest for them now."""

    def __init__(self, evening: Evening, tasks: asyncio.TaskGroup) -> None:
        super().__init__(evening, tasks)
        self._ahead: Counter[tuple[HostName, ModelKey]] = Counter()
        """Of this round: who already waits for what, where."""

    # --- what is known of people ----------------------------------------------------------

    @abstractmethod
    def next_use_s(self, key: ModelKey) -> float:
        """Seconds until somebody asks for a model again."""

    @abstractmethod
    def missed(self, next_use_s: float, load_s: float) -> float:
        """What an eviction costs those to come, in seconds of waiting."""

    # --- decisions ------------------------------------------------------------------------

    def begin_round(self) -> None:
        self._ahead.clear()

    def decide(self, waiting: Waiting) -> Begin | Bring | None:
        question, key = waiting.question, waiting.question.chat.model
        options = [
            (seconds, machine, act)
            for machine in self.evening.able(question)
            if machine.is_up
            for seconds, act in self._options(machine, question)
        ]
        if not options:
            return None
        _, machine, act = min(options, key=lambda option: option[0])
        if act is None:
            self._ahead[machine.name, key] += 1
        return act

    def _options(
        self, machine: Machine, question: PlayedQuestion
    ) -> Iterator[tuple[float, Begin | Bring | None]]:
        """What may be done for a question at a machine, with the seconds it costs; None waits."""
        key, spec = question.chat.model, machine.spec
        model, place = self.evening.trace.models[key], (machine.name, key)
        there = machine.resident(key)
        for copy in there:
            at_work = sum(bool(c.running) for c in machine.copies.values() if c is not copy) + 1
            readers = sum(a.is_reading for a in copy.running)
            writers = len(copy.running) - readers
            tokens = question.asked.prompt - copy.held(question.chat.number)
            first = SENT_S + spec.read_s(model, tokens) * at_work * (
                max(1.0, readers + 1 + BESIDE * writers)
            )
            writing = question.asked.answer * copy.write_s * at_work * (1 + BESIDE * writers)
            first += WRITING_COUNTS * writing
            if copy.free > 0:
                yield first, Begin(machine, copy)
            else:
                ends = sorted(answer.ends_in() for answer in copy.running)
                rounds, turn = divmod(self._ahead[place], len(ends))
                yield first + ends[turn] + rounds * ends[-1], None
        if there:
            return
        at_work = sum(bool(c.running) for c in machine.copies.values()) + 1
        alone = SENT_S + spec.read_s(model, question.asked.prompt) * at_work
        alone += WRITING_COUNTS * question.asked.answer * spec.write_s(model) * at_work
        load = machine.loading
        busy_s = max(0.0, load.ends_at - self.now()) if load else UNLOAD_S
        if load is not None and load.model is model:
            if self._ahead[place] < SLOTS:
                yield busy_s + alone, None
            return
        leaving = self._leaving(machine, model.bytes_at(CONTEXT))
        if leaving is None:
            return
        cost = spec.load_s(model) + alone + sum(self._regret(machine, c) for c in leaving)
        if machine.name in self.acting:
            yield cost + busy_s, None
        else:
            yield cost + (UNLOAD_S if leaving else 0.0), Bring(machine, leaving)

    def _leaving(self, machine: Machine, needed: int) -> list[Copy] | None:
        """What is missed least, a second of its load for each second until it is asked for."""
        free, leaving = machine.spec.memory_bytes - machine.used_bytes(), list[Copy]()
        idle = [c for c in machine.copies.values() if not (c.is_busy or c.is_leaving)]
        idle.sort(key=lambda c: self._regret(machine, c) / c.size_bytes)
        for copy in idle:
            if free >= needed:
                break
            leaving.append(copy)
            free += copy.size_bytes
        if free < needed:
            return None
        # A small one went first, and a large one was enough by itself.
        for copy in list(leaving):
            if free - copy.size_bytes >= needed:
                leaving.remove(copy)
                free -= copy.size_bytes
        return leaving

    def _regret(self, machine: Machine, copy: Copy) -> float:
        """Seconds that others will wait because this copy has left."""
        model = copy.model
        hosts = [self.evening.machines[h.name] for h in self.evening.trace.able(model.key)]
        up = [m for m in hosts if m.is_up]
        load_s = min((m.spec.load_s(model) for m in up), default=0.0)
        regret = self.missed(self.next_use_s(model.key), load_s)
        # Another copy serves them, though it may be slower.
        return regret * (0.1 if any(m.resident(model.key) for m in up if m is not machine) else 1)


class Online(LateBinding):
    """Takes what was asked for lately for what will be."""

    FADES_S, HORIZON_S = 1200.0, 90.0

    def __init__(self, evening: Evening, tasks: asyncio.TaskGroup) -> None:
        super().__init__(evening, tasks)
        self._asked: dict[ModelKey, tuple[float, float]] = {}

    def enter(self, waiting: Waiting) -> None:
        if waiting.question.tries == 1:
            key, now = waiting.question.chat.model, self.now()
            weight, at = self._asked.get(key, (0.0, now))
            self._asked[key] = weight * math.exp((at - now) / self.FADES_S) + 1.0, now

    def next_use_s(self, key: ModelKey) -> float:
        weight, at = self._asked.get(key, (0.0, 0.0))
        each_s = weight * math.exp((at - self.now()) / self.FADES_S) / self.FADES_S
        return 1.0 / max(each_s, 1e-6)

    def missed(self, next_use_s: float, load_s: float) -> float:
        return load_s * min(1.0, self.HORIZON_S / next_use_s)


class Clairvoyant(LateBinding):
    """Knows who will ask for what, and loads it before."""

    BEAT_S = 2.0
    LOOKS_S = 150.0
    """How far ahead it loads."""

    def __init__(self, evening: Evening, tasks: asyncio.TaskGroup) -> None:
        super().__init__(evening, tasks)
        self._starts: dict[ModelKey, list[float]] = defaultdict(list)
        for chat in evening.trace.chats:
            self._starts[chat.model].append(chat.starts_at)
        self._returns: dict[ModelKey, dict[int, float]] = defaultdict(dict)
        """When each conversation goes on."""

    def enter(self, waiting: Waiting) -> None:
        self._returns[waiting.question.chat.model].pop(waiting.question.chat.number, None)

    def served(self, question: PlayedQuestion, machine: Machine, seconds: float) -> None:
        asked = question.chat.asked[question.place + 1 :]
        if asked:
            at = self.now() + asked[0].pause_s
            self._returns[question.chat.model][question.chat.number] = at

    def next_use_s(self, key: ModelKey) -> float:
        now, starts = self.now(), self._starts[key]
        number = bisect_left(starts, now)
        soonest = starts[number] if number < len(starts) else math.inf
        soonest = min(soonest, min(self._returns[key].values(), default=math.inf))
        if any(w.question.chat.model == key for w in self.waiting):
            return 0.0
        return max(0.0, min(soonest - now, 1e6))

    def missed(self, next_use_s: float, load_s: float) -> float:
        return load_s * math.exp(-max(0.0, next_use_s - load_s) / 120.0)

    def beat(self) -> None:
        soon = sorted((self.next_use_s(key), key) for key in self.evening.trace.models)
        for seconds, key in soon:
            if seconds > self.LOOKS_S:
                break
            self._load_ahead(key, seconds)

    def _load_ahead(self, key: ModelKey, seconds: float) -> None:
        """On the host that would answer soonest, where nothing needed sooner must leave for it."""
        model = self.evening.trace.models[key]
        up = [m for h in self.evening.trace.able(key) if (m := self.evening.machines[h.name]).is_up]
        if any(c.free > 0 for m in up for c in m.resident(key)):
            return
        if any(m.loading is not None and m.loading.model is model for m in up):
            return
        best: tuple[float, Machine, list[Copy]] | None = None
        for machine in up:
            spec = machine.spec
            if machine.name in self.acting or machine.resident(key):
                continue
            leaving = self._leaving(machine, model.bytes_at(CONTEXT))
            if leaving is None or seconds > 30 + 2 * spec.load_s(model):
                continue
            regret = sum(self._regret(machine, copy) for copy in leaving)
            if regret > 0.5 * spec.load_s(model):
                continue
            cost = spec.read_s(model, 800) + 24 * spec.write_s(model) + 0.2 * spec.load_s(model)
            if best is None or cost + regret < best[0]:
                best = cost + regret, machine, leaving
        if best is not None:
            self.bring(best[1], key, best[2])
