"""Turns beyond the LAN, over real sockets: served when no host can, paid for, told, not leaked."""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import get_args

import pytest
from house import ADA, BOB, GEMMA, PLACE, QWEN, House, Said, cloud, house, sim
from relayed import relay

from bot.app import utcnow
from bot.chat.planning import ChatRules
from bot.chat.standing import instead_words, private_words
from bot.chat.words import cost_text, footer, usage_text, why_text
from bot.cloud.providers import Providers
from bot.domain.chat import Attachment, Place, Quote, Receipt, TurnKind, TurnRequest
from bot.domain.cloud import Booking, Price, ProviderConfig, ProviderNews
from bot.domain.errors import NoCandidates, NotPermitted, PromptTooLong, Refused, RequestRefused
from bot.domain.events import (
    Failed,
    Finished,
    Loading,
    Notice,
    Offered,
    Progress,
    Queued,
    Reading,
    Routed,
    Started,
    Stopped,
    TextDelta,
    TurnEvent,
    Way,
)
from bot.domain.ids import HostName, ModelKey, PersonaName, PlaceId, ProviderName, TurnId, UserId
from bot.fleet.binding import LOOK_AFTER_S
from bot.policy.access import EVERY_RIGHT
from bot.policy.budget import BudgetRules, dollars_text
from bot.policy.offers import SlowRules
from bot.sim.journal import PredictionCut, PredictionStarted
from bot.sim.models import GB
from bot.store.ledger import LedgerStore

ELSEWHERE = Place(PlaceId("discord:2"), server=PLACE.server)
CACHE_S = 3600.0


async def no_pause(_: float) -> None:
    """Before a second try, which else takes up to a second and a half."""


DEFAULT = PersonaName("default")


async def power_off(home: House, name: str = "studio") -> None:
    """The host goes away, and the fleet knows it."""
    await home.hosts[name].stop()
    await home.lantern.fleet.host(HostName(name)).probe()


async def receipt_of(home: House, text: str) -> Receipt:
    return (await home.ask(text)).receipt


async def power_on(home: House, name: str = "studio") -> None:
    await home.hosts[name].start()
    await home.lantern.fleet.host(HostName(name)).probe()


async def billed(home: House) -> int:
    """What all doubles charge together, once none has a request under way."""
    for double in home.doubles.values():
        await double.journal.until(lambda journal: not journal.open)
    return sum(double.journal.cost_micro_usd for double in home.doubles.values())


async def booked(home: House) -> int:
    """What the ledger says was spent."""
    query = "SELECT COALESCE(SUM(cost_micro_usd), 0) FROM ledger"
    return int(await home.lantern.database.read(lambda c: c.execute(query).fetchone()[0]))


async def book(home: House, user: UserId, micro_usd: int) -> None:
    """Money is held for somebody's call at another place."""
    name = home.lantern.providers.ledger_name(user)
    ledger = LedgerStore(home.lantern.database, BudgetRules(), UTC)
    zai, model = ProviderName("zai"), ModelKey("glm")
    await ledger.book(Booking(TurnId("another"), zai, model, micro_usd, Price(), name))


def heard(home: House) -> str:
    """Everything any provider was ever sent, but for the hashes of people: some spell "ada"."""
    doubles = home.doubles.values()
    sent = [call.arrival for double in doubles for call in double.journal.calls]
    sent += [arrival for double in doubles for arrival in double.journal.open]
    return " ".join(re.sub(r"\b[0-9a-f]{32}\b", "", str(arrival.payload)) for arrival in sent)


def chats(home: House, name: str) -> int:
    return len(home.doubles[name].journal.chats())


async def steered(home: House, text: str, way: Way) -> tuple[Said, bool]:
    """A turn whose asker chooses a way at the moment it is offered."""
    said, was_taken = Said(), False
    async with home.lantern.turns.open(home.request(text)) as events:
        async for event in events:
            said.events.append(event)
            if isinstance(event, Offered):
                was_taken = home.lantern.turns.choose(event.turn, way)
    return said, was_taken


def offers(events: list[TurnEvent]) -> list[Offered]:
    return [event for event in events if isinstance(event, Offered)]


# --- when ------------------------------------------------------------------------------------


async def test_with_every_host_down_a_provider_answers_and_says_why(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), providers=cloud(zai="zai")) as home:
        await power_off(home)
        said = await home.ask("[[say From afar.]]")
        assert said.text == "From afar."
        assert instead_words(said.receipt) == "☁ studio is off; zai answered."
        assert (said.receipt.host, said.receipt.provider) == (None, "zai")
        cost = await billed(home)
        assert 0 < cost == said.receipt.cost_micro_usd == await booked(home)


async def test_when_a_host_is_back_the_next_turn_returns_to_it(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), providers=cloud(zai="zai")) as home:
        await power_off(home)
        away = await home.ask("one")
        await power_on(home)
        back = await home.ask("two")
        assert away.receipt.provider == "zai"
        assert (back.receipt.host, back.receipt.provider) == ("studio", None)
        assert back.receipt.cost_micro_usd == 0
        assert chats(home, "zai") == 1


async def test_a_host_that_dies_before_its_first_word_is_followed_by_a_provider(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, sim("studio", QWEN), providers=cloud(zai="zai")) as home:
        await home.hosts["studio"].stop()
        said = await home.ask("[[say From afar.]]")
        assert said.text == "From afar."
        assert said.fallbacks[0].failed.host == "studio" or "studio:" in said.notices


async def test_with_hosts_at_work_no_provider_is_asked(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), providers=cloud(zai="zai")) as home:
        said = await home.ask("hello")
        assert said.receipt.host == "studio"
        assert heard(home) == ""


async def test_prefer_cloud_asks_a_provider_first_and_a_host_when_it_fails(tmp_path: Path) -> None:
    rules = ChatRules(DEFAULT, strategy="prefer_cloud")
    fallen = cloud(zai="zai")
    async with house(tmp_path, sim("studio", QWEN), providers=fallen, rules=rules) as home:
        first = await home.ask("one")
        home.doubles["zai"].faults.set("no_money")
        second = await home.ask("two")
        assert first.receipt.provider == "zai"
        assert second.receipt.host == "studio"
        assert second.fallbacks[0].failed.provider == "zai"


async def test_a_request_type_has_its_own_order(tmp_path: Path) -> None:
    rules = ChatRules(DEFAULT, request_types={"code": ("openai", "local")})
    personas = {"coder": "request_type: code\n"}
    vendors = cloud(zai="zai", openai="openai")
    async with house(
        tmp_path, sim("studio", QWEN), providers=vendors, rules=rules, personas=personas
    ) as home:
        coded = await home.ask("one", persona="coder")
        other = await home.ask("two", place=ELSEWHERE)
        assert coded.receipt.provider == "openai"
        assert other.receipt.host == "studio"
        assert chats(home, "zai") == 0


async def test_a_persona_has_its_own_chain(tmp_path: Path) -> None:
    vendors = cloud(zai="zai", anthropic="anthropic")
    personas = {"poet": "cloud: [anthropic]\n"}
    async with house(tmp_path, providers=vendors, personas=personas) as home:
        said = await home.ask("hello", persona="poet")
        assert said.receipt.provider == "anthropic"
        assert chats(home, "zai") == 0


# --- failures ------------------------------------------------------------------------------


async def test_a_provider_that_fails_before_its_first_word_gives_way(tmp_path: Path) -> None:
    async with house(tmp_path, providers=cloud(zai="zai", openai="openai")) as home:
        home.doubles["zai"].faults.set("no_money")
        said = await home.ask("[[say Here I am.]]")
        assert said.text == "Here I am."
        assert said.receipt.provider == "openai"
        assert said.fallbacks[0].failed.provider == "zai"
        assert chats(home, "zai") == 1
        assert said.receipt.cost_micro_usd == await billed(home) == await booked(home)


async def test_each_question_that_goes_elsewhere_in_an_outage_is_counted(tmp_path: Path) -> None:
    async with house(tmp_path, providers=cloud(zai="zai", openai="openai")) as home:
        home.doubles["zai"].faults.set("no_money")
        for text in ("one", "two", "three"):
            await home.ask(text)
        told = [event.what for event in home.cloud_news if isinstance(event, ProviderNews)]
        assert told == ["out", "passed", "passed", "passed"]
        assert chats(home, "zai") == 1


