"""Who may ask one provider now: its health, its gate, its rate; and what is said meanwhile."""

import asyncio
from dataclasses import replace

import pytest
from virtual_time import play

from bot.cloud.call import ProviderCall
from bot.cloud.deployment import Deployment, TellPlace
from bot.domain.chat import Endpoint, InferenceRequest, Usage
from bot.domain.cloud import CloudEvent, Price, ProviderConfig, ProviderNews, ProviderStanding
from bot.domain.errors import FailureKind, Refused, Unavailable
from bot.domain.events import StreamEnd
from bot.domain.ids import ModelKey, ProviderName
from bot.policy.breaker import Breaker, hold
from bot.policy.concurrency import ANSWER_S
from bot.policy.privacy import judge_probe
from bot.policy.provider_health import Outage, ProviderHealth

K = FailureKind
CONFIG = ProviderConfig(
    ProviderName("acme"), "https://api.example/v1", ModelKey("m"), max_concurrent=2
)
END = StreamEnd("stop", Usage(1, 1), CONFIG.model)
LIMIT = Outage(K.PLAN_LIMIT, "Limit reached.", 0.0)


def provider_of(news: list[CloudEvent] | None = None, **changes: object) -> Deployment:
    return Deployment(replace(CONFIG, **changes), (news if news is not None else []).append)


def call_of(end: StreamEnd | None = None, first_token_s: float | None = None) -> ProviderCall:
    endpoint, request = Endpoint("https://api.example/v1", "m"), InferenceRequest(())

    def open_stream(_: Endpoint, __: InferenceRequest) -> object:
        raise AssertionError("nothing is to be sent")

    return ProviderCall(
        CONFIG.name,
        endpoint,
        request,
        judge_probe,
        Price(),
        0,
        open_stream,  # pyright: ignore[reportArgumentType]  # never called
        end=end,
        first_token_s=first_token_s,
    )


async def unheard(place: int, seconds: float) -> None:
    """Of a wait that nobody looks at."""


async def enter(
    provider: Deployment, *, within_s: float = 0.0, for_s: float = 0.0, tell: TellPlace = unheard
) -> float:
    """Take a place and hold it a while; the time it was taken at."""
    loop = asyncio.get_running_loop()
    async with provider.place("ada", loop.time() + within_s, tell):
        at = loop.time()
        await asyncio.sleep(for_s)
    return at


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"),
        (1.4, "1 s"),
        (89.0, "89 s"),
        (90.0, "2 min"),
        (5399.0, "90 min"),
        (5400.0, "2 h"),
        (36_000.0, "10 h"),
    ],
)
def test_how_long_a_provider_is_out_is_told_roughly(seconds: float, words: str) -> None:
    provider = provider_of()
    provider.health = ProviderHealth(outage=replace(LIMIT, until=100.0 + seconds))
    assert provider.why_out(100.0) == f"Limit reached. Again in {words}."


def test_an_outage_without_an_end_tells_none() -> None:
    provider = provider_of()
    provider.health = ProviderHealth(outage=replace(LIMIT, until=None))
    assert provider.why_out(100.0) == "Limit reached."


@pytest.mark.parametrize(
    ("told_s", "words"), [(20.0, ""), (20.1, "It asked us to slow down. Again in 20 s.")]
)
def test_a_wait_that_was_asked_for_takes_it_out_where_nobody_waits_so_long(
    told_s: float, words: str
) -> None:
    provider = provider_of(max_wait_s=20.0)
    provider.health = ProviderHealth(wait_until=100.0 + told_s)
    assert provider.why_out(100.0) == words


def test_who_is_out_is_not_asked_and_says_for_how_long() -> None:
    provider = provider_of()
    provider.health = ProviderHealth(outage=replace(LIMIT, until=30.0))
    words = r"^acme is not asked now: Limit reached\. Again in 30 s\.$"
    with pytest.raises(Unavailable, match=words) as raised:
        play(enter(provider))
    assert (raised.value.kind, raised.value.retry_after_s) == (K.PLAN_LIMIT, 30.0)
    assert not provider.gate.holding


def test_who_finds_no_place_in_time_is_told_how_many_are_in() -> None:
    provider = provider_of()

    async def crowd() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(enter(provider, for_s=10.0))
            await asyncio.sleep(0.0)
            with pytest.raises(Unavailable, match="busy with 2 other questions") as raised:
                await enter(provider, within_s=5.0)
            assert raised.value.kind is K.BUSY
            assert await enter(provider, within_s=6.0) == 10.0

    play(crowd())
    assert not provider.gate.holding


