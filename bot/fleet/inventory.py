"""Reads each interface's listings into models and instances; pure: each shape is a table row.

Available (on disk) and loaded are told apart by what a listing *says*, never by counting:
``/v1/models`` lists everything on disk or what is loaded only, by a setting (JIT) it does not tell.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import cast

from bot.domain.hosts import Instance, Model, ModelKind
from bot.domain.ids import InstanceId, InstanceRef, ModelKey
from bot.fleet.client import CONFIG_NAMES, LoadValue

JsonObject = Mapping[str, object]
HostList = tuple[dict[ModelKey, Model], tuple[Instance, ...]]
"""Everything on disk, and everything in memory."""

_COPY = re.compile(r":\d+$")
"""LM Studio numbers further copies: ``key:2``, ``key:3``."""


class Garbled(Exception):
    """The host answered something that is no listing."""


def wire_object(value: object) -> JsonObject:
    """The value as a JSON object.

    Raises:
        Garbled: it is none.
    """
    if not isinstance(value, Mapping):
        raise Garbled(f"expected an object, got {type(value).__name__}")
    return cast(JsonObject, value)


def wire_objects(value: object, name: str = "") -> list[JsonObject]:
    """The value, or the member of that name, as a JSON array of objects.

    Raises:
        Garbled: it is none.
    """
    value = wire_object(value).get(name) if name else value
    if not isinstance(value, list | tuple):
        raise Garbled(f"expected a list, got {type(value).__name__}")
    return [wire_object(entry) for entry in cast(Sequence[object], value)]


def members(value: object) -> JsonObject:
    """The members of a JSON object; of anything else none."""
    return cast(JsonObject, value) if isinstance(value, Mapping) else {}


def text(wire: JsonObject, name: str, otherwise: str = "") -> str:
    """A member that is text, else ``otherwise``."""
    value = wire.get(name)
    return value if isinstance(value, str) else otherwise


def number(wire: JsonObject, name: str) -> int | None:
    """A member that is a positive whole number, else None."""
    value = wire.get(name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and value > 0 else None


def has_list(payload: object, name: str) -> bool:
    """Does an answer carry a list under this name?

    ``/api/v1/models`` answers ``models``, ``/api/v0/models`` and ``/v1/models`` answer ``data``. A
    host that does not know a path answers status 200 with an error, so the status proves nothing.
    """
    return isinstance(members(payload).get(name), list | tuple)


def has_v0_shape(payload: object) -> bool:
    """Does every entry say whether it is loaded? Only ``/api/v0/models`` does."""
    return has_list(payload, "data") and all("state" in e for e in wire_objects(payload, "data"))


def _required(wire: JsonObject, name: str) -> str:
    if not (value := text(wire, name)):
        raise Garbled(f"no `{name}` in a listing")
    return value


def _kind(wire: JsonObject, is_vision: bool) -> ModelKind:
    match text(wire, "type"):
        case "embedding" | "embeddings":
            return "embedding"
        case "vlm":
            return "vlm"
        case _:
            return "vlm" if is_vision else "llm"


def _quantization(wire: JsonObject) -> str:
    return text(members(wire.get("quantization")), "name") or text(wire, "quantization")


def socket_models(listing: object) -> dict[ModelKey, Model]:
    """The SDK's ``listDownloadedModels``: everything on disk."""
    models: dict[ModelKey, Model] = {}
    for wire in wire_objects(listing):
        key, is_vision = ModelKey(_required(wire, "modelKey")), wire.get("vision") is True
        models[key] = Model(
            key=key,
            kind=_kind(wire, is_vision),
            display_name=text(wire, "displayName"),
            size_bytes=number(wire, "sizeBytes"),
            max_context_length=number(wire, "maxContextLength"),
            vision=is_vision,
            tool_use=wire.get("trainedForToolUse") is True,
            architecture=text(wire, "architecture"),
            quantization=_quantization(wire),
        )
    return models


def socket_instances(listing: object) -> tuple[Instance, ...]:
    """The SDK's ``listLoaded`` of one namespace."""
    instances: list[Instance] = []
    for wire in wire_objects(listing):
        identifier, reference = _required(wire, "identifier"), text(wire, "instanceReference")
        ttl_ms = number(wire, "ttlMs")
        instances.append(
            # The SDK's own reader drops ttlMs and lastUsedTime, which tell whose a load was and
            # whether others use it.
            Instance(
                identifier=InstanceId(identifier),
                model_key=ModelKey(text(wire, "modelKey", identifier)),
                reference=InstanceRef(reference) if reference else None,
                context_length=number(wire, "contextLength"),
                parallel=number(wire, "parallel"),
                size_bytes=number(wire, "sizeBytes"),
                kind=_kind(wire, wire.get("vision") is True),
                last_used=number(wire, "lastUsedTime"),
                net_ttl_s=ttl_ms and ttl_ms // 1000,
            )
        )
    return tuple(instances)


