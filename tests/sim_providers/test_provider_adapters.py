"""Our own adapters on every simulated wire: whole answers."""

import json

import pytest
from provider_help import KEY, MODELS, WIRES, ask, endpoint_of, payload_of, post, provider

from bot.inference.streams import Inference
from bot.sim.providers.config import ReasoningField, UsageStyle, WireKind
from bot.sim.providers.faults import FaultName
from bot.sim.providers.provider import SimProvider

THINKING: dict[WireKind, str] = {
    "zai": "glm-4.6",
    "anthropic": "claude-opus-5-5",
    "generic": "z-ai/glm-4.6",
}


@pytest.mark.parametrize("wire", WIRES)
async def test_an_answer_says_that_it_is_simulated_and_counts_what_the_journal_counts(
    double: SimProvider, inference: Inference
) -> None:
    got = await ask(inference, endpoint_of(double))
    assert "simulated answer" in got.text
    assert got.end.finish == "stop"
    assert not got.end.usage.estimated
    [call] = double.journal.calls
    assert call.outcome == "finished"
    assert call.bill.prompt_tokens == got.end.usage.prompt_tokens
    assert call.bill.completion_tokens == got.end.usage.completion_tokens
    assert call.cost_micro_usd > 0


@pytest.mark.parametrize("wire", THINKING)
async def test_thinking_comes_first_and_apart(double: SimProvider, inference: Inference) -> None:
    endpoint = endpoint_of(double, THINKING[double.config.wire])
    got = await ask(inference, endpoint, "[[think 7]] [[say plain words]]")
    assert got.text == "plain words"
    assert got.reasoning.strip()
    assert double.journal.calls[0].bill.thinking_tokens == 7
    assert double.journal.calls[0].bill.completion_tokens == 9


@pytest.mark.parametrize("wire", ["openai"])
async def test_openai_hides_the_thinking_and_charges_for_it(
    double: SimProvider, inference: Inference
) -> None:
    got = await ask(inference, endpoint_of(double), "[[think 7]] [[say plain words]]")
    assert (got.text, got.reasoning) == ("plain words", "")
    assert got.end.usage.reasoning_tokens == 7
    assert double.journal.calls[0].bill.completion_tokens == 9


@pytest.mark.parametrize("wire", ["zai", "openai"])
async def test_thinking_switched_off_is_not_done(double: SimProvider, inference: Inference) -> None:
    endpoint = endpoint_of(double, thinking="off")
    got = await ask(inference, endpoint, "[[think 50]] [[say plain words]]")
    assert got.text == "plain words"
    assert got.end.usage.completion_tokens == 2


@pytest.mark.parametrize("wire", ["zai"])
async def test_a_model_that_always_thinks_thinks_unasked_and_less_when_told(
    double: SimProvider, inference: Inference
) -> None:
    whole = await ask(inference, endpoint_of(double, "glm-5.3"), "[[say a b]]")
    less = await ask(inference, endpoint_of(double, "glm-5.3", thinking="off"), "[[say a b]]")
    assert whole.end.usage.reasoning_tokens > less.end.usage.reasoning_tokens > 0


@pytest.mark.parametrize("wire", WIRES)
async def test_a_small_limit_ends_the_answer_early(
    double: SimProvider, inference: Inference
) -> None:
    got = await ask(inference, endpoint_of(double), "[[say a b c d e f]]", max_tokens=3)
    assert (got.text, got.end.finish) == ("a b c", "length")
    assert double.journal.calls[0].bill.completion_tokens == 3


@pytest.mark.parametrize("wire", ["zai", "generic"])
async def test_thinking_eats_a_small_limit_so_that_no_text_is_left(
    double: SimProvider, inference: Inference
) -> None:
    got = await ask(inference, endpoint_of(double), "[[think 5000]] hi", max_tokens=40)
    assert (got.text, got.end.finish) == ("", "length")
    assert got.end.usage.completion_tokens == got.end.usage.reasoning_tokens == 40


@pytest.mark.parametrize("wire", WIRES)
async def test_the_hash_of_the_asker_is_kept_where_the_wire_has_a_field_for_it(
    double: SimProvider, inference: Inference
) -> None:
    await ask(inference, endpoint_of(double), user_hash="0f" * 16)
    wanted = "" if double.config.wire == "generic" else "0f" * 16
    assert double.journal.calls[0].arrival.user == wanted