@pytest.mark.parametrize(
    ("wait_s", "within_s", "is_taken"),
    [(3.0, 3.0, True), (3.0, 2.9, False), (50.0, 60.0, True)],
)
def test_a_wait_that_was_asked_for_is_kept_to_and_shown_when_it_ends_in_time(
    wait_s: float, within_s: float, is_taken: bool
) -> None:
    provider = provider_of()
    provider.health = ProviderHealth(wait_until=wait_s)
    told: list[tuple[int, float]] = []

    async def tell(place: int, seconds: float) -> None:
        told.append((place, seconds))

    if is_taken:
        assert play(enter(provider, within_s=within_s, tell=tell)) == pytest.approx(wait_s)
        assert told == [(1, wait_s)]
    else:
        with pytest.raises(Unavailable, match="takes no more questions for") as raised:
            play(enter(provider, within_s=within_s))
        assert (raised.value.kind, raised.value.retry_after_s) == (K.BUSY, wait_s)
    assert not provider.gate.holding


@pytest.mark.parametrize(("within_s", "is_taken"), [(30.0, True), (29.0, False)])
def test_the_configured_rate_is_waited_for_when_it_is_in_time(
    within_s: float, is_taken: bool
) -> None:
    provider = provider_of(rate_count=2, rate_period_s=60.0)

    async def thrice() -> float:
        await enter(provider)
        await enter(provider)
        return await enter(provider, within_s=within_s)

    if is_taken:
        assert play(thrice()) == pytest.approx(30.0)
    else:
        with pytest.raises(Unavailable, match="takes no more questions for 30 s") as raised:
            play(thrice())
        assert raised.value.retry_after_s == pytest.approx(30.0)
    assert not provider.gate.holding


def test_who_waited_while_another_failed_is_not_sent() -> None:
    provider = provider_of(max_concurrent=1)

    async def meanwhile() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(enter(provider, for_s=1.0))
            await asyncio.sleep(0.25)
            waiting = group.create_task(refused(provider))
            await asyncio.sleep(0.25)
            provider.health = ProviderHealth(outage=replace(LIMIT, until=30.0))
            # Who comes now does not even wait.
            with pytest.raises(Unavailable, match="Limit reached") as raised:
                await enter(provider)
            assert raised.value.retry_after_s == 29.5
        assert waiting.result() is K.PLAN_LIMIT

    play(meanwhile())
    assert not provider.gate.holding


async def refused(provider: Deployment) -> FailureKind | None:
    try:
        await enter(provider, within_s=60.0)
    except Unavailable as error:
        return error.kind
    return None


def test_half_open_lets_one_in_and_the_next_when_it_was_abandoned() -> None:
    provider = provider_of()
    trial = hold(Breaker(), -10.0, 5.0)
    provider.health = ProviderHealth(trial, last_kind=K.SERVER, last_reason="It failed.")

    async def try_it() -> None:
        async with provider.place("ada", 0.0, unheard):
            assert "being tried again just now" in provider.why_out(0.0)
            assert await refused(provider) is K.SERVER
            provider.abandon()
        assert await refused(provider) is None

    play(try_it())


def ended(
    provider: Deployment, error: BaseException | None, call: ProviderCall | None = None
) -> None:
    async def end() -> None:
        provider.ended(call or call_of(), error, jitter=0.5)

    play(end())


def test_how_a_call_ended_is_told_the_admins_once() -> None:
    news: list[CloudEvent] = []
    provider = provider_of(news)
    wrong_key = Unavailable("Wrong key.", K.AUTH)
    ended(provider, wrong_key)
    ended(provider, wrong_key)
    assert news == [ProviderNews("out", CONFIG.name, K.AUTH, "Wrong key.")]
    ended(provider, None, call_of(END, 2.0))
    ended(provider, None, call_of(END, 2.0))
    assert news[1:] == [ProviderNews("back", CONFIG.name)]


def test_an_answer_is_timed_and_a_refusal_is_one() -> None:
    provider = provider_of()
    ended(provider, None, call_of(END, 2.0))
    assert provider.first_token_s == 2.0
    provider.health = ProviderHealth(outage=LIMIT)
    ended(provider, Refused("no"), call_of(None, None))
    assert provider.health == ProviderHealth()
    assert provider.first_token_s == 2.0


