"""The HTTP server: listens, lets in who may, answers every path, and says every error alike."""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import structlog
from aiohttp import web

from bot.chat.lantern import Lantern
from bot.chat.planning import FIRST_LOOK_S
from bot.chat.relayed import RequestForm
from bot.domain.errors import ConfigError
from bot.gateway.active import ActiveModel
from bot.gateway.admin import Admin
from bot.gateway.connections import (
    BODY_S,
    EXPECTS,
    SERVER,
    USUAL,
    ConnectionLimits,
    connections,
)
from bot.gateway.cors import cors_headers, is_preflight, preflight
from bot.gateway.doors import Caller, DoorRules, Doors
from bot.gateway.errors import Problem, problem_of
from bot.gateway.inference import CALLER, REQUEST_ID, Inferring
from bot.gateway.models import list_models, one_model
from bot.gateway.native import list_v0, list_v1, one_v0
from bot.gateway.pages import PREFIX, Pages
from bot.gateway.sinks import LIFE, LifePace, id_headers
from bot.gateway.watching import Watching
from bot.policy.http_doors import is_loopback
from bot.policy.keys import KeyScope
from bot.store.keys import KeyStore

CLOSE_S = 0.5
"""A request still running when the gateway closes gets so long to end."""

BACKLOG = 1024
"""Connections that come at once wait in the system's own line; asyncio's holds 100."""

_OPEN = frozenset({"/", "/favicon.ico", "/healthz", "/readyz"})

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Listed = Callable[[Lantern, Caller, str], web.Response]

_LISTS: tuple[tuple[str, Listed], ...] = (
    ("/v1/models", list_models),
    ("/v1/models/{id:.+}", one_model),
    ("/api/v0/models", list_v0),
    ("/api/v0/models/{id:.+}", one_v0),
    ("/api/v1/models", list_v1),
)