async def test_a_second_try_at_the_same_provider_is_told(tmp_path: Path) -> None:
    async with house(tmp_path, providers=cloud(zai="zai")) as home:
        home.doubles["zai"].faults.set("reset", times=1)
        said = await home.ask("[[say Again.]]")
        assert said.text == "Again."
        assert "zai was asked again." in said.notices
        assert len(said.receipt.attempts) == 1


async def test_an_answer_that_breaks_is_kept_and_nobody_else_goes_on(tmp_path: Path) -> None:
    async with house(tmp_path, providers=cloud(zai="zai", openai="openai")) as home:
        home.doubles["zai"].faults.set("cut", after_tokens=5)
        said = await home.ask("hello")
        assert isinstance(said.last, Stopped)
        assert said.text
        assert chats(home, "openai") == 0
        stored = await home.lantern.turns.store.get(said.turn)
        assert stored is not None
        assert (stored.reply_text, stored.status) == (said.text, "partial")
        assert 0 < said.receipt.cost_micro_usd == await booked(home)


@pytest.mark.parametrize("how", ["stopped", "cut"])
async def test_what_no_provider_counted_is_told_as_the_ledger_has_it_and_as_estimated(
    tmp_path: Path, how: str
) -> None:
    async with house(tmp_path, providers=cloud(zai="zai")) as home:
        turns, said = home.lantern.turns, Said()
        if how == "cut":
            home.doubles["zai"].faults.set("cut", after_tokens=5)
        # Written in one piece a word has more tokens than pieces.
        text = "[[say Incomprehensibilities extraordinarily counterrevolutionary.]]"
        async with turns.open(home.request(text)) as events:
            async for event in events:
                said.events.append(event)
                if how == "stopped" and isinstance(event, TextDelta):
                    turns.stop(PLACE.conversation)
        assert isinstance(said.last, Stopped)
        receipt, report = said.receipt, await home.lantern.usage.report("today", "me", ADA, None)
        total = report.total
        assert receipt.usage.completion_tokens == total.completion_tokens > 0
        assert receipt.cost_micro_usd == total.cost_micro_usd == total.assumed_micro_usd > 0
        assert receipt.usage.estimated
        assert receipt.is_cost_estimated
        spent = f"~{cost_text(receipt.cost_micro_usd)}"
        stored = await turns.store.get(said.turn)
        assert stored is not None
        assert spent in footer(receipt)
        assert spent in why_text(stored)
        # A speed by what was rounded up would be too high.
        assert "tok/s" not in footer(receipt)
        assert f"Cost: ~{dollars_text(total.cost_micro_usd)}" in usage_text(report)


async def test_a_whole_answer_costs_what_its_provider_told(tmp_path: Path) -> None:
    async with house(tmp_path, providers=cloud(zai="zai")) as home:
        receipt = await receipt_of(home, "hello")
        assert (receipt.is_cost_estimated, "~" in footer(receipt)) == (False, False)
        assert receipt.cost_micro_usd == await billed(home)


async def test_a_refusal_is_shown_and_not_shopped_around(tmp_path: Path) -> None:
    async with house(tmp_path, providers=cloud(zai="zai", openai="openai")) as home:
        home.doubles["zai"].faults.set("refused")
        said = await home.ask("hello")
        assert isinstance(said.last, Failed)
        assert isinstance(said.last.error, Refused)
        assert "zai" in said.last.error.user_message
        assert chats(home, "openai") == 0


async def test_people_go_by_a_hash(tmp_path: Path) -> None:
    async with house(tmp_path, providers=cloud(zai="zai")) as home:
        # Of letters that stand in no hash, as "ada" does in some.
        await home.ask("hello", user=UserId("discord:grace"))
        sent = home.doubles["zai"].journal.chats()[0].arrival
        assert sent.user
        assert "grace" not in str(sent)


# --- money ---------------------------------------------------------------------------------


async def test_what_the_budget_does_not_reach_is_left_for_the_next(tmp_path: Path) -> None:
    vendors = cloud(zai="zai", openai="openai")
    budget = BudgetRules(daily_micro_usd=1500)
    async with house(tmp_path, providers=vendors, budget=budget) as home:
        said = await home.ask("hello")
        assert said.receipt.provider == "openai"
        out = {rejection.where: rejection.reason for rejection in said.receipt.route.rejected}
        assert "the daily budget" in out["zai"]


@pytest.mark.parametrize("limits", [(10, None), (None, 10)])
async def test_over_one_providers_own_budget_the_next_one_answers(
    tmp_path: Path, limits: tuple[int | None, int | None]
) -> None:
    vendors = cloud(zai="zai", openai="openai")
    budget = BudgetRules(by_provider={ProviderName("zai"): limits})
    async with house(tmp_path, providers=vendors, budget=budget) as home:
        said = await home.ask("hello")
        assert said.receipt.provider == "openai"
        out = {rejection.where: rejection.reason for rejection in said.receipt.route.rejected}
        span = "daily" if limits[0] is not None else "monthly"
        assert f"zai's {span} budget" in out["zai"]
        assert chats(home, "zai") == 0


async def test_how_providers_stand_is_told_with_what_they_cost_today(tmp_path: Path) -> None:
    budget = BudgetRules(by_provider={ProviderName("openai"): (None, 5_000_000)})
    async with house(tmp_path, providers=cloud(zai="zai", openai="openai"), budget=budget) as home:
        home.doubles["zai"].faults.set("no_money")
        said = await home.ask("hello")
        zai, openai = await home.lantern.providers.standings()
        assert "no money" in zai.reason
        assert [a.spent_micro_usd for a in zai.accounts] == [0, 0]
        assert (openai.reason, openai.running, openai.waiting) == ("", 0, 0)
        assert {a.spent_micro_usd for a in openai.accounts} == {said.receipt.cost_micro_usd}
        assert [a.cap_micro_usd for a in openai.accounts] == [None, 5_000_000]
        assert said.receipt.cost_micro_usd > 0


async def test_a_spent_budget_is_told_and_stops_no_host(tmp_path: Path) -> None:
    vendors, budget = cloud(zai="zai"), BudgetRules(daily_micro_usd=10)
    async with house(tmp_path, sim("studio", QWEN), providers=vendors, budget=budget) as home:
        here = await home.ask("one")
        await power_off(home)
        away = await home.ask("two")
        assert here.receipt.host == "studio"
        assert isinstance(away.last, Failed)
        assert "budget" in away.last.error.user_message
        assert heard(home) == ""
        assert await booked(home) == 0


# --- privacy -------------------------------------------------------------------------------


def assert_kept_here(home: House, said: Said) -> None:
    assert isinstance(said.last, Failed), said.last
    assert isinstance(said.last.error, NoCandidates)
    assert "stay on the LAN" in f"{said.last.error.user_message}{said.notices}"
    assert heard(home) == ""


async def test_a_local_only_persona_fails_closed(tmp_path: Path) -> None:
    personas = {"diary": "local_only: true\n", "hermit": "cloud: []\n"}
    vendors = cloud(zai="zai")
    async with house(tmp_path, providers=vendors, personas=personas) as home:
        assert_kept_here(home, await home.ask("secret", persona="diary"))
        said = await home.ask("secret", persona="hermit")
        assert isinstance(said.last, Failed)
        assert heard(home) == ""


@pytest.mark.parametrize("kind", ["channel", "server", "user"])
async def test_a_local_only_place_or_person_fails_closed(tmp_path: Path, kind: str) -> None:
    async with house(tmp_path, providers=cloud(zai="zai")) as home:
        privacy = home.lantern.privacy
        match kind:
            case "channel":
                await privacy.mark("place", PLACE.channel, local_only=True)
            case "server":
                await privacy.mark("place", PlaceId("discord:9"), local_only=True)
            case _:
                await privacy.mark("user", ADA, local_only=True)
        assert_kept_here(home, await home.ask("secret", user=ADA))


async def test_a_thread_of_a_local_only_channel_is_local_only(tmp_path: Path) -> None:
    thread = Place(PLACE.channel, thread=PlaceId("discord:77"), server=PLACE.server)
    async with house(tmp_path, providers=cloud(zai="zai")) as home:
        await home.lantern.privacy.mark("place", PLACE.channel, local_only=True)
        assert_kept_here(home, await home.ask("secret", place=thread))


