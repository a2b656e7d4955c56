"""``/history``, ``/remember`` and ``/memories``: what is kept of a person, in their own hands."""

import asyncio
import io
import zipfile
from functools import partial
from typing import Any, Literal

import discord
from discord import app_commands
from discord.ext import commands

from bot.chat.history import (
    MOST_EXPORTED,
    NOTHING_KEPT,
    answers_to,
    asked_text,
    exported,
    kept_here,
)
from bot.chat.lantern import Lantern
from bot.chat.words import counted
from bot.domain.chat import Quote, Turn
from bot.domain.errors import RequestRefused
from bot.policy.markup import harmless
from bot.policy.memories import KEPT_HERE, MOST_FACTS, WAY_ROUND, checked_fact
from bot.policy.names import matching
from cogs._faults import say
from cogs._forgotten import ForgottenAnswers
from cogs._languages import told
from cogs._places import place_of, user_id
from cogs._reply import Replies

SHOWN = 10
_LINE_CHARS = 150

FORGET_HOW = """\
⚠ This deletes for good **your {questions}**, here and everywhere, with answers and files, what \
others quoted of you, your facts, and that you want pings. In answers to other people your words \
may still echo; those stay theirs. Backups lose them within 8 days. What stands in Discord stays \
there: delete it there. To do it: `/history forget sure:yes`."""
FORGOTTEN = """\
🗑 Forgotten: {questions} with all answers, and your facts. Backups follow within 8 days."""

ENDED = "Its question was forgotten."


