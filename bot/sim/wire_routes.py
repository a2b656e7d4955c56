"""Which path is served by what, per LM Studio generation."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from bot.sim import wire_rest_native as native
from bot.sim import wire_rest_openai as openai
from bot.sim.models import SimHostConfig
from bot.sim.wire_rest import KEPT, answer
from bot.sim.wire_rest_answers import handler
from bot.sim.wire_socket import NAMESPACES, serve_socket

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def add_routes(app: web.Application, config: SimHostConfig) -> None:
    """Add every path; unknown ones answer 200 with an error text, as LM Studio does."""
    app[KEPT] = {}
    served = _served(config)

    async def serve(request: web.Request) -> web.StreamResponse:
        method, path = request.method, request.path
        serving = served.get((method, path), _unexpected)
        if method == "GET" and path.startswith(native.ONE_V0) and path != native.ONE_V0:
            serving = native.model_v0
        return await serving(request)

    # One for all: aiohttp takes longer to add twenty than all the rest of a start.
    app.router.add_route("*", "/{anything:.*}", serve)


def _served(config: SimHostConfig) -> dict[tuple[str, str], Handler]:
    served: dict[tuple[str, str], Handler] = dict(_OF_ALL)
    if config.responses:
        served["POST", "/v1/responses"] = _RESPONSES
    if config.generation == "0.4":
        served |= _OF_0_4
    return served


async def _greet(_request: web.Request) -> web.StreamResponse:
    return answer({"lmstudio": True})


async def _unexpected(request: web.Request) -> web.StreamResponse:
    text = f"Unexpected endpoint or method. ({request.method} {request.path})"
    return answer({"error": text})


_RESPONSES = handler("responses")
_OF_ALL: dict[tuple[str, str], Handler] = {
    ("GET", "/lmstudio-greeting"): _greet,
    **{("GET", f"/{namespace}"): serve_socket for namespace in NAMESPACES},
    ("GET", "/v1/models"): openai.list_models,
    ("POST", "/v1/chat/completions"): handler("chat"),
    ("POST", "/v1/completions"): handler("text"),
    ("POST", "/v1/embeddings"): openai.embeddings,
    ("GET", "/api/v0/models"): native.models_v0,
    ("POST", "/api/v0/chat/completions"): handler("chat", native=True),
    ("POST", "/api/v0/completions"): handler("text", native=True),
    ("POST", "/api/v0/embeddings"): openai.embeddings,
}
_OF_0_4: dict[tuple[str, str], Handler] = {
    ("POST", "/v1/messages"): handler("messages"),
    ("GET", "/api/v1/models"): native.models_v1,
    ("POST", "/api/v1/models/load"): native.load_v1,
    ("POST", "/api/v1/models/unload"): native.unload_v1,
}
