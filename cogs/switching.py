"""``/model`` and ``/persona``: what answers here and why, or switch and load at once."""

from contextlib import suppress
from typing import Any, Literal

import discord
from discord import app_commands
from discord.ext import commands

from bot.chat import words
from bot.chat.lantern import Lantern
from bot.chat.switch import Explanation, beside_words, model_words
from bot.domain.chat import Place
from bot.domain.errors import NoCandidates
from bot.domain.ids import AUTO
from bot.policy.access import check_may_switch
from bot.policy.choice import Scope, title_of
from bot.policy.markup import harmless
from bot.policy.names import shown_name
from bot.policy.pacing import Pacers
from bot.policy.prompt import Moment, filled_in, scene_of
from cogs._autocomplete import CHOICES, StringChoices, answering_choices, model_choices
from cogs._faults import say
from cogs._languages import told
from cogs._loads import Loads
from cogs._places import DiscordRules, place_of, user_id
from cogs._transport import InteractionTransport

ScopeOption = Literal["me", "channel", "server"]

_GREETING_CHARS = 1000
_SHOWN = 5  # candidates, and as many rejections


class Choosing(commands.Cog):
    """Chooses the model and the persona of a place."""

    def __init__(self, lantern: Lantern, rules: DiscordRules, loads: Loads, pacers: Pacers) -> None:
        self._switch = lantern.switch
        self._catalog = lantern.catalog
        self._rules = rules
        self._loads = loads
        self._pacers = pacers

    @app_commands.command(description="See or choose the model or cloud provider that answers here")
    @app_commands.describe(
        name="A model or ☁ provider; auto is the persona's own. Leave out to see what answers, why",
        scope="For whom; channels and servers are for admins to choose",
    )
    async def model(
        self,
        interaction: discord.Interaction[Any],
        name: str | None = None,
        scope: ScopeOption = "me",
    ) -> None:
        """Explains, or switches and loads."""
        await self._choose(interaction, "model", name, scope)

    @app_commands.command(description="See or choose the persona that answers here")
    @app_commands.describe(
        name="The persona. Leave out to see who answers and why",
        scope="For whom; channels and servers are for admins to choose",
    )
    async def persona(
        self,
        interaction: discord.Interaction[Any],
        name: str | None = None,
        scope: ScopeOption = "me",
    ) -> None:
        """Explains, or switches, greets and loads."""
        await self._choose(interaction, "persona", name, scope)

    @model.autocomplete("name")
    async def _models(self, interaction: discord.Interaction[Any], typed: str) -> StringChoices:
        place, user = place_of(interaction), user_id(interaction.user)
        found = await self._switch.options(place, user, typed, CHOICES)
        return model_choices(found, interaction.locale)

    @persona.autocomplete("name")
    async def _personas(self, asked: discord.Interaction[Any], typed: str) -> StringChoices:
        found = await self._switch.personas(place_of(asked), user_id(asked.user), typed, CHOICES)
        return answering_choices(found, asked.locale)

    async def _choose(
        self,
        interaction: discord.Interaction[Any],
        what: Literal["model", "persona"],
        name: str | None,
        scope: Scope,
    ) -> None:
        place, user = place_of(interaction), user_id(interaction.user)
        if name is None:
            # What answers here may depend on one's own choice: nobody else need read it.
            await interaction.response.defer(ephemeral=True, thinking=True)
            await say(interaction, explained(await self._switch.explain(place, user)))
            return
        # Checked before anything is shown; the switch checks again as it acts.
        rights = self._rules.rights(interaction)
        check_may_switch(scope, rights, is_private=place.is_private)
        switch, ticket = self._switch, str(interaction.id)
        # One's own choice is nobody else's business, and a busy channel was full of them.
        is_for_all = scope != "me" or place.is_private
        transport = InteractionTransport(interaction, self._pacers, is_for_all=is_for_all)
        if what == "model":
            # Right after the start nothing is known yet; choosing waits for the hosts.
            with suppress(NoCandidates):
                await switch.check_model(place, user, name, scope=scope)
            await transport.begin()
            value = await switch.set_model(place, user, scope, name, rights=rights, ticket=ticket)
            title = title_of(value)
            chosen = f"🔀 {title} is chosen {for_whom(scope, place)}."
            if value == AUTO:
                # Called chosen it read like one more model.
                own = "the persona's own model, else the soonest"
                chosen = f"🔀 Back to automatic {for_whom(scope, place)}: {own}."
            head = told(chosen, transport.locale)
            steps = switch.warm(place, user, model=value)
        else:
            self._catalog.persona(name, user, place.server)
            await transport.begin()
            persona = await switch.set_persona(
                place, user, scope, name, rights=rights, ticket=ticket
            )
            title = f"**{shown_name(persona.name)}**"
            head = told(f"🎭 {title} is chosen {for_whom(scope, place)}.", transport.locale)
            scene = scene_of(persona, interaction.user.display_name, Moment())
            said = harmless(filled_in(persona.greeting, scene)).strip()[:_GREETING_CHARS]
            if greeting := said.replace("\n", "\n> "):
                head += f"\n> {greeting}"
            if beside := beside_words(await switch.explain(place, user), persona):
                head += f"\n{told(beside, transport.locale)}"
            steps = switch.warm(place, user, persona=persona.name)
        stays = f"{title} stays chosen {for_whom(scope, place)}; its next question loads it."
        await self._loads.show(interaction, transport, head, steps, stays)


def explained(explanation: Explanation) -> str:
    """Persona, model and route for the next message here, in words."""
    persona, route = explanation.persona, explanation.route
    lines = [
        f"Persona: **{shown_name(persona.name)}** ({explanation.persona_reason})",
        f"Model: {model_words(explanation)}",
    ]
    if explanation.way_back:
        lines.append(f"Back to the persona's own model: {explanation.way_back}")
    if route.candidates:
        lines.append("Next message goes to, best first:")
        lines.extend(f"• {words.candidate_line(c)}" for c in route.candidates[:_SHOWN])
    else:
        lines.append("❌ Nobody can answer now.")
    if route.rejected:
        lines.append("Left out:")
        lines.extend(f"• {words.rejection_line(r)}" for r in route.rejected[:_SHOWN])
    return "\n".join(lines)


def for_whom(scope: Scope, place: Place) -> str:
    """The scope of a choice in words: ``for you here``."""
    match scope:
        case "me":
            return "for you here"
        case "server":
            return "for this server"
        case "thread" | "channel":
            return "for this thread" if place.thread is not None else "for this channel"