class Memory(commands.Cog):
    """Shows, exports and forgets what a person said; keeps short facts they want kept."""

    history = app_commands.Group(name="history", description="What I keep of your words")

    def __init__(self, lantern: Lantern, replies: Replies, forgotten: ForgottenAnswers) -> None:
        self._lantern = lantern
        self._turns = lantern.turns
        self._people = lantern.people
        self._replies = replies
        self._forgotten = forgotten
        self._remembering = asyncio.Lock()

    @history.command(description="Your newest questions and how they were answered")
    @app_commands.describe(where="here: in this channel alone")
    async def show(
        self,
        interaction: discord.Interaction[Any],
        where: Literal["here", "everywhere"] = "here",
    ) -> None:
        """The newest first; only the asker sees them."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        user, place = user_id(interaction.user), place_of(interaction)
        here = place.conversation if where == "here" else None
        ids = await self._people.said(user, SHOWN, here)
        lines: list[str] = []
        for question in ids:
            for turn in (await answers_to(self._lantern, question))[:1]:
                lines.extend(_lines(turn, interaction.locale))
        none = told(f"I keep no question of yours {where}.", interaction.locale)
        await say(interaction, "\n".join(lines) or none, is_ours=False)

    @history.command(description="All your questions, answers and facts as a file")
    async def export(self, interaction: discord.Interaction[Any]) -> None:
        """JSON; packed where Discord would not take it."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        user = user_id(interaction.user)
        if (export := await exported(self._lantern, user)) is None:
            await say(interaction, NOTHING_KEPT)
            return
        count, data = export
        name, limit = "lantern-history.json", interaction.filesize_limit
        if len(data) > limit:
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(name, data)
            name, data = "lantern-history.zip", packed.getvalue()
        if len(data) > limit:
            raise RequestRefused("Your history is larger than Discord takes; ask Lantern's owner.")
        file = discord.File(io.BytesIO(data), name)
        await interaction.followup.send(
            told(f"📦 {counted(count, 'question')}.", interaction.locale),
            file=file,
            ephemeral=True,
        )

    @history.command(description="Delete your words here and everywhere, for good")
    @app_commands.describe(sure="yes: really; without it I say what would go")
    async def forget(
        self, interaction: discord.Interaction[Any], sure: Literal["yes", "no"] = "no"
    ) -> None:
        """Running answers to them are ended first."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        user = user_id(interaction.user)
        if sure != "yes":
            count = len(await self._people.said(user, MOST_EXPORTED))
            await say(interaction, FORGET_HOW.format(questions=counted(count, "question")))
            return
        # First: what they asked a moment ago may not be stored yet.
        self._turns.taken_back.forget(user, interaction.id)
        running = await self._people.running(user)
        self._replies.strip(running)
        await self._turns.end(running, ENDED)
        gone = await self._people.forget(user)
        await self._replies.pings.choose(user, is_on=False)
        done = FORGOTTEN.format(questions=counted(gone.questions, "question"))
        await say(interaction, NOTHING_KEPT if gone.is_nothing else done)
        # Their buttons would say that the answer is not stored any more, to whoever presses.
        self._forgotten.take(gone.shown)

    @app_commands.command(description="Have me remember a short fact about you")
    @app_commands.describe(fact="Told to whoever answers you, such as: I write Python 3.11")
    async def remember(self, interaction: discord.Interaction[Any], fact: str) -> None:
        """Kept with where it was said: a private one is told only where words stay here."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        user, place = user_id(interaction.user), place_of(interaction)
        at_ms = int(interaction.created_at.timestamp() * 1000)
        name = interaction.user.display_name
        # Of many said in one moment each counted those before them alone.
        async with self._remembering:
            known = [one.said for one in await self._people.facts(user)]
            text = checked_fact(fact, known)
            said = Quote(text, user, name, place, at_ms)
            is_kept = bool(await kept_here(self._lantern, (said,)))
            await self._people.remember(said)
        # What is remembered are their words, whatever they read like.
        lines = [*[f"-# {KEPT_HERE}: {WAY_ROUND}"] * is_kept]
        lines.append(f"-# `/memories` · room for {MOST_FACTS - len(known) - 1} more")
        tell = partial(told, locale=interaction.locale)
        head = f"{tell('🧠 Remembered:')} {text}"
        await say(interaction, "\n".join((head, *map(tell, lines))), is_ours=False)

    @app_commands.command(description="The facts I remember about you; forget one of them")
    @app_commands.describe(forget="Which one to forget")
    async def memories(
        self, interaction: discord.Interaction[Any], forget: int | None = None
    ) -> None:
        """Listed with their numbers."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        user = user_id(interaction.user)
        if forget is not None and not await self._people.drop(user, forget):
            raise RequestRefused(f"There is no fact {forget} of yours; `/memories` lists them.")
        facts = await self._people.facts(user)
        kept = await kept_here(self._lantern, (fact.said for fact in facts))
        lines = (
            [] if forget is None else [told(f"🧹 Fact {forget} is forgotten.", interaction.locale)]
        )
        lines += [
            f"`{fact.number}` {'🔒 ' * (fact.said in kept)}{fact.said.text}" for fact in facts
        ]
        lines += [told(f"-# {KEPT_HERE}.", interaction.locale)] * bool(kept)
        none = told("I remember nothing about you. `/remember` does.", interaction.locale)
        lines += [] if facts else [none]
        await say(interaction, "\n".join(lines), is_ours=False)

    @memories.autocomplete("forget")
    async def _facts(
        self, interaction: discord.Interaction[Any], typed: str
    ) -> list[app_commands.Choice[int]]:
        facts = await self._people.facts(user_id(interaction.user))
        known = {fact.number: (fact.said.text, str(fact.number)) for fact in facts}
        return [
            app_commands.Choice(name=known[number][0][:100], value=number)
            for number in matching(typed, known)
        ]


def _lines(turn: Turn, locale: object) -> tuple[str, str]:
    lines = (" ".join(text.split()) for text in (asked_text(turn), turn.reply_text))
    cut = ((line[:_LINE_CHARS].rstrip(), len(line) > _LINE_CHARS) for line in lines)
    asked, answered = (f"{harmless(line)}{' …' * is_cut}" for line, is_cut in cut)
    # Discord writes it in the reader's own zone and language.
    at = f"<t:{turn.created_at_ms // 1000}:f>"
    asked, answered = asked or told("(no words)", locale), answered or told("(no answer)", locale)
    return f"**{at}** {asked}", f"-# {answered}"
