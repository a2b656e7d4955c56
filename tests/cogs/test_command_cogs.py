"""``/model``, ``/persona``, ``/fleet`` and the small commands."""

from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any
from unittest.mock import AsyncMock, Mock

import discord
import pytest
from cogs_doubles import (
    ALICE,
    BOB,
    CANDIDATE,
    HOST,
    MODEL,
    READERS,
    RECEIPT,
    TURN,
    ScriptedTurns,
    TwoPersonas,
    give,
    http_error,
    interaction_of,
    lantern_of,
    said_to,
    stored_turn,
)
from test_loads import BAR, steps_of

from bot.chat.acts import UnloadsDone
from bot.chat.lantern import Lantern
from bot.chat.switch import Explanation, beside_words
from bot.domain.chat import Place, Rejection, Route
from bot.domain.cloud import Account, ProviderStanding
from bot.domain.errors import ForeignInstance, NotPermitted, RequestRefused, UnknownName
from bot.domain.ids import AUTO, HostName, ModelKey, PlaceId, ProviderName, UserId
from bot.policy.access import EVERY_RIGHT, Circle, PlaceRules
from bot.policy.choice import Scope
from bot.policy.pacing import Pacers
from cogs._boards import Boards
from cogs._loads import Loads
from cogs._places import DiscordRules
from cogs.fleet import FleetCog
from cogs.general import FRESH, HELP, UNREAD, General
from cogs.switching import Choosing, explained, for_whom

RULES = DiscordRules()
EXPLANATION = Explanation(
    persona=TwoPersonas().all()[0],
    persona_reason="the configured default",
    model=MODEL,
    model_reason="sage's own model",
    route=Route((CANDIDATE,), (Rejection("studio-2", MODEL, "does not answer"),)),
)


class Commands:
    """Every command cog over doubles."""

    def __init__(self, turns: ScriptedTurns | None = None) -> None:
        self.turns = turns or ScriptedTurns()
        self.lantern: Lantern = lantern_of(self.turns)
        self.switch: Any = self.lantern.switch
        self.acts: Any = self.lantern.acts
        self.switch.explain.return_value = EXPLANATION
        self.switch.set_model.return_value = ModelKey("google/gemma-3-12b")
        self.switch.set_persona.return_value = TwoPersonas().all()[0]
        self.switch.warm.side_effect = self._steps
        self.acts.load.side_effect = self._steps
        done = UnloadsDone(f"Unloaded `{MODEL}` on {HOST}.", ())
        self.acts.unload = AsyncMock(return_value=done)
        loads, pacers = Loads(self.lantern), Pacers()
        self.choosing = Choosing(self.lantern, RULES, loads, pacers)
        self.fleet = FleetCog(
            self.lantern, RULES, loads, pacers, Boards(self.lantern, pacers, READERS)
        )
        self.control = General(self.lantern, RULES)

    def _steps(self, *_: object, **__: object) -> AbstractAsyncContextManager[Any]:
        return steps_of(BAR[:0])


def filled(interaction: Any) -> str:
    """The last text of the command's own reply."""
    return str(interaction.edit_original_response.await_args.kwargs["content"])


async def test_without_a_name_model_and_persona_tell_what_answers_and_why() -> None:
    house = Commands()
    for command in (house.choosing.model, house.choosing.persona):
        interaction = interaction_of()
        await give(command, house.choosing, interaction, None, "me")
        interaction.response.defer.assert_awaited_once_with(ephemeral=True, thinking=True)
        (text,) = said_to(interaction)
        assert "Persona: **sage** (the configured default)" in text
        assert f"• studio-1 (`{MODEL}`) ~1.0 s: warm" in text
        assert "does not answer" in text


def test_an_explanation_says_when_nobody_can_answer() -> None:
    alone = Explanation(
        EXPLANATION.persona, "chosen by you here", MODEL, "chosen for this channel", Route()
    )
    assert "❌ Nobody can answer now." in explained(alone)


async def test_a_name_switches_and_loads_at_once() -> None:
    house, interaction = Commands(), interaction_of()
    await give(house.choosing.model, house.choosing, interaction, "gemma", "me")
    place, user, scope, name = house.switch.set_model.await_args.args
    assert (place.channel, user, scope, name) == ("discord:7", ALICE, "me", "gemma")
    assert house.switch.warm.call_args.kwargs == {"model": "google/gemma-3-12b"}
    assert filled(interaction).startswith("🔀 `google/gemma-3-12b` is chosen for you here.\n✅")


