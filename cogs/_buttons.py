"""Buttons under replies: what they act upon is in their id, so they outlive a restart."""

import re
from typing import Any, Self

import discord
from discord import ui

from cogs._view import Act, Look

_TEMPLATE = r"lantern:(?P<act>[a-z]+):(?P<subject>[\w-]{1,64})"

_FACES: dict[Act, tuple[str, str, discord.ButtonStyle]] = {
    Act.STOP: ("Stop", "⏹", discord.ButtonStyle.secondary),
    Act.CANCEL: ("Cancel", "✖", discord.ButtonStyle.secondary),
    Act.HALT: ("Cancel", "✖", discord.ButtonStyle.secondary),
    Act.WARM: ("Answer now", "⚡", discord.ButtonStyle.primary),
    Act.CLOUD: ("Use the cloud", "☁", discord.ButtonStyle.primary),
    Act.RETRY: ("Retry", "🔁", discord.ButtonStyle.secondary),
    Act.CONTINUE: ("Continue", "▶", discord.ButtonStyle.primary),
    Act.THOUGHTS: ("Thoughts", "💭", discord.ButtonStyle.secondary),
}


class TurnButton(ui.DynamicItem[ui.Button[ui.View]], template=_TEMPLATE):
    """A button of a reply. A press becomes the event ``reply_button``, which a cog answers."""

    def __init__(self, act: Act, subject: str) -> None:
        label, emoji, style = _FACES[act]
        custom_id = f"lantern:{act}:{subject}"
        super().__init__(ui.Button(label=label, emoji=emoji, style=style, custom_id=custom_id))
        self._act = act
        self._subject = subject

    @classmethod
    async def from_custom_id(
        cls,
        interaction: discord.Interaction[Any],
        item: ui.Item[Any],
        match: re.Match[str],
        /,
    ) -> Self:
        """The button as pressed on a message of any age."""
        return cls(Act(match["act"]), match["subject"])

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        """Hands the press over."""
        interaction.client.dispatch("reply_button", interaction, self._act, self._subject)


def view_of(look: Look) -> ui.View | None:
    """The buttons of a look; None removes those a message had."""
    if not look.acts:
        return None
    view = ui.View(timeout=None)
    for act in look.acts:
        view.add_item(TurnButton(act, look.subject))
    return view
