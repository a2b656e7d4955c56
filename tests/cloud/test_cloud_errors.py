"""Every row of the error table, against providers on real sockets."""

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pytest
from clocks import LoopClock
from cloud_house import Cloud, Heard, asking, cloud_house, config_for

from bot.cloud.call import CloudAsk
from bot.cloud.serve import ProviderTries
from bot.domain.errors import FailureKind, Refused
from bot.domain.ids import ProviderName
from bot.policy.retry import FIRST_WORD_S
from bot.sim.providers.config import WireKind
from bot.sim.providers.faults import FaultName


@dataclass(frozen=True, slots=True)
class Case:
    """One row in one wire's form."""

    wire: WireKind
    fault: FaultName
    code: str = ""
    kind: FailureKind | None = None
    calls: int = 1
    news: Literal["out", "trouble"] | None = None


K = FailureKind
OUT: list[Case] = [
    *(
        Case("zai", "auth", code, K.AUTH)
        for code in ("401", "1000", "1001", "1002", "1003", "1004")
    ),
    Case("zai", "forbidden", "1220", K.AUTH),
    Case("zai", "auth", "1112", K.AUTH),
    Case("openai", "auth", kind=K.AUTH),
    Case("openai", "forbidden", kind=K.AUTH),
    Case("anthropic", "auth", kind=K.AUTH),
    Case("anthropic", "forbidden", kind=K.AUTH),
    Case("generic", "auth", kind=K.AUTH),
    Case("zai", "no_money", "1113", K.NO_MONEY),
    Case("openai", "no_money", "credit_balance_exhausted", K.NO_MONEY),
    Case("openai", "no_money", "organization_spend_limit_exceeded", K.NO_MONEY),
    Case("openai", "no_money", "project_spend_limit_exceeded", K.NO_MONEY),
    Case("openai", "no_money", "organization_usage_limit_exceeded", K.NO_MONEY),
    Case("anthropic", "no_money", "billing_error", K.NO_MONEY),
    Case("anthropic", "no_money", "enforced_spend_limit_reached", K.NO_MONEY),
    Case("anthropic", "no_money", "own_limit", K.NO_MONEY),
    Case("anthropic", "no_money", "low_credit", K.NO_MONEY),
    Case("generic", "no_money", kind=K.NO_MONEY),
    Case("zai", "plan_limit", "1308", K.PLAN_LIMIT),
    Case("zai", "plan_limit", "1309", K.PLAN_LIMIT),
    Case("zai", "plan_limit", "1310", K.PLAN_LIMIT),
    Case("zai", "plan_limit", "1313", K.PLAN_LIMIT),
]
"""Asked exactly once, then left alone; the admins are told once."""

TWICE: list[Case] = [
    Case("zai", "overload", "1305", K.OVERLOAD, 2),
    Case("openai", "overload", kind=K.OVERLOAD, calls=2),
    Case("anthropic", "overload", kind=K.OVERLOAD, calls=2),
    Case("generic", "overload", kind=K.OVERLOAD, calls=2),
    Case("zai", "server", "500", K.SERVER, 2),
    Case("openai", "server", "502", K.SERVER, 2),
    Case("anthropic", "server", kind=K.SERVER, calls=2),
    Case("anthropic", "server", "timeout_error", K.SERVER, 2),
    Case("zai", "html", "502", K.SERVER, 2),
    Case("zai", "html", "405", K.SERVER, 2),
    Case("openai", "html", "200", K.GARBAGE, 2),
    Case("openai", "bad_json", "200", K.GARBAGE, 2),
    Case("openai", "bad_json", "500", K.SERVER, 2),
    Case("openai", "garbage", kind=K.GARBAGE, calls=2),
    Case("openai", "reset", kind=K.CUT, calls=2),
    Case("zai", "cut", kind=K.CUT, calls=2),
    Case("openai", "cut", kind=K.CUT, calls=2),
    Case("anthropic", "cut", kind=K.CUT, calls=2),
    Case("zai", "silent_end", kind=K.CUT, calls=2),
    Case("openai", "silent_end", kind=K.CUT, calls=2),
    Case("anthropic", "silent_end", kind=K.CUT, calls=2),
    Case("zai", "broken", kind=K.CUT, calls=2),
    Case("zai", "empty", kind=K.EMPTY, calls=2),
    Case("openai", "empty", kind=K.EMPTY, calls=2),
    Case("anthropic", "empty", kind=K.EMPTY, calls=2),
    Case("zai", "rate_limit", "1302", K.RATE_LIMIT, 2),
    Case("zai", "rate_limit", "1303", K.RATE_LIMIT, 2),
    Case("openai", "rate_limit", "slow_down", K.RATE_LIMIT, 2),
]
"""Asked once more, where nothing was shown."""

