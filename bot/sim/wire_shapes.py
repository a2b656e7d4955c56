"""Models, instances and errors as LM Studio's wires describe them: plain dictionaries."""

import re

from bot.sim.errors import SimError
from bot.sim.memory import Instance
from bot.sim.models import SimModel
from bot.sim.wire_json import JsonObject

_PARAMS = re.compile(r"(\d+(?:\.\d+)?)b\b", re.IGNORECASE)
_BITS = re.compile(r"\d+")
_PUBLISHER = "lantern-sim"


def display_name(model: SimModel) -> str:
    """Return the name people see."""
    return model.display_name or model.key.rsplit("/", 1)[-1].replace("-", " ").title()


def publisher(model: SimModel) -> str:
    """Return the part of the key before its slash."""
    head, slash, _ = model.key.partition("/")
    return head if slash else _PUBLISHER


def params_string(model: SimModel) -> str | None:
    """Return the size word of a key (`8B`)."""
    found = _PARAMS.search(model.key)
    return f"{found.group(1)}B" if found else None


def bits(model: SimModel) -> int:
    """Return the bits per weight of a quantisation name."""
    found = _BITS.search(model.quantization)
    return int(found.group()) if found else 16


def socket_model(model: SimModel) -> JsonObject:
    """Describe a model on disk as the SDK's `listDownloadedModels` does."""
    shape: JsonObject = {
        "type": "embedding" if model.is_embedding else "llm",
        "modelKey": model.key,
        "format": "gguf",
        "displayName": display_name(model),
        "publisher": publisher(model),
        "path": f"{publisher(model)}/{model.key.rsplit('/', 1)[-1]}-GGUF/{model.quantization}.gguf",
        "sizeBytes": model.size_bytes,
        "paramsString": params_string(model),
        "architecture": model.architecture,
        "quantization": {"name": model.quantization, "bits": bits(model)},
        "maxContextLength": model.max_context_length,
        "deviceIdentifier": None,
    }
    if not model.is_embedding:
        shape |= {"vision": model.sees, "trainedForToolUse": model.tool_use}
    return shape


def socket_instance(instance: Instance, last_used_ms: int) -> JsonObject:
    """Describe a resident instance as the SDK's `listLoaded` does."""
    ttl_s = instance.order.ttl_s
    return socket_model(instance.model) | {
        "identifier": instance.identifier,
        "instanceReference": instance.reference,
        "contextLength": instance.context_length,
        "ttlMs": None if ttl_s is None else round(ttl_s * 1000),
        "lastUsedTime": last_used_ms,
    }


def load_fields(instance: Instance) -> JsonObject:
    """Return the load configuration an instance really has."""
    space = "embedding" if instance.model.is_embedding else "llm"
    return {**instance.order.fields, f"{space}.load.contextLength": instance.context_length}


def socket_error(error: SimError) -> JsonObject:
    """Describe a refusal as the WebSocket does."""
    shape: JsonObject = {"title": error.title, "rootTitle": error.title, "cause": error.cause}
    if error.suggestion is not None:
        shape["suggestion"] = error.suggestion
    if error.display_data is not None:
        shape["displayData"] = error.display_data
    return shape


def v0_model(model: SimModel, instance: Instance | None) -> JsonObject:
    """Describe a model as `GET /api/v0/models` does."""
    kinds = {"llm": "vlm" if model.sees else "llm", "vlm": "vlm", "embedding": "embeddings"}
    shape: JsonObject = {
        "id": model.key if instance is None else instance.identifier,
        "object": "model",
        "type": kinds[model.kind],
        "publisher": publisher(model),
        "arch": model.architecture,
        "compatibility_type": "gguf",
        "quantization": model.quantization,
        "state": "not-loaded" if instance is None else "loaded",
        "max_context_length": model.max_context_length,
    }
    if instance is not None:
        shape["loaded_context_length"] = instance.context_length
    if model.tool_use:
        shape["capabilities"] = ["tool_use"]
    return shape


def v1_model(model: SimModel, instances: list[Instance]) -> JsonObject:
    """Describe a model as `GET /api/v1/models` does."""
    shape: JsonObject = {
        "type": "embedding" if model.is_embedding else "llm",
        "publisher": publisher(model),
        "key": model.key,
        "display_name": display_name(model),
        "architecture": model.architecture,
        "quantization": {"name": model.quantization, "bits_per_weight": bits(model)},
        "size_bytes": model.size_bytes,
        "params_string": params_string(model),
        "loaded_instances": [v1_instance(instance) for instance in instances],
        "max_context_length": model.max_context_length,
        "format": "gguf",
        "description": None,
    }
    if not model.is_embedding:
        capabilities: JsonObject = {"vision": model.sees, "trained_for_tool_use": model.tool_use}
        if model.reasoning:
            capabilities["reasoning"] = {"allowed_options": ["off", "on"], "default": "on"}
        shape["capabilities"] = capabilities
    return shape


V1_LOAD_KEYS = {
    "context_length": "llm.load.contextLength",
    "eval_batch_size": "llm.load.llama.evalBatchSize",
    "flash_attention": "llm.load.llama.flashAttention",
    "num_experts": "llm.load.numExperts",
    "offload_kv_cache_to_gpu": "llm.load.offloadKVCacheToGpu",
}
"""Load settings of `POST /api/v1/models/load` and the configuration keys they set."""


def v1_instance(instance: Instance) -> JsonObject:
    """Describe an instance inside `loaded_instances`."""
    return {"id": instance.identifier, "config": v1_load_config(instance)}


def v1_load_config(instance: Instance) -> JsonObject:
    """Return an instance's load configuration in REST names."""
    fields = instance.order.fields
    config: JsonObject = {name: fields[key] for name, key in V1_LOAD_KEYS.items() if key in fields}
    config["context_length"] = instance.context_length
    if not instance.model.is_embedding:
        config["parallel"] = instance.slots.count
    return config
