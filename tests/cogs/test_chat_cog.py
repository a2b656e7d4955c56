"""Messages and ``/chat`` become turns; what cannot be answered is said."""

import asyncio
from dataclasses import replace
from typing import Any
from unittest.mock import AsyncMock

import discord
import pytest
from cogs_doubles import (
    FINISHED,
    READERS,
    STARTED,
    TURN,
    MemoryNotes,
    MemoryQuestions,
    MemoryReplies,
    ScriptedTurns,
    double,
    give,
    http_error,
    interaction_of,
    lantern_of,
    partial_channel,
    settings_of,
)
from test_mentions import ME, message_of, person
from virtual_time import play

from bot.chat.place_settings import Configured
from bot.chat.switch import Explanation
from bot.domain.chat import Asker, Place
from bot.domain.errors import (
    NotPermitted,
    QuestionDeleted,
    RequestRefused,
    StoreUnavailable,
    TokensSpent,
    UnknownName,
)
from bot.domain.events import Failed, TextDelta
from bot.domain.ids import PersonaName, PlaceId, TurnId, UserId
from bot.domain.personas import Persona
from bot.policy.access import AccessRules
from bot.policy.context import GREET_TEXT
from bot.policy.pacing import CREATION, Pacers
from bot.policy.ratelimit import RateRule
from cogs._access import Access
from cogs._places import DiscordRules, may_write
from cogs._readers import Readers
from cogs._reply import Replies
from cogs._webhooks import Webhooks
from cogs.chat import HELD, HOW_TO_ASK, MUTE, UNREADABLE, Chat


class House:
    """The chat cog over scripted turns, in a channel on paper."""

    def __init__(
        self,
        turns: ScriptedTurns | None = None,
        *,
        rules: DiscordRules | None = None,
        store: MemoryReplies | None = None,
    ) -> None:
        self.turns = turns or ScriptedTurns()
        self.lantern = replace(lantern_of(self.turns), replies=store or MemoryReplies())
        self.channel = partial_channel()
        client = double(discord.Client)
        client.application = None
        client.user = person(ME, "Lantern")
        client.get_partial_messageable.return_value = self.channel
        self.client = client
        replies = Replies(self.lantern)
        assert isinstance(self.lantern.questions, MemoryQuestions)
        self.questions = self.turns.questions = self.lantern.questions
        access, plain = Access(rules or DiscordRules()), Webhooks()
        self.readers = Readers(MemoryNotes())
        self.cog = Chat(client, self.lantern, access, replies, Pacers(), plain, self.readers)

    def message(self, content: str, *, is_mention: bool = False, **more: Any) -> Any:
        mentions = (self.client.user,) if is_mention else ()
        message = message_of(content, mentions=mentions, **more)
        message.id, message.attachments = 41, more.get("attachments", [])
        if "guild" not in more:
            message.guild = double(discord.Guild)
            message.guild.id = 5
        message.channel = double(discord.TextChannel)
        message.channel.id, message.message_snapshots = 7, []
        return message

    @property
    def sent(self) -> list[str]:
        return [call.args[0] for call in self.channel.send.await_args_list]


def reply_to(message_id: int, channel: int = 7, **more: Any) -> Any:
    reference = double(discord.MessageReference)
    reference.message_id, reference.channel_id, reference.resolved = message_id, channel, None
    reference.type = more.get("type", discord.MessageReferenceType.default)
    return reference


async def test_a_mention_is_answered_in_the_channel() -> None:
    house = House()
    await house.cog.on_message(house.message("<@9> hello", is_mention=True))
    (request,) = house.turns.requests
    assert (request.text, request.user, request.user_name) == ("hello", "discord:1", "Alice")
    assert request.place.conversation == PlaceId("discord:7")
    assert house.sent[0].startswith("hi")
    assert house.channel.send.await_args.kwargs["reference"].message_id == 41