@pytest.mark.parametrize(("scope", "whom"), [("me", "you here"), ("channel", "this channel")])
async def test_auto_is_no_model_that_is_chosen_but_the_way_back(scope: Scope, whom: str) -> None:
    house, interaction = Commands(), interaction_of(42)
    house.switch.set_model.return_value = AUTO
    await give(house.choosing.model, house.choosing, interaction, "AUTO", scope)
    own = "the persona's own model, else the soonest"
    assert filled(interaction).startswith(f"🔀 Back to automatic for {whom}: {own}.\n✅")


async def test_a_provider_is_chosen_by_its_name_and_written_with_its_mark() -> None:
    house, interaction = Commands(), interaction_of()
    house.switch.check_model.side_effect = None
    house.switch.set_model.return_value = "cloud:zai"
    await give(house.choosing.model, house.choosing, interaction, "zai", "me")
    assert house.switch.check_model.await_args.args[2] == "zai"
    assert house.switch.warm.call_args.kwargs == {"model": "cloud:zai"}
    assert filled(interaction).startswith("🔀 ☁ zai is chosen for you here.\n")


async def test_a_provider_that_may_not_be_asked_is_refused_for_ones_own_eyes() -> None:
    house, interaction = Commands(), interaction_of()
    house.switch.check_model.side_effect = NotPermitted("this channel is local only")
    with pytest.raises(NotPermitted):
        await give(house.choosing.model, house.choosing, interaction, "zai", "me")
    interaction.response.defer.assert_not_awaited()
    house.switch.set_model.assert_not_awaited()


@pytest.mark.parametrize("scope", ["me", "channel"])
@pytest.mark.parametrize("what", ["model", "persona"])
async def test_a_choice_for_oneself_is_told_to_oneself_and_one_for_many_to_all(
    scope: Any, what: str
) -> None:
    house, interaction = Commands(), interaction_of(42)
    name = MODEL if what == "model" else "sage"
    await give(getattr(house.choosing, what), house.choosing, interaction, name, scope)
    is_alone = interaction.response.defer.await_args.kwargs.get("ephemeral", False)
    assert is_alone is (scope == "me")


async def test_a_persona_says_which_model_answers_where_one_was_chosen_before() -> None:
    house, interaction = Commands(), interaction_of()
    house.switch.explain.return_value = replace(
        EXPLANATION, model_reason="chosen by you here", way_back="`/model auto`"
    )
    await give(house.choosing.persona, house.choosing, interaction, "sage", "me")
    own = TwoPersonas().all()[0].model
    assert (
        f"\nIt answers with `{MODEL}`, chosen by you here; `/model auto` goes back to "
        f"sage's own `{own}`.\n✅" in filled(interaction)
    )


EXPLAINED = replace(EXPLANATION, way_back="`/model auto`")


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (EXPLANATION, ""),
        # The very model of the persona was chosen: nothing differs.
        (replace(EXPLAINED, model=TwoPersonas().all()[0].model), ""),
        (
            replace(EXPLAINED, provider=ProviderName("zai"), model_reason="☁ zai chosen by you"),
            "☁ zai chosen by you, so it answers first; `/model auto` goes back.",
        ),
        (
            replace(EXPLAINED, persona=TwoPersonas().all()[1], persona_reason="chosen by you here"),
            "For you here **default** still answers: chosen by you here.",
        ),
    ],
)
def test_beside_a_persona_is_said_what_still_wins(said: Explanation, line: str) -> None:
    assert beside_words(said, TwoPersonas().all()[0]) == line


def test_an_explanation_names_a_provider_that_was_chosen_and_the_way_back() -> None:
    text = explained(
        replace(EXPLAINED, provider=ProviderName("zai"), model_reason="☁ zai chosen by you here")
    )
    assert f"Model: ☁ zai chosen by you here; after it `{MODEL}`, sage's own model" in text
    assert "Back to the persona's own model: `/model auto`" in text