@pytest.mark.parametrize("kind", get_args(TurnKind))
async def test_a_turn_said_in_private_never_leaves_later(tmp_path: Path, kind: TurnKind) -> None:
    async with house(tmp_path, sim("studio", QWEN), providers=cloud(zai="zai")) as home:
        await home.lantern.privacy.mark("place", PLACE.channel, local_only=True)
        private = await home.ask("my secret is 7")
        assert isinstance(private.last, Finished)
        await home.lantern.privacy.mark("place", PLACE.channel, local_only=False)
        await power_off(home)
        said = await home.play(home.request("and?", parent=private.turn, kind=kind))
        assert_kept_here(home, said)


async def test_a_private_turn_retried_by_another_persona_stays_here(tmp_path: Path) -> None:
    personas = {"diary": "local_only: true\n", "open": "description: talks to all\n"}
    vendors = cloud(zai="zai")
    async with house(tmp_path, sim("studio", QWEN), providers=vendors, personas=personas) as home:
        private = await home.ask("my secret is 7", persona="diary")
        await power_off(home)
        again = home.request("", persona="open", parent=private.turn, kind="retry")
        assert_kept_here(home, await home.play(again))


async def test_what_was_answered_after_private_words_stays_here_as_well(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), providers=cloud(zai="zai")) as home:
        await home.lantern.privacy.mark("user", ADA, local_only=True)
        first = await home.ask("my secret is 7", user=ADA)
        second = await home.ask("and?", user=BOB, parent=first.turn)
        await home.lantern.privacy.mark("user", ADA, local_only=False)
        await power_off(home)
        third = await home.ask("once more?", user=BOB, parent=second.turn)
        assert_kept_here(home, third)


async def test_a_conversation_begun_afresh_may_leave_again(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), providers=cloud(zai="zai")) as home:
        await home.lantern.privacy.mark("place", PLACE.channel, local_only=True)
        await home.ask("my secret is 7")
        await home.lantern.privacy.mark("place", PLACE.channel, local_only=False)
        await home.lantern.turns.store.reset(PLACE.conversation)
        await power_off(home)
        said = await home.ask("hello")
        assert said.receipt.provider == "zai"
        assert "secret" not in heard(home)


async def test_who_stands_in_for_a_persona_that_is_gone_keeps_words_here(tmp_path: Path) -> None:
    personas = {"diary": "local_only: true\n"}
    vendors = cloud(zai="zai")
    async with house(tmp_path, providers=vendors, personas=personas) as home:
        switch, shelf = home.lantern.switch, home.lantern.shelf
        await switch.set_persona(PLACE, ADA, "me", "diary", rights=EVERY_RIGHT)
        (tmp_path / "personas" / "diary.yaml").unlink()
        await shelf.refresh()
        said = await home.ask("secret", user=ADA)
        assert isinstance(said.last, Failed)
        assert said.notices.startswith("The persona diary is gone, so ")
        assert heard(home) == ""


# --- cache ---------------------------------------------------------------------------------


async def test_the_same_question_is_answered_from_the_cache_and_marked(tmp_path: Path) -> None:
    async with house(tmp_path, providers=cloud(zai="zai"), cache_ttl_s=CACHE_S) as home:
        first = await home.ask("hello")
        second = await home.ask("hello", place=ELSEWHERE)
        assert second.text == first.text
        assert isinstance(second.last, Finished)
        assert second.receipt.from_cache
        assert second.receipt.cost_micro_usd == 0
        tokens = (second.receipt.usage.prompt_tokens, second.receipt.usage.completion_tokens)
        assert tokens == (first.receipt.usage.prompt_tokens, first.receipt.usage.completion_tokens)
        assert (second.receipt.host, second.receipt.provider) == (None, "zai")
        assert not first.receipt.from_cache
        assert chats(home, "zai") == 1
        report = await home.lantern.usage.report("today", "all", ADA, None)
        assert (report.total.cloud_calls, report.total.cached_turns) == (1, 1)


async def test_without_the_cache_every_question_is_asked(tmp_path: Path) -> None:
    async with house(tmp_path, providers=cloud(zai="zai")) as home:
        await home.ask("hello")
        await home.ask("hello", place=ELSEWHERE)
        assert chats(home, "zai") == 2


async def test_who_wants_a_new_answer_gets_one_and_it_is_kept_for_the_next(tmp_path: Path) -> None:
    async with house(tmp_path, providers=cloud(zai="zai"), cache_ttl_s=CACHE_S) as home:
        await home.ask("hello")
        anew = await home.play(replace(home.request("hello", place=ELSEWHERE), no_cache=True))
        assert not anew.receipt.from_cache
        assert chats(home, "zai") == 2
        third = PlaceId("third")
        again = await home.ask("hello", place=Place(third))
        assert again.receipt.from_cache
        assert again.text == anew.text


async def test_a_retry_goes_past_the_cache(tmp_path: Path) -> None:
    async with house(tmp_path, providers=cloud(zai="zai"), cache_ttl_s=CACHE_S) as home:
        first = await home.ask("hello")
        again = await home.play(home.request("", parent=first.turn, kind="retry"))
        assert not again.receipt.from_cache
        assert chats(home, "zai") == 2


async def test_private_and_open_questions_share_no_answers(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), cache_ttl_s=CACHE_S) as home:
        await home.lantern.privacy.mark("place", PLACE.channel, local_only=True)
        await home.ask("hello")
        open_one = await home.ask("hello", place=ELSEWHERE)
        await home.lantern.turns.store.reset(PLACE.conversation)
        private = await home.ask("hello")
        assert not open_one.receipt.from_cache
        assert private.receipt.from_cache
        assert (private.receipt.host, private.receipt.provider) == ("studio", None)
        assert len(home.hosts["studio"].journal.of(PredictionStarted)) == 2


async def test_a_cut_answer_is_not_given_again(tmp_path: Path) -> None:
    async with house(tmp_path, providers=cloud(zai="zai"), cache_ttl_s=CACHE_S) as home:
        home.doubles["zai"].faults.set("cut", after_tokens=5, times=1)
        await home.ask("hello")
        said = await home.ask("hello", place=ELSEWHERE)
        assert isinstance(said.last, Finished)
        assert not said.receipt.from_cache


# --- wait or switch --------------------------------------------------------------------------


def slow(when: str = "ask") -> ChatRules:
    """Any load counts as slow."""
    match when:
        case "cloud" | "warm" | "wait" | "ask":
            return ChatRules(DEFAULT, slow=SlowRules(after_s=0.5, when_slow=when))
        case _:
            raise AssertionError(when)


WANTS_QWEN = {"default": f"model: {QWEN.key}\n"}


@asynccontextmanager
async def slow_beside_warm(
    folder: Path, budget: BudgetRules | None = None
) -> AsyncGenerator[House]:
    """The model that is wanted loads and loads on one host; another has a second one in memory."""
    async with house(
        folder,
        sim("studio", QWEN),
        sim("laptop", GEMMA),
        providers=cloud(zai="zai"),
        rules=slow(),
        personas=WANTS_QWEN,
        budget=budget,
    ) as home:
        await home.hosts["laptop"].preload(GEMMA.key)
        await home.lantern.fleet.host(HostName("laptop")).probe()
        home.hosts["studio"].faults.stall_load()
        yield home


async def test_a_slow_load_offers_the_cloud_and_the_asker_may_take_it(tmp_path: Path) -> None:
    async with house(
        tmp_path,
        sim("studio", QWEN),
        providers=cloud(zai="zai"),
        rules=slow(),
        personas=WANTS_QWEN,
    ) as home:
        home.hosts["studio"].faults.stall_load()
        said, was_taken = await steered(home, "[[say From afar.]]", "cloud")
        home.hosts["studio"].faults.clear()
        (offer,) = offers(said.events)
        assert was_taken
        assert offer.here.host == "studio"
        assert offer.cloud is not None
        assert (offer.cloud.likely_micro_usd or 0) > 0
        assert said.text == "From afar."
        assert said.receipt.provider == "zai"


@pytest.mark.parametrize("when", ["ask", "warm"])
async def test_a_model_that_its_own_load_puts_out_is_offered_to_nobody_beside_it(
    tmp_path: Path, when: str
) -> None:
    async with house(
        tmp_path,
        sim("studio", QWEN, GEMMA, memory_bytes=6 * GB),
        memory_gb=6,
        providers=cloud(zai="zai"),
        rules=slow(when),
        personas=WANTS_QWEN,
    ) as home:
        await home.ask("hello", model=GEMMA.key)
        home.hosts["studio"].faults.stall_load()
        said, was_taken = await steered(home, "hello", "cloud")
        home.hosts["studio"].faults.clear()
        if when == "warm":
            # Chosen before any load, it is there still.
            assert (offers(said.events), said.receipt.model) == ([], GEMMA.key)
            return
        (offer,) = offers(said.events)
        assert (offer.warm, was_taken, said.receipt.provider) == (None, True, "zai")


