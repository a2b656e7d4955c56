"""What all REST paths of a simulated host share: bodies in, bodies and errors out, streams."""

from collections.abc import Mapping

from aiohttp import web

from bot.sim.answers import Message
from bot.sim.engine import Engine
from bot.sim.errors import (
    BadRequest,
    DoesNotFit,
    LoadCancelledError,
    LoadFailedError,
    ModelGone,
    PromptTooLong,
    SimError,
)
from bot.sim.wire_json import JsonObject, parse_object

ENGINE = web.AppKey("engine", Engine)
KEPT = web.AppKey("kept", dict[str, tuple[Message, ...]])
"""Conversations of `/v1/responses` by the id of their last answer; they stay on this host."""

SSE_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache",
    "Connection": "keep-alive",
}


async def read_body(request: web.Request) -> JsonObject:
    """Return the JSON object of a request.

    Raises:
        BadRequest: it is not a JSON object.
    """
    body = parse_object(await request.read())
    if body is None:
        raise BadRequest("Unexpected token in JSON: the body must be a JSON object.")
    return body


def openai_refusal(error: SimError, engine: Engine, model: str) -> web.Response:
    """Return the answer of the OpenAI-shaped paths to a request that cannot be served."""
    if isinstance(error, BadRequest | PromptTooLong | ModelGone):
        return answer({"error": error.cause}, error.http_status)
    status, message = error.http_status, error.cause
    if isinstance(error, DoesNotFit | LoadFailedError | LoadCancelledError):
        status = 404 if engine.config.generation == "0.3" else 400
        message = f'Failed to load model "{model}". Error: {error.cause}'
    refusal: JsonObject = {
        "message": message,
        "type": "invalid_request_error",
        "param": error.rest_param,
        "code": error.rest_code,
    }
    return answer({"error": refusal}, status)


def anthropic_refusal(error: SimError) -> web.Response:
    """Return the answer of `/v1/messages` to a request that cannot be served."""
    # LM Studio says a prompt that is too long as 500 there: its clients retry for minutes.
    status = 500 if isinstance(error, PromptTooLong) else error.http_status
    kinds = {400: "invalid_request_error", 404: "not_found_error"}
    told = {"type": kinds.get(status, "api_error"), "message": error.cause}
    return answer({"type": "error", "error": told}, status)


def native_error(error: SimError) -> JsonObject:
    """Return the error body of `/api/v1`."""
    return {
        "error": {
            "type": "invalid_request" if error.http_status < 500 else "internal_error",
            "message": error.cause,
            "code": error.rest_code,
        }
    }


def answer(body: Mapping[str, object], status: int = 200) -> web.Response:
    """Return a JSON response."""
    return web.json_response(body, status=status)


def cut(request: web.Request) -> None:
    """Break the connection of a request off at once."""
    if request.transport is not None:
        request.transport.abort()
