"""One question at a provider that does as it is told, in virtual time: when it is asked again."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
from cloud_house import Heard, asking
from skies import FreeSky
from virtual_time import play

from bot.cloud.call import CloudAsk
from bot.cloud.providers import Providers
from bot.cloud.serve import ProviderTries, serve
from bot.domain.chat import Endpoint, InferenceRequest, Usage
from bot.domain.cloud import (
    Booking,
    LedgerAnswer,
    Price,
    PriceStep,
    ProviderConfig,
)
from bot.domain.errors import BotError, FailureKind, Refused, Unavailable, WordsGone
from bot.domain.events import Delta, ReasoningDelta, StreamEnd, TextDelta
from bot.domain.ids import ModelKey, ProviderName, TurnId
from bot.domain.personas import Sampling
from bot.policy.concurrency import BRIEF_WAIT_S
from bot.policy.context import message_tokens
from bot.policy.dialects import RETRY_ROOM
from bot.policy.provider_health import Outage, ProviderHealth
from bot.policy.retry import EXTRA_AT_LEAST, FIRST_WORD_S, LONGEST_TOLD_S, MOST_REPEATS

K = FailureKind
ACME = ProviderName("acme")
# A dollar for a million tokens either way: a micro-dollar each.
CONFIG = ProviderConfig(
    ACME,
    "https://api.example/v1",
    ModelKey("m"),
    price=Price((PriceStep(1_000_000, 1_000_000),)),
    rate_count=1000,
)
WORDS: list[Delta] = [TextDelta("Well."), StreamEnd("stop", Usage(1, 1), "m")]

Step = BaseException | list[Delta] | float
"""What one request comes to: an error, an answer, or silence for so many seconds after a word."""


def down(kind: FailureKind, told_s: float | None = None) -> Unavailable:
    return Unavailable(f"It was {kind}.", kind, retry_after_s=told_s)


@dataclass(slots=True)
class Sent:
    """One request as it went out."""

    at_s: float
    url: str
    room: int | None
    thinking: str
    messages: int


@dataclass
class Sky(FreeSky):
    """A cloud of one provider whose requests come to what is told, then to an answer."""

    steps: list[Step] = field(default_factory=list[Step])
    sent: list[Sent] = field(default_factory=list[Sent])
    answer_s: float = 0.0
    """From sending to the first delta."""

    @asynccontextmanager
    async def open_stream(
        self, endpoint: Endpoint, request: InferenceRequest
    ) -> AsyncGenerator[AsyncIterator[Delta]]:
        now, room = asyncio.get_running_loop().time(), request.sampling.max_tokens
        sent = Sent(now, endpoint.base_url, room, str(endpoint.thinking), len(request.messages))
        self.sent.append(sent)
        step = self.steps.pop(0) if self.steps else WORDS
        if isinstance(step, BaseException):
            raise step
        yield self._deltas(step)

    async def _deltas(self, step: list[Delta] | float) -> AsyncIterator[Delta]:
        if isinstance(step, list):
            await asyncio.sleep(self.answer_s)
            for delta in step:
                yield delta
        else:
            yield TextDelta("Well")
            await asyncio.sleep(step)
            raise TimeoutError("from inside")

    async def book(self, booking: Booking) -> LedgerAnswer:
        return LedgerAnswer(len(self.sent) + 1, ())


WHY = asking(TurnId("t"), "Why?")


async def asked(
    providers: Providers,
    question: ProviderTries,
    ask: CloudAsk = WHY,
    *,
    is_last: bool = True,
) -> Heard:
    heard = Heard()
    try:
        heard.served = await serve(
            providers, ACME, ask, question, heard.listener(), is_last=is_last
        )
    except BotError as error:
        heard.error = error
    return heard


def once(
    sky: Sky,
    *configs: ProviderConfig,
    question: ProviderTries | None = None,
    ask: CloudAsk = WHY,
    is_last: bool = True,
) -> Heard:
    """One question, asked at second 5."""

    async def story() -> Heard:
        await asyncio.sleep(5.0)
        async with sky.providers(*(configs or (CONFIG,))) as providers:
            return await asked(providers, question or ProviderTries(), ask, is_last=is_last)

    return play(story())


@pytest.mark.parametrize(
    ("step", "kind", "times"),
    [
        # What is asked again at once, after a pause, and never; an error after the first word.
        (down(K.CUT), None, [5.0, 5.0]),
        (down(K.SERVER), None, [5.0, 6.0]),
        (down(K.RATE_LIMIT, 2.0), None, [5.0, 7.05]),
        (down(K.RATE_LIMIT, FIRST_WORD_S), K.RATE_LIMIT, [5.0]),
        (down(K.TIMEOUT), K.TIMEOUT, [5.0]),
        (down(K.AUTH), K.AUTH, [5.0]),
        ([TextDelta("Well"), TextDelta(".")], K.CUT, [5.0]),
        ([ReasoningDelta("Hm.")], None, [5.0, 5.0]),
        ([TextDelta(" "), StreamEnd("stop", Usage(1, 1), "m")], K.EMPTY, [5.0]),
        ([StreamEnd("refused", Usage(1, 0), "m")], None, [5.0]),
    ],
)
def test_what_is_asked_again_and_when(
    step: Step, kind: FailureKind | None, times: list[float]
) -> None:
    sky, question = Sky([step]), ProviderTries()
    heard = once(sky, question=question)
    assert heard.kind == kind
    assert [sent.at_s for sent in sky.sent] == pytest.approx(times)
    assert heard.requests == len(times)
    assert question.asked == {ACME: Counter({0: len(times)})}
    assert question.repeats == len(times) - 1
    assert heard.notices == ["acme was asked again."] * (len(times) - 1)
    assert len(heard.retries) == len(times) - 1
    assert question.news == ""


@pytest.mark.parametrize(
    ("before", "retries", "sent", "repeats"),
    # As many as its owner says, and never more than are left to the question.
    [(0, 0, 1, 0), (0, 1, 2, 1), (0, 2, 3, 2), (1, 2, 2, 2), (2, 2, 1, 2)],
)
def test_repeats_end_with_the_providers_and_with_the_questions(
    before: int, retries: int, sent: int, repeats: int
) -> None:
    sky, question = Sky([down(K.CUT)] * 9), ProviderTries(repeats=before)
    assert once(sky, replace(CONFIG, retries=retries), question=question).kind == K.CUT
    assert (len(sky.sent), question.repeats) == (sent, repeats)


def test_what_was_kept_back_for_words_that_were_taken_back_was_no_try() -> None:
    async def story() -> None:
        sky, question = Sky([WordsGone("Taken back."), down(K.CUT)]), ProviderTries()
        async with sky.providers(CONFIG) as providers:
            heard = await asked(providers, question)
            assert isinstance(heard.error, WordsGone)
            assert (question.asked[ACME].total(), question.due) == (0, None)
            # The one retry it is worth is left to it.
            heard = await asked(providers, question)
        assert heard.text == "Well."
        assert question.asked == {ACME: Counter({0: 2})}

    play(story())


@pytest.mark.parametrize(("until", "is_last"), [(100.0, True), (None, False)])
def test_who_is_out_was_not_asked_and_is_not_asked_again(
    until: float | None, *, is_last: bool
) -> None:
    async def story() -> None:
        sky, question = Sky(), ProviderTries()
        async with sky.providers(CONFIG) as providers:
            (deployment,) = providers.deployments(ACME)
            deployment.health = ProviderHealth(outage=Outage(K.SERVER, "It was down.", until))
            heard = await asked(providers, question, is_last=is_last)
        assert (heard.kind, heard.retries, question.repeats) == (K.SERVER, [], 0)
        assert question.again_at == {}
        assert asyncio.get_running_loop().time() == 0.0
        assert sky.sent == []

    play(story())


@pytest.mark.parametrize(("told_s", "places"), [(1.0, []), (2.0 / 1.025, [(1, 2.0)])])
def test_a_pause_that_can_be_read_is_told(told_s: float, places: list[tuple[int, float]]) -> None:
    heard = once(Sky([down(K.RATE_LIMIT, told_s)]))
    assert [place for place in heard.places if place[1] == 2.0] == places
    assert heard.text == "Well."


@pytest.mark.parametrize(
    ("deltas", "words"),
    [
        ([ReasoningDelta("Hm."), StreamEnd("stop", Usage(1, 9), "m")], "spent the whole answer on"),
        ([StreamEnd("stop", Usage(1, 9, 0, 9), "m")], "spent the whole answer on thinking"),
        ([StreamEnd("stop", Usage(1, 0), "m")], "ended its answer without a word"),
    ],
)
def test_an_answer_without_words_is_asked_for_once_more_with_room_and_no_thinking(
    deltas: list[Delta], words: str
) -> None:
    sky = Sky([deltas, deltas])
    heard = once(sky, replace(CONFIG, thinking="auto"))
    assert words in str(heard.error)
    first, again = sky.sent
    assert (first.thinking, again.thinking) == ("auto", "off")
    assert again.room == RETRY_ROOM
    many = Sky([deltas])
    once(many, ask=replace(WHY, answer_tokens=RETRY_ROOM))
    assert many.sent[1].room == 2 * RETRY_ROOM


def test_a_question_that_was_declined_is_asked_of_nobody_else() -> None:
    heard = once(Sky([[StreamEnd("refused", Usage(1, 0), "m")]]))
    assert isinstance(heard.error, Refused)


def test_a_transcript_that_was_too_long_loses_its_oldest_words_and_says_so_when_asked_again() -> (
    None
):
    long = asking(TurnId("t"), *(f"{n} {'word ' * 40}" for n in range(9)))
    sky = Sky([down(K.TOO_LONG)])
    heard = once(sky, ask=long)
    left = sky.sent[1].messages
    assert 0 < left < 9
    words = f"The conversation is long: its {9 - left} oldest messages were left out."
    assert (heard.notices, heard.text) == ([words], "Well.")
    # Three fifths of what was sent: of five alike the newest three.
    sky = Sky([down(K.TOO_LONG)])
    once(sky, ask=asking(TurnId("t"), *["word " * 40] * 5))
    assert sky.sent[1].messages == 3
    # The same words again would be too long again.
    sky = Sky([down(K.TOO_LONG)])
    assert (once(sky).kind, len(sky.sent)) == (K.TOO_LONG, 1)


def test_a_known_window_is_kept_before_anything_is_sent() -> None:
    long = asking(TurnId("t"), *(f"{n} {'word ' * 40}" for n in range(9)))
    room = sum(map(message_tokens, long.messages)) // 2 + long.answer_tokens
    sky = Sky()
    heard = once(sky, replace(CONFIG, context_length=room), ask=long)
    assert 0 < sky.sent[0].messages < 9
    assert [words[:25] for words in heard.notices] == ["The conversation is long:"]
    sky = Sky()
    heard = once(sky, replace(CONFIG, context_length=210), ask=long)
    assert (heard.kind, sky.sent) == (K.TOO_LONG, [])


@pytest.mark.parametrize(
    ("persona", "configured", "room"), [(None, 900, 900), (None, None, 200), (70, 900, 200)]
)
def test_the_room_of_a_persona_goes_before_the_configured(
    persona: int | None, configured: int | None, room: int
) -> None:
    sky = Sky()
    ask = replace(WHY, sampling=Sampling(max_tokens=persona))
    once(sky, replace(CONFIG, max_tokens=configured), ask=ask)
    assert sky.sent[0].room == room


@pytest.mark.parametrize(
    ("kind", "told_s", "is_last", "again_at"),
    [
        (K.SERVER, None, False, 6.0),
        (K.SERVER, None, True, None),
        (K.RATE_LIMIT, LONGEST_TOLD_S / 1.025 + 0.01, False, 10.0),
        (K.RATE_LIMIT, LONGEST_TOLD_S / 1.025, False, None),
        (K.RATE_LIMIT, LONGEST_TOLD_S / 1.025 + 0.01, True, None),
        (K.CUT, None, False, None),
    ],
)
def test_whoever_was_not_asked_yet_goes_before_a_pause_and_then_it_is_waited_out(
    kind: FailureKind, told_s: float | None, is_last: bool, again_at: float | None
) -> None:
    sky, question = Sky([down(kind, told_s)]), ProviderTries()
    heard = once(sky, question=question, is_last=is_last)
    assert question.again_at.get(ACME) == (
        None if again_at is None else pytest.approx(again_at, abs=0.02)
    )
    assert (heard.kind, len(sky.sent)) == ((None, 2) if again_at is None else (kind, 1))


@pytest.mark.parametrize(("again_at", "at_s"), [(8.0, 8.0), (5.5, 5.5), (2.0, 5.0)])
def test_one_asked_once_more_is_asked_no_sooner_than_it_said(again_at: float, at_s: float) -> None:
    sky, question = Sky(), ProviderTries(again_at={ACME: again_at})
    once(sky, question=question)
    assert sky.sent[0].at_s == at_s
    assert question.again_at == {}


@pytest.mark.parametrize(("due", "kind"), [(5.0, K.TIMEOUT), (5.1, None), (None, None)])
def test_nobody_is_asked_once_the_first_word_is_overdue(
    due: float | None, kind: FailureKind | None
) -> None:
    sky, question = Sky(), ProviderTries(due=due)
    assert once(sky, question=question).kind == kind
    assert len(sky.sent) == (kind is None)
    # From the first request on, however many are asked.
    assert question.due == (5.0 + FIRST_WORD_S if due is None else due)


def test_the_cost_of_every_try_is_the_questions() -> None:
    question = ProviderTries()
    failed: list[Delta] = [ReasoningDelta("Hm."), StreamEnd("stop", Usage(30, 9), "m")]
    once(Sky([failed]), question=question)
    assert question.cost_micro_usd == 39 + 2


def test_an_answer_that_never_ends_is_left_and_another_clock_is_no_reason() -> None:
    heard = once(Sky([400.0]))
    assert (heard.kind, str(heard.error)) == (
        K.STALL,
        "acme took longer than 300 s for its answer.",
    )
    with pytest.raises(TimeoutError, match="from inside"):
        once(Sky([100.0]))


FIRST = replace(CONFIG, deployment=1, base_url="https://one")
SECOND = replace(CONFIG, deployment=2, base_url="https://two")


@pytest.mark.parametrize(
    ("step", "keys"),
    [
        # Another key may be good, and is no repeat; what is wrong with the question is wrong there.
        (down(K.AUTH), 2),
        (down(K.SERVER), 2),
        (down(K.BAD_REQUEST), 1),
        ([TextDelta("Well")], 1),
    ],
)
def test_what_one_key_refuses_another_of_the_provider_is_asked_at_once(
    step: Step, keys: int
) -> None:
    sky, question = Sky([step]), ProviderTries()
    heard = once(sky, FIRST, SECOND, question=question, is_last=False)
    assert len({sent.url for sent in sky.sent}) == len(sky.sent) == keys
    assert {sent.at_s for sent in sky.sent} == {5.0}
    assert (question.repeats, heard.notices) == (0, [])
    assert len(heard.retries) == keys - 1


def test_each_key_is_fresh_once_and_both_together_are_asked_once_more() -> None:
    sky, question = Sky([down(K.SERVER)] * 9), ProviderTries()
    heard = once(sky, FIRST, SECOND, question=question)
    assert (heard.kind, question.repeats, len(sky.sent)) == (K.SERVER, 1, 3)


def test_repeats_are_a_share_of_all_questions_asked_a_minute() -> None:
    async def allowed(questions: int) -> int:
        sky = Sky()
        async with sky.providers(CONFIG) as providers:
            for _ in range(questions):
                await asked(providers, ProviderTries())
            return sum(providers.take_repeat(ACME) for _ in range(20))

    assert play(allowed(10)) == EXTRA_AT_LEAST
    assert play(allowed(30)) == 6


def test_a_repeat_is_counted_and_granted_only_to_who_is_to_come_again() -> None:
    async def story() -> None:
        async with Sky().providers(CONFIG) as providers:
            question = ProviderTries()
            assert not question.may_repeat(ACME, providers)
            question.again_at[ACME] = 1.0
            granted = [question.may_repeat(ACME, providers) for _ in range(3)]
            assert (granted, question.repeats) == ([True, True, False], MOST_REPEATS)
            other = ProviderTries(again_at={ACME: 1.0})
            granted = [other.may_repeat(ACME, providers) for _ in range(2)]
            # The minute's budget is spent by then.
            assert (granted, other.repeats) == ([True, False], 1)

    play(story())


def test_a_place_is_waited_for_where_nobody_is_in_a_hurry() -> None:
    sky = Sky(answer_s=2 * BRIEF_WAIT_S)

    async def story() -> list[Heard]:
        async with (
            sky.providers(replace(CONFIG, max_concurrent=1)) as providers,
            asyncio.TaskGroup() as tasks,
        ):
            both = [tasks.create_task(asked(providers, ProviderTries())) for _ in range(2)]
        return [task.result() for task in both]

    assert [heard.text for heard in play(story())] == ["Well.", "Well."]


@pytest.mark.parametrize(
    ("due", "is_hurried", "until"),
    [
        (None, False, [70.0, 70.0]),
        (50.0, False, [50.0, 50.0]),
        (90.0, False, [70.0, 70.0]),
        (50.0, True, [10.0 + BRIEF_WAIT_S, 20.0 + BRIEF_WAIT_S]),
    ],
)
def test_a_question_waits_in_all_lines_together_no_longer_than_in_one(
    due: float | None, is_hurried: bool, until: list[float]
) -> None:
    question = ProviderTries(due=due)
    found = [question.patience(now, 60.0, is_hurried=is_hurried) for now in (10.0, 20.0)]
    assert found == until
    assert question.patience(10.0, 1.0, is_hurried=True) == 11.0