async def test_a_model_that_was_offered_is_refused_once_it_has_left_memory(tmp_path: Path) -> None:
    async with slow_beside_warm(tmp_path) as home:
        turns, was_taken = home.lantern.turns, list[bool]()
        async with turns.open(home.request("hello")) as events:
            async for event in events:
                if isinstance(event, Offered):
                    assert event.warm is not None
                    await turns.check_way(event.turn, "warm")
                    home.hosts["laptop"].unload(GEMMA.key)
                    await home.lantern.fleet.host(HostName("laptop")).probe()
                    words = f"`{GEMMA.key}` is not in memory on laptop any more; the answer goes on"
                    with pytest.raises(RequestRefused, match=re.escape(words)):
                        await turns.check_way(event.turn, "warm")
                    await turns.check_way(event.turn, "cloud")
                    was_taken = [turns.choose(event.turn, way) for way in ("warm", "cloud")]
        home.hosts["studio"].faults.clear()
        assert was_taken == [False, True]


async def test_a_provider_that_was_offered_is_refused_once_no_words_may_leave(
    tmp_path: Path,
) -> None:
    async with slow_beside_warm(tmp_path) as home:
        turns, was_taken = home.lantern.turns, list[bool]()
        last: TurnEvent | None = None
        async with turns.open(home.request("hello")) as events:
            async for event in events:
                if isinstance(event, Offered):
                    await turns.check_way(event.turn, "cloud")
                    await home.lantern.privacy.mark("place", PLACE.channel)
                    with pytest.raises(NotPermitted, match="here: this channel is local only;"):
                        await turns.check_way(event.turn, "cloud")
                    await turns.check_way(event.turn, "cloud")
                    await turns.check_way(event.turn, "warm")
                    was_taken = [turns.choose(event.turn, way) for way in ("cloud", "warm")]
                last = event
        home.hosts["studio"].faults.clear()
        assert was_taken == [False, True]
        assert isinstance(last, Finished)
        assert last.receipt.host == "laptop"
        assert heard(home) == ""
        await turns.check_way(last.turn, "cloud")


async def test_who_presses_for_a_provider_that_their_budget_cannot_pay_is_told_so_at_once(
    tmp_path: Path,
) -> None:
    async with slow_beside_warm(tmp_path, BudgetRules(per_user_micro_usd=100_000)) as home:
        turns, was_taken = home.lantern.turns, list[bool]()
        last: TurnEvent | None = None
        async with turns.open(home.request("hello")) as events:
            async for event in events:
                if isinstance(event, Offered):
                    assert event.cloud is not None
                    held = event.cloud.cost_micro_usd or 0
                    await turns.check_way(event.turn, "cloud")
                    await book(home, ADA, 100_000 - held)
                    await turns.check_way(event.turn, "cloud")
                    await book(home, ADA, 1)
                    words = f"zai may cost up to {dollars_text(held)}, but your own daily budget of"
                    with pytest.raises(RequestRefused, match=re.escape(words)):
                        await turns.check_way(event.turn, "cloud")
                    was_taken = [turns.choose(event.turn, way) for way in ("cloud", "warm")]
                last = event
        home.hosts["studio"].faults.clear()
        assert was_taken == [False, True]
        assert isinstance(last, Finished)
        assert heard(home) == ""


async def test_of_two_presses_in_one_moment_the_one_that_no_money_is_left_for_is_told_so_at_once(
    tmp_path: Path,
) -> None:
    other = replace(QWEN, key="qwen/qwen3-14b")
    async with house(
        tmp_path,
        # Of one load the second to ask may see the end nearer than it is.
        sim("studio", QWEN),
        sim("attic", other),
        sim("laptop", GEMMA),
        providers=cloud(zai="zai"),
        rules=slow(),
        personas=WANTS_QWEN,
        budget=BudgetRules(per_user_micro_usd=100_000),
    ) as home:
        await home.hosts["laptop"].preload(GEMMA.key)
        await home.lantern.fleet.host(HostName("laptop")).probe()
        for name in ("studio", "attic"):
            home.hosts[name].faults.stall_load()
        turns, told = home.lantern.turns, list[str]()
        ends, both_passed = list[TurnEvent | None](), asyncio.Barrier(2)
        # Answered, it would give back nearly all that was held for it.
        home.doubles["zai"].faults.set("no_first_token", times=None)

        async def press(turn: TurnId) -> None:
            await turns.check_way(turn, "cloud")
            await both_passed.wait()
            assert turns.choose(turn, "cloud")
            try:
                await turns.check_taken(turn)
            except RequestRefused as refused:
                told.append(refused.user_message)
                home.doubles["zai"].faults.clear()
                # What else was offered still is.
                assert not turns.choose(turn, "cloud")
                assert turns.choose(turn, "warm")
                await turns.check_taken(turn)

        async def ask(place: Place) -> None:
            last: TurnEvent | None = None
            model = None if place is PLACE else other.key
            request = home.request("[[say From afar.]]", place=place, model=model)
            async with turns.open(request) as events, asyncio.TaskGroup() as presses:
                async for event in events:
                    if isinstance(event, Offered):
                        assert event.cloud is not None
                        if place is PLACE:
                            held = event.cloud.cost_micro_usd or 0
                            await book(home, ADA, 100_000 - held)
                        presses.create_task(press(event.turn))
                    last = event
            ends.append(last)

        async with asyncio.TaskGroup() as group:
            group.create_task(ask(PLACE))
            group.create_task(ask(ELSEWHERE))
        for name in ("studio", "attic"):
            home.hosts[name].faults.clear()
        (words,) = told
        assert words.startswith("zai may cost up to")
        assert "but your own daily budget of" in words
        by = {end.receipt.provider or end.receipt.host for end in ends if isinstance(end, Finished)}
        assert by == {"zai", "laptop"}


async def test_a_slow_load_offers_what_is_warm(tmp_path: Path) -> None:
    async with slow_beside_warm(tmp_path) as home:
        said, was_taken = await steered(home, "hello", "warm")
        home.hosts["studio"].faults.clear()
        assert was_taken
        assert (said.receipt.host, said.receipt.model) == ("laptop", GEMMA.key)
        assert heard(home) == ""


async def test_waiting_goes_on_with_the_load(tmp_path: Path) -> None:
    async with house(
        tmp_path,
        sim("studio", QWEN),
        providers=cloud(zai="zai"),
        rules=slow(),
        personas=WANTS_QWEN,
    ) as home:
        said, was_taken = await steered(home, "hello", "wait")
        assert was_taken
        assert said.receipt.host == "studio"
        assert not home.lantern.turns.choose(said.turn, "cloud")


async def test_a_chosen_provider_that_fails_is_tried_once_and_the_host_after_it(
    tmp_path: Path,
) -> None:
    async with house(
        tmp_path,
        sim("studio", QWEN),
        providers=cloud(zai="zai"),
        rules=slow(),
        personas=WANTS_QWEN,
    ) as home:
        home.doubles["zai"].faults.set("no_money")
        said, _ = await steered(home, "hello", "cloud")
        assert said.receipt.host == "studio"
        assert [attempt.where for attempt in said.receipt.attempts] == ["zai"]


async def test_nothing_is_offered_for_what_may_not_leave(tmp_path: Path) -> None:
    async with house(
        tmp_path,
        sim("studio", QWEN),
        providers=cloud(zai="zai"),
        rules=slow("cloud"),
        personas={"default": f"model: {QWEN.key}\nlocal_only: true\n"},
    ) as home:
        said = await home.ask("secret")
        assert not offers(said.events)
        assert said.receipt.host == "studio"
        assert heard(home) == ""


@pytest.mark.parametrize(("when", "where"), [("cloud", "zai"), ("wait", "studio")])
async def test_the_settings_may_choose_for_the_asker(tmp_path: Path, when: str, where: str) -> None:
    async with house(
        tmp_path,
        sim("studio", QWEN),
        providers=cloud(zai="zai"),
        rules=slow(when),
        personas=WANTS_QWEN,
    ) as home:
        said = await home.ask("hello")
        assert not offers(said.events)
        assert (said.receipt.provider or said.receipt.host) == where
        assert ("s away; zai answered." in instead_words(said.receipt)) == (when == "cloud")


