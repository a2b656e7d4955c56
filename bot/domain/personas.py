"""A persona: name, system prompt, model, sampling, load settings and privacy."""

from dataclasses import dataclass, field
from typing import Literal

from bot.domain.ids import AUTO, ModelKey, PersonaName, ProviderName

Priority = Literal["high", "normal", "low"]
"""How urgent a question is, in the lines of hosts and providers."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Generation parameters; None leaves the host's own default."""

    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """How a model is put in memory; None leaves the host's saved default."""

    context_length: int | None = None
    gpu: float | Literal["max", "off"] | None = None
    """Share of layers on the GPU, 0.0 to 1.0, or a word."""
    flash_attention: bool | None = None
    cpu_threads: int | None = None
    rope_frequency_base: float | None = None
    rope_frequency_scale: float | None = None
    num_experts: int | None = None
    kv_cache_quant: str | None = None
    """For both K and V: ``f32``, ``f16``, ``q8_0``, ``q5_0``, ``q5_1``, ``q4_0``, ``q4_1``..."""


@dataclass(frozen=True, slots=True)
class Persona:
    """Who answers, with which model, how, and where the words may go."""

    name: PersonaName
    description: str = ""
    model: ModelKey = AUTO
    """``auto`` takes whatever model can answer soonest."""
    alternatives: tuple[ModelKey, ...] = ()
    """Other local models, in order; empty means none."""
    cloud: tuple[ProviderName, ...] | None = None
    """This persona's own provider order; empty means never; None uses the configured order."""
    local_only: bool = False
    system_prompt: str = ""
    greeting: str = ""
    avatar: str = ""
    request_type: str | None = None
    priority: Priority = "normal"
    """Of questions to it, where they wait with others."""
    sampling: Sampling = field(default_factory=Sampling)
    load: LoadSettings = field(default_factory=LoadSettings)
    keep_loaded: bool = False
    idle_ttl_s: float | None = None
    """Seconds the model may rest; None uses the configured eviction TTL."""
    source: str = "built in"
    """Where it was read from, for people: a file name, ``Discord``, ``built in``."""
