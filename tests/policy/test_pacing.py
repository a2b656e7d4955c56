import pickle
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop, heappush
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.policy.pacing import (
    CHANNEL,
    CREATION,
    EVERYWHERE,
    INTERACTION,
    STATUS_EVERY_S,
    Limit,
    Pacer,
    Pacers,
    Writing,
    ask_all,
)

NOW = 100.0


def began(*ago: float) -> tuple[float, ...]:
    return tuple(NOW - seconds for seconds in ago)


def pacer_of(limit: Limit = CHANNEL, *starts: float) -> Pacer:
    """With calls that began then."""
    pacer = Pacer(limit)
    for start in starts:
        pacer.began(start, "reply")
    return pacer


@pytest.mark.parametrize(
    ("writing", "starts", "at"),
    [
        pytest.param(Writing(1), (), -inf, id="the first words at once"),
        pytest.param(Writing(0), (), inf, id="nothing to say yet"),
        pytest.param(Writing(9, 9, NOW), (), inf, id="nothing new"),
        pytest.param(Writing(20, 9, NOW), (), NOW + 0.4, id="second call soon"),
        pytest.param(Writing(149, 10, NOW), (), NOW + 0.4, id="some text, no sooner"),
        pytest.param(Writing(150, 10, NOW), (), NOW + 0.2, id="much text, sooner"),
        pytest.param(Writing(20, 9, NOW, 1), (), NOW + 0.8, id="third call later"),
        pytest.param(Writing(20, 9, NOW, 2), (), NOW + 1.0, id="then the rhythm"),
        pytest.param(Writing(400, 9, NOW, 3), (), NOW + 0.2, id="fast while young"),
        pytest.param(Writing(999, 9, NOW, 4), (), NOW + 1.0, id="old: only rhythm"),
        pytest.param(
            Writing(20, 9, NOW - 3, 4),
            began(4, 3.5, 3.2, 3),
            NOW + 0.03,
            id="the last place is kept",
        ),
        pytest.param(
            Writing(20, 9, NOW - 3, 4, is_finished=True),
            began(4, 3.5, 3.2, 3),
            -inf,
            id="for the end",
        ),
        pytest.param(
            Writing(20, 9, NOW - 2, 4, is_finished=True),
            began(4, 3.5, 3.2, 3, 2),
            NOW + 1.03,
            id="the end waits for the window",
        ),
        pytest.param(
            Writing(20, 20, NOW - 0.1, 4, is_finished=True),
            (),
            -inf,
            id="the last call is due without new text",
        ),
        pytest.param(
            Writing(20, 20, NOW - 0.1, 4, is_changed=True),
            (),
            NOW + 0.9,
            id="another part keeps the rhythm",
        ),
        pytest.param(
            Writing(0, 0, NOW, is_changed=True), (), NOW + 1.7, id="a load bar a slower one"
        ),
        pytest.param(
            Writing(1, 0, NOW - 0.1, is_urgent=True),
            began(0.1),
            -inf,
            id="the first words after a load bar do not",
        ),
        pytest.param(
            Writing(1),
            began(4, 3, 2, 1, 0),
            NOW + 1.03,
            id="not even a first call breaks the limit",
        ),
    ],
)
def test_the_next_call_is_now_later_or_never(
    writing: Writing, starts: tuple[float, ...], at: float
) -> None:
    assert pacer_of(CHANNEL, *starts).ask(NOW, "reply", writing) == pytest.approx(at)


def test_an_interactions_first_edits_are_two_and_a_half_times_as_fast_and_then_no_faster() -> None:
    for edits, after in ((0, 0.16), (3, 0.4), (4, 1.0), (99, 1.0)):
        young = Writing(20, 9, NOW, edits)
        assert pacer_of(INTERACTION).ask(NOW, "reply", young) == pytest.approx(NOW + after)
    pacer = pacer_of(INTERACTION, *began(1.9, 1.5, 1.2, 1.0, 0.5))
    last = Writing(20, 9, NOW - 0.5, 9, is_finished=True)
    assert pacer.ask(NOW, "reply", last) == pytest.approx(NOW + 0.13)


def test_a_load_bar_moves_no_faster_by_an_interactions_token() -> None:
    bar = Writing(0, 0, NOW, is_changed=True)
    assert pacer_of(INTERACTION).ask(NOW, "reply", bar) == pytest.approx(NOW + STATUS_EVERY_S)


