"""``/retry`` and ``/continue``, and the message menus."""

from typing import Any

import discord
import pytest
from cogs_doubles import (
    TURN,
    MemoryReplies,
    ScriptedTurns,
    double,
    http_error,
    interaction_of,
    lantern_of,
    partial_channel,
    said_to,
    stored_turn,
)

from bot.chat.lantern import Lantern
from bot.documents.png import plain_png
from bot.domain.chat import Quote
from bot.domain.errors import BotError, RequestRefused, TokensSpent
from bot.domain.ids import PlaceId, UserId
from bot.policy.pacing import Pacers
from cogs._access import Access
from cogs._again import Again
from cogs._places import DiscordRules
from cogs._reply import Replies
from cogs._webhooks import Webhooks
from cogs.talking import DELETED, UNFETCHED, Talking


def talking(turns: ScriptedTurns) -> tuple[Talking, Lantern]:
    lantern = lantern_of(turns)
    access, replies, pacers = Access(DiscordRules()), Replies(lantern), Pacers()
    again = Again(lantern, access, replies, pacers, Webhooks())
    return Talking(lantern, access, replies, again, pacers), lantern


def message_of(content: str = "", *, key: int = 70, author: int = 2, files: int = 0) -> Any:
    message = double(discord.Message)
    message.id, message.content, message.mentions, message.role_mentions = key, content, [], []
    message.author.id, message.author.display_name = author, "Bob"
    message.channel = double(discord.TextChannel)
    message.channel.id, message.guild.id = 7, 5
    message.created_at = discord.utils.snowflake_time(key)
    message.jump_url = f"https://discord.com/channels/5/7/{key}"
    attachments: list[Any] = []
    message.attachments = attachments
    for number in range(files):
        file = double(discord.Attachment)
        file.filename, file.content_type, file.size = f"cat{number}.png", "image/png", 10
        file.read.return_value = plain_png(1, 1, (0, 0, 0))
        attachments.append(file)
    return message


@pytest.mark.parametrize("kind", ["retry", "continue"])
async def test_the_commands_mean_the_last_answer_here(kind: str) -> None:
    turns = ScriptedTurns()
    turns.stored[TURN] = stored_turn("Half")
    cog, _ = talking(turns)
    command: Any = cog.retry if kind == "retry" else cog.go_on
    await command.callback(cog, interaction_of())
    (request,) = turns.requests
    assert (request.kind, request.parent) == (kind, TURN)


async def test_another_model_may_answer_this_time() -> None:
    turns = ScriptedTurns()
    turns.stored[TURN] = stored_turn("Half")
    cog, lantern = talking(turns)
    command: Any = cog.retry
    await command.callback(cog, interaction_of(), "google/gemma-3-12b")
    assert turns.requests[0].model == "google/gemma-3-12b"
    check: Any = lantern.switch.check_named
    check.side_effect = RequestRefused("These words stay here.")
    with pytest.raises(RequestRefused, match="stay here"):
        await command.callback(cog, interaction_of(), "zai")
    assert len(turns.requests) == 1


async def test_where_nothing_was_asked_there_is_nothing_to_answer_again() -> None:
    cog, _ = talking(ScriptedTurns())
    command: Any = cog.retry
    with pytest.raises(BotError, match="Nothing was asked here yet"):
        await command.callback(cog, interaction_of())


@pytest.mark.parametrize("kind", ["retry", "continue"])
async def test_the_menus_mean_the_answer_a_message_shows(kind: str) -> None:
    turns = ScriptedTurns()
    turns.stored[TURN] = stored_turn("Half")
    cog, lantern = talking(turns)
    await lantern.replies.put("70", "7", TURN, 0)
    menu: Any = cog.retry_this if kind == "retry" else cog.continue_this
    await menu(interaction_of(), message_of("Half"))
    assert [request.kind for request in turns.requests] == [kind]
    with pytest.raises(BotError, match="none of my answers"):
        await menu(interaction_of(), message_of("hello", key=71))
    press = interaction_of()
    press.client.user.id = 99
    # What somebody deleted the question of is still an answer of ours.
    with pytest.raises(BotError, match="its question was deleted or forgotten"):
        await menu(press, message_of("Half", key=71, author=99))


async def asked(
    cog: Talking,
    message: Any,
    text: str = "what is it?",
    later: Talking | None = None,
    found: object = None,
) -> Any:
    """Fills in the form of Ask about this; gives the interaction that ``later`` takes it by.

    By then the message is as ``found``, a fault among them; None: as it was.
    """
    pressed, submitted = interaction_of(), interaction_of(3)
    submitted.type = discord.InteractionType.modal_submit
    submitted.client.user.id = 99
    channel = partial_channel()
    channel.fetch_message.side_effect = [message if found is None else found]
    submitted.client.get_partial_messageable.side_effect = [channel, channel]
    await cog.ask_about(pressed, message)
    (modal,) = pressed.response.send_modal.await_args.args
    field = {"custom_id": "text", "value": text}
    submitted.data = {"custom_id": modal.custom_id, "components": [{"component": field}]}
    await (later or cog).on_interaction(submitted)
    return submitted


async def test_a_form_opened_before_a_restart_asks_about_its_message() -> None:
    turns = ScriptedTurns()
    await asked(talking(ScriptedTurns())[0], message_of("a poem"), later=talking(turns)[0])
    assert [quote.text for quote in turns.requests[0].quotes] == ["a poem"]


