"""Autocompletion from memory: models, personas and hosts as a person types."""

from collections.abc import Iterable

from discord import app_commands

from bot.chat.catalog import Catalog

CHOICES = 25
"""Discord refuses the whole answer when it has more."""

_LONGEST = 100

StringChoices = list[app_commands.Choice[str]]


def model_choices(catalog: Catalog, typed: str) -> StringChoices:
    """Models and ``auto``, with how they stand; matched by any part, so all can be reached."""
    options = catalog.models(typed, CHOICES)
    return _choices((str(option.key), option.mark) for option in options)


def persona_choices(catalog: Catalog, typed: str) -> StringChoices:
    """Personas with what they are for."""
    found = catalog.personas(typed, CHOICES)
    return _choices((str(persona.name), persona.description) for persona in found)


def type_choices(catalog: Catalog, typed: str) -> StringChoices:
    """The request types that the settings define."""
    wanted = typed.strip().lower()
    return _choices((name, "") for name in catalog.request_types if wanted in name.lower())


def host_choices(catalog: Catalog, typed: str) -> StringChoices:
    """Hosts with how they stand."""
    found = catalog.hosts(typed)
    return _choices((str(host.name), f"{host.state} · {host.address}") for host in found)


def loaded_choices(catalog: Catalog, typed: str) -> StringChoices:
    """Models in some host's memory."""
    wanted = typed.strip().lower()
    where: dict[str, list[str]] = {}
    for host in catalog.hosts():
        for instance in host.instances:
            if wanted in instance.identifier.lower():
                where.setdefault(instance.identifier, []).append(host.name)
    return _choices((name, ", ".join(hosts)) for name, hosts in sorted(where.items()))


def _choices(pairs: Iterable[tuple[str, str]]) -> StringChoices:
    """Choices within Discord's limits.

    A value over 100 characters is cut in front: the name lookup finds a unique ending.
    """
    found: StringChoices = []
    for value, mark in pairs:
        name = f"{value} · {mark}" if mark else value
        if len(name) > _LONGEST and len(mark) < _LONGEST // 2:
            # The middle goes: how it stands decides more than a publisher's name.
            room = _LONGEST - len(mark) - 4
            name = f"{value[: room // 3]}…{value[-(room - room // 3) :]} · {mark}"
        if len(name) > _LONGEST:
            name = f"{name[: _LONGEST - 1]}…"
        # Of a long key the end tells more: the name lookup finds what ends so.
        found.append(app_commands.Choice(name=name, value=value[-_LONGEST:]))
    return found[:CHOICES]
