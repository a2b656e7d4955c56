"""The calls of the SDK's WebSocket, one function each."""

import base64
import binascii
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from bot.sim.answers import tokenise
from bot.sim.embedding import embed
from bot.sim.engine import Engine
from bot.sim.errors import BadRequest, ModelNotLoaded
from bot.sim.memory import Instance
from bot.sim.prompts import format_prompt
from bot.sim.wire_json import (
    JsonObject,
    as_list,
    as_object,
    config_fields,
    fields_list,
    socket_message,
    text_of,
)
from bot.sim.wire_shapes import load_fields, socket_instance, socket_model

VOID: Final = object()
"""Result of a call that answers without one."""

_VERSIONS = {"0.3": {"version": "0.3.39", "build": 2}, "0.4": {"version": "0.4.16", "build": 1}}
_EMBEDDING_MARKS = 2
"""`tokenize` of embedding models counts a begin and an end mark that `countTokens` does not."""


@dataclass(frozen=True, slots=True)
class CallContext:
    """One call as it arrived."""

    engine: Engine
    namespace: str
    parameter: JsonObject

    @property
    def embedding(self) -> bool:
        """Whether it is about embedding models."""
        return self.namespace == "embedding"

    def instance(self, member: str = "specifier") -> Instance:
        """Return the resident instance a specifier names.

        Raises:
            ModelNotLoaded: there is none.
        """
        return find_instance(self.engine, self.parameter.get(member), embedding=self.embedding)


Call = Callable[[CallContext], Awaitable[object]]


def find_instance(engine: Engine, raw: object, *, embedding: bool) -> Instance:
    """Return the resident instance a wire specifier names.

    Raises:
        ModelNotLoaded: there is none.
    """
    specifier = as_object(raw)
    if specifier.get("type") == "instanceReference":
        return engine.loaded(text_of(specifier, "instanceReference") or "", embedding=embedding)
    query = as_object(specifier.get("query"))
    name = text_of(query, "identifier") or text_of(query, "path")
    if name is not None:
        return engine.loaded(name, embedding=embedding)
    candidates = engine.memory.of_kind(embedding=embedding)
    if not candidates:
        raise ModelNotLoaded(query, [])
    return candidates[0]


async def list_loaded(context: CallContext) -> object:
    """List the resident instances of the namespace."""
    engine = context.engine
    instances = engine.memory.of_kind(embedding=context.embedding)
    return [socket_instance(i, engine.wall_ms(i.idle_since_s)) for i in instances]


async def list_downloaded(context: CallContext) -> object:
    """List what is on disk."""
    return [socket_model(model) for model in context.engine.config.models]


async def model_info(context: CallContext) -> object:
    """Describe one resident instance; null when that is allowed."""
    try:
        instance = context.instance()
    except ModelNotLoaded:
        if context.parameter.get("throwIfNotFound") is True:
            raise
        return VOID
    return socket_instance(instance, context.engine.wall_ms(instance.idle_since_s))


async def load_config(context: CallContext) -> object:
    """Return the load configuration an instance has."""
    return fields_list(load_fields(context.instance()))


async def unload(context: CallContext) -> object:
    """Unload one instance."""
    name = text_of(context.parameter, "identifier") or ""
    instance = context.engine.loaded(name, embedding=context.embedding)
    context.engine.loader.unload(instance, "asked")
    return VOID


async def estimate_usage(context: CallContext) -> object:
    """Estimate the memory of a load and whether the guardrail lets it pass."""
    engine = context.engine
    model = engine.on_disk(text_of(context.parameter, "modelKey") or "")
    fields = config_fields(context.parameter.get("loadConfigStack"))
    context_length = engine.memory.context_of(model, fields)
    total = engine.memory.bytes_needed(model, context_length)
    memory: JsonObject = {"confidence": "high"}
    for suffix in ("Bytes", "VramBytes"):
        memory[f"model{suffix}"] = model.size_bytes
        memory[f"context{suffix}"] = total - model.size_bytes
        memory[f"total{suffix}"] = total
    return {"memory": memory, "passesGuardrails": engine.memory.fits(model, context_length)}


async def processing_state(context: CallContext) -> object:
    """Tell what an instance does and how many requests it has."""
    instance = context.instance()
    slots = instance.slots
    return {"status": instance.status, "queued": slots.running + slots.waiting}


async def tokenize(context: CallContext) -> object:
    """Return token numbers."""
    context.instance()
    tokens = [float(_number(token)) for token in tokenise(_input(context))]
    if context.embedding:
        tokens = [1.0, *tokens, float(_EMBEDDING_MARKS)]
    return {"tokens": tokens}


async def count_tokens(context: CallContext) -> object:
    """Count the tokens of a text."""
    context.instance()
    return {"tokenCount": len(tokenise(_input(context)))}


async def apply_template(context: CallContext) -> object:
    """Return a conversation as the model reads it."""
    context.instance()
    history = as_object(context.parameter.get("history"))
    messages = [socket_message(raw) for raw in as_list(history.get("messages"))]
    return {"formatted": format_prompt(messages)}


async def embed_string(context: CallContext) -> object:
    """Return the vector of a text."""
    instance = context.instance("modelSpecifier")
    words = _input(context)
    await context.engine.compute_embedding(instance, len(tokenise(words)))
    return {"embedding": embed(words)}


async def version(context: CallContext) -> object:
    """Tell the server's version."""
    return _VERSIONS[context.engine.config.generation]


async def notify(_context: CallContext) -> object:
    """Accept a notification for the person at the machine."""
    return VOID


async def experiment_flags(_context: CallContext) -> object:
    """List experiments: none."""
    return []


async def upload_file(context: CallContext) -> object:
    """Take a file; only its size and kind are kept."""
    try:
        content = base64.b64decode(text_of(context.parameter, "contentBase64") or "", validate=True)
    except binascii.Error as error:
        raise BadRequest("The file is not base64.") from error
    name = text_of(context.parameter, "name") or "file"
    is_image = name.lower().endswith((".png", ".jpg", ".jpeg", ".webp", ".gif"))
    return {
        "identifier": hashlib.sha256(content).hexdigest()[:24],
        "fileType": "image" if is_image else "unknown",
        "sizeBytes": len(content),
    }


async def search_models(_context: CallContext) -> object:
    """Find nothing to download."""
    return {"results": []}


_MODEL_CALLS: dict[str, Call] = {
    "listLoaded": list_loaded,
    "getModelInfo": model_info,
    "getLoadConfig": load_config,
    "unloadModel": unload,
    "estimateModelUsage": estimate_usage,
    "getInstanceProcessingState": processing_state,
    "tokenize": tokenize,
    "countTokens": count_tokens,
}

CALLS: dict[tuple[str, str], Call] = {
    **{
        (space, name): call for space in ("llm", "embedding") for name, call in _MODEL_CALLS.items()
    },
    ("llm", "applyPromptTemplate"): apply_template,
    ("embedding", "embedString"): embed_string,
    ("system", "listDownloadedModels"): list_downloaded,
    ("system", "version"): version,
    ("system", "notify"): notify,
    ("system", "getExperimentFlags"): experiment_flags,
    ("files", "uploadFileBase64"): upload_file,
    ("repository", "searchModels"): search_models,
}


def _input(context: CallContext) -> str:
    return text_of(context.parameter, "inputString") or ""


def _number(token: str) -> int:
    return int.from_bytes(hashlib.sha256(token.encode()).digest()[:2], "big") + 3