def with_native(
    models: Mapping[ModelKey, Model], residents: Iterable[Instance], native: object
) -> HostList:
    """The socket's listing with what only ``/api/v1/models`` tells: reasoning, and slots.

    A host without that interface is older than 0.4: it answers one request at a time.
    """
    slots: dict[InstanceId, int | None] = {}
    told = has_list(native, "models")
    if told:
        disk, loaded = v1_listing(native)
        thinking = {key for key, model in disk.items() if model.reasoning}
        models = {key: replace(model, reasoning=key in thinking) for key, model in models.items()}
        slots = {instance.identifier: instance.parallel for instance in loaded}
    with_slots = (
        replace(i, parallel=slots.get(i.identifier) if told else 1) if i.parallel is None else i
        for i in residents
    )
    return dict(models), tuple(with_slots)


def socket_config(told: object) -> dict[str, LoadValue]:
    """A load configuration as the socket tells it: fields by name and value."""
    found: dict[str, LoadValue] = {}
    for field in wire_objects(told, "fields"):
        name, value = text(field, "key").rpartition(".")[2], field.get("value")
        # Of a check box: what stands in one that is not checked does not hold.
        if box := members(value):
            value = box.get("value") if box.get("checked") is True else None
        name = "gpu.ratio" if name == "offloadRatio" else name
        if name in CONFIG_NAMES and isinstance(value, LoadValue):
            found[name] = value
    return found


def v1_config(payload: object, identifier: InstanceId) -> dict[str, LoadValue]:
    """An instance's load configuration as ``/api/v1/models`` lists it."""
    for entry in wire_objects(payload, "models"):
        for loaded in wire_objects(entry, "loaded_instances"):
            if text(loaded, "id") == identifier:
                told = members(loaded.get("config"))
                named = {_camel(name): value for name, value in told.items()}
                return {
                    name: value
                    for name, value in named.items()
                    if name in CONFIG_NAMES and isinstance(value, LoadValue)
                }
    return {}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)


def v1_listing(payload: object) -> HostList:
    """``/api/v1/models`` (LM Studio 0.4); it tells no instance references."""
    models: dict[ModelKey, Model] = {}
    instances: list[Instance] = []
    for entry in wire_objects(payload, "models"):
        key = ModelKey(_required(entry, "key"))
        capabilities = members(entry.get("capabilities"))
        models[key] = model = Model(
            key=key,
            kind=_kind(entry, capabilities.get("vision") is True),
            display_name=text(entry, "display_name"),
            size_bytes=number(entry, "size_bytes"),
            max_context_length=number(entry, "max_context_length"),
            vision=capabilities.get("vision") is True,
            tool_use=capabilities.get("trained_for_tool_use") is True,
            reasoning=bool(capabilities.get("reasoning")),
            architecture=text(entry, "architecture"),
            quantization=_quantization(entry),
        )
        for raw in wire_objects(entry.get("loaded_instances") or []):
            config = wire_object(raw.get("config") or {})
            instances.append(
                Instance(
                    identifier=InstanceId(_required(raw, "id")),
                    model_key=key,
                    context_length=number(config, "context_length"),
                    parallel=number(config, "parallel"),
                    size_bytes=model.size_bytes,
                    kind=model.kind,
                )
            )
    return models, tuple(instances)


def v0_listing(payload: object) -> HostList:
    """``/api/v0/models`` (LM Studio 0.3.6): a loaded model is listed by its instance's identifier.

    The model key behind it is a guess: a numbered copy belongs to the listed key it copies.
    """
    entries = {_required(entry, "id"): entry for entry in wire_objects(payload, "data")}
    models: dict[ModelKey, Model] = {}
    instances: list[Instance] = []
    for name, entry in entries.items():
        base = _COPY.sub("", name)
        key, kind = ModelKey(base if base in entries else name), _kind(entry, False)
        capabilities = entry.get("capabilities")
        models[key] = Model(
            key=key,
            kind=kind,
            max_context_length=number(entry, "max_context_length"),
            vision=kind == "vlm",
            tool_use=isinstance(capabilities, list | tuple) and "tool_use" in capabilities,
            architecture=text(entry, "arch"),
            quantization=_quantization(entry),
        )
        # Being listed proves nothing: this path names everything on disk.
        if text(entry, "state") == "loaded":
            instances.append(
                Instance(
                    identifier=InstanceId(name),
                    model_key=key,
                    context_length=number(entry, "loaded_context_length"),
                    # Before 0.4 a host answers one request at a time and queues the rest.
                    parallel=1,
                    kind=kind,
                )
            )
    return models, tuple(instances)


def plain_listing(payload: object) -> HostList:
    """What a host with nothing but ``/v1/models`` has: names, and no state."""
    names = [ModelKey(_required(entry, "id")) for entry in wire_objects(payload, "data")]
    return {name: Model(name) for name in names}, ()


def lists_only_loaded(
    plain: object, models: Mapping[ModelKey, Model], residents: Collection[Instance]
) -> bool | None:
    """Does ``/v1/models``, which answered ``plain``, list only what is in memory (JIT off)?

    None when the facts decide nothing: it is no list, everything on disk is in memory too, or ids
    are listed that no other list knows.
    """
    if not has_list(plain, "data"):
        return None
    listed = {_COPY.sub("", name) for name in plain_listing(plain)[0]}
    loaded = {_COPY.sub("", str(instance.identifier)) for instance in residents}
    loaded |= {str(instance.model_key) for instance in residents}
    cold = {str(key) for key in models} - loaded
    if cold & listed:
        return False
    return True if cold and listed <= loaded else None
