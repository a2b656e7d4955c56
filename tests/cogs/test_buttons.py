"""Buttons under replies: who may press what, and what a press does, at any age of the message."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import discord
import pytest
from cogs_doubles import (
    ALICE,
    FINISHED,
    HOST,
    MODEL,
    REQUEST,
    STARTED,
    TURN,
    PaperTransport,
    ScriptedTurns,
    double,
    interaction_of,
    lantern_of,
    said_to,
    stored_turn,
)
from virtual_time import play

from bot.chat.lantern import Lantern
from bot.domain.chat import Candidate, Receipt, TurnKind
from bot.domain.errors import NotPermitted, RequestRefused
from bot.domain.events import Loading, Offered, TextDelta, Way
from bot.domain.ids import PersonaName, PlaceId, ProviderName, TurnId, UserId
from bot.policy.access import AccessRules
from bot.policy.pacing import Pacers
from bot.policy.splitting import LIMIT
from cogs._access import Access
from cogs._again import Again
from cogs._loads import Loads
from cogs._places import DiscordRules
from cogs._reply import Replies
from cogs._view import Act, MessageView, TurnButton, buttons_of, restored
from cogs._webhooks import Webhooks
from cogs.buttons import MAX_SHOWN_PARTS, Buttons


def cog_of(lantern: Lantern, replies: Replies, rules: DiscordRules | None = None) -> Buttons:
    access = Access(rules or DiscordRules())
    again = Again(lantern, access, replies, Pacers(), Webhooks())
    return Buttons(lantern, access, replies, Loads(lantern), again)


def pressed(
    turns: ScriptedTurns,
    act: Act,
    *,
    user: int = 1,
    manages: bool = False,
    subject: str = TURN,
    rules: DiscordRules | None = None,
) -> Any:
    """Buttons one button of an old message; gives the interaction."""
    interaction = interaction_of(user, manages=manages)
    interaction.type = discord.InteractionType.component
    interaction.message = double(discord.Message)
    interaction.message.content = "🔀 `m` now answers for you here.\nloading"
    lantern = lantern_of(turns)

    async def story() -> None:
        replies = Replies(lantern)
        cog = cog_of(lantern, replies, rules)
        await cog.on_reply_button(interaction, act, subject)

    play(story())
    return interaction


def running(*, asker: Any = ALICE) -> ScriptedTurns:
    turns = ScriptedTurns()
    turns.askers[TURN] = asker
    return turns


@pytest.mark.parametrize(
    ("act", "call"),
    [
        (Act.STOP, ("stop_turn", TURN)),
        (Act.CANCEL, ("cancel_load", TURN)),
        (Act.WARM, ("choose", "warm")),
        (Act.CLOUD, ("choose", "cloud")),
    ],
)
def test_the_asker_steers_their_own_answer_and_the_press_is_answered_without_words(
    act: Act, call: tuple[str, object]
) -> None:
    turns = running()
    interaction = pressed(turns, act)
    assert turns.said == [call]
    interaction.response.defer.assert_awaited_once_with()
    assert said_to(interaction) == []


@pytest.mark.parametrize("act", [Act.STOP, Act.CANCEL, Act.WARM, Act.CLOUD])
def test_nobody_else_may_unless_they_are_an_admin(act: Act) -> None:
    turns = running()
    interaction = pressed(turns, act, user=2)
    assert turns.said == []
    assert "Only the person who asked" in said_to(interaction)[0]
    assert pressed(turns, act, user=2, manages=True).response.defer.await_count == 1


@pytest.mark.parametrize(
    ("act", "may"), [(Act.STOP, True), (Act.CANCEL, True), (Act.WARM, False), (Act.CLOUD, False)]
)
def test_whose_question_another_had_answered_again_may_stop_that_and_not_choose_its_way(
    act: Act, may: bool
) -> None:
    # "Only the person who asked may stop it" was said to the person who had asked.
    turns = running()
    turns.authors[TURN] = UserId("discord:2")
    interaction = pressed(turns, act, user=2)
    assert bool(turns.said) is may
    assert bool(said_to(interaction)) is not may


def test_a_stop_left_over_from_a_crash_brings_its_message_in_line() -> None:
    turns = ScriptedTurns()
    turns.stored[TURN] = stored_turn("Half", "partial")
    interaction = pressed(turns, Act.STOP)
    shown = interaction.response.edit_message.await_args.kwargs
    assert shown["content"].startswith("Half\n-# ⚠ Lantern was restarted")
    assert len(shown["view"].children) == 3


def test_a_stop_of_an_answer_that_is_stored_no_more_leaves_and_says_that_it_has_ended() -> None:
    interaction = pressed(ScriptedTurns(), Act.STOP)
    interaction.response.edit_message.assert_awaited_once_with(view=None)
    assert "already ended" in said_to(interaction)[0]


@pytest.mark.parametrize("act", [Act.STOP, Act.CANCEL])
def test_a_press_while_the_last_edit_is_on_its_way_leaves_the_answer_whole(act: Act) -> None:
    turns = ScriptedTurns((STARTED, TextDelta("hi"), FINISHED))
    turns.stored[TURN] = stored_turn("hi", "partial")
    lantern, interaction = lantern_of(turns), interaction_of(user=2)

    async def story() -> None:
        replies = Replies(lantern)
        cog = cog_of(lantern, replies)
        async with asyncio.TaskGroup() as group:
            group.create_task(replies.play(REQUEST, PaperTransport(call_s=5.0)))
            await asyncio.sleep(1)
            await cog.on_reply_button(interaction, act, TURN)

    play(story())
    interaction.response.defer.assert_awaited_once_with()
    interaction.response.edit_message.assert_not_awaited()
    assert said_to(interaction) == []


def test_buttons_do_nothing_in_servers_that_are_not_allowed_any_more() -> None:
    turns = ScriptedTurns()
    rules = DiscordRules(doors=AccessRules(servers={PlaceId("discord:99")}))
    assert "does not answer in this server" in said_to(pressed(turns, Act.RETRY, rules=rules))[0]
    assert turns.requests == []


def test_a_way_that_is_not_open_any_more_is_said() -> None:
    assert "That offer is over" in said_to(pressed(ScriptedTurns(), Act.WARM))[0]


@pytest.mark.parametrize("act", [Act.WARM, Act.CLOUD])
def test_who_took_a_way_that_failed_is_told_why(act: Act) -> None:
    class Failing(ScriptedTurns):
        async def check_taken(self, turn: TurnId) -> None:
            assert self.said[-1][0] == "choose"
            raise RequestRefused("It may cost up to $1, but no money is left.")

    turns = Failing()
    turns.askers[TURN] = ALICE
    assert said_to(pressed(turns, act)) == ["❌ It may cost up to $1, but no money is left."]


@pytest.mark.parametrize("act", [Act.WARM, Act.CLOUD])
def test_a_press_for_another_way_is_answered_before_the_disk_is_asked_about_it(act: Act) -> None:
    interaction, was_answered = interaction_of(), list[bool]()

    class Asked(ScriptedTurns):
        async def check_way(self, turn: TurnId, way: Way) -> None:
            was_answered.append(interaction.response.is_done())

    turns = Asked()
    turns.askers[TURN] = ALICE
    lantern = lantern_of(turns)

    async def story() -> None:
        await cog_of(lantern, Replies(lantern)).on_reply_button(interaction, act, TURN)

    play(story())
    assert was_answered == [True]
    assert said_to(interaction) == []


@pytest.mark.parametrize("is_open", [True, False])
def test_a_provider_that_may_not_be_asked_any_more_is_refused_and_offered_no_longer(
    *, is_open: bool
) -> None:
    here, cloud = Candidate(MODEL, HOST), Candidate(MODEL, provider=ProviderName("zai"))
    offer = Offered(TURN, here, replace(here), cloud)
    loading = Loading(HOST, MODEL, 0.1, 60.0)
    turns = ScriptedTurns((STARTED, loading, offer, 9.0, TextDelta("hi"), FINISHED))
    if is_open:
        turns.askers[TURN] = ALICE
        words = "☁ zai cannot be asked here: this channel is local only."
        turns.refusals["cloud"] = NotPermitted(words)
    lantern, interaction, transport = lantern_of(turns), interaction_of(), PaperTransport()

    async def story() -> list[Sequence[Act]]:
        replies, shown = Replies(lantern), list[Sequence[Act]]()

        def acts() -> Sequence[Act]:
            (view,) = transport.shown.values()
            return () if view is None else view.acts

        cog = cog_of(lantern, replies)
        async with asyncio.TaskGroup() as group:
            group.create_task(replies.play(REQUEST, transport))
            await asyncio.sleep(4)
            shown.append(acts())
            await cog.on_reply_button(interaction, Act.CLOUD, TURN)
            await asyncio.sleep(4)
            shown.append(acts())
        return shown

    before, after = play(story())
    assert Act.CLOUD in before
    assert Act.CLOUD not in after
    assert Act.WARM in after
    assert said_to(interaction)[0].startswith("❌ ☁ zai cannot" if is_open else "❌ That offer")


@pytest.mark.parametrize("closed_by", ["mark", "persona", ""])
def test_a_provider_that_is_offered_goes_without_a_press_once_no_words_may_leave(
    closed_by: str,
) -> None:
    cloud = Candidate(MODEL, provider=ProviderName("zai"))
    here = Candidate(MODEL, HOST)
    offer = Offered(TURN, here, replace(here), cloud)
    loading = Loading(HOST, MODEL, 0.1, 60.0)
    turns = ScriptedTurns((STARTED, loading, offer, 9.0, TextDelta("hi"), FINISHED))
    lantern, transport = lantern_of(turns), PaperTransport()

    async def story() -> list[MessageView]:
        shown = list[MessageView]()

        def look() -> None:
            (view,) = transport.shown.values()
            shown.extend([view] if view is not None else [])

        async with asyncio.TaskGroup() as group:
            group.create_task(Replies(lantern).play(REQUEST, transport))
            await asyncio.sleep(4)
            look()
            words = "☁ zai cannot be asked here: this channel is local only."
            turns.refusals["cloud"] = NotPermitted(words)
            lantern.privacy.changes += closed_by == "mark"
            if closed_by == "persona":
                lantern.shelf.local_only = {PersonaName("sage"): True}
            await asyncio.sleep(2)
            look()
        return shown

    before, after = play(story())
    assert Act.CLOUD in before.acts
    assert (Act.CLOUD in after.acts, "☁ zai" in after.content) == (not closed_by,) * 2
    assert Act.WARM in after.acts


def test_a_model_that_was_offered_goes_without_a_press_once_it_has_left_memory() -> None:
    here, cloud = Candidate(MODEL, HOST), Candidate(MODEL, provider=ProviderName("zai"))
    offer = Offered(TURN, here, replace(here), cloud)
    loading = Loading(HOST, MODEL, 0.1, 60.0)
    turns = ScriptedTurns((STARTED, loading, offer, 9.0, TextDelta("hi"), FINISHED))
    lantern, transport = lantern_of(turns), PaperTransport()

    async def story() -> list[Sequence[Act]]:
        shown = list[Sequence[Act]]()
        async with asyncio.TaskGroup() as group:
            group.create_task(Replies(lantern).play(REQUEST, transport))
            for _ in range(2):
                await asyncio.sleep(3)
                shown.extend(view.acts for view in transport.shown.values() if view is not None)
                turns.refusals["warm"] = RequestRefused("It is not in memory any more.")
        return shown

    before, after = play(story())
    assert Act.WARM in before
    assert Act.WARM not in after
    assert Act.CLOUD in after


@pytest.mark.parametrize(
    ("act", "kind"), [(Act.RETRY, "retry"), (Act.CONTINUE, "continue"), (Act.SEE, "retry")]
)
def test_retry_and_continue_are_asked_by_whoever_presses(act: Act, kind: TurnKind) -> None:
    turns = ScriptedTurns()
    turns.stored[TURN] = stored_turn("Half")
    interaction = pressed(turns, act, user=2)
    (request,) = turns.requests
    assert (request.kind, request.parent, request.user) == (kind, TURN, "discord:2")
    assert request.must_see is (act is Act.SEE)
    # Nobody knows which messages show it: the answer comes in a new one.
    interaction.response.defer.assert_awaited_once_with(thinking=True)
    text: str = interaction.edit_original_response.await_args.kwargs["content"]
    assert text.startswith("Half hi" if act is Act.CONTINUE else "hi")


@pytest.mark.parametrize("act", [Act.RETRY, Act.CONTINUE])
def test_a_press_while_the_first_is_being_answered_starts_nothing(act: Act) -> None:
    turns = ScriptedTurns((STARTED, TextDelta("hi"), 5.0, FINISHED))
    turns.stored[TURN] = stored_turn("Half")
    lantern = lantern_of(turns)
    first, again, of_bob, later = (interaction_of(user) for user in (1, 1, 2, 1))
    for interaction in (first, again, of_bob, later):
        interaction.type = discord.InteractionType.component

    async def story() -> None:
        cog = cog_of(lantern, Replies(lantern))
        async with asyncio.TaskGroup() as group:
            for interaction in (first, again, of_bob):
                group.create_task(cog.on_reply_button(interaction, act, TURN))
        await cog.on_reply_button(later, act, TURN)

    play(story())
    assert [request.user for request in turns.requests] == ["discord:1", "discord:1"]
    again.response.defer.assert_awaited_once_with()
    assert said_to(again) == []
    assert "being written" in said_to(of_bob)[0]


@pytest.mark.parametrize("act", [Act.RETRY, Act.CONTINUE, Act.OLDER])
def test_an_answer_that_is_not_stored_any_more_is_said(act: Act) -> None:
    assert "not stored any more" in said_to(pressed(ScriptedTurns(), act))[0]


def test_thoughts_are_shown_to_whoever_asks_alone() -> None:
    turns = ScriptedTurns()
    turns.stored[TURN] = stored_turn("Hi", reasoning_text="First this, then that.")
    interaction = pressed(turns, Act.THOUGHTS, user=2)
    interaction.response.defer.assert_awaited_once_with(ephemeral=True, thinking=True)
    assert said_to(interaction) == ["First this, then that."]


def test_thoughts_that_fill_two_messages_are_shown_as_words() -> None:
    turns = ScriptedTurns()
    turns.stored[TURN] = stored_turn("Hi", reasoning_text="thinking on\n" * 300)
    assert len(said_to(pressed(turns, Act.THOUGHTS))) == MAX_SHOWN_PARTS


@pytest.mark.parametrize("lines", [1, 300, 900])
def test_a_providers_thoughts_are_marked_in_every_message(lines: int) -> None:
    turns = ScriptedTurns()
    by = Receipt(PersonaName("sage"), provider=ProviderName("zai"))
    turns.stored[TURN] = stored_turn("Hi", receipt=by, reasoning_text="thinking on\n" * lines)
    said = said_to(pressed(turns, Act.THOUGHTS))
    assert said
    assert all(part.endswith("\n-# ☁ zai") and len(part) <= LIMIT for part in said)


def test_long_thoughts_come_as_one_file() -> None:
    turns = ScriptedTurns()
    turns.stored[TURN] = stored_turn("Hi", reasoning_text="thinking on\n" * 900)
    (call,) = pressed(turns, Act.THOUGHTS).followup.send.await_args_list
    assert call.kwargs["file"].filename == "thoughts.md"
    assert call.kwargs["ephemeral"] is True


def test_thoughts_that_are_not_stored_are_said_to_be_none() -> None:
    assert "no stored thoughts" in said_to(pressed(ScriptedTurns(), Act.THOUGHTS))[0]


_LONG = "Look:\n```python\n" + "x = 1\n" * 61 + "```"


def test_long_code_comes_as_a_file_to_whoever_presses_also_after_a_restart() -> None:
    turns = ScriptedTurns()
    turns.stored[TURN] = stored_turn(_LONG)
    (*_, last) = restored(turns.stored[TURN], has_footer=False)
    assert last.acts == (Act.RETRY, Act.CONTINUE, Act.OTHER, Act.CODE)
    interaction = pressed(turns, Act.CODE, user=2)
    interaction.response.defer.assert_awaited_once_with(ephemeral=True, thinking=True)
    (call,) = interaction.followup.send.await_args_list
    assert call.kwargs["ephemeral"] is True
    (file,) = call.kwargs["files"]
    assert (file.filename, file.fp.read()) == ("answer.py", b"x = 1\n" * 61)


def test_the_code_of_a_provider_says_who_wrote_it() -> None:
    turns = ScriptedTurns()
    by = Receipt(PersonaName("sage"), provider=ProviderName("zai"))
    turns.stored[TURN] = stored_turn(_LONG, receipt=by)
    (call,) = pressed(turns, Act.CODE).followup.send.await_args_list
    assert call.args[0].endswith("\n-# ☁ zai")


@pytest.mark.parametrize("stored", [{}, {TURN: stored_turn("```py\nx\n```")}])
def test_code_that_is_not_stored_is_said_to_be_none(stored: dict[Any, Any]) -> None:
    turns = ScriptedTurns()
    turns.stored.update(stored)
    assert said_to(pressed(turns, Act.CODE)) == ["❌ There is no long code stored for that answer."]


def test_a_cancel_of_a_load_before_a_restart_takes_its_button_away() -> None:
    interaction = pressed(ScriptedTurns(), Act.HALT, subject="12345")
    shown = interaction.response.edit_message.await_args.kwargs
    assert shown["content"] == (
        "🔀 `m` now answers for you here.\n-# This load is not running any more."
    )
    assert shown["view"] is None


# --- the buttons themselves -----------------------------------------------------------------


async def test_every_button_fits_discords_limits_and_finds_its_way_back() -> None:
    longest = "f" * 64
    for act in Act:
        button = TurnButton(act, longest, "2/3")
        assert len(button.custom_id) <= 100
        match = re.fullmatch(TurnButton.__discord_ui_compiled_template__, button.custom_id)
        assert match is not None
        interaction = interaction_of()
        again = await TurnButton.from_custom_id(interaction, button.item, match)
        await again.callback(interaction)
        interaction.client.dispatch.assert_called_once_with(
            "reply_button", interaction, act, longest
        )


async def test_a_view_never_times_out_and_holds_buttons_that_need_no_memory() -> None:
    view = buttons_of(MessageView("Hi", (Act.CONTINUE, Act.RETRY, Act.THOUGHTS), TURN))
    assert view is not None
    assert view.timeout is None
    assert view.is_persistent()
    assert all(isinstance(child, TurnButton) for child in view.children)
    assert buttons_of(MessageView("Hi")) is None
