"""``/history``, ``/remember`` and ``/memories`` over the real store, as their person reads them."""

import asyncio
import io
import json
import zipfile
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import discord
import pytest
from clocks import WallClock
from cogs_doubles import (
    ALICE,
    BOB,
    READERS,
    RECEIPT,
    ScriptedTurns,
    double,
    http_error,
    interaction_of,
    lantern_of,
    partial_channel,
    said_to,
    stored_turn,
)
from databases import new_database
from virtual_time import play

from bot.domain.chat import Place
from bot.domain.cloud import ProviderSnapshot
from bot.domain.errors import BotError
from bot.domain.ids import ModelKey, PlaceId, ProviderName, TurnId
from bot.policy.context import GREET_TEXT
from bot.policy.memories import MOST_FACTS
from bot.policy.pacing import Pacers
from bot.store.database import Database
from bot.store.people import Forgotten, PeopleStore
from bot.store.privacy import PrivacyStore
from bot.store.turns import TurnStore
from cogs._forgotten import ForgottenAnswers
from cogs._reply import Replies
from cogs._webhooks import Webhooks
from cogs.memory import Memory

ZAI = ProviderSnapshot(ProviderName("zai"), ModelKey("glm-4.6"), True, likely_micro_usd=2000)


class EndingTurns(ScriptedTurns):
    async def end(self, turns: Any, reason: str, *, by_asker: bool = True) -> None:
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
        lantern = lantern_of(turns, cloud=(ZAI,))
        privacy = PrivacyStore(database)
        lantern = replace(lantern, people=PeopleStore(database), privacy=privacy)
        replies = Replies(lantern)
        yield Memory(lantern, replies, ForgottenAnswers(Pacers(), Webhooks(), READERS))


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


async def test_what_is_cut_in_the_list_says_so(cog: Memory) -> None:
    store = cog._turns.store  # pyright: ignore[reportPrivateUsage]  # the fixture's
    for name, said in (("c", "x" * 150), ("d", "y" * 151)):
        asked = replace(stored_turn(""), id=TurnId(name), status="running", user_text=said)
        await store.begin(asked)
        await store.finish(asked.id, "done", "word " * 40, "", RECEIPT)
    (said,) = said_to(await give(cog, "show", "everywhere"))
    lines = said.splitlines()
    assert lines[0].endswith("y" * 150 + " …")
    assert lines[2].endswith("x" * 150)
    assert lines[3].endswith("word …")


async def test_who_asked_for_a_greeting_is_not_told_what_the_model_was(cog: Memory) -> None:
    greeted = replace(stored_turn("", status="running"), user_text=GREET_TEXT)
    await cog._turns.store.begin(greeted)  # pyright: ignore[reportPrivateUsage]  # as /greet does
    await cog._turns.store.finish(greeted.id, "done", "You wake.", "", RECEIPT)  # pyright: ignore[reportPrivateUsage]
    shown = said_to(await give(cog, "show"))[-1]
    assert "(no words)\n-# You wake." in shown
    file = (await give(cog, "export")).followup.send.await_args.kwargs["file"]
    newest = json.loads(file.fp.read())["questions"][-1]
    assert (newest["question"], newest["answer"]) == ("", "You wake.")


@pytest.mark.parametrize("limit", [10_000, 400])
async def test_a_person_takes_everything_along_as_a_file(cog: Memory, limit: int) -> None:
    await give(cog, "remember", "I like tea")
    interaction = interaction_of()
    interaction.filesize_limit = limit
    command: Any = cog.export
    await command.callback(cog, interaction)
    interaction.response.defer.assert_awaited_once_with(ephemeral=True, thinking=True)
    assert interaction.followup.send.await_args.kwargs["ephemeral"]
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
    pings = cog._replies.pings  # pyright: ignore[reportPrivateUsage]  # as its owner asks
    await pings.choose(ALICE, is_on=True)
    (asked,) = said_to(await give(cog, "forget"))
    assert "your 2 questions" in asked
    assert "sure:yes" in asked
    assert pings.wants(ALICE)
    (done,) = said_to(await give(cog, "forget", "yes"))
    assert "Forgotten: 2 questions" in done
    assert not pings.wants(ALICE)
    assert said_to(await give(cog, "show", "everywhere")) == [
        "I keep no question of yours everywhere."
    ]
    assert "remember nothing" in said_to(await give(cog, "memories"))[0]