def test_a_call_that_was_left_proves_nothing() -> None:
    provider = provider_of()
    trial = hold(Breaker(), -10.0, 5.0)
    provider.health = ProviderHealth(replace(trial, trial_until=100.0))
    ended(provider, asyncio.CancelledError(), call_of(None, 2.0))
    assert provider.health == ProviderHealth(trial)
    assert provider.first_token_s is None


@pytest.mark.parametrize(
    ("kind", "left"), [(K.RATE_LIMIT, 1), (K.OVERLOAD, 1), (K.SERVER, 2), (K.BUSY, 2)]
)
def test_who_says_too_much_is_asked_less_at_once(kind: FailureKind, left: int) -> None:
    provider = provider_of()
    ended(provider, Unavailable("too many", kind), replace(call_of(), sent_at=0.0))
    assert provider.gate.concurrency.limit == left


def test_a_refusal_of_what_was_never_sent_changes_nothing() -> None:
    provider = provider_of()
    ended(provider, Unavailable("too many", K.RATE_LIMIT), call_of())
    assert provider.gate.concurrency.limit == 2


def test_the_wait_is_told_from_how_long_answers_took_and_what_it_asked_for() -> None:
    provider = provider_of()

    async def answered() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(enter(provider, within_s=99.0, for_s=20.0))
            await asyncio.sleep(10.0)
            assert provider.wait_s(1, 10.0) == ANSWER_S - 10.0 / 2
            provider.ended(replace(call_of(END), sent_at=2.0), None, jitter=0.5)
            provider.health = ProviderHealth(wait_until=13.0)
            # Those under way outlast the eight seconds that one answer took.
            assert provider.wait_s(3, 10.0) == 3.0 + 5.0 + 8.0
            provider.health = ProviderHealth()

    play(answered())


@pytest.mark.parametrize(("dialect", "limit"), [("zai", 2), ("generic", 5)])
def test_only_who_tells_no_limit_is_begun_with_few(dialect: str, limit: int) -> None:
    assert provider_of(max_concurrent=5, dialect=dialect).gate.concurrency.limit == limit


def test_who_was_told_to_be_out_is_told_to_be_back_though_its_settings_are_new() -> None:
    news: list[CloudEvent] = []
    provider = provider_of(news)
    ended(provider, Unavailable("Wrong key.", K.AUTH))
    provider.renew(CONFIG)
    ended(provider, None, call_of(END, 2.0))
    assert news[1:] == [ProviderNews("back", CONFIG.name)]


def test_how_it_stands_is_told_with_who_is_in_and_who_waits() -> None:
    provider = provider_of(deployment=3)

    async def crowd() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(enter(provider, within_s=99.0, for_s=10.0))
            await asyncio.sleep(5.0)
            provider.health = ProviderHealth(outage=replace(LIMIT, until=65.0), wait_until=9.0)
            assert provider.told(5.0) == ProviderStanding(
                name=ProviderName("acme/3"),
                model=CONFIG.model,
                reason="Limit reached. Again in 60 s.",
                limited_s=4.0,
                running=2,
                waiting=1,
                accounts=(),
            )
            assert provider.told(10.0).limited_s == 0.0
            provider.health = ProviderHealth()

    play(crowd())
    assert (provider.told(20.0).running, provider.told(20.0).waiting) == (0, 0)


def test_of_two_keys_the_one_that_is_in_service_less_asked_and_sooner_suits_best() -> None:
    provider = provider_of(rate_count=2, rate_period_s=60.0)
    assert provider.standing(0, 5.0) == (False, 0, 0.0)

    async def crowd() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(enter(provider, within_s=99.0, for_s=10.0))
            await asyncio.sleep(1.0)
            # Both places are taken, and the rate of a minute: the longer wait counts.
            out, asked, seconds = provider.standing(1, 1.0)
            assert (out, asked) == (False, 1)
            assert seconds > provider.wait_s(1, 1.0) > 0.0
            provider.health = ProviderHealth(outage=replace(LIMIT, until=65.0), wait_until=99.0)
            assert provider.standing(1, 1.0) == (True, 1, provider.wait_s(1, 1.0))
            provider.health = ProviderHealth()

    play(crowd())


def test_new_settings_forget_what_was() -> None:
    provider = provider_of()
    provider.health = ProviderHealth(outage=LIMIT)
    provider.renew(replace(CONFIG, rate_count=1))
    assert provider.health == ProviderHealth()

    async def twice() -> None:
        await enter(provider)
        await enter(provider)

    with pytest.raises(Unavailable, match="takes no more questions for 60 s"):
        play(twice())