@pytest.mark.parametrize("is_deleted", [True, False])
async def test_a_question_that_was_deleted_at_once_gets_no_words(*, is_deleted: bool) -> None:
    refused = (QuestionDeleted if is_deleted else RequestRefused)("No.")
    house = House(ScriptedTurns((Failed(None, refused),)))
    await house.cog.on_message(house.message("<@9> hello", is_mention=True))
    assert house.sent == ([] if is_deleted else ["❌ No."])
    assert await house.lantern.questions.left_open() == ()


async def test_a_direct_message_needs_no_mention() -> None:
    house = House()
    await house.cog.on_message(house.message("hello", guild=None))
    assert house.turns.requests[0].place.is_private


async def test_a_direct_message_is_answered_in_the_language_its_writer_has_pressed_in() -> None:
    house = House(ScriptedTurns((STARTED, TextDelta("hi"), FINISHED)))
    house.client.get_channel.return_value = None
    await house.cog.on_message(house.message("hello", guild=None))
    press = interaction_of(guild=None)
    press.locale = discord.Locale.german
    await house.readers.hear(press)
    second = house.message("hello", guild=None)
    second.id = 42
    await house.cog.on_message(second)
    assert "to first token" in house.sent[0]
    assert "bis zum ersten Token" in house.sent[1]


async def test_talk_among_people_is_not_answered() -> None:
    house = House()
    await house.cog.on_message(house.message("hello everybody"))
    await house.cog.on_message(house.message("yes", reference=reply_to(12345)))
    assert house.turns.requests == []


async def test_a_reply_to_an_answer_branches_from_its_turn_even_without_a_ping() -> None:
    house = House()
    await house.lantern.replies.put("300", "7", TURN, 0)
    await house.cog.on_message(house.message("and then?", reference=reply_to(300)))
    assert house.turns.requests[0].parent == TURN


async def test_a_forward_or_a_reference_from_elsewhere_is_no_reply() -> None:
    house = House()
    await house.lantern.replies.put("300", "7", TURN, 0)
    forward = reply_to(300, type=discord.MessageReferenceType.forward)
    for reference in (forward, reply_to(300, channel=8)):
        await house.cog.on_message(house.message("view", reference=reference))
    assert house.turns.requests == []


async def test_bots_and_the_bot_itself_are_not_heard() -> None:
    house = House()
    message = house.message("<@9> hello", is_mention=True)
    message.author.bot = True
    await house.cog.on_message(message)
    assert house.turns.requests == []


def greeted_by(house: House, persona: Persona) -> None:
    explanation = double(Explanation)
    explanation.persona = persona
    switch: Any = house.lantern.switch
    switch.explain.return_value = explanation


async def test_a_bare_mention_asks_for_the_greeting_of_who_answers_here() -> None:
    house = House()
    greeted_by(house, Persona(PersonaName("sage"), greeting="Ask me anything."))
    await house.cog.on_message(house.message("<@9>", is_mention=True))
    (request,) = house.turns.requests
    assert request.text == GREET_TEXT


async def test_who_has_no_greeting_tells_how_to_ask() -> None:
    house = House()
    greeted_by(house, Persona(PersonaName("sage#0123abcd")))
    await house.cog.on_message(house.message("<@9>", is_mention=True))
    assert house.turns.requests == []
    assert house.sent == [f"👋 I'm **sage**. {HOW_TO_ASK}"]
    assert house.channel.send.await_args.kwargs["reference"].message_id == 41
    assert "allowed_mentions" not in house.channel.send.await_args.kwargs  # the client's own: none
    assert house.turns.requests == []
    assert house.questions.open == {}


async def test_a_reply_whose_words_discord_hides_is_told_to_ping() -> None:
    house = House()
    house.client.intents.message_content = False
    await house.lantern.replies.put("300", "7", TURN, 0)
    await house.cog.on_message(house.message("", reference=reply_to(300)))
    assert house.sent == [UNREADABLE]
    assert house.turns.requests == []


