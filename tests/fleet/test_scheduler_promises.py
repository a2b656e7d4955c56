"""What a scheduler promises whatever happens, in whatever order."""

from contextlib import suppress

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from scheduler_playbook import Playbook, model

from bot.domain.errors import FailureKind, NotPermitted
from bot.domain.ids import InstanceRef, ModelKey
from bot.fleet.residents import reference_of

KEYS = ("one", "two", "three")
SLOTS = 2


class AnyDay(RuleBasedStateMachine):
    """A host on any day: askers come and go, loads end and break, others meddle."""

    def __init__(self) -> None:
        super().__init__()
        self.play = Playbook(
            *(model(key, gb=10, window=16384) for key in KEYS), memory_gb=27, slots=SLOTS
        )
        self.waiting: dict[str, tuple[str, int]] = {}
        self.holding: dict[str, str] = {}
        self.foreign: set[InstanceRef] = set()
        self.asked = 0

    def read(self, decided: list[str]) -> None:
        """Follows what was decided, checking each decision as it falls."""
        for words in decided:
            verb, who, *rest = words.split()
            if verb == "grant":
                self.waiting.pop(who)
                self.holding[who] = rest[0]
            elif verb == "refuse":
                self.waiting.pop(who)
            elif verb == "unload":
                self.check_unload(who)
            elif verb == "load":
                self.check_load(ModelKey(who))

    def check_unload(self, identifier: str) -> None:
        assert identifier not in self.holding.values(), "a leased instance was unloaded"
        assert self.play.leaving[-1] not in self.foreign, "a foreign instance was unloaded"

    def check_load(self, key: ModelKey) -> None:
        needs = [need for wanted, need in self.waiting.values() if wanted == key]
        assert needs, "a load nobody asked for"
        known = self.play.scheduler.snapshot().instances
        staying = [i.context_length or 0 for i in known if i.model_key == key]
        assert all(context < max(needs) for context in staying), "loaded beside a usable one"

    @rule(
        key=st.sampled_from(KEYS),
        user=st.sampled_from(("ada", "bob", "eve")),
        context=st.sampled_from((0, 0, 9000)),
        wait=st.sampled_from((None, 40.0)),
    )
    def somebody_asks(self, key: str, user: str, context: int, wait: float | None) -> None:
        who = f"w{self.asked}"
        self.asked += 1
        self.waiting[who] = (key, context)
        self.read(self.play.ask(who, key, user=user, context=context, wait=wait, ttl=60))

    @precondition(lambda self: self.waiting or self.holding)
    @rule(data=st.data())
    def somebody_leaves(self, data: st.DataObject) -> None:
        who = data.draw(st.sampled_from(sorted([*self.waiting, *self.holding])))
        self.waiting.pop(who, None)
        self.holding.pop(who, None)
        self.read(self.play.leave(who))

    @precondition(lambda self: self.play.loading is not None)
    @rule(shrink=st.booleans())
    def a_load_ends(self, shrink: bool) -> None:
        self.read(self.play.loaded(context=2048 if shrink else None, seconds=5))

    @precondition(lambda self: self.play.loading is not None)
    @rule(
        kind=st.sampled_from((FailureKind.LOAD_FAILED, FailureKind.DOES_NOT_FIT, FailureKind.CUT))
    )
    def a_load_breaks(self, kind: FailureKind) -> None:
        self.read(self.play.load_breaks("broken", kind))

    @precondition(lambda self: self.play.leaving)
    @rule(stays=st.booleans())
    def an_unload_ends(self, stays: bool) -> None:
        self.read(self.play.unloaded(stays=stays))

    @rule(key=st.sampled_from(KEYS))
    def others_load(self, key: str) -> None:
        if len(self.play.memory) < 6:
            self.foreign.add(reference_of(self.play.appears(key)))

    @precondition(lambda self: self.play.memory)
    @rule(data=st.data())
    def others_unload(self, data: st.DataObject) -> None:
        self.play.vanishes(data.draw(st.sampled_from(sorted(self.play.memory))))

    @rule()
    def a_probe_succeeds(self) -> None:
        self.read(self.play.up())

    @rule(kind=st.sampled_from((FailureKind.CONNECT, FailureKind.TIMEOUT)))
    def a_probe_fails(self, kind: FailureKind) -> None:
        self.read(self.play.down(kind))

    @rule()
    def a_request_fails(self) -> None:
        self.read(self.play.doubt("HTTP 500"))

    @rule(seconds=st.sampled_from((1.0, 20.0, 120.0)))
    def time_passes(self, seconds: float) -> None:
        self.read(self.play.after(seconds).tick())
        self.read(self.play.sweep())

    @rule(key=st.sampled_from(KEYS))
    def cancel_is_pressed(self, key: str) -> None:
        with suppress(NotPermitted):
            self.read(self.play.cancel(key))

    @invariant()
    def the_snapshot_agrees(self) -> None:
        snapshot = self.play.scheduler.snapshot()
        assert sum(snapshot.waiting.values()) == len(self.waiting)
        assert (snapshot.load is None) == (self.play.loading is None)
        for instance in snapshot.instances:
            assert instance.leases <= SLOTS

    def teardown(self) -> None:
        """However it went: once the host is well, everybody waiting gets an answer."""
        play = self.play
        for _ in range(20 + 12 * self.asked):
            if not self.waiting and play.loading is None and not play.leaving:
                return
            self.read(play.after(600).up())
            if play.leaving:
                self.read(play.unloaded())
            elif play.loading is not None:
                self.read(play.loaded(seconds=1))
            elif self.holding:
                who, _ = self.holding.popitem()
                self.read(play.leave(who))
        raise AssertionError(f"still waiting: {self.waiting}, leaving: {play.leaving}")


TestAnyDay = pytest.mark.slow(AnyDay.TestCase)
TestAnyDay.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
