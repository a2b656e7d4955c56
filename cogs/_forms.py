"""The forms personas are written in, and the buttons under what was written."""

import io
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self, cast, get_args

import discord
from discord import ui

from bot.documents.persona_files import persona_values, settings_text
from bot.documents.yaml import Plain
from bot.domain.personas import Persona, PersonaScope
from bot.domain.values import value
from bot.policy.names import shown_name
from cogs._languages import told

FormAct = Literal["save", "change", "discard"]
FormPart = Literal["persona", "character"]
FormBegin = Literal["new", "copy", "edit"]
"""A new persona, one like another, one that is changed."""

LONGEST = 4000
"""Characters of one field: Discord's limit. A longer text is left out of the form."""

_TITLE = 45
_LONGEST_ID = 100
"""Characters of an id: Discord's limit."""

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
_SHOWN = 200
"""Characters of another's text that are shown where it stands against one's own."""

_FACES: Mapping[str, tuple[str, str, discord.ButtonStyle]] = {
    "save": ("Save", "💾", discord.ButtonStyle.success),
    "change": ("Change", "✏", discord.ButtonStyle.secondary),
    "discard": ("Discard", "✖", discord.ButtonStyle.secondary),
}


def _flat(persona: Persona) -> dict[str, Plain]:
    """What a persona's file holds, its character's as ``character.scenario``."""
    values = persona_values(persona, is_whole=True)
    inner = cast("dict[str, Plain]", values["character"])
    return values | {f"character.{key}": text for key, text in inner.items()}


def form_texts(persona: Persona, part: FormPart) -> tuple[dict[str, str], list[str]]:
    """What stands in a form at first, by key, and the labels of texts too long for one."""
    flat = {**_flat(persona), "settings": settings_text(persona)}
    texts: dict[str, str] = {}
    too_long: list[str] = []
    for key, label, _, most in _FIELDS[part]:
        text = str(flat[key])
        if len(text) > most:
            too_long.append(label)
        else:
            texts[key] = text
    return texts, too_long


def clash_words(persona: Persona, keys: Iterable[str], locale: object = None) -> str:
    """What to know before one's own words are put in place of what stands there by now.

    Args:
        persona: As it stands.
        keys: Of what is different in it, by the names of its file.
        locale: Discord's, of its reader.
    """
    labels = {key: told(label, locale) for fields in _FIELDS.values() for key, label, *_ in fields}
    flat, lines = _flat(persona), list[str]()
    for key in keys:
        text = " ".join(str(flat[key]).split()) or "nothing"
        lines.append(
            f"• {labels.get(key, f'`{key}`')}: {text[:_SHOWN]}{'…' * (len(text) > _SHOWN)}"
        )
    name = shown_name(persona.name)
    return "\n".join(
        (
            f"**{name}** was changed elsewhere while you wrote, so nothing is saved yet. It reads:",
            *lines,
            "**Save** once more puts yours in place of that, **Change** opens yours again, "
            "**Discard** leaves what stands there.",
        )
    )


def form_of(title: str, custom_id: str, fields: Iterable[ui.Label[Any]]) -> ui.Modal:
    """A form that is found by its id alone, after a restart too."""
    form = ui.Modal(title=title[:_TITLE], custom_id=custom_id)
    for field in fields:
        form.add_item(field)
    # The library would keep each that is never sent for ever, and know none of before a start.
    form.stop()
    return form


def typed_in(components: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """What was written into a form, by field; however deep Discord nests them."""
    found: dict[str, str] = {}
    for part in components:
        if "value" in part:
            found[part["custom_id"]] = part["value"] or ""
        inner = [*part.get("components", ()), *filter(None, (part.get("component"),))]
        found |= typed_in(inner)
    return found


def sent_form(interaction: discord.Interaction[Any]) -> tuple[str, dict[str, str]]:
    """The id of a form that was sent and what was written; no form's of any other interaction."""
    data = cast(dict[str, Any], interaction.data or {})
    return str(data.get("custom_id", "")), typed_in(data.get("components", ()))


@value
class FormKey:
    """What a form is about: in its id, so that one opened before a restart can be gone on with."""

    ticket: str
    """By which this process knows it."""
    part: FormPart
    scope: PersonaScope
    begin: FormBegin
    name: str
    version: int = 0
    """Of the persona that is edited, as the form shows it; 0 where none is."""

    @classmethod
    def read(cls, custom_id: str) -> Self | None:
        """Of a form's id; None of anything else."""
        mark, _, rest = custom_id.partition(":")
        ticket, part, scope, begin, name = (*rest.split(":", 4), "", "", "", "", "")[:5]
        begin, _, version = begin.partition(".")
        parts: dict[str, FormPart] = {known: known for known in get_args(FormPart)}
        scopes: dict[str, PersonaScope] = {known: known for known in get_args(PersonaScope)}
        begins: dict[str, FormBegin] = {known: known for known in get_args(FormBegin)}
        if mark != "form" or not (part in parts and scope in scopes and begin in begins):
            return None
        number = int(version) if version.isdecimal() else 0
        return cls(ticket, parts[part], scopes[scope], begins[begin], name, number)

    def form(self, title: str, texts: Mapping[str, str], locale: object = None) -> ui.Modal:
        """The form with these texts; one without a field for a text leaves it as it is."""
        begin = f"{self.begin}.{self.version}" if self.version else self.begin
        key = ":".join(("form", self.ticket, self.part, self.scope, begin, self.name))
        if len(key) > _LONGEST_ID:
            # Without its name it still finds what this process knows of it; after a restart
            # nobody can go on with it, as with the copy of a persona.
            key = ":".join(("form", self.ticket, self.part, self.scope, "copy", ""))
        fields: list[ui.Label[Any]] = []
        for field, label, hint, most in _FIELDS[self.part]:
            if field not in texts:
                continue
            style = discord.TextStyle.short if most <= _SHORT else discord.TextStyle.paragraph
            text: ui.TextInput[Any] = ui.TextInput(
                custom_id=field,
                style=style,
                placeholder=told(hint, locale),
                default=texts[field] or None,
                required=False,
                max_length=most,
            )
            fields.append(ui.Label(text=told(label, locale), component=text))
        return form_of(title, key, fields)

    def given_back(self, texts: Mapping[str, str]) -> discord.File:
        """What somebody wrote into it, where nothing else can be done with it."""
        written = [
            f"{label}:\n{texts[field]}\n"
            for field, label, *_ in _FIELDS[self.part]
            if field in texts
        ]
        return discord.File(io.BytesIO("\n".join(written).encode()), "what-you-wrote.txt")


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
