"""What reaches discord.py, by the two ways a reply is shown."""

import asyncio
from dataclasses import replace
from math import inf
from typing import Any

import discord
import pytest
from cogs_doubles import http_error, interaction_of, partial_channel
from stand_ins import double
from virtual_time import play

from bot.policy.pacing import EVERYWHERE, Pacers
from cogs._faults import DiscordFault, fault_of
from cogs._transport import TOKEN_LIFE_S, InteractionTransport, Transport
from cogs._view import Act, MessageView

PLAIN, WITH_STOP = MessageView("Hello"), MessageView("Hello", (Act.STOP,), "ab12")
EXPIRED = http_error(401, 50027)


def buttons(call: Any) -> list[str]:
    view = call.kwargs.get("view")
    return [] if view is None else [child.custom_id for child in view.children]


def test_the_first_message_answers_the_question_without_pinging() -> None:
    async def story() -> Any:
        channel = partial_channel()
        await Transport(channel, Pacers(), question=41).send(0, WITH_STOP)
        return channel.send.await_args

    call = play(story())
    assert call.args == ("Hello",)
    assert call.kwargs["reference"].message_id == 41
    assert call.kwargs["reference"].fail_if_not_exists is False
    assert call.kwargs["suppress_embeds"] is True
    assert "allowed_mentions" not in call.kwargs  # the client's own: none
    assert buttons(call) == ["lantern:stop:ab12"]


def test_a_message_sent_again_has_the_same_nonce_and_a_replacement_has_none() -> None:
    async def story() -> list[object]:
        channel = partial_channel()
        transport = Transport(channel, Pacers(), question=41)
        channel.send.side_effect = [ConnectionResetError(), double(discord.Message)] * 2
        for part in (1, 1, 1):
            try:
                await transport.send(part, PLAIN)
            except ConnectionResetError:
                continue
        return [call.kwargs.get("nonce") for call in channel.send.await_args_list]

    assert play(story()) == ["41.1", "41.1", None]


def test_later_messages_stand_alone() -> None:
    async def story() -> Any:
        channel = partial_channel()
        await Transport(channel, Pacers(), question=41).send(1, PLAIN)
        return channel.send.await_args

    call = play(story())
    assert "reference" not in call.kwargs
    assert "view" not in call.kwargs


def test_where_history_may_not_be_read_a_message_stands_without_its_reference() -> None:
    async def story() -> list[Any]:
        channel = partial_channel()
        channel.send.side_effect = [http_error(400, 160002), double(discord.Message)]
        await Transport(channel, Pacers(), question=41).send(0, PLAIN)
        return channel.send.await_args_list

    refused, taken = play(story())
    assert "reference" in refused.kwargs
    assert "reference" not in taken.kwargs
    assert taken.kwargs["nonce"] == "41.0"


def test_what_discord_refuses_without_a_reference_too_is_a_fault() -> None:
    async def story() -> int:
        channel = partial_channel()
        channel.send.side_effect = http_error(400, 160002)
        with pytest.raises(discord.HTTPException):
            await Transport(channel, Pacers(), question=41).send(0, PLAIN)
        return channel.send.await_count

    assert play(story()) == 2


def test_an_edit_takes_away_buttons_that_are_no_longer_meant() -> None:
    async def story() -> Any:
        channel = partial_channel()
        await Transport(channel, Pacers()).edit(77, PLAIN)
        channel.get_partial_message.assert_called_with(77)
        return channel.get_partial_message.return_value.edit.await_args

    assert play(story()).kwargs == {"content": "Hello", "view": None}


