"""Which fields each server of the OpenAI wire takes; plain values, looked up by name."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from bot.domain.chat import DialectName
from bot.domain.personas import Sampling

_COMMON = ("temperature", "top_p")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one server departs from the common chat-completions request."""

    max_tokens_field: str = "max_tokens"
    sampling: tuple[str, ...] = _COMMON
    """Fields of `Sampling` sent under their own names."""
    max_temperature: float | None = None
    min_top_p: float | None = None
    max_stops: int | None = None
    include_usage: bool = True
    """Ask for usage by ``stream_options``; without it these servers count nothing."""
    inline_think: bool = False
    """Reasoning may stand in the answer as a leading ``<think>``."""
    user_field: str | None = None
    """Where the opaque hash of the asker goes."""
    no_sampling: re.Pattern[str] | None = None
    """Models that refuse sampling parameters and stop strings, even at their defaults."""
    thinking_off: tuple[tuple[re.Pattern[str], Mapping[str, object]], ...] = ()
    """The fields that keep a model from reasoning first; the first pattern that fits wins."""


DIALECTS: Mapping[DialectName, Dialect] = {
    "lmstudio": Dialect(
        sampling=(*_COMMON, "top_k", "min_p", "repeat_penalty"),
        inline_think=True,
    ),
    "openai": Dialect(
        max_tokens_field="max_completion_tokens",
        user_field="safety_identifier",
        # Unknown names count as reasoning models: a dropped parameter is harmless, a 400 is not.
        no_sampling=re.compile(r"(?!(?:ft:)?(?:gpt-3\.5|gpt-4|chatgpt-4))"),
        thinking_off=(
            (re.compile(r"(?:ft:)?(?:gpt-3|gpt-4|chatgpt)"), {}),
            (re.compile(r"o\d"), {"reasoning_effort": "low"}),
            (re.compile(r"gpt-5(?!\.)"), {"reasoning_effort": "minimal"}),
            (re.compile(r"gpt-"), {"reasoning_effort": "none"}),
        ),
    ),
    "zai": Dialect(
        max_temperature=1.0,
        min_top_p=0.01,
        max_stops=1,
        include_usage=False,  # usage comes unasked on the last chunk
        user_field="user_id",
        thinking_off=(
            # 5.3 always thinks and refuses "disabled"; low is the least it takes.
            (re.compile(r"glm-5\.3"), {"reasoning_effort": "low"}),
            (re.compile(r"glm-(?:4\.[5-9]|5)"), {"thinking": {"type": "disabled"}}),
        ),
    ),
    "generic": Dialect(inline_think=True),
}


def sampling_fields(dialect: Dialect, model: str, sampling: Sampling) -> dict[str, object]:
    """Return the request fields of a sampling as this server and model take them."""
    fields: dict[str, object] = {}
    if sampling.max_tokens is not None:
        fields[dialect.max_tokens_field] = sampling.max_tokens
    if dialect.no_sampling is not None and dialect.no_sampling.match(model):
        return fields
    for name in dialect.sampling:
        value: float | None = getattr(sampling, name)
        if value is not None:
            fields[name] = _within(dialect, name, value)
    if sampling.stop:
        fields["stop"] = list(sampling.stop[: dialect.max_stops])
    return fields


def thinking_off_fields(dialect: Dialect, model: str) -> Mapping[str, object]:
    """Return the fields that keep this model from reasoning first; empty without a switch."""
    for pattern, fields in dialect.thinking_off:
        if pattern.match(model):
            return fields
    return {}


def _within(dialect: Dialect, name: str, value: float) -> float:
    if name == "temperature" and dialect.max_temperature is not None:
        return min(value, dialect.max_temperature)
    if name == "top_p" and dialect.min_top_p is not None:
        return max(value, dialect.min_top_p)
    return value
