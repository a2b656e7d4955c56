"""Personas that speak by their own name and picture, where the bot may have webhooks."""

import asyncio
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import discord
import pytest
from cogs_doubles import READERS, http_error, partial_channel
from discord.http import HTTPClient
from stand_ins import double
from virtual_time import play

from bot.policy.pacing import CHANNEL, INTERACTION, Pacers
from bot.policy.speakers import BOT_NAME, Speaker
from cogs._transport import Transport, transport_to
from cogs._view import Act, MessageView
from cogs._webhooks import AGAIN_S, Hook, Webhooks

SAGE = Speaker("sage", "https://x.org/s.png")
HELLO = MessageView("hello", (Act.RETRY,), "abc")


class Server:
    """A channel with webhooks, and what was sent by them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.client = double(discord.Client)
        self.client.http = double(HTTPClient)
        self.client.application_id = 9
        self.client.user.display_avatar.url = "https://cdn/bot.png"
        self.client.http.channel_webhooks = AsyncMock(return_value=[])
        made = {"id": "70", "token": "t", "application_id": "9"}
        self.client.http.create_webhook = AsyncMock(return_value=made)
        self.hook: Any = double(discord.Webhook)
        self.hook.session.closed = False
        self.hook.send.return_value.id = 500
        monkeypatch.setattr(discord.Webhook, "partial", MagicMock(return_value=self.hook))
        self.webhooks = Webhooks()
        self.pacers = Pacers()
        self.plain = partial_channel(7)

    def transport(self, thread: object = None) -> Transport:
        channel = double(discord.TextChannel)
        channel.id = 7
        hook = self.webhooks.at(self.client, thread or channel)
        transport = Transport(self.plain, self.pacers, question=41, hook=hook)
        transport.speak_as(SAGE)
        return transport


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    return Server(monkeypatch)


async def test_a_persona_s_messages_are_made_edited_and_deleted_by_one_webhook(
    server: Server,
) -> None:
    transport = server.transport()
    (pacer,) = transport.pacers(is_new=True)
    assert await transport.send(0, HELLO) == 500
    sent = server.hook.send.await_args
    assert sent.args == ("hello",)
    options = sent.kwargs
    assert (options["username"], options["avatar_url"]) == (SAGE.name, SAGE.avatar)
    assert options["wait"] is True
    assert "thread" not in options
    assert options["allowed_mentions"].to_dict() == {"parse": []}
    assert [item.item.label for item in options["view"].children] == ["Retry"]
    await transport.edit(500, MessageView("more"), HELLO)
    changed = server.hook.edit_message.await_args
    assert (changed.args, changed.kwargs["content"]) == ((500,), "more")
    assert changed.kwargs["allowed_mentions"].to_dict() == {"parse": []}
    # Sends and edits of all its streams share one limit, apart from the channel's own.
    assert transport.pacers(is_new=False) == (pacer,)
    assert pacer is server.pacers.of_channel(7, 0.0, INTERACTION)
    await transport.delete(500)
    server.hook.delete_message.assert_awaited_once_with(500)
    server.plain.send.assert_not_awaited()
    # Found once; the next reply asks for nothing.
    await server.transport().send(0, HELLO)
    server.client.http.channel_webhooks.assert_awaited_once_with(7)
    server.client.http.create_webhook.assert_awaited_once_with(7, name=BOT_NAME)


@pytest.mark.parametrize("fault", [http_error(404, 10008), http_error(404, 10015), None])
async def test_what_a_deleted_webhook_made_is_taken_away_by_the_bot_itself(
    server: Server, fault: discord.HTTPException | None
) -> None:
    transport = server.transport()
    await transport.send(0, HELLO)
    server.webhooks.forget(7)
    server.hook.delete_message.side_effect = fault
    if fault is not None:
        # Another took its place, which knows nothing of the message.
        server.client.http.channel_webhooks.return_value = [
            {"id": "71", "token": "u", "application_id": "9"}
        ]
    await transport.delete(500)
    server.plain.get_partial_message.assert_called_once_with(500)
    server.plain.get_partial_message.return_value.delete.assert_awaited_once_with()


async def test_a_webhook_that_cannot_be_reached_now_is_tried_again(server: Server) -> None:
    transport = server.transport()
    await transport.send(0, HELLO)
    server.hook.delete_message.side_effect = http_error(503)
    with pytest.raises(discord.DiscordServerError):
        await transport.delete(500)
    server.plain.get_partial_message.assert_not_called()


async def test_in_a_thread_its_channel_s_webhook_speaks(server: Server) -> None:
    thread = double(discord.Thread)
    thread.id, thread.parent_id = 8, 7
    transport = server.transport(thread)
    transport.speak_as(Speaker("muse", ""))
    await transport.send(0, HELLO)
    options = server.hook.send.await_args.kwargs
    assert options["thread"].id == 8
    assert options["avatar_url"] == "https://cdn/bot.png"
    server.client.http.create_webhook.assert_awaited_once_with(7, name=BOT_NAME)


async def test_our_own_webhook_of_before_is_used_and_nobody_elses(server: Server) -> None:
    others = [
        {"id": "1", "token": "x", "application_id": None},
        {"id": "2", "token": "x", "application_id": "8"},
        {"id": "3", "application_id": "9"},
    ]
    server.client.http.channel_webhooks.return_value = others
    await server.transport().send(0, HELLO)
    server.client.http.create_webhook.assert_awaited_once()
    again = Webhooks()
    server.client.http.channel_webhooks.return_value = [
        *others, {"id": "70", "token": "t", "application_id": "9"},
    ]  # fmt: skip
    assert await again.find(server.client, 7, makes=True) is server.hook
    server.client.http.create_webhook.assert_awaited_once()


@pytest.mark.parametrize("fault", [http_error(403, 50013), http_error(400, 30007)])
def test_where_there_may_be_none_it_is_plain_and_not_asked_again_soon(
    monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    async def refuse() -> None:
        server = Server(monkeypatch)
        server.client.http.create_webhook.side_effect = fault
        for _ in range(2):
            transport = server.transport()
            assert await transport.send(0, HELLO) >= 500
            assert server.pacers.everywhere in transport.pacers(is_new=True)
        assert server.client.http.create_webhook.await_count == 1
        assert server.plain.send.await_count == 2
        reference = server.plain.send.await_args.kwargs["reference"]
        assert reference.message_id == 41
        await asyncio.sleep(AGAIN_S)
        await server.transport().send(0, HELLO)
        assert server.client.http.create_webhook.await_count == 2

    play(refuse())


async def test_an_answer_of_the_bot_itself_asks_for_no_webhook(server: Server) -> None:
    transport = server.transport()
    transport.speak_as(None)
    await transport.send(0, HELLO)
    server.client.http.channel_webhooks.assert_not_awaited()
    server.plain.send.assert_awaited_once()
    # In private, and where a thread is not known yet, there is no webhook.
    for kind in (discord.DMChannel, discord.PartialMessageable):
        assert server.webhooks.at(server.client, double(kind)) is None


async def test_a_message_of_before_is_edited_by_the_webhook_that_made_it(server: Server) -> None:
    ours = {"id": "70", "token": "t", "application_id": "9"}
    transport = server.transport()
    message = server.plain.get_partial_message.return_value
    message.edit.side_effect = http_error(403, 50005)
    # Where ours is gone nobody can change it, and none is made for that.
    with pytest.raises(discord.ClientException):
        await server.transport().edit(300, MessageView("closed"))
    server.client.http.create_webhook.assert_not_awaited()
    server.client.http.channel_webhooks.return_value = [ours]
    await transport.edit(300, MessageView("closed"))
    await transport.edit(300, MessageView("again"))
    # Refused once, whichever reply it was for: each refusal counts towards a ban.
    assert message.edit.await_count == 1
    said = [call.kwargs["content"] for call in server.hook.edit_message.await_args_list]
    assert said == ["closed", "again"]
    # What else is refused is refused.
    message.edit.side_effect = http_error(403, 50013)
    with pytest.raises(discord.Forbidden):
        await transport.edit(301, MessageView("x"))


async def test_of_the_messages_that_webhooks_made_the_newest_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cogs._webhooks._MOST_SPOKEN", 2)
    webhooks = Webhooks()
    for message in (1, 2, 2, 3):
        webhooks.spoke(message)
    assert [webhooks.has_spoken(n) for n in range(5)] == [False, False, True, True, False]


def test_a_persona_s_message_loses_its_buttons_by_its_webhook_and_keeps_its_words(
    server: Server,
) -> None:
    server.client.http.channel_webhooks.return_value = [
        {"id": "70", "token": "t", "application_id": "9"}
    ]
    channel: Any = double(discord.TextChannel)
    channel.id, channel.guild.preferred_locale = 7, discord.Locale.german
    server.client.get_channel.return_value = channel
    server.client.get_partial_messageable.return_value = server.plain
    server.plain.get_partial_message.return_value.edit.side_effect = http_error(403, 50005)

    async def story() -> None:
        transport = transport_to(server.client, 7, server.pacers, server.webhooks, READERS)
        await transport.dress(300, None)
        (bare,) = server.hook.edit_message.await_args_list
        assert (bare.args, bare.kwargs["view"], "content" in bare.kwargs) == ((300,), None, False)
        await transport.dress(300, HELLO)
        (_, dressed) = server.hook.edit_message.await_args_list
        assert [item.item.label for item in dressed.kwargs["view"].children] == ["Nochmal"]
        # Whoever writes there meanwhile knows of these calls.
        now = asyncio.get_running_loop().time()
        for limit in (CHANNEL, INTERACTION):
            over_at = now + limit.window_s + limit.margin_s
            pacer = server.pacers.of_channel(7, now, limit)
            assert [pacer.is_quiet(at) for at in (over_at - 0.001, over_at)] == [False, True]

    play(story())


async def test_one_whose_webhook_is_gone_is_replaced(server: Server) -> None:
    transport = server.transport()
    await transport.send(0, HELLO)
    server.hook.edit_message.side_effect = http_error(404, 10015)
    with pytest.raises(discord.HTTPException):
        await transport.edit(500, MessageView("more"))
    server.hook.edit_message.side_effect = None
    await transport.send(0, MessageView("more"))
    assert server.client.http.channel_webhooks.await_count == 2
    # Deleted in the moment of sending: the answer comes plain.
    server.hook.send.side_effect = http_error(404, 10015)
    await transport.send(1, MessageView("rest"))
    server.plain.send.assert_awaited_once()
    # Any other trouble is the writer's to judge.
    other = server.transport()
    other._hook = Hook(Webhooks(), server.client, 7, None)  # pyright: ignore[reportPrivateUsage]
    server.hook.send.side_effect = http_error(503)
    with pytest.raises(discord.DiscordServerError):
        await other.send(0, HELLO)


async def test_a_new_connection_has_a_new_session(server: Server) -> None:
    await server.transport().send(0, HELLO)
    server.hook.session.closed = True
    await server.transport().send(0, HELLO)
    assert server.client.http.channel_webhooks.await_count == 2
