"""Hosts that hang with a question, or in a load, while another could serve."""

import asyncio
import math
from pathlib import Path

import pytest
from clocks import LoopClock
from house import GUARD_S, QWEN, House, Said, cloud, house, sim

from bot.chat import host_serving
from bot.chat.standing import instead_words
from bot.domain.errors import HostUnreachable
from bot.domain.events import Finished, Loading, Silence, TurnEvent
from bot.domain.hosts import SpeedRecord, Wish
from bot.domain.ids import HostName, ModelKey
from bot.fleet import progress, reading, scheduler
from bot.policy import deadlines
from bot.sim import journal

ONE, TWO = HostName("one"), HostName("two")
KEY = ModelKey(QWEN.key)
STALLED = 0.55
CHAT = "/v1/chat/completions"


def is_slower(home: House, name: HostName, first_s: float = 5.0) -> None:
    """Makes the other host the first in every route."""
    for _ in range(20):
        home.lantern.fleet.host(name).record_speed(SpeedRecord(name, KEY, 1000, 50, first_s, 20.0))


def hurry(patch: pytest.MonkeyPatch) -> None:
    """A host is doubted at once, and what reading takes is nothing."""
    patch.setattr(deadlines, "DOUBT_S", 0.0)
    patch.setattr(deadlines, "FASTEST_TOKENS_PER_S", 1e9)
    patch.setattr(deadlines, "READ_FACTOR", 0.0)
    patch.setattr(deadlines, "SLOWEST_TOKENS_PER_S", 1e9)
    patch.setattr(reading, "DOUBTED_S", 0.01)
    patch.setattr(deadlines, "LEAST_BESIDE_S", 0.05)


async def warm(home: House) -> None:
    for name in (ONE, TWO):
        await home.hosts[name].preload(KEY)
        await home.lantern.fleet.host(name).probe()


async def answered_by_two(home: House, path: str = "") -> Said:
    """Asks while the first hangs with whatever comes, or with what comes by one path."""
    home.hosts["one"].faults.hang(path=path)
    said = await home.ask("[[say here]]")
    assert (said.text, said.receipt.host) == ("here", TWO)
    return said


async def test_a_question_moves_from_a_host_that_hangs_to_an_idle_twin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    async with house(tmp_path, sim("one", QWEN), sim("two", QWEN)) as home:
        await warm(home)
        is_slower(home, TWO)
        said = await answered_by_two(home, CHAT)
        (fallback,) = said.fallbacks
        assert "hangs" in fallback.reason
        # The small print tells the wait as its asker saw it, and `/why` where it went.
        (attempt,), timing = said.receipt.attempts, said.receipt.timing
        assert timing.wait_s > timing.until_asked_s >= attempt.spent_s > 0.0


async def test_a_question_moves_from_a_host_that_hangs_to_one_that_loads_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    async with house(tmp_path, sim("one", QWEN), sim("two", QWEN)) as home:
        # Its load was measured, and is short.
        two = home.lantern.fleet.host(TWO)
        async with two.lease(Wish(KEY)) as lease:
            async for _ in lease:
                pass
        await two.unload(lease.granted.instance.identifier)
        await home.hosts["one"].preload(KEY)
        await home.lantern.fleet.host(ONE).probe()
        said = await answered_by_two(home, CHAT)
        assert any(isinstance(event, Loading) for event in said.events)


async def test_the_last_that_is_left_to_ask_is_left_for_one_that_came_up_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    # Longer than any test may take: alone it is left for nobody.
    monkeypatch.setattr(deadlines, "LEAST_ALONE_S", math.inf)
    async with house(tmp_path, sim("one", QWEN), sim("two", QWEN)) as home:
        await home.hosts["one"].preload(KEY)
        await home.hosts["two"].stop()
        for name in (ONE, TWO):
            await home.lantern.fleet.host(name).probe()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(answered_by_two(home, CHAT))
            await home.hosts["one"].journal.wait_for(journal.Request, lambda r: r.path == CHAT)
            await home.hosts["two"].start()
            await home.hosts["two"].preload(KEY)
            await home.lantern.fleet.host(TWO).probe()


async def test_a_host_that_answers_nothing_at_all_is_left_sooner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    # Longer than any test may take: only a host that is deaf has less.
    monkeypatch.setattr(deadlines, "LEAST_ALONE_S", math.inf)
    monkeypatch.setattr(deadlines, "LEAST_BESIDE_S", math.inf)
    monkeypatch.setattr(deadlines, "LEAST_DEAF_S", 0.0)

    def is_deaf(_asked_s: float, _probe_timeout_s: float) -> bool:
        return True

    # Without the time that a host is given to tell.
    monkeypatch.setattr(reading, "is_deaf", is_deaf)
    monkeypatch.setattr(reading, "LOOK_S", 0.01)
    async with house(tmp_path, sim("one", QWEN, sockets=False), sim("two", QWEN)) as home:
        await warm(home)
        is_slower(home, TWO)
        await answered_by_two(home)