async def test_a_persona_greets_when_it_takes_over() -> None:
    house, interaction = Commands(), interaction_of(42)
    await give(house.choosing.persona, house.choosing, interaction, "sage", "server")
    assert filled(interaction).startswith(
        "🎭 **sage** is chosen for this server.\n> Ask.\n> @everyone may.\n✅"
    )
    ticket = str(interaction.id)
    assert house.switch.set_persona.await_args.kwargs == {"rights": EVERY_RIGHT, "ticket": ticket}
    assert house.switch.warm.call_args.kwargs == {"persona": "sage"}


@pytest.mark.parametrize("scope", ["channel", "server"])
async def test_only_admins_choose_for_others_and_nothing_public_is_shown(scope: Any) -> None:
    house = Commands()
    for command in (house.choosing.model, house.choosing.persona):
        interaction = interaction_of()
        with pytest.raises(NotPermitted):
            await give(command, house.choosing, interaction, "sage", scope)
        interaction.response.defer.assert_not_awaited()
    house.switch.set_model.assert_not_awaited()


async def test_an_unknown_name_is_refused_before_anything_public_is_shown() -> None:
    house, interaction = Commands(), interaction_of()
    with pytest.raises(UnknownName):
        await give(house.choosing.model, house.choosing, interaction, "nope", "me")
    interaction.response.defer.assert_not_awaited()


@pytest.mark.parametrize(
    ("scope", "thread", "words"),
    [
        ("me", None, "for you here"),
        ("channel", None, "for this channel"),
        ("channel", PlaceId("discord:71"), "for this thread"),
        ("server", None, "for this server"),
    ],
)
def test_scopes_are_said_in_words(scope: Scope, thread: PlaceId | None, words: str) -> None:
    assert for_whom(scope, Place(PlaceId("discord:7"), thread)) == words


@pytest.mark.parametrize(("user", "money"), [(42, " · $0.0120 today"), (1, "")])
async def test_the_fleet_is_shown_to_anybody_from_memory_and_money_to_admins(
    user: int, money: str
) -> None:
    house, interaction = Commands(), interaction_of(user)
    standing = ProviderStanding(
        ProviderName("zai"), ModelKey("glm-4.6"), "", 0.0, 1, 0, (Account("2026-11-21", 12_000),)
    )
    providers: Any = house.lantern.providers
    providers.standings.return_value = (standing,)
    await give(house.fleet.status, house.fleet, interaction)
    (text,) = said_to(interaction)
    assert "🟢 **studio-1**" in text
    assert "🔴 **studio-2**" in text
    assert text.endswith(f"🟢 ☁ **zai** · `glm-4.6` · available · 1 answering{money}")
    assert interaction.response.defer.await_args.kwargs["ephemeral"] is True


@pytest.mark.parametrize("guild", [5, None])
async def test_only_admins_load_and_unload(guild: int | None) -> None:
    house = Commands()
    with pytest.raises(NotPermitted):
        await give(house.fleet.load, house.fleet, interaction_of(guild=guild), MODEL, None)
    with pytest.raises(NotPermitted):
        await give(house.fleet.unload, house.fleet, interaction_of(guild=guild), MODEL, None, False)
    for command in (house.fleet.pin, house.fleet.unpin):
        with pytest.raises(NotPermitted):
            await give(command, house.fleet, interaction_of(guild=guild), MODEL, None)
    for command in (house.fleet.drain, house.fleet.resume):
        with pytest.raises(NotPermitted):
            await give(command, house.fleet, interaction_of(guild=guild), HOST)
    house.acts.load.assert_not_called()
    house.acts.unload.assert_not_awaited()
    house.acts.pin.assert_not_awaited()
    house.acts.drain.assert_not_awaited()
    house.acts.resume.assert_not_awaited()


