from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.policy.pacing import (
    CHANNEL,
    CREATION,
    INTERACTION,
    ActNow,
    ChannelLog,
    Decision,
    Limit,
    NothingToDo,
    WaitUntil,
    Writing,
    decide,
)

NOW = 100.0


def began(*ago: float) -> tuple[float, ...]:
    return tuple(NOW - seconds for seconds in ago)


@pytest.mark.parametrize(
    ("writing", "starts", "decision"),
    [
        pytest.param(Writing(1), (), ActNow(), id="the first words at once"),
        pytest.param(Writing(0), (), NothingToDo(), id="nothing to say yet"),
        pytest.param(Writing(9, 9, NOW), (), NothingToDo(), id="nothing new"),
        pytest.param(Writing(20, 9, NOW), (), WaitUntil(NOW + 0.4), id="second call soon"),
        pytest.param(Writing(20, 9, NOW - 0.4), (), ActNow(), id="second call due"),
        pytest.param(Writing(150, 9, NOW), (), WaitUntil(NOW + 0.2), id="much text, sooner"),
        pytest.param(Writing(20, 9, NOW, 1), (), WaitUntil(NOW + 0.8), id="third call later"),
        pytest.param(Writing(20, 9, NOW, 2), (), WaitUntil(NOW + 1.0), id="then the rhythm"),
        pytest.param(Writing(400, 9, NOW, 3), (), WaitUntil(NOW + 0.2), id="fast while young"),
        pytest.param(Writing(999, 9, NOW, 4), (), WaitUntil(NOW + 1.0), id="old: only rhythm"),
        pytest.param(
            Writing(20, 9, NOW - 3, 4),
            began(4, 3.5, 3.2, 3),
            WaitUntil(NOW + 0.03),
            id="the last place is kept",
        ),
        pytest.param(
            Writing(20, 9, NOW - 3, 4, is_finished=True),
            began(4, 3.5, 3.2, 3),
            ActNow(),
            id="for the end",
        ),
        pytest.param(
            Writing(20, 9, NOW - 2, 4, is_finished=True),
            began(4, 3.5, 3.2, 3, 2),
            WaitUntil(NOW + 1.03),
            id="the end waits for the window",
        ),
        pytest.param(
            Writing(20, 20, NOW - 0.1, 4, is_finished=True),
            (),
            ActNow(),
            id="the last call is due without new text",
        ),
        pytest.param(
            Writing(20, 20, NOW - 0.1, 4, is_changed=True),
            (),
            WaitUntil(NOW + 0.9),
            id="a load bar keeps the rhythm",
        ),
        pytest.param(
            Writing(1, 0, NOW - 0.1, is_urgent=True),
            began(0.1),
            ActNow(),
            id="the first words after a load bar do not",
        ),
        pytest.param(
            Writing(1),
            began(4, 3, 2, 1, 0),
            WaitUntil(NOW + 1.03),
            id="not even a first call breaks the limit",
        ),
    ],
)
def test_the_next_call_is_now_later_or_never(
    writing: Writing, starts: tuple[float, ...], decision: Decision
) -> None:
    assert approximately(decide(NOW, writing, starts)) == approximately(decision)


def approximately(decision: Decision) -> Decision:
    return WaitUntil(round(decision.at, 6)) if isinstance(decision, WaitUntil) else decision


def test_an_interactions_edits_follow_the_same_shape_two_and_a_half_times_as_fast() -> None:
    young = Writing(20, 9, NOW)
    assert approximately(decide(NOW, young, (), INTERACTION)) == WaitUntil(NOW + 0.16)
    settled = Writing(20, 9, NOW, 9)
    assert approximately(decide(NOW, settled, (), INTERACTION)) == WaitUntil(NOW + 0.4)
    starts = began(1.9, 1.5, 1.2, 1.0, 0.5)
    last = Writing(20, 9, NOW - 0.5, 9, is_finished=True)
    assert approximately(decide(NOW, last, starts, INTERACTION)) == WaitUntil(NOW + 0.13)


def test_a_limit_of_one_call_has_no_place_to_keep() -> None:
    assert decide(NOW, Writing(20, 9, NOW - 1, 9), began(1), Limit(1, 0.25)) == ActNow()


def test_replies_that_share_a_channel_take_turns_the_earliest_due_first() -> None:
    log = ChannelLog()
    older, newer = Writing(90, 9, NOW - 3, 9), Writing(90, 9, NOW - 2, 9)
    log.began(NOW - 2, "newer")
    assert log.ask(NOW - 1.5, "newer", newer) == WaitUntil(NOW - 1)
    assert log.ask(NOW - 1.5, "older", older) == WaitUntil(NOW - 1)
    assert log.ask(NOW, "newer", newer) == WaitUntil(NOW + 1)
    assert log.ask(NOW, "older", older) == ActNow()
    log.began(NOW, "older")
    assert log.ask(NOW, "newer", newer) == WaitUntil(NOW + 1)
    log.left("older")
    assert log.ask(NOW, "newer", newer) == ActNow()


def test_the_end_of_a_reply_goes_before_what_was_due_earlier() -> None:
    log = ChannelLog()
    for ago in (5.0, 4.0, 3.0, 2.0, 1.0):
        log.began(NOW - ago, "older")
    waiting = Writing(90, 9, NOW - 4, 9)
    assert isinstance(log.ask(NOW, "older", waiting), WaitUntil)
    assert isinstance(
        log.ask(NOW, "ended", Writing(90, 9, NOW - 1, 9, is_finished=True)), WaitUntil
    )
    assert isinstance(log.ask(NOW + 0.03, "older", waiting), WaitUntil)
    assert log.ask(NOW + 0.03, "ended", Writing(90, 9, NOW - 1, 9, is_finished=True)) == ActNow()