async def test_a_server_that_is_not_allowed_is_told_so() -> None:
    house = House(rules=DiscordRules(doors=AccessRules(servers={PlaceId("discord:99")})))
    message = house.message("<@9> hello", is_mention=True)
    await house.cog.on_message(message)
    assert "does not answer in this server" in house.sent[0]


async def test_who_asks_too_fast_is_told_once_how_long_to_wait() -> None:
    house = House(rules=DiscordRules(rate=RateRule(2, 60.0)))
    for number in range(6):
        message = house.message("<@9> hello", is_mention=True)
        message.id = 41 + number
        await house.cog.on_message(message)
    assert len(house.turns.requests) == 2
    (told,) = house.sent[2:]
    assert told == (
        "❌ Slow down: each person may ask 2 questions in 60 s. "
        "Wait 30 s; what you ask until then is not answered. "
        "The bot's owner can change that (`discord.rate_limit`)."
    )
    assert house.questions.open == {}


async def test_a_command_given_too_fast_is_told_each_time() -> None:
    house = House(rules=DiscordRules(rate=RateRule(1, 60.0)))
    await give(house.cog.chat, house.cog, interaction_of(), "hello", None, None, None)
    for _ in range(2):
        with pytest.raises(RequestRefused, match="Slow down"):
            await give(house.cog.chat, house.cog, interaction_of(), "hello", None, None, None)
    assert len(house.turns.requests) == 1


async def test_a_store_that_cannot_be_read_is_said_where_the_question_was() -> None:
    class NoStore(MemoryReplies):
        async def turn_of(self, message_id: str) -> TurnId | None:
            raise StoreUnavailable("The database cannot be read.")

    house = House(store=NoStore())
    message = house.message("go on", reference=reply_to(300))
    await house.cog.on_message(message)
    assert house.sent[0] == "❌ The database cannot be read."


@pytest.mark.parametrize("is_noted", [True, False])
async def test_a_thread_is_talked_in_though_its_question_left_before_the_first_words(
    *, is_noted: bool
) -> None:
    house = House()
    house.turns.store.asked["71"] = TURN
    thread: Any = double(discord.Thread)
    thread.id, thread.owner_id, thread.parent = 71, 5, double(discord.TextChannel)
    thread.parent.fetch_message.side_effect = http_error(404)
    if is_noted:
        await house.cog.on_thread_create(thread)
    house.turns.store.asked.clear()
    message = house.message("and then?")
    message.channel = thread
    await house.cog.on_message(message)
    assert len(house.turns.requests) == is_noted


async def test_a_thread_that_cannot_be_noted_breaks_nothing() -> None:
    class NoStore(MemoryReplies):
        async def turn_of(self, message_id: str) -> TurnId | None:
            raise StoreUnavailable("The database cannot be read.")

    thread: Any = double(discord.Thread)
    thread.id, thread.owner_id = 71, 5
    await House(store=NoStore()).cog.on_thread_create(thread)


async def test_where_not_even_the_refusal_can_be_said_nothing_breaks() -> None:
    house = House()
    message = house.message("<@9>", is_mention=True)
    house.channel.send.side_effect = http_error(403, 50013)
    greeted_by(house, Persona(PersonaName("sage")))
    await house.cog.on_message(message)
    assert house.questions.open == {}


def sent_at(house: House, faults: int = 0) -> list[float]:
    """When messages will have been sent, the first of them so often in vain."""
    at, made = list[float](), house.channel.send.side_effect

    def send(*_: object, **__: object) -> object:
        at.append(asyncio.get_running_loop().time())
        if len(at) <= faults:
            raise http_error(503)
        return next(made)

    house.channel.send.side_effect = send
    return at


