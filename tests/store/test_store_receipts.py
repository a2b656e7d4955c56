import json
import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.chat import (
    Candidate,
    FinishReason,
    Receipt,
    Rejection,
    Route,
    Seam,
    Timed,
    Timing,
    Usage,
)
from bot.domain.errors import FailureKind
from bot.domain.ids import HostName, ModelKey, PersonaName, ProviderName
from bot.store.rows import receipt_json, receipt_of

numbers = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(min_value=0, max_value=2**63)
words = st.text(st.characters(codec="utf-8"), max_size=20)
maybe_words = st.none() | words

usages = st.builds(Usage, counts, counts, counts, counts, st.booleans())
timings = st.builds(Timing, numbers, numbers, st.none() | numbers, numbers, numbers)
candidates = st.builds(
    Candidate,
    model=words,
    host=maybe_words,
    provider=maybe_words,
    seconds=st.none() | numbers,
    cost_micro_usd=st.none() | counts,
    likely_micro_usd=st.none() | counts,
    reason=words,
)
routes = st.builds(
    Route,
    st.lists(candidates, max_size=3).map(tuple),
    st.lists(st.builds(Rejection, words, words, words), max_size=3).map(tuple),
    words,
)
attempts = st.builds(Rejection, words, words, words, st.sampled_from(FailureKind))
seams = st.builds(Seam, words, words, counts, st.none() | numbers)
receipts = st.builds(
    Receipt,
    persona=words,
    model=maybe_words,
    host=maybe_words,
    provider=maybe_words,
    usage=usages,
    timing=timings,
    finish=st.sampled_from(get_args(FinishReason)),
    cost_micro_usd=counts,
    route=routes,
    attempts=st.lists(attempts, max_size=3).map(tuple),
    choice_reason=words,
    notices=st.lists(words, max_size=3).map(tuple),
    from_cache=st.booleans(),
    seams=st.lists(seams, max_size=2).map(tuple),
    timed_parts=st.none() | st.builds(Timed, counts, numbers),
)
FIELDS = [*Receipt.__dataclass_fields__, *Candidate.__dataclass_fields__, "candidates", "rejected"]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.mark.slow
@given(receipts)
def test_a_receipt_comes_back_as_it_was(receipt: Receipt) -> None:
    assert receipt_of(receipt_json(receipt)) == receipt


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(FIELDS), anything))
def test_no_json_object_is_unreadable(data: dict[str, object]) -> None:
    assert isinstance(receipt_of(json.dumps(data)), Receipt)


QWEN = ModelKey("qwen/qwen3-8b")
GLM = ModelKey("glm-4.6")
STUDIO = HostName("studio-1")
OLD_STORED = (
    '{"persona":"sage","model":"qwen/qwen3-8b","host":"studio-1","provider":null,'
    '"usage":{"prompt_tokens":1200,"completion_tokens":80,"cached_tokens":700,'
    '"reasoning_tokens":12,"estimated":true},"timing":{"queue_s":0.5,"load_s":12.25,'
    '"first_token_s":1.5,"generation_s":4.0,"total_s":18.25},"finish":"length",'
    '"cost_micro_usd":412,"route":{"candidates":[{"model":"qwen/qwen3-8b","host":"studio-1",'
    '"provider":null,"seconds":13.5,"cost_micro_usd":0,"likely_micro_usd":null,'
    '"reason":"cold, 12 s"},{"model":"glm-4.6","host":null,"provider":"zai","seconds":null,'
    '"cost_micro_usd":412,"likely_micro_usd":170,"reason":""}],"rejected":[{"where":"studio-2",'
    '"model":"qwen/qwen3-8b","reason":"drained"}],"reason":"prefer_local"},"attempts":[{"where":'
    '"studio-2","model":"qwen/qwen3-8b","kind":"cut","reason":"It broke off \\ud83d."}],'
    '"choice_reason":"persona chosen here","notices":["An image was left out."],'
    '"from_cache":true}'
)
"""Word for word as Lantern stored a receipt before November 2026: every field, defaults too."""
OLD_RECEIPT = Receipt(
    PersonaName("sage"),
    model=QWEN,
    host=STUDIO,
    usage=Usage(1200, 80, cached_tokens=700, reasoning_tokens=12, estimated=True),
    timing=Timing(0.5, 12.25, 1.5, 4.0, 18.25),
    finish="length",
    cost_micro_usd=412,
    route=Route(
        candidates=(
            Candidate(QWEN, host=STUDIO, seconds=13.5, cost_micro_usd=0, reason="cold, 12 s"),
            Candidate(GLM, provider=ProviderName("zai"), cost_micro_usd=412, likely_micro_usd=170),
        ),
        rejected=(Rejection("studio-2", QWEN, "drained"),),
        reason="prefer_local",
    ),
    attempts=(Rejection("studio-2", QWEN, "It broke off \ud83d.", FailureKind.CUT),),
    choice_reason="persona chosen here",
    notices=("An image was left out.",),
    from_cache=True,
)
OLD_EMPTY = (
    '{"persona":"sage","model":null,"host":null,"provider":null,"usage":{"prompt_tokens":0,'
    '"completion_tokens":0,"cached_tokens":0,"reasoning_tokens":0,"estimated":false},"timing":'
    '{"queue_s":0.0,"load_s":0.0,"first_token_s":null,"generation_s":0.0,"total_s":0.0},'
    '"finish":"error","cost_micro_usd":0,"route":{"candidates":[],"rejected":[],"reason":""},'
    '"attempts":[],"choice_reason":"","notices":["Stopped."],"from_cache":false}'
)