_ANSWERS: tuple[tuple[RequestForm, str], ...] = (
    ("chat", "/chat/completions"),
    ("text", "/completions"),
    ("embeddings", "/embeddings"),
    ("responses", "/responses"),
    ("messages", "/messages"),
)
"""What models answer: the form of a request, and its path below ``/v1``, here and at a host."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class GatewayRules:
    """The settings of the gateway, as plain values."""

    doors: DoorRules
    host: str = "127.0.0.1"
    port: int = 8400
    max_body: int = 32 << 20
    cors_origins: frozenset[str] = frozenset()
    limits: ConnectionLimits = USUAL
    pace: LifePace = LIFE


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
    active = ActiveModel(built.notes, built.catalog)
    await active.restore()
    watching = Watching(built, active, utcnow)
    app = application(built, doors, active, watching, rules, utcnow)
    # Without cancellation a client that leaves would stop nothing. Whoever still runs when this
    # block is left was waited for before.
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=CLOSE_S)
    await runner.setup()
    try:
        assert runner.server is not None, "it was set up"
        loop = asyncio.get_running_loop()
        make = connections(runner.server, rules.limits)
        try:
            listener = await loop.create_server(make, rules.host, rules.port, backlog=BACKLOG)
        except OSError as error:
            words = (
                f"gateway.listen: {rules.host}:{rules.port} cannot be listened on: {error.strerror}"
            )
            raise ConfigError((words,)) from error
        try:
            host, port = listener.sockets[0].getsockname()[:2]
            with watching.running():
                yield f"http://{f'[{host}]' if ':' in host else host}:{port}"
        finally:
            listener.close()
    finally:
        await runner.cleanup()


def application(
    built: Lantern,
    doors: Doors,
    active: ActiveModel,
    watching: Watching,
    rules: GatewayRules,
    utcnow: Callable[[], datetime],
) -> web.Application:
    """Every path of the gateway, each behind its door."""

    @web.middleware
    async def behind_doors(request: web.Request, handler: Handler) -> web.StreamResponse:
        _check_http(request)
        if is_preflight(request, rules.cors_origins):
            doors.check_where_from(request)
            return preflight(request)
        try:
            request[CALLER] = await doors.admit(request, scope_of(request.path))
        except Problem as refused:
            watching.metrics.turned_away.add(1, refused.code or "unknown")
            raise
        if request.get(EXPECTS, "100-continue").lower() != "100-continue":
            raise Problem(417, "The only expectation that can be met is `100-continue`.")
        return await handler(request)

    async def tell(request: web.Request, response: web.StreamResponse) -> None:
        # Here, for a stream sends its headers long before its handler ends.
        headers, caller = response.headers, request.get(CALLER)
        headers["Server"] = SERVER
        is_anthropic = _is_anthropic(request)
        headers.update(id_headers(request[REQUEST_ID], is_anthropic=is_anthropic))
        if rules.cors_origins:
            headers.update(cors_headers(request, rules.cors_origins))
        if caller is not None and caller.limits:
            headers.update(caller.limits)

    # Of aiohttp's own limit, 1 MiB, a picture makes a request that fails.
    app = web.Application(middlewares=[_said_alike, behind_doors], client_max_size=rules.max_body)
    app[BODY_S] = rules.limits.body_s
    app.on_response_prepare.append(tell)
    admit = partial(doors.admit, scope="inference", again=True)
    inferring = Inferring(built, active, utcnow, rules.pace, watching, admit)
    app.cleanup_ctx.append(lambda _: inferring.keys.running())
    router = app.router

    for where, listed in _LISTS:
        router.add_get(where, partial(_list, built, listed))
    for form, path in _ANSWERS:
        router.add_post(f"/v1{path}", partial(inferring.answer, form, path))
    router.add_post("/v1/messages/count_tokens", inferring.count_tokens)
    router.add_get("/metrics", watching.scrape)
    router.add_get("/healthz", watching.health)
    router.add_get("/readyz", watching.health)
    Admin(built, active, watching, doors).add_to(router)
    Pages().add_to(router)
    # What a viewer reads has no end of its own, and would be waited for.
    app.on_shutdown.append(watching.feed.close)
    return app


def _check_http(request: web.Request) -> None:
    """What can be read of a request, whoever sends it.

    Raises:
        Problem: it is meant for a proxy, or packed.
    """
    if not request.raw_path.startswith("/"):
        # What proxies are asked for. Its own host would count, and nobody has looked at that.
        raise Problem(400, "This is no proxy: ask for a path.", "unknown_url")
    coding = request.headers.get("Transfer-Encoding", "chunked").strip().lower()
    if coding != "chunked":
        # The parser takes `gzip, chunked`, and would hand on what is still packed.
        raise Problem(400, "The only `Transfer-Encoding` that is read is `chunked`.")


async def _list(built: Lantern, listed: Listed, request: web.Request) -> web.StreamResponse:
    # Clients keep what they were listed: one that asked as Lantern started saw personas alone.
    await built.fleet.settled(FIRST_LOOK_S)
    return listed(built, request[CALLER], request.match_info.get("id", ""))


def scope_of(path: str) -> KeyScope | None:
    """What a path is for; an unknown one is behind a door as well."""
    # The page holds nothing by itself: it asks for a key, and with that for the rest.
    if path in _OPEN or path.startswith(PREFIX):
        return None
    if path == "/metrics":
        return "metrics"
    return "admin" if path.startswith("/admin/") else "inference"


@web.middleware
async def _said_alike(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error in OpenAI's object, with the request's id; never a page of text."""
    number = os.urandom(8).hex()
    request[REQUEST_ID] = number
    is_anthropic = _is_anthropic(request)
    try:
        return await handler(request)
    except web.HTTPException as refused:
        return _of_router(refused, request.path).answer(is_anthropic=is_anthropic)
    except asyncio.CancelledError:
        # Not the path itself: it may hold whatever a client wrote.
        resource = request.match_info.route.resource
        path = "unknown" if resource is None else resource.canonical
        _log.info("client left", request=number, path=path)
        raise
    except Exception as error:
        problem = problem_of(error)
        if problem.code == "internal_error":
            _log.exception("request broke", request=number)
        return problem.answer(is_anthropic=is_anthropic)


def _is_anthropic(request: web.Request) -> bool:
    """Is its path one of Anthropic's own?"""
    return request.path.startswith("/v1/messages")


def _of_router(refused: web.HTTPException, path: str) -> Problem:
    if isinstance(refused, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(refused.allowed_methods))
        words = f"This path takes {allowed}."
        return Problem(405, words, "unknown_url", headers={"Allow": allowed})
    if isinstance(refused, web.HTTPRequestEntityTooLarge):
        return Problem(413, "The body is too large.", "request_too_large")
    if refused.status == 404:
        # LM Studio answers 200 to any path, and clients take the error in it for an answer.
        words = "There is nothing at this path."
        if path.startswith("/api/"):
            words += " Of LM Studio's own there are GET /api/v0/models and GET /api/v1/models;"
            words += " chats go by /v1/chat/completions, loads by /admin/models/load."
        return Problem(404, words, "unknown_url")
    return Problem(refused.status, refused.reason or "The request cannot be read.")
