"""The HTTP server: listens, lets in who may, answers every path, and says every error alike."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import structlog
from aiohttp import web

from bot.chat.lantern import Lantern
from bot.domain.errors import ConfigError
from bot.gateway.doors import DoorRules, Doors
from bot.gateway.errors import Problem, problem_of
from bot.gateway.inference import CALLER, REQUEST_ID, Inferring
from bot.gateway.models import list_models, one_model
from bot.policy.http_doors import is_loopback
from bot.policy.keys import Scope
from bot.store.keys import KeyStore

_OPEN = frozenset({"/healthz", "/readyz"})

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class GatewayRules:
    """The settings of the gateway, as plain values."""

    doors: DoorRules
    host: str = "127.0.0.1"
    port: int = 8400
    max_body: int = 32 << 20


@asynccontextmanager
async def gateway(
    built: Lantern, rules: GatewayRules, utcnow: Callable[[], datetime]
) -> AsyncGenerator[str]:
    """Serves while the block runs; gives the base address, such as ``http://127.0.0.1:8400``.

    Raises:
        ConfigError: the address cannot be listened on, or is open to others without any key.
    """
    keys = KeyStore(built.database)
    if not is_loopback(rules.host) and not await keys.all():
        words = (
            f"gateway.listen: {rules.host} is open to the network, and no key was made. "
            "Make one: lantern keys add NAME --scope inference"
        )
        raise ConfigError((words,))
    doors = Doors(rules.doors, keys, utcnow)
    app = application(built, doors, rules.max_body, utcnow)
    # Without it a client that leaves would cancel nothing.
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, rules.host, rules.port)
        try:
            await site.start()
        except OSError as error:
            words = (
                f"gateway.listen: {rules.host}:{rules.port} cannot be listened on: {error.strerror}"
            )
            raise ConfigError((words,)) from error
        host, port = runner.addresses[0][:2]
        yield f"http://{f'[{host}]' if ':' in host else host}:{port}"
    finally:
        await runner.cleanup()


def application(
    built: Lantern, doors: Doors, max_body: int, utcnow: Callable[[], datetime]
) -> web.Application:
    """Every path of the gateway, each behind its door."""

    @web.middleware
    async def behind_doors(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[CALLER] = await doors.admit(request, scope_of(request.path))
        return await handler(request)

    app = web.Application(middlewares=[_said_alike, behind_doors], client_max_size=max_body)
    inferring = Inferring(built, utcnow)
    router = app.router

    async def models(request: web.Request) -> web.StreamResponse:
        return list_models(built, request[CALLER])

    async def model(request: web.Request) -> web.StreamResponse:
        return one_model(built, request[CALLER], request.match_info["id"])

    router.add_get("/v1/models", models)
    router.add_get("/v1/models/{id:.+}", model)
    router.add_post("/v1/chat/completions", inferring.handler("chat", "/chat/completions"))
    router.add_post("/v1/completions", inferring.handler("text", "/completions"))
    router.add_post("/v1/embeddings", inferring.handler("embeddings", "/embeddings"))
    router.add_post("/v1/responses", inferring.handler("responses", "/responses"))
    router.add_post("/v1/messages", inferring.handler("messages", "/messages"))
    return app


def scope_of(path: str) -> Scope | None:
    """What a path is for; an unknown one is behind a door as well."""
    if path in _OPEN:
        return None
    if path == "/metrics":
        return "metrics"
    return "admin" if path.startswith("/admin/") else "inference"


@web.middleware
async def _said_alike(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error in OpenAI's object, with the request's id; never a page of text."""
    number = secrets.token_hex(8)
    request[REQUEST_ID] = number
    is_anthropic = request.path.startswith("/v1/messages")
    try:
        response = await handler(request)
    except web.HTTPException as refused:
        response = _of_router(refused).answer(is_anthropic=is_anthropic)
    except asyncio.CancelledError:
        _log.info("request", request=number, path=request.path, status=499)
        raise
    except Exception as error:
        problem = problem_of(error)
        if problem.code == "internal_error":
            _log.exception("request broke", request=number)
        response = problem.answer(is_anthropic=is_anthropic)
    if not response.prepared:
        response.headers["x-request-id"] = number
    return response


def _of_router(refused: web.HTTPException) -> Problem:
    if isinstance(refused, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(refused.allowed_methods))
        words = f"This path takes {allowed}."
        return Problem(405, words, "unknown_url", headers={"Allow": allowed})
    if isinstance(refused, web.HTTPRequestEntityTooLarge):
        return Problem(413, "The body is too large.", "request_too_large")
    if refused.status == 404:
        return Problem(404, "There is nothing at this path.", "unknown_url")
    return Problem(refused.status, refused.reason or "The request cannot be read.")