def test_first_messages_of_a_channel_are_made_in_the_order_they_were_asked_for() -> None:
    log = ChannelLog(CREATION)
    for second in range(5):
        log.began(NOW + second, "earlier")
    assert isinstance(log.ask(NOW + 4, "first", Writing(1)), WaitUntil)
    assert isinstance(log.ask(NOW + 4, "second", Writing(1)), WaitUntil)
    assert isinstance(log.ask(NOW + 5.03, "second", Writing(1)), WaitUntil)
    assert log.ask(NOW + 5.03, "first", Writing(1)) == ActNow()


def test_a_pause_asked_for_by_discord_is_kept_by_everybody() -> None:
    log = ChannelLog()
    log.hold(NOW + 7)
    log.hold(NOW + 3)
    assert log.ask(NOW, "reply", Writing(1)) == WaitUntil(NOW + 7)
    assert log.ask(NOW, "idle", Writing(0)) == NothingToDo()
    assert log.ask(NOW + 7, "reply", Writing(1)) == ActNow()


def test_a_log_is_quiet_when_nobody_writes_and_its_calls_no_longer_count() -> None:
    log = ChannelLog()
    assert log.is_quiet(NOW)
    log.ask(NOW, "reply", Writing(1))
    assert not log.is_quiet(NOW)
    log.began(NOW, "reply")
    log.left("reply")
    log.left("reply")
    assert not log.is_quiet(NOW + 5)
    assert log.is_quiet(NOW + 5.04)
    log.hold(NOW + 60)
    assert not log.is_quiet(NOW + 6)


def test_a_log_remembers_no_more_calls_than_the_limit_looks_at() -> None:
    log = ChannelLog()
    for second in range(9):
        log.began(NOW + second, "reply")
    assert log.starts == tuple(NOW + second for second in range(4, 9))


@dataclass(frozen=True, slots=True)
class Script:
    """One reply: when its pieces arrive, how long they are, how long each call takes."""

    begins: float
    pieces: tuple[tuple[float, int], ...]
    call_s: float


@dataclass(slots=True)
class Played:
    starts: list[float] = field(default_factory=list[float])
    shown: dict[str, int] = field(default_factory=dict[str, int])
    first_waits: list[float] = field(default_factory=list[float])


def write(name: str, script: Script, log: ChannelLog, played: Played) -> Iterator[float]:
    times: list[tuple[float, int]] = []
    at, length = script.begins, 0
    for pause, characters in script.pieces:
        at, length = at + pause, length + characters
        times.append((at, length))
    shown, last_start, edits, now = 0, None, 0, times[0][0]
    while True:
        yield now
        ready = max((length for at, length in times if at <= now), default=0)
        is_finished = now >= times[-1][0]
        decision = log.ask(now, name, Writing(ready, shown, last_start, edits, is_finished))
        coming = min((at for at, _ in times if at > now), default=inf)
        if isinstance(decision, ActNow):
            log.began(now, name)
            played.starts.append(now)
            if last_start is None:
                played.first_waits.append(now - times[0][0])
            shown, last_start, edits = ready, now, edits + (last_start is not None)
            if is_finished:
                break
            now += script.call_s
        else:
            now = min(coming, decision.at if isinstance(decision, WaitUntil) else inf)
    log.left(name)
    played.shown[name] = shown


def play(scripts: list[Script], limit: Limit) -> Played:
    log, played = ChannelLog(limit), Played()
    writers = [write(str(place), script, log, played) for place, script in enumerate(scripts)]
    queue = [(next(writer), place) for place, writer in enumerate(writers)]
    heapify(queue)
    for _ in range(20_000):
        if not queue:
            return played
        _, place = heappop(queue)
        wake = next(writers[place], None)
        if wake is not None:
            heappush(queue, (wake, place))
    raise AssertionError("some reply never had its last call")


seconds = st.floats(0.0, 3.0, allow_nan=False)
script = st.builds(
    Script,
    begins=seconds,
    pieces=st.lists(st.tuples(seconds, st.integers(1, 400)), min_size=1, max_size=8).map(tuple),
    call_s=st.floats(0.01, 6.0),
)
scripts = st.lists(script, min_size=1, max_size=5)
limits = st.sampled_from([CHANNEL, INTERACTION, Limit(1, 0.25), Limit(2, 3.0)])


@given(scripts, limits)
def test_no_window_ever_holds_more_calls_than_the_limit(
    replies: list[Script], limit: Limit
) -> None:
    starts = play(replies, limit).starts
    assert starts == sorted(starts)
    for first, beyond in zip(starts, starts[limit.calls :], strict=False):
        assert beyond - first > limit.window_s


@given(scripts, limits)
def test_every_reply_gets_its_last_call_with_all_its_text(
    replies: list[Script], limit: Limit
) -> None:
    played = play(replies, limit)
    assert [played.shown[str(place)] for place in range(len(replies))] == [
        sum(length for _, length in reply.pieces) for reply in replies
    ]


@given(script, limits)
def test_the_first_words_of_a_lone_reply_never_wait(reply: Script, limit: Limit) -> None:
    assert play([reply], limit).first_waits == [0.0]
