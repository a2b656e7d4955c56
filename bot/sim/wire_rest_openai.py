"""The OpenAI-shaped lists and vectors: `/v1/models` and `/v1/embeddings`."""

import base64
import math
import struct

from aiohttp import web

from bot.sim.answers import tokenise
from bot.sim.embedding import embed
from bot.sim.engine import Wanted
from bot.sim.errors import BadRequest, ConnectionCut, SimError
from bot.sim.wire_json import JsonObject, int_of, text_of, words_of
from bot.sim.wire_rest import ENGINE, answer, cut, openai_refusal, read_body


async def list_models(request: web.Request) -> web.StreamResponse:
    """List ids: the whole disk when JIT is on, resident instances when it is off."""
    engine = request.app[ENGINE]
    loaded = [instance.identifier for instance in engine.memory]
    on_disk = [model.key for model in engine.config.models] if engine.config.jit else []
    ids = dict.fromkeys([*on_disk, *loaded])
    data = [{"id": name, "object": "model", "owned_by": "organization_owner"} for name in ids]
    return answer({"object": "list", "data": data})


async def embeddings(request: web.Request) -> web.StreamResponse:
    """Return one vector per input text."""
    engine = request.app[ENGINE]
    body: JsonObject = {}
    try:
        body = await read_body(request)
        instance = await engine.serving(wanted(body, embedding=True))
        inputs = words_of(body.get("input"))
        if not inputs:
            raise BadRequest("'input' field must be a string or an array of strings")
        tokens = sum(len(tokenise(words)) for words in inputs)
        await engine.compute_embedding(instance, tokens)
        vectors = [_vector(body, embed(words)) for words in inputs]
    except SimError as error:
        return openai_refusal(error, engine, text_of(body, "model") or "")
    except ConnectionCut:
        cut(request)
        return web.Response()
    data = [
        {"object": "embedding", "embedding": vector, "index": index}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return answer({"object": "list", "data": data, "model": instance.identifier, "usage": usage})


def wanted(body: JsonObject, *, embedding: bool) -> Wanted:
    """Return the model a request names."""
    ttl_s = int_of(body, "ttl")
    return Wanted(text_of(body, "model") or "", embedding, None if ttl_s is None else float(ttl_s))


def _vector(body: JsonObject, vector: list[float]) -> list[float] | str:
    """Return a vector as it was asked for: shortened, and packed for openai-python."""
    count = int_of(body, "dimensions")
    if count is not None:
        if not 0 < count <= len(vector):
            raise BadRequest(f"'dimensions' must be between 1 and {len(vector)}")
        length = math.sqrt(sum(value * value for value in vector[:count])) or 1.0
        vector = [value / length for value in vector[:count]]
    if body.get("encoding_format") != "base64":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