def test_load_bars_in_one_channel_share_what_one_alone_would_take() -> None:
    pacer, bar = Pacer(), Writing(0, 0, NOW - 9, is_changed=True)
    assert pacer.ask(NOW, "first", bar) <= NOW
    pacer.began(NOW, "first")
    assert pacer.ask(NOW, "second", bar) == pytest.approx(NOW + STATUS_EVERY_S)
    assert pacer.ask(NOW, "third", bar) == pytest.approx(NOW + 2 * STATUS_EVERY_S)
    assert pacer.ask(NOW, "answer", Writing(9, 0, NOW - 9, 9)) <= NOW


def test_a_limit_of_one_call_has_no_place_to_keep() -> None:
    assert pacer_of(Limit(1, 0.25)).ask(NOW, "reply", Writing(20, 9, NOW - 1, 9)) <= NOW
    pacer = pacer_of(Limit(1, 0.25), *began(1))
    assert pacer.ask(NOW, "reply", Writing(20, 9, NOW - 1, 9)) <= NOW


def test_of_a_limit_of_two_calls_the_second_place_is_kept_for_an_end() -> None:
    pacer, last = pacer_of(Limit(2, 4.0), *began(1)), Writing(20, 9, NOW - 3, 9, is_finished=True)
    assert pacer.ask(NOW, "reply", replace(last, is_finished=False)) == pytest.approx(NOW + 1.03)
    assert pacer.ask(NOW, "reply", last) <= NOW


def test_replies_that_share_a_channel_take_turns_the_earliest_due_first() -> None:
    pacer = Pacer()
    older, newer = Writing(90, 9, NOW - 3, 9), Writing(90, 9, NOW - 2, 9)
    pacer.began(NOW - 2, "reply")
    assert pacer.ask(NOW - 1.5, "newer", newer) == NOW - 1
    assert pacer.ask(NOW - 1.5, "older", older) == NOW - 1
    assert pacer.ask(NOW, "newer", newer) == NOW + 1
    assert pacer.ask(NOW, "older", older) <= NOW
    pacer.began(NOW, "reply")
    assert pacer.ask(NOW, "newer", newer) == NOW + 1
    pacer.left("older")
    assert pacer.ask(NOW, "newer", newer) <= NOW


def test_the_end_of_a_reply_goes_before_what_was_due_earlier() -> None:
    pacer = pacer_of(CHANNEL, *began(5, 4, 3, 2, 1))
    waiting = Writing(90, 9, NOW - 4, 9)
    ended = Writing(90, 9, NOW - 1, 9, is_finished=True)
    assert pacer.ask(NOW, "older", waiting) > NOW
    assert pacer.ask(NOW, "ended", ended) > NOW
    assert pacer.ask(NOW + 0.03, "older", waiting) > NOW + 0.03
    assert pacer.ask(NOW + 0.03, "ended", ended) <= NOW + 0.03


def test_first_calls_go_in_the_order_they_were_asked_for() -> None:
    pacer = Pacer()
    for second in range(5):
        pacer.began(NOW + second, "reply")
    assert pacer.ask(NOW + 4, "first", Writing(1)) > NOW + 4
    assert pacer.ask(NOW + 4, "second", Writing(1)) > NOW + 4
    assert pacer.ask(NOW + 5.03, "second", Writing(1)) > NOW + 5.03
    assert pacer.ask(NOW + 5.03, "first", Writing(1)) <= NOW + 5.03


def test_what_somebody_is_reading_goes_on_before_anything_new_begins() -> None:
    pacer = pacer_of(CREATION, *began(4, 3, 2, 1, 0))
    opens = [NOW + number + CREATION.margin_s for number in (1, 2, 3)]
    assert [pacer.ask(NOW, name, Writing(1)) for name in ("first", "second")] == opens[:2]
    read = Writing(2100, 1950, NOW - 1, 9, is_urgent=True, goes_on=True)
    assert pacer.ask(NOW, "read", read) == opens[0]
    assert [pacer.ask(NOW, name, Writing(1)) for name in ("first", "second")] == opens[1:]


