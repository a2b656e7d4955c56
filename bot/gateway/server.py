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
from bot.gateway.errors import Problem, problem_of
from bot.gateway.inference import REQUEST_ID, Inferring
from bot.gateway.models import list_models, one_model

HEADER_S = 10.0
"""A connection whose first request is not there after so long is closed."""

BODY_S = 30.0
"""Longest a body may take to arrive."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class GatewayRules:
    """The settings of the gateway, as plain values."""

    host: str = "127.0.0.1"
    port: int = 8400
    max_body: int = 32 << 20


@asynccontextmanager
async def gateway(
    built: Lantern, rules: GatewayRules, utcnow: Callable[[], datetime]
) -> AsyncGenerator[str]:
    """Serves while the block runs; gives the base address, such as ``http://127.0.0.1:8400``."""
    app = application(built, rules, utcnow)
    # Without it a client that leaves would cancel nothing.
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, rules.host, rules.port)
        await site.start()
        host, port = runner.addresses[0][:2]
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{port}"
    finally:
        await runner.cleanup()


def application(
    built: Lantern, rules: GatewayRules, utcnow: Callable[[], datetime]
) -> web.Application:
    """Every path of the gateway."""
    app = web.Application(middlewares=[_said_alike], client_max_size=rules.max_body)
    inferring = Inferring(built, utcnow)
    router = app.router

    async def models(request: web.Request) -> web.StreamResponse:
        return list_models(built)

    async def model(request: web.Request) -> web.StreamResponse:
        return one_model(built, request.match_info["id"])

    router.add_get("/v1/models", models)
    router.add_get("/v1/models/{id:.+}", model)
    router.add_post("/v1/chat/completions", inferring.handler("chat", "/chat/completions"))
    router.add_post("/v1/completions", inferring.handler("text", "/completions"))
    router.add_post("/v1/embeddings", inferring.handler("embeddings", "/embeddings"))
    router.add_post("/v1/responses", inferring.handler("responses", "/responses"))
    router.add_post("/v1/messages", inferring.handler("messages", "/messages"))
    return app


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
