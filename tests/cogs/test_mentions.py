"""Which messages are meant for the bot, what they say, where, and with which rights."""

from datetime import UTC, datetime, timedelta
from typing import Any

import discord
import pytest
from cogs_doubles import interaction_of
from stand_ins import double

from bot.domain.chat import Place
from bot.domain.ids import PlaceId
from cogs._mentions import is_mentioned, is_prompt, quote_of, said_late_ms, without_mentions
from cogs._places import DiscordRules, owners_of, place_of, user_id

ME, ALICE, BOB = 9, 1, 2


def person(key: int, name: str) -> Any:
    user = double(discord.Member)
    user.id, user.display_name, user.bot = key, name, False
    return user


def message_of(content: str, *, mentions: tuple[Any, ...] = (), **more: Any) -> Any:
    message = double(discord.Message)
    message.content, message.mentions, message.role_mentions = content, list(mentions), []
    message.author, message.webhook_id = person(ALICE, "Alice"), None
    message.type, message.reference = discord.MessageType.default, None
    message.created_at, message.guild = datetime(2026, 11, 20, 10, 15, tzinfo=UTC), None
    message.channel = double(discord.DMChannel)
    message.channel.id = 7
    for name, value in more.items():
        setattr(message, name, value)
    return message


def own_role(bot_id: int | None) -> Any:
    role = double(discord.Role)
    role.id = 77
    role.tags = double(discord.RoleTags)
    role.tags.bot_id = bot_id
    return role


@pytest.mark.parametrize(
    ("text", "said_"),
    [
        ("<@9> hello", "hello"),
        ("hello <@!9>", "hello"),
        ("<@&77> hello", "hello"),
        ("<@9> ask <@2> about it", "ask @Bob about it"),
        ("<@9> ask <@3>", "ask <@3>"),
        ("<@9>", ""),
        ("no mention at all", "no mention at all"),
    ],
)
def test_the_bots_own_mention_goes_and_others_become_names(text: str, said_: str) -> None:
    assert without_mentions(text, {9, 77}, {2: "Bob"}) == said_


def test_a_persons_words_are_prompts_and_everything_else_is_not() -> None:
    assert is_prompt(message_of("hello"))
    assert is_prompt(message_of("hello", type=discord.MessageType.reply))
    assert not is_prompt(message_of("x", type=discord.MessageType.pins_add))
    assert not is_prompt(message_of("x", webhook_id=5))
    bot = message_of("x")
    bot.author.bot = True
    assert not is_prompt(bot)


def test_the_role_discord_made_for_the_bot_means_the_bot() -> None:
    assert is_mentioned(message_of("<@9>", mentions=(person(ME, "Lantern"),)), ME)
    assert is_mentioned(message_of("<@&77>", role_mentions=[own_role(ME)]), ME)
    assert not is_mentioned(message_of("<@&77>", role_mentions=[own_role(8)]), ME)
    assert not is_mentioned(message_of("@everyone"), ME)


def test_a_quote_is_the_words_with_whose_they_are_and_where_and_when() -> None:
    earlier = message_of("The sky\nis green.")
    quote = quote_of(earlier, ME)
    assert quote is not None
    assert (quote.text, quote.user) == ("The sky\nis green.", user_id(earlier.author))
    assert quote.place == place_of(earlier)
    assert quote.said_at_ms == int(earlier.created_at.timestamp() * 1000)


def test_a_quote_names_people_instead_of_showing_their_ids() -> None:
    earlier = message_of("ask <@9> or <@!6>", mentions=(person(ME, "Lantern"), person(6, "Bob")))
    quote = quote_of(earlier, ME)
    assert quote is not None
    assert quote.text == "ask  or @Bob"


def test_a_friends_words_are_taken_along_as_theirs() -> None:
    earlier = message_of("A secret")
    earlier.author = person(BOB, "Bob")
    quote = quote_of(earlier, ME)
    assert quote is not None
    # By whose they are it is judged whether they may leave the LAN.
    assert (quote.text, quote.user, quote.user_name) == ("A secret", "discord:2", "Bob")


def test_the_bots_own_words_are_not_taken_along() -> None:
    earlier = message_of("A secret")
    earlier.author = person(ME, "Lantern")
    assert quote_of(earlier, ME) is None
    assert quote_of(message_of("<@9>"), ME) is None


def test_a_personas_words_are_an_answer_of_ours_and_another_programs_are_not() -> None:
    earlier = message_of("A secret", webhook_id=5, application_id=ME)
    earlier.author = person(5, "Sage")
    assert quote_of(earlier, ME) is None
    earlier.application_id = 6
    assert quote_of(earlier, ME) is not None


def test_only_words_heard_late_tell_when_they_were_said() -> None:
    now = discord.utils.utcnow()
    assert said_late_ms(message_of("x", created_at=now)) is None
    away = now - timedelta(seconds=6)
    assert said_late_ms(message_of("x", created_at=away)) == int(away.timestamp() * 1000)


def test_places_are_told_apart() -> None:
    thread = double(discord.Thread)
    thread.id, thread.parent_id = 71, 7
    guild = double(discord.Guild)
    guild.id = 5
    in_thread = message_of("x", channel=thread, guild=guild)
    channel, server = PlaceId("discord:7"), PlaceId("discord:5")
    assert place_of(in_thread) == Place(channel, PlaceId("discord:71"), server)
    assert place_of(interaction_of()) == Place(channel, None, server)
    assert place_of(interaction_of(guild=None)) == Place(channel, is_private=True)
    # In a group of friends others read along.
    group = interaction_of(guild=None)
    group.context.private_channel = True
    assert place_of(group) == Place(channel)


@pytest.mark.parametrize(
    ("interaction", "may"),
    [
        (interaction_of(1), False),
        (interaction_of(1, manages=True), True),
        (interaction_of(1, roles=((30, "Keepers"),)), True),
        (interaction_of(1, roles=((31, "31"),)), True),
        (interaction_of(1, roles=((32, "Others"),)), False),
        (interaction_of(42), True),
        (interaction_of(42, guild=None), True),
        (interaction_of(1, guild=None, manages=True), False),
    ],
)
def test_admins_are_managers_named_roles_and_the_owner(interaction: Any, may: bool) -> None:
    rules = DiscordRules(admin_roles=frozenset({"Keepers", "31"}))
    assert rules.is_admin(interaction) is may


def test_a_bot_belongs_to_its_owner_or_to_its_whole_team() -> None:
    application = double(discord.AppInfo)
    application.owner, application.team = person(42, "Owner"), None
    assert owners_of(application) == {42}
    application.team = double(discord.Team)
    application.team.members = [person(43, "One"), person(44, "Two")]
    assert owners_of(application) == {43, 44}
    assert owners_of(None) == frozenset()