ONCE: list[Case] = [
    Case("zai", "bad_request", kind=K.BAD_REQUEST, news="trouble"),
    Case("zai", "unknown_model", kind=K.BAD_REQUEST, news="trouble"),
    Case("openai", "bad_request", kind=K.BAD_REQUEST, news="trouble"),
    Case("openai", "unknown_model", kind=K.BAD_REQUEST, news="trouble"),
    Case("anthropic", "bad_request", kind=K.BAD_REQUEST, news="trouble"),
    Case("anthropic", "unknown_model", kind=K.BAD_REQUEST, news="trouble"),
    Case("zai", "too_long", kind=K.TOO_LONG),
    Case("openai", "too_long", kind=K.TOO_LONG),
    Case("anthropic", "too_long", kind=K.TOO_LONG),
    Case("anthropic", "too_long", "request_too_large", K.TOO_LONG),
    Case("generic", "too_long", kind=K.TOO_LONG),
]
"""Asked once, and may be asked another question at once; one message alone cannot be trimmed."""

REFUSALS: list[Case] = [
    Case("zai", "refused"),
    Case("openai", "refused"),
    Case("anthropic", "refused"),
    Case("generic", "refused"),
    Case("anthropic", "bad_request", "content_policy"),
    Case("zai", "refused_midway"),
    Case("openai", "refused_midway"),
    Case("anthropic", "refused_midway"),
]


def named(case: Case) -> str:
    return f"{case.wire}-{case.fault}-{case.code}"


def told(cloud: Cloud) -> list[str]:
    return [event.what for event in cloud.news]


async def states(cloud: Cloud) -> set[object]:
    return {row["state"] for row in await cloud.rows()}


@pytest.mark.parametrize("case", OUT, ids=named)
async def test_a_provider_that_is_out_is_asked_exactly_once(tmp_path: Path, case: Case) -> None:
    async with cloud_house(tmp_path, case.wire) as cloud:
        double = cloud.double(case.wire)
        double.faults.set(case.fault, code=case.code)

        first = await cloud.serve(case.wire)
        others = [await cloud.serve(case.wire) for _ in range(3)]

        assert first.kind is case.kind
        assert {heard.kind for heard in others} == {case.kind}
        assert len(double.journal.chats()) == 1
        assert not cloud.providers.snapshots(10, 10, 0.0)[0].is_serving
        assert told(cloud) == ["out"]
        assert await states(cloud) == {"released"}


@pytest.mark.parametrize("case", TWICE, ids=named)
async def test_what_may_pass_is_tried_once_more_and_no_more(tmp_path: Path, case: Case) -> None:
    async with cloud_house(tmp_path, case.wire) as cloud:
        double = cloud.double(case.wire)
        double.faults.set(case.fault, code=case.code)

        heard = await cloud.serve(case.wire)

        assert heard.kind is case.kind
        assert heard.requests == len(double.journal.chats()) == case.calls
        assert len(heard.retries) == case.calls - 1
        assert not heard.text
        assert cloud.news == []


@pytest.mark.parametrize("case", TWICE, ids=named)
async def test_the_second_try_may_be_the_answer(tmp_path: Path, case: Case) -> None:
    async with cloud_house(tmp_path, case.wire) as cloud:
        double = cloud.double(case.wire)
        double.faults.set(case.fault, code=case.code, times=1)

        heard = await cloud.serve(case.wire)

        assert heard.served is not None, heard.error
        assert "simulated" in heard.text
        assert len(double.journal.chats()) == 2
        assert cloud.news == []