@pytest.mark.parametrize(("faults", "left"), [(3, []), (99, ["41"])])
def test_a_hint_that_discord_does_not_take_is_tried_again_and_then_left_to_the_next_start(
    faults: int, left: list[str]
) -> None:
    async def story() -> House:
        house = House()
        sent_at(house, faults)
        greeted_by(house, Persona(PersonaName("sage")))
        await house.cog.on_message(house.message("<@9>", is_mention=True))
        return house

    house = play(story())
    assert list(house.questions.open) == left
    # Of all tries the nonce leaves one message.
    assert {call.kwargs["nonce"] for call in house.channel.send.await_args_list} == {"41.0"}


def test_hints_and_refusals_count_among_a_channels_new_messages() -> None:
    async def story() -> tuple[House, list[float]]:
        house = House()
        at = sent_at(house)
        greeted_by(house, Persona(PersonaName("sage")))
        async with asyncio.TaskGroup() as group:
            for number in range(12):
                words = "<@9>" if number % 2 else f"<@9> {'long' * 9000}"
                message = house.message(words, is_mention=True)
                message.id = 41 + number
                group.create_task(house.cog.on_message(message))
        return house, at

    house, at = play(story())
    assert sorted(words[0] for words in house.sent) == ["❌"] * 6 + ["👋"] * 6
    assert all(after - at > CREATION.window_s for at, after in zip(at, at[5:], strict=False))
    assert house.questions.open == {}


async def test_a_message_delivered_twice_is_answered_once() -> None:
    house = House()
    message = house.message("<@9> hello", is_mention=True)
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(house.cog.on_message(message))
    await house.cog.on_message(message)
    assert len(house.turns.requests) == len(house.sent) == 1


async def test_a_message_that_a_lantern_before_this_one_heard_is_not_answered_again() -> None:
    house = House()
    await house.questions.hear("41", "7", None)
    await house.cog.on_message(house.message("<@9> hello", is_mention=True))
    assert house.sent == []


async def test_a_question_is_noted_before_anything_is_shown_and_closed_after_the_end() -> None:
    house = House()
    seen: list[object] = []

    async def send(*_: object, **__: object) -> object:
        seen.extend((question.id, question.turn) for question in house.questions.open.values())
        return double(discord.Message)

    house.channel.send.side_effect = send
    await house.cog.on_message(house.message("<@9> hello", is_mention=True))
    assert seen == [("41", TURN)]
    assert house.questions.open == {}


async def test_a_disk_that_takes_no_note_silences_nobody() -> None:
    house = House()
    house.questions.hear = AsyncMock(side_effect=StoreUnavailable("The disk is full."))
    house.questions.close = AsyncMock(side_effect=StoreUnavailable("The disk is full."))
    await house.cog.on_message(house.message("<@9> hello", is_mention=True))
    assert house.sent[0].startswith("hi")


async def test_the_command_is_a_turn_with_its_options() -> None:
    house, interaction = House(), interaction_of()
    await give(house.cog.chat, house.cog, interaction, "hello", "sage", "auto", None)
    (request,) = house.turns.requests
    assert (request.text, request.persona, request.model) == ("hello", "sage", "auto")
    interaction.response.defer.assert_awaited_once_with(thinking=True)
    assert interaction.edit_original_response.await_args.kwargs["content"].startswith("hi")


async def test_the_command_defers_before_it_reads_a_file() -> None:
    house, interaction = House(), interaction_of()
    file = double(discord.Attachment)
    file.filename, file.content_type, file.size = "x.txt", "text/plain", 5

    async def read() -> bytes:
        assert interaction.response.defer.await_count == 1
        return b"words"

    file.read = read
    await give(house.cog.chat, house.cog, interaction, "view", None, None, file)
    assert house.turns.requests[0].attachments[0].text == "words"