async def test_where_nothing_is_kept_that_is_said(cog: Memory) -> None:
    for name, *more in (("forget", "yes"), ("export",)):
        interaction = await give(cog, name, *more, user=2)
        assert said_to(interaction) == ["I keep no question and no fact of yours."]
        assert "file" not in interaction.followup.send.await_args.kwargs
    await give(cog, "remember", "I like tea", user=2)
    assert "Forgotten: 0 questions" in said_to(await give(cog, "forget", "yes", user=2))[0]
    # The second of two.
    assert "no fact of yours" in said_to(await give(cog, "forget", "yes", user=2))[0]


async def test_what_was_asked_a_moment_before_is_forgotten_though_it_is_not_stored_yet(
    cog: Memory,
) -> None:
    taken_back = cog._turns.taken_back  # pyright: ignore[reportPrivateUsage]  # as turns ask it
    interaction = interaction_of()
    await cast(Any, cog.forget).callback(cog, interaction)
    assert not taken_back.is_forgotten(ALICE, str(interaction.id - 1))
    await cast(Any, cog.forget).callback(cog, interaction, "yes")
    assert taken_back.is_forgotten(ALICE, str(interaction.id - 1))
    # What they ask from then on is theirs to keep, and so is what others ask.
    assert not taken_back.is_forgotten(ALICE, str(interaction.id))
    assert not taken_back.is_forgotten(ALICE, None)
    assert not taken_back.is_forgotten(BOB, str(interaction.id - 1))


async def test_a_retry_is_no_question_of_its_own(cog: Memory) -> None:
    store = cog._turns.store  # pyright: ignore[reportPrivateUsage]  # as the fixture made it
    first = await store.get(TurnId("a"))
    assert first is not None
    again = replace(first, id=TurnId("a2"), reply_text="", status="running", receipt=None)
    await store.begin(again, "retry", first.id)
    await store.finish(again.id, "done", "better", "", RECEIPT)
    await PeopleStore(store.database).remove(TurnId("b"))
    (shown,) = said_to(await give(cog, "show", "everywhere"))
    assert shown.count("**20") + shown.count("?") == 1
    assert "better" in shown
    assert "answer a" not in shown
    interaction = interaction_of()
    interaction.filesize_limit = 10_000
    await cast(Any, cog.export).callback(cog, interaction)
    assert said_to(interaction) == ["📦 1 question."]
    (one,) = json.loads(interaction.followup.send.await_args.kwargs["file"].fp.read())["questions"]
    assert (one["answer"], one["other_answers"]) == ("better", ["answer a"])
    assert "your 1 question**" in said_to(await give(cog, "forget"))[0]
    assert "Forgotten: 1 question with" in said_to(await give(cog, "forget", "yes"))[0]


async def test_what_is_being_answered_is_ended_and_shows_no_button_at_its_end(cog: Memory) -> None:
    turns: Any = cog._turns  # pyright: ignore[reportPrivateUsage]  # as the fixture made it
    await turns.store.begin(replace(stored_turn(""), id=TurnId("c"), status="running"))
    stripped: list[TurnId] = []

    def strip(turns: Iterable[TurnId]) -> bool:
        stripped.extend(turns)
        return True

    cog._replies.strip = strip  # pyright: ignore  # as a reply under way hears it
    await give(cog, "forget", "yes")
    assert stripped == [TurnId("c")]
    assert turns.said == [("end", (TurnId("c"),))]


def test_the_newest_answers_lose_their_buttons_slowly_whoever_refuses(tmp_path: Path) -> None:
    edited = list[tuple[int, int, float]]()

    async def story() -> None:
        lantern = lantern_of(EndingTurns())
        shown = (("7", "301"), ("8", "302"), ("7", "303"))
        people: Any = lantern.people
        people.running.return_value, people.forget.return_value = (), Forgotten(3, 0, shown)
        forgotten = ForgottenAnswers(Pacers(), Webhooks(), READERS)
        cog = Memory(lantern, Replies(lantern), forgotten)
        interaction, client = interaction_of(), double(discord.Client)

        def place(channel: int) -> Any:
            found = partial_channel(channel)

            def message(key: int) -> Any:
                async def edit(**options: Any) -> None:
                    assert options == {"view": None}
                    edited.append((channel, key, asyncio.get_running_loop().time()))
                    if key == 302:
                        raise http_error(403, 50001)

                part: Any = double(discord.PartialMessage)
                part.edit = edit
                return part

            found.get_partial_message = message
            return found

        client.get_channel.return_value = None
        client.get_partial_messageable.side_effect = place
        # No connection, then one that comes and goes.
        clients = iter([None, client, client, None])
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(forgotten.keep(lambda: next(clients, client)))
            await cast(Any, cog.forget).callback(cog, interaction, "yes")
            # The command is over: nobody waits for it.
            assert said_to(interaction)[0].startswith("🗑 Forgotten: 3 questions")
            assert edited == []
            await asyncio.sleep(60.0)
            keeping.cancel()

    play(story())
    assert [(channel, key) for channel, key, _ in edited] == [(7, 301), (8, 302), (7, 303)]
    assert [b[2] - a[2] for a, b in pairwise(edited)] == [pytest.approx(20 / 3 * n) for n in (1, 2)]


