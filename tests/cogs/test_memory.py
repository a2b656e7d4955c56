"""``/history``, ``/remember`` and ``/memories`` over the real store, as their person reads them."""

import io
import json
import zipfile
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from clocks import WallClock
from cogs_doubles import RECEIPT, ScriptedTurns, interaction_of, lantern_of, said_to, stored_turn
from databases import new_database

from bot.domain.chat import Place
from bot.domain.errors import BotError
from bot.domain.ids import PlaceId, TurnId
from bot.store.database import Database
from bot.store.people import PeopleStore
from bot.store.turns import TurnStore
from cogs.memory import Memory


class EndingTurns(ScriptedTurns):
    async def end(self, turns: Any, reason: str) -> None:
        self.said.append(("end", tuple(turns)))


@pytest.fixture
async def cog(tmp_path: Path) -> AsyncIterator[Memory]:
    async with Database(new_database(tmp_path / "l.db"), utcnow=WallClock()) as database:
        turns = EndingTurns()
        turns.store = TurnStore(database)  # pyright: ignore[reportAttributeAccessIssue]  # real
        for name, place in (("a", "discord:7"), ("b", "discord:8")):
            asked = replace(stored_turn(""), id=TurnId(name), status="running")
            asked = replace(asked, place=Place(PlaceId(place)), user_text=f"**{name}**?\nyes")
            await turns.store.begin(asked)
            await turns.store.finish(asked.id, "done", f"answer {name}", "", RECEIPT)
        yield Memory(replace(lantern_of(turns), people=PeopleStore(database)))


async def give(cog: Memory, name: str, *options: object, **more: Any) -> Any:
    interaction = interaction_of(**more)
    interaction.created_at = datetime(2026, 11, 20, tzinfo=UTC)
    interaction.filesize_limit = 10_000
    command: Any = getattr(cog, name)
    await command.callback(cog, interaction, *options)
    interaction.response.defer.assert_awaited_once_with(ephemeral=True, thinking=True)
    return interaction


async def test_a_person_sees_their_own_questions_here_or_everywhere(cog: Memory) -> None:
    (here,) = said_to(await give(cog, "show"))
    assert "a" in here
    assert "answer b" not in here
    (everywhere,) = said_to(await give(cog, "show", "everywhere"))
    assert everywhere.index("answer b") < everywhere.index("answer a")
    assert said_to(await give(cog, "show", user=2)) == ["I keep no question of yours here."]


@pytest.mark.parametrize("limit", [10_000, 400])
async def test_a_person_takes_everything_along_as_a_file(cog: Memory, limit: int) -> None:
    await give(cog, "remember", "I like tea")
    interaction = interaction_of()
    interaction.filesize_limit = limit
    command: Any = cog.export
    await command.callback(cog, interaction)
    file = interaction.followup.send.await_args.kwargs["file"]
    data = file.fp.read()
    assert file.filename.endswith(".zip") is (limit < 1000)
    if file.filename.endswith(".zip"):
        data = zipfile.ZipFile(io.BytesIO(data)).read("lantern-history.json")
    whole = json.loads(data)
    assert [one["answer"] for one in whole["questions"]] == ["answer a", "answer b"]
    assert whole["facts"] == ["I like tea"]


async def test_a_file_that_discord_would_not_take_is_said(cog: Memory) -> None:
    interaction = interaction_of()
    interaction.filesize_limit = 10
    command: Any = cog.export
    with pytest.raises(BotError, match="larger than Discord takes"):
        await command.callback(cog, interaction)


async def test_forgetting_says_first_what_would_go_and_then_really_does(cog: Memory) -> None:
    await give(cog, "remember", "I like tea")
    (asked,) = said_to(await give(cog, "forget"))
    assert "your 2 questions" in asked
    assert "sure:yes" in asked
    (done,) = said_to(await give(cog, "forget", "yes"))
    assert "Forgotten: 2 questions" in done
    assert said_to(await give(cog, "show", "everywhere")) == [
        "I keep no question of yours everywhere."
    ]
    assert "remember nothing" in said_to(await give(cog, "memories"))[0]


async def test_facts_are_kept_listed_and_forgotten_by_their_person(cog: Memory) -> None:
    (said,) = said_to(await give(cog, "remember", "I like\ntea @everyone"))
    assert said.startswith("🧠 Remembered: I like tea")
    assert "19 more fit" in said
    (listed,) = said_to(await give(cog, "memories"))
    assert listed.startswith("`1` I like tea")
    assert "remember nothing" in said_to(await give(cog, "memories", user=2))[0]
    command: Any = cog.memories
    with pytest.raises(BotError, match="no fact 1 of yours"):
        await command.callback(cog, interaction_of(2), 1)
    facts: Any = cog.memories
    choices = await facts._params["forget"].autocomplete(cog, interaction_of(), "TEA")
    assert [choice.value for choice in choices] == [1]
    assert "remember nothing" in said_to(await give(cog, "memories", 1))[0]
