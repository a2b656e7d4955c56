"""Reads each interface's listings into models and instances; pure: each shape is a table row.

Available (on disk) and loaded are told apart by what a listing *says*, never by counting.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import cast

from bot.domain.hosts import Instance, Model, ModelKind
from bot.domain.ids import InstanceId, InstanceRef, ModelKey

Wire = Mapping[str, object]

_COPY = re.compile(r":\d+$")
"""LM Studio numbers further copies: ``key:2``, ``key:3``."""


class Garbled(Exception):
    """The host answered something that is no listing."""


def wire_object(value: object) -> Wire:
    """The value as a JSON object.

    Raises:
        Garbled: it is none.
    """
    if not isinstance(value, Mapping):
        raise Garbled(f"expected an object, got {type(value).__name__}")
    return cast(Wire, value)


def wire_list(value: object) -> Sequence[object]:
    """The value as a JSON array.

    Raises:
        Garbled: it is none.
    """
    if not isinstance(value, list | tuple):
        raise Garbled(f"expected a list, got {type(value).__name__}")
    return cast(Sequence[object], value)


def text(wire: Wire, name: str, otherwise: str = "") -> str:
    """A member that is text, else ``otherwise``."""
    value = wire.get(name)
    return value if isinstance(value, str) else otherwise


def number(wire: Wire, name: str) -> int | None:
    """A member that is a positive whole number, else None."""
    value = wire.get(name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and value > 0 else None


def _required(wire: Wire, name: str) -> str:
    if not (value := text(wire, name)):
        raise Garbled(f"no `{name}` in a listing")
    return value


# --- the SDK's socket ---------------------------------------------------------------------


def socket_models(listing: object) -> dict[ModelKey, Model]:
    """``listDownloadedModels``: everything on disk."""
    models = map(_socket_model, map(wire_object, wire_list(listing)))
    return {model.key: model for model in models}


def _socket_model(wire: Wire) -> Model:
    return Model(
        key=ModelKey(_required(wire, "modelKey")),
        kind=_socket_kind(wire),
        display_name=text(wire, "displayName"),
        size_bytes=number(wire, "sizeBytes"),
        max_context_length=number(wire, "maxContextLength"),
        vision=wire.get("vision") is True,
        tool_use=wire.get("trainedForToolUse") is True,
        architecture=text(wire, "architecture"),
        quantization=_quantization(wire),
    )


def _socket_kind(wire: Wire) -> ModelKind:
    if text(wire, "type") == "embedding":
        return "embedding"
    return "vlm" if wire.get("vision") is True else "llm"


def _quantization(wire: Wire) -> str:
    value = wire.get("quantization")
    if isinstance(value, Mapping):
        return text(wire_object(cast(object, value)), "name")
    return value if isinstance(value, str) else ""


def socket_instances(listing: object) -> tuple[Instance, ...]:
    """``listLoaded`` of one namespace."""
    return tuple(_socket_instance(wire_object(raw)) for raw in wire_list(listing))


def _socket_instance(wire: Wire) -> Instance:
    reference = text(wire, "instanceReference")
    identifier = _required(wire, "identifier")
    ttl_ms = number(wire, "ttlMs")
    return Instance(
        identifier=InstanceId(identifier),
        model_key=ModelKey(text(wire, "modelKey", identifier)),
        reference=InstanceRef(reference) if reference else None,
        context_length=number(wire, "contextLength"),
        parallel=number(wire, "parallel"),
        size_bytes=number(wire, "sizeBytes"),
        kind=_socket_kind(wire),
        last_used=number(wire, "lastUsedTime"),
        net_ttl_s=ttl_ms and ttl_ms // 1000,
    )


# --- /api/v1/models (LM Studio 0.4) -------------------------------------------------------


def has_v1_shape(payload: object) -> bool:
    """Is this the answer of ``/api/v1/models``? Older hosts answer 200 with an error instead."""
    return isinstance(payload, Mapping) and isinstance(
        cast(Wire, payload).get("models"), list | tuple
    )


def v1_models(payload: object) -> dict[ModelKey, Model]:
    """Everything on disk."""
    models = (_v1_model(entry) for entry in _v1_entries(payload))
    return {model.key: model for model in models}


def v1_instances(payload: object) -> tuple[Instance, ...]:
    """Everything in memory; this interface tells no instance references."""
    return tuple(
        _v1_instance(entry, wire_object(raw))
        for entry in _v1_entries(payload)
        for raw in wire_list(entry.get("loaded_instances") or [])
    )


def _v1_entries(payload: object) -> Iterator[Wire]:
    return map(wire_object, wire_list(wire_object(payload).get("models")))


def _v1_kind(entry: Wire, capabilities: Wire) -> ModelKind:
    if text(entry, "type") == "embedding":
        return "embedding"
    return "vlm" if capabilities.get("vision") is True else "llm"


def _capabilities(entry: Wire) -> Wire:
    value = entry.get("capabilities")
    return cast(Wire, value) if isinstance(value, Mapping) else {}


def _v1_model(entry: Wire) -> Model:
    capabilities = _capabilities(entry)
    return Model(
        key=ModelKey(_required(entry, "key")),
        kind=_v1_kind(entry, capabilities),
        display_name=text(entry, "display_name"),
        size_bytes=number(entry, "size_bytes"),
        max_context_length=number(entry, "max_context_length"),
        vision=capabilities.get("vision") is True,
        tool_use=capabilities.get("trained_for_tool_use") is True,
        reasoning=bool(capabilities.get("reasoning")),
        architecture=text(entry, "architecture"),
        quantization=_quantization(entry),
    )


def _v1_instance(entry: Wire, raw: Wire) -> Instance:
    config = wire_object(raw.get("config") or {})
    return Instance(
        identifier=InstanceId(_required(raw, "id")),
        model_key=ModelKey(_required(entry, "key")),
        context_length=number(config, "context_length"),
        parallel=number(config, "parallel"),
        size_bytes=number(entry, "size_bytes"),
        kind=_v1_kind(entry, _capabilities(entry)),
    )


def with_reasoning(
    models: Mapping[ModelKey, Model], native: Mapping[ModelKey, Model]
) -> dict[ModelKey, Model]:
    """The socket's models with what only ``/api/v1/models`` tells of them: reasoning."""
    thinking = {key for key, model in native.items() if model.reasoning}
    return {key: replace(model, reasoning=key in thinking) for key, model in models.items()}


