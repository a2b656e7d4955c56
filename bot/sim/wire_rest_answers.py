"""The paths a model answers: chat, text, responses and messages, whole and streamed."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from bot.sim.answers import Message
from bot.sim.demands import demand_of
from bot.sim.engine import Engine
from bot.sim.errors import (
    BadRequest,
    ConnectionCut,
    ModelGone,
    NoSuchResponse,
    PromptTooLong,
    SilentEnd,
    SimError,
)
from bot.sim.memory import Instance
from bot.sim.predicting import Prediction, PredictionOrder
from bot.sim.wire_asked import anthropic_messages, chat_messages, response_messages
from bot.sim.wire_frames import Frames, Shape, broken
from bot.sim.wire_json import JsonObject, as_object, int_of, text_of, words_of
from bot.sim.wire_messages import AnthropicMessage
from bot.sim.wire_openai import Completion
from bot.sim.wire_responses import Response, said
from bot.sim.wire_rest import (
    ENGINE,
    KEPT,
    SSE_HEADERS,
    answer,
    anthropic_refusal,
    cut,
    openai_refusal,
    read_body,
)
from bot.sim.wire_rest_openai import wanted

_NOT_SAMPLING = frozenset(
    {"messages", "model", "prompt", "stream", "stream_options", "ttl", "input", "system"}
)
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


def handler(
    shape: Shape, *, native: bool = False
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return the handler of one path; `native` adds LM Studio's own statistics."""

    async def handle(request: web.Request) -> web.StreamResponse:
        engine = request.app[ENGINE]
        body: JsonObject = {}
        try:
            body = await read_body(request)
            messages = _messages(request, body, shape)
            instance = await engine.serving(wanted(body, embedding=False))
            prediction = engine.predict(_order(body, messages, instance))
            frames = _frames(engine, prediction, body, shape, native=native)
            if body.get("stream") is True:
                told = await _stream(request, prediction, frames, shape)
            else:
                told = await _whole(prediction, frames)
            _keep(request, body, messages, frames)
            return told
        except PromptTooLong as error:
            if body.get("stream") is True and engine.config.overflow == "event":
                response = web.StreamResponse(headers=SSE_HEADERS)
                await response.prepare(request)
                await response.write(broken(shape, error.cause))
                return response
            return _refusal(error, engine, body, shape)
        except SimError as error:
            return _refusal(error, engine, body, shape)
        # Who left is no fault, though a write may find it out before the handler is cancelled.
        except (ConnectionCut, SilentEnd, ConnectionError):
            cut(request)
            return web.Response()

    return handle


async def _whole(prediction: Prediction, frames: Frames) -> web.StreamResponse:
    async with prediction:
        async for _ in prediction.prefill():
            pass
        tokens = [token async for token in prediction.tokens()]
    return answer(frames.whole(tokens))


async def _stream(
    request: web.Request, prediction: Prediction, frames: Frames, shape: Shape
) -> web.StreamResponse:
    response = web.StreamResponse(headers=SSE_HEADERS)
    try:
        async with prediction:
            async for _ in prediction.prefill():
                pass
            await response.prepare(request)
            for event in frames.begin():
                await response.write(event)
            async for token in prediction.tokens():
                # One token, one write: clients read in the rhythm of the model.
                if events := frames.token(token):
                    await response.write(b"".join(events))
    except SilentEnd:
        await response.write_eof()
        return response
    except ModelGone as error:
        if not response.prepared:
            raise
        await response.write(broken(shape, error.cause))
        return response
    for event in frames.end():
        await response.write(event)
    await response.write_eof()
    return response


def _refusal(error: SimError, engine: Engine, body: JsonObject, shape: Shape) -> web.Response:
    if shape == "messages":
        return anthropic_refusal(error)
    name = "" if isinstance(error, PromptTooLong) else text_of(body, "model") or ""
    return openai_refusal(error, engine, name)


def _messages(request: web.Request, body: JsonObject, shape: Shape) -> tuple[Message, ...]:
    match shape:
        case "text":
            prompt = text_of(body, "prompt")
            if prompt is None:
                raise BadRequest("'prompt' field is required")
            return (Message("user", prompt),)
        case "chat":
            messages = chat_messages(body)
        case "messages":
            messages = anthropic_messages(body)
        case "responses":
            messages = response_messages(body)
            earlier = text_of(body, "previous_response_id")
            if earlier is not None:
                if earlier not in request.app[KEPT]:
                    raise NoSuchResponse(earlier)
                messages = (*request.app[KEPT][earlier], *messages)
    if not messages:
        raise BadRequest(f"'{'input' if shape == 'responses' else 'messages'}' field is required")
    return messages


def _keep(
    request: web.Request, body: JsonObject, messages: tuple[Message, ...], frames: Frames
) -> None:
    if isinstance(frames, Response) and body.get("store") is not False:
        whole = (*messages, Message("assistant", said(frames.output)))
        request.app[KEPT][frames.reply_id] = whole


def _order(body: JsonObject, messages: tuple[Message, ...], instance: Instance) -> PredictionOrder:
    limits = (int_of(body, name) for name in _LIMITS)
    max_tokens = next((limit for limit in limits if limit is not None), None)
    return PredictionOrder(
        instance=instance,
        asked_model=text_of(body, "model") or "",
        messages=messages,
        via="rest",
        max_tokens=max_tokens if max_tokens is not None and max_tokens >= 0 else None,
        stop=words_of(body.get("stop") or body.get("stop_sequences")),
        sampling={key: value for key, value in body.items() if key not in _NOT_SAMPLING},
        demand=demand_of(body, messages),
    )


def _frames(
    engine: Engine, prediction: Prediction, body: JsonObject, shape: Shape, *, native: bool
) -> Frames:
    created = engine.wall_ms() // 1000
    match shape:
        case "responses":
            return Response(prediction, engine.config.name, created, body)
        case "messages":
            return AnthropicMessage(prediction)
        case _:
            options = as_object(body.get("stream_options"))
            return Completion(
                prediction,
                shape,
                created,
                engine.config.reasoning_style,
                includes_usage=options.get("include_usage") is True,
                native=native,
            )