async def test_alone_a_host_is_given_its_time_and_other_answers_are_signs_of_life(
    tmp_path: Path, loop_clock: LoopClock
) -> None:
    async with house(tmp_path, sim("one", QWEN)) as home:
        host = home.lantern.fleet.host(ONE)
        async with host.lease(Wish(KEY)) as mine, host.lease(Wish(KEY)) as other:
            for lease in (mine, other):
                async for _ in lease:
                    pass

            async def given_up() -> None:
                with pytest.raises(HostUnreachable):
                    async with host.reader.first_word_within(8.0, mine):
                        await asyncio.Event().wait()

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(given_up())
                await loop_clock.armed(8.0)
                loop_clock.passes(8.0)
            # Words of another answer put the end off; a word of its own ends the watch.
            watched = host.reader.first_word_within(GUARD_S, other)
            async with watched as elsewhere, asyncio.TaskGroup() as tasks:
                waiting = tasks.create_task(given_up())
                await loop_clock.armed(8.0)
                loop_clock.passes(5.0)
                elsewhere()
                loop_clock.passes(3.0)
                await loop_clock.armed(5.0)
                # For so little more uvloop has no timer: what rings early is set for at least one.
                loop_clock.passes(2**-12)
                elsewhere()
                loop_clock.passes(5.0 - 2**-12)
                await loop_clock.armed(3.0)
                loop_clock.passes(3.0)
                await loop_clock.armed(0.001)
                assert not waiting.done()
                loop_clock.passes(0.001)
            async with host.reader.first_word_within(8.0, mine) as heard:
                heard()
                later = asyncio.Event()
                asyncio.get_running_loop().call_later(20.0, later.set)
                loop_clock.passes(20.0)
                await later.wait()


@pytest.fixture
def only_the_stalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A load that stands still is left at once."""
    monkeypatch.setattr(scheduler, "PULSE_S", 0.01)

    # Of no other fraction: on a busy machine a load that gets on pauses longer than that, too.
    def pause_s(fraction: float, expected_s: float | None, silent_s: float) -> float:
        return 0.0 if fraction == STALLED else math.inf

    monkeypatch.setattr(host_serving, "load_pause_s", pause_s)
    monkeypatch.setattr(progress, "STANDS_S", 0.0)


@pytest.mark.usefixtures("only_the_stalled")
async def test_a_load_that_stands_still_is_left_for_a_provider_where_no_host_can(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, sim("one", QWEN), providers=cloud(zai="zai")) as home:
        home.hosts["one"].faults.stall_load(STALLED)
        said = await home.ask("[[say here]]")
        assert (said.text, said.receipt.provider) == ("here", "zai")
        (fallback,) = said.fallbacks
        assert "55%" in fallback.reason
        # "One is busy" was told of a machine that hung.
        assert instead_words(said.receipt) == "☁ one is stuck in its load; zai answered."


@pytest.mark.usefixtures("only_the_stalled")
async def test_a_load_that_stands_still_is_left_for_a_host_that_can(tmp_path: Path) -> None:
    async with house(tmp_path, sim("one", QWEN), sim("two", QWEN)) as home:
        # Nothing to load there, where a busy machine would stand still at that fraction as well.
        await home.hosts["two"].preload(KEY)
        await home.lantern.fleet.host(TWO).probe()
        is_slower(home, TWO, 100_000.0)
        home.hosts["one"].faults.stall_load(STALLED)
        said = await home.ask("[[say here]]")
        assert isinstance(said.last, Finished)
        assert said.receipt.host == TWO
        (fallback,) = said.fallbacks
        assert "55%" in fallback.reason
        home.hosts["one"].faults.clear()
        # It was not given up: whoever asks there next finds it done.
        await home.hosts["one"].journal.wait_for(journal.LoadFinished)


async def test_alone_a_load_that_stands_still_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "PULSE_S", 0.01)
    monkeypatch.setattr(deadlines, "LEAST_PAUSE_S", 0.0)
    async with house(tmp_path, sim("one", QWEN)) as home:
        home.hosts["one"].faults.stall_load(0.55)
        told: list[TurnEvent] = []
        async with home.lantern.turns.open(home.request("[[say here]]")) as events:
            async for event in events:
                told.append(event)
                stood = [e for e in told if isinstance(e, Loading) and e.fraction >= 0.5]
                if len(stood) == 5:
                    home.hosts["one"].faults.clear()
        assert isinstance(told[-1], Finished)


async def test_a_silence_in_the_middle_of_an_answer_is_told_and_the_answer_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_serving, "QUIET_S", 0.05)
    async with house(tmp_path, sim("one", QWEN)) as home:
        home.hosts["one"].faults.stall_after_tokens(2)
        told: list[TurnEvent] = []
        async with home.lantern.turns.open(home.request("[[tokens 5]]")) as events:
            async for event in events:
                told.append(event)
                if isinstance(event, Silence):
                    home.hosts["one"].faults.clear()
        # On a busy machine there may be another; that each is told once is played elsewhere.
        assert {event for event in told if isinstance(event, Silence)} == {Silence(0.05)}
        last = told[-1]
        assert isinstance(last, Finished)
        assert last.receipt.usage.completion_tokens == 5