@pytest.mark.parametrize("case", ONCE, ids=named)
async def test_what_would_fail_again_is_not_tried_again(tmp_path: Path, case: Case) -> None:
    async with cloud_house(tmp_path, case.wire) as cloud:
        double = cloud.double(case.wire)
        double.faults.set(case.fault, code=case.code, times=2)

        heard = [await cloud.serve(case.wire) for _ in range(3)]

        assert [h.kind for h in heard] == [case.kind, case.kind, None]
        assert len(double.journal.chats()) == 3
        assert told(cloud) == ([] if case.news is None else [case.news])


@pytest.mark.parametrize("case", REFUSALS, ids=named)
async def test_a_refusal_is_shown_and_nobody_else_is_asked(tmp_path: Path, case: Case) -> None:
    async with cloud_house(tmp_path, case.wire) as cloud:
        double = cloud.double(case.wire)
        double.faults.set(case.fault, code=case.code)

        heard = await cloud.serve(case.wire, is_last=False)

        assert isinstance(heard.error, Refused)
        assert len(double.journal.chats()) == 1
        assert cloud.news == []
        assert cloud.providers.snapshots(10, 10, 0.0)[0].is_serving


async def test_a_refusal_after_some_words_keeps_them(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "anthropic") as cloud:
        cloud.double("anthropic").faults.set("refused_midway", after_tokens=5)

        heard = await cloud.serve("anthropic")

        assert heard.served is not None
        assert heard.served.finish == "refused"
        assert heard.text


@pytest.mark.parametrize("wire", ["zai", "openai", "anthropic"])
@pytest.mark.parametrize("fault", ["cut", "silent_end", "error_event"])
async def test_a_cut_answer_is_never_repeated_once_words_were_shown(
    tmp_path: Path, wire: WireKind, fault: FaultName
) -> None:
    async with cloud_house(tmp_path, wire) as cloud:
        cloud.double(wire).faults.set(fault, after_tokens=5)

        heard = await cloud.serve(wire)

        assert heard.text
        assert heard.kind in (K.CUT, K.SERVER, K.OVERLOAD)
        assert heard.requests == 1
        assert [row["basis"] for row in await cloud.rows()] == ["counted"]


@pytest.mark.slow
@pytest.mark.parametrize("wire", ["zai", "openai", "anthropic"])
async def test_a_stall_is_left_and_not_tried_again(
    tmp_path: Path, loop_clock: LoopClock, wire: WireKind
) -> None:
    async with cloud_house(tmp_path, wire, idle_s=7.0) as cloud:
        double, heard = cloud.double(wire), Heard()
        double.faults.set("stall", after_tokens=3)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(cloud.serve(wire, heard=heard))
            await heard.words(3)
            await loop_clock.armed(7.0)
            loop_clock.passes(7.0)

        assert heard.kind is K.STALL
        assert heard.text
        await double.journal.until(lambda journal: not journal.open)
        assert [call.reason for call in double.journal.chats()] == ["asker left"]


@pytest.mark.parametrize("fault", ["no_headers", "no_first_token"])
async def test_silence_before_the_first_word_moves_on_without_a_retry(
    tmp_path: Path, loop_clock: LoopClock, fault: FaultName
) -> None:
    async with cloud_house(tmp_path, "openai", timeout_s=9.0) as cloud:
        double, heard = cloud.double("openai"), Heard()
        double.faults.set(fault)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(cloud.serve("openai", heard=heard))
            await double.journal.until(lambda journal: bool(journal.open))
            loop_clock.passes(9.0)

        assert heard.kind is K.TIMEOUT
        assert heard.requests == 1


async def test_an_answer_that_takes_too_long_in_all_is_left(
    tmp_path: Path, loop_clock: LoopClock
) -> None:
    async with cloud_house(tmp_path, "openai", whole_s=9.0) as cloud:
        heard = Heard()
        cloud.double("openai").faults.set("stall", after_tokens=3)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(cloud.serve("openai", heard=heard))
            await heard.words(3)
            loop_clock.passes(9.0)

        assert heard.kind is K.STALL
        assert "longer than" in str(heard.error)


async def test_a_provider_nobody_can_reach_is_tried_twice_at_once(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "openai") as cloud:
        await cloud.double("openai").stop()

        heard = await cloud.serve("openai")

        assert heard.kind is K.CONNECT
        assert heard.requests == 2
        assert cloud.slept == [0.0]
        assert await states(cloud) == {"released"}