async def test_a_warm_model_the_settings_choose_is_said(tmp_path: Path) -> None:
    hosts = (sim("studio", QWEN), sim("laptop", GEMMA))
    async with house(tmp_path, *hosts, rules=slow("warm"), personas=WANTS_QWEN) as home:
        await home.hosts["laptop"].preload(GEMMA.key)
        await home.lantern.fleet.host(HostName("laptop")).probe()
        said = await home.ask("hello")
    words = f"studio would take long, so `{GEMMA.key}` is asked instead."
    assert words in [event.text for event in said.events if isinstance(event, Notice)]
    assert (said.receipt.host, said.receipt.model) == ("laptop", GEMMA.key)


async def test_a_provider_the_settings_choose_is_said_by_its_answer_and_asked_once(
    tmp_path: Path,
) -> None:
    async with house(
        tmp_path,
        sim("studio", QWEN),
        providers=cloud(zai="zai"),
        rules=slow("cloud"),
        personas=WANTS_QWEN,
    ) as home:
        home.doubles["zai"].faults.set("no_money")
        home.hosts["studio"].faults.fail_next_load("exit code 42", times=None)
        said = await home.ask("hello")
    assert [attempt.where for attempt in said.receipt.attempts] == ["zai", "studio"]
    told = [event.text for event in said.events if isinstance(event, Notice)]
    assert not [words for words in told if "instead" in words]


# --- found by reading -----------------------------------------------------------------------


async def test_a_place_made_private_while_a_turn_waits_is_heeded(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), providers=cloud(zai="zai")) as home:
        await power_off(home)
        said = Said()
        async with home.lantern.turns.open(home.request("my secret is 7")) as events:
            async for event in events:
                said.events.append(event)
                if isinstance(event, Started):
                    await home.lantern.privacy.mark("place", PLACE.channel, local_only=True)
        assert isinstance(said.last, Failed)
        assert "secret" not in heard(home)
        await home.lantern.privacy.mark("place", PLACE.channel, local_only=False)
        await home.ask("and now?", parent=said.turn)
        assert "secret" not in heard(home)


async def test_providers_are_told_numbers_of_people_not_their_names(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), providers=cloud(zai="zai")) as home:
        await home.ask("one", user=ADA)
        await power_off(home)
        said = await home.ask("two", user=BOB)
        assert said.receipt.provider == "zai"
        assert "Person 1: one" in heard(home)
        assert "Person 2: two" in heard(home)
        assert "ada:" not in heard(home)
        assert "bob:" not in heard(home)


async def test_an_answer_after_a_second_try_keeps_its_mark(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), providers=cloud(zai="zai")) as home:
        home.lantern.providers.sleep = no_pause
        await power_off(home)
        home.doubles["zai"].faults.set("server", times=1)
        said = await home.ask("[[say Second time.]]")
        assert said.text == "Second time."
        assert said.receipt.provider == "zai"
        assert said.receipt.model is not None


async def test_a_place_that_is_not_certain_is_private(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), providers=cloud(zai="zai")) as home:
        await power_off(home)
        unknown = Place(PlaceId("discord:555"), server=PLACE.server, is_certain=False)
        said = await home.ask("my secret is 7", place=unknown)
        assert isinstance(said.last, Failed)
        assert not heard(home)


async def test_a_slow_host_still_serves_when_no_provider_does(tmp_path: Path) -> None:
    rules = ChatRules(default_persona=DEFAULT, max_local_wait_s=0.0)
    broke = BudgetRules(daily_micro_usd=0)
    providers = cloud(zai="zai")
    async with house(
        tmp_path, sim("studio", QWEN), providers=providers, rules=rules, budget=broke
    ) as home:
        said = await home.ask("hello")
        assert said.receipt.host == "studio"


async def test_a_request_type_may_be_said_for_one_turn(tmp_path: Path) -> None:
    rules = ChatRules(default_persona=DEFAULT, request_types={"teaching": ("zai", "local")})
    async with house(
        tmp_path, sim("studio", QWEN), providers=cloud(zai="zai"), rules=rules
    ) as home:
        request = replace(home.request("hello"), request_type="teaching")
        said = await home.play(request)
        assert said.receipt.provider == "zai"
        turn = await home.lantern.turns.store.get(said.turn)
        assert turn is not None
        assert "request type teaching (zai, local); zai: cloud" in why_text(turn)
        other = await home.play(replace(home.request("hello"), request_type="poetry"))
        assert other.receipt.host == (await home.ask("hello")).receipt.host == "studio"
        # Where it has no order of its own it changed nothing.
        assert "request type" not in other.receipt.route.reason


async def test_a_retry_is_paid_by_whoever_presses(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), providers=cloud(zai="zai")) as home:
        await power_off(home)
        first = await home.ask("hello", user=ADA)
        await home.play(home.request("", user=BOB, parent=first.turn, kind="retry"))
        name = home.lantern.providers.ledger_name
        rows = await home.lantern.database.read(
            lambda c: c.execute("SELECT user FROM ledger WHERE source = 'cloud'").fetchall()
        )
        assert [row[0] for row in rows] == [name(ADA), name(BOB)]


async def test_whoever_waits_at_a_provider_is_told_each_place_in_its_line(tmp_path: Path) -> None:
    async with house(
        tmp_path, providers=cloud(zai="zai"), provider_changes={"max_concurrent": 1}
    ) as home:
        (zai,) = home.lantern.providers.deployments(ProviderName("zai"))

        async def unheard(_: int) -> None:
            """Whoever is in waits for no place."""

        await zai.gate.enter("somebody", 0.0, unheard)

        async def told(user: UserId) -> list[int]:
            places: list[int] = []
            async with home.lantern.turns.open(home.request("hello", user=user)) as events:
                async for event in events:
                    if isinstance(event, Queued):
                        places.append(event.position)
                        if event.position == 2:
                            zai.gate.leave("somebody")
            return places

        async with asyncio.TaskGroup() as tasks:
            waiting = [tasks.create_task(told(user)) for user in (ADA, BOB)]
        assert sorted(task.result() for task in waiting) == [[1], [2, 1]]


async def test_a_fact_forgotten_in_a_providers_line_is_not_sent_and_its_question_is(
    tmp_path: Path,
) -> None:
    async with house(
        tmp_path, providers=cloud(zai="zai"), provider_changes={"max_concurrent": 1}
    ) as home:
        (zai,) = home.lantern.providers.deployments(ProviderName("zai"))
        people = home.lantern.people

        async def unheard(_: int) -> None:
            """Whoever is in waits for no place."""

        await zai.gate.enter("somebody", 0.0, unheard)
        await people.remember(Quote("my cat is Tom", ADA, "Ada", PLACE, 1))
        (fact,) = await people.facts(ADA)
        said = Said()
        async with home.lantern.turns.open(home.request("who is it?")) as events:
            async for event in events:
                said.events.append(event)
                if isinstance(event, Queued):
                    await people.drop(ADA, fact.number)
                    zai.gate.leave("somebody")
        assert isinstance(said.last, Finished)
        assert "who is it?" in heard(home)
        assert "Tom" not in heard(home)


async def test_a_provider_in_whose_line_what_is_quoted_was_taken_back_declined_nothing(
    tmp_path: Path,
) -> None:
    async with house(
        tmp_path, providers=cloud(zai="zai"), provider_changes={"max_concurrent": 1}
    ) as home:
        (zai,) = home.lantern.providers.deployments(ProviderName("zai"))

        async def unheard(_: int) -> None:
            """Whoever is in waits for no place."""

        await zai.gate.enter("somebody", 0.0, unheard)
        quotes = (Quote("my cat is Tom", BOB, "Bob", PLACE, 1, "41"),)
        events = list[TurnEvent]()
        async with home.lantern.turns.open(
            replace(home.request("who is it?"), quotes=quotes)
        ) as played:
            async for event in played:
                events.append(event)
                if isinstance(event, Queued):
                    home.lantern.turns.taken_back.delete(41)
                    await home.lantern.people.unquote("41")
                    zai.gate.leave("somebody")
        assert heard(home) == ""
        last = events[-1]
        assert isinstance(last, Failed)
        assert not [event for event in events if isinstance(event, Reading)]
        assert last.receipt is not None
        assert "declined" not in footer(last.receipt)
        assert last.receipt.provider is None


