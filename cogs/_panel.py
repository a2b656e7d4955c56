"""The panel of ``/settings``: what stands, with a select or a field for each; holds no state."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import discord
from discord import ui

from bot.chat.place_settings import Shown
from bot.domain.personas import Persona
from bot.policy.choice import Scope
from bot.policy.markup import harmless
from bot.policy.names import shown_name
from bot.policy.place_rules import FORMS, MOST_LISTED, Level, SettingName, SetValue
from cogs._forms import form_of, typed_in
from cogs._languages import told

PANEL_S = 900.0
"""Discord takes edits of an answer to a command or a press for fifteen minutes."""

UNSET = "-"
"""Chosen to take a setting away."""

_LEVELS: Mapping[Level, str] = {
    "channel": "this channel",
    "server": "this server",
    "everywhere": "everywhere",
}
_CHANNELS = [
    discord.ChannelType.text,
    discord.ChannelType.news,
    discord.ChannelType.voice,
    discord.ChannelType.stage_voice,
    discord.ChannelType.forum,
]
_LISTED = 5


def panel(
    level: Level,
    shown: Sequence[Shown],
    *,
    opened_s: int,
    head: Iterable[str],
    personas: Sequence[Persona] = (),
    default: str = "",
    chosen: Mapping[Scope, SetValue] | None = None,
    private: Mapping[Level, SetValue] | None = None,
    news: str = "",
    locale: object = None,
) -> ui.LayoutView:
    """One page.

    Args:
        level: Whose settings.
        shown: Each as it stands.
        opened_s: Unix time of this page: a press on one too old is told so.
        head: Lines before the settings.
        personas: Who may be chosen to answer.
        default: Who answers where nobody is chosen.
        chosen: Who is chosen, by scope.
        private: Where words stay on the LAN, of this channel and its server.
        news: What just happened.
        locale: Discord's, of its reader.
    """
    say = partial(told, locale=locale)

    def key(name: str) -> str:
        return f"set:{level}:{opened_s}:{name}"

    page: ui.Container[ui.LayoutView] = ui.Container()
    # One text: a page has no component to spare, and news came as a fortieth.
    lines = (f"## Settings for {_LEVELS[level]}", *head, *filter(None, (news,)))
    page.add_item(ui.TextDisplay(say("\n".join(lines))))

    if level != "everywhere":
        who, persona = _who_answers(key("persona"), level, personas, default, chosen or {}, locale)
        _row(page, say, "Who answers", who, persona)
        now = "on" if level in (private or {}) else "off"
        local_only = _choice(key("local_only"), ("on", "off"), now, locale)
        _row(page, say, "Local only", _stays_here(level, private or {}), local_only)
    for one in shown:
        if one.form.kind != "number":
            _row(page, say, one.form.title, _origin(one), _select(key(one.name), one, locale))
    numbers = [one for one in shown if one.form.kind == "number"]
    # One text for all: a page holds forty components at most, and selects need three each.
    limits = [
        f"**{say(one.form.title)}** · "
        f"{'' if one.own is None else f'{int(one.own.value[0]):,}, '}{say(_origin(one))}"
        for one in numbers
    ]
    if limits:
        page.add_item(ui.TextDisplay("\n".join(limits)))
    buttons: ui.ActionRow[ui.LayoutView] = ui.ActionRow()
    if numbers:
        buttons.add_item(ui.Button(label=say("Limits…"), emoji="⏱", custom_id=key("limits")))
    if level != "everywhere":
        other: Level = "server" if level == "channel" else "channel"
        buttons.add_item(ui.Button(label=say(f"To {_LEVELS[other]}"), custom_id=key(f"to {other}")))
        page.add_item(buttons)
    view = ui.LayoutView(timeout=None)
    view.add_item(page)
    # Presses are found by their ids alone, after a restart too: the library need keep nothing.
    view.stop()
    return view


def limits_form(
    level: Level, opened_s: int, shown: Sequence[Shown], locale: object = None
) -> ui.Modal:
    """The form behind "Limits…", in its reader's language."""
    title = told("Limits for each person", locale)
    note = told(f"A whole number; empty is no limit of this {level}", locale)
    fields: list[ui.Label[Any]] = []
    for one in shown:
        if one.form.kind == "number":
            now = one.own.value[0] if one.own else ""
            field: ui.TextInput[Any] = ui.TextInput(
                # With what it shows: another admin may change that before this form is sent.
                custom_id=f"{one.name}:{now}",
                default=now,
                required=False,
                max_length=20,
            )
            label = told(one.form.title, locale)
            fields.append(ui.Label(text=label, description=note, component=field))
    return form_of(title, f"set:{level}:{opened_s}:limits", fields)


def typed_limits(data: Mapping[str, Any], locale: object = None) -> str:
    """What was typed into that form, a line each, for whoever's numbers were not taken."""
    written = [(told(FORMS[key].title, locale), text) for key, text, _ in _limits(data) if text]
    return "".join(f"\n✏ {title}: {harmless(text)}" for title, text in written)


def changed_limits(data: Mapping[str, Any]) -> dict[SettingName, tuple[str, ...]]:
    """The limits whose sender wrote something else than the form showed as it was opened."""
    return {key: (text,) for key, text, shown in _limits(data) if text.strip() != shown}


def _limits(data: Mapping[str, Any]) -> list[tuple[SettingName, str, str]]:
    """Each limit of a form that was sent: what it is now, and what it showed."""
    typed = typed_in(data.get("components", ()))
    fields = {key.partition(":")[0]: (key.partition(":")[2], text) for key, text in typed.items()}
    return [(name, fields[name][1], fields[name][0]) for name in FORMS if name in fields]


