"""One call by itself: what is held for it, what is sent, what came of it and what it costs."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Literal

import pytest
from cloud_house import ADA, SAGE, SALT, SERVER, asking, consent
from virtual_time import play

from bot.cloud.call import CloudAsk, ProviderCall
from bot.cloud.reservation import reservation
from bot.domain.chat import Endpoint, InferenceRequest, Usage, Verbatim
from bot.domain.cloud import Booking, ProviderConfig, Settlement
from bot.domain.errors import BotError, Bug, FailureKind, PromptTooLong, Unavailable
from bot.domain.events import Delta, ReasoningDelta, StreamEnd, TextDelta
from bot.domain.ids import ModelKey, ProviderName, TurnId
from bot.domain.personas import Sampling
from bot.policy.context import message_tokens
from bot.policy.pricing import flat_price, worst_cost
from bot.policy.privacy import LEDGER, Consent, LocalOnly, user_hash

K = FailureKind
Thinking = Literal["auto", "off"]
PRICE = flat_price(1_000_000, 2_000_000)
CONFIG = ProviderConfig(
    ProviderName("zai"),
    "https://api.example/v1",
    ModelKey("glm-4.6"),
    wire="anthropic",
    dialect="zai",
    api_key="key",
    timeout_s=7.0,
    idle_s=8.0,
)
ASK = asking(TurnId("t1"), "Why is the sky blue?", "Because.", "Why?")
PROMPT = sum(map(message_tokens, ASK.messages))


@asynccontextmanager
async def silence(_: Endpoint, __: InferenceRequest) -> AsyncGenerator[AsyncIterator[Delta]]:
    raise AssertionError("nothing was to be sent")
    yield


def reserved(config: ProviderConfig = CONFIG, **asked: object) -> tuple[Booking, ProviderCall]:
    return reservation(config, replace(ASK, **asked), PRICE, SALT, silence)


# --- what is held and sent --------------------------------------------------------------------


def test_the_worst_case_of_the_whole_prompt_and_answer_is_booked() -> None:
    booking, call = reserved()
    assert booking == Booking(
        TurnId("t1"),
        CONFIG.name,
        CONFIG.model,
        worst_cost(PRICE, PROMPT, 200),
        PRICE,
        user_hash(SALT, LEDGER, ADA),
        SERVER,
        answer_tokens=200,
    )
    assert (call.prompt_tokens, call.price, call.number) == (PROMPT, PRICE, 0)


def test_what_is_sent_is_said_by_the_settings_and_always_limited() -> None:
    sampling = Sampling(temperature=0.3, max_tokens=9)
    _, call = reserved(sampling=sampling)
    name = user_hash(SALT, CONFIG.name, ADA)
    assert call.request == InferenceRequest(ASK.messages, replace(sampling, max_tokens=200), name)
    assert call.endpoint == Endpoint(
        base_url=CONFIG.base_url,
        model=CONFIG.model,
        wire="anthropic",
        token="key",
        source="zai",
        is_local=False,
        first_token_s=7.0,
        idle_s=8.0,
        dialect="zai",
        thinking="off",
    )


@pytest.mark.parametrize(
    ("configured", "asked", "sent"), [(0.7, None, 0.7), (0.7, 0.0, 0.0), (None, None, None)]
)
def test_the_temperature_of_a_persona_goes_before_the_configured(
    configured: float | None, asked: float | None, sent: float | None
) -> None:
    config = replace(CONFIG, temperature=configured)
    _, call = reserved(config, sampling=Sampling(temperature=asked))
    assert call.request.sampling.temperature == sent


def test_a_users_own_limit_is_booked_with_and_a_clients_own_request_is_passed_on() -> None:
    own = Verbatim({"model": "m"}, list[str]().append)
    booking, call = reserved(daily_micro_usd=50, verbatim=own)
    assert booking.daily_micro_usd == 50
    assert call.request.verbatim is own


@pytest.mark.parametrize(
    ("configured", "asked", "thinking", "room", "first_token_s"),
    [
        ("off", None, "off", 200, 7.0),
        ("off", "auto", "auto", 200 + 8192, 90.0),
        ("auto", None, "auto", 200 + 8192, 90.0),
        ("auto", "off", "off", 200, 7.0),
    ],
)
def test_thinking_gets_room_and_time_of_its_own_and_is_paid_for(
    configured: Thinking,
    asked: Thinking | None,
    thinking: Thinking,
    room: int,
    first_token_s: float,
) -> None:
    config = replace(CONFIG, thinking=configured)
    booking, call = reserved(config, thinking=asked)
    assert booking.worst_micro_usd == worst_cost(PRICE, PROMPT, room)
    assert call.request.sampling.max_tokens == room
    assert (call.endpoint.thinking, call.endpoint.first_token_s) == (thinking, first_token_s)


def test_nobody_is_nobody_to_the_ledger_and_the_provider() -> None:
    booking, call = reserved(user=None, server=None)
    assert (booking.user, booking.server, call.request.user_hash) == ("", None, None)


# --- what came and what it costs --------------------------------------------------------------


def call_of(*deltas: Delta, fails: BaseException | None = None, opens: bool = True) -> ProviderCall:
    """A call whose stream gives these deltas, a second apart, and then fails or ends."""

    async def stream() -> AsyncGenerator[Delta]:
        for delta in deltas:
            await asyncio.sleep(1.0)
            yield delta
        if fails is not None:
            raise fails

    @asynccontextmanager
    async def opened(_: Endpoint, __: InferenceRequest) -> AsyncGenerator[AsyncIterator[Delta]]:
        if fails is not None and not opens:
            raise fails
        yield stream()

    _, call = reservation(CONFIG, ASK, PRICE, SALT, opened)
    call.number = 5
    return call


async def run(call: ProviderCall, most: int = 100) -> BaseException | None:
    """Read so many deltas, five seconds from now; the error that ended it."""
    await asyncio.sleep(5.0)
    try:
        async with call.open() as deltas:
            async for _ in deltas:
                most -= 1
                if most == 0:
                    return None
    except BotError as error:
        return error
    return None


WORDS = (ReasoningDelta("hm"), TextDelta(" "), TextDelta("blue"))
TOLD = Usage(10, 4, cached_tokens=2)
END = StreamEnd("stop", TOLD, CONFIG.model)


def test_a_whole_answer_costs_what_the_provider_counted_and_is_timed() -> None:
    call = call_of(*WORDS, END)
    assert play(run(call)) is None
    assert call.settlement(None) == Settlement(
        5, "usage", 18, TOLD, PRICE.steps[0], is_answer=True, first_token_s=1.0, generation_s=2.0
    )
    assert (call.cost_micro_usd, call.first_token_s, call.end) == (18, 1.0, END)
    assert (call.has_shown, call.has_text, call.has_reasoning) == (True, True, True)


@pytest.mark.parametrize(
    ("deltas", "shown", "text", "thought"),
    [
        ((), False, False, False),
        (WORDS[:1], False, False, True),
        (WORDS[:2], True, False, True),
        (WORDS[1:], True, True, False),
        ((TextDelta("blue"), TextDelta(" ")), True, True, False),
    ],
)
def test_what_was_heard_is_told_apart(
    deltas: tuple[Delta, ...], shown: bool, text: bool, thought: bool
) -> None:
    call = call_of(*deltas)
    play(run(call))
    assert (call.has_shown, call.has_text, call.has_reasoning) == (shown, text, thought)
    assert call.end is None


def test_an_answer_that_was_left_or_broke_is_counted_and_its_prompt_paid() -> None:
    left = call_of(*WORDS, END)
    play(run(left, most=2))
    broken = call_of(*WORDS[:2], fails=Unavailable("cut", K.CUT))
    error = play(run(broken))
    for call, ended_by in ((left, asyncio.CancelledError()), (broken, error)):
        settlement = call.settlement(ended_by)
        assert settlement.basis == "counted"
        assert settlement.usage == Usage(PROMPT, 2, reasoning_tokens=1, estimated=True)
        assert settlement.cost_micro_usd == call.cost_micro_usd == PROMPT + 4


def test_one_that_gave_no_word_before_it_was_left_still_pays_its_prompt() -> None:
    left, broken = call_of(), call_of(fails=Unavailable("server", K.SERVER))
    for call, error in ((left, asyncio.CancelledError()), (broken, play(run(broken)))):
        play(run(left))
        assert call.settlement(error).cost_micro_usd == PROMPT
        assert call.first_token_s is None


def opened(ask: CloudAsk, due: float | None = None) -> tuple[Endpoint, InferenceRequest]:
    """What goes out for a question at second 5, its words judged once more as it is sent."""
    sent: list[tuple[Endpoint, InferenceRequest]] = []

    @asynccontextmanager
    async def stream(
        endpoint: Endpoint, request: InferenceRequest
    ) -> AsyncGenerator[AsyncIterator[Delta]]:
        sent.append((endpoint, request))
        assert request.before_words is not None
        await request.before_words()
        yield nothing()

    async def nothing() -> AsyncGenerator[Delta]:
        for delta in ():
            yield delta

    async def story() -> None:
        await asyncio.sleep(5.0)
        _, call = reservation(CONFIG, ask, PRICE, SALT, stream)
        async with call.open(due):
            assert call.sent_at == 5.0

    play(story())
    return sent[0]


@pytest.mark.parametrize(
    ("due", "left_s"), [(None, 7.0), (20.0, 7.0), (11.0, 6.0), (5.5, 0.5), (5.0, 0.0), (4.0, 0.0)]
)
def test_the_first_word_is_waited_for_no_longer_than_the_question_has(
    due: float | None, left_s: float
) -> None:
    assert opened(ASK, due)[0].first_token_s == left_s


@pytest.mark.parametrize("good", [0, 1])
@pytest.mark.parametrize(
    ("then", "error", "words"),
    [
        (LocalOnly("private by now"), Unavailable, "was not asked (private by now)"),
        (
            consent(ASK.messages, replace(SAGE, cloud=(ProviderName("openai"),))),
            Unavailable,
            "does not use it any more",
        ),
        (consent(ASK.messages[:1]), Bug, "without consent"),
        (replace(ASK, messages=()), Bug, "without consent"),
    ],
)
def test_words_are_judged_before_they_are_sent_and_once_more_as_they_are(
    good: int, then: object, error: type[Exception], words: str
) -> None:
    given = [*[consent(ASK.messages)] * good, then]

    async def judge(_: object) -> Consent:
        return given.pop(0)  # pyright: ignore[reportReturnType]  # what merely looks like one

    with pytest.raises(error, match=re.escape(words)) as raised:
        opened(replace(ASK, judge=judge))
    if isinstance(raised.value, Unavailable):
        assert raised.value.kind is K.CANCELLED


FREE = Settlement(5, "nothing")


@pytest.mark.parametrize(
    ("error", "basis"),
    [
        (Unavailable("no key", K.AUTH), "nothing"),
        (Unavailable("busy", K.OVERLOAD), "nothing"),
        (Unavailable("nobody there", K.CONNECT), "nothing"),
        (PromptTooLong("too long"), "nothing"),
        (Unavailable("silence", K.TIMEOUT), "counted"),
        (Unavailable("cut", K.CUT), "counted"),
        (asyncio.CancelledError(), "counted"),
    ],
)
async def test_an_error_instead_of_a_stream_is_free_unless_the_prompt_may_have_been_read(
    error: BaseException, basis: str
) -> None:
    call = call_of(fails=error, opens=False)
    with pytest.raises(type(error)):
        async with call.open():
            pass
    settlement = call.settlement(error)
    assert settlement.basis == basis
    if basis == "nothing":
        assert settlement == FREE
        assert call.cost_micro_usd == 0


def test_what_was_never_sent_is_free_whatever_ended_it() -> None:
    assert call_of().settlement(asyncio.CancelledError()) == FREE
    assert call_of().settlement(Unavailable("cut", K.CUT)) == FREE
    assert call_of().settlement(None) == FREE