# --- before anybody is paid, and in which order ----------------------------------------------


async def test_at_the_start_hosts_are_looked_at_before_a_provider_is_paid(tmp_path: Path) -> None:
    async with house(
        tmp_path, sim("studio", QWEN), providers=cloud(zai="zai"), is_settled=False
    ) as home:
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(home.ask(f"question {number}")) for number in range(8)]
        assert {turn.result().receipt.host for turn in asked} == {"studio"}
        assert heard(home) == ""


async def test_a_host_that_takes_long_to_be_seen_is_waited_for_and_a_dead_one_beside_it_is_not(
    tmp_path: Path,
) -> None:
    # Longer than the test may take: whoever waits for the dead one does not end.
    rules = ChatRules(DEFAULT, first_look_s=3600.0)
    async with house(
        tmp_path,
        sim("dead", GEMMA),
        sim("slow", QWEN),
        providers=cloud(zai="zai"),
        rules=rules,
        is_settled=False,
        hanging=("dead", "slow"),
    ) as home:
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(home.ask(f"question {n}")) for n in range(3)]
            relayed = tasks.create_task(relay(home.lantern.relaying, "hello"))
            await asyncio.sleep(0)
            home.hosts["slow"].faults.clear("hang")
        assert {turn.result().receipt.host for turn in asked} == {"slow"}
        assert relayed.result().host == "slow"
        assert heard(home) == ""
        assert home.lantern.fleet.snapshot().hosts[HostName("dead")].state == "unknown"


async def test_no_slow_load_sends_to_the_cloud_while_a_host_is_unseen_that_may_have_it(
    tmp_path: Path,
) -> None:
    rules = ChatRules(DEFAULT, first_look_s=3600.0, slow=SlowRules(2.0, "cloud"))
    async with house(
        tmp_path,
        sim("cold", QWEN),
        sim("warm", QWEN),
        providers=cloud(zai="zai"),
        rules=rules,
        is_settled=False,
        hanging=("warm",),
    ) as home:
        await home.hosts["warm"].preload(QWEN.key)
        assert await home.lantern.fleet.settled(60.0, HostName("cold"))
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(home.ask("hello", model=QWEN.key))
            await asyncio.sleep(0)
            home.hosts["warm"].faults.clear("hang")
        assert asked.result().receipt.host == "warm"
        assert heard(home) == ""


@pytest.mark.parametrize("is_relayed", [False, True])
async def test_when_a_host_breaks_one_that_is_still_unseen_goes_before_a_provider(
    tmp_path: Path, is_relayed: bool
) -> None:
    rules = ChatRules(DEFAULT, first_look_s=3600.0)
    async with house(
        tmp_path,
        sim("first", QWEN),
        sim("slow", QWEN),
        sim("dead", GEMMA),
        providers=cloud(zai="zai"),
        rules=rules,
        is_settled=False,
        hanging=("slow", "dead"),
    ) as home:
        assert await home.lantern.fleet.settled(60.0, HostName("first"))
        first = home.hosts["first"].faults
        first.drop_after_tokens(0, times=None)
        async with asyncio.TaskGroup() as tasks:
            if is_relayed:
                asked = tasks.create_task(relay(home.lantern.relaying, "hello"))
            else:
                asked = tasks.create_task(receipt_of(home, "hello"))
            # Nobody but the unseen one is left to ask when it is seen.
            there, broken = home.lantern.fleet.host(HostName("first")), home.hosts["first"].journal
            # By what stays: that it is out may be over before anybody looks.
            await there.until(lambda _: bool(broken.of(PredictionCut)))
            home.hosts["slow"].faults.clear("hang")
        assert asked.result().host == "slow"
        assert heard(home) == ""


@pytest.mark.parametrize("is_relayed", [False, True])
async def test_a_host_that_ends_the_first_look_and_breaks_leaves_the_rest_of_it_to_the_others(
    tmp_path: Path, is_relayed: bool
) -> None:
    rules = ChatRules(DEFAULT, first_look_s=3600.0)
    names = ("first", "second", "third")
    async with house(
        tmp_path,
        *(sim(name, QWEN) for name in names),
        sim("dead", GEMMA),
        providers=cloud(zai="zai"),
        rules=rules,
        is_settled=False,
        hanging=(*names, "dead"),
    ) as home:
        async with asyncio.TaskGroup() as tasks:
            if is_relayed:
                asked = tasks.create_task(relay(home.lantern.relaying, "hello"))
            else:
                asked = tasks.create_task(receipt_of(home, "hello"))
            for name in names:
                faults = home.hosts[name].faults
                if name != "third":
                    faults.drop_after_tokens(0, times=None)
                faults.clear("hang")
                if name != "third":
                    # Each is seen only when the one before it has broken.
                    broken = home.hosts[name].journal
                    there = home.lantern.fleet.host(HostName(name))
                    await there.until(lambda _, broken=broken: bool(broken.of(PredictionCut)))
        assert asked.result().host == "third"
        assert heard(home) == ""


@pytest.mark.parametrize("is_relayed", [False, True])
async def test_no_wait_at_a_host_is_left_for_one_that_broke_for_the_same_question(
    tmp_path: Path, is_relayed: bool
) -> None:
    large = replace(QWEN, size_bytes=20 * GB)
    async with house(
        tmp_path, sim("first", large), sim("slow", large), providers=cloud(zai="zai")
    ) as home:
        await home.hosts["first"].preload(QWEN.key)
        first = home.lantern.fleet.host(HostName("first"))
        await first.probe()
        home.hosts["first"].faults.drop_after_tokens(0, times=1)
        slow = home.hosts["slow"].faults
        slow.stall_load(at=0.0)

        async def waits(step: Progress) -> None:
            if isinstance(step, Loading) and step.host == "slow":
                # It is back with the model in memory, and would be clearly sooner; the load
                # goes on once whoever may leave has looked around.
                await first.probe()
                asyncio.get_running_loop().call_later(2 * LOOK_AFTER_S, slow.clear)

        if is_relayed:
            by = (await relay(home.lantern.relaying, "hello", waits=waits)).host
        else:
            said = Said()
            async with home.lantern.turns.open(home.request("hello")) as events:
                async for event in events:
                    said.events.append(event)
                    if isinstance(event, Loading):
                        await waits(event)
            by = said.receipt.host
        assert by == "slow"
        assert heard(home) == ""


async def test_a_host_that_is_never_seen_is_waited_for_no_longer_than_its_bound(
    tmp_path: Path,
) -> None:
    rules = ChatRules(DEFAULT, first_look_s=0.05)
    async with house(
        tmp_path,
        sim("dead", QWEN),
        providers=cloud(zai="zai"),
        rules=rules,
        is_settled=False,
        hanging=("dead",),
    ) as home:
        said = await home.ask("hello")
        assert said.receipt.provider == "zai"
        assert "dead" in instead_words(said.receipt)


async def test_where_the_cloud_goes_first_no_host_is_waited_for(tmp_path: Path) -> None:
    rules = ChatRules(DEFAULT, strategy="prefer_cloud")
    async with house(
        tmp_path,
        sim("studio", QWEN),
        providers=cloud(zai="zai"),
        rules=rules,
        is_settled=False,
        hanging=("studio",),
    ) as home:
        assert (await home.ask("hello")).receipt.provider == "zai"


async def test_a_provider_nobody_asked_goes_before_a_second_try(tmp_path: Path) -> None:
    providers = cloud(zai="zai", openai="openai", claude="anthropic", other="generic")
    async with house(tmp_path, sim("studio", QWEN), providers=providers) as home:
        await power_off(home)
        for name in ("zai", "openai", "claude"):
            home.doubles[name].faults.set("overload")
        said = await home.ask("hello")
        assert said.receipt.provider == "other"
        assert [chats(home, name) for name in providers] == [1, 1, 1, 1]


async def test_when_everybody_was_asked_a_struggling_provider_gets_its_second_try(
    tmp_path: Path,
) -> None:
    providers = cloud(zai="zai", openai="openai")
    async with house(tmp_path, sim("studio", QWEN), providers=providers) as home:
        home.lantern.providers.sleep = no_pause
        await power_off(home)
        home.doubles["zai"].faults.set("overload", times=1)
        home.doubles["openai"].faults.set("auth")
        said = await home.ask("hello")
        assert said.receipt.provider == "zai"
        assert [chats(home, name) for name in providers] == [2, 1]


