import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from bot.inference.deltas import Watch


@dataclass
class Timer:
    at: float
    fire: Callable[[], None]
    was_cancelled: bool = False

    def cancel(self) -> None:
        self.was_cancelled = True


@dataclass
class HandClock:
    """As much of an event loop as a watch uses; time passes when told."""

    now: float = 100.0
    timers: list[Timer] = field(default_factory=list[Timer])

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        self.timers.append(Timer(when, callback))
        return self.timers[-1]

    def pass_to(self, when: float) -> None:
        while due := [t for t in self.timers if not t.was_cancelled and t.at <= when]:
            self.timers.remove(due[0])
            self.now = max(self.now, due[0].at)
            due[0].fire()
        self.now = when

    @property
    def waiting(self) -> int:
        return sum(not timer.was_cancelled for timer in self.timers)


@dataclass
class Late:
    times: list[float]
    clock: HandClock
    watch: Watch


def watching() -> Late:
    clock, times = HandClock(), list[float]()
    loop: asyncio.AbstractEventLoop = clock  # pyright: ignore[reportAssignmentType]  # as much as it uses
    return Late(times, clock, Watch(loop, lambda: times.append(clock.now)))


def test_a_wait_past_its_time_is_late_once() -> None:
    late = watching()
    late.watch.expect_by(105)
    late.clock.pass_to(104.9)
    assert late.times == []
    late.clock.pass_to(200)
    assert late.times == [105]


def test_a_thousand_moves_need_one_timer_and_are_late_at_the_last_time() -> None:
    late = watching()
    for step in range(1000):
        late.watch.expect_by(105 + step / 1000)
        assert late.clock.waiting == 1
    late.clock.pass_to(200)
    assert late.times == [105.999]


def test_a_nearer_time_is_kept() -> None:
    late = watching()
    late.watch.expect_by(900)
    late.watch.expect_by(102)
    late.clock.pass_to(200)
    assert late.times == [102]


def test_nobody_is_late_while_nobody_waits() -> None:
    late = watching()
    late.watch.expect_by(105)
    late.watch.rest()
    late.clock.pass_to(300)
    assert late.times == []
    late.watch.expect_by(310)
    late.clock.pass_to(400)
    assert late.times == [310]


def test_a_closed_watch_leaves_no_timer() -> None:
    late = watching()
    late.watch.close()
    late.watch.expect_by(105)
    late.watch.close()
    assert late.clock.waiting == 0
