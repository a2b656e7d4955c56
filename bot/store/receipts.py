"""A receipt as JSON and back; what an older Lantern wrote stays readable."""

import json
from typing import Final, get_args

from bot.domain.chat import (
    Attempt,
    Candidate,
    FinishReason,
    Receipt,
    Rejection,
    Route,
    Timing,
    Usage,
)
from bot.domain.errors import FailureKind
from bot.domain.ids import HostName, ModelKey, PersonaName, ProviderName
from bot.store.fields import (
    Json,
    finite,
    flag,
    mapping,
    mappings,
    number,
    number_or_none,
    text,
    text_or_none,
    texts,
    whole,
    whole_or_none,
)

_FINISHES: Final[dict[str, FinishReason]] = {known: known for known in get_args(FinishReason)}
_KINDS: Final = {str(kind): kind for kind in FailureKind}


def encode_receipt(receipt: Receipt) -> str:
    """The receipt as JSON text."""
    fields: Json = {
        "persona": receipt.persona,
        "model": receipt.model,
        "host": receipt.host,
        "provider": receipt.provider,
        "usage": _from_usage(receipt.usage),
        "timing": _from_timing(receipt.timing),
        "finish": receipt.finish,
        "cost_micro_usd": receipt.cost_micro_usd,
        "route": _from_route(receipt.route),
        "attempts": [_from_attempt(attempt) for attempt in receipt.attempts],
        "choice_reason": receipt.choice_reason,
        "notices": receipt.notices,
        "from_cache": receipt.from_cache,
    }
    return json.dumps(fields, separators=(",", ":"))


def decode_receipt(stored: str) -> Receipt:
    """The receipt of a JSON object."""
    data = mapping(json.loads(stored))
    return Receipt(
        persona=PersonaName(text(data, "persona")),
        model=_model_or_none(data),
        host=_host(data),
        provider=_provider(data),
        usage=_usage(mapping(data.get("usage"))),
        timing=_timing(mapping(data.get("timing"))),
        finish=_FINISHES.get(text(data, "finish"), "error"),
        cost_micro_usd=whole(data, "cost_micro_usd"),
        route=_route(mapping(data.get("route"))),
        attempts=tuple(_attempt(item) for item in mappings(data, "attempts")),
        choice_reason=text(data, "choice_reason"),
        notices=texts(data, "notices"),
        from_cache=flag(data, "from_cache"),
    )


def _from_usage(usage: Usage) -> Json:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cached_tokens": usage.cached_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "estimated": usage.estimated,
    }


def _usage(data: Json) -> Usage:
    return Usage(
        prompt_tokens=whole(data, "prompt_tokens"),
        completion_tokens=whole(data, "completion_tokens"),
        cached_tokens=whole(data, "cached_tokens"),
        reasoning_tokens=whole(data, "reasoning_tokens"),
        estimated=flag(data, "estimated"),
    )


def _from_timing(timing: Timing) -> Json:
    return {
        "queue_s": finite(timing.queue_s),
        "load_s": finite(timing.load_s),
        "first_token_s": finite(timing.first_token_s),
        "generation_s": finite(timing.generation_s),
        "total_s": finite(timing.total_s),
    }


def _timing(data: Json) -> Timing:
    return Timing(
        queue_s=number(data, "queue_s"),
        load_s=number(data, "load_s"),
        first_token_s=number_or_none(data, "first_token_s"),
        generation_s=number(data, "generation_s"),
        total_s=number(data, "total_s"),
    )


def _from_route(route: Route) -> Json:
    return {
        "candidates": [_from_candidate(candidate) for candidate in route.candidates],
        "rejected": [
            {"where": rejected.where, "model": rejected.model, "reason": rejected.reason}
            for rejected in route.rejected
        ],
        "reason": route.reason,
    }


def _route(data: Json) -> Route:
    return Route(
        candidates=tuple(_candidate(item) for item in mappings(data, "candidates")),
        rejected=tuple(
            Rejection(text(item, "where"), _model(item), text(item, "reason"))
            for item in mappings(data, "rejected")
        ),
        reason=text(data, "reason"),
    )


def _from_candidate(candidate: Candidate) -> Json:
    return {
        "model": candidate.model,
        "host": candidate.host,
        "provider": candidate.provider,
        "seconds": finite(candidate.seconds),
        "cost_micro_usd": candidate.cost_micro_usd,
        "likely_micro_usd": candidate.likely_micro_usd,
        "reason": candidate.reason,
    }


def _candidate(data: Json) -> Candidate:
    return Candidate(
        model=_model(data),
        host=_host(data),
        provider=_provider(data),
        seconds=number_or_none(data, "seconds"),
        cost_micro_usd=whole_or_none(data, "cost_micro_usd"),
        likely_micro_usd=whole_or_none(data, "likely_micro_usd"),
        reason=text(data, "reason"),
    )


def _from_attempt(attempt: Attempt) -> Json:
    return {
        "where": attempt.where,
        "model": attempt.model,
        "kind": attempt.kind,
        "reason": attempt.reason,
    }


def _attempt(data: Json) -> Attempt:
    return Attempt(
        where=text(data, "where"),
        model=_model(data),
        kind=_KINDS.get(text(data, "kind"), FailureKind.SERVER),
        reason=text(data, "reason"),
    )


def _model(data: Json) -> ModelKey:
    return ModelKey(text(data, "model"))


def _model_or_none(data: Json) -> ModelKey | None:
    name = text_or_none(data, "model")
    return None if name is None else ModelKey(name)


def _host(data: Json) -> HostName | None:
    name = text_or_none(data, "host")
    return None if name is None else HostName(name)


def _provider(data: Json) -> ProviderName | None:
    name = text_or_none(data, "provider")
    return None if name is None else ProviderName(name)
