"""The answer being made."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from virtual_time import play

from bot.chat.draft import Draft
from bot.domain.chat import Candidate, Message, Receipt, Seam, Timing, Usage
from bot.domain.errors import FailureKind, Unavailable
from bot.domain.events import Notice, ReasoningDelta, Silence, StreamEnd, TextDelta, TurnEvent
from bot.domain.ids import HostName, ModelKey, PersonaName, ProviderName

HERE = Candidate(ModelKey("qwen"), host=HostName("studio"))
NEXT = Candidate(ModelKey("qwen"), host=HostName("laptop"))
AWAY = Candidate(ModelKey("glm"), provider=ProviderName("zai"))


def drafted(why: str = "") -> tuple[Draft, list[TurnEvent]]:
    told: list[TurnEvent] = []

    async def tell(event: TurnEvent) -> None:
        told.append(event)

    return Draft(PersonaName("sage"), why, tell), told


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
    assert (receipt.timing.queue_s, receipt.timing.load_s) == (3.0, 0.0)
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
    assert (receipt.timing.queue_s, receipt.timing.load_s) == (0.0, 0.0)
    assert receipt.timing.first_token_s is not None
    assert draft.receipt("cancelled").finish == "cancelled"
    assert told == [TextDelta("Hello.")]


async def test_a_silence_is_told_and_counts_as_no_word() -> None:
    draft, told = drafted()
    await draft.hear(Silence(4.0))
    assert told == [Silence(4.0)]
    assert draft.receipt().usage == Usage()


async def test_an_unknown_finish_reason_is_a_plain_stop() -> None:
    draft, _ = drafted()
    await draft.hear(StreamEnd("tool_calls", Usage(), "qwen"))
    assert draft.receipt().finish == "stop"


async def test_where_the_other_side_counts_its_prompt_alone_the_words_are_counted_here() -> None:
    draft, _ = drafted("chosen for this channel")
    await draft.hear(TextDelta("Hello."))
    await draft.hear(StreamEnd("stop", Usage(7), "qwen"))
    assert draft.receipt().usage == Usage(7, 1, estimated=True)
    assert draft.receipt().choice_reason == "chosen for this channel"


def test_thinking_of_two_hosts_is_added_up() -> None:
    async def story() -> float:
        draft, _ = drafted()
        for candidate, thought_s in ((HERE, 1.0), (NEXT, 2.0)):
            draft.granted(candidate)
            await draft.hear(ReasoningDelta("Hm."))
            await asyncio.sleep(thought_s)
            await draft.hear(TextDelta("Yes. "))
            if candidate is HERE:
                draft.lost(HostName("studio"), Unavailable("It was cut.", FailureKind.CUT))
        return draft.receipt().timing.thinking_s

    assert play(story()) == 3.0


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
        await asyncio.sleep(5.0)
        draft, _ = drafted()
        assert draft.receipt().timing == Timing()
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


def test_what_was_waited_for_others_is_told_of_each_and_is_part_of_the_wait() -> None:
    async def story() -> Receipt:
        draft, _ = drafted()
        await asyncio.sleep(0.5)
        draft.asks()
        await asyncio.sleep(8.0)
        draft.left(NEXT, Unavailable("next stands still.", FailureKind.BUSY))
        draft.asks()
        await asyncio.sleep(3.0)
        draft.granted(HERE, 1.0, 2.0)
        draft.sent()
        await asyncio.sleep(27.0)
        draft.failed(HERE, Unavailable("studio hangs.", FailureKind.TIMEOUT))
        await asyncio.sleep(2.0)
        # Asked once more.
        draft.failed(HERE, Unavailable("studio is away.", FailureKind.CUT))
        draft.asks()
        await asyncio.sleep(10.0)
        draft.granted(AWAY, 4.0, 6.0)
        draft.sent()
        await asyncio.sleep(0.25)
        await draft.hear(TextDelta("Hello."))
        return draft.receipt()

    receipt = play(story())
    (left,) = receipt.left
    assert (left.where, left.reason, left.spent_s) == (NEXT.where, "next stands still.", 8.0)
    assert [attempt.spent_s for attempt in receipt.attempts] == [30.0, 2.0]
    timing = receipt.timing
    assert (timing.until_asked_s, timing.queue_s, timing.load_s) == (40.5, 4.0, 6.0)
    assert timing.wait_s == timing.total_s == 50.75


async def test_of_a_failed_provider_the_attempt_is_the_clouds_and_nothing_else_stays() -> None:
    draft, _ = drafted()
    draft.granted(AWAY)
    draft.failed(AWAY, Unavailable("zai is busy.", FailureKind.BUSY))
    draft.failed(HERE, Unavailable("studio is away.", FailureKind.CUT))
    assert [attempt.is_cloud for attempt in draft.so_far.attempts] == [True, False]
    assert draft.so_far.provider is None


@pytest.mark.parametrize(
    ("has_earlier", "words"),
    [
        (False, "Kept the newest 3 of 13 messages."),
        (True, "Kept the newest 3 of more than 13 messages."),
    ],
)
async def test_that_a_transcript_is_trimmed_is_told_once_for_as_many(
    has_earlier: bool, words: str
) -> None:
    draft, told = drafted()
    sent = (
        Message("system", "You are wise."),
        *(Message("user", f"Why {number}?") for number in range(3)),
    )
    for _ in range(2):
        await draft.trimmed(sent, 10, has_earlier=has_earlier)
        draft.so_far = replace(draft.so_far, notices=())
    assert told == [Notice(words)]
    assert draft.so_far.told.kept == 3


def test_what_its_asker_did_is_kept_with_its_time() -> None:
    async def story() -> tuple[str, ...]:
        await asyncio.sleep(5.0)
        draft, _ = drafted()
        await asyncio.sleep(12.0)
        draft.pressed("Use the cloud")
        draft.pressed("Stop")
        return draft.receipt().presses

    assert play(story()) == ("Use the cloud after 12 s", "Stop after 12 s")


async def test_a_notice_is_told_once_and_kept() -> None:
    draft, told = drafted()
    for _ in range(2):
        await draft.notice("Images were left out.")
    assert told == [Notice("Images were left out.")]
    assert draft.receipt().notices == ("Images were left out.",)


def test_of_an_answer_by_two_hosts_the_wait_is_the_firsts_and_the_rest_is_of_both() -> None:
    async def story() -> None:
        draft, told = drafted()
        draft.granted(HERE, 1.0, 2.0)
        draft.sent()
        await asyncio.sleep(4.0)
        await draft.hear(ReasoningDelta("Hm."))
        await asyncio.sleep(1.0)
        for text in ("It ", "burns. "):
            await draft.hear(TextDelta(text))
            await asyncio.sleep(2.0)
        draft.lost(HostName("studio"), Unavailable("It was cut.", FailureKind.CUT))
        draft.so_far = replace(draft.so_far, ending="It was cut.")
        assert (draft.has_text, draft.has_spoken, draft.has_thought) == (True, False, False)
        # Of one that was asked to go on and failed nothing is left but the attempt.
        draft.granted(AWAY, 5.0, 6.0)
        await draft.hear(ReasoningDelta("Hm?"))
        assert draft.has_thought
        draft.failed(AWAY, Unavailable("It is full.", FailureKind.BUSY))
        assert draft.receipt("cancelled").finish == "cancelled"
        assert (draft.receipt().host, draft.receipt().model, draft.reasoning) == (
            HERE.host,
            HERE.model,
            "Hm.",
        )
        draft.granted(NEXT, 7.0, 8.0)
        draft.sent()
        await asyncio.sleep(3.0)
        await draft.hear(TextDelta(" "))
        await draft.hear(ReasoningDelta("Hm!"))
        await asyncio.sleep(1.0)
        await draft.hear(TextDelta("Oil."))
        assert draft.has_spoken
        # What its host was lost by is no news any more; the pause is that before the first word.
        assert draft.receipt().cause == ""
        draft.so_far = replace(draft.so_far, cause="Not this one.")
        await asyncio.sleep(1.0)
        await draft.hear(TextDelta(" And a wick."))
        assert draft.so_far.cause == "Not this one."
        await draft.hear(StreamEnd("stop", Usage(90, 40, 30, 4), "qwen"))
        receipt, part = draft.receipt(), draft.part()
        assert draft.text == "It burns. Oil. And a wick."
        assert draft.reasoning == "Hm.Hm!"
        assert told[-2:] == [TextDelta("Oil."), TextDelta(" And a wick.")]
        assert receipt.seams == (Seam(HostName("studio"), "It was cut.", 3, 6.0),)
        assert receipt.host == NEXT.host
        assert receipt.usage == Usage(90, 43, 30, 4, estimated=True)
        assert receipt.timing == Timing(1.0, 2.0, 4.0, 5.0, 14.0, 1.0)
        assert receipt.tokens_per_s == 43 / 5.0
        assert part.usage == Usage(90, 40, 30, 4)
        assert part.timing == Timing(7.0, 8.0, 3.0, 2.0, 14.0, 0.0)

    play(story())


def test_words_that_came_in_one_moment_make_no_answer_of_two_hosts_faster() -> None:
    async def story() -> None:
        draft, _ = drafted()
        draft.granted(HERE)
        for word in "burns. " * 100:
            await draft.hear(TextDelta(word))
        draft.lost(HostName("studio"), Unavailable("It was cut.", FailureKind.CUT))
        assert draft.receipt().tokens_per_s is None
        draft.granted(NEXT)
        await draft.hear(TextDelta(" Oil."))
        await asyncio.sleep(2.0)
        await draft.hear(TextDelta(" And a wick."))
        await draft.hear(StreamEnd("stop", Usage(90, 40), "qwen"))
        assert draft.receipt().tokens_per_s == 20.0

    play(story())


def test_words_held_back_as_a_likely_echo_are_said_at_the_end() -> None:
    async def story() -> None:
        draft, told = drafted()
        draft.granted(HERE)
        await draft.hear(TextDelta("The lantern burns oil."))
        draft.lost(HostName("studio"), Unavailable("It was cut.", FailureKind.CUT))
        draft.granted(NEXT)
        await draft.hear(TextDelta("The"))
        assert not draft.has_spoken
        await draft.hear(StreamEnd("stop", Usage(), "qwen"))
        assert (draft.has_spoken, told[-1]) == (True, TextDelta("The"))
        # Held back by one that failed, they are not the next one's.
        draft.lost(HostName("laptop"), Unavailable("It was cut.", FailureKind.CUT))
        draft.granted(HERE)
        await draft.hear(TextDelta("The lantern"))
        draft.failed(HERE, Unavailable("It was cut.", FailureKind.CUT))
        draft.granted(NEXT)
        await draft.hear(TextDelta(" wick."))
        assert draft.text == "The lantern burns oil.The wick."

    play(story())


async def test_words_are_taken_at_once_but_for_the_first_and_those_to_be_joined() -> None:
    straight: list[TextDelta] = []
    takes = True

    def take(words: Sequence[TextDelta]) -> bool:
        straight.extend(words if takes else ())
        return takes

    async def tell(_: TurnEvent) -> None:
        pass

    draft = Draft(PersonaName("sage"), "", tell, take)
    draft.granted(HERE)
    assert not draft.take([TextDelta("a")])
    await draft.hear(TextDelta("a"))
    assert draft.take([TextDelta("b"), TextDelta("c")])
    takes = False
    assert not draft.take([TextDelta("d")])
    takes = True
    assert (draft.text, draft.receipt().usage.completion_tokens) == ("abc", 3)
    draft.lost(HostName("studio"), Unavailable("It went.", FailureKind.CUT))
    await draft.hear(TextDelta(" d"))
    assert not draft.take([TextDelta("e")])
    assert straight == [TextDelta("b"), TextDelta("c")]


def test_the_time_of_words_that_were_taken_at_once_counts() -> None:
    async def scene() -> None:
        async def tell(_: TurnEvent) -> None:
            pass

        draft = Draft(PersonaName("sage"), "", tell, lambda _: True)
        draft.sent()
        await draft.hear(TextDelta("a"))
        await asyncio.sleep(2)
        assert draft.take([TextDelta("b")])
        assert draft.receipt().timing.generation_s == 2

    play(scene())
