"""An evening under each policy: everybody is answered, and the same way each time."""

import logging
from collections.abc import Generator
from dataclasses import replace
from functools import cache

import pytest
import structlog

from bench.__main__ import BENCHMARKS
from bench.fleet.clock import play
from bench.fleet.figures import EveningFigures, figures, mean_of
from bench.fleet.people import PATIENCE_S, Evening, PlayedQuestion, spend
from bench.fleet.table import POLICIES, TRACES, kinds, lines, parts, section
from bench.fleet.trace import SwitchedOff, Trace, make
from bench.table import markdown, renewed, told

BRIEF = 25
"""Conversations of the evenings played here."""


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Generator[None]:
    kept = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**kept)


def brief(**changes: object) -> Trace:
    trace = make("small", "heavy")
    return replace(trace, **{"chats": trace.chats[:BRIEF], "outages": (), **changes})


def evening(policy: str, trace: Trace) -> Evening:
    return play(spend(trace, POLICIES[policy][1]))


@cache
def usual_evening(policy: str) -> Evening:
    """The brief one, for all who only look at it: Lantern's takes most of a second."""
    return evening(policy, brief())


@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES)
def test_everybody_is_answered(policy: str) -> None:
    played = usual_evening(policy)
    asked = sum(len(chat.asked) for chat in played.trace.chats)
    if policy not in ("jit", "least"):
        # Just in time an answer may be cut by the next load, and be followed by nothing.
        assert all(question.done_at is not None for question in played.questions)
        found = figures(played)
        assert (found.questions, found.cut, found.refused) == (asked, 0, 0)
    for question in played.questions:
        assert question.waited_s <= PATIENCE_S


def test_lantern_predicts_and_uses_what_a_slot_still_holds() -> None:
    played = usual_evening("lantern")
    assert all(question.predicted_s is not None for question in played.questions)
    follow_ups = [q for q in played.questions if q.place]
    short = [q for q in follow_ups if q.read < q.asked.prompt / 2]
    # In a burst more conversations go on at once than there are slots.
    assert len(short) > len(follow_ups) / 4


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["lantern", "herd", "clairvoyant"])
def test_the_same_evening_is_the_same_each_time(policy: str) -> None:
    assert figures(evening(policy, brief())) == figures(usual_evening(policy))


@pytest.mark.slow
def test_an_outage_is_outlived_by_lantern() -> None:
    trace = brief()
    gone = tuple(
        SwitchedOff(host.name, chat.starts_at + 20.0, 45.0)
        for host, chat in zip(trace.hosts, trace.chats[10::12], strict=False)
    )
    played = evening("lantern", brief(outages=gone))
    assert all(question.spoke_at is not None for question in played.questions)
    assert figures(played).cut == 0


def test_a_question_nobody_may_answer_is_given_up_and_counted_so_long() -> None:
    trace = brief()
    away = tuple(SwitchedOff(host.name, 0.0, 900.0) for host in trace.hosts)
    chats = tuple(replace(c, asked=c.asked[:1]) for c in trace.chats[:3])
    played = evening("lantern", brief(outages=away, chats=chats))
    assert [question.has_left for question in played.questions] == [True] * 3
    found = figures(played)
    assert (found.p50, found.starved, found.refused) == (PATIENCE_S, 3, 0)


def test_a_prediction_holds_within_a_factor_of_two_and_a_second() -> None:
    chat = brief().chats[0]

    def question(predicted_s: float, waited_s: float) -> PlayedQuestion:
        return PlayedQuestion(
            0, chat, 0, chat.asked[0], 0.0, spoke_at=waited_s, predicted_s=predicted_s
        )

    holds = [(1.0, 3.0), (3.0, 1.0), (0.0, 1.0), (1.0, 0.0)]
    misses = [(1.0, 3.01), (3.01, 1.0), (0.0, 1.01), (1.01, 0.0)]
    played = Evening(brief(), {}, [question(*pair) for pair in holds])
    assert figures(played).predicted == 1.0
    assert figures(Evening(brief(), {}, [question(*pair) for pair in misses])).predicted == 0.0


def row(mean: float, **changes: float) -> EveningFigures:
    plain = EveningFigures(10, 0.5, 2.0, 3.0, mean, 4, 0, 0, 0, None)
    return replace(plain, **changes)


def test_the_table_tells_means_and_how_far_they_are_from_the_clairvoyant() -> None:
    results = {
        ("a", "lantern"): row(2.0, predicted=0.9), ("a", "clairvoyant"): row(1.0),
        ("b", "lantern"): row(4.0, predicted=0.7), ("b", "clairvoyant"): row(1.0),
    }  # fmt: skip
    _, _, ours, best = lines(results, ["a", "b"], ["lantern", "clairvoyant"])
    assert [cell.strip() for cell in ours.split("|")[2:6]] == ["0.50", "2.00", "3.00", "3.00"]
    assert [cell.strip() for cell in ours.split("|")[-3:-1]] == ["3.00", "80%"]
    assert [cell.strip() for cell in best.split("|")[-3:-1]] == ["1.00", ""]
    assert mean_of([row(2.0), row(4.0, predicted=0.5)]).predicted is None


def test_each_trace_is_told_with_mean_and_p95_under_each_policy() -> None:
    results = {(t, p): row(n + 1.0) for n, t in enumerate("ab") for p in ("swap", "lantern")}
    told_lines = kinds(results, ["a", "b"], ["swap", "lantern"])
    assert [line.split() for line in told_lines[2:]] == [
        ["|", trace, "|", mean, "/", "2", "|", mean, "/", "2", "|"]
        for trace, mean in (("a", "1.0"), ("b", "2.0"))
    ]


def test_the_figures_to_reach_hold_at_their_bound_and_not_above() -> None:
    def standing(mean: float) -> list[bool | None]:
        results = {(trace, policy): row(1.0, p95=1.0) for trace in TRACES for policy in POLICIES}
        results |= {(trace, "lantern"): row(mean, p95=1.0) for trace in TRACES}
        return [r.holds for r in section(results)[1] if ": mean / the better" in r.what]

    assert standing(1.2) == [True] * 9
    assert standing(1.21).count(False) == 6
    assert standing(1.51).count(False) == 9


@pytest.mark.parametrize("name", ["tiny-busy-1", "small-idle-1", "small-busy", "small-busy-x"])
def test_an_unknown_trace_is_told_with_what_there_is(name: str) -> None:
    with pytest.raises(ValueError, match="small-light-1"):
        parts(name)


def test_a_part_of_the_results_is_renewed_in_its_place() -> None:
    old = [(title, [told("what", 1.0, "s")]) for title in ("One", "Two", "Three")]
    new = [(title, [told("what", 2.0, "s")]) for title in ("One", "Two", "Three")]
    for number in range(3):
        expected = [*old[:number], new[number], *old[number + 1 :]]
        assert renewed(markdown(old), new[number]) == markdown(expected)
    assert renewed(markdown(old[:2]), old[2]) == markdown(old)


def test_the_whole_bench_plays_the_fleet_too() -> None:
    assert "fleet.table" in BENCHMARKS
