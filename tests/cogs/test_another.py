"""Another model for one answer: who is offered it, what a pick does, and what comes between."""

import asyncio
from pathlib import Path
from typing import Any

import discord
import pytest
from cogs_doubles import FINISHED, STARTED, TURN, Script, said_to
from test_again import AGAIN, Scene, scene

from bot.chat.catalog import ModelOption
from bot.domain.errors import NotPermitted
from bot.domain.events import TextDelta
from bot.domain.ids import AUTO, ModelKey
from bot.policy.access import PlaceRules
from cogs._another import NOBODY, PICK, WHO
from cogs._places import DiscordRules
from cogs._reply import WRITTEN
from cogs._view import Act

WARM = ModelOption(ModelKey("qwen/q8"), "warm · studio-1", "qwen/q8", "● qwen/q8", is_warm=True)
COLD = ModelOption(ModelKey("lab/b"), "cold · ~8 s · studio-2", "lab/b", "lab/b", seconds=8.0)
CLOUD = ModelOption(ModelKey("glm-4.6"), "glm-4.6 · about 0.2 ¢", "cloud:zai", "☁ zai")
AWAY = ModelOption(ModelKey("lab/a"), "host asleep or away", "lab/a", "lab/a", is_able=False)
LONG = ModelOption(ModelKey("x" * 130), "m" * 130, f"maker/{'x' * 124}", "y" * 130)


async def offered(at: Scene, *options: ModelOption, user: int = 1) -> Any:
    switch: Any = at.lantern.switch
    switch.options.side_effect = None
    switch.options.return_value = options
    return await at.press(Act.OTHER, user=user)


def select_of(interaction: Any) -> Any:
    (select,) = interaction.response.send_message.await_args.kwargs["view"].children
    return select


async def pick(at: Scene, value: str, turn: str = TURN, user: int = 1, **more: Any) -> Any:
    interaction = at.interaction(user)
    interaction.type = discord.InteractionType.component
    interaction.data = {"custom_id": f"{PICK}:{turn}", "values": [value]}
    for name, held in more.items():
        setattr(interaction, name, held)
    # The select stands in a message of their own.
    interaction.response.edit_message.side_effect = None
    await at.cog.on_interaction(interaction)
    return interaction


async def test_whoever_presses_alone_sees_who_could_answer_now(tmp_path: Path) -> None:
    async with scene(tmp_path, AGAIN) as at:
        auto = ModelOption(AUTO, "the persona's own model, else the soonest", AUTO, AUTO)
        interaction = await offered(at, auto, WARM, COLD, AWAY, CLOUD, LONG)
        call = interaction.response.send_message.await_args
        assert call.args == (WHO,)
        assert call.kwargs["ephemeral"] is True
        assert call.kwargs["view"].is_finished()
        lines = [(str(o.emoji), o.label, o.value) for o in select_of(interaction).options]
        assert lines[:4] == [
            ("✨", "auto", "auto"),
            ("🟢", "● qwen/q8", "qwen/q8"),
            ("📦", "lab/b", "lab/b"),
            ("☁️", "zai", "cloud:zai"),
        ]
        long = select_of(interaction).options[4]
        assert max(len(long.label), len(long.value), len(long.description or "")) == 100
        assert select_of(interaction).custom_id == f"{PICK}:{TURN}"
        # Nothing was done to the answer.
        assert at.channel.calls == 0
        options: Any = at.lantern.switch.options
        assert options.await_args.args[1:] == ("discord:1", "", 25, "sage")


async def test_where_nobody_could_answer_that_is_said(tmp_path: Path) -> None:
    async with scene(tmp_path, AGAIN) as at:
        assert said_to(await offered(at, AWAY)) == [f"❌ {NOBODY}"]
        assert said_to(await offered(at)) == [f"❌ {NOBODY}"]


