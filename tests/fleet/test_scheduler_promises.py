"""What a scheduler promises whatever happens, in whatever order."""

from collections import Counter
from contextlib import suppress

import pytest
from histories import HISTORIES
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from scheduler_playbook import Playbook, model

from bot.domain.errors import FailureKind, NotPermitted
from bot.domain.ids import InstanceRef, ModelKey
from bot.fleet.residents import reference_of
from bot.policy.placement import instance_bytes, load_bytes, together

KEYS = ("one", "two", "three")
SLOTS = 2
MEMORY_GB = 27


class AnyDay(RuleBasedStateMachine):
    """A host on any day: askers come and go, loads end and break, others meddle."""

    def __init__(self) -> None:
        super().__init__()
        self.play = Playbook(
            *(model(key, gb=10, window=16384) for key in KEYS), memory_gb=MEMORY_GB, slots=SLOTS
        )
        self.waiting: dict[str, tuple[str, int]] = {}
        self.asker: dict[str, tuple[str, float, float | None]] = {}
        """Of everybody who ever asked: user, when, and the longest wait."""
        self.holding: dict[str, InstanceRef] = {}
        self.foreign: set[InstanceRef] = set()
        self.asked = 0

    def read(self, decided: list[str]) -> None:
        """Follows what was decided, checking each decision as it falls."""
        for words in decided:
            verb, who, *_ = words.split()
            if verb == "grant":
                key, _ = self.waiting.pop(who)
                granted = self.play.granted[who]
                self.check_turn(who, key, granted.context_length or 0)
                self.holding[who] = reference_of(granted)
            elif verb == "refuse":
                self.waiting.pop(who)
            elif verb == "unload":
                self.check_unload(self.play.leaving[-1])
            elif verb == "load":
                self.check_load(ModelKey(who))

    def check_unload(self, leaving: InstanceRef) -> None:
        # By reference: what was loaded anew has the name of what others took out meanwhile.
        assert leaving not in self.holding.values(), "a leased instance was unloaded"
        assert leaving not in self.foreign, "a foreign instance was unloaded"

    def check_turn(self, who: str, key: str, context: int) -> None:
        """Nobody who asked before for the same, and would have been served by the same, waits on.

        One's own questions go in their order; of others nobody's first is passed by a second, with
        what is answered already counted.
        """
        order = list(self.asker)
        # What left memory behind our back answers nobody, whoever still holds on to it.
        there = {reference_of(i) for i in self.play.scheduler.snapshot().instances}
        held = Counter(self.asker[h][0] for h, at in self.holding.items() if at in there)

        def place(name: str) -> tuple[str, int]:
            user = self.asker[name][0]
            earlier = order[: order.index(name)]
            wishes = sum(self.asker[e][0] == user for e in earlier if e in self.waiting)
            return user, held[user] + wishes

        user, mine = place(who)
        for other, (wanted, need) in self.waiting.items():
            if wanted == key and need <= context and order.index(other) < order.index(who):
                them, theirs = place(other)
                assert them != user, "passed by one's own later question"
                assert mine <= theirs, "passed by somebody's next"

    def check_load(self, key: ModelKey) -> None:
        needs = [need for wanted, need in self.waiting.values() if wanted == key]
        assert needs, "a load nobody asked for"
        known = self.play.scheduler.snapshot().instances
        staying = [i.context_length or 0 for i in known if i.model_key == key]
        assert all(context < max(needs) for context in staying), "loaded beside a usable one"
        order = self.play.loading
        assert order is not None
        held = sum(map(instance_bytes, known)) + (load_bytes(self.play.disk[key], order) or 0)
        # A tenth over by our reckoning is for the host to decide; what it once held, it holds.
        host = self.play.scheduler.snapshot()
        wanted = together(known, order, host.limits.get(key))
        is_proven = any(wanted <= proof for proof in host.held)
        assert is_proven or held <= MEMORY_GB * 1.1e9, "a load over the budget"

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
        self.asker[who] = (user, self.play.now, wait)
        self.read(self.play.ask(who, key, user=user, context=context, wait=wait, ttl=60))

    @rule(key=st.sampled_from(KEYS), users=st.permutations(("ada", "ada", "ada", "bob", "eve")))
    def a_crowd_asks(self, key: str, users: list[str]) -> None:
        for user in users:
            self.somebody_asks(key, user, 0, None)

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
        for who, (key, _) in self.waiting.items():
            _, since, wait = self.asker[who]
            # Work on one's own load is not cut.
            is_worked_on = self.play.loading is not None or bool(self.play.leaving)
            assert is_worked_on or wait is None or self.play.now - since < wait, f"{key} waits on"
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
            # All that hold something, since a day may end with a hundred of them.
            for who in list(self.holding):
                del self.holding[who]
                self.read(play.leave(who))
        raise AssertionError(f"still waiting: {self.waiting}, leaving: {play.leaving}")


TestAnyDay = pytest.mark.slow(AnyDay.TestCase)
TestAnyDay.settings = settings(max_examples=HISTORIES, stateful_step_count=30, deadline=None)
