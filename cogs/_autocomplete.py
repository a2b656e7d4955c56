"""Autocompletion from memory: models, personas and hosts as a person types."""

from collections.abc import Container, Iterable
from typing import Any

import discord
from discord import app_commands

from bot.chat.catalog import Catalog, ModelOption
from bot.chat.switch import PersonaOption
from bot.domain.ids import PersonaName, ProviderName
from bot.policy.names import matching, shown_name
from cogs._languages import told
from cogs._places import place_of, user_id

CHOICES = 25
"""Discord refuses the whole answer when it has more."""

_LONGEST = 100
_LONGEST_MARK = 70
"""Of a longer one the end is cut, so that the name can still be told from others."""

StringChoices = list[app_commands.Choice[str]]


def model_choices(options: Iterable[ModelOption], locale: object = None) -> StringChoices:
    """Models, ``auto`` and providers, with how they stand, in the reader's language."""
    marks = (
        (each, told(each.mark, locale, frozenset({each.key, *each.hosts}))) for each in options
    )
    return _choices((option.value, mark, option.name) for option, mark in marks)


def answering_choices(options: Iterable[PersonaOption], locale: object = None) -> StringChoices:
    """Personas that may answer, with how their models stand, in the reader's language."""
    found: list[tuple[str, str, str]] = []
    for each in options:
        persona, name = each.persona, shown_name(each.persona.name)
        mark = told(each.mark, locale, frozenset({str(persona.model)}))
        written = f"● {name}" if each.is_current else name
        mark = " · ".join(filter(None, (mark, persona.description)))
        found.append((str(persona.name), mark, written))
    return _choices(found)


def persona_choices(
    catalog: Catalog,
    typed: str,
    interaction: discord.Interaction[Any],
    among: Container[PersonaName] | None = None,
) -> StringChoices:
    """Personas that may be chosen here, with what they are for; ``among``: of these alone."""
    place, user = place_of(interaction), user_id(interaction.user)
    found = catalog.personas(typed, CHOICES, user, place.server, among)
    return _choices((str(p.name), p.description, shown_name(p.name)) for p in found)


def type_choices(catalog: Catalog, typed: str) -> StringChoices:
    """The request types that the settings define."""
    known = {name: (name, "") for name in catalog.request_types}
    return _choices((name, "", name) for name in matching(typed, known))


def host_choices(
    catalog: Catalog, typed: str, providers: Iterable[ProviderName] = (), locale: object = None
) -> StringChoices:
    """Hosts with how they stand, after these providers."""
    clouds = {str(name): "" for name in providers}
    marks = clouds | {
        str(h.name): f"{told(h.state, locale)} · {h.address}" for h in catalog.hosts()
    }
    found = matching(typed, {name: (name, mark) for name, mark in marks.items()})
    return _choices((n, marks[n], f"☁ {n}" if n in clouds else n) for n in found)


def loaded_choices(catalog: Catalog, typed: str) -> StringChoices:
    """Models in some host's memory."""
    where: dict[str, list[str]] = {}
    for host in catalog.hosts():
        for instance in host.loaded:
            where.setdefault(instance.identifier, []).append(host.name)
    known = {name: (name, ", ".join(hosts)) for name, hosts in sorted(where.items())}
    return _choices((name, known[name][1], name) for name in matching(typed, known))


def _choices(options: Iterable[tuple[str, str, str]]) -> StringChoices:
    """Choices within Discord's limits, of values, how they stand, and how they are written.

    A value over 100 characters is cut in front: the name lookup finds a unique ending.
    """
    found: StringChoices = []
    for value, mark, written in options:
        name = f"{written} · {mark}" if mark else written
        if len(name) > _LONGEST and len(mark) <= _LONGEST_MARK:
            # The middle goes: how it stands decides more than a publisher's name.
            room = _LONGEST - len(mark) - 4
            name = f"{written[: room // 3]}…{written[-(room - room // 3) :]} · {mark}"
        if len(name) > _LONGEST:
            name = f"{name[: _LONGEST - 1]}…"
        # Of a long key the end tells more: the name lookup finds what ends so.
        found.append(app_commands.Choice(name=name, value=value[-_LONGEST:]))
    return found[:CHOICES]