async def test_whom_one_picks_answers_in_the_same_message_and_the_select_goes(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, AGAIN) as at:
        await offered(at, WARM, COLD)
        interaction = await pick(at, "lab/b")
        assert at.turns.requests[0].model == "lab/b"
        assert at.turns.requests[0].kind == "retry"
        assert at.channel.shown[at.ids[0]].startswith("second\n")
        assert at.channel.buttons[at.ids[0]] == [
            "Retry",
            "Continue",
            "Other model",
            "older",
            "2/2",
            "newer",
        ]
        link = f"https://discord.com/channels/5/7/{at.ids[0]}"
        interaction.response.edit_message.assert_awaited_once_with(
            content=f"🔁 Answering again: {link}", view=None
        )
        # A select of before a newer answer, or of before a restart: what stands there is redone.
        await pick(at, "cloud:zai", TURN)
        assert at.turns.requests[1].parent == "again1"


async def test_two_who_pick_at_once_get_one_answer(tmp_path: Path) -> None:
    script: Script = (STARTED, TextDelta("x"), 0.05, FINISHED)
    async with scene(tmp_path, script) as at:
        async with asyncio.TaskGroup() as tasks:
            picks = [tasks.create_task(pick(at, "lab/b", user=user)) for user in (1, 2)]
            await asyncio.wait(picks[1:])
            at.turns.may_end.set()
        assert len(at.turns.requests) == 1
        refused = said_to(picks[1].result())
        assert refused == [f"❌ {WRITTEN}"]


async def test_who_picks_another_than_they_are_given_is_told_and_the_same_once_more_is_one_press(
    tmp_path: Path,
) -> None:
    script: Script = (STARTED, TextDelta("x"), 0.05, FINISHED)
    async with scene(tmp_path, script) as at:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(pick(at, "lab/b"))
            again, other = (tasks.create_task(pick(at, value)) for value in ("lab/b", "qwen/q8"))
            retry = tasks.create_task(at.press(Act.RETRY))
            await asyncio.wait((again, other, retry))
            at.turns.may_end.set()
        told = [said_to(press.result()) for press in (again, other, retry)]
        assert told == [
            [],
            *[[f"❌ {WRITTEN}"]] * 2,
        ]
        assert [request.model for request in at.turns.requests] == ["lab/b"]


async def test_an_answer_that_was_forgotten_offers_and_takes_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path, AGAIN) as at:
        await at.lantern.database.execute("DELETE FROM turn", ())
        gone = ["❌ That answer is not stored any more."]
        assert said_to(await offered(at, WARM)) == gone
        assert said_to(await pick(at, "qwen/q8")) == gone


async def test_a_provider_that_may_not_be_asked_any_more_is_refused_by_its_setting(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, AGAIN) as at:
        switch: Any = at.lantern.switch
        switch.check_named.side_effect = NotPermitted("☁ zai cannot be asked here: local only.")
        interaction = await pick(at, "cloud:zai")
        assert said_to(interaction) == ["❌ ☁ zai cannot be asked here: local only."]
        assert at.turns.requests == []


async def test_where_people_do_not_choose_for_themselves_nobody_is_offered_any(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, AGAIN) as at:
        rules = DiscordRules(here=lambda _: PlaceRules(own_choice=False))
        for holder in (at.cog, at.again, at.cog._another):  # pyright: ignore[reportPrivateUsage]  # one house
            for name in ("_rules", "_access"):
                if isinstance(getattr(holder, name, None), DiscordRules):
                    setattr(holder, name, rules)
        at.cog._access.rules = rules  # pyright: ignore[reportPrivateUsage]  # one house
        assert "❌" in said_to(await offered(at, WARM))[0]
        assert "❌" in said_to(await pick(at, "qwen/q8"))[0]
        assert at.turns.requests == []


@pytest.mark.parametrize("custom_id", ["set:server:1:persona", "lantern:retry:ab12", "", PICK[:-1]])
async def test_other_selects_are_left_to_others(tmp_path: Path, custom_id: str) -> None:
    async with scene(tmp_path, AGAIN) as at:
        interaction = at.interaction()
        interaction.data = {"custom_id": custom_id, "values": ["x"]}
        await at.cog.on_interaction(interaction)
        interaction.response.send_message.assert_not_awaited()
        assert at.turns.requests == []


async def test_a_pick_that_is_delivered_twice_counts_once(tmp_path: Path) -> None:
    async with scene(tmp_path, AGAIN) as at:
        first = await pick(at, "lab/b")
        await pick(at, "lab/b", id=first.id)
        assert len(at.turns.requests) == 1
