"""How others spread questions over machines, written from their documents, in their favour where
these leave a choice.

Two send everything to LM Studio as it comes and let it load just in time; two load by themselves
and bind each question to one host as it comes.
"""

import asyncio
import zlib
from collections import Counter, defaultdict, deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from bench.fleet.dispatch import Begin, Bring, Dispatcher, Waiting
from bench.fleet.host import Copy, Machine, NotServed, least_recently_used
from bench.fleet.people import Evening, NobodyAnswers, PlayedQuestion, Policy, Serve
from bench.fleet.trace import CONTEXT, GB
from bot.domain.ids import HostName, ModelKey

JIT_TTL_S = 3600.0
"""LM Studio's own time to live for what it loads by itself."""


def just_in_time(
    choose: Callable[[PlayedQuestion, list[Machine], Counter[HostName]], Machine],
) -> Policy:
    """Requests go to a host's REST API, which loads what it is asked for.

    Args:
        choose: Who is asked, of those that have the model; is also told how many questions each
            is at.
    """

    @asynccontextmanager
    async def policy(evening: Evening) -> AsyncGenerator[Serve]:
        flying: Counter[HostName] = Counter()

        async def reply(question: PlayedQuestion) -> None:
            machine = choose(question, evening.able(question), flying)
            if not machine.is_up:
                raise NobodyAnswers
            flying[machine.name] += 1
            try:
                # Racing loads of one model share one here, though LM Studio is known to load twice.
                there = machine.resident(question.chat.model)
                model = evening.trace.models[question.chat.model]
                copy = (
                    there[0]
                    if there
                    else await machine.load(model, CONTEXT, ttl_s=JIT_TTL_S, is_jit=True)
                )
                await question.hear(machine, machine.begin(copy, question.request()))
            except NotServed as error:
                raise NobodyAnswers from error
            finally:
                flying[machine.name] -= 1

        yield reply

    return policy


def bound(question: PlayedQuestion, able: list[Machine], _: Counter[HostName]) -> Machine:
    """Each person's client has the address of one host for each model."""

    def lot(machine: Machine) -> int:
        words = f"{question.chat.person}/{question.chat.model}/{machine.name}"
        return zlib.crc32(words.encode())

    return max(able, key=lot)


def least_connections(_: PlayedQuestion, able: list[Machine], flying: Counter[HostName]) -> Machine:
    """A balancer asks the host that has the fewest of its requests, of those that are up (Olla)."""
    return min(able, key=lambda m: (not m.is_up, flying[m.name], m.name))


class Bound(Dispatcher):
    """Each question waits at one host; whatever is in memory there goes first."""

    def leaving(self, machine: Machine, needed: int) -> list[Copy] | None:
        """What makes room for so many bytes; None while what is busy is in the way."""
        free = machine.spec.memory_bytes - machine.used_bytes()
        return least_recently_used(machine.copies.values(), free, needed)

    def decide(self, waiting: Waiting) -> Begin | Bring | None:
        machine, key = waiting.at, waiting.question.chat.model
        if machine is None:
            return None
        there = machine.resident(key)
        for copy in there:
            if copy.free > 0:
                return Begin(machine, copy)
        if there or machine.name in self.acting:
            return None
        # The first of them who needs a load is next: nobody behind goes before.
        ahead = next(w for w in self.waiting if w.at is machine and not self._is_there(w))
        if ahead.question.chat.model != key:
            return None
        leaving = self.leaving(machine, self.evening.trace.models[key].bytes_at(CONTEXT))
        return None if leaving is None else Bring(machine, leaving)

    @staticmethod
    def _is_there(waiting: Waiting) -> bool:
        return waiting.at is not None and bool(waiting.at.resident(waiting.question.chat.model))


class Swap(Bound):
    """llama-swap before each host, which its owner has written into a config for each model.

    The owner knows what is usually asked for: the heaviest first, each on the host that has least
    to do with it. ``is_single`` keeps one model in memory, its default; else it is the matrix,
    which takes out what is cheapest to load again.
    """

    def __init__(self, evening: Evening, tasks: asyncio.TaskGroup, *, is_single: bool) -> None:
        super().__init__(evening, tasks)
        self._is_single = is_single
        trace = evening.trace
        work: defaultdict[HostName, float] = defaultdict(float)
        memory: Counter[HostName] = Counter()
        self._home: dict[ModelKey, HostName] = {}
        for key, share in sorted(trace.shares.items(), key=lambda item: -item[1]):

            def burden(name: HostName, key: ModelKey = key, share: float = share) -> float:
                spec, model = evening.machines[name].spec, trace.models[key]
                seconds = spec.read_s(model, 900) + 240 * spec.write_s(model)
                crowded = memory[name] + model.bytes_at(CONTEXT) - spec.memory_bytes
                # What does not fit beside the rest will be swapped.
                return work[name] + share * seconds * (
                    1 + 2 * max(0.0, crowded / spec.memory_bytes)
                )

            home = min((h.name for h in trace.able(key)), key=burden)
            work[home] = burden(home)
            memory[home] += trace.models[key].bytes_at(CONTEXT)
            self._home[key] = home

    def enter(self, waiting: Waiting) -> None:
        waiting.at = self.evening.machines[self._home[waiting.question.chat.model]]

    def leaving(self, machine: Machine, needed: int) -> list[Copy] | None:
        copies = list(machine.copies.values())
        if self._is_single:
            return None if any(copy.is_busy for copy in copies) else copies
        idle = sorted((c for c in copies if not c.is_busy), key=lambda c: c.size_bytes)
        free, chosen = machine.spec.memory_bytes - machine.used_bytes(), list[Copy]()
        while free < needed and idle:
            chosen.append(idle.pop(0))
            free += chosen[-1].size_bytes
        return chosen if free >= needed else None