@pytest.mark.parametrize("form", ["ms", "seconds", "date"])
async def test_a_short_wait_is_kept_to_and_never_cut_short(
    tmp_path: Path, form: Literal["ms", "seconds", "date"]
) -> None:
    wait_s = 0.05 if form == "ms" else 0.0
    async with cloud_house(tmp_path, "openai") as cloud:
        double = cloud.double("openai")
        double.faults.set("rate_limit", wait_s=wait_s, wait_form=form, times=1)

        heard = await cloud.serve("openai")

        assert heard.served is not None
        first, second = double.journal.chats()
        assert second.arrival.at - first.ended_at >= wait_s
        assert cloud.slept == [pytest.approx(wait_s, rel=0.1)]


@pytest.mark.parametrize("wait_s", [None, 1.0])
async def test_a_wait_nobody_told_or_can_read_is_a_short_pause(
    tmp_path: Path, wait_s: float | None
) -> None:
    async with cloud_house(tmp_path, "anthropic") as cloud:
        double = cloud.double("anthropic")
        double.faults.set("rate_limit", wait_s=wait_s, wait_form="nonsense", times=1)

        heard = await cloud.serve("anthropic")

        assert cloud.slept == [1.0]
        assert heard.served is not None


async def test_a_long_wait_is_left_to_others_and_kept_to(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "anthropic") as cloud:
        double = cloud.double("anthropic")
        double.faults.set("rate_limit", wait_s=3600.0, times=1)

        heard = [await cloud.serve("anthropic") for _ in range(3)]

        assert [h.kind for h in heard] == [K.RATE_LIMIT, K.BUSY, K.BUSY]
        assert len(double.journal.chats()) == 1
        assert cloud.slept == []
        snapshot = cloud.providers.snapshots(10, 10, loop_time())[0]
        assert "Again in 60 min" in snapshot.reason
        assert cloud.news == []


async def test_an_empty_answer_is_tried_again_with_more_room_and_no_thinking(
    tmp_path: Path,
) -> None:
    async with cloud_house(tmp_path, "zai", thinking="auto") as cloud:
        double = cloud.double("zai")
        double.faults.set("empty", times=1)

        heard = await cloud.serve("zai")

        assert heard.served is not None
        first, second = (call.arrival.payload for call in double.journal.chats())
        assert "thinking" not in first
        assert second["thinking"] == {"type": "disabled"}
        assert second["max_tokens"] == 4096
        assert len(await cloud.rows()) == 2


async def test_a_transcript_that_is_too_long_is_trimmed_once(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "openai") as cloud:
        double = cloud.double("openai")
        double.faults.set("too_long", times=1)
        long = asking_long(cloud)

        heard = await cloud.serve("openai", long)

        assert heard.served is not None
        assert heard.retries == [FailureKind.TOO_LONG]
        assert heard.notices == ["The conversation is long: its 4 oldest messages were left out."]
        first, second = (call.bill.prompt_tokens for call in double.journal.chats())
        assert (first, len(double.journal.chats())) == (0, 2)
        assert second > 0


async def test_a_known_window_is_kept_to_without_asking(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "openai", context_length=1000) as cloud:
        heard = await cloud.serve("openai", asking_long(cloud))

        assert heard.served is not None
        assert heard.notices == ["The conversation is long: its 4 oldest messages were left out."]
        assert heard.requests == 1


async def test_a_message_longer_than_the_window_is_for_somebody_else(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "openai", context_length=300) as cloud:
        heard = await cloud.serve("openai", asking_long(cloud))

        assert heard.kind is K.TOO_LONG
        assert heard.requests == 0


async def test_a_provider_is_asked_whatever_failed_before_it(tmp_path: Path) -> None:
    wires: tuple[WireKind, ...] = ("zai", "openai", "anthropic", "generic")
    async with cloud_house(tmp_path, *wires) as cloud:
        for name in ("zai", "openai", "anthropic"):
            cloud.double(name).faults.set("cut")
        question = ProviderTries()

        heard = [await cloud.serve(name, question=question, is_last=False) for name in wires]

        assert [h.requests for h in heard] == [2, 2, 1, 1]
        assert heard[-1].served is not None
        assert question.repeats == 2


