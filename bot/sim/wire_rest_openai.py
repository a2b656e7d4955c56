"""The OpenAI-shaped paths: `/v1/models`, completions and embeddings."""

from aiohttp import web

from bot.sim.answers import Message, tokenise
from bot.sim.embedding import embed
from bot.sim.engine import Engine, Wanted
from bot.sim.errors import (
    BadRequest,
    ConnectionCut,
    ModelGone,
    PromptTooLong,
    SilentEnd,
    SimError,
)
from bot.sim.memory import Instance
from bot.sim.predicting import Prediction, PredictionOrder
from bot.sim.wire_json import (
    JsonObject,
    as_list,
    as_object,
    int_of,
    openai_message,
    text_of,
    words_of,
)
from bot.sim.wire_openai import Form, Head, v0_extras
from bot.sim.wire_rest import ENGINE, SSE_HEADERS, answer, cut, openai_refusal, read_body, sse

_NOT_SAMPLING = frozenset({"messages", "model", "prompt", "stream", "stream_options", "ttl"})


async def list_models(request: web.Request) -> web.StreamResponse:
    """List ids: the whole disk when JIT is on, resident instances when it is off."""
    engine = request.app[ENGINE]
    loaded = [instance.identifier for instance in engine.memory]
    on_disk = [model.key for model in engine.config.models] if engine.config.jit else []
    ids = dict.fromkeys([*on_disk, *loaded])
    data = [{"id": name, "object": "model", "owned_by": "organization_owner"} for name in ids]
    return answer({"object": "list", "data": data})


async def chat(request: web.Request) -> web.StreamResponse:
    """Answer a conversation."""
    return await _complete(request, "chat", native=False)


async def chat_v0(request: web.Request) -> web.StreamResponse:
    """Answer a conversation with LM Studio's own statistics."""
    return await _complete(request, "chat", native=True)


async def text(request: web.Request) -> web.StreamResponse:
    """Continue a plain prompt."""
    return await _complete(request, "text", native=False)


async def text_v0(request: web.Request) -> web.StreamResponse:
    """Continue a plain prompt with LM Studio's own statistics."""
    return await _complete(request, "text", native=True)


async def embeddings(request: web.Request) -> web.StreamResponse:
    """Return one vector per input text."""
    engine = request.app[ENGINE]
    body: JsonObject = {}
    try:
        body = await read_body(request)
        instance = await engine.serving(_wanted(body, embedding=True))
        inputs = words_of(body.get("input"))
        if not inputs:
            raise BadRequest("'input' field must be a string or an array of strings")
        tokens = sum(len(tokenise(words)) for words in inputs)
        await engine.compute_embedding(instance, tokens)
    except SimError as error:
        return openai_refusal(error, engine, text_of(body, "model") or "")
    except ConnectionCut:
        cut(request)
        return web.Response()
    data = [
        {"object": "embedding", "embedding": embed(words), "index": index}
        for index, words in enumerate(inputs)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return answer({"object": "list", "data": data, "model": instance.identifier, "usage": usage})


async def _complete(request: web.Request, form: Form, *, native: bool) -> web.StreamResponse:
    engine = request.app[ENGINE]
    body: JsonObject = {}
    try:
        body = await read_body(request)
        messages = _messages(body, form)
        instance = await engine.serving(_wanted(body, embedding=False))
        prediction = engine.predict(_order(body, messages, instance))
        head = _head(engine, prediction, form)
        if body.get("stream") is True:
            return await _stream(request, prediction, head, body, native=native)
        return await _whole(prediction, head, native=native)
    except PromptTooLong as error:
        if body.get("stream") is True and engine.config.overflow == "event":
            return await _end_with_event(request, web.StreamResponse(headers=SSE_HEADERS), error)
        return openai_refusal(error, engine, "")
    except SimError as error:
        return openai_refusal(error, engine, text_of(body, "model") or "")
    except (ConnectionCut, SilentEnd):
        cut(request)
        return web.Response()


async def _whole(prediction: Prediction, head: Head, *, native: bool) -> web.StreamResponse:
    async with prediction:
        async for _ in prediction.prefill():
            pass
        tokens = [token async for token in prediction.tokens()]
    extras = v0_extras(prediction) if native else {}
    return answer(head.whole(prediction, tokens) | extras)


async def _stream(
    request: web.Request, prediction: Prediction, head: Head, body: JsonObject, *, native: bool
) -> web.StreamResponse:
    response = web.StreamResponse(headers=SSE_HEADERS)
    try:
        async with prediction:
            async for _ in prediction.prefill():
                pass
            await response.prepare(request)
            async for token in prediction.tokens():
                chunk = head.chunk(token)
                if chunk is not None:
                    await response.write(sse(chunk))
    except SilentEnd:
        await response.write_eof()
        return response
    except ModelGone as error:
        if not response.prepared:
            raise
        return await _end_with_event(request, response, error)
    extras = v0_extras(prediction) if native else {}
    await response.write(sse(head.last_chunk(prediction) | extras))
    if as_object(body.get("stream_options")).get("include_usage") is True:
        await response.write(sse(head.usage_chunk(prediction)))
    await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    return response


async def _end_with_event(
    request: web.Request, response: web.StreamResponse, error: SimError
) -> web.StreamResponse:
    if not response.prepared:
        await response.prepare(request)
    await response.write(sse({"error": {"message": error.cause}}, event="error"))
    await response.write_eof()
    return response


def _messages(body: JsonObject, form: Form) -> tuple[Message, ...]:
    if form == "text":
        prompt = text_of(body, "prompt")
        if prompt is None:
            raise BadRequest("'prompt' field is required")
        return (Message("user", prompt),)
    messages = tuple(openai_message(raw) for raw in as_list(body.get("messages")))
    if not messages:
        raise BadRequest("'messages' field is required")
    return messages


def _wanted(body: JsonObject, *, embedding: bool) -> Wanted:
    ttl_s = int_of(body, "ttl")
    return Wanted(text_of(body, "model") or "", embedding, None if ttl_s is None else float(ttl_s))


def _order(body: JsonObject, messages: tuple[Message, ...], instance: Instance) -> PredictionOrder:
    max_tokens = int_of(body, "max_tokens")
    if max_tokens is None:
        max_tokens = int_of(body, "max_completion_tokens")
    return PredictionOrder(
        instance=instance,
        asked_model=text_of(body, "model") or "",
        messages=messages,
        via="rest",
        max_tokens=max_tokens if max_tokens is not None and max_tokens >= 0 else None,
        stop=words_of(body.get("stop")),
        sampling={key: value for key, value in body.items() if key not in _NOT_SAMPLING},
    )


def _head(engine: Engine, prediction: Prediction, form: Form) -> Head:
    prefix = "chatcmpl" if form == "chat" else "cmpl"
    return Head(
        reply_id=f"{prefix}-{prediction.number:016x}",
        created=engine.wall_ms() // 1000,
        model=prediction.reply_model,
        form=form,
        style=engine.config.reasoning_style,
    )