async def test_who_has_no_tokens_left_is_told_so_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    cog, lantern = talking(ScriptedTurns())

    async def spent(*_: object) -> None:
        raise TokensSpent("You have used your tokens for today: 9 of 9.", 60.0)

    monkeypatch.setattr(lantern.place_settings, "admit", spent)
    submitted = await asked(cog, message_of("a poem"))
    assert "used your tokens" in said_to(submitted)[0]
    submitted.response.defer.assert_not_awaited()


async def test_where_nothing_was_typed_nothing_is_given_back() -> None:
    cog, _ = talking(ScriptedTurns())
    submitted = await asked(cog, message_of("a poem"), " ")
    # Nor is it told to attach a file, for which the form has no place.
    assert said_to(submitted) == ["❌ The message is empty; write something."]


async def test_what_was_typed_about_a_message_that_is_gone_is_given_back() -> None:
    turns = ScriptedTurns()
    later, lantern = talking(turns)
    hidden = http_error(403, 50001)
    before, message = talking(ScriptedTurns())[0], message_of("a poem")
    submitted = await asked(before, message, later=later, found=hidden)
    assert said_to(submitted) == [f"❌ {UNFETCHED}", "You asked:\nwhat is it?"]
    # Deleted while the form was open, it is not asked about by whoever still has it at hand.
    for cog in (before, later):
        submitted = await asked(before, message, later=cog, found=http_error(404, 10008))
        assert said_to(submitted) == [f"❌ {DELETED}", "You asked:\nwhat is it?"]
        # They alone are told: nothing was begun in public.
        submitted.response.defer.assert_not_awaited()
    assert (turns.requests, await lantern.questions.left_open()) == ([], ())


async def test_a_form_asks_about_its_message_as_it_reads_by_then() -> None:
    turns = ScriptedTurns()
    cog, _ = talking(turns)
    old, new = message_of("my pin is 4711", files=1), message_of("a poem")
    await asked(cog, old, found=new)
    # Without the intent, or where the bot is not, what the menu showed is all there is.
    for found in (message_of(), http_error(403, 50001), TimeoutError()):
        await asked(cog, new, found=found)
    said = [[quote.text for quote in request.quotes] for request in turns.requests]
    assert said == [["a poem"]] * 4
    assert turns.requests[0].attachments == ()
    # Of its deletion we were told all the same.
    turns.taken_back.delete(70)
    submitted = await asked(cog, new, found=http_error(403, 50001))
    assert said_to(submitted)[0] == f"❌ {DELETED}"
    assert len(turns.requests) == 4


async def test_a_question_about_a_message_brings_its_words_and_pictures_as_its_authors() -> None:
    turns = ScriptedTurns()
    cog, lantern = talking(turns)
    submitted = await asked(cog, message_of("a poem", files=1))
    (request,) = turns.requests
    assert (request.text, request.user) == ("what is it?", UserId("discord:3"))
    (quote,) = request.quotes
    assert (quote.text, quote.user, quote.place) == ("a poem", "discord:2", request.place)
    (file,) = request.attachments
    # They leave with it.
    assert (file.name, file.message_id, quote.message_id) == ("cat0.png", "70", "70")
    shown = submitted.edit_original_response.await_args.kwargs["content"]
    assert "asked about https://discord.com/channels/5/7/70: what is it?" in shown
    assert await lantern.questions.left_open() == ()


async def test_a_message_of_a_server_without_the_bot_was_said_where_it_is_asked_about() -> None:
    turns, message = ScriptedTurns(), message_of("a poem")
    # Of such a server the library knows nothing but the message's channel.
    message.guild = None
    await asked(talking(turns)[0], message)
    (request,) = turns.requests
    assert request.place.server is not None
    assert [quote.place for quote in request.quotes] == [request.place]


async def test_a_picture_without_words_still_has_an_author_and_a_place() -> None:
    turns = ScriptedTurns()
    cog, _ = talking(turns)
    await asked(cog, message_of(files=2))
    (quote,) = turns.requests[0].quotes
    assert isinstance(quote, Quote)
    assert (quote.text, quote.place.channel) == ("[cat0.png] [cat1.png]", PlaceId("discord:7"))


async def test_a_question_about_an_answer_goes_on_from_it() -> None:
    turns = ScriptedTurns()
    cog, lantern = talking(turns)
    assert isinstance(lantern.replies, MemoryReplies)
    await lantern.replies.put("70", "7", TURN, 0)
    await asked(cog, message_of("Half", author=99))
    (request,) = turns.requests
    assert (request.parent, request.quotes) == (TURN, ())


@pytest.mark.parametrize(
    ("message", "text", "words"),
    [
        (message_of(), "what is it?", "nothing in that message"),
        (message_of("a poem"), " ", "message is empty"),
        (message_of("Half", author=99), "what is it?", "keep no answer behind that message"),
    ],
)
async def test_what_cannot_be_asked_is_said_to_whoever_asked(
    message: Any, text: str, words: str
) -> None:
    turns = ScriptedTurns()
    cog, _ = talking(turns)
    assert words in said_to(await asked(cog, message, text))[0]
    assert turns.requests == []
