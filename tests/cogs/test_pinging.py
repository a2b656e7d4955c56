"""A ping when a slow answer is ready: to one person, who asked for it, once, at the end."""

import asyncio
from dataclasses import replace
from typing import Any

import discord
import pytest
from cogs_doubles import (
    ALICE,
    BOB,
    FINISHED,
    HOST,
    MODEL,
    RECEIPT,
    REQUEST,
    STARTED,
    TURN,
    MemoryNotes,
    Script,
    ScriptedTurns,
    double,
    http_error,
    interaction_of,
    lantern_of,
    partial_channel,
    said_to,
)
from virtual_time import play

from bot.domain.chat import TurnRequest
from bot.domain.errors import StoreUnavailable
from bot.domain.events import Loading, Stopped, TextDelta
from bot.domain.ids import PlaceId
from bot.policy.pacing import Pacers
from cogs._access import Access
from cogs._again import Again
from cogs._loads import Loads
from cogs._pings import HUSHED, NOTE, TELLS, Pings
from cogs._places import DiscordRules
from cogs._reply import Replies
from cogs._transport import InteractionTransport, Transport
from cogs._view import Act
from cogs._webhooks import Webhooks
from cogs.buttons import Buttons

LOADING = Loading(HOST, MODEL, 0.5, 30.0)
WORDS = TextDelta("<@99> @everyone here it is")
SLOW: Script = (STARTED, LOADING, 25.0, WORDS, 1.0, FINISHED)
IN_SERVER = replace(REQUEST, place=replace(REQUEST.place, server=PlaceId("discord:5")))
IN_PRIVATE = replace(REQUEST, place=replace(REQUEST.place, is_private=True))


class Channel:
    """A channel that writes down what is sent there."""

    def __init__(self, *, has_left: bool = False, is_private: bool = False) -> None:
        self.partial: Any = partial_channel()
        server = double(discord.Guild)
        server.fetch_member.side_effect = http_error(404, 10007) if has_left else None
        self.partial.guild = None if is_private else server
        self.partial.guild_id = None if is_private else 5

    @property
    def pings(self) -> list[Any]:
        calls = self.partial.send.await_args_list
        return [call for call in calls if call.args[0].startswith("🔔")]


def ask(
    channel: Channel,
    script: Script = SLOW,
    request: TurnRequest = IN_SERVER,
    *,
    wants: bool = True,
    presses: list[tuple[float, bool]] | None = None,
) -> Replies:
    """Plays a question; ``presses`` are choices made so long after it was asked."""
    replies = Replies(lantern_of(ScriptedTurns(script)))

    async def story() -> None:
        if wants:
            await replies.pings.choose(ALICE, is_on=True)
        async with asyncio.TaskGroup() as group:
            transport = Transport(channel.partial, Pacers(), question=41)
            group.create_task(replies.play(request, transport))
            for at, is_on in presses or ():
                await asyncio.sleep(at)
                await replies.pings.choose(ALICE, is_on=is_on)

    play(story())
    return replies


def test_who_asked_for_it_is_told_once_below_the_answer_and_nobody_else_is_notified() -> None:
    channel = Channel()
    ask(channel)
    (ping,) = channel.pings
    assert ping.args == ("🔔 <@1> your answer is ready.",)
    allowed = ping.kwargs["allowed_mentions"].to_dict()
    assert allowed == {"parse": [], "users": [1]}
    answer = 500
    assert ping.kwargs["reference"].message_id == answer
    # Sent again after a lost answer it still comes once.
    assert ping.kwargs["nonce"] == f"{answer}.0"
    others = [c for c in channel.partial.send.await_args_list if c is not ping]
    assert others
    assert all("allowed_mentions" not in call.kwargs for call in others)


def test_in_private_a_new_message_notifies_by_itself() -> None:
    channel = Channel(is_private=True)
    ask(channel, request=IN_PRIVATE)
    (ping,) = channel.pings
    assert ping.args == ("🔔 Your answer is ready.",)
    assert "allowed_mentions" not in ping.kwargs


@pytest.mark.parametrize(
    "script",
    [
        (STARTED, LOADING, 15.0, WORDS, 60.0, FINISHED),
        (STARTED, LOADING, 25.0, WORDS, Stopped(TURN, RECEIPT, "", by_asker=True)),
    ],
    ids=["they read along", "they stopped it"],
)
def test_who_needs_no_telling_is_not_told(script: Script) -> None:
    channel = Channel()
    ask(channel, script)
    assert not channel.pings


