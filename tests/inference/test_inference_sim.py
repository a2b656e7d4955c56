import asyncio
from collections.abc import AsyncIterator
from typing import get_args

import pytest
from collected import asking, collect

from bot.domain.chat import Endpoint
from bot.domain.errors import FailureKind, HostUnreachable, Unavailable
from bot.domain.events import TextDelta
from bot.inference.streams import Inference
from bot.sim.host import SimHost
from bot.sim.journal import PredictionCancelled, PredictionFinished, PredictionStarted
from bot.sim.models import ReasoningStyle, SimHostConfig, SimModel

MODEL = SimModel("qwen/qwen3-30b", 1_000_000, max_context_length=4096)
TOKEN = "sk-lm-abcdefgh:ABCDEFGHIJKLMNOPQRST"


def config(**changes: object) -> SimHostConfig:
    settings = {"models": (MODEL,), "time_scale": 0.0, "jit": False, **changes}
    return SimHostConfig(**settings)  # pyright: ignore[reportArgumentType]  # any field by name


def at(host: SimHost, model: str = MODEL.key, token: str | None = None) -> Endpoint:
    return Endpoint(
        f"http://{host.address}/v1",
        model,
        token=token,
        source="sim",
        accepted_models=frozenset({MODEL.key}),
    )


@pytest.fixture
async def host() -> AsyncIterator[SimHost]:
    async with SimHost(config()) as host:
        await host.preload(MODEL.key)
        yield host


async def test_a_host_answers_with_words_usage_and_its_models_name(
    host: SimHost, inference: Inference
) -> None:
    got = await collect(inference, at(host), asking("[[say one two three]]"))
    assert got.text == "one two three"
    assert got.end.model == MODEL.key
    assert got.end.finish == "stop"
    assert got.end.usage.completion_tokens == 3
    assert got.end.usage.prompt_tokens > 0
    assert not got.end.usage.estimated


@pytest.mark.parametrize("style", get_args(ReasoningStyle))
async def test_reasoning_is_kept_apart_however_the_host_sends_it(
    style: ReasoningStyle, inference: Inference
) -> None:
    async with SimHost(config(reasoning_style=style)) as host:
        await host.preload(MODEL.key)
        got = await collect(inference, at(host), asking("[[think 5]] [[say plain words]]"))
    assert got.text == "plain words"
    assert got.reasoning.strip()
    assert "<" not in got.reasoning
    assert got.end.usage.reasoning_tokens > 0


async def test_leaving_the_block_stops_the_generation(inference: Inference) -> None:
    async with SimHost(config()) as host:
        await host.preload(MODEL.key)
        host.faults.stall_after_tokens(1)
        async with inference.open(at(host), asking("[[tokens 3000]]")) as deltas:
            assert isinstance(await anext(deltas), TextDelta)
        stopped = await host.journal.wait_for(PredictionCancelled)
        assert stopped.tokens == 1
        assert host.journal.of(PredictionFinished) == []


async def test_a_cancelled_turn_stops_the_generation(inference: Inference) -> None:
    async with SimHost(config()) as host:
        await host.preload(MODEL.key)
        host.faults.stall_after_tokens(1)
        async with asyncio.TaskGroup() as tasks:
            turn = tasks.create_task(collect(inference, at(host), asking("[[tokens 3000]]")))
            await host.journal.wait_for(PredictionStarted)
            turn.cancel()
        await host.journal.wait_for(PredictionCancelled)


async def test_another_models_name_is_refused_before_any_word(
    host: SimHost, inference: Inference
) -> None:
    host.faults.wrong_model("somebody/else")
    got = await collect(inference, at(host))
    assert got.deltas == []
    assert got.kind is FailureKind.WRONG_MODEL


async def test_the_one_loaded_model_does_not_answer_for_another(
    host: SimHost, inference: Inference
) -> None:
    endpoint = Endpoint(
        f"http://{host.address}/v1",
        "somebody/else",
        accepted_models=frozenset({"somebody/else"}),
    )
    assert (await collect(inference, endpoint)).kind is FailureKind.WRONG_MODEL


async def test_no_model_loaded_is_not_there(inference: Inference) -> None:
    async with SimHost(config()) as host:
        got = await collect(inference, at(host))
    assert got.kind is FailureKind.NOT_THERE


async def test_a_prompt_beyond_the_window_is_too_long(host: SimHost, inference: Inference) -> None:
    got = await collect(inference, at(host), asking("word " * 9000))
    assert got.kind is FailureKind.TOO_LONG


async def test_a_prompt_beyond_the_window_told_by_an_event_is_too_long(
    inference: Inference,
) -> None:
    async with SimHost(config(overflow="event")) as host:
        await host.preload(MODEL.key)
        got = await collect(inference, at(host), asking("word " * 9000))
    assert got.kind is FailureKind.TOO_LONG


async def test_a_host_that_wants_a_token_gets_it(inference: Inference) -> None:
    async with SimHost(config(token=TOKEN)) as host:
        await host.preload(MODEL.key)
        refused = await collect(inference, at(host))
        served = await collect(inference, at(host, token=TOKEN))
    assert refused.kind is FailureKind.AUTH
    assert served.end.finish == "stop"


async def test_a_connection_cut_after_some_tokens_keeps_them(
    host: SimHost, inference: Inference
) -> None:
    host.faults.drop_after_tokens(5)
    got = await collect(inference, at(host), asking("[[say a b c d e f g h]]"))
    assert (got.text, got.kind) == ("a b c d e", FailureKind.CUT)


@pytest.mark.parametrize("after", [None, 3])
async def test_a_silent_end_is_no_whole_answer(
    host: SimHost, inference: Inference, after: int | None
) -> None:
    host.faults.silent_end(after)
    got = await collect(inference, at(host), asking("[[say a b c d e]]"))
    assert got.kind is FailureKind.CUT
    assert got.text == ("a b c" if after else "a b c d e")


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("refuse", FailureKind.CUT),
        ("garbage", FailureKind.GARBAGE),
        ("status_500", FailureKind.SERVER),
        ("status_503", FailureKind.OVERLOAD),
    ],
)
async def test_a_host_that_misbehaves_is_a_failure_on_entering(
    host: SimHost, inference: Inference, fault: str, kind: FailureKind
) -> None:
    getattr(host.faults, fault)()
    got = await collect(inference, at(host))
    assert (got.kind, got.was_opened) == (kind, False)


async def test_a_host_that_went_away_is_unreachable(host: SimHost, inference: Inference) -> None:
    await host.stop()
    got = await collect(inference, at(host))
    assert isinstance(got.error, HostUnreachable)
    assert got.kind is FailureKind.CONNECT


async def test_a_model_unloaded_in_the_middle_of_its_answer_is_a_failure(
    inference: Inference,
) -> None:
    async with SimHost(config()) as host:
        await host.preload(MODEL.key)
        host.faults.stall_after_tokens(1)
        async with inference.open(at(host), asking("[[tokens 3000]]")) as deltas:
            await anext(deltas)
            host.unload(MODEL.key)
            with pytest.raises(Unavailable) as caught:
                _ = [delta async for delta in deltas]
    assert caught.value.kind is FailureKind.NOT_THERE