async def test_what_an_admin_did_everybody_reads_and_why_it_was_not_they_alone() -> None:
    house = Commands()
    house.acts.pin.return_value, house.acts.drain.return_value = "pinned", "drained"
    house.acts.resume.return_value = "resumed"
    fleet, refused = house.fleet, UnknownName("host", "x", ())
    for command, act, said in (
        (fleet.pin, house.acts.pin, "pinned"),
        (fleet.unpin, house.acts.pin, "pinned"),
        (fleet.unload, house.acts.unload, f"Unloaded `{MODEL}` on {HOST}."),
        (fleet.drain, house.acts.drain, "drained"),
        (fleet.resume, house.acts.resume, "resumed"),
    ):
        interaction = interaction_of(42)
        await give(command, fleet, interaction, HOST)
        # However long a disk or a host takes, Discord has an answer.
        assert interaction.response.defer.await_args.kwargs == {"ephemeral": True, "thinking": True}
        assert interaction.delete_original_response.await_count == 1
        assert said_to(interaction) == [said]
        assert interaction.followup.send.await_args.kwargs["ephemeral"] is False
        act.side_effect = refused
        interaction = interaction_of(42)
        with pytest.raises(UnknownName):
            await give(command, fleet, interaction, HOST)
        assert interaction.delete_original_response.await_count == 0
        act.side_effect = None
    assert [call.kwargs for call in house.acts.pin.await_args_list[::2]] == [
        {"is_pinned": True},
        {"is_pinned": False},
    ]
    house.acts.drain.assert_awaited_with(HOST, is_draining=True, lasting=None)
    await give(house.fleet.drain, house.fleet, interaction_of(42), HOST, "2h")
    house.acts.drain.assert_awaited_with(HOST, is_draining=True, lasting="2h")


async def test_of_a_command_that_discord_has_given_up_nothing_is_begun() -> None:
    house, interaction = Commands(), interaction_of(42)
    interaction.response.defer.side_effect = http_error(404)
    with pytest.raises(discord.HTTPException):
        await give(house.fleet.pin, house.fleet, interaction, MODEL)
    house.acts.pin.assert_not_called()


async def test_who_may_load_may_not_yet_manage() -> None:
    house, loader = Commands(), Circle(people={ALICE})
    rules = DiscordRules(here=lambda _: PlaceRules(load=loader))
    pacers = Pacers()
    boards = Boards(house.lantern, pacers, READERS)
    fleet = FleetCog(house.lantern, rules, Loads(house.lantern), pacers, boards)
    await give(fleet.load, fleet, interaction_of(), MODEL, None)
    assert house.acts.load.call_args.args == (None, MODEL)
    with pytest.raises(NotPermitted):
        await give(fleet.unload, fleet, interaction_of(), MODEL, None, False)


async def test_resume_offers_what_is_left_out_and_hosts_drain_alone() -> None:
    house = Commands()
    house.fleet._providers = Mock(names=["zai"])  # pyright: ignore  # of the root
    offered: dict[str, list[str]] = {}
    for command in ("drain", "resume"):
        option = getattr(house.fleet, command)._params["host"]
        choices = await option.autocomplete(house.fleet, interaction_of(), "")
        offered[command] = [choice.value for choice in choices]
    assert offered["resume"] == ["zai", *offered["drain"]]


async def test_what_somebody_else_loaded_is_unloaded_when_one_says_so() -> None:
    house = Commands()
    house.acts.unload.side_effect = ForeignInstance("Somebody else loaded it.")
    with pytest.raises(ForeignInstance, match=r"else loaded it\. Say `even_foreign: True`"):
        await give(house.fleet.unload, house.fleet, interaction_of(42), MODEL, None, False)


async def test_models_are_listed_with_how_soon_they_could_answer() -> None:
    house, interaction = Commands(), interaction_of()
    await give(house.fleet.models, house.fleet, interaction, "")
    assert f"`{MODEL}`" in "".join(said_to(interaction))
    assert "`auto`" not in "".join(said_to(interaction))


async def test_an_admin_loads_with_a_bar_and_unloads_with_words() -> None:
    house, loading, unloading = Commands(), interaction_of(42), interaction_of(42, guild=None)
    await give(house.fleet.load, house.fleet, loading, "gemma", "studio-1")
    assert house.acts.load.call_args.args == ("studio-1", "google/gemma-3-12b")
    assert filled(loading).startswith("📥 Loading `google/gemma-3-12b` on studio-1.\n✅")
    await give(house.fleet.unload, house.fleet, unloading, MODEL, None, True)
    assert house.acts.unload.await_args.kwargs == {"even_foreign": True}
    assert said_to(unloading) == [f"Unloaded `{MODEL}` on {HOST}."]


