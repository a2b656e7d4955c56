"""LM Studio's own REST paths: `/api/v0` since 0.3.6, `/api/v1` since 0.4."""

from aiohttp import web

from bot.sim.engine import Engine
from bot.sim.errors import BadRequest, ConnectionCut, ModelNotOnDisk, SimError
from bot.sim.memory import Instance, LoadOrder
from bot.sim.wire_json import JsonObject, text_of
from bot.sim.wire_rest import ENGINE, answer, cut, native_error, read_body
from bot.sim.wire_shapes import V1_LOAD_KEYS, v0_model, v1_load_config, v1_model

ONE_V0 = "/api/v0/models/"
"""What stands before a model's name where one is asked for."""

_LOAD_BODY = frozenset({"model", "echo_load_config", *V1_LOAD_KEYS})


async def models_v0(request: web.Request) -> web.StreamResponse:
    """List everything on disk with its state."""
    return answer({"object": "list", "data": _v0_models(request.app[ENGINE])})


async def model_v0(request: web.Request) -> web.StreamResponse:
    """Describe one model."""
    name = request.path.removeprefix(ONE_V0)
    found = [m for m in _v0_models(request.app[ENGINE]) if m["id"] == name]
    if not found:
        return answer({"error": f"Model with id {name} not found"}, 404)
    return answer(found[0])


async def models_v1(request: web.Request) -> web.StreamResponse:
    """List everything on disk with its instances."""
    engine = request.app[ENGINE]
    resident = list(engine.memory)
    return answer(
        {
            "models": [
                v1_model(model, [i for i in resident if i.model.key == model.key])
                for model in engine.config.models
            ]
        }
    )


async def load_v1(request: web.Request) -> web.StreamResponse:
    """Load a model; answers when it is resident."""
    engine = request.app[ENGINE]
    try:
        body = await read_body(request)
        order = _load_order(engine, body)
        began_s = engine.clock.now()
        instance = await engine.finish(engine.load(order))
    except SimError as error:
        return answer(native_error(error), error.http_status)
    except ConnectionCut:
        cut(request)
        return web.Response()
    reply: JsonObject = {
        "type": "embedding" if instance.model.is_embedding else "llm",
        "instance_id": instance.identifier,
        "load_time_seconds": engine.clock.now() - began_s,
        "status": "loaded",
    }
    if body.get("echo_load_config") is True:
        reply["load_config"] = v1_load_config(instance)
    return answer(reply)


async def unload_v1(request: web.Request) -> web.StreamResponse:
    """Unload an instance."""
    engine = request.app[ENGINE]
    try:
        body = await read_body(request)
        name = text_of(body, "instance_id")
        if name is None:
            raise BadRequest("'instance_id' is required")
        instance = _exact(engine, name)
    except SimError as error:
        return answer(native_error(error), error.http_status)
    engine.loader.unload(instance, "asked")
    return answer({"instance_id": name})


def _v0_models(engine: Engine) -> list[JsonObject]:
    resident = list(engine.memory)
    loaded = [v0_model(instance.model, instance) for instance in resident]
    keys = {instance.model.key for instance in resident}
    rest = [v0_model(model, None) for model in engine.config.models if model.key not in keys]
    return loaded + rest


def _load_order(engine: Engine, body: JsonObject) -> LoadOrder:
    unknown = sorted(body.keys() - _LOAD_BODY)
    if unknown:
        names = ", ".join(f"'{name}'" for name in unknown)
        raise BadRequest(f"Unrecognized key(s) in object: {names}")
    key = text_of(body, "model")
    if key is None:
        raise BadRequest("'model' is required")
    fields = {wire: body[name] for name, wire in V1_LOAD_KEYS.items() if name in body}
    return LoadOrder(engine.on_disk(key), fields=fields, via="rest")


def _exact(engine: Engine, name: str) -> Instance:
    found = next((instance for instance in engine.memory if instance.identifier == name), None)
    if found is None:
        raise ModelNotOnDisk(name, [instance.identifier for instance in engine.memory])
    return found
