"""The forms personas are written in, and the buttons under what was written."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, Self, cast

import discord
from discord import ui

from bot.documents.persona_files import persona_values, settings_text
from bot.documents.yaml import Plain
from bot.domain.personas import Persona
from bot.policy.names import shown_name
from cogs._faults import say_error
from cogs._languages import told

FormAct = Literal["save", "change", "discard"]
FormPart = Literal["persona", "character"]

LONGEST = 4000
"""Characters of one field: Discord's limit. A longer text is left out of the form."""

_TITLE = 45

# Key, label (45 characters at most), what stands there while it is empty, the most it takes.
_FIELDS: Mapping[FormPart, tuple[tuple[str, str, str, int], ...]] = {
    "persona": (
        ("description", "In one line, for lists", "calm teacher, long answers", 300),
        ("system_prompt", "What the model is told", "You are a calm teacher.", LONGEST),
        ("character.description", "Whom it plays, if anybody", "{{char}} has taught …", LONGEST),
        ("greeting", "Greeting", "Ask me anything, {{user}}.", LONGEST),
        ("settings", "Model and privacy, as YAML", "model: auto", LONGEST),
    ),
    "character": (
        ("character.name", "What {{char}} stands for", "the persona's name", 100),
        ("character.personality", "Personality", "patient, exact", LONGEST),
        ("character.scenario", "Scenario", "A quiet library.", LONGEST),
        ("character.examples", "Sample talks, each after <START>", "<START>\n…", LONGEST),
        ("character.post_history", "Last instructions, every time", "Two paragraphs.", LONGEST),
    ),
}
_SHORT = 300

_FACES: Mapping[str, tuple[str, str, discord.ButtonStyle]] = {
    "save": ("Save", "💾", discord.ButtonStyle.success),
    "change": ("Change", "✏", discord.ButtonStyle.secondary),
    "discard": ("Discard", "✖", discord.ButtonStyle.secondary),
}


def form_texts(persona: Persona, part: FormPart) -> tuple[dict[str, str], list[str]]:
    """What stands in a form at first, by key, and the labels of texts too long for one."""
    values = persona_values(persona, is_whole=True)
    flat = {**values, "settings": settings_text(persona)}
    flat |= {f"character.{k}": v for k, v in cast("dict[str, Plain]", values["character"]).items()}
    texts: dict[str, str] = {}
    too_long: list[str] = []
    for key, label, _, most in _FIELDS[part]:
        text = str(flat[key])
        if len(text) > most:
            too_long.append(label)
        else:
            texts[key] = text
    return texts, too_long


class PersonaForm(ui.Modal):
    """Asks for texts; what was written goes to ``on_written``."""

    def __init__(
        self,
        name: str,
        part: FormPart,
        texts: Mapping[str, str],
        on_written: Callable[[discord.Interaction[Any], Mapping[str, str]], Awaitable[None]],
    ) -> None:
        super().__init__(title=f"{shown_name(name)}"[:_TITLE])
        self._on_written = on_written
        self._fields: dict[str, ui.TextInput[Self]] = {}
        for key, label, hint, most in _FIELDS[part]:
            if key not in texts:
                continue
            field = ui.TextInput[Self](
                style=discord.TextStyle.short if most <= _SHORT else discord.TextStyle.paragraph,
                placeholder=hint,
                default=texts[key] or None,
                required=False,
                max_length=most,
            )
            self._fields[key] = field
            self.add_item(ui.Label(text=label, component=field))

    async def on_submit(self, interaction: discord.Interaction[Any], /) -> None:
        """Hands over what was written."""
        await self._on_written(interaction, {key: f.value for key, f in self._fields.items()})

    async def on_error(self, interaction: discord.Interaction[Any], error: Exception, /) -> None:
        """Every failure of a form is a visible message."""
        await say_error(interaction, error)


class FormButton(
    ui.DynamicItem[ui.Button[ui.View]], template=r"lantern-form:(?P<act>[a-z]+):(?P<ticket>[\w-]+)"
):
    """A button under a written form. A press becomes the event ``form_button``."""

    def __init__(self, act: str, ticket: str) -> None:
        label, emoji, style = _FACES[act]
        custom_id = f"lantern-form:{act}:{ticket}"
        super().__init__(ui.Button(label=label, emoji=emoji, style=style, custom_id=custom_id))
        self._act = act
        self._ticket = ticket

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction[Any], item: ui.Item[Any], match: re.Match[str], /
    ) -> Self:
        """The button as pressed, also one of before a restart."""
        return cls(match["act"], match["ticket"])

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        """Dispatches the press as the event ``form_button``."""
        interaction.client.dispatch("form_button", interaction, self._act, self._ticket)


def form_buttons(ticket: str, *acts: FormAct, locale: object = None) -> ui.View:
    """These buttons, in a reader's language."""
    # The library would forget a view after three minutes.
    view = ui.View(timeout=None)
    for act in acts:
        button = FormButton(act, ticket)
        button.item.label = told(_FACES[act][0], locale)
        view.add_item(button)
    return view