async def test_of_many_facts_said_at_once_no_more_are_kept_than_of_one_after_the_other(
    cog: Memory,
) -> None:
    refused: list[str] = []

    async def remember(n: int) -> None:
        try:
            await give(cog, "remember", f"fact {n}")
        except BotError as error:
            refused.append(error.user_message)

    async with asyncio.TaskGroup() as group:
        for n in range(MOST_FACTS + 3):
            group.create_task(remember(n))
    assert len(refused) == 3
    (listed,) = said_to(await give(cog, "memories"))
    assert len(listed.splitlines()) == MOST_FACTS


async def test_facts_are_kept_listed_and_forgotten_by_their_person(cog: Memory) -> None:
    (said,) = said_to(await give(cog, "remember", "I like\ntea @everyone"))
    assert said.startswith("🧠 Remembered: I like tea")
    assert "room for 19 more" in said
    (listed,) = said_to(await give(cog, "memories"))
    assert listed.startswith("`1` I like tea")
    (kept,) = await cog._people.facts(ALICE)  # pyright: ignore[reportPrivateUsage]
    assert kept.said.said_at_ms == datetime(2026, 11, 20, tzinfo=UTC).timestamp() * 1000
    assert "remember nothing" in said_to(await give(cog, "memories", user=2))[0]
    command: Any = cog.memories
    with pytest.raises(BotError, match="no fact 1 of yours"):
        await command.callback(cog, interaction_of(2), 1)
    facts: Any = cog.memories
    (masked,) = said_to(await give(cog, "remember", "[bank](https://evil.example)"))
    assert "[bank](" not in masked
    assert "[bank](" not in said_to(await give(cog, "memories"))[0]
    choices = await facts._params["forget"].autocomplete(cog, interaction_of(), "TEA")
    assert [choice.value for choice in choices] == [1]
    (left,) = said_to(await give(cog, "memories", 2))
    assert left.startswith("🧹 Fact 2 is forgotten.\n`1` ")
    (last,) = said_to(await give(cog, "memories", 1))
    assert last == "🧹 Fact 1 is forgotten.\nI remember nothing about you. `/remember` does."


async def test_of_a_fact_said_in_private_its_person_is_told_where_it_is_told(cog: Memory) -> None:
    lantern = cog._lantern  # pyright: ignore[reportPrivateUsage]  # as the fixture made it
    (open_,) = said_to(await give(cog, "remember", "I like tea"))
    assert "🔒" not in open_
    await lantern.privacy.mark("place", PlaceId("discord:7"), local_only=True)
    interaction = interaction_of()
    # While the mark stood: what was said before it is open again once it is taken back.
    interaction.created_at = WallClock().now
    await cast(Any, cog.remember).callback(cog, interaction, "I hide gold")
    (kept,) = said_to(interaction)
    assert "🔒 Told only in talks that stay on the LAN" in kept
    # Opened since, what was said before stays so; what another place heard is open.
    await lantern.privacy.mark("place", PlaceId("discord:7"), local_only=False)
    (listed,) = said_to(await give(cog, "memories"))
    assert "`2` 🔒 I hide gold" in listed
    assert "🔒 Told only in talks that stay on the LAN" in listed
    (known,) = said_to(await give(cog, "memories", 2))
    assert "gold" not in known


async def test_a_question_that_stayed_here_within_the_minute_makes_a_fact_private_too(
    cog: Memory,
) -> None:
    lantern = cog._lantern  # pyright: ignore[reportPrivateUsage]  # as the fixture made it
    interaction, asked = interaction_of(), await lantern.turns.store.get(TurnId("a"))
    assert asked is not None
    interaction.created_at = datetime.fromtimestamp(asked.created_at_ms / 1000 - 59.0, UTC)
    await lantern.privacy.mark("turn", TurnId("a"))
    await cast(Any, cog.remember).callback(cog, interaction, "I like tea")
    assert "🔒" in said_to(interaction)[0]
    # Where no provider is there is nowhere it would not be told.
    cog._lantern = replace(lantern, catalog=lantern_of().catalog)  # pyright: ignore[reportPrivateUsage]
    assert said_to(await give(cog, "memories")) == ["`1` I like tea"]