@pytest.mark.parametrize("moment", ["routed", "reading"])
async def test_a_channel_closed_while_its_question_is_on_its_way_sends_nothing(
    tmp_path: Path, moment: str
) -> None:
    async with house(tmp_path, sim("studio", QWEN), providers=cloud(zai="zai")) as home:
        await power_off(home)
        said = Said()
        async with home.lantern.turns.open(home.request("a secret")) as events:
            async for event in events:
                said.events.append(event)
                if isinstance(event, Routed if moment == "routed" else Reading):
                    await home.lantern.privacy.mark("place", PLACE.channel, local_only=True)
        assert heard(home) == ""
        # Not only that it is "not asked": who closed the channel meanwhile was somebody else.
        assert isinstance(said.last, Failed)
        words = "zai was not asked (this channel is local only; `/settings local_only:off"
        assert words in said.last.error.user_message


# --- quotes ------------------------------------------------------------------------------------


def quoting(home: House, quote: Quote, text: str = "and this?") -> TurnRequest:
    return replace(home.request(text), quotes=(quote,))


async def closed_for(home: House, seconds: int) -> None:
    """The channel was closed for so long, until now."""
    privacy, database = home.lantern.privacy, home.lantern.database
    await privacy.mark("place", PLACE.channel, local_only=True)
    earlier = "UPDATE local_only SET changed_at_ms = changed_at_ms - ?"
    await database.execute(earlier, (seconds * 1000,))
    await privacy.mark("place", PLACE.channel, local_only=False)


def quote_of(text: str, *, ago_s: float = 0.0, user: UserId = ADA, place: Place = PLACE) -> Quote:
    said_at_ms = int((utcnow().timestamp() - ago_s) * 1000)
    return Quote(text, user, str(user).split(":")[-1], place, said_at_ms)


async def test_words_said_while_a_channel_was_closed_stay_here_when_quoted_later(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, sim("studio", QWEN), providers=cloud(zai="zai")) as home:
        await closed_for(home, 600)
        await power_off(home)
        said = await home.play(quoting(home, quote_of("a secret", ago_s=300)))
        assert isinstance(said.last, Failed)
        assert heard(home) == ""
        await power_on(home)
        answered = await home.play(quoting(home, quote_of("a secret", ago_s=300)))
        await power_off(home)
        # Its own turn is private for good, and so is whatever goes on from it.
        await home.ask("go on", parent=answered.turn)
        assert heard(home) == ""


async def test_a_fact_keeps_the_privacy_under_which_it_was_said(tmp_path: Path) -> None:
    async with house(tmp_path, providers=cloud(zai="zai")) as home:
        await closed_for(home, 600)
        ago = {"before": 900, "meanwhile": 300, "since": -120}
        for text, ago_s in ago.items():
            await home.lantern.people.remember(quote_of(f"said {text}", ago_s=ago_s))
        await home.ask("hello")
        told = [text for text in ago if f"said {text}" in heard(home)]
        assert told == ["before", "since"]


async def test_a_quote_said_in_the_open_goes_along_without_names_and_ids(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), providers=cloud(zai="zai")) as home:
        await power_off(home)
        quote = quote_of("<@123456789012345678> and @ada in <#234567890123456789>", user=BOB)
        said = await home.play(quoting(home, quote, "what did he mean?"))
        assert said.receipt.provider == "zai"
        sent = heard(home)
        assert "@someone and @Person 2 in #channel" in sent
        assert "what did he mean?" in sent
        assert not [
            name
            for name in ("123456789012345678", "234567890123456789", "ada", "bob")
            if name in sent.lower()
        ]
        # The next turn sends it again, as it was.
        await home.ask("more")
        last = home.doubles["zai"].journal.chats()[-1].arrival
        assert "@someone and @Person 2 in #channel" in str(last.payload)


@pytest.mark.parametrize("mark", ["author", "place"])
async def test_a_quote_is_judged_by_its_own_author_and_place(tmp_path: Path, mark: str) -> None:
    async with house(tmp_path, sim("studio", QWEN), providers=cloud(zai="zai")) as home:
        if mark == "author":
            await home.lantern.privacy.mark("user", BOB, local_only=True)
        else:
            await home.lantern.privacy.mark("place", ELSEWHERE.channel, local_only=True)
        await power_off(home)
        await home.play(quoting(home, quote_of("a secret", user=BOB, place=ELSEWHERE)))
        assert heard(home) == ""


async def test_a_quote_of_a_private_turn_stays_here_under_another_persona(tmp_path: Path) -> None:
    personas = {"diary": "local_only: true"}
    async with house(
        tmp_path, sim("studio", QWEN), providers=cloud(zai="zai"), personas=personas
    ) as home:
        await home.ask("a secret", persona="diary")
        await power_off(home)
        await home.play(quoting(home, quote_of("a secret")))
        assert heard(home) == ""


async def test_a_retry_says_its_quotes_again(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), providers=cloud(zai="zai")) as home:
        await power_off(home)
        first = await home.play(quoting(home, quote_of("the sky is green"), ""))
        await home.play(home.request("", parent=first.turn, kind="retry"))
        assert heard(home).count("> the sky is green") == 2


async def test_a_providers_answer_is_kept_by_the_model_asked_for(tmp_path: Path) -> None:
    async with house(
        tmp_path, sim("studio", QWEN), providers=cloud(zai="zai"), cache_ttl_s=CACHE_S
    ) as home:
        await power_off(home)
        asked = replace(home.request("hello"), model=ModelKey(QWEN.key))
        first = await home.play(asked)
        second = await home.play(replace(asked, place=ELSEWHERE))
        assert (first.receipt.from_cache, second.receipt.from_cache) == (False, True)
        assert second.receipt.provider == "zai"
        # Before any word of it: what is shown meanwhile is marked.
        at = [type(event) for event in second.events].index(Reading)
        reading = second.events[at]
        assert isinstance(reading, Reading)
        assert reading.candidate.provider == "zai"
        assert TextDelta not in [type(event) for event in second.events[:at]]
        assert second.receipt.cost_micro_usd == 0
        assert chats(home, "zai") == 1


# --- back again --------------------------------------------------------------------------------


async def test_an_admin_takes_a_paused_provider_into_use_again(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), providers=cloud(zai="zai")) as home:
        await power_off(home)
        home.doubles["zai"].faults.set("no_money", times=1)
        assert isinstance((await home.ask("one")).last, Failed)
        assert isinstance((await home.ask("two")).last, Failed)
        assert "zai is asked again" in await home.lantern.acts.resume(" Zai ")
        assert (await home.ask("three")).receipt.provider == "zai"
        assert [event.what for event in home.cloud_news] == ["out", "passed", "passed", "back"]
        assert await home.lantern.acts.resume("studio") == "studio was not drained."


async def test_a_changed_key_is_read_and_used_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.app.KEYS_EVERY_S", 0.01)
    take, was_taken, found = Providers.take_keys, asyncio.Event(), list[ProviderConfig]()

    def take_keys(providers: Providers, read: Sequence[ProviderConfig]) -> None:
        take(providers, read)
        if read[0].api_key != "wrong":
            was_taken.set()

    monkeypatch.setattr(Providers, "take_keys", take_keys)
    async with house(
        tmp_path,
        providers=cloud(zai="zai"),
        provider_changes={"api_key": "wrong"},
        # As it stands at that moment: it is read on a thread of its own.
        reread=lambda: list(found),
    ) as home:
        zai = home.lantern.providers.config(ProviderName("zai"))
        found.append(zai)
        # Nothing is read while nobody is out.
        assert isinstance((await home.ask("one")).last, Failed)
        found[0] = replace(zai, api_key=home.doubles["zai"].key)
        await was_taken.wait()
        assert (await home.ask("two")).receipt.provider == "zai"


# --- long messages ---------------------------------------------------------------------------

LONG = "word " * 33_000
"""More than a host's 32,768 tokens, less than a provider's 200,000."""


async def why(home: House, said: Said) -> str:
    turn = await home.lantern.turns.store.get(said.turn)
    assert turn is not None
    return why_text(turn)


async def with_file(home: House) -> Said:
    file = Attachment("book.txt", "text/plain", text=LONG)
    return await home.play(home.request("What is it about?", attachments=[file]))


