"""Another model for one answer: who could give it now, offered to whoever pressed alone."""

from typing import Any

import discord
from discord import ui

from bot.chat.catalog import ModelOption
from bot.chat.lantern import Lantern
from bot.domain.errors import RequestRefused
from bot.domain.ids import AUTO, ModelKey, TurnId
from bot.policy.access import check_may_switch
from bot.policy.choice import provider_in
from cogs._access import Access
from cogs._again import Again
from cogs._autocomplete import CHOICES
from cogs._languages import told
from cogs._places import place_of

PICK = "lantern-pick"
"""Begins the select's id; the answer's follows, so that one of before a restart still counts."""

NOBODY = "Nobody could answer that now; `/fleet status` shows why."
WHO = "Who answers this again? What stands there now stays beside it, behind ◀."

_LONGEST = 100


class Another:
    """Offers who could answer instead, and lets whom somebody picks answer again."""

    def __init__(self, lantern: Lantern, access: Access, again: Again) -> None:
        self._switch = lantern.switch
        self._rules = access.rules
        self._again = again

    async def offer(self, interaction: discord.Interaction[Any], turn: TurnId) -> None:
        """Answers a press with a select that only they see.

        Raises:
            NotPermitted: people do not choose for themselves there, or it is not stored any more.
            RequestRefused: nobody could answer now.
        """
        place, locale = place_of(interaction), interaction.locale
        check_may_switch("thread", self._rules.rights(interaction), is_private=place.is_private)
        shown = (await self._again.standing(interaction, turn)).turn
        # By whose words it was asked: their privacy says whether a provider is among them.
        found = await self._switch.options(place, shown.user, "", CHOICES, shown.persona)
        options = {option.value[-_LONGEST:]: option for option in found if option.is_able}
        if not options:
            raise RequestRefused(NOBODY)
        view = ui.View(timeout=None)
        select: ui.Select[ui.View] = ui.Select(
            custom_id=f"{PICK}:{turn}",
            placeholder=told("A model or provider", locale),
            options=[_line(value, option, locale) for value, option in options.items()],
        )
        view.add_item(select)
        # A pick is found by its id alone: the library need keep nothing of it.
        view.stop()
        await interaction.response.send_message(told(WHO, locale), view=view, ephemeral=True)

    async def picked(self, interaction: discord.Interaction[Any], turn: TurnId, value: str) -> None:
        """Lets whom somebody picked answer, in the answer's own place.

        Raises:
            NotPermitted: no words may leave for it any more, or people do not choose there.
            RequestRefused: an answer is being written there.
        """
        await self._again.press(interaction, "retry", turn, model=ModelKey(value))


def _line(value: str, option: ModelOption, locale: object) -> discord.SelectOption:
    label, emoji = option.name, "🟢" if option.is_warm else "📦"
    if provider_in(value) is not None:
        label, emoji = label.replace("☁ ", ""), "☁️"
    if option.key == AUTO:
        emoji = "✨"
    if len(label) > _LONGEST:
        label = f"{label[: _LONGEST // 3]}…{label[-_LONGEST * 2 // 3 + 2 :]}"
    mark = told(option.mark, locale, frozenset({option.key, *option.hosts}))
    mark = mark if len(mark) <= _LONGEST else f"{mark[: _LONGEST - 1]}…"
    return discord.SelectOption(label=label, value=value, description=mark or None, emoji=emoji)
