"""The facts of hosts, models and personas: as rows for people, as plain values for programs.

The command line and the chat's slash commands take them, and the two acts whose words differ only
in how an option is written, from here alone.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from bot.chat.acts import FleetActs, UnloadsDone
from bot.chat.catalog import Catalog
from bot.chat.usage import ReportPeriod
from bot.chat.words import bytes_text, state_text
from bot.domain.errors import ForeignInstance, RequestRefused
from bot.domain.hosts import AWAY, HostSnapshot
from bot.domain.personas import Persona
from bot.policy.names import shown_name
from bot.policy.place_rules import FORMS, Stored

Json: TypeAlias = (
    "str | int | float | bool | Sequence[Json] | Mapping[str, Json] | None"  # JSON's own types
)
Record = Mapping[str, Json]

PERIODS: tuple[ReportPeriod, ...] = ("today", "week", "month", "last month", "year")

HOST_COLUMNS = ("host", "address", "state", "seen by", "on disk", "loaded", "memory")
STATS_COLUMNS = ("host", "answers", "actual / predicted", "within twice + 1 s")
MODEL_COLUMNS = ("model", "size", "now", "on disk of")
SETTING_COLUMNS = ("place", "setting", "value", "by")
PERSONA_COLUMNS = ("persona", "model", "description", "from")


def host_record(host: HostSnapshot, now: float) -> Record:
    """One host as plain values."""
    drained_until = host.drained_until
    is_timed = drained_until is not None and drained_until < math.inf
    return {
        "name": host.name,
        "address": host.address,
        "state": host.state,
        "reason": host.reason,
        "silent_s": round(now - host.silent_since, 1) if host.silent_since is not None else None,
        "is_drained": drained_until is not None,
        "drain_left_s": round(drained_until - now, 1) if drained_until and is_timed else None,
        "interface": host.interface,
        "version": host.version,
        "models_on_disk": len(host.models),
        "memory_bytes": host.memory_bytes,
        "memory_used_bytes": _used_bytes(host),
        "max_loaded": host.max_loaded,
        "v1_lists_only_loaded": host.lists_only_loaded,
        "needs_token": host.needs_token,
        "has_token": host.has_token,
        "loaded": [
            {
                "identifier": instance.identifier,
                "model": instance.model_key,
                "own": instance.own,
                "pinned": instance.pinned,
                "context_length": instance.context_length,
                "size_bytes": instance.size_bytes,
                "leases": instance.leases,
            }
            for instance in host.loaded
        ],
        "waiting": sum(host.waiting.values()),
    }


def host_row(host: HostSnapshot, now: float) -> Sequence[str]:
    """One host for people, by ``HOST_COLUMNS``."""
    residents = (f"{i.identifier} ({'own' if i.own else 'foreign'})" for i in host.loaded)
    loaded = ", ".join(residents) or "nothing"
    # What was in memory when a host was lost may be gone: no table calls it loaded.
    if host.state in AWAY:
        loaded = "unknown"
    seen = host.interface or ""
    memory = bytes_text(_used_bytes(host)) if host.state in ("up", "draining") else "?"
    if host.memory_bytes is not None:
        memory += f" of {bytes_text(host.memory_bytes)}"
    return (
        host.name,
        # A host without a name is called by its address, which need not stand twice.
        "" if host.address == host.name else host.address,
        state_text(host, now),
        seen + (f" ({host.version})" if host.version else ""),
        str(len(host.models)),
        loaded,
        memory,
    )


def _used_bytes(host: HostSnapshot) -> int:
    return sum(instance.size_bytes or 0 for instance in host.loaded)


def model_records(catalog: Catalog) -> list[Record]:
    """Every model on every host's disk, with how it stands there now."""
    records: list[Record] = []
    for host in catalog.hosts():
        for model in sorted(host.models.values(), key=lambda model: model.key):
            # By host: a model that is warm on one may not even fit on another.
            now = catalog.option(model.key, host.name)
            record: Record = {
                "model": model.key,
                "host": host.name,
                "kind": model.kind,
                "size_bytes": model.size_bytes,
                "max_context_length": model.max_context_length,
                "vision": model.vision,
                "tool_use": model.tool_use,
                "loaded": host.has_loaded(model.key),
                "now": now.mark,
                "seconds": now.seconds,
            }
            records.append(record)
    return records


def persona_record(persona: Persona) -> Record:
    """One persona as plain values."""
    return {
        "name": shown_name(persona.name),
        "full_name": persona.name,
        "description": persona.description,
        "model": persona.model,
        "alternatives": list(persona.alternatives),
        "local_only": persona.local_only,
        "keep_loaded": persona.keep_loaded,
        "source": persona.source,
    }


def persona_row(persona: Persona) -> Sequence[str]:
    """One persona for people, by ``PERSONA_COLUMNS``."""
    model = persona.model + (" (local only)" if persona.local_only else "")
    return (shown_name(persona.name), model, persona.description, persona.source)


def setting_rows(stored: Stored) -> list[Sequence[str]]:
    """What admins set in Discord, by ``SETTING_COLUMNS``."""
    return [
        (place or "everywhere", FORMS[name].title, ", ".join(kept.value), kept.by)
        for (place, name), kept in sorted(stored.items())
    ]


def report_period(said: str) -> ReportPeriod:
    """The period meant.

    Raises:
        RequestRefused: it is none.
    """
    for known in PERIODS:
        if said == known:
            return known
    raise RequestRefused(f"A period is today, week, month, last month or year, not `{said}`.")


async def unload(
    acts: FleetActs, host: str | None, model: str, *, even_foreign: bool, option: str
) -> UnloadsDone:
    """Unloads a model; gives what happened.

    Args:
        acts: what acts on the fleet.
        host: the only host, or None for every host that has it loaded.
        model: an identifier or a model key.
        even_foreign: also what others loaded.
        option: how ``even_foreign`` is said where this was typed.

    Raises:
        UnknownName: no host has it loaded.
        NotPermitted: it is answering somebody, or foreign, which the words then lead out of.
    """
    # The act does not know how its asker writes an option, and a refusal must name the way out.
    try:
        return await acts.unload(host, model, even_foreign=even_foreign)
    except ForeignInstance as error:
        words = f"{error.user_message} Add {option} to unload it all the same."
        raise ForeignInstance(words) from error
