"""What admins set for places, as turns meet it: limits, waits, restarts, choices of one's own."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import cast

import pytest
from house import ADA, BOB, GEMMA, PLACE, QWEN, House, Said, house, sim

from bot.chat.place_settings import Configured, PlaceSettings
from bot.domain.chat import Asker, TurnRequest
from bot.domain.errors import BotError, RequestRefused
from bot.domain.events import Failed, Started
from bot.domain.ids import PlaceId, UserId
from bot.policy.access import Rights
from bot.policy.budget import BudgetRules
from bot.policy.place_rules import SettingName
from bot.store.ledger import LedgerStore
from bot.store.place_settings import PlaceSettingStore

ADMIN = Asker(BOB, is_admin=True)
ABROAD = replace(PLACE, server=PlaceId("discord:10"))


async def change(home: House, name: SettingName, *values: str) -> None:
    await home.lantern.place_settings.change(PLACE, "server", {name: values}, ADMIN)


def refusal(said: Said) -> str:
    """Why nobody answered; empty where somebody did."""
    return said.last.error.user_message if isinstance(said.last, Failed) else ""


async def test_tokens_are_counted_in_the_ledger_so_that_a_restart_forgets_none(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        await change(home, "tokens_per_day", "1")
        assert refusal(await home.ask("hello")) == ""
    async with house(tmp_path, sim("studio", QWEN)) as home:
        assert "You have used your tokens for today" in refusal(await home.ask("hello"))
        # A limit is each person's own, and a server's is no other's.
        assert refusal(await home.ask("hello", user=BOB)) == ""
        settings, one = home.lantern.place_settings, {"tokens_per_day": ["1"]}
        await settings.change(ABROAD, "server", cast("dict[SettingName, list[str]]", one), ADMIN)
        assert refusal(await home.ask("hello", place=ABROAD)) == ""
        owner = replace(home.request("hello"), asker=Asker(ADA, is_owner=True))
        assert refusal(await home.play(owner)) == ""
        await change(home, "tokens_per_day", "100000")
        assert refusal(await home.ask("hello")) == ""


async def test_whoever_orders_an_answer_pays_for_it_in_tokens_too(tmp_path: Path) -> None:
    async def used(home: House, *people: UserId) -> list[int]:
        return [(await home.lantern.place_settings.tokens(who, PLACE))[0][1] for who in people]

    cy = UserId("cy")
    async with house(tmp_path, sim("studio", QWEN)) as home:
        await change(home, "tokens_per_day", "100000")
        first = await home.ask("hello")
        asked, nothing = await used(home, ADA, BOB)
        assert (asked > 0, nothing) == (True, 0)
        # Two press in one moment; of whoever owns the bot nothing is limited, all is counted.
        owner = Asker(cy, is_owner=True)
        again = home.request("", user=BOB, parent=first.turn, kind="retry")
        async with asyncio.TaskGroup() as pressing:
            pressing.create_task(home.play(again))
            pressing.create_task(home.play(replace(again, user=cy, asker=owner)))
        assert await used(home, ADA, BOB, cy) == [asked, asked, asked]
        await home.play(home.request("", user=BOB, parent=first.turn, kind="continue"))
        after = await used(home, ADA, BOB, cy)
        assert (after[0], after[1] > asked, after[2]) == (asked, True, asked)
        await change(home, "tokens_per_day", str(asked + 1))
        # Judged and charged is the same person.
        assert "your tokens for today" in refusal(await home.play(again))
        more = home.request("", user=ADA, parent=first.turn, kind="retry")
        assert refusal(await home.play(more)) == ""
    async with house(tmp_path, sim("studio", QWEN)) as home:
        assert await used(home, ADA, BOB) == [2 * asked, after[1]]


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("tokens_per_day", ("1",), "your tokens for today"),
        ("channels", ("discord:77",), "in this channel"),
        ("answered", ("user:bob",), "certain people only"),
        ("answered", ("user:ada",), ""),
    ],
)
async def test_what_is_set_while_a_turn_waits_holds_for_it(
    tmp_path: Path, name: SettingName, values: tuple[str, ...], words: str
) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        await home.ask("hello")
        said = Said()
        request = replace(home.request("once more"), asker=Asker(ADA))
        async with home.lantern.turns.open(request) as events:
            async for event in events:
                said.events.append(event)
                if isinstance(event, Started):
                    await change(home, name, *values)
        assert words in refusal(said)
        assert bool(refusal(said)) is bool(words)


async def test_a_choice_of_ones_own_counts_only_where_people_have_one(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN, GEMMA)) as home:
        await home.lantern.switch.set_model(PLACE, ADA, "me", GEMMA.key, rights=Rights())
        assert (await home.ask("hello")).receipt.model == GEMMA.key
        await change(home, "own_choice", "off")
        reason = (await home.ask("hello")).receipt.choice_reason
        assert "chosen by you" not in reason
        await change(home, "own_choice", "on")
        assert (await home.ask("hello")).receipt.model == GEMMA.key


async def test_nor_does_it_go_on_in_a_thread_where_people_have_none(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN), personas={"sage": ""}) as home:
        await home.lantern.switch.set_persona(PLACE, ADA, "me", "sage", rights=Rights())
        answer = await home.ask("hello")
        await home.lantern.replies.put("300", "1", answer.turn, 0)
        thread = replace(PLACE, thread=PlaceId("discord:300"))
        assert (await home.ask("hello", place=thread)).receipt.persona == "sage"
        await change(home, "own_choice", "off")
        assert (await home.ask("hello", place=thread)).receipt.persona == "default"


async def test_who_answers_by_default_is_chosen_and_taken_back(tmp_path: Path) -> None:
    personas = {"default": f"model: {QWEN.key}\n", "sage": f"model: {QWEN.key}\n"}
    async with house(tmp_path, sim("studio", QWEN), personas=personas) as home:
        switch, rights = home.lantern.switch, Rights(is_admin=True, may_switch=True)
        await switch.set_default(PLACE, BOB, "server", "sage", rights)
        chosen = await switch.defaults(PLACE)
        assert [(at, c.value, c.by) for at, c in chosen.items()] == [("server", ("sage",), BOB)]
        assert (await home.ask("hello")).receipt.persona == "sage"
        await switch.set_default(PLACE, BOB, "server", None, rights)
        assert (switch.default_persona, await switch.defaults(PLACE)) == ("default", {})
        assert (await home.ask("hello")).receipt.persona == "default"


async def test_what_cannot_be_stored_changes_nothing(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        await change(home, "switch", "user:1")
        with closing(sqlite3.connect(home.lantern.database.path)) as broken:
            broken.execute("ALTER TABLE place_setting RENAME TO elsewhere")
        with pytest.raises(BotError):
            await change(home, "switch", "user:2")
        (kept,) = home.lantern.place_settings.stored.values()
        assert kept.value == ("user:1",)


async def test_the_owners_limit_holds_wherever_somebody_asks(tmp_path: Path) -> None:
    async with house(tmp_path, sim("studio", QWEN)) as home:
        await home.ask("hello")
        database, name = home.lantern.database, home.lantern.providers.ledger_name
        ledger = LedgerStore(database, BudgetRules(), UTC)
        limit = Configured(tokens_per_day=1)
        settings = PlaceSettings(PlaceSettingStore(database), ledger, name, limit)
        request = TurnRequest(ADA, "Ada", ABROAD, "hello")
        with pytest.raises(RequestRefused, match=r"discord\.tokens_per_day"):
            await settings.admit(request, ADA)
        await settings.admit(request, BOB)
