"""What the fleet promises whatever happens: random evenings, played with its real code.

Machines are reckoned (``bench/fleet``), so that an evening takes milliseconds; planner, router,
leases, hosts and schedulers are Lantern's own. ``test_scheduler_promises.py`` holds one scheduler
to the same promises event by event.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

import pytest
import structlog
from histories import HISTORIES
from hypothesis import example, given, settings
from hypothesis import strategies as st
from virtual_time import play

from bench.fleet.host import Copy, Machine, NotServed
from bench.fleet.lantern import lantern
from bench.fleet.people import Evening, PlayedQuestion, Policy, Serve, spend
from bench.fleet.trace import (
    CONTEXT,
    GB,
    ChatTurn,
    Dialogue,
    HostSpec,
    ModelSpec,
    SwitchedOff,
    Trace,
)
from bot.domain.ids import HostName, ModelKey

MODELS = {
    key: ModelSpec(key, size * GB, active=8.0, kv_bytes=100_000)
    for key, size in ((ModelKey("lab/one"), 5), (ModelKey("lab/two"), 5), (ModelKey("lab/big"), 8))
}
HOSTS = tuple(
    HostSpec(HostName(name), memory * GB, 200 * GB, 900.0, 2 * GB, 1.0, MODELS)
    for name, memory in (("studio", 12), ("attic", 10))
)
"""``big`` leaves room for nothing else on either."""
LONGEST_WAIT_S = 120.0
"""``routing.max_local_wait``."""
LONGEST_TRY_S = 300.0
"""Some thirty questions, two machines: nobody need wait so long to hear anything."""
A_LOOK_S = 0.1
"""What others loaded a moment ago is not known yet."""
DECIDED_BY_THE_HOST = 1.1
"""A tenth over the budget by our reckoning is for the host to decide."""


@dataclass(frozen=True, slots=True)
class Meddling:
    """Somebody at a machine loads or unloads a model by hand."""

    at: float
    host: HostName
    model: ModelKey
    is_load: bool


moments = st.integers(0, 90).map(float)
names = st.sampled_from([host.name for host in HOSTS])
keys = st.sampled_from(list(MODELS))


@st.composite
def dialogues(draw: st.DrawFn) -> Dialogue:
    said, turns = 200, list[ChatTurn]()
    for place in range(draw(st.integers(1, 3))):
        words, answer = draw(st.sampled_from((20, 300, 1500))), draw(st.sampled_from((5, 100, 800)))
        pause_s = draw(st.sampled_from((1.0, 20.0, 90.0))) if place else 0.0
        said += words
        turns.append(ChatTurn(words, said, answer, pause_s))
        said += answer
    person = draw(st.sampled_from(("ada", "bob", "eve")))
    return Dialogue(0, person, draw(keys), draw(moments), tuple(turns))


several_dialogues = st.lists(dialogues(), min_size=1, max_size=6)
outages = st.lists(
    st.builds(SwitchedOff, names, moments, st.sampled_from((2.0, 40.0))), max_size=1
)  # fmt: skip
meddlings = st.lists(st.builds(Meddling, moments, names, keys, st.booleans()), max_size=4)


@st.composite
def evenings(draw: st.DrawFn) -> tuple[Trace, list[Meddling]]:
    found, seed = draw(several_dialogues), draw(st.integers(0, 3))
    return an_evening(seed, found, draw(outages)), draw(meddlings)


def an_evening(seed: int, found: Sequence[Dialogue], away: Sequence[SwitchedOff]) -> Trace:
    found = sorted(found, key=lambda dialogue: dialogue.starts_at)
    chats = tuple(replace(dialogue, number=n) for n, dialogue in enumerate(found))
    shares, prompts = dict.fromkeys(MODELS, 1 / 3), dict.fromkeys(MODELS, 200)
    return Trace("random", seed, HOSTS, MODELS, shares, chats, tuple(away), prompts)


def short(person: str, model: str, at: float) -> Dialogue:
    return Dialogue(0, person, ModelKey(model), at, (ChatTurn(20, 220, 5, 0.0),))


SEEN_BETWEEN = (
    an_evening(
        3,
        [short("ada", "lab/two", 30), short("ada", "lab/one", 31), short("ada", "lab/one", 31)],
        [SwitchedOff(HostName("attic"), 7.0, 40.0)],
    ),
    [Meddling(18.0, HostName("studio"), ModelKey("lab/two"), is_load=True)],
)
"""A probe found what was loaded by hand between the decision for a load of it and its command."""


class WatchedMachine(Machine):
    """Holds whatever Lantern has it load and unload against the promises.

    What is broken is noted: Lantern takes an exception for a host that cannot be understood.
    """

    def __init__(self, spec: HostSpec, seed: int) -> None:
        super().__init__(spec, seed)
        self.by_hand = set[Copy]()
        self.is_ordered = False
        self.broken: list[str] = []

    def promised(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.broken.append(otherwise)

    async def load(
        self,
        model: ModelSpec,
        context: int,
        *,
        ttl_s: float | None = None,
        is_jit: bool = False,
        on_progress: Callable[[float], None] = lambda _: None,
    ) -> Copy:
        self.promised(not self.is_ordered, "a load beside a load")
        now = asyncio.get_running_loop().time()
        known = [c for c in self.resident(model.key) if now - c.used_at > A_LOOK_S]
        self.promised(not any(c.context >= context for c in known), "a second copy")
        ours = sum(c.size_bytes for c in self.copies.values() if c not in self.by_hand)
        limit = self.spec.memory_bytes * DECIDED_BY_THE_HOST
        self.promised(ours + model.bytes_at(context) <= limit, "a load over the budget")
        self.is_ordered = True
        try:
            return await super().load(model, context, ttl_s=ttl_s, on_progress=on_progress)
        finally:
            self.is_ordered = False

    def evict(self, copy: Copy, *, even_busy: bool = False) -> None:
        self.promised(not copy.is_busy, "an instance in use is to leave")
        self.promised(copy not in self.by_hand, "a foreign instance is to leave")
        super().evict(copy)

    async def meddled(self, what: Meddling) -> None:
        """Done at the machine itself."""
        await asyncio.sleep(what.at - asyncio.get_running_loop().time())
        if not what.is_load:
            for copy in self.resident(what.model):
                self.unload(copy)
        elif self.is_up and not self.resident(what.model):
            with suppress(NotServed):
                self.by_hand.add(await super().load(MODELS[what.model], CONTEXT))


def watched(meddlings: Sequence[Meddling], tries_s: list[float]) -> Policy:
    """Lantern beside people who meddle; notes how long each try took to its first word or end."""

    @asynccontextmanager
    async def policy(evening: Evening) -> AsyncGenerator[Serve]:
        now = asyncio.get_running_loop().time
        async with lantern(evening) as serve, asyncio.TaskGroup() as tasks:
            for what in meddlings:
                machine = evening.machines[what.host]
                assert isinstance(machine, WatchedMachine)
                tasks.create_task(machine.meddled(what))

            async def timed(question: PlayedQuestion) -> None:
                began = now()
                try:
                    await serve(question)
                finally:
                    tries_s.append((question.spoke_at or now()) - began)

            yield timed

    return policy


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Generator[None]:
    kept = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**kept)


@pytest.mark.slow
@settings(max_examples=HISTORIES)
@example(SEEN_BETWEEN)
@given(evenings())
def test_whatever_happens_loads_answers_and_turns_keep_their_promises(
    drawn: tuple[Trace, list[Meddling]],
) -> None:
    trace, meddlings = drawn
    tries_s: list[float] = []
    evening = play(spend(trace, watched(meddlings, tries_s), WatchedMachine))
    for machine in evening.machines.values():
        assert isinstance(machine, WatchedMachine)
        assert machine.broken == []
    # Granted, refused or moved on: nobody hangs.
    assert max(tries_s) <= LONGEST_TRY_S
    if not meddlings:
        assert all(question.spoke_at is not None for question in evening.questions)
    for number, early in enumerate(evening.questions):
        if early.tries > 1 or early.waited_s <= LONGEST_WAIT_S:
            continue
        for late in evening.questions[number + 1 :]:
            if late.chat.model == early.chat.model and late.spoke_at is not None:
                overtook = early.spoke_at is None or late.spoke_at < early.spoke_at
                assert not overtook, "somebody waited too long while later ones were served"
