import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_builders import EMBED, GB, GEMMA, QWEN, instance, model

from bot.domain.personas import LoadSettings
from bot.policy.memory import (
    DEFAULT_CONTEXT,
    estimate_bytes,
    fit_load,
    instance_bytes,
    with_sizes,
)


def _estimate(gb: float, load: LoadSettings | None = None) -> int:
    estimate = estimate_bytes(model(QWEN, gb), load or LoadSettings())
    assert estimate is not None
    return estimate


def test_an_8b_model_takes_its_weights_and_half_a_gigabyte_of_context() -> None:
    assert 5.2 * GB < _estimate(4.9) < 6.0 * GB


def test_a_longer_context_takes_more() -> None:
    long = LoadSettings(context_length=32_768)
    assert _estimate(5, long) - _estimate(5) > 2 * GB


@pytest.mark.parametrize("quant", ["q8_0", "q4_0", "iq4_nl"])
def test_quantised_keys_and_values_take_less(quant: str) -> None:
    full = LoadSettings(context_length=32_768)
    small = LoadSettings(context_length=32_768, kv_cache_quant=quant)
    assert _estimate(5, small) < _estimate(5, full)


def test_the_default_context_never_exceeds_what_the_model_has() -> None:
    tiny = model(QWEN, 5, context=512)
    assert estimate_bytes(tiny, LoadSettings()) == estimate_bytes(
        tiny, LoadSettings(context_length=512)
    )


def test_an_embedding_model_has_no_context_to_keep() -> None:
    assert estimate_bytes(model(EMBED, 1, kind="embedding"), LoadSettings()) == round(1.05 * GB)


def test_an_unknown_size_is_no_estimate() -> None:
    assert estimate_bytes(model(QWEN, None), LoadSettings()) is None
    assert instance_bytes(instance(gb=None)) == 0


def test_a_loaded_copy_is_estimated_like_its_load() -> None:
    load = LoadSettings(context_length=8192)
    assert instance_bytes(instance(gb=5, context=8192)) == estimate_bytes(model(QWEN, 5), load)
    assert instance_bytes(instance(gb=5, context=None)) == _estimate(5)


def test_sizes_the_host_did_not_tell_come_from_its_disk() -> None:
    known, unknown, foreign = instance(gb=7), instance(gb=None), instance(GEMMA, gb=None)
    models = {QWEN: model(QWEN, 5)}
    assert with_sizes((known, unknown, foreign), models) == (known, instance(gb=5), foreign)


@pytest.mark.parametrize(
    ("asked", "needed", "ceiling", "given"),
    [
        (None, 0, 32_768, None),
        (None, DEFAULT_CONTEXT, 32_768, None),
        (None, 5000, 32_768, 8192),
        (None, 20_000, 24_000, 24_000),
        (None, 30_000, 24_000, 30_000),
        (None, 5000, None, 8192),
        (16_384, 9000, 32_768, 16_384),
        (2048, 3000, 32_768, 4096),
    ],
)
def test_a_load_gets_the_context_the_transcript_needs(
    asked: int | None, needed: int, ceiling: int | None, given: int | None
) -> None:
    load = fit_load(LoadSettings(context_length=asked), model(QWEN, context=ceiling), needed)
    assert load.context_length == given


def test_a_model_nobody_described_may_still_get_a_larger_context() -> None:
    assert fit_load(LoadSettings(), None, 5000).context_length == 8192


@given(st.none() | st.integers(1, 200_000), st.integers(0, 200_000))
def test_the_context_given_always_holds_what_is_needed(asked: int | None, needed: int) -> None:
    load = fit_load(LoadSettings(context_length=asked, gpu="max"), model(QWEN), needed)
    assert (load.context_length or DEFAULT_CONTEXT) >= needed
    assert load.gpu == "max"