async def test_a_load_at_a_host_without_the_model_is_told_to_who_ordered_it_alone() -> None:
    house, interaction = Commands(), interaction_of(42)
    snapshot = house.lantern.catalog.snapshot()
    other = replace(snapshot.hosts[HOST], name=HostName("studio-2"), instances=())
    other = replace(other, models={key: m for key, m in other.models.items() if key != MODEL})
    both = replace(snapshot, hosts={HOST: snapshot.hosts[HOST], other.name: other})
    house.lantern.catalog.snapshot = lambda: both
    with pytest.raises(RequestRefused) as refused:
        await give(house.fleet.load, house.fleet, interaction, MODEL, "studio-2")
    assert refused.value.user_message == f"studio-2 does not have `{MODEL}`; it is on studio-1."
    interaction.response.defer.assert_not_awaited()
    house.acts.load.assert_not_called()


@pytest.mark.parametrize(
    ("user", "manages", "stopped", "words"),
    [
        (1, False, ALICE, "⏹ Stopped 1 answer."),
        (2, False, BOB, "❌ Only the person who asked, or an admin, may stop that answer."),
        (2, True, None, "⏹ Stopped 1 answer."),
    ],
)
async def test_stop_stops_ones_own_answer_and_an_admin_anybodys(
    user: int, manages: bool, stopped: UserId | None, words: str
) -> None:
    turns = ScriptedTurns()
    turns.askers[TURN] = ALICE
    house, interaction = Commands(turns), interaction_of(user, manages=manages)
    await give(house.control.stop, house.control, interaction)
    assert turns.said == [("stop", ("discord:7", stopped))]
    assert said_to(interaction) == [words]


async def test_stop_where_nothing_runs_says_so() -> None:
    house, interaction = Commands(), interaction_of()
    await give(house.control.stop, house.control, interaction)
    assert said_to(interaction) == ["Nothing is being answered here."]


async def test_reset_is_said_to_all_and_why_and_help_to_one() -> None:
    turns = ScriptedTurns()
    house, interaction = Commands(turns), interaction_of()
    await give(house.control.reset, house.control, interaction)
    interaction.response.defer.assert_awaited_once_with(thinking=True)
    assert turns.said == [("reset", "discord:7")]
    assert said_to(interaction) == [FRESH]
    # What is missing without a permission is said where it is missing.
    for has_it, page in ((True, HELP), (False, f"{HELP}\n{UNREAD}")):
        asked = interaction_of()
        asked.client.intents.message_content = has_it
        await give(house.control.help, house.control, asked)
        assert said_to(asked) == [page]


async def test_why_tells_of_the_last_answer_here() -> None:
    turns = ScriptedTurns()
    house, interaction = Commands(turns), interaction_of()
    await give(house.control.why, house.control, interaction)
    assert said_to(interaction) == ["Nothing was answered here yet."]
    turns.stored[TURN] = stored_turn("Hi", receipt=RECEIPT)
    interaction = interaction_of()
    await give(house.control.why, house.control, interaction)
    assert "Answered by: qwen/qwen3-30b-a3b-2507 · studio-1" in said_to(interaction)[0]
    # Whoever is called like a word of ours keeps the name.
    for receipt, named in (
        (
            replace(RECEIPT, model=ModelKey("free"), host=HostName("busy")),
            "free · busy · 90 Tokens",
        ),
        (replace(RECEIPT, provider=ProviderName("plan"), host=None), "☁ plan · "),
    ):
        turns.stored[TURN] = stored_turn("Hi", receipt=receipt)
        interaction = interaction_of()
        interaction.locale = discord.Locale.german
        await give(house.control.why, house.control, interaction)
        assert f"Geantwortet hat: {named}" in said_to(interaction)[0]


async def test_what_somebody_chose_for_themselves_is_not_called_the_choice_of_who_asks_why() -> (
    None
):
    turns = ScriptedTurns()
    house = Commands(turns)
    reason = "persona chosen by you here; model ☁ zai chosen by you here (`/model auto` goes back)"
    turns.stored[TURN] = stored_turn("Hi", receipt=replace(RECEIPT, choice_reason=reason))
    for user, told in (
        (1, reason),
        (2, "persona chosen by whoever asked; model ☁ zai chosen by whoever asked"),
    ):
        await give(house.control.why, house.control, interaction := interaction_of(user))
        assert said_to(interaction)[0].splitlines()[0] == f"**sage** · {told}"
