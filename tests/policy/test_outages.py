import math
from dataclasses import replace

import pytest

from bot.domain.chat import Receipt, Rejection, Route
from bot.domain.cloud import ProviderNews
from bot.domain.errors import FailureKind
from bot.domain.ids import HostName, ModelKey, PersonaName, ProviderName
from bot.policy.outages import (
    EARLY_S,
    PASSING_S,
    SETTLED_S,
    OutageRecord,
    after_telling,
    due_at,
    heard,
    passed_over,
)
from bot.policy.routing import NOT_MEANT

M = ModelKey("m")
ZAI = ProviderName("zai")
NOBODY = Receipt(PersonaName("sage"))
OUT = Rejection("zai", M, "wrong key")
FAILED = Rejection("zai", M, "broke", FailureKind.SERVER)


def receipt(
    *, rejected: tuple[Rejection, ...] = (), attempts: tuple[Rejection, ...] = (), by: str = ""
) -> Receipt:
    found = replace(NOBODY, route=Route(rejected=rejected), attempts=attempts)
    if by == "studio":
        return replace(found, host=HostName(by))
    return replace(found, provider=ProviderName(by) if by else None)


@pytest.mark.parametrize(
    ("said", "missed"),
    [
        (receipt(), set[str]()),
        (receipt(rejected=(OUT,), by="openai"), {"zai"}),
        (receipt(rejected=(OUT,)), {"zai"}),
        # Nobody missed it: a host answers before any provider.
        (receipt(rejected=(OUT,), by="studio"), set[str]()),
        (receipt(attempts=(FAILED,), by="studio"), {"zai"}),
        (receipt(rejected=(replace(OUT, where="openai"),), attempts=(FAILED,)), {"zai", "openai"}),
        # Asked twice, and the second time it did answer.
        (receipt(attempts=(FAILED,), by="zai"), set[str]()),
        *((receipt(rejected=(Rejection("zai", M, why),)), set[str]()) for why in NOT_MEANT),
    ],
)
def test_a_question_goes_elsewhere_where_a_provider_was_missed(
    said: Receipt, missed: set[str]
) -> None:
    assert passed_over(said) == missed


def out(kind: FailureKind = FailureKind.SERVER) -> ProviderNews:
    return ProviderNews("out", ZAI, kind, f"It said {kind}.")


def after(*events: tuple[float, ProviderNews]) -> OutageRecord:
    """The record after news, each at its time."""
    record: OutageRecord | None = None
    for now, news in events:
        record = heard(record, news, now)
    assert record is not None
    return record


BACK, PASSED = ProviderNews("back", ZAI), ProviderNews("passed", ZAI)
AUTH = FailureKind.AUTH


@pytest.mark.parametrize(
    ("events", "due"),
    [
        ([(5.0, out())], 5.0 + PASSING_S),
        ([(5.0, out(AUTH))], 5.0),
        ([(5.0, out()), (9.0, BACK)], 9.0 + SETTLED_S),
        ([(5.0, out(AUTH)), (9.0, BACK)], 9.0),
        # Flapping: the first time out counts for whether it lasts.
        ([(5.0, out()), (9.0, BACK), (11.0, out())], 5.0 + PASSING_S),
        ([(5.0, out()), (9.0, out(AUTH))], 5.0),
    ],
)
def test_what_may_pass_is_told_when_it_lasts_or_is_over(
    events: list[tuple[float, ProviderNews]], due: float
) -> None:
    assert due_at(after(*events)) == due


def test_an_outage_keeps_how_often_how_long_and_for_how_many() -> None:
    record = after(
        (5.0, out()), (6.0, PASSED), (9.0, BACK), (11.0, out()), (12.0, out()), (13.0, PASSED)
    )
    assert (record.began, record.out_at, record.times) == (5.0, 11.0, 2)
    assert (record.elsewhere, record.back_at) == (2, None)


@pytest.mark.parametrize("news", [BACK, PASSED, ProviderNews("trouble", ZAI)])
def test_of_who_is_not_out_there_is_nothing_to_tell(news: ProviderNews) -> None:
    assert heard(None, news, 1.0) is None
    record = after((0.0, out()))
    assert heard(record, ProviderNews("trouble", ZAI), 1.0) == record


def test_once_it_is_told_only_its_end_or_a_worse_reason_is() -> None:
    record = after((0.0, out()))
    known = after_telling(record, record)
    assert known is not None
    assert due_at(known) == math.inf
    again = heard(known, out(FailureKind.TIMEOUT), 70.0)
    worse = heard(known, out(AUTH), 70.0)
    assert again is not None
    assert worse is not None
    assert due_at(again) == math.inf
    assert (due_at(worse), worse.reason) == (0.0, f"It said {AUTH}.")
    refused = after_telling(worse, worse)
    assert refused is not None
    assert heard(refused, out(AUTH), 80.0) == refused


def test_what_happens_while_it_is_told_is_not_taken_for_told() -> None:
    record = after((0.0, out()))
    # A key refused meanwhile: that reason was not in the words.
    worse = heard(record, out(AUTH), 61.0)
    assert worse is not None
    left = after_telling(worse, record)
    assert left is not None
    assert not left.is_told
    # Over, and out again meanwhile: another outage, from its own beginning.
    over = replace(after((0.0, out()), (3.0, PASSED), (5.0, BACK)), is_told=True)
    assert after_telling(over, over) is None
    flapped = heard(heard(over, out(), 66.0), PASSED, 67.0)
    assert flapped is not None
    assert after_telling(flapped, over) == replace(
        flapped, began=66.0, elsewhere=1, times=1, is_told=False
    )


def test_the_failures_that_put_it_out_are_counted_with_it_and_older_ones_are_not() -> None:
    passed = (99.9, 100.0, 130.0, 159.0)
    record = heard(None, out(), 100.0 + EARLY_S, passed)
    assert record is not None
    assert record.elsewhere == 3
    again = heard(record, out(), 161.0, passed)
    assert again is not None
    assert again.elsewhere == 3
