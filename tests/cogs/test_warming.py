"""Somebody writes: once in two minutes what would answer them is made ready, where it is theirs."""

import asyncio
from dataclasses import replace
from typing import Any

import discord
import pytest
from cogs_doubles import ALICE, TURN, ScriptedTurns, lantern_of, stored_turn
from stand_ins import double
from virtual_time import play

from bot.chat.switch import Switch
from bot.domain.chat import Place
from bot.domain.errors import StoreUnavailable
from bot.domain.ids import PlaceId
from bot.policy.access import PlaceRules
from bot.policy.warmup import WARM_UP_EVERY_S
from cogs._places import DiscordRules
from cogs.client import DiscordFace, LanternBot
from cogs.warming import Warming


def typing(user: int = 1, guild: int | None = None) -> discord.RawTypingEvent:
    data: Any = {"channel_id": "7", "user_id": str(user), "timestamp": 0, "guild_id": guild}
    return discord.RawTypingEvent(data)


def warmed(
    *events: discord.RawTypingEvent | float,
    is_on: bool = True,
    channel: object = None,
    has_answered: bool = True,
    error: Exception | None = None,
    here: PlaceRules | None = None,
    has_reset: bool = False,
) -> list[tuple[Any, ...]]:
    """The places and people something was warmed up for."""
    turns, client, switch = ScriptedTurns(), double(discord.Client), double(Switch)
    if has_answered:
        turns.stored[TURN] = stored_turn("Hello")
    client.get_channel.return_value = channel
    switch.warm_up.side_effect = error
    lantern = replace(lantern_of(turns), switch=switch)
    cog = Warming(
        client, lantern, DiscordRules(has_warm_up=is_on, here=lambda _: here or PlaceRules())
    )

    async def story() -> None:
        if has_reset:
            await turns.store.reset(PRIVATE.conversation)
        for event in events:
            if not isinstance(event, discord.RawTypingEvent):
                await asyncio.sleep(event)
                continue
            async with asyncio.TaskGroup() as group:
                # Discord tells of it again and again.
                group.create_task(cog.on_raw_typing(event))
                group.create_task(cog.on_raw_typing(event))

    play(story())
    return [call.args for call in switch.warm_up.await_args_list]


PRIVATE = Place(PlaceId("discord:7"), is_private=True)


def test_in_private_and_in_threads_who_was_answered_last_is_expected_to_ask() -> None:
    assert warmed(typing()) == [(PRIVATE, ALICE)]
    thread = double(discord.Thread)
    thread.parent_id = 3
    place = Place(PlaceId("discord:3"), PlaceId("discord:7"), PlaceId("discord:5"))
    assert warmed(typing(guild=5), channel=thread) == [(place, ALICE)]


def test_in_a_channel_only_where_every_message_is_a_question() -> None:
    place = Place(PlaceId("discord:7"), server=PlaceId("discord:5"))
    for channel, here, guessed in (
        (double(discord.TextChannel), PlaceRules(unprompted=True), [(place, ALICE)]),
        (double(discord.TextChannel), PlaceRules(), []),
        (None, PlaceRules(unprompted=True), []),
    ):
        assert warmed(typing(guild=5), channel=channel, here=here) == guessed


def test_once_in_two_minutes_for_a_person() -> None:
    soon, later = WARM_UP_EVERY_S - 0.1, WARM_UP_EVERY_S
    assert len(warmed(typing(), soon, typing())) == 1
    assert len(warmed(typing(), later, typing())) == 2


@pytest.mark.parametrize(
    "others",
    [
        {"is_on": False},
        {"has_answered": False},
        {"event": typing(2)},
        {"event": typing(guild=5), "channel": double(discord.TextChannel)},
        {"event": typing(guild=5)},
        {"has_reset": True},
    ],
    ids=["switched off", "never answered", "somebody else", "a channel", "unknown channel",
         "not since a reset"],
)  # fmt: skip
def test_nobody_else_makes_a_machine_work_by_writing(others: dict[str, Any]) -> None:
    assert warmed(others.pop("event", typing()), **others) == []


def test_a_disk_that_fails_is_no_trouble_of_theirs() -> None:
    assert len(warmed(typing(), error=StoreUnavailable("The disk is full."))) == 1


@pytest.mark.parametrize("is_on", [True, False])
async def test_typing_is_heard_only_where_it_is_used(is_on: bool) -> None:
    face = DiscordFace(lantern_of(), DiscordRules(has_warm_up=is_on))
    assert LanternBot(face, reads_content=True).intents.dm_typing is is_on
