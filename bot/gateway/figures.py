"""What an answer used and how fast it came, by the names of OpenAI and of LM Studio."""

from collections.abc import Mapping
from typing import cast

from bot.domain.chat import Timing, Usage
from bot.domain.hosts import HostSnapshot, Model
from bot.domain.ids import ModelKey


def usage_object(usage: Usage) -> dict[str, object]:
    """OpenAI's usage."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def statistics(
    key: ModelKey | None,
    timing: Timing,
    usage: Usage,
    host: HostSnapshot | None,
    told: Mapping[str, object],
) -> dict[str, object]:
    """``stats`` and ``model_info`` as LM Studio's ``/api/v0`` gives them; the host's own win.

    Args:
        key: Of the model that answered.
        timing: Of its answer, in pieces or as a whole.
        usage: Of it.
        host: Who gave it, as it stood when it was asked.
        told: The host's own fields.
    """
    first_s, seconds = timing.first_token_s, timing.generation_s or timing.answer_s
    stats: dict[str, object] = {
        "tokens_per_second": round(usage.completion_tokens / seconds, 2) if seconds else None,
        "time_to_first_token": None if first_s is None else round(first_s, 4),
        "generation_time": round(seconds, 4),
    }
    if host is None or key is None:
        return {"stats": stats}
    model = host.models.get(key) or Model(key)
    loaded = [i.context_length for i in host.instances if i.model_key == key]
    info: dict[str, object] = {
        "arch": model.architecture,
        "quant": model.quantization,
        "context_length": next(iter(loaded), None),
    }
    return {
        # It measured where the work is done; ours holds the network too.
        "stats": stats | _own(told, "stats"),
        "model_info": info | _own(told, "model_info"),
    }


def _own(told: Mapping[str, object], name: str) -> dict[str, object]:
    own = told.get(name)
    return cast(dict[str, object], own) if isinstance(own, dict) else {}