@pytest.mark.parametrize("fault", ["overload", "server", "garbage"])
async def test_a_struggling_provider_is_left_for_a_fresh_one_before_it_is_asked_again(
    tmp_path: Path, fault: FaultName
) -> None:
    async with cloud_house(tmp_path, "openai") as cloud:
        cloud.double("openai").faults.set(fault, times=1)
        question, name = ProviderTries(), ProviderName("openai")

        first = await cloud.serve("openai", question=question, is_last=False)
        assert (first.requests, first.retries, first.served) == (1, [], None)

        assert question.may_repeat(name, cloud.providers)
        again = await cloud.serve("openai", question=question)
        assert (again.requests, question.repeats) == (1, 1)
        assert again.served is not None
        assert cloud.slept == [pytest.approx(1.0, abs=0.3)]
        assert not question.may_repeat(name, cloud.providers)


async def test_nobody_is_repeated_whose_failure_would_only_come_again(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "openai") as cloud:
        cloud.double("openai").faults.set("auth", times=1)
        question = ProviderTries()
        await cloud.serve("openai", question=question, is_last=False)
        assert not question.may_repeat(ProviderName("openai"), cloud.providers)


async def test_repeats_end_with_the_questions_and_with_the_minutes_share(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "openai") as cloud:
        name, double = ProviderName("openai"), cloud.double("openai")
        double.faults.set("cut")
        # Three a minute are always allowed; the breaker is forgiven, so it is the share that ends.
        requests: list[int] = []
        for _ in range(5):
            requests.append((await cloud.serve("openai")).requests)
            cloud.providers.renew(cloud.providers.config(name))
        assert requests == [2, 2, 2, 1, 1]
        used_up = ProviderTries(repeats=2)
        double.faults.set("server")
        assert (await cloud.serve("openai", question=used_up, is_last=False)).requests == 1
        assert not used_up.may_repeat(name, cloud.providers)


async def test_one_deadline_to_the_first_word_holds_for_all(
    tmp_path: Path, loop_clock: LoopClock
) -> None:
    async with cloud_house(tmp_path, "zai", "openai", timeout_s=3600.0) as cloud:
        question = ProviderTries(due=loop_time() + 9.0)
        cloud.double("zai").faults.set("no_headers")
        # Also for the request under way, whatever its own limit.
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(cloud.serve("zai", question=question))
            await cloud.double("zai").journal.until(lambda journal: bool(journal.open))
            loop_clock.passes(9.0)
        heard = [waiting.result(), await cloud.serve("openai", question=question)]
        assert [h.kind for h in heard] == [K.TIMEOUT, K.TIMEOUT]
        assert [h.requests for h in heard] == [1, 0]
        assert "no word had come" in str(heard[1].error)


async def test_the_deadline_is_not_for_words_that_have_begun(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "zai") as cloud:
        question = ProviderTries()
        began = loop_time()
        assert (await cloud.serve("zai", question=question)).served is not None
        assert question.due == pytest.approx(began + FIRST_WORD_S, abs=5.0)


async def test_a_wait_told_with_an_overload_is_kept_to(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "anthropic") as cloud:
        double = cloud.double("anthropic")
        double.faults.set("overload", wait_s=0.05, times=1)
        heard = await cloud.serve("anthropic")
        assert heard.served is not None
        first, second = double.journal.chats()
        assert second.arrival.at - first.ended_at >= 0.05


async def test_a_long_wait_told_with_an_overload_is_left_to_others_and_kept_to(
    tmp_path: Path,
) -> None:
    async with cloud_house(tmp_path, "anthropic") as cloud:
        double = cloud.double("anthropic")
        double.faults.set("overload", wait_s=600.0, times=1)
        heard = [await cloud.serve("anthropic") for _ in range(2)]
        assert [h.kind for h in heard] == [K.OVERLOAD, K.BUSY]
        assert len(double.journal.chats()) == 1