def test_who_did_not_ask_for_it_is_not_told_and_nor_is_anybody_else() -> None:
    channel = Channel()
    ask(channel, wants=False)
    ask(channel, request=replace(IN_SERVER, user=BOB))
    assert not channel.pings


def test_who_left_the_server_is_not_told() -> None:
    channel = Channel(has_left=True)
    ask(channel)
    channel.partial.guild.fetch_member.assert_awaited_once_with(1)
    assert not channel.pings


@pytest.mark.parametrize("fault", [http_error(404, 10008), http_error(403, 50001)])
def test_an_answer_nobody_can_see_any_more_is_not_told_of(fault: discord.HTTPException) -> None:
    channel = Channel()
    channel.partial.get_partial_message.return_value.edit.side_effect = fault
    ask(channel)
    assert not channel.pings


@pytest.mark.parametrize("fault", [http_error(403, 50013), http_error(404, 10003), RuntimeError()])
def test_a_ping_that_cannot_be_sent_spoils_nothing(fault: Exception) -> None:
    channel = Channel()

    async def send(content: str, **_: object) -> Any:
        if content.startswith("🔔"):
            raise fault
        return double(discord.Message)

    channel.partial.send.side_effect = send
    replies = ask(channel)
    assert not replies.is_writing(TURN)


@pytest.mark.parametrize(
    ("presses", "told"),
    [([(24.0, True)], 1), ([(1.0, True), (1.0, False)], 0), ([(1.0, False), (24.5, True)], 1)],
    ids=["asked for while waiting", "thought better of it", "after the first word, before the end"],
)
def test_what_was_chosen_when_the_answer_ends_counts(
    presses: list[tuple[float, bool]], told: int
) -> None:
    channel = Channel()
    ask(channel, presses=presses, wants=False)
    assert len(channel.pings) == told


def test_of_a_command_the_ping_is_a_message_of_its_own() -> None:
    interaction = interaction_of()
    channel = Channel()
    interaction.client.get_partial_messageable.side_effect = None
    interaction.client.get_partial_messageable.return_value = channel.partial
    replies = Replies(lantern_of(ScriptedTurns(SLOW)))

    async def story() -> None:
        await replies.pings.choose(ALICE, is_on=True)
        await replies.play(IN_SERVER, InteractionTransport(interaction, Pacers()))

    play(story())
    (ping,) = channel.pings
    assert ping.kwargs["reference"].message_id == 200


@pytest.mark.parametrize("wants", [True, False])
def test_the_waiting_card_offers_it_to_who_has_not_asked_for_it_yet(wants: bool) -> None:
    channel = Channel()
    ask(channel, wants=wants)
    card = channel.partial.send.await_args_list[0]
    ids = [button.custom_id for button in card.kwargs["view"].children]
    assert (f"lantern:tell:{TURN}" in ids) is not wants


async def test_two_who_press_at_once_are_both_remembered_over_a_restart() -> None:
    notes = MemoryNotes()
    pings = Pings(notes)
    async with asyncio.TaskGroup() as group:
        group.create_task(pings.choose(ALICE, is_on=True))
        group.create_task(pings.choose(BOB, is_on=True))
    assert notes.notes[NOTE] == '["discord:1", "discord:2"]'
    await pings.choose(BOB, is_on=False)
    after = Pings(notes)
    await after.read()
    assert (after.wants(ALICE), after.wants(BOB)) == (True, False)


@pytest.mark.parametrize(("act", "words"), [(Act.TELL, TELLS), (Act.HUSH, HUSHED)])
@pytest.mark.parametrize("is_broken", [False, True])
async def test_a_press_is_for_who_presses_and_says_what_it_means(
    act: Act, words: str, is_broken: bool
) -> None:
    lantern, rules = lantern_of(), DiscordRules()
    access, replies = Access(rules), Replies(lantern)
    again = Again(lantern, access, replies, Pacers(), Webhooks())
    cog = Buttons(lantern, access, replies, Loads(lantern), again)
    await replies.pings.choose(ALICE, is_on=act is Act.HUSH)
    interaction = interaction_of(2)
    if is_broken:
        replies.pings._notes = broken = MemoryNotes()  # pyright: ignore[reportPrivateUsage]  # a disk that fails now

        async def put(name: str, value: str) -> None:
            raise StoreUnavailable("The disk is full.")

        object.__setattr__(broken, "put", put)
    await cog.on_reply_button(interaction, act, TURN)
    assert replies.pings.wants(BOB) is (act is Act.TELL)
    assert replies.pings.wants(ALICE) is (act is Act.HUSH)
    assert said_to(interaction) == (["❌ The disk is full."] if is_broken else [words])