@pytest.mark.parametrize("writing", [Writing(9, 9, NOW - 9, 9), Writing(0, 0, NOW)])
def test_a_reply_with_nothing_new_any_more_stands_in_nobodys_way(writing: Writing) -> None:
    pacer = pacer_of(CHANNEL, *began(5, 4, 3, 2, 1))
    assert pacer.ask(NOW, "earlier", Writing(9, 0, NOW - 9, 9)) > NOW
    assert pacer.ask(NOW, "earlier", writing) == inf
    assert pacer.ask(NOW + 0.03, "reply", Writing(9, 0, NOW - 8, 9)) <= NOW + 0.03


def test_a_reply_that_may_write_but_does_not_stands_in_nobodys_way() -> None:
    pacer = pacer_of(CHANNEL, *began(3, 2))
    assert pacer.ask(NOW, "status", Writing(0, is_changed=True)) <= NOW
    assert pacer.ask(NOW, "reply", Writing(9, 0, NOW - 8, 9)) <= NOW


def test_a_reply_waits_in_the_line_of_the_first_limit_that_has_no_place_and_in_no_other() -> None:
    full, free, beyond = pacer_of(CHANNEL, *began(5, 4, 3, 2, 1)), Pacer(), Pacer()
    older, newer = Writing(9, 0, NOW - 9, 9), Writing(9, 0, NOW - 1.2, 9)
    beyond.began(NOW - 2, "older")
    assert beyond.ask(NOW - 1.9, "older", Writing(9, 0, NOW - 2, 9)) == NOW - 1
    assert ask_all([free, full, beyond], NOW, "older", older) == pytest.approx(NOW + 0.03)
    assert ask_all([free, beyond], NOW, "newer", newer) <= NOW
    assert ask_all([full], NOW + 0.03, "newer", newer) > NOW + 0.03


def test_the_next_limit_is_asked_where_the_first_opens_this_very_moment() -> None:
    full, due_now = pacer_of(CHANNEL, *began(5, 4, 3, 2, 1)), Writing(20, 9, NOW - 1, 9)
    assert ask_all([Pacer()], NOW, "reply", due_now) == NOW
    assert ask_all([Pacer(), full], NOW, "reply", due_now) == pytest.approx(NOW + 0.03)


def test_who_may_write_this_very_moment_leaves_the_line() -> None:
    pacer, due_now = Pacer(), Writing(20, 9, NOW - 1, 9)
    assert pacer.ask(NOW, "first", due_now) == NOW
    assert pacer.ask(NOW, "second", due_now) == NOW


def test_who_leaves_while_waiting_leaves_the_line_too() -> None:
    pacer = pacer_of(CHANNEL, *began(5, 4, 3, 2, 1))
    assert pacer.ask(NOW, "gone", Writing(9, 0, NOW - 9, 9)) > NOW
    pacer.left("gone")
    assert pacer.ask(NOW + 0.03, "reply", Writing(9, 0, NOW - 8, 9)) <= NOW + 0.03


def test_a_call_of_nobodys_reply_holds_no_load_bar_up() -> None:
    pacer = Pacer()
    pacer.began(NOW, "typing")
    assert pacer.ask(NOW, "bar", Writing(0, 0, NOW - 9, is_changed=True)) <= NOW


def test_load_bars_of_many_channels_hardly_wait_for_each_other() -> None:
    everywhere, bar = Pacers().everywhere, Writing(0, 0, NOW - 9, is_changed=True)
    assert everywhere.ask(NOW, "first", bar) <= NOW
    everywhere.began(NOW, "first")
    at = NOW + STATUS_EVERY_S * EVERYWHERE.rhythm_s
    assert everywhere.ask(NOW, "second", bar) == pytest.approx(at)


def test_all_channels_together_keep_their_own_limit() -> None:
    everywhere = Pacers().everywhere
    for _ in range(EVERYWHERE.calls):
        assert everywhere.ask(NOW, "reply", Writing(1)) <= NOW
        everywhere.began(NOW, "reply")
    assert everywhere.ask(NOW, "reply", Writing(1)) == pytest.approx(NOW + 1.03)


@pytest.mark.parametrize(("waiting", "after"), [(55, 0.16), (56, 0.08)])
def test_an_interaction_takes_fewer_characters_for_much_text(waiting: int, after: float) -> None:
    at = pacer_of(INTERACTION).ask(NOW, "reply", Writing(9 + waiting, 9, NOW))
    assert at == pytest.approx(NOW + after)