@pytest.mark.parametrize(
    ("stored", "receipt"),
    [
        (OLD_STORED, OLD_RECEIPT),
        (OLD_EMPTY, Receipt(PersonaName("sage"), finish="error", notices=("Stopped.",))),
    ],
)
def test_a_receipt_stored_long_ago_is_read_and_stored_shorter(
    stored: str, receipt: Receipt
) -> None:
    assert receipt_of(stored) == receipt
    assert receipt_of(receipt_json(receipt)) == receipt
    assert len(receipt_json(receipt)) < len(stored)


def test_how_a_turn_ended_is_always_written_for_a_lantern_gone_back_to() -> None:
    shortest = receipt_json(Receipt(PersonaName("sage")))
    assert shortest == '{"persona":"sage","finish":"stop"}'


def test_a_receipt_of_an_older_lantern_gets_the_defaults_of_what_it_lacks() -> None:
    assert receipt_of('{"persona": "sage", "finish": "stop"}') == Receipt(PersonaName("sage"))


def test_what_a_newer_lantern_added_is_ignored() -> None:
    receipt = Receipt(PersonaName("sage"), usage=Usage(prompt_tokens=3))
    data = json.loads(receipt_json(receipt))
    data["mood"] = {"colour": "blue"}
    data["usage"]["dreamt_tokens"] = 7

    assert receipt_of(json.dumps(data)) == receipt


def test_words_of_a_newer_lantern_get_the_nearest_known_meaning() -> None:
    stored = '{"finish": "bored", "attempts": [{"where": "studio-1", "kind": "on fire"}]}'

    receipt = receipt_of(stored)

    assert receipt.finish == "error"
    assert receipt.attempts == (Rejection("studio-1", ModelKey(""), "", FailureKind.SERVER),)


def test_what_is_not_of_the_type_wanted_is_left_out_and_the_rest_kept() -> None:
    stored = """{"persona": 5, "model": ["x"], "host": "studio-1", "usage": [1],
        "timing": {"queue_s": null, "load_s": 2.5, "total_s": "soon"}, "cost_micro_usd": 0.5,
        "notices": [4, "kept", null, "too"], "attempts": [7, {"where": "studio-2", "kind": "cut"}],
        "route": {"candidates": [{}, 3, {"model": "m"}], "rejected": {"where": 1}}}"""

    assert receipt_of(stored) == Receipt(
        PersonaName(""),
        host=STUDIO,
        timing=Timing(load_s=2.5),
        route=Route((Candidate(ModelKey("")), Candidate(ModelKey("m")))),
        attempts=(Rejection("studio-2", ModelKey(""), "", FailureKind.CUT),),
        notices=("kept", "too"),
    )


@pytest.mark.parametrize("stored", ["null", "5", "[]", '"words"'])
def test_json_that_is_no_object_is_a_receipt_of_nothing(stored: str) -> None:
    assert receipt_of(stored) == Receipt(PersonaName(""))


def test_half_a_character_in_a_reason_is_stored_all_the_same() -> None:
    receipt = Receipt(PersonaName("sage"), notices=("torn \ud83d",), timing=Timing(math.inf))
    assert receipt_of(receipt_json(receipt)).notices == receipt.notices


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_numbers_json_cannot_hold_become_unknown(value: float) -> None:
    receipt = Receipt(PersonaName("sage"), timing=Timing(queue_s=value, first_token_s=value))

    assert receipt_of(receipt_json(receipt)).timing == Timing()