def test_an_edit_leaves_buttons_where_they_stand() -> None:
    async def story() -> tuple[Any, Any, Any]:
        channel, interaction = partial_channel(), interaction_of()
        edit = channel.get_partial_message.return_value.edit
        by_channel = Transport(channel, Pacers())
        by_token = InteractionTransport(interaction, Pacers())
        await by_channel.edit(77, WITH_STOP, replace(WITH_STOP, content="Hel"))
        await by_token.begin()
        await by_token.edit(200, WITH_STOP, replace(WITH_STOP, content="Hel"))
        kept = edit.await_args, interaction.edit_original_response.await_args
        # Another turn's button reads the same.
        await by_channel.edit(77, replace(WITH_STOP, subject="cd34"), WITH_STOP)
        return *kept, edit.await_args

    plain, token, other = play(story())
    assert plain.kwargs == token.kwargs == {"content": "Hello"}
    assert buttons(other) == ["lantern:stop:cd34"]


@pytest.mark.parametrize("is_guest", [True, False])
@pytest.mark.parametrize("may_see", [True, False])
def test_only_where_the_bot_may_not_edit_by_itself_its_time_is_the_tokens(
    is_guest: bool, may_see: bool
) -> None:
    async def story() -> float:
        interaction = interaction_of()
        interaction.is_guild_integration.return_value = not is_guest
        interaction.app_permissions = discord.Permissions(view_channel=may_see)
        return InteractionTransport(interaction, Pacers()).closes_at

    assert play(story()) == (TOKEN_LIFE_S if is_guest or not may_see else inf)


def test_a_call_that_hangs_ends_as_a_passing_fault() -> None:
    async def story() -> DiscordFault:
        async def hang(*_: object, **__: object) -> None:
            await asyncio.sleep(10_000)

        channel = partial_channel()
        channel.send.side_effect = hang
        with pytest.raises(TimeoutError) as caught:
            await Transport(channel, Pacers()).send(0, PLAIN)
        return fault_of(caught.value)

    assert play(story()) is DiscordFault.PASSING


def test_it_is_not_mute_any_more_once_something_of_it_was_taken() -> None:
    async def story() -> list[bool]:
        channel = partial_channel()
        channel.send.side_effect = [http_error(403, 160005), double(discord.Message)]
        transport, seen = Transport(channel, Pacers()), list[bool]()
        with pytest.raises(discord.Forbidden):
            await transport.send(0, PLAIN)
        seen.append(transport.is_mute)
        await transport.send(0, PLAIN)
        return [*seen, transport.is_mute]

    assert play(story()) == [True, False]


def test_typing_is_left_out_when_many_calls_are_being_made() -> None:
    async def story() -> int:
        pacers, channel = Pacers(), partial_channel()
        for _ in range(EVERYWHERE.calls + 5):
            await Transport(channel, pacers).show_typing()
        return channel.typed

    assert play(story()) == EVERYWHERE.calls


def test_an_interaction_is_deferred_once_and_its_message_is_filled() -> None:
    async def story() -> Any:
        interaction = interaction_of()
        transport = InteractionTransport(interaction, Pacers())
        assert [await transport.begin(), await transport.begin()] == [200, 200]
        await transport.edit(200, WITH_STOP)
        return interaction

    interaction = play(story())
    interaction.response.defer.assert_awaited_once_with(thinking=True)
    call = interaction.edit_original_response.await_args
    assert call.kwargs["content"] == "Hello"
    assert buttons(call) == ["lantern:stop:ab12"]


def test_later_messages_of_an_interaction_are_followups_edited_by_their_own_id() -> None:
    async def story() -> Any:
        interaction = interaction_of()
        transport = InteractionTransport(interaction, Pacers())
        await transport.begin()
        message = await transport.send(1, PLAIN)
        await transport.edit(message, WITH_STOP)
        return interaction

    interaction = play(story())
    assert interaction.followup.send.await_args.kwargs["wait"] is True
    assert interaction.followup.edit_message.await_args.args == (201,)