@pytest.mark.parametrize(
    ("limit", "edits", "characters"),
    [(CHANNEL, 0, 149), (CHANNEL, 3, 329), (CHANNEL, 4, inf), (INTERACTION, 0, 65)],
)
def test_with_so_many_characters_a_young_reply_is_due_early(
    limit: Limit, edits: int, characters: float
) -> None:
    pacer, writing = pacer_of(limit), Writing(9, 9, NOW, edits)
    assert pacer.due_early_at(writing) == characters
    if characters < inf:
        early = replace(writing, ready=int(characters))
        late = replace(writing, ready=int(characters) - 1)
        assert pacer.ask(NOW, "reply", early) < pacer.ask(NOW, "reply", late)


def test_a_pacer_keeps_no_more_calls_than_its_limit_looks_at() -> None:
    short, long = Pacer(), Pacer()
    for second in range(CHANNEL.calls):
        short.began(NOW + second, "reply")
    for second in range(99 * CHANNEL.calls):
        long.began(NOW + second, "reply")
    assert len(pickle.dumps(long)) == len(pickle.dumps(short))


def test_the_256th_channel_is_the_last_to_be_kept_beside_quiet_ones() -> None:
    pacers = Pacers()
    first = pacers.of_channel(0, NOW)
    for channel in range(1, 256):
        pacers.of_channel(channel, NOW)
    assert pacers.of_channel(0, NOW) is not first


def test_a_pacer_is_quiet_when_nobody_writes_and_its_calls_no_longer_count() -> None:
    pacer = Pacer()
    assert pacer.is_quiet(NOW)
    pacer.ask(NOW, "reply", Writing(1))
    assert not pacer.is_quiet(NOW)
    pacer.began(NOW, "reply")
    pacer.left("reply")
    pacer.left("reply")
    assert not pacer.is_quiet(NOW + 5.02)
    assert pacer.is_quiet(NOW + 5.03)


def test_a_channel_is_forgotten_only_once_it_is_quiet() -> None:
    pacers = Pacers()
    live, spent = pacers.of_channel(-1, NOW), pacers.of_channel(-2, NOW)
    live.ask(NOW, "reply", Writing(1))
    spent.began(NOW, "reply")
    for channel in range(300):
        pacers.of_channel(channel, NOW)
    assert pacers.of_channel(-1, NOW) is live
    assert pacers.of_channel(-2, NOW) is spent
    for channel in range(300, 600):
        pacers.of_channel(channel, NOW + 9)
    assert pacers.of_channel(-1, NOW) is live
    assert pacers.of_channel(-2, NOW) is not spent


def test_a_reply_that_left_slows_the_others_no_more() -> None:
    pacer = pacer_of(CHANNEL, *began(0.1))
    young = Writing(20, 9, NOW - 0.3)
    pacer.ask(NOW, "other", Writing(1, 1, NOW))
    assert pacer.ask(NOW, "reply", young) == pytest.approx(NOW + 0.9)
    pacer.left("other")
    assert pacer.ask(NOW, "reply", young) == pytest.approx(NOW + 0.1)


def test_one_that_shows_a_status_does_not_slow_a_young_answer() -> None:
    pacer = pacer_of(CHANNEL, *began(0.1))
    pacer.ask(NOW, "other", Writing(0, 0, NOW, is_changed=True))
    assert pacer.ask(NOW, "reply", Writing(20, 9, NOW - 0.3)) == pytest.approx(NOW + 0.1)


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


def write(name: str, script: Script, pacer: Pacer, played: Played) -> Iterator[float]:
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
        at = pacer.ask(now, name, Writing(ready, shown, last_start, edits, is_finished))
        coming = min((at for at, _ in times if at > now), default=inf)
        if at <= now:
            pacer.began(now, name)
            played.starts.append(now)
            if last_start is None:
                played.first_waits.append(now - times[0][0])
            shown, last_start, edits = ready, now, edits + (last_start is not None)
            if is_finished:
                break
            now += script.call_s
        else:
            now = min(coming, at)
    pacer.left(name)
    played.shown[name] = shown


def play(scripts: list[Script], limit: Limit) -> Played:
    pacer, played = Pacer(limit), Played()
    writers = [write(str(place), script, pacer, played) for place, script in enumerate(scripts)]
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
