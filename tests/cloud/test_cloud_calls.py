"""Who may ask, how many at once, how often; and what is never sent."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from clocks import LoopClock
from cloud_house import (
    SAGE,
    Heard,
    asking,
    cloud_house,
    config_for,
    consent,
    judge_with,
    ledger_of,
)

from bot.cloud.call import CloudAsk
from bot.cloud.providers import Providers
from bot.cloud.serve import ProviderTries, serve
from bot.domain.chat import Message
from bot.domain.errors import Bug, FailureKind, Unavailable
from bot.domain.events import TextDelta
from bot.domain.ids import ProviderName, TurnId
from bot.domain.personas import Sampling
from bot.inference.streams import Inference
from bot.policy.budget import BudgetRules
from bot.policy.privacy import (
    PROBE,
    CloudConsent,
    Consent,
    LocalOnly,
    judge_probe,
)
from bot.sim.providers.config import SimProviderConfig, SimProviderModel, WireKind

K = FailureKind
ZAI = ProviderName("zai")
OPENAI = ProviderName("openai")


def now() -> float:
    return asyncio.get_running_loop().time()


# --- consent ----------------------------------------------------------------------------------


async def test_words_without_consent_are_never_sent(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "zai") as cloud:
        ask = cloud.ask()
        others = replace(ask, messages=(*ask.messages, Message("user", "a secret")))

        heard = await cloud.serve(ask=others)

        assert isinstance(heard.error, Bug)
        assert "without consent" in heard.error.user_message
        assert cloud.double().journal.calls == ()
        assert [row["state"] for row in await cloud.rows()] == ["released"]


async def test_a_consent_for_one_provider_is_none_for_another(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "zai", "openai") as cloud:
        ask = cloud.ask()
        given = consent(ask.messages, replace(SAGE, cloud=(OPENAI,)))
        ask = replace(ask, judge=judge_with(given))

        # Whom the persona may ask was changed while it waited; the next candidate may be asked.
        error = (await cloud.serve("zai", ask)).error
        assert isinstance(error, Unavailable)
        assert error.kind is FailureKind.CANCELLED
        assert cloud.doubles["zai"].journal.chats() == ()
        assert (await cloud.serve("openai", ask)).served is not None


async def test_something_that_looks_like_a_consent_is_none(tmp_path: Path) -> None:
    class AnyConsent:
        def covers(self, *_: object) -> bool:
            return True

    async def judge(messages: Sequence[Message]) -> CloudConsent:
        return AnyConsent()  # pyright: ignore[reportReturnType]  # that is what is tried

    async with cloud_house(tmp_path, "zai") as cloud:
        heard = await cloud.serve(ask=replace(cloud.ask(), judge=judge))
        assert isinstance(heard.error, Bug)
        assert cloud.double().journal.calls == ()


async def test_a_check_may_ask_our_own_words(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "zai") as cloud:
        ask = asking(TurnId("check"), "?", answer_tokens=1)
        ask = replace(ask, messages=PROBE, judge=judge_probe, user=None)
        heard = await cloud.serve(ask=ask)
        assert heard.served is not None
        assert cloud.double().journal.chats()[0].arrival.user == ""


async def test_a_check_consents_to_nothing_but_our_own_words(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "zai") as cloud:
        heard = await cloud.serve(ask=replace(cloud.ask(), judge=judge_probe))
        assert isinstance(heard.error, Bug)


@dataclass(slots=True)
class Mark:
    """A privacy mark that may be set in the middle of anything; counts how often it was read."""

    given: CloudConsent
    is_set: bool = False
    read: int = 0

    async def judge(self, messages: Sequence[Message]) -> Consent:
        self.read += 1
        return LocalOnly("its place is local only") if self.is_set else self.given

    def set(self, *_: object) -> None:
        self.is_set = True


def marked(ask: CloudAsk) -> tuple[CloudAsk, Mark]:
    mark = Mark(consent(ask.messages))
    return replace(ask, judge=mark.judge), mark


async def test_a_mark_set_while_a_question_waits_at_the_gate_sends_nothing(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "zai", max_concurrent=1) as cloud:
        ask, mark = marked(cloud.ask())
        async with asyncio.TaskGroup() as tasks, cloud.providers.call(cloud.only(ZAI), cloud.ask()):
            waiting = tasks.create_task(cloud.serve(ask=ask))
            await asyncio.sleep(0)
            mark.set()
        heard = waiting.result()
        assert (heard.kind, mark.read) == (K.CANCELLED, 1)
        assert "its place is local only" in str(heard.error)
        assert cloud.double().journal.calls == ()
        assert {row["state"] for row in await cloud.rows()} == {"released"}


async def test_a_mark_set_during_a_told_pause_sends_nothing(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "openai") as cloud:
        ask, mark = marked(cloud.ask())
        cloud.double("openai").faults.set("rate_limit", wait_s=0.01, times=1)

        async def sleep(seconds: float) -> None:
            mark.set()
            await asyncio.sleep(0)

        cloud.providers.sleep = sleep
        heard = await cloud.serve("openai", ask)
        # Before the connection and before its first word; then before the second try.
        assert (heard.kind, mark.read) == (K.CANCELLED, 3)
        assert len(cloud.double("openai").journal.chats()) == 1
        # Nor does it stand under the answer of somebody else who is asked for the same question.
        assert heard.notices == []
        question = ProviderTries()
        cloud.double("openai").faults.set("cut", times=1)
        again = await cloud.serve("openai", question=question)
        assert (again.notices, question.news) == (["openai was asked again."], "")


async def test_a_mark_set_while_all_wait_for_a_told_pause_sends_nothing(
    tmp_path: Path, loop_clock: LoopClock
) -> None:
    async with cloud_house(tmp_path, "openai", retries=0) as cloud:
        cloud.double("openai").faults.set("rate_limit", wait_s=2.0, times=1)
        assert (await cloud.serve("openai")).kind is K.RATE_LIMIT
        ask, mark = marked(cloud.ask())
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(cloud.serve("openai", ask))
            await loop_clock.armed(2.0)
            mark.set()
            loop_clock.passes(2.0)
        assert waiting.result().kind is K.CANCELLED
        assert len(cloud.double("openai").journal.chats()) == 1


async def test_a_mark_set_before_the_second_try_sends_nothing_again(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "zai") as cloud:
        ask, mark = marked(cloud.ask())
        cloud.double().faults.set("cut", times=1)
        heard = Heard()
        listener = heard.listener()

        async def again(error: Unavailable) -> None:
            mark.set()

        with pytest.raises(Unavailable, match="local only"):
            await serve(
                cloud.providers,
                ZAI,
                ask,
                ProviderTries(),
                replace(listener, again=again),
                is_last=True,
            )
        assert len(cloud.double().journal.chats()) == 1
        assert heard.notices == [], "it was not asked again"


async def test_a_mark_set_while_money_is_held_or_the_face_is_told_sends_nothing(
    tmp_path: Path,
) -> None:
    async with cloud_house(tmp_path, "zai") as cloud:
        ask, mark = marked(cloud.ask())
        heard = Heard()

        async def sent() -> None:
            mark.set()

        with pytest.raises(Unavailable, match="local only"):
            await serve(
                cloud.providers,
                ZAI,
                ask,
                ProviderTries(),
                replace(heard.listener(), sent=sent),
                is_last=True,
            )
        assert cloud.double().journal.calls == ()
        assert cloud.providers.snapshots(10, 10, now())[0].is_serving


@pytest.mark.parametrize("wire", ["zai", "openai", "anthropic"])
@pytest.mark.parametrize("is_marked", [True, False])
async def test_a_mark_set_while_the_connection_is_made_sends_nothing(
    tmp_path: Path, wire: WireKind, is_marked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, were_asked, may_answer = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    look_up = loop.getaddrinfo

    async def slowly(name: str, port: int, **options: int) -> object:
        were_asked.set()
        await may_answer.wait()
        return await look_up("127.0.0.1", port, **options)

    monkeypatch.setattr(loop, "getaddrinfo", slowly)
    async with (
        cloud_house(tmp_path, wire) as cloud,
        Inference() as inference,
    ):
        double = cloud.double(wire)
        config = config_for(double, wire)
        base_url = config.base_url.replace("127.0.0.1", "provider.test")
        async with Providers(
            [replace(config, base_url=base_url)],
            ledger=ledger_of(cloud.ledger),
            open_stream=inference.open,
            observe=cloud.news.append,
            utcnow=cloud.clock,
            draw=lambda: 0.5,
            salt="salt",
        ) as cloud.providers:
            ask, mark = marked(cloud.ask())
            async with asyncio.TaskGroup() as tasks:
                asking_it = tasks.create_task(cloud.serve(wire, ask))
                await were_asked.wait()
                mark.is_set = is_marked
                may_answer.set()
            heard = asking_it.result()
        assert (heard.kind, mark.read) == (K.CANCELLED if is_marked else None, 2)
        assert len(double.journal.chats()) == (0 if is_marked else 1)
        row = (await cloud.rows())[-1]
        assert (row["basis"] == "nothing") == is_marked


# --- what is sent -----------------------------------------------------------------------------


async def test_the_answer_always_has_a_limit_and_the_personas_sampling(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "zai") as cloud:
        ask = replace(cloud.ask(), sampling=Sampling(temperature=0.3, max_tokens=9))
        await cloud.serve(ask=ask)

        payload = cloud.double().journal.chats()[0].arrival.payload
        assert (payload["max_tokens"], payload["temperature"]) == (200, 0.3)
        assert payload["thinking"] == {"type": "disabled"}


@pytest.mark.parametrize(
    ("said", "sent"), [(Sampling(), (77, 0.5)), (Sampling(temperature=0.0, max_tokens=9), (9, 0.0))]
)
async def test_a_providers_room_and_temperature_hold_where_the_persona_says_none(
    tmp_path: Path, said: Sampling, sent: tuple[int, float]
) -> None:
    async with cloud_house(tmp_path, "zai", max_tokens=77, temperature=0.5) as cloud:
        ask = replace(cloud.ask(), sampling=said, answer_tokens=said.max_tokens or 1024)
        await cloud.serve(ask=ask)

        payload = cloud.double().journal.chats()[0].arrival.payload
        assert (payload["max_tokens"], payload["temperature"]) == sent


async def test_a_model_that_must_think_gets_room_for_it(tmp_path: Path) -> None:
    models = (SimProviderModel("glm-5.3-flash", thinking="always", efforts=("low", "high")),)
    sim = SimProviderConfig(time_scale=0.0, models=models)
    async with cloud_house(tmp_path, "zai", sim=sim) as cloud:
        heard = await cloud.serve(ask=cloud.ask("Why? [[think 900]]"))

        assert heard.served is not None
        assert heard.reasoning
        payload = cloud.double().journal.chats()[0].arrival.payload
        assert payload["max_tokens"] == 200 + 4096


async def test_nobody_is_configured_by_that_name(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "zai") as cloud:
        heard = await cloud.serve("openai")
        assert heard.kind is K.NOT_THERE
        assert cloud.providers.names == (ZAI,)


# --- how many, how often ----------------------------------------------------------------------


async def test_a_provider_is_given_only_so_many_at_once(tmp_path: Path) -> None:
    sim = SimProviderConfig(time_scale=0.0, max_concurrent=3)
    async with cloud_house(tmp_path, "openai", sim=sim, max_concurrent=3) as cloud:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(cloud.serve("openai")) for _ in range(20)]

        assert all(task.result().served for task in tasks)
        assert len(cloud.double("openai").journal.chats()) == 20


async def test_z_ai_is_begun_with_two_and_fewer_when_it_says_too_many(tmp_path: Path) -> None:
    sim = SimProviderConfig(time_scale=0.0, max_concurrent=1)
    async with cloud_house(tmp_path, "zai", sim=sim) as cloud:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(cloud.serve()) for _ in range(8)]

        assert all(task.result().served for task in tasks)
        refused = [call for call in cloud.double().journal.chats() if call.reason == "1302"]
        assert len(refused) <= 1


async def test_who_finds_no_place_in_time_is_sent_to_the_next(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "openai", max_concurrent=1, max_wait_s=0.02) as cloud:
        cloud.double("openai").faults.set("stall", after_tokens=1, times=1)
        async with asyncio.TaskGroup() as group:
            holder = group.create_task(cloud.serve("openai"))
            await cloud.double("openai").journal.until(lambda journal: bool(journal.open))
            waiting = await cloud.serve("openai")
            holder.cancel()

        assert waiting.kind is K.BUSY
        assert waiting.requests == 0
        assert (await cloud.serve("openai")).served is not None


async def test_the_configured_rate_is_kept_and_the_next_candidate_asked(tmp_path: Path) -> None:
    async with cloud_house(
        tmp_path, "openai", rate_count=2, rate_period_s=3600.0, max_wait_s=0.02
    ) as cloud:
        heard = [await cloud.serve("openai") for _ in range(4)]

        assert [h.kind for h in heard] == [None, None, K.BUSY, K.BUSY]
        assert len(cloud.double("openai").journal.chats()) == 2
        assert cloud.news == []


async def test_what_a_budget_refused_counts_for_no_rate(tmp_path: Path) -> None:
    # Another key's questions waited seconds for the turns of those that were never sent.
    async with cloud_house(
        tmp_path,
        "openai",
        rules=BudgetRules(per_user_micro_usd=100_000),
        rate_count=2,
        rate_period_s=3600.0,
        max_wait_s=0.02,
    ) as cloud:
        dear = cloud.ask(answer_tokens=1_000_000)
        assert {(await cloud.serve("openai", ask=dear)).kind for _ in range(5)} == {K.BUDGET}
        heard = [await cloud.serve("openai") for _ in range(3)]
        assert [h.kind for h in heard] == [None, None, K.BUSY]


async def test_who_is_turned_away_for_the_rate_takes_no_place_with_them(
    tmp_path: Path, loop_clock: LoopClock
) -> None:
    async with cloud_house(
        tmp_path, "openai", rate_count=1, rate_period_s=2.0, max_wait_s=0.0, max_concurrent=1
    ) as cloud:
        heard = [await cloud.serve("openai") for _ in range(3)]
        assert heard[0].served is not None
        assert [h.kind for h in heard[1:]] == [K.BUSY] * 2
        loop_clock.passes(2.0)
        cloud.providers.renew(config_for(cloud.double("openai"), "openai", max_wait_s=1.0))
        assert (await cloud.serve("openai")).served is not None


async def test_a_short_wait_for_the_rate_is_waited_for(
    tmp_path: Path, loop_clock: LoopClock
) -> None:
    async with cloud_house(tmp_path, "openai", rate_count=1, rate_period_s=0.5) as cloud:
        heard = [await cloud.serve("openai")]
        for _ in range(2):
            async with asyncio.TaskGroup() as tasks:
                waiting = tasks.create_task(cloud.serve("openai"))
                await loop_clock.armed(0.5)
                loop_clock.passes(0.5)
            heard.append(waiting.result())
        first, second, third = (c.arrival.at for c in cloud.double("openai").journal.chats())

        assert all(h.served for h in heard)
        assert (second - first, third - second) == (0.5, 0.5)


# --- the breaker ------------------------------------------------------------------------------


@pytest.mark.slow
async def test_half_open_lets_one_request_try_and_its_answer_closes_it(
    tmp_path: Path, loop_clock: LoopClock
) -> None:
    rules = BudgetRules(per_user_micro_usd=100_000)
    async with cloud_house(tmp_path, "zai", rules=rules) as cloud:
        double = cloud.double()
        double.faults.set("plan_limit", code="1308", wait_s=1.0, times=1)
        assert (await cloud.serve()).kind is K.PLAN_LIMIT
        assert (await cloud.serve()).requests == 0
        loop_clock.passes(1.0)
        # One that was never sent is no trial: the next one may be it.
        dear = cloud.ask(answer_tokens=100_000)
        assert (await cloud.serve(ask=dear)).kind is K.BUDGET

        async with (
            cloud.providers.call(cloud.only(ZAI), cloud.ask()) as trial,
            trial.open() as deltas,
        ):
            others = [await cloud.serve() for _ in range(3)]
            async for _ in deltas:
                pass

        assert [h.kind for h in others] == [K.PLAN_LIMIT] * 3
        assert "being tried again just now" in str(others[0].error)
        assert (await cloud.serve()).served is not None
        assert [event.what for event in cloud.news] == ["out", "back"]


async def test_an_overload_storm_is_not_multiplied(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "openai", max_concurrent=50) as cloud:
        double = cloud.double("openai")
        double.faults.set("overload")
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(cloud.serve("openai")) for _ in range(50)]

        assert {task.result().kind for task in tasks} == {K.OVERLOAD}
        assert len(double.journal.chats()) <= 60
        assert (await cloud.serve("openai")).requests == 0
        assert [event.what for event in cloud.news] == ["out"]


async def test_a_trial_that_is_left_lets_the_next_one_try(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "openai", retries=0) as cloud:
        cloud.double("openai").faults.set("server", times=1)
        await cloud.serve("openai")
        ask = cloud.ask()
        async with cloud.providers.call(cloud.only(OPENAI), ask) as call, call.open() as deltas:
            async for delta in deltas:
                if isinstance(delta, TextDelta):
                    break
        assert cloud.providers.snapshots(1, 1, now())[0].is_serving
        assert [row["basis"] for row in await cloud.rows()] == ["nothing", "counted"]


async def test_a_call_that_is_never_sent_costs_nothing(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "openai") as cloud:
        async with cloud.providers.call(cloud.only(OPENAI), cloud.ask()) as call:
            assert call.endpoint.source == "openai"
        assert [row["basis"] for row in await cloud.rows()] == ["nothing"]


# --- what routing and people are told ---------------------------------------------------------


async def test_the_first_word_is_timed(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "openai") as cloud:
        assert cloud.providers.snapshots(1, 1, now())[0].first_token_s is None
        await cloud.serve("openai")
        first = cloud.providers.snapshots(1, 1, now())[0].first_token_s
        assert first is not None
        assert first > 0


async def test_a_provider_may_be_given_other_settings(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "openai") as cloud:
        config = config_for(cloud.double("openai"), "openai", quality=9, retries=0)
        cloud.providers.renew(config)
        assert cloud.providers.config(OPENAI).quality == 9
        with pytest.raises(Unavailable, match="No provider"):
            cloud.providers.renew(replace(config, name=ZAI))


async def test_the_cheapest_provider_prices_what_home_saved(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "zai", "openai", "anthropic") as cloud:
        found = await cloud.providers.cheapest()
        assert found is not None
        assert found[0] in ("anthropic", "openai")
        assert found[1].steps[0].output == 500_000
    async with cloud_house(tmp_path, "zai", price=None) as cloud:
        assert (await cloud.providers.cheapest() or ("",))[0] == "zai"


async def test_a_question_over_several_providers_is_counted_once(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "zai", "openai") as cloud:
        cloud.double("zai").faults.set("overload")
        question = ProviderTries()
        first = await cloud.serve("zai", question=question, is_last=False)
        second = await cloud.serve("openai", question=question)

        assert (first.requests, second.requests) == (1, 1)
        assert second.served is not None
        assert question.asked == {"zai": {0: 1}, "openai": {0: 1}}
        assert question.cost_micro_usd == cloud.double("openai").journal.cost_micro_usd