def with_slots(residents: Iterable[Instance], native: object) -> tuple[Instance, ...]:
    """The socket's instances with their slots, which only ``/api/v1/models`` tells.

    A host without that interface is older than 0.4: it answers one request at a time.
    """
    if not has_v1_shape(native):
        return tuple(_with_parallel(instance, 1) for instance in residents)
    told = {instance.identifier: instance.parallel for instance in v1_instances(native)}
    return tuple(_with_parallel(i, told.get(i.identifier)) for i in residents)


def _with_parallel(instance: Instance, parallel: int | None) -> Instance:
    if instance.parallel is not None:
        return instance
    return replace(instance, parallel=parallel)


# --- /api/v0/models (LM Studio 0.3.6) -----------------------------------------------------


def has_data_shape(payload: object) -> bool:
    """Is this the answer of ``/api/v0/models`` or ``/v1/models``?"""
    return isinstance(payload, Mapping) and isinstance(
        cast(Wire, payload).get("data"), list | tuple
    )


def has_v0_shape(payload: object) -> bool:
    """Does every entry say whether it is loaded? Only ``/api/v0/models`` does."""
    return has_data_shape(payload) and all("state" in entry for entry in _data(payload))


def v0_models(payload: object) -> dict[ModelKey, Model]:
    """Everything on disk; a loaded model is listed by its instance's identifier."""
    entries = list(_data(payload))
    keys = _v0_keys(entries)
    return {keys[_required(e, "id")]: _v0_model(e, keys[_required(e, "id")]) for e in entries}


def v0_instances(payload: object) -> tuple[Instance, ...]:
    """Everything in memory."""
    entries = list(_data(payload))
    keys = _v0_keys(entries)
    return tuple(
        Instance(
            identifier=InstanceId(_required(entry, "id")),
            model_key=keys[_required(entry, "id")],
            context_length=number(entry, "loaded_context_length"),
            kind=_v0_kind(entry),
            # Before 0.4 a host answers one request at a time and queues the rest.
            parallel=1,
        )
        for entry in entries
        if text(entry, "state") == "loaded"
    )


def _data(payload: object) -> Iterator[Wire]:
    return map(wire_object, wire_list(wire_object(payload).get("data")))


def _v0_keys(entries: Iterable[Wire]) -> dict[str, ModelKey]:
    """The model key behind each listed id: a numbered copy belongs to the key it copies."""
    ids = [_required(entry, "id") for entry in entries]
    known = set(ids)
    bases = {name: _COPY.sub("", name) for name in ids}
    return {name: ModelKey(base if base in known else name) for name, base in bases.items()}


def _v0_kind(entry: Wire) -> ModelKind:
    match text(entry, "type"):
        case "embeddings" | "embedding":
            return "embedding"
        case "vlm":
            return "vlm"
        case _:
            return "llm"


def _v0_model(entry: Wire, key: ModelKey) -> Model:
    capabilities = entry.get("capabilities")
    tools = isinstance(capabilities, list | tuple) and "tool_use" in capabilities
    kind = _v0_kind(entry)
    return Model(
        key=key,
        kind=kind,
        max_context_length=number(entry, "max_context_length"),
        vision=kind == "vlm",
        tool_use=tools,
        architecture=text(entry, "arch"),
        quantization=_quantization(entry),
    )


# --- /v1/models ---------------------------------------------------------------------------


def listed_ids(payload: object) -> tuple[str, ...]:
    """The ids ``/v1/models`` lists; whether they are loaded it does not say."""
    return tuple(_required(entry, "id") for entry in _data(payload))


def plain_models(payload: object) -> dict[ModelKey, Model]:
    """What a host with nothing but ``/v1/models`` has: names, and no state."""
    return {ModelKey(name): Model(ModelKey(name)) for name in listed_ids(payload)}


def lists_only_loaded(
    ids: Iterable[str], models: Mapping[ModelKey, Model], residents: Collection[Instance]
) -> bool | None:
    """Does ``/v1/models`` list only what is in memory (JIT off)?

    None when the facts decide nothing: everything on disk is in memory too, or ids are listed that
    no other list knows.
    """
    listed = {_COPY.sub("", name) for name in ids}
    loaded = {_COPY.sub("", str(s.identifier)) for s in residents}
    loaded |= {str(s.model_key) for s in residents}
    cold = {str(key) for key in models} - loaded
    if cold & listed:
        return False
    return True if cold and listed <= loaded else None