def picked(data: Mapping[str, Any], shown: Shown | None) -> tuple[str, ...]:
    """What was chosen in a select, as a value of a setting."""
    values: list[str] = data.get("values") or []
    if shown is not None and shown.form.kind == "channels":
        return tuple(f"discord:{value}" for value in values)
    if shown is not None and shown.form.kind == "people":
        resolved: Mapping[str, Mapping[str, object]] = data.get("resolved") or {}
        roles = resolved.get("roles") or {}
        return tuple(f"{'role' if value in roles else 'user'}:{value}" for value in values)
    return tuple(value for value in values if value != UNSET)


def _row(
    page: "ui.Container[ui.LayoutView]",
    say: Callable[[str], str],
    title: str,
    text: str,
    select: "ui.Item[ui.LayoutView] | None" = None,
) -> None:
    page.add_item(ui.TextDisplay(f"**{say(title)}**{f' · {say(text)}' if text else ''}"))
    if select is not None:
        page.add_item(ui.ActionRow(select))


def _who_answers(
    custom_id: str,
    level: Scope,
    personas: Sequence[Persona],
    default: str,
    chosen: Mapping[Scope, SetValue],
    locale: object,
) -> tuple[str, "ui.Select[ui.LayoutView]"]:
    """Who chose here, or who answers where nobody did; and who may be chosen."""
    own, at = chosen.get(level), ""
    if own is not None:
        (at,), where = own.value, _set_by(own)
    elif level == "channel" and "server" in chosen:
        (of_server,) = chosen["server"].value
        out = told(f"{shown_name(of_server)}, chosen for the server", locale)
        where = f"not set here: {out}"
    else:
        where = f"not set here: {default}, from `discord.default_persona`"
    about = {str(persona.name): told(persona.source, locale) for persona in personas}
    names = [*about][: MOST_LISTED - 1]
    # One that is gone, or is beyond what a select holds, is shown all the same.
    names += [at] if at and at not in names else []
    return where, _choice(custom_id, names[-MOST_LISTED + 1 :], at, locale, about)


def _stays_here(level: Level, private: Mapping[Level, SetValue]) -> str:
    """Whether words stay on the LAN, and who said so."""
    if (own := private.get(level)) is not None:
        return f"words here 🔒 never leave the LAN · {_set_by(own)}"
    # A channel's words stay by its server's mark, too: the panel once said that they may leave.
    if "server" in private:
        return f"words here 🔒 never leave the LAN · not set here; for {_LEVELS['server']}: on"
    return "words here may go to a cloud provider"


def _set_by(own: SetValue) -> str:
    """Who set it here and when, as far as that was noted."""
    who = f"by <@{own.by.removeprefix('discord:')}> " if own.by else ""
    return f"set here {who}<t:{own.at_ms // 1000}:R>"


def _origin(one: Shown) -> str:
    """Who set it here and when, or what holds instead."""
    if one.own is not None:
        return _set_by(one.own)
    if one.farther is None:
        return f"not set here: {one.form.unset}"
    value, level = one.farther
    return f"not set here; for {_LEVELS[level]}: {_listed(value)}"


def _listed(value: SetValue) -> str:
    marks = {"user": "<@{}>", "role": "<@&{}>", "discord": "<#{}>"}
    parts = [entry.partition(":") for entry in value.value]
    words = [marks[kind].format(key) if kind in marks else kind for kind, _, key in parts]
    more = f" and {len(words) - _LISTED} more" if len(words) > _LISTED else ""
    return ", ".join(words[:_LISTED]) + more


def _choice(
    custom_id: str,
    options: Sequence[str],
    now: str,
    locale: object,
    about: Mapping[str, str] | None = None,
) -> "ui.Select[ui.LayoutView]":
    """One of some words, or none; of two that are each other's opposite one always holds.

    ``about`` tells of personas where each is from, since two may be called alike.
    """
    chosen = [
        discord.SelectOption(
            # A persona may be called like a word of ours.
            label=(told(o, locale) if about is None else shown_name(o))[:100],
            value=o[:100],
            description=(about or {}).get(o, "")[:100] or None,
            default=o == now,
        )
        for o in options
    ]
    if not custom_id.endswith(":local_only"):
        none = told("Not set", locale)
        chosen.insert(0, discord.SelectOption(label=none, value=UNSET, default=not now))
    return ui.Select(custom_id=custom_id, options=chosen)


def _select(custom_id: str, one: Shown, locale: object) -> "ui.Item[ui.LayoutView]":
    value = one.own.value if one.own is not None else ()
    if one.form.kind == "one of":
        return _choice(custom_id, one.form.options, value[0] if value else "", locale)
    kinds = {
        "user": discord.SelectDefaultValueType.user,
        "role": discord.SelectDefaultValueType.role,
        "discord": discord.SelectDefaultValueType.channel,
    }
    parts = [entry.partition(":") for entry in value]
    now = [discord.SelectDefaultValue(id=int(key), type=kinds[kind]) for kind, _, key in parts]
    hint = told("Nobody chosen" if one.form.kind == "people" else "None chosen", locale)
    if one.form.kind == "channels":
        return ui.ChannelSelect(
            custom_id=custom_id,
            channel_types=_CHANNELS,
            placeholder=hint,
            min_values=0,
            max_values=MOST_LISTED,
            default_values=now,
        )
    return ui.MentionableSelect(
        custom_id=custom_id,
        placeholder=hint,
        min_values=0,
        max_values=MOST_LISTED,
        default_values=now,
    )