async def test_dead_keys_do_not_use_a_question_up(tmp_path: Path) -> None:
    wires: tuple[WireKind, ...] = ("zai", "openai", "anthropic", "generic")
    async with cloud_house(tmp_path, *wires) as cloud:
        for name in ("zai", "openai", "anthropic"):
            cloud.double(name).faults.set("auth")
        question = ProviderTries()

        heard = [await cloud.serve(name, question=question) for name in wires]

        assert heard[-1].served is not None
        assert [h.requests for h in heard] == [1, 1, 1, 1]


async def test_a_new_key_opens_the_provider_at_once(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "zai", "openai") as cloud:
        double = cloud.double("zai")
        double.key = "another"
        assert (await cloud.serve("zai")).kind is K.AUTH
        assert (await cloud.serve("openai")).served is not None

        cloud.providers.renew(config_for(double, "zai"))

        assert (await cloud.serve("zai")).served is not None
        assert len(double.journal.chats()) == 2


async def test_a_plan_limit_ends_at_its_reset_and_the_admins_hear_of_both(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "zai") as cloud:
        double = cloud.double("zai")
        # The reset is told in whole seconds: one that is just over is over at once.
        double.faults.set("plan_limit", code="1308", wait_s=1.0, times=1)
        assert (await cloud.serve("zai")).kind is K.PLAN_LIMIT
        now = loop_time()
        assert not cloud.providers.snapshots(10, 10, now)[0].is_serving
        assert cloud.providers.snapshots(10, 10, now + 1.1)[0].is_serving

        cloud.providers.renew(cloud.providers.config(cloud.providers.names[0]))
        assert (await cloud.serve("zai")).served is not None

        assert told(cloud) == ["out", "back"]


async def test_an_empty_balance_is_tried_by_one_question_an_hour(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "zai") as cloud:
        double = cloud.double("zai")
        double.faults.set("no_money", times=1)
        assert (await cloud.serve("zai")).kind is K.NO_MONEY
        now = loop_time()
        assert not cloud.providers.snapshots(10, 10, now + 3500)[0].is_serving
        assert cloud.providers.snapshots(10, 10, now + 3601)[0].is_serving


async def test_a_changed_key_is_taken_and_its_owner_hears_of_it(tmp_path: Path) -> None:
    async with cloud_house(tmp_path, "zai", "openai") as cloud:
        double, providers = cloud.double("zai"), cloud.providers
        assert not providers.has_outage
        old = [providers.config(name) for name in providers.names]
        double.key = "another"
        assert (await cloud.serve("zai")).kind is K.AUTH
        assert providers.has_outage

        providers.take_keys(old)
        assert (await cloud.serve("zai")).kind is K.AUTH
        assert len(double.journal.chats()) == 1

        stranger = replace(old[0], name=ProviderName("stranger"))
        changed = replace(old[0], api_key="another", max_concurrent=99)
        providers.take_keys([stranger, changed, old[1]])
        assert (await cloud.serve("zai")).served is not None
        assert providers.config(ProviderName("zai")).max_concurrent != 99
        assert told(cloud) == ["out", "back"]


async def test_repeated_failures_open_the_breaker_and_one_answer_closes_it(
    tmp_path: Path,
) -> None:
    async with cloud_house(tmp_path, "openai", retries=0) as cloud:
        double = cloud.double("openai")
        double.faults.set("server", times=3)
        failed = [await cloud.serve("openai") for _ in range(5)]

        assert {h.kind for h in failed} == {K.SERVER}
        assert len(double.journal.chats()) == 3
        assert told(cloud) == ["out"]
        half_open_at = loop_time() + 6
        assert cloud.providers.snapshots(10, 10, half_open_at)[0].is_serving


def loop_time() -> float:
    return asyncio.get_running_loop().time()


def asking_long(cloud: Cloud) -> CloudAsk:
    texts = [f"{number} " + "word " * 150 for number in range(7)]
    return asking(cloud.next_turn(), *texts)


@pytest.mark.parametrize(("retries", "requests"), [(0, 1), (1, 2), (2, 3), (3, 3)])
async def test_a_provider_is_asked_again_as_often_as_its_settings_say(
    tmp_path: Path, retries: int, requests: int
) -> None:
    async with cloud_house(tmp_path, "openai", retries=retries) as cloud:
        cloud.double("openai").faults.set("rate_limit")
        heard = await cloud.serve("openai")
        assert (heard.requests, heard.kind) == (requests, K.RATE_LIMIT)
