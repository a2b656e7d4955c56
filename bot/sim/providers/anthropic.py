"""Anthropic's messages API."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

from bot.sim.answers import Message
from bot.sim.providers.anthropic_rules import (
    check_request,
    check_version,
    declined,
    error_answer,
)
from bot.sim.providers.asking import Ask, HttpAnswer, Thinks, chat_message, find_model
from bot.sim.providers.config import SimProviderModel
from bot.sim.providers.faults import Fault, FaultName
from bot.sim.providers.frames import Frame
from bot.sim.providers.message_frames import message_frames, whole_message
from bot.sim.providers.replying import Reply
from bot.sim.providers.wire import Scene, bearer_of, http_status, wait_headers
from bot.sim.wire_json import JsonObject, as_list, as_object, int_of, text_of, words_of

_USUAL: Mapping[FaultName, str] = {
    "auth": "authentication_error",
    "forbidden": "permission_error",
    "no_money": "billing_error",
    "plan_limit": "own_limit",
    "rate_limit": "rate_limit_error",
    "overload": "overloaded_error",
    "server": "api_error",
    "too_long": "invalid_request_error",
    "bad_request": "bad_request",
    "unknown_model": "not_found_error",
}

_TOO_LONG = "prompt is too long: {tokens} tokens > {window} maximum"

_CODES: Mapping[str, tuple[int, str, str, str | None]] = {
    "authentication_error": (401, "authentication_error", "invalid x-api-key", None),
    "permission_error": (403, "permission_error", "This key may not use that resource.", None),
    "billing_error": (402, "billing_error", "There is a problem with billing or payment.", None),
    "enforced_spend_limit_reached": (
        429,
        "rate_limit_error",
        "The organization has reached its monthly spend cap.",
        "enforced_spend_limit_reached",
    ),
    "own_limit": (
        400,
        "invalid_request_error",
        "You have reached your specified API usage limits. You will regain access on"
        " {reset:%Y-%m-%d} at {reset:%H:%M} UTC.",
        None,
    ),
    "low_credit": (
        400,
        "invalid_request_error",
        "Your credit balance is too low to access the API. Please purchase credits.",
        None,
    ),
    "rate_limit_error": (429, "rate_limit_error", "The rate limit of requests is reached.", None),
    "overloaded_error": (529, "overloaded_error", "Overloaded", None),
    "api_error": (500, "api_error", "Internal server error", None),
    "timeout_error": (504, "timeout_error", "The request timed out", None),
    "invalid_request_error": (400, "invalid_request_error", _TOO_LONG, None),
    "request_too_large": (413, "request_too_large", "Request exceeds the maximum size", None),
    "bad_request": (400, "invalid_request_error", "A field of the request is not valid.", None),
    "content_policy": (
        400,
        "invalid_request_error",
        "Output blocked by content filtering policy",
        None,
    ),
    "not_found_error": (404, "not_found_error", "model: {model}", None),
}
"""By dial code: status, error type, words, and `details.error_code`."""


class AnthropicWire:
    """Speaks as `api.anthropic.com` does."""

    prefix = "/v1"
    chat = "/messages"
    elsewhere: FaultName | None = "refused"
    has_broken_finish = False

    def key_of(self, headers: Mapping[str, str]) -> str | None:
        """Return the key; `x-api-key` wins over a bearer."""
        return headers.get("x-api-key") or bearer_of(headers)

    def admit(self, headers: Mapping[str, str]) -> None:
        """Ask for a version."""
        check_version(headers)

    def user_of(self, body: JsonObject) -> str:
        """Return `metadata.user_id`."""
        return text_of(as_object(body.get("metadata")), "user_id") or ""

    def understand(
        self, body: JsonObject, headers: Mapping[str, str], models: Sequence[SimProviderModel]
    ) -> Ask:
        """Check a request by Anthropic's rules."""
        name = text_of(body, "model")
        model = find_model(models, name)
        if model is None:
            if name is None:
                raise declined("model: Field required")
            raise declined(f"model: {name}", 404, "not_found_error")
        check_request(body, headers, model)
        system = "\n\n".join(words_of(body.get("system"))) or "\n\n".join(
            text_of(as_object(block), "text") or "" for block in as_list(body.get("system"))
        )
        turns = [chat_message(raw) for raw in as_list(body["messages"])]
        return Ask(
            model=model,
            messages=(Message("system", system), *turns) if system else tuple(turns),
            stream=body.get("stream") is True,
            max_tokens=int_of(body, "max_tokens"),
            stop=words_of(body.get("stop_sequences")),
            thinks=_thinks(body, model),
            may_cache="cache_control" in str(body),
        )

    def frames(self, ask: Ask, reply: Reply, faults: Mapping[FaultName, Fault]) -> Iterator[Frame]:
        """Yield a streamed reply: typed events, cumulative usage."""
        return message_frames(
            reply, counts="no_usage" not in faults, repeats="duplicate_usage" in faults
        )

    def whole(self, ask: Ask, reply: Reply) -> JsonObject:
        """Return a reply in one piece."""
        return whole_message(reply)

    def answer(self, fault: Fault, scene: Scene) -> HttpAnswer:
        """Return a fault as an error object."""
        code = fault.code or _USUAL.get(fault.name, "api_error")
        status, kind, message, detail = _CODES.get(
            code, (http_status(code, 500), "api_error", "Internal server error", None)
        )
        text = message.format(
            tokens=scene.prompt_tokens,
            window=scene.window,
            model=scene.model,
            reset=scene.now + timedelta(seconds=fault.wait_s or 86_400.0),
        )
        # The caps of money name no wait in a header; that is how they are told from a rate.
        is_money = fault.name in ("no_money", "plan_limit")
        headers = None if is_money else wait_headers(fault, scene.now)
        return error_answer(status, kind, text, detail=detail, headers=headers, number=scene.number)

    def error_event(self, fault: Fault, scene: Scene) -> Frame:
        """Return an error inside the stream; overload is the one seen in the wild."""
        answer = self.answer(Fault("overload", fault.code), scene)
        return Frame(answer.body, event="error")

    def headers(self, number: int) -> Mapping[str, str]:
        """Return request id and limits."""
        return {
            "request-id": f"req_{number:024d}",
            "anthropic-ratelimit-requests-limit": "4000",
            "anthropic-ratelimit-requests-remaining": "3999",
        }

    def model_list(self, models: Sequence[SimProviderModel]) -> JsonObject:
        """Return the list of models."""
        data = [self.model(model) for model in models]
        ends: JsonObject = {"first_id": models[0].key, "last_id": models[-1].key}
        return {"data": data, "has_more": False, **ends}

    def model(self, model: SimProviderModel) -> JsonObject:
        """Return the description of one model."""
        return {
            "type": "model",
            "id": model.key,
            "display_name": model.key.replace("-", " ").title(),
            "created_at": "2026-09-01T00:00:00Z",
            "lifecycle": "active",
            "max_input_tokens": model.window,
            "max_tokens": model.max_output,
        }


def _thinks(body: JsonObject, model: SimProviderModel) -> Thinks:
    wanted = as_object(body.get("thinking")).get("type")
    if wanted not in ("adaptive", "enabled") and model.thinking != "always":
        return "off"
    effort = as_object(body.get("output_config")).get("effort")
    return "less" if effort == "low" else "auto"
