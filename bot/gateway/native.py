"""LM Studio's own lists, ``/api/v0/models`` and ``/api/v1/models``, as the union of the fleet."""

from aiohttp import web

from bot.chat.lantern import Lantern
from bot.domain.hosts import HostSnapshot, Instance, Model
from bot.domain.ids import ModelKey
from bot.gateway.doors import Caller
from bot.gateway.models import unknown_model
from bot.policy.fitness import sees

Known = tuple[Model, list[Instance]]


def list_v0(built: Lantern, caller: Caller, _name: str = "") -> web.Response:
    """Every model as LM Studio 0.3 lists them: a row for each, with its state."""
    data = [_v0(model, instances) for model, instances in _rows(built, caller).values()]
    return web.json_response({"object": "list", "data": data})


def one_v0(built: Lantern, caller: Caller, name: str) -> web.Response:
    """One of them.

    Raises:
        UnknownName: nobody has it.
    """
    rows = _rows(built, caller)
    if name not in rows:
        raise unknown_model(name, rows)
    return web.json_response(_v0(*rows[ModelKey(name)]))


def list_v1(built: Lantern, caller: Caller, _name: str = "") -> web.Response:
    """Every model as LM Studio 0.4 lists them: with all its instances, wherever they are."""
    rows = _rows(built, caller).values()
    return web.json_response({"models": [_v1(model, instances) for model, instances in rows]})


def _rows(built: Lantern, caller: Caller) -> dict[ModelKey, Known]:
    hosts: list[HostSnapshot] = list(built.catalog.snapshot().hosts.values())
    rows: dict[ModelKey, Known] = {}
    for key in built.catalog.all_model_keys():
        if caller.may_ask_for(key):
            instances = [i for host in hosts for i in host.loaded if i.model_key == key]
            # What was loaded from outside the catalogue is known by its instance alone.
            kind = instances[0].kind if instances else "llm"
            known = (host.models[key] for host in hosts if key in host.models)
            rows[key] = next(known, Model(key, kind)), instances
    return rows


def _v0(model: Model, instances: list[Instance]) -> dict[str, object]:
    kind = "embeddings" if model.kind == "embedding" else "vlm" if sees(model) else "llm"
    row: dict[str, object] = {
        "id": str(model.key),
        "object": "model",
        "type": kind,
        "publisher": _publisher(model),
        "arch": model.architecture,
        "quantization": model.quantization,
        "state": "loaded" if instances else "not-loaded",
        "max_context_length": model.max_context_length,
    }
    if windows := [i.context_length for i in instances if i.context_length]:
        row["loaded_context_length"] = max(windows)
    return row | ({"capabilities": ["tool_use"]} if model.tool_use else {})


def _v1(model: Model, instances: list[Instance]) -> dict[str, object]:
    row: dict[str, object] = {
        "type": "embedding" if model.kind == "embedding" else "llm",
        "publisher": _publisher(model),
        "key": str(model.key),
        "display_name": model.display_name or str(model.key),
        "architecture": model.architecture,
        "quantization": {"name": model.quantization},
        "size_bytes": model.size_bytes,
        "params_string": None,
        "loaded_instances": [
            {
                "id": str(instance.identifier),
                "config": {"context_length": instance.context_length}
                | ({} if instance.parallel is None else {"parallel": instance.parallel}),
            }
            for instance in instances
        ],
        "max_context_length": model.max_context_length,
        "format": None,
        "description": None,
    }
    if model.kind == "embedding":
        return row
    able: dict[str, object] = {"vision": sees(model), "trained_for_tool_use": model.tool_use}
    if model.reasoning:
        able["reasoning"] = {"allowed_options": ["off", "on"], "default": "on"}
    return row | {"capabilities": able}


def _publisher(model: Model) -> str:
    head, slash, _ = str(model.key).partition("/")
    return head if slash else ""
