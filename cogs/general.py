"""``/stop``, ``/reset``, ``/why``, ``/usage`` and ``/help``."""

from typing import Any, Literal

import discord
from discord import app_commands
from discord.ext import commands

from bot.chat import words
from bot.chat.lantern import Lantern
from cogs._faults import say
from cogs._languages import told
from cogs._places import DiscordRules, place_of, user_id

NOT_YOURS = "❌ Only the person who asked, or an admin, may stop that answer."

HELP = """\
**Talk:** mention me, reply to one of my messages (an older one starts a branch there), write \
to me in a direct message, or use `/chat`. Text files and images can be attached.
**Choose:** `/model` and `/persona` show what answers here and why; with a name they switch. \
`scope` says for whom: `me`, `channel`, `server`.
**Threads:** `/thread` opens one in which I answer every message, as I do in threads opened on my \
answers; name somebody else to talk among yourselves.
**Again:** `/retry` and `/continue` do what the buttons under the last answer do; ◀ ▶ look through \
the answers to one question, and the one shown is gone on from. A message's menu (Apps) has **Ask \
about this**, **Retry** and **Continue**.
**Personas:** `/personas create` makes one by a form, `import` takes SillyTavern cards and LM \
Studio presets; `list`, `show`, `edit`, `delete`, `export`. My name alone, or `/greet`, asks \
for a greeting.
**Memory:** `/remember` keeps a fact about you, `/memories` lists them; `/history` shows, exports \
and forgets what you said.
**General:** `/stop` stops your answer, `/reset` starts a fresh conversation, `/why` tells how the \
last answer was routed and where the time went.
**Hosts:** `/fleet status` shows every LM Studio host, `/fleet models` every model. For admins: \
`load`, `unload`, `pin`, `drain`, which gives a machine back to its owner, and `board`, a message \
that always shows them.
**Money and privacy:** `/usage` shows tokens, cost and the budget left; `/settings` keeps your \
words, a channel's or a server's on the LAN. For admins it is a panel: who answers, where without \
a mention, who may choose, load and manage, and how much each person may ask.
Under an answer: **Stop** while it is written; then **Retry**, **Other model**, **Continue** and \
**Thoughts**."""

UNREAD = (
    "-# Without my permission to read message content I only see messages that mention me, direct "
    "messages and commands."
)
"""The last line of it where that permission is missing."""

FRESH = "🧹 A fresh conversation starts here. Replying to an older answer goes on from that one."


class General(commands.Cog):
    """The small commands."""

    def __init__(self, lantern: Lantern, rules: DiscordRules) -> None:
        self._turns = lantern.turns
        self._usage = lantern.usage
        self._settings = lantern.place_settings
        self._rules = rules

    @app_commands.command(description="Stop the answer being written here")
    async def stop(self, interaction: discord.Interaction[Any]) -> None:
        """Stops the asker's turns here; everybody's when an admin says so."""
        place = place_of(interaction)
        is_admin = self._rules.is_admin(interaction)
        count = self._turns.stop(
            place.conversation, None if is_admin else user_id(interaction.user)
        )
        if count:
            await say(interaction, f"⏹ Stopped {count} answer{'s' if count > 1 else ''}.")
        elif self._turns.running(place.conversation):
            await say(interaction, NOT_YOURS)
        else:
            await say(interaction, "Nothing is being answered here.")

    @app_commands.command(description="Start a fresh conversation here")
    async def reset(self, interaction: discord.Interaction[Any]) -> None:
        """The next message sees none of the earlier ones."""
        # Said to all: everybody's next message here sees none of the earlier ones.
        await interaction.response.defer(thinking=True)
        await self._turns.store.reset(place_of(interaction).conversation)
        await say(interaction, FRESH)

    @app_commands.command(description="How the last answer here was routed, and where time went")
    async def why(self, interaction: discord.Interaction[Any]) -> None:
        """The route, what was tried, the wait split into its parts."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        turn = await self._turns.store.last_in(place_of(interaction).conversation)
        reader = user_id(interaction.user)
        if turn is None:
            return await say(interaction, "Nothing was answered here yet.")
        names = words.names_in(turn.receipt)
        text = told(words.why_text(turn, reader), interaction.locale, names)
        return await say(interaction, text, is_ours=False)

    @app_commands.command(
        description="Tokens, speed, cost and budget left: yours and this server's"
    )
    @app_commands.describe(period="Which days; last month is the summary of a whole month")
    async def usage(
        self,
        interaction: discord.Interaction[Any],
        period: Literal["today", "week", "month", "last month", "year"] = "today",
    ) -> None:
        """For the asker, and for the server it is asked in."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        place, user = place_of(interaction), user_id(interaction.user)
        mine = await self._usage.report(period, "me", user, place.server)
        parts = ["**You**", words.usage_text(mine)]
        for whose, used, most, _ in await self._settings.tokens(user, place):
            where = "in this server" if whose == "server" else "everywhere"
            parts.append(f"Tokens today {where}: {used:,} of {most:,} used")
        if place.server is not None:
            ours = await self._usage.report(period, "server", user, place.server)
            parts += ["", "**This server**", words.usage_text(ours)]
        await say(interaction, "\n".join(parts))

    @app_commands.command(description="What I can do and how to ask for it")
    async def help(self, interaction: discord.Interaction[Any]) -> None:
        """One page."""
        # Where nothing was missing it read as if something were.
        is_readable = interaction.client.intents.message_content
        await say(interaction, HELP if is_readable else f"{HELP}\n{UNREAD}")
