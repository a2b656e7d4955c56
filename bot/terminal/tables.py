"""Facts as tables for people and as plain values for programs (``--json``)."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from rich.console import Console
from rich.table import Table

from bot.chat.catalog import ModelOption
from bot.chat.words import bytes_text
from bot.domain.hosts import HostSnapshot, HostState, Instance, Model
from bot.domain.ids import HostName, ModelKey
from bot.domain.personas import Persona

Value: TypeAlias = (
    "str | int | float | bool | Sequence[Value] | Mapping[str, Value] | None"  # JSON's own types
)
Record = Mapping[str, Value]


def host_record(host: HostSnapshot) -> Record:
    """One host as plain values."""
    return {
        "name": host.name,
        "address": host.address,
        "state": host.state.value,
        "reason": host.reason,
        "interface": host.interface.value if host.interface is not None else None,
        "version": host.version,
        "models_on_disk": len(host.models),
        "memory_bytes": host.memory_bytes,
        "max_loaded": host.max_loaded,
        "v1_lists_only_loaded": host.lists_only_loaded,
        "needs_token": host.needs_token,
        "has_token": host.has_token,
        "loaded": [instance_record(instance) for instance in host.instances],
        "waiting": sum(host.waiting.values()),
    }


def instance_record(instance: Instance) -> Record:
    """One loaded instance as plain values."""
    return {
        "identifier": instance.identifier,
        "model": instance.model_key,
        "own": instance.own,
        "pinned": instance.pinned,
        "context_length": instance.context_length,
        "size_bytes": instance.size_bytes,
        "leases": instance.leases,
    }


def model_records(
    hosts: Sequence[HostSnapshot], option: Callable[[ModelKey, HostName], ModelOption]
) -> list[Record]:
    """Every model on every host's disk, with how it stands there now."""
    return [
        _model_record(host, model, option(model.key, host.name))
        for host in hosts
        for model in _sorted(host)
    ]


def _model_record(host: HostSnapshot, model: Model, now: ModelOption) -> Record:
    return {
        "model": model.key,
        "host": host.name,
        "kind": model.kind,
        "size_bytes": model.size_bytes,
        "max_context_length": model.max_context_length,
        "vision": model.vision,
        "tool_use": model.tool_use,
        "loaded": any(i.model_key == model.key for i in host.instances),
        "now": now.mark,
        "seconds": now.seconds,
    }


def persona_record(persona: Persona) -> Record:
    """One persona as plain values."""
    return {
        "name": persona.name,
        "description": persona.description,
        "model": persona.model,
        "alternatives": list(persona.alternatives),
        "local_only": persona.local_only,
        "keep_loaded": persona.keep_loaded,
        "source": persona.source,
    }


def hosts_table(hosts: Sequence[HostSnapshot]) -> Table:
    """Hosts for people."""
    table = _table("host", "address", "state", "seen by", "on disk", "loaded", "memory budget")
    for host in hosts:
        state = host.state.value if not host.reason else f"{host.state.value}: {host.reason}"
        seen = host.interface.value if host.interface is not None else ""
        address = "" if host.address == host.name else host.address
        budget = bytes_text(host.memory_bytes) if host.memory_bytes is not None else "not set"
        version = f" ({host.version})" if host.version else ""
        on_disk, loaded = str(len(host.models)), _residents_text(host)
        table.add_row(host.name, address, state, seen + version, on_disk, loaded, budget)
    return table


def models_table(options: Sequence[ModelOption]) -> Table:
    """Models for people, with how they stand on the fleet now."""
    table = _table("model", "size", "now", "on disk of")
    for option in options:
        table.add_row(
            option.key, bytes_text(option.size_bytes), option.mark, ", ".join(option.hosts)
        )
    return table


def personas_table(personas: Sequence[Persona]) -> Table:
    """Personas for people."""
    table = _table("persona", "model", "description", "from")
    for persona in personas:
        model = persona.model + (" (local only)" if persona.local_only else "")
        table.add_row(persona.name, model, persona.description, persona.source)
    return table


def show(console: Console, table: Table) -> None:
    """Prints a table; without a terminal it is as wide as its content."""
    if not console.is_terminal:
        console = Console(width=200)
    console.print(table)


def _residents_text(host: HostSnapshot) -> str:
    if host.state in (HostState.DOWN, HostState.UNKNOWN):
        return "unknown"
    return ", ".join(_loaded_text(instance) for instance in host.instances) or "nothing"


def _loaded_text(instance: Instance) -> str:
    return f"{instance.identifier} ({'own' if instance.own else 'foreign'})"


def _sorted(host: HostSnapshot) -> list[Model]:
    return sorted(host.models.values(), key=lambda model: model.key)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
