"""The answer being made."""

import asyncio

from virtual_time import play

from bot.chat.draft import Draft
from bot.domain.chat import Candidate, Timing, Usage
from bot.domain.errors import FailureKind, Unavailable
from bot.domain.events import Notice, ReasoningDelta, StreamEnd, TextDelta, TurnEvent
from bot.domain.ids import HostName, ModelKey, PersonaName, ProviderName

HERE = Candidate(ModelKey("qwen"), host=HostName("studio"))
AWAY = Candidate(ModelKey("glm"), provider=ProviderName("zai"))


def drafted() -> tuple[Draft, list[TurnEvent]]:
    told: list[TurnEvent] = []

    async def tell(event: TurnEvent) -> None:
        told.append(event)

    return Draft(PersonaName("sage"), "", tell), told


async def test_what_a_candidate_left_by_choice_had_begun_is_not_the_next_ones() -> None:
    draft, told = drafted()
    draft.granted(HERE, 1.0, 2.0)
    draft.sent()
    await draft.hear(ReasoningDelta("Let me see."))
    draft.granted(AWAY, 3.0)
    await draft.hear(TextDelta("Hello."))
    receipt = draft.receipt()
    assert draft.reasoning == ""
    assert receipt.timing.first_token_s is None
    assert (receipt.timing.queue_s, receipt.timing.load_s) == (4.0, 2.0)
    assert receipt.usage == Usage(completion_tokens=1, estimated=True)
    assert told == [ReasoningDelta("Let me see."), TextDelta("Hello.")]


async def test_what_is_counted_by_the_other_side_stands_and_its_end_mark_is_not_told() -> None:
    draft, told = drafted()
    draft.granted(HERE)
    draft.sent()
    await draft.hear(TextDelta("Hello."))
    await draft.hear(StreamEnd("length", Usage(7, 3), "qwen"))
    receipt = draft.receipt()
    assert (receipt.usage, receipt.finish) == (Usage(7, 3), "length")
    assert receipt.timing.first_token_s is not None
    assert draft.receipt("cancelled").finish == "cancelled"
    assert told == [TextDelta("Hello.")]


async def test_an_unknown_finish_reason_is_a_plain_stop() -> None:
    draft, _ = drafted()
    await draft.hear(StreamEnd("tool_calls", Usage(), "qwen"))
    assert draft.receipt().finish == "stop"


def test_thinking_lasts_until_the_first_word_of_the_answer() -> None:
    async def thoughtful() -> Timing:
        draft, _ = drafted()
        draft.sent()
        await asyncio.sleep(1)
        await draft.hear(ReasoningDelta("Hm."))
        await asyncio.sleep(20)
        assert draft.receipt().timing.thinking_s == 0.0
        await draft.hear(TextDelta("Yes"))
        await asyncio.sleep(2)
        await draft.hear(TextDelta("."))
        return draft.receipt().timing

    timing = play(thoughtful())
    assert (timing.first_token_s, timing.thinking_s, timing.generation_s) == (1.0, 20.0, 22.0)


def test_the_first_delta_and_the_last_bound_the_generation() -> None:
    async def story() -> Timing:
        draft, _ = drafted()
        await asyncio.sleep(1.0)
        draft.sent()
        for text in ("one ", "two ", "three"):
            await asyncio.sleep(2.0)
            await draft.hear(TextDelta(text))
        await asyncio.sleep(4.0)
        return draft.receipt().timing

    timing = play(story())
    assert (timing.first_token_s, timing.generation_s, timing.total_s) == (2.0, 4.0, 11.0)


async def test_of_a_failed_candidate_the_attempt_stays_and_nothing_else() -> None:
    draft, _ = drafted()
    draft.granted(HERE)
    await draft.hear(ReasoningDelta("Hm."))
    await draft.hear(StreamEnd("length", Usage(7, 3), "qwen"))
    draft.failed(HERE, Unavailable("studio is away.", FailureKind.CUT))
    receipt = draft.receipt()
    (attempt,) = receipt.attempts
    assert (attempt.where, attempt.kind, attempt.reason) == (
        "studio",
        FailureKind.CUT,
        "studio is away.",
    )
    assert (receipt.model, receipt.host, receipt.provider) == (None, None, None)
    assert (receipt.usage, receipt.finish, draft.reasoning) == (Usage(), "stop", "")


async def test_a_notice_is_told_and_kept() -> None:
    draft, told = drafted()
    await draft.notice("Images were left out.")
    assert told == [Notice("Images were left out.")]
    assert draft.receipt().notices == ("Images were left out.",)
