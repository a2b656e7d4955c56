"""Many replies at once in virtual time: whatever others wait for, each stream keeps its rhythm."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import hypothesis
import pytest
from cogs_doubles import (
    CANDIDATE,
    FINISHED,
    HOST,
    MODEL,
    REQUEST,
    STARTED,
    PaperTransport,
    Script,
    ScriptedTurns,
    lantern_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_time import play

from bot.domain.events import Loading, Queued, Reading, ReasoningDelta, TextDelta, TurnEvent
from bot.policy.pacing import CHANNEL, Pacers
from cogs._reply import Replies

CHANNELS = 20
WORD_EVERY_S = 0.2

QUEUED = Queued(HOST, MODEL, position=1)

Phase = tuple[str, float]
"""What a reply does, for so many seconds."""


def script_of(phases: tuple[Phase, ...]) -> Script:
    """A turn that goes through these phases, one after the other."""
    return (STARTED, *(step for phase in phases for step in _steps(*phase)), FINISHED)


def _steps(kind: str, seconds: float) -> Iterator[TurnEvent | float]:
    match kind:
        case "silent":
            yield seconds
        case "waiting":
            yield from (QUEUED, seconds)
        case "loading":
            for step in range(round(seconds / 0.3)):
                yield from (Loading(HOST, MODEL, step * 0.3 / seconds, seconds), 0.3)
        case "reading":
            yield from (Reading(CANDIDATE, 9000, seconds * 1.2), seconds)
        case "reading unmeasured":
            yield from (Reading(CANDIDATE, 9000, None), seconds)
        case "thinking":
            yield from (ReasoningDelta("hm"), seconds)
        case "streaming" | "pouring":
            words = "word " * (60 if kind == "pouring" else 1)
            for _ in range(round(seconds / WORD_EVERY_S)):
                yield from (TextDelta(words), WORD_EVERY_S)
        case _:
            raise AssertionError(kind)


def play_all(replies: list[tuple[int, tuple[Phase, ...]]]) -> list[PaperTransport]:
    """Every reply in its channel, all begun together, to their ends."""
    pacers = Pacers()
    papers = [PaperTransport(pacers, channel_id=channel) for channel, _ in replies]

    lantern = lantern_of()

    async def story() -> None:
        async with asyncio.TaskGroup() as group:
            for paper, (_, phases) in zip(papers, replies, strict=True):
                turns = ScriptedTurns(script_of(phases))
                group.create_task(Replies(replace(lantern, turns=turns)).play(REQUEST, paper))

    play(story())
    return papers


def longest_gap(paper: PaperTransport) -> float:
    """Between two calls that show the answer growing."""
    texts = [call.at for call in paper.calls if call.view and "word" in call.view.content]
    return max((later - earlier for earlier, later in pairwise(texts)), default=0.0)


def check_limits(papers: list[PaperTransport]) -> None:
    """No window of any channel, nor of the whole bot, holds more calls than Discord takes."""
    calls = sorted(call.at for paper in papers for call in paper.calls)
    assert all(later - earlier > 1.0 for earlier, later in zip(calls, calls[50:], strict=False))
    for channel in {paper.channel_id for paper in papers}:
        ours = [paper for paper in papers if paper.channel_id == channel]
        for verb in ("edit", "send"):
            starts = sorted(call.at for p in ours for call in p.calls if call.verb == verb)
            beyond = zip(starts, starts[CHANNEL.calls :], strict=False)
            assert all(later - earlier > CHANNEL.window_s for earlier, later in beyond), verb


before = st.sampled_from(
    ["silent", "waiting", "loading", "reading", "reading unmeasured", "thinking"]
)
phases = st.lists(st.tuples(before, st.floats(0.1, 8.0)), max_size=3).map(tuple)
streamed = st.floats(3.0, 8.0).map(lambda seconds: (("streaming", seconds),))
reply = st.tuples(phases, streamed).map(lambda both: (*both[0], *both[1]))


@pytest.mark.slow
@settings(max_examples=10, deadline=None, derandomize=True, phases=[hypothesis.Phase.generate])
@given(st.lists(reply, min_size=CHANNELS, max_size=CHANNELS))
def test_every_channels_stream_keeps_its_rhythm_whatever_others_wait_for(
    replies: list[tuple[Phase, ...]],
) -> None:
    papers = play_all(list(enumerate(replies)))
    check_limits(papers)
    # Alone it would be no better: a status just before the first words spends of the same window.
    assert max(map(longest_gap, papers)) < 3 * CHANNEL.rhythm_s


@pytest.mark.parametrize("kind", ["waiting", "loading", "reading", "reading unmeasured"])
def test_ten_streams_beside_ten_that_wait_go_on_as_if_they_were_alone(kind: str) -> None:
    streams = [(channel, (("streaming", 12.0),)) for channel in range(10)]
    waiting = [(channel, ((kind, 12.0), ("streaming", 3.0))) for channel in range(10, 20)]
    alone = longest_gap(play_all(streams[:1])[0])
    together = play_all([*streams, *waiting])
    check_limits(together)
    assert max(map(longest_gap, together[:10])) == pytest.approx(alone, abs=0.02)


@pytest.mark.parametrize("kind", ["waiting", "loading", "reading", "reading unmeasured"])
@pytest.mark.parametrize("count", [1, 4, 9])
def test_those_that_wait_in_a_channel_leave_its_stream_a_third_of_the_edits(
    kind: str, count: int
) -> None:
    waiting = (7, ((kind, 30.0), ("streaming", 0.5)))
    streaming, *others = play_all([(7, (("streaming", 25.0),)), *[waiting] * count])
    check_limits([streaming, *others])
    assert longest_gap(streaming) <= 3 * CHANNEL.rhythm_s


@pytest.mark.parametrize("count", [1, 2, 7])
def test_answers_that_spill_over_at_once_share_what_a_channel_takes_of_new_messages(
    count: int,
) -> None:
    # Left to the library they were refused (429): of two answers that arrive in another order than
    # they were made it believes the one that tells of more places.
    papers = play_all([(7, (("pouring", 6.0),))] * count)
    check_limits(papers)
    for paper in papers:
        assert sum(text.count("word") for text in paper.texts) == 30 * 60
        assert list(paper.shown) == sorted(paper.shown), "the parts stand in order"