async def test_a_message_too_long_for_the_hosts_goes_to_who_reads_it_and_says_why(
    tmp_path: Path,
) -> None:
    wide = {"context_length": 200_000}
    async with house(
        tmp_path, sim("studio", QWEN), providers=cloud(zai="zai"), provider_changes=wide
    ) as home:
        said = await with_file(home)
        assert said.receipt.provider == "zai"
        told = instead_words(said.receipt)
        assert told == "☁ studio is too small for so long a text; zai answered."
        # Once and calmly for readers; whoever wants the numbers asks for them.
        assert said.notices == ""
        assert "32,768 tokens" in await why(home, said)
        assert LONG.strip() in heard(home)
        # What fits the hosts is answered by them as before, without what is too long for them.
        short = await home.ask("And?")
        assert short.receipt.host == "studio"
        assert "Kept the newest 1 of" in short.notices


@pytest.mark.parametrize("is_marked", [True, False])
async def test_a_message_too_long_for_everybody_it_may_go_to_is_refused_with_the_limit(
    tmp_path: Path, is_marked: bool
) -> None:
    changes = {"context_length": 200_000 if is_marked else 50_000}
    async with house(
        tmp_path, sim("studio", QWEN), providers=cloud(zai="zai"), provider_changes=changes
    ) as home:
        if is_marked:
            await home.lantern.privacy.mark("place", PLACE.channel)
        said = await with_file(home)
        assert isinstance(said.last, Failed)
        assert isinstance(said.last.error, PromptTooLong)
        words = said.last.error.user_message
        assert "your hosts read at most 32,768" in words
        assert ("and it stays here: this channel is local only" in words) == is_marked
        assert heard(home) == ""


async def test_a_personas_own_window_bounds_its_hosts_and_not_providers(tmp_path: Path) -> None:
    personas = {"brief": "load: {context_length: 2048}\n"}
    async with house(
        tmp_path, sim("studio", QWEN), providers=cloud(zai="zai"), personas=personas
    ) as home:
        said = await home.ask("word " * 3000, persona="brief")
        assert said.receipt.provider == "zai"
        told = instead_words(said.receipt)
        assert told == "☁ studio is too small for so long a text; zai answered."
        assert "context window of 2,048 tokens, set by the persona" in await why(home, said)


async def test_a_larger_host_takes_what_is_too_long_for_the_usual_window(tmp_path: Path) -> None:
    wide = replace(QWEN, max_context_length=131_072)
    async with house(
        tmp_path, sim("large", wide), sim("small", QWEN), providers=cloud(zai="zai")
    ) as home:
        assert (await with_file(home)).receipt.host == "large"


async def test_while_who_could_read_it_is_out_a_long_message_is_not_at_fault(
    tmp_path: Path,
) -> None:
    wide = {"context_length": 200_000}
    async with house(
        tmp_path, sim("studio", QWEN), providers=cloud(zai="zai"), provider_changes=wide
    ) as home:
        home.doubles["zai"].faults.set("no_money")
        await power_off(home)
        await home.ask("one")
        await power_on(home)
        said = await with_file(home)
        assert isinstance(said.last, Failed)
        assert isinstance(said.last.error, NoCandidates)


async def test_a_provider_with_a_larger_window_goes_before_shortening_for_a_smaller_one(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, providers=cloud(zai="zai", openai="openai")) as home:
        small = home.lantern.providers.config(ProviderName("zai"))
        home.lantern.providers.renew(replace(small, context_length=4096))
        for at in range(3):
            await home.ask(f"{at} " + "word " * 2000)
        last = await home.ask("And?")
        assert last.receipt.provider == "openai"
        assert "Kept the newest" not in last.notices
        large = home.lantern.providers.config(ProviderName("openai"))
        home.lantern.providers.renew(replace(large, context_length=4096))
        shortened = await home.ask("And now?")
        assert shortened.receipt.provider == "zai"
        assert "Kept the newest" in shortened.notices


# --- words that were private for a while ------------------------------------------------------


async def test_a_question_asked_in_private_stays_here_though_all_is_opened_while_it_waits(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, sim("studio", QWEN), providers=cloud(zai="zai")) as home:
        privacy, turns = home.lantern.privacy, home.lantern.turns
        home.hosts["studio"].faults.stall_load()
        async with asyncio.TaskGroup() as tasks, turns.open(home.request("the open one")) as first:
            async for event in first:
                if isinstance(event, Loading):
                    break
            await privacy.mark("place", PLACE.channel)
            said = Said()

            async def ask() -> None:
                async with turns.open(home.request("a secret")) as events:
                    async for event in events:
                        said.events.append(event)
                        if isinstance(event, Queued) and event.where is None:
                            # It waits for the first one's answer.
                            await privacy.mark("place", PLACE.channel, local_only=False)
                            await power_off(home)

            tasks.create_task(ask())
            async for _ in first:
                pass
        assert isinstance(said.last, Failed)
        assert "the open one" in heard(home)
        assert "a secret" not in heard(home)


@pytest.mark.parametrize("kind", ["new", "retry"])
async def test_what_stays_here_by_an_answer_it_has_waited_for_is_told_so(
    tmp_path: Path, kind: TurnKind
) -> None:
    async with house(tmp_path, sim("studio", QWEN), providers=cloud(zai="zai")) as home:
        privacy, studio = home.lantern.privacy, home.hosts["studio"]
        await privacy.mark("place", PLACE.channel)
        parent = (await home.ask("a secret")).turn if kind == "retry" else None
        if kind == "retry":
            studio.unload(QWEN.key)
            await home.lantern.fleet.host(HostName("studio")).probe()
        studio.faults.stall_load()
        async with asyncio.TaskGroup() as tasks:
            private = home.request("a secret", kind=kind, parent=parent)
            first = tasks.create_task(home.play(private))
            await home.lantern.fleet.host(HostName("studio")).until(
                lambda seen: seen.load is not None
            )
            await privacy.mark("place", PLACE.channel, local_only=False)
            said = Said()
            async with home.lantern.turns.open(home.request("and?")) as events:
                async for event in events:
                    said.events.append(event)
                    if isinstance(event, Queued) and event.where is None:
                        studio.faults.clear()
        assert isinstance(said.last, Finished)
        why = "an earlier message was said in private; `/reset` begins afresh without it"
        assert said.notices == private_words(why)
        assert first.result().notices == ""


@pytest.mark.parametrize("is_after", [True, False])
async def test_words_heard_late_stay_here_where_they_were_said_before_the_opening(
    tmp_path: Path, is_after: bool
) -> None:
    async with house(tmp_path, sim("studio", QWEN), providers=cloud(zai="zai")) as home:
        await closed_for(home, 600)
        await power_off(home)
        at_ms = int(utcnow().timestamp() * 1000) + (120_000 if is_after else -120_000)
        said = await home.play(replace(home.request("a word"), said_at_ms=at_ms))
        assert ("a word" in heard(home)) == is_after
        if isinstance(said.last, Failed):
            assert "was said in private; ask it once more" in said.last.error.user_message
        again = await home.ask("another word", place=ELSEWHERE)
        assert again.receipt.provider == "zai"


@pytest.mark.parametrize("changed", ["cloud: []\n", "cloud: [openai]\n", "local_only: true\n"])
async def test_whom_a_persona_may_ask_holds_for_questions_that_wait(
    tmp_path: Path, changed: str
) -> None:
    vendors = cloud(zai="zai", openai="openai")
    personas = {"poet": "cloud: [zai]\n"}
    async with house(tmp_path, providers=vendors, personas=personas) as home:
        said = Said()
        async with home.lantern.turns.open(home.request("a secret", persona="poet")) as events:
            async for event in events:
                said.events.append(event)
                # The next step is told only when this one was taken in.
                if isinstance(event, Routed):
                    file = tmp_path / "personas" / "poet.yaml"
                    file.write_text(f"name: poet\n{changed}", encoding="utf-8")
                    await home.lantern.shelf.refresh()
        assert heard(home) == ""
        assert isinstance(said.last, Failed)
        assert isinstance(said.last.error, NoCandidates)


async def test_what_was_said_to_a_persona_without_a_cloud_stays_here_when_its_file_goes(
    tmp_path: Path,
) -> None:
    personas = {"default": "cloud: []\n"}
    async with house(tmp_path, providers=cloud(zai="zai"), personas=personas) as home:
        (tmp_path / "personas" / "default.yaml").unlink()
        await home.lantern.shelf.refresh()
        assert isinstance((await home.ask("a secret")).last, Failed)
        assert heard(home) == ""
