"""Every row of the error table on every wire, as our own adapters see it."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from clocks import LoopClock
from collected import Collected, asking, collect
from provider_help import CHAT_WIRES, KEY, MODELS, WIRES, ask, endpoint_of, provider

from bot.domain.chat import InferenceRequest, Message
from bot.domain.errors import FailureKind as Kind
from bot.domain.errors import Refused
from bot.domain.events import TextDelta
from bot.inference.streams import Inference
from bot.sim.providers.config import SimProviderModel, WireKind
from bot.sim.providers.faults import FaultName, ProviderFaults
from bot.sim.providers.provider import SimProvider


@dataclass(frozen=True, slots=True)
class Row:
    """One dial and what an adapter must make of it."""

    wire: WireKind
    fault: FaultName
    kind: Kind
    dial: dict[str, Any] = field(default_factory=dict[str, Any])
    code: str = ""

    def __str__(self) -> str:
        return "-".join([self.wire, self.fault, *(str(value) for value in self.dial.values())])


def every(fault: FaultName, kind: Kind, **dial: object) -> list[Row]:
    return [Row(wire, fault, kind, dial) for wire in WIRES]


def coded(wire: WireKind, fault: FaultName, kind: Kind, *codes: str) -> list[Row]:
    return [Row(wire, fault, kind, {"code": code}, code) for code in codes]


ANSWERS = [
    *every("auth", Kind.AUTH),
    *every("forbidden", Kind.AUTH),
    *coded("zai", "auth", Kind.AUTH, "1000", "1001", "1002", "1003", "1004", "1112"),
    *every("no_money", Kind.NO_MONEY),
    *coded("zai", "no_money", Kind.NO_MONEY, "1113"),
    *coded(
        "openai",
        "no_money",
        Kind.NO_MONEY,
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
    ),
    *coded(
        "anthropic",
        "no_money",
        Kind.NO_MONEY,
        "billing_error",
        "enforced_spend_limit_reached",
    ),
    Row("anthropic", "no_money", Kind.NO_MONEY, {"code": "own_limit"}),
    Row("anthropic", "no_money", Kind.NO_MONEY, {"code": "low_credit"}),
    *coded("zai", "plan_limit", Kind.PLAN_LIMIT, "1308", "1309", "1310", "1313"),
    *every("rate_limit", Kind.RATE_LIMIT),
    *coded("zai", "rate_limit", Kind.RATE_LIMIT, "1302", "1303"),
    *coded("openai", "rate_limit", Kind.RATE_LIMIT, "rate_limit_exceeded", "slow_down"),
    *every("overload", Kind.OVERLOAD),
    *every("server", Kind.SERVER),
    *every("server", Kind.SERVER, code="502"),
    *every("server", Kind.SERVER, code="504"),
    *every("html", Kind.SERVER),
    *every("html", Kind.SERVER, code="405"),
    *every("html", Kind.GARBAGE, code="200"),
    *every("bad_json", Kind.GARBAGE),
    *every("bad_json", Kind.SERVER, code="500"),
    *every("too_long", Kind.TOO_LONG),
    Row("anthropic", "too_long", Kind.TOO_LONG, {"code": "request_too_large"}),
    *every("bad_request", Kind.BAD_REQUEST),
    *every("unknown_model", Kind.BAD_REQUEST),
]


@pytest.mark.parametrize("row", ANSWERS, ids=str)
async def test_an_answer_instead_of_a_stream_is_told_by_its_kind_and_costs_nothing(
    row: Row, inference: Inference
) -> None:
    async with provider(row.wire) as double:
        double.faults.set(row.fault, **row.dial)
        got = await ask(inference, endpoint_of(double))
        assert got.kind is row.kind, got.error
        assert got.text == ""
        if row.code:
            assert getattr(got.error, "code", None) == row.code
        [call] = double.journal.calls
    assert (call.outcome, call.cost_micro_usd) == ("error", 0)


BREAKS = [
    *every("reset", Kind.CUT),
    *every("cut", Kind.CUT),
    *every("cut", Kind.CUT, after_tokens=3),
    *every("silent_end", Kind.CUT),
    *every("silent_end", Kind.CUT, after_tokens=3),
    *every("silent_end", Kind.CUT, after_tokens=None),
    *every("broken", Kind.SERVER, after_tokens=3),
    *every("garbage", Kind.GARBAGE, after_tokens=3),
]
BREAK_KINDS: dict[tuple[WireKind, FaultName], Kind] = {
    ("zai", "broken"): Kind.CUT,  # a finish reason of its own: no end mark
    ("generic", "broken"): Kind.SERVER,
    ("anthropic", "broken"): Kind.OVERLOAD,
}


@pytest.mark.parametrize("row", BREAKS, ids=str)
async def test_a_broken_stream_keeps_what_came_and_is_charged_for_that(
    row: Row, inference: Inference
) -> None:
    async with provider(row.wire) as double:
        double.faults.set(row.fault, **row.dial)
        got = await ask(inference, endpoint_of(double), "[[say a b c d e f]]")
        await double.journal.until(lambda journal: not journal.open)
        [call] = double.journal.calls
    assert got.kind is BREAK_KINDS.get((row.wire, row.fault), row.kind), got.error
    after = row.dial.get("after_tokens", 0)
    wanted = "a b c d e f" if after is None else "a b c d e f"[: max(0, after * 2 - 1)]
    assert got.text == wanted
    if row.fault == "garbage":
        return  # the double does not know that it was misunderstood
    assert call.outcome == "cut"
    assert call.bill.completion_tokens == (6 if after is None else after)


@pytest.mark.parametrize(
    ("wire", "code", "kind"),
    [
        ("zai", "", Kind.SERVER),
        ("zai", "1305", Kind.OVERLOAD),
        ("openai", "", Kind.SERVER),
        ("anthropic", "", Kind.OVERLOAD),
        ("anthropic", "api_error", Kind.SERVER),
        ("generic", "", Kind.SERVER),
        ("generic", "429", Kind.RATE_LIMIT),
    ],
)
async def test_an_error_inside_the_stream_is_told_by_its_code(
    wire: WireKind, code: str, kind: Kind, inference: Inference
) -> None:
    async with provider(wire) as double:
        double.faults.set("error_event", code=code, after_tokens=2, times=1)
        got = await ask(inference, endpoint_of(double), "[[say a b c d]]")
        assert (got.kind, got.text) == (kind, "a b")
        assert (await ask(inference, endpoint_of(double), "[[say a b c d]]")).text == "a b c d"


@pytest.mark.parametrize("fault", ["refused", "refused_midway"])
@pytest.mark.parametrize("wire", WIRES)
async def test_a_refusal_is_a_refusal_in_each_wires_form(
    double: SimProvider, inference: Inference, fault: FaultName
) -> None:
    double.faults.set(fault)
    got = await ask(inference, endpoint_of(double))
    if fault == "refused_midway" or double.config.wire == "anthropic":
        assert got.end.finish == "refused"
    else:
        assert isinstance(got.error, Refused)
    assert [call.outcome for call in double.journal.calls] == ["refused"]


@pytest.mark.parametrize("wire", WIRES)
async def test_an_empty_answer_has_used_up_its_limit(
    double: SimProvider, inference: Inference
) -> None:
    double.faults.set("empty", times=1)
    got = await ask(inference, endpoint_of(double), max_tokens=30)
    assert (got.text, got.end.finish) == ("", "length")
    assert got.end.usage.completion_tokens == 30
    assert (await ask(inference, endpoint_of(double))).text


@pytest.mark.parametrize(("after", "kind"), [(0, Kind.TOO_LONG), (2, None)])
async def test_anthropic_says_in_the_stream_that_the_window_is_full(
    after: int, kind: Kind | None, inference: Inference
) -> None:
    async with provider("anthropic") as double:
        double.faults.set("window_full", after_tokens=after)
        got = await ask(inference, endpoint_of(double), "[[say a b c]]")
    assert got.kind is kind
    assert got.text == ("a b" if after else "")


SILENCES = [("no_headers", Kind.TIMEOUT), ("no_first_token", Kind.TIMEOUT), ("stall", Kind.STALL)]


@pytest.mark.parametrize(("fault", "kind"), SILENCES)
@pytest.mark.parametrize("wire", WIRES)
async def test_silence_is_given_up_and_seen_as_left(
    double: SimProvider,
    inference: Inference,
    fault: FaultName,
    kind: Kind,
    loop_clock: LoopClock,
) -> None:
    double.faults.set(fault, after_tokens=2)
    endpoint = endpoint_of(double, first_token_s=9.0, idle_s=7.0)

    def heard(got: Collected) -> None:
        if got.text == "a b":
            asyncio.get_running_loop().call_soon(loop_clock.passes, 7.0)

    async with asyncio.TaskGroup() as tasks:
        words = asking("[[say a b c d]]")
        reading = tasks.create_task(collect(inference, endpoint, words, heard))
        await double.journal.until(lambda journal: bool(journal.open))
        if fault != "stall":
            loop_clock.passes(9.0)
    got = reading.result()
    assert got.kind is kind
    assert got.text == ("a b" if fault == "stall" else "")
    await double.journal.until(lambda journal: not journal.open)
    [call] = double.journal.calls
    assert (call.outcome, call.reason) == ("cut", "asker left")
    assert call.bill.completion_tokens == (2 if fault == "stall" else 0)


@pytest.mark.parametrize("wire", WIRES)
async def test_a_stalled_stream_goes_on_when_the_dial_is_taken_back(
    double: SimProvider, inference: Inference
) -> None:
    double.faults.set("stall", after_tokens=2)
    texts: list[str] = []
    request = InferenceRequest((Message("user", "[[say a b c d]]"),))
    async with inference.open(endpoint_of(double), request) as deltas:
        async for delta in deltas:
            if isinstance(delta, TextDelta):
                texts.append(delta.text)
            if "".join(texts) == "a b":
                double.faults.clear()
    assert "".join(texts) == "a b c d"


@pytest.mark.parametrize("wire", WIRES)
async def test_a_provider_that_is_down_refuses_connections_and_comes_back_where_it_was(
    double: SimProvider, inference: Inference
) -> None:
    endpoint = endpoint_of(double)
    await double.stop()
    assert (await ask(inference, endpoint)).kind is Kind.CONNECT
    await double.start()
    assert (await ask(inference, endpoint)).end.finish == "stop"


@pytest.mark.parametrize("wire", WIRES)
async def test_a_new_key_makes_the_old_one_worthless(
    double: SimProvider, inference: Inference
) -> None:
    endpoint = endpoint_of(double)
    double.key = "sk-simulated-key-0002"
    got = await ask(inference, endpoint)
    assert got.kind is Kind.AUTH
    assert KEY not in str(got.error)
    assert (await ask(inference, endpoint_of(double))).end.finish == "stop"


@pytest.mark.parametrize("wire", WIRES)
async def test_too_many_at_once_are_refused(wire: WireKind, inference: Inference) -> None:
    async with provider(wire, max_concurrent=1) as double:
        double.faults.set("stall", times=1)
        request = InferenceRequest((Message("user", "hi"),))
        async with inference.open(endpoint_of(double), request):
            await double.journal.until(lambda journal: len(journal.open) == 1)
            assert (await ask(inference, endpoint_of(double))).kind is Kind.RATE_LIMIT
        await double.journal.until(lambda journal: not journal.open)
        assert (await ask(inference, endpoint_of(double))).end.finish == "stop"


@pytest.mark.parametrize(
    ("form", "wait_s", "wanted"),
    [
        ("seconds", 0, 0.0),
        ("seconds", 7, 7.0),
        ("seconds", 3600, 3600.0),
        ("date", 5, 5.0),
        ("ms", 1.5, 1.5),
        ("nonsense", 5, None),
        ("seconds", None, None),
    ],
)
@pytest.mark.parametrize("wire", WIRES)
async def test_a_rate_limit_asks_for_its_wait_in_every_form(
    double: SimProvider, inference: Inference, form: Any, wait_s: float | None, wanted: float | None
) -> None:
    double.faults.set("rate_limit", wait_s=wait_s, wait_form=form)
    got = await ask(inference, endpoint_of(double))
    assert getattr(got.error, "retry_after_s", "none") == wanted


@pytest.mark.parametrize("code", ["1308", "1309", "1310"])
async def test_zais_plan_limit_names_its_reset_in_beijing_time(
    code: str, inference: Inference
) -> None:
    async with provider("zai") as double:
        double.faults.set("plan_limit", code=code, wait_s=7200)
        got = await ask(inference, endpoint_of(double))
    assert getattr(got.error, "retry_after_s", 0) == pytest.approx(7200, abs=2)


async def test_anthropics_own_limit_names_the_day_it_ends(inference: Inference) -> None:
    async with provider("anthropic") as double:
        double.faults.set("no_money", code="own_limit", wait_s=86_400)
        got = await ask(inference, endpoint_of(double))
    assert getattr(got.error, "retry_after_s", 0) == pytest.approx(86_400, abs=61)


async def test_a_key_of_the_other_plan_is_told_that_there_is_no_money(
    inference: Inference,
) -> None:
    async with provider("zai") as double:
        coding = endpoint_of(double, base_url=double.coding_base_url)
        assert (await ask(inference, coding)).kind is Kind.NO_MONEY
    async with provider("zai", plan="coding") as double:
        assert (await ask(inference, endpoint_of(double))).kind is Kind.NO_MONEY
        coding = endpoint_of(double, base_url=double.coding_base_url)
        assert (await ask(inference, coding)).end.finish == "stop"


@pytest.mark.parametrize("wire", CHAT_WIRES)
async def test_a_wrong_path_is_no_error_of_the_wire(
    double: SimProvider, inference: Inference
) -> None:
    got = await ask(inference, endpoint_of(double, base_url=f"{double.root_url}/elsewhere"))
    assert got.kind is Kind.SERVER
    assert double.journal.calls[0].reason == "no such path"


def test_a_dial_lasts_as_often_as_told_and_only_on_its_path() -> None:
    faults = ProviderFaults()
    faults.set("auth", times=2, path="/messages")
    assert faults.take("auth", "/v1/models") is None
    assert faults.take("auth", "/v1/messages") is not None
    assert faults.is_set("auth")
    assert faults.take("auth", "/v1/messages") is not None
    assert not faults.is_set("auth")
    faults.set("auth")
    assert all(faults.take("auth", "/x") for _ in range(5))
    faults.clear("auth")
    assert faults.take("auth", "/x") is None
    faults.set("auth", times=0)
    assert not faults.is_set("auth")


async def test_a_prompt_beyond_the_window_is_too_long_without_any_dial(
    inference: Inference,
) -> None:
    for wire in WIRES:
        small = SimProviderModel(MODELS[wire], window=100)
        async with provider(wire, models=(small,)) as double:
            got = await ask(inference, endpoint_of(double), "word " * 200)
            assert got.kind is Kind.TOO_LONG
