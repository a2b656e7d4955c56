"""Commands and the bot's words in other languages: all of them, within Discord's limits."""

import re
from collections.abc import AsyncGenerator, Iterator
from typing import Any, cast
from unittest.mock import AsyncMock

import discord
import pytest
from cogs_doubles import interaction_of, lantern_of, said_to
from discord import Locale, app_commands

from cogs._faults import say
from cogs._languages import COLUMNS, CommandNames, public_locale, tables, told
from cogs._tree import command_hash
from cogs._view import _FACES, Act, MessageView, buttons_of  # pyright: ignore[reportPrivateUsage]  # every label
from cogs.client import DiscordFace, DiscordRules, LanternBot

LANGUAGES = sorted(set(COLUMNS.values()))
NAME = re.compile(r"[-_'\w]{1,32}")
"""As Discord's documents have it: letters, digits, and these three signs."""


@pytest.fixture
async def commands() -> AsyncGenerator[list[dict[str, Any]]]:
    bot = LanternBot(DiscordFace(lantern_of(), DiscordRules()), reads_content=True)
    bot.tree.sync = AsyncMock(return_value=[])
    bot.http.get_bot_gateway = AsyncMock(return_value=(1, "", None))
    await bot.setup_hook()
    names = CommandNames()
    yield [await c.get_translated_payload(bot.tree, names) for c in bot.tree.get_commands()]
    await bot.close()


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A command, what is in it, and the choices of its options."""
    yield node
    for inside in (*node.get("options", ()), *node.get("choices", ())):
        yield from nodes(inside)


def read(node: dict[str, Any], what: str, locale: str) -> str:
    return node.get(f"{what}_localizations", {}).get(locale) or node.get(what, "")


async def test_every_command_option_and_choice_has_every_language(
    commands: list[dict[str, Any]],
) -> None:
    texts = {
        node[what]
        for command in commands
        for node in nodes(command)
        for what in ("name", "description")
        if node.get(what)
    }
    known = tables()["commands"]
    missing = sorted(text for text in texts if text not in known)
    assert missing == [], "needs a line under [commands] in cogs/languages.toml"
    # A line is whole or empty: what reads alike everywhere, as a file's ending does.
    partial = [text for text, said in known.items() if said and sorted(said) != LANGUAGES]
    assert partial == []


async def test_names_and_descriptions_keep_discords_rules_in_every_language(
    commands: list[dict[str, Any]],
) -> None:
    for command in commands:
        is_menu = command["type"] != 1
        for locale in COLUMNS:
            for node in nodes(command):
                name = read(node, "name", locale)
                is_choice = "value" in node
                if is_choice or is_menu:
                    assert 1 <= len(name) <= (100 if is_choice else 32), name
                else:
                    assert NAME.fullmatch(name), name
                    assert name == name.lower()
                    assert 1 <= len(read(node, "description", locale)) <= 100, name
                for kind in ("options", "choices"):
                    inside = [read(each, "name", locale) for each in node.get(kind, ())]
                    assert len(set(inside)) == len(inside), (name, inside)
    for locale in COLUMNS:
        names = [(command["type"], read(command, "name", locale)) for command in commands]
        assert len(set(names)) == len(names), locale


async def test_no_command_is_longer_than_discord_takes_in_its_longest_language(
    commands: list[dict[str, Any]],
) -> None:
    def size(node: dict[str, Any]) -> int:
        longest = sum(
            max(len(read(node, what, locale)) for locale in ("en-US", *COLUMNS))
            for what in ("name", "description")
        )
        inside = (*node.get("options", ()), *node.get("choices", ()))
        return longest + len(str(node.get("value", ""))) + sum(map(size, inside))

    assert max(map(size, commands)) <= 8000


async def test_every_language_reads_its_column() -> None:
    context: Any = None
    names = {
        locale: await CommandNames().translate(app_commands.locale_str("chat"), locale, context)
        for locale in Locale
    }
    assert {str(locale): name for locale, name in names.items() if name} == {
        "de": "chat", "es-ES": "charlar", "es-419": "charlar", "fr": "discuter",
        "ja": "チャット", "pt-BR": "conversar",
    }  # fmt: skip


async def test_a_language_that_changes_is_announced_like_any_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def nothing(interaction: discord.Interaction) -> None: ...

    tree = LanternBot(DiscordFace(lantern_of(), DiscordRules()), reads_content=True).tree
    command: Any = app_commands.Command(name="help", description="x", callback=nothing)  # pyright: ignore[reportUnknownVariableType]  # of no cog
    tree.add_command(command)
    before = await command_hash(tree)
    assert await command_hash(tree) == before
    monkeypatch.setitem(cast("dict[str, Any]", tables()["commands"]), "help", {"de": "hülfe"})
    assert await command_hash(tree) != before


# --- the bot's own words ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("english", "german"),
    [
        ("Nothing is being answered here.", "Hier wird gerade nichts beantwortet."),
        ("⏹ Stopped 3 answers.", "⏹ 3 Antworten gestoppt."),
        ("⏹ Stopped  answers.", "⏹ Stopped  answers."),
        (
            "🔒 Your words: local only, never sent to a cloud provider.",
            "🔒 Deine Worte: nur lokal, geht nie in eine Cloud.",
        ),
        ("**You**\nx\n**This server**", "**Du**\nx\n**Dieser Server**"),
        ("What nobody has put into German.", "What nobody has put into German."),
        ("Model: {} (x)", "Modell: {} (x)"),
        ("", ""),
    ],
)
def test_words_are_told_in_german_and_stay_english_where_there_are_none(
    english: str, german: str
) -> None:
    assert told(english, Locale.german) == german
    assert told(english, Locale.american_english) == english
    assert told(english, Locale.french) == english
    assert told(english, None) == english


def test_a_line_with_gaps_keeps_all_of_them() -> None:
    for text, said in tables()["words"].items():
        for column, words in said.items():
            assert column in LANGUAGES
            assert text.count("{}") == words.count("{}") <= 1, text
            assert words.strip()


async def test_a_person_reads_their_own_language_and_models_keep_their_words() -> None:
    interaction = interaction_of()
    interaction.locale = Locale.german
    await say(interaction, "Nothing is being answered here.")
    await say(interaction, "Nothing is being answered here.", is_ours=False)
    assert said_to(interaction) == [
        "Hier wird gerade nichts beantwortet.",
        "Nothing is being answered here.",
    ]


@pytest.mark.parametrize(
    ("guild", "is_group", "locale"),
    [(5, False, Locale.french), (None, False, Locale.german), (None, True, None)],
)
async def test_what_everybody_reads_is_in_the_language_of_its_place(
    guild: int | None, is_group: bool, locale: Locale | None
) -> None:
    interaction = interaction_of(guild=guild)
    interaction.locale, interaction.guild_locale = Locale.german, Locale.french
    interaction.context.private_channel = is_group
    assert public_locale(interaction) is locale
    await say(interaction, "Nothing is being answered here.", ephemeral=False)
    is_german = locale is Locale.german
    assert (said_to(interaction) == ["Hier wird gerade nichts beantwortet."]) is is_german


def test_every_button_has_a_german_word_and_keeps_what_it_does() -> None:
    acts = tuple(act for act in _FACES if _FACES[act][0])
    message = MessageView("x", acts, "ab12")

    def labels(locale: object) -> list[tuple[Any, Any]]:
        view: Any = buttons_of(message, locale)
        return [(child.item.label, child.item.custom_id) for child in view.children]

    english, german = labels(None), labels(Locale.german)
    assert [custom_id for _, custom_id in german] == [custom_id for _, custom_id in english]
    same = [here for (here, _), (there, _) in zip(english, german, strict=True) if here == there]
    assert same == [], "needs a line under [words] in cogs/languages.toml"
    own = MessageView("x", (Act.CLOUD,), "ab12", labels=((Act.CLOUD, "☁ zai · 1 ct"),))
    view: Any = buttons_of(own, Locale.german)
    assert view.children[0].item.label == "☁ zai · 1 ct"
