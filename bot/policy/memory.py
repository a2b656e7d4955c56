"""What a model takes in memory, estimated: hosts tell file sizes, not memory use.

The figures are estimates good enough to choose a host and to make room; the host's own refusal
has the last word.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

from bot.domain.hosts import Instance, Model, ModelKind
from bot.domain.ids import ModelKey
from bot.domain.personas import LoadSettings

WEIGHTS_OVERHEAD = 1.05
"""Compute buffers beside the weights themselves."""
DEFAULT_CONTEXT = 4096
"""What LM Studio commonly loads with when nothing was asked for."""
KV_BYTES_PER_TOKEN_AT_1_GB = 48 * 1024
"""Keys and values of one token in f16 for a model of 1 GB; grows with the square root of the size.

Against published shapes at 4-bit weights: 8B 128 KiB (estimated 106), 70B 320 KiB (311),
30B-A3B 96 KiB (203: mixtures of experts are over-estimated, which is the safe side).
"""
_KV_SHARE = {"f32": 2.0, "f16": 1.0, "q8_0": 0.54, "q5_1": 0.38, "q5_0": 0.35, "q4_1": 0.32}
_SMALLEST_KV_SHARE = 0.29
"""Four-bit keys and values with their scales."""


def estimate_bytes(model: Model, load: LoadSettings) -> int | None:
    """Estimated memory of the model once loaded so; None when its size is not known."""
    if model.size_bytes is None:
        return None
    context = load.context_length or min(
        DEFAULT_CONTEXT, model.max_context_length or DEFAULT_CONTEXT
    )
    return _bytes(model.size_bytes, model.kind, context, load.kv_cache_quant)


def instance_bytes(instance: Instance) -> int:
    """Estimated memory an instance holds; 0 when its size is not known."""
    if instance.size_bytes is None:
        return 0
    context = instance.context_length or DEFAULT_CONTEXT
    return _bytes(instance.size_bytes, instance.kind, context, None)


def with_sizes(
    instances: tuple[Instance, ...], models: Mapping[ModelKey, Model]
) -> tuple[Instance, ...]:
    """The instances, with sizes the host did not tell taken from its disk's inventory."""
    return tuple(_with_size(instance, models) for instance in instances)


def fit_load(load: LoadSettings, model: Model | None, min_context: int) -> LoadSettings:
    """The load settings with a context that holds ``min_context`` tokens.

    Left alone where the settings, or LM Studio's usual default, already do. Raised to a power of
    two, so that a growing conversation does not load its model again at every turn.
    """
    if min_context <= (load.context_length or DEFAULT_CONTEXT):
        return load
    raised = 1 << (min_context - 1).bit_length()
    ceiling = (model.max_context_length if model else None) or raised
    return replace(load, context_length=max(min_context, min(raised, ceiling)))


def _with_size(instance: Instance, models: Mapping[ModelKey, Model]) -> Instance:
    model = models.get(instance.model_key)
    if instance.size_bytes is not None or model is None:
        return instance
    return replace(instance, size_bytes=model.size_bytes)


def _bytes(size_bytes: int, kind: ModelKind, context: int, kv_quant: str | None) -> int:
    weights = size_bytes * WEIGHTS_OVERHEAD
    if kind == "embedding":
        return round(weights)
    share = _KV_SHARE.get(kv_quant or "f16", _SMALLEST_KV_SHARE)
    per_token = KV_BYTES_PER_TOKEN_AT_1_GB * math.sqrt(size_bytes / 1e9) * share
    return round(weights + per_token * context)