@pytest.mark.parametrize("wire", WIRES)
async def test_the_key_is_in_no_record(double: SimProvider, inference: Inference) -> None:
    await ask(inference, endpoint_of(double))
    line = double.journal.calls[0].as_line()
    assert KEY not in line
    assert json.loads(line)["headers"]["content-type"] == "application/json"


@pytest.mark.parametrize("usage", ["extra", "finish", "every"])
async def test_a_gateway_counts_where_it_was_told_to(
    usage: UsageStyle, inference: Inference
) -> None:
    async with provider("generic", usage=usage) as double:
        got = await ask(inference, endpoint_of(double), "[[say one two three]]")
    assert got.end.usage.completion_tokens == 3
    assert not got.end.usage.estimated


async def test_a_gateway_that_counts_nothing_leaves_the_guess_to_us(inference: Inference) -> None:
    async with provider("generic", usage="none") as double:
        got = await ask(inference, endpoint_of(double), "[[say one two three]]")
    assert got.end.usage.estimated


@pytest.mark.parametrize("reasoning", ["reasoning", "reasoning_content", "inline"])
async def test_a_gateways_thinking_is_kept_apart_however_it_comes(
    reasoning: ReasoningField, inference: Inference
) -> None:
    async with provider("generic", reasoning=reasoning) as double:
        got = await ask(inference, endpoint_of(double), "[[think 5]] [[say plain words]]")
    assert got.text == "plain words"
    assert got.reasoning.strip()


NOISE: list[tuple[FaultName, ...]] = [
    ("fragment",),
    ("crlf",),
    ("comments",),
    ("duplicate_usage",),
    ("fragment", "crlf", "comments", "duplicate_usage"),
]
SAID = "Grüße, Ωμέγα, 漢字 and 🏮🌙 — “quoted”: {not json}\n\n```py\nx = 'é'\n```"


@pytest.mark.parametrize("noise", NOISE, ids="+".join)
@pytest.mark.parametrize("wire", WIRES)
async def test_noise_on_the_line_changes_no_byte_of_the_text(
    double: SimProvider, inference: Inference, noise: tuple[FaultName, ...]
) -> None:
    for name in noise:
        double.faults.set(name)
    got = await ask(inference, endpoint_of(double), f"[[think 3]] [[say {SAID}]]")
    assert got.text == SAID
    assert got.end.usage.completion_tokens == double.journal.calls[0].bill.completion_tokens


@pytest.mark.slow
@pytest.mark.parametrize("wire", WIRES)
async def test_bytes_torn_in_many_ways_give_the_same_text(
    double: SimProvider, inference: Inference
) -> None:
    double.faults.set("fragment")
    endpoint = endpoint_of(double)
    for _ in range(6):
        assert (await ask(inference, endpoint, f"[[say {SAID}]]")).text == SAID


@pytest.mark.parametrize("wire", WIRES)
async def test_a_stream_without_counts_is_estimated(
    double: SimProvider, inference: Inference
) -> None:
    double.faults.set("no_usage", times=1)
    assert (await ask(inference, endpoint_of(double))).end.usage.estimated
    assert not (await ask(inference, endpoint_of(double))).end.usage.estimated


@pytest.mark.parametrize("wire", WIRES)
async def test_a_prompt_that_begins_as_an_earlier_one_is_partly_cached(wire: WireKind) -> None:
    # By hand: our adapter sends Anthropic no cache marks, and without them nothing is cached there.
    is_marked = wire == "anthropic"
    marks = {"cache_control": {"type": "ephemeral"}} if is_marked else {}
    first = {"role": "user", "content": "word " * 50}
    answer = {"role": "assistant", "content": "yes"}
    async with provider(wire, cache_from_tokens=20) as double:
        await post(double, payload_of(wire, messages=[first], **marks))
        longer = [first, answer, {"role": "user", "content": "and?"}]
        await post(double, payload_of(wire, messages=longer, **marks))
        before, after = double.journal.chats()
    assert before.bill.cached_tokens == 0
    assert 50 <= after.bill.cached_tokens < after.bill.prompt_tokens
    assert before.arrival.model == MODELS[wire]
