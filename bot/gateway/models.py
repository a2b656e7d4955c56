"""The fleet's models and personas, as the lists of OpenAI show them; from memory alone."""

from collections.abc import Iterable

from aiohttp import web

from bot.chat.lantern import Lantern
from bot.domain.errors import UnknownName
from bot.domain.hosts import FleetSnapshot, HostSnapshot
from bot.domain.ids import ModelKey
from bot.gateway.doors import Caller
from bot.policy.names import nearest

MODELS = "GET /v1/models"
"""Where a client finds the names of all it may ask for."""


def list_models(built: Lantern, caller: Caller, _name: str = "") -> web.Response:
    """Every model that any host has, each once, and every persona."""
    return web.json_response({"object": "list", "data": list(_known(built, caller).values())})


def one_model(built: Lantern, caller: Caller, name: str) -> web.Response:
    """One of them.

    Raises:
        UnknownName: nobody has it.
    """
    known = _known(built, caller)
    if name not in known:
        raise unknown_model(name, known)
    return web.json_response(known[name])


def unknown_model(name: str, known: Iterable[str]) -> UnknownName:
    """What a client is told that asks for a model which is none of those it may ask for."""
    return UnknownName("model", name, nearest(name, sorted(known)), listed=MODELS)


def _known(built: Lantern, caller: Caller) -> dict[str, dict[str, object]]:
    """What this caller may ask for, models first; a model key wins over a persona of its name."""
    snapshot = built.catalog.snapshot()
    models = {str(key): _model(snapshot, key) for key in built.catalog.all_model_keys()}
    both = models | {n: persona for n, persona in _personas(built).items() if n not in models}
    may_answer = {
        name: (persona.model, *persona.alternatives)
        for name, persona in built.shelf.for_clients().items()
    }
    return {
        name: told
        for name, told in both.items()
        if caller.may_ask_for(name, () if name in models else may_answer[name])
    }


def _model(snapshot: FleetSnapshot, key: ModelKey) -> dict[str, object]:
    hosts = snapshot.holders(key)
    model = next((host.models[key] for host in hosts if key in host.models), None)
    windows = [size for host in hosts if (size := _loaded(host, key))]
    most = model.max_context_length if model is not None else None
    # What is loaded counts; clients without any figure assume 8 to 16 thousand.
    window = max(windows, default=None) or most
    is_loaded = any(host.has_loaded(key) for host in hosts)
    return {
        "id": str(key),
        "object": "model",
        # OpenAI's types want a number, and LM Studio tells none.
        "created": 0,
        "owned_by": "lantern",
        "name": (model.display_name if model else "") or str(key),
        "type": model.kind if model is not None else "llm",
        "state": "loaded" if is_loaded else "not-loaded",
        "status": {"value": "loaded" if is_loaded else "unloaded"},
        "context_length": window,
        "max_model_len": window,
        "max_context_length": most,
        "arch": model.architecture if model is not None else "",
        "quantization": model.quantization if model is not None else "",
        "capabilities": [
            name
            for name, has in (
                ("tool_use", model is not None and model.tool_use),
                ("vision", model is not None and model.vision),
            )
            if has
        ],
        "hosts": [host.name for host in hosts],
    }


def _loaded(host: HostSnapshot, key: ModelKey) -> int | None:
    """The largest window it is loaded with there."""
    windows = [i.context_length or 0 for i in host.loaded if i.model_key == key]
    return max(windows, default=0) or None


def _personas(built: Lantern) -> dict[str, dict[str, object]]:
    return {
        name: {
            "id": name,
            "object": "model",
            "created": 0,
            "owned_by": "lantern-persona",
            "name": name,
            "description": persona.description,
        }
        for name, persona in built.shelf.for_clients().items()
    }
