"""How load settings are said on each interface, and which of them one has no words for.

Said member by member, because the SDK drops unknown keys silently and REST refuses them.
"""

from bot.domain.hosts import Interface
from bot.domain.ids import ModelKey
from bot.domain.personas import LoadSettings

_REST_ONLY_KNOWS = ("context_length", "flash_attention", "num_experts")
_EMBEDDING_ONLY_KNOWS = ("context_length", "gpu", "rope_frequency_base", "rope_frequency_scale")
_ALL = (
    "context_length",
    "gpu",
    "flash_attention",
    "cpu_threads",
    "rope_frequency_base",
    "rope_frequency_scale",
    "num_experts",
    "kv_cache_quant",
)


def sdk_config(settings: LoadSettings, *, is_embedding: bool) -> dict[str, object]:
    """The SDK's load configuration; keys and values both get the same cache quantisation."""
    quant = settings.kv_cache_quant
    config: dict[str, object] = {
        "contextLength": settings.context_length,
        "gpu": None if settings.gpu is None else {"ratio": settings.gpu},
        "ropeFrequencyBase": settings.rope_frequency_base,
        "ropeFrequencyScale": settings.rope_frequency_scale,
    }
    if not is_embedding:
        config |= {
            "flashAttention": settings.flash_attention,
            "numExperts": settings.num_experts,
            "llamaKCacheQuantizationType": quant,
            "llamaVCacheQuantizationType": quant,
        }
    return {name: value for name, value in config.items() if value is not None}


def rest_body(key: ModelKey, settings: LoadSettings) -> dict[str, object]:
    """The body of ``POST /api/v1/models/load``; it takes no TTL."""
    said: dict[str, object] = {"model": key}
    for name in _REST_ONLY_KNOWS:
        if (value := getattr(settings, name)) is not None:
            said[name] = value
    return said


def not_applied(
    settings: LoadSettings, interface: Interface, *, is_embedding: bool = False
) -> tuple[str, ...]:
    """The settings that were wished for and cannot be said.

    ``cpu_threads`` cannot be said anywhere: ``lmstudio`` 1.5.0 knows it for predictions alone, and
    Lantern's tokens come by REST, which does not take it.
    """
    known = set(_ALL) - {"cpu_threads"}
    if is_embedding:
        known &= set(_EMBEDDING_ONLY_KNOWS)
    if interface is not Interface.SDK:
        known &= set(_REST_ONLY_KNOWS)
    return tuple(n for n in _ALL if getattr(settings, n) is not None and n not in known)