@pytest.mark.parametrize("error", [EXPIRED, http_error(404, 10015), http_error(401, 0)])
def test_when_the_token_ends_the_reply_goes_on_by_plain_edits(error: Exception) -> None:
    async def story() -> tuple[Any, Any, int]:
        interaction, channel = interaction_of(), partial_channel()
        interaction.edit_original_response.side_effect = error
        transport = _with_channel(interaction, channel)
        await transport.begin()
        await transport.edit(200, PLAIN)
        await transport.edit(200, WITH_STOP)
        await transport.send(1, PLAIN)
        return interaction, channel, len(transport.pacers(is_new=False))

    interaction, channel, pacers = play(story())
    assert interaction.edit_original_response.await_count == 1
    assert channel.get_partial_message.return_value.edit.await_count == 2
    assert channel.send.await_count == 1
    assert pacers == 2  # the channel's own, and everywhere


def _with_channel(interaction: Any, channel: Any) -> InteractionTransport:
    interaction.client.get_partial_messageable.side_effect = [channel]
    return InteractionTransport(interaction, Pacers())


def test_plain_edits_take_over_before_the_fifteen_minutes_are_over() -> None:
    async def story() -> tuple[Any, Any]:
        interaction, channel = interaction_of(), partial_channel()
        transport = _with_channel(interaction, channel)
        await transport.begin()
        await transport.edit(200, PLAIN)
        await asyncio.sleep(TOKEN_LIFE_S)
        await transport.edit(200, WITH_STOP)
        return interaction, channel

    interaction, channel = play(story())
    assert interaction.edit_original_response.await_count == 1
    assert channel.get_partial_message.return_value.edit.await_count == 1


def test_any_other_trouble_of_an_interaction_is_the_writers_to_judge() -> None:
    async def story() -> None:
        interaction = interaction_of()
        transport = InteractionTransport(interaction, Pacers())
        await transport.begin()
        interaction.edit_original_response.side_effect = http_error(404, 10008)
        await transport.edit(200, PLAIN)

    with pytest.raises(discord.NotFound):
        play(story())


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (http_error(404, 10008), DiscordFault.LOST),
        (http_error(404, 10003), DiscordFault.GONE),
        (http_error(403, 50013), DiscordFault.DENIED),
        (http_error(403, 50001), DiscordFault.DENIED),
        (http_error(403, 50007), DiscordFault.GONE),
        (http_error(404, 10062), DiscordFault.GONE),
        (http_error(400, 40060), DiscordFault.GONE),
        (http_error(400, 50083), DiscordFault.ARCHIVED),
        (http_error(403, 160005), DiscordFault.LOCKED),
        (http_error(401, 50027), DiscordFault.EXPIRED),
        (http_error(400, 50035), DiscordFault.REFUSED),
        (http_error(400, 50006), DiscordFault.REFUSED),
        (http_error(429, 0), DiscordFault.PASSING),
        (http_error(503, 0), DiscordFault.PASSING),
        (OSError(), DiscordFault.PASSING),
        (discord.RateLimited(5.0), DiscordFault.PASSING),
        (RuntimeError("Session is closed"), DiscordFault.LEAVING),
    ],
)
def test_troubles_are_told_apart_by_what_to_do_next(error: Exception, fault: DiscordFault) -> None:
    assert fault_of(error) is fault


@pytest.mark.parametrize(
    ("guild_id", "is_in", "code", "fault"),
    [
        (5, True, 50001, DiscordFault.DENIED),
        (5, False, 50001, DiscordFault.GONE),
        (5, False, 50083, DiscordFault.ARCHIVED),
        (None, False, 50001, DiscordFault.DENIED),
    ],
)
def test_what_is_denied_where_the_bot_is_no_more_will_not_come_back(
    guild_id: int | None, is_in: bool, code: int, fault: DiscordFault
) -> None:
    channel = partial_channel()
    channel.guild_id, channel.guild = guild_id, object() if is_in else None
    assert Transport(channel, Pacers()).fault_of(http_error(403, code)) is fault


def test_channels_nobody_writes_in_are_forgotten() -> None:
    pacers = Pacers()
    first = pacers.of_channel(0, 0.0)
    assert pacers.of_channel(0, 0.0) is first
    for number in range(1, 300):
        pacers.of_channel(number, 100.0)
    assert pacers.of_channel(0, 100.0) is not first
