"""Which path is served by what, per LM Studio generation."""

from aiohttp import web

from bot.sim import wire_rest_native as native
from bot.sim import wire_rest_openai as openai
from bot.sim.models import SimHostConfig
from bot.sim.wire_rest import KEPT, answer
from bot.sim.wire_rest_answers import handler
from bot.sim.wire_socket import NAMESPACES, serve_socket


def add_routes(app: web.Application, config: SimHostConfig) -> None:
    """Add every path; unknown ones answer 200 with an error text, as LM Studio does."""
    app[KEPT] = {}
    router = app.router
    router.add_get("/lmstudio-greeting", _greet, allow_head=False)
    for namespace in NAMESPACES:
        router.add_get(f"/{namespace}", serve_socket, allow_head=False)
    router.add_get("/v1/models", openai.list_models, allow_head=False)
    router.add_post("/v1/chat/completions", handler("chat"))
    router.add_post("/v1/completions", handler("text"))
    router.add_post("/v1/embeddings", openai.embeddings)
    router.add_get("/api/v0/models", native.models_v0, allow_head=False)
    router.add_get("/api/v0/models/{name:.+}", native.model_v0, allow_head=False)
    router.add_post("/api/v0/chat/completions", handler("chat", native=True))
    router.add_post("/api/v0/completions", handler("text", native=True))
    router.add_post("/api/v0/embeddings", openai.embeddings)
    if config.responses:
        router.add_post("/v1/responses", handler("responses"))
    if config.generation == "0.4":
        router.add_post("/v1/messages", handler("messages"))
        router.add_get("/api/v1/models", native.models_v1, allow_head=False)
        router.add_post("/api/v1/models/load", native.load_v1)
        router.add_post("/api/v1/models/unload", native.unload_v1)
    router.add_route("*", "/{anything:.*}", _unexpected)


async def _greet(_request: web.Request) -> web.StreamResponse:
    return answer({"lmstudio": True})


async def _unexpected(request: web.Request) -> web.StreamResponse:
    text = f"Unexpected endpoint or method. ({request.method} {request.path})"
    return answer({"error": text})