HostModel = tuple[HostName, ModelKey]
LATELY_S, WARMED_S = 1800.0, 120.0
"""A model that left so lately still counts; the runner-up is not warmed again for so long."""
AHEAD, LONG_LINE, AT_ONCE = 3, 4, 3
"""Questions at which the runner-up is warmed; a line beyond which some move; how many at most."""


class Herd(Bound):
    """A score of signals for each host, as ollama-herd documents it.

    In memory 50, there lately 30, on disk 10; up to 20 for room; less 6 for each question it has
    for that model (30 at most) and less its usual seconds for those (25 at most); up to 15 for
    large models on large machines; 15 where the context stands ready. A host with three ahead has
    the runner-up load too, and every five seconds lines of over four are shared out.
    """

    BEAT_S = 5.0

    def __init__(self, evening: Evening, tasks: asyncio.TaskGroup) -> None:
        super().__init__(evening, tasks)
        self._took: dict[HostModel, deque[float]] = defaultdict(lambda: deque(maxlen=200))
        self._had: dict[HostModel, float] = {}
        self._warmed: dict[HostModel, float] = {}

    def enter(self, waiting: Waiting) -> None:
        key = waiting.question.chat.model
        for machine in self.evening.machines.values():
            for copy in machine.copies.values():
                self._had[machine.name, copy.model.key] = self.now()
        able = [m for m in self.evening.able(waiting.question) if m.is_up]
        ranked = sorted(able, key=lambda m: (-self._score(m, key), m.name))
        # Where nobody is up it is held until somebody is.
        waiting.at = ranked[0] if ranked else None
        if len(ranked) > 1 and self._ahead(ranked[0], key) >= AHEAD:
            self._warm(ranked[1], key)

    def lost(self, waiting: Waiting) -> None:
        self.enter(waiting)

    def served(self, question: PlayedQuestion, machine: Machine, seconds: float) -> None:
        self._took[machine.name, question.chat.model].append(seconds)

    def beat(self) -> None:
        for machine in self.evening.machines.values():
            lines: dict[ModelKey, list[Waiting]] = defaultdict(list)
            for waiting in self.waiting:
                if waiting.at is machine:
                    lines[waiting.question.chat.model].append(waiting)
            for key, line in lines.items():
                able = self.evening.able(line[0].question)
                others = [m for m in able if m.is_up and m is not machine]
                if len(line) > LONG_LINE and others:
                    best = max(others, key=lambda m: (self._score(m, key), m.name))
                    for waiting in line[-min(len(line) // 2, AT_ONCE) :]:
                        waiting.at = best
        for waiting in self.waiting:
            if waiting.at is None:
                self.enter(waiting)
        self.wake()

    def _ahead(self, machine: Machine, key: ModelKey) -> int:
        """Questions it has for a model, waiting or being answered."""
        waiting = sum(w.at is machine and w.question.chat.model == key for w in self.waiting)
        return waiting + sum(len(copy.slots) - copy.free for copy in machine.resident(key))

    def _warm(self, machine: Machine, key: ModelKey) -> None:
        place = machine.name, key
        is_idle = machine.name not in self.acting and machine.loading is None
        if machine.resident(key) or not is_idle or self._warmed.get(place, -1e9) > self.now():
            return
        leaving = self.leaving(machine, self.evening.trace.models[key].bytes_at(CONTEXT))
        if leaving is not None:
            self._warmed[place] = self.now() + WARMED_S
            self.bring(machine, key, leaving)

    def _score(self, machine: Machine, key: ModelKey) -> float:
        model, memory = self.evening.trace.models[key], machine.spec.memory_bytes
        place, loading = (machine.name, key), machine.loading
        is_hot = bool(machine.resident(key)) or (loading is not None and loading.model is model)
        lately = self.now() - self._had.get(place, -1e9) < LATELY_S
        score = 50.0 + 15.0 if is_hot else 30.0 if lately else 10.0
        idle = sum(c.size_bytes for c in machine.copies.values() if not c.is_busy)
        room = (memory - machine.used_bytes() + idle) / model.bytes_at(CONTEXT)
        score += next((s for most, s in ((2, 20), (1.5, 15), (1.2, 8), (1, 3)) if room > most), 0)
        ahead, took = self._ahead(machine, key), sorted(self._took[place])
        usual_s = took[int(0.75 * (len(took) - 1))] if took else 240 * machine.spec.write_s(model)
        score -= min(30.0, 6.0 * ahead) + min(25.0, ahead * usual_s / 10)
        is_large = memory > 60 * GB
        if model.active > 30:
            return score + (15 if is_large else 5)
        if model.active < 10:
            return score + (3 if is_large else 8 if memory > 20 * GB else 15)
        return score