@pytest.mark.parametrize(
    ("option", "typed", "value"),
    [("persona", "sa", "sage"), ("model", "gem", "google/gemma-3-12b")],
)
async def test_persona_and_model_are_offered_while_typing(
    option: str, typed: str, value: str
) -> None:
    cog: Any = House().cog
    assert cog.chat.get_parameter(option).autocomplete
    offer = cog._personas if option == "persona" else cog._models
    assert [choice.value for choice in await offer(interaction_of(), typed)] == [value]


async def test_a_question_may_say_its_kind_and_want_a_new_answer() -> None:
    house = House()
    kind = "teach"
    await give(house.cog.chat, house.cog, interaction_of(), "hello", None, None, None, kind, True)
    (request,) = house.turns.requests
    assert (request.request_type, request.no_cache) == ("teaching", True)
    with pytest.raises(UnknownName, match="quick"):
        await give(
            house.cog.chat, house.cog, interaction_of(), "hello", None, None, None, "quik", False
        )
    assert len(house.turns.requests) == 1


@pytest.mark.parametrize(("user", "is_taken"), [(42, True), (1, False)])
async def test_anybody_may_let_others_go_first_and_admins_alone_go_before_them(
    user: int, *, is_taken: bool
) -> None:
    house = House()
    rest = (None, None, None, None, False)
    await give(house.cog.chat, house.cog, interaction_of(user), "hello", *rest, "low")
    assert [request.priority for request in house.turns.requests] == ["low"]
    urgent = give(house.cog.chat, house.cog, interaction_of(user), "hello", *rest, "high")
    if is_taken:
        await urgent
        assert house.turns.requests[-1].priority == "high"
    else:
        with pytest.raises(NotPermitted, match="before others"):
            await urgent


async def test_in_an_open_channel_one_without_tokens_is_told_once_and_then_shown_a_sign() -> None:
    house = House()
    settings = settings_of(Configured(unprompted=frozenset({PlaceId("discord:7")})), used=100)
    here = replace(house.lantern, place_settings=settings)
    rules = DiscordRules(here=settings.at)
    house.client.intents.message_content = True
    access, plain = Access(rules), Webhooks()
    replies = Replies(here)
    cog = Chat(house.client, here, access, replies, Pacers(), plain, READERS)
    admin = Asker(UserId("discord:2"), is_admin=True)
    place = Place(PlaceId("discord:7"), server=PlaceId("discord:5"))
    await settings.change(place, "server", {"tokens_per_day": ["100"]}, admin)
    signs: list[str] = []
    for nth in range(3):
        message = house.message(f"question {nth}")
        message.id = 41 + nth
        message.add_reaction = AsyncMock(side_effect=signs.append)
        await cog.on_message(message)
    assert ["tokens for today" in said for said in house.sent] == [True]
    assert signs == [HELD, HELD]
    # Where reactions are not permitted it stays silent.
    message = house.message("question 4")
    message.id, message.add_reaction = 49, AsyncMock(side_effect=http_error(403, 50013))
    await cog.on_message(message)
    assert len(house.sent) == 1
    assert house.turns.requests == []
    # Who asks by name is told by the turn, each time.
    message = house.message("<@9> and now?", is_mention=True)
    message.id = 50
    await cog.on_message(message)
    assert len(house.turns.requests) == 1


async def test_who_asks_too_fast_is_told_once_and_then_shown_a_sign_at_a_time() -> None:
    house = House(rules=DiscordRules(rate=RateRule(1, 60.0)))
    signs, is_signed, may_go = list[str](), asyncio.Event(), asyncio.Event()

    async def sign(shown: str) -> None:
        signs.append(shown)
        is_signed.set()
        await may_go.wait()

    async def ask(nth: int) -> None:
        message = house.message(f"<@9> question {nth}", is_mention=True)
        message.id, message.add_reaction = 41 + nth, sign
        await house.cog.on_message(message)

    await ask(0)
    await ask(1)
    async with asyncio.TaskGroup() as group:
        group.create_task(ask(2))
        await is_signed.wait()
        # While one sign is being set no other is: Discord takes four a second.
        await ask(3)
        await ask(4)
        may_go.set()
    assert len(house.turns.requests) == 1
    assert ["Slow down" in said for said in house.sent] == [False, True]
    assert signs == [HELD]
    await ask(5)
    assert signs == [HELD, HELD]


