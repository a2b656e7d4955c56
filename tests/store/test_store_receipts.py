import json
import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.chat import (
    Attempt,
    Candidate,
    FinishReason,
    Receipt,
    Rejection,
    Route,
    Timing,
    Usage,
)
from bot.domain.errors import FailureKind
from bot.domain.ids import PersonaName
from bot.store.receipts import decode_receipt, encode_receipt

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
attempts = st.builds(Attempt, words, words, st.sampled_from(FailureKind), words)
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
    assert decode_receipt(encode_receipt(receipt)) == receipt


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(FIELDS), anything))
def test_no_json_object_is_unreadable(data: dict[str, object]) -> None:
    assert isinstance(decode_receipt(json.dumps(data)), Receipt)


def test_a_receipt_of_an_older_lantern_gets_the_defaults_of_what_it_lacks() -> None:
    assert decode_receipt('{"persona": "sage", "finish": "stop"}') == Receipt(PersonaName("sage"))


def test_what_a_newer_lantern_added_is_ignored() -> None:
    receipt = Receipt(PersonaName("sage"), usage=Usage(prompt_tokens=3))
    data = json.loads(encode_receipt(receipt))
    data["mood"] = {"colour": "blue"}
    data["usage"]["dreamt_tokens"] = 7

    assert decode_receipt(json.dumps(data)) == receipt


def test_words_of_a_newer_lantern_get_the_nearest_known_meaning() -> None:
    stored = '{"finish": "bored", "attempts": [{"where": "studio-1", "kind": "on fire"}]}'

    receipt = decode_receipt(stored)

    assert receipt.finish == "error"
    assert receipt.attempts[0].kind is FailureKind.SERVER


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_numbers_json_cannot_hold_become_unknown(value: float) -> None:
    receipt = Receipt(PersonaName("sage"), timing=Timing(queue_s=value, first_token_s=value))

    assert decode_receipt(encode_receipt(receipt)).timing == Timing()