@pytest.mark.parametrize("fault", [http_error(403, 50013), http_error(404, 10003)])
async def test_where_nothing_may_be_sent_the_question_gets_a_sign(fault: Exception) -> None:
    house = House()
    house.channel.send.side_effect = fault
    message = house.message("<@9> hello", is_mention=True)
    message.add_reaction = AsyncMock()
    await house.cog.on_message(message)
    # Of a channel that is gone there is nobody to tell.
    is_told = isinstance(fault, discord.Forbidden)
    assert [call.args for call in message.add_reaction.await_args_list] == [(MUTE,)] * is_told


@pytest.mark.parametrize(
    ("is_thread", "permissions", "may"),
    [
        (False, {"send_messages_in_threads": True}, False),
        (False, {"send_messages": True}, True),
        (True, {"send_messages": True}, False),
        (True, {"send_messages_in_threads": True}, True),
        # A persona speaks by a webhook, which needs no other permission.
        (False, {"manage_webhooks": True}, True),
    ],
)
def test_what_may_be_written_is_known_by_the_channel(
    permissions: dict[str, bool], *, is_thread: bool, may: bool
) -> None:
    home, me = double(discord.TextChannel), double(discord.Member)
    home.permissions_for.return_value = discord.Permissions(**permissions)
    thread = double(discord.Thread)
    thread.parent = home
    channel = thread if is_thread else home
    assert may_write(channel, me) is may
    home.permissions_for.assert_called_once_with(me)
    # What is not known is found out by sending.
    assert may_write(channel, None)
    assert may_write(double(discord.PartialMessageable), me)


@pytest.mark.parametrize("may", [True, False])
async def test_where_it_is_known_that_nothing_may_be_sent_nobody_is_asked(*, may: bool) -> None:
    house = House()
    message = house.message("<@9> hello", is_mention=True)
    permissions = discord.Permissions(send_messages=may)
    message.channel.permissions_for.return_value = permissions
    message.add_reaction = AsyncMock()
    await house.cog.on_message(message)
    message.channel.permissions_for.assert_called_once_with(message.guild.me)
    assert (len(house.turns.requests), len(house.sent)) == (may, may)
    signs = [call.args for call in message.add_reaction.await_args_list]
    assert signs == ([] if may else [(MUTE,)])
    assert await house.lantern.questions.left_open() == ()


async def test_whose_tokens_were_spent_while_a_question_waited_was_told_by_its_reply() -> None:
    spent = TokensSpent("You have used your tokens for today.", 600.0)
    house = House(ScriptedTurns((STARTED, Failed(TURN, spent))))
    await house.cog.on_message(house.message("<@9> hello", is_mention=True))
    access = house.cog._access  # pyright: ignore[reportPrivateUsage]  # what it remembers
    place = Place(PlaceId("discord:7"), server=PlaceId("discord:5"))
    assert access.knows_spent(UserId("discord:1"), place, 1.0)
    assert not access.knows_spent(UserId("discord:2"), place, 1.0)


async def test_who_was_told_of_spent_tokens_is_told_again_the_next_day_and_elsewhere() -> None:
    access = Access(DiscordRules())
    here, other = (Place(PlaceId("discord:7"), server=PlaceId(s)) for s in ("a", "b"))
    alice, bob = UserId("discord:1"), UserId("discord:2")
    assert not access.knows_spent(alice, here, 60.0)
    assert access.knows_spent(alice, here, 60.0)
    assert not access.knows_spent(bob, here, 0.0)
    assert not access.knows_spent(bob, here, 60.0)
    assert not access.knows_spent(alice, other, 60.0)
