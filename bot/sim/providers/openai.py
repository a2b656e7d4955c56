"""OpenAI's chat completions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from bot.sim.providers.asking import (
    Ask,
    HttpAnswer,
    Thinks,
    chat_message,
    find_model,
)
from bot.sim.providers.chat_frames import ChatForm, chat_frames, whole_chat
from bot.sim.providers.config import SimProviderModel
from bot.sim.providers.faults import Fault, FaultName
from bot.sim.providers.frames import Frame
from bot.sim.providers.openai_rules import (
    REQUEST,
    check_known,
    check_request,
    declined,
    error_answer,
)
from bot.sim.providers.replying import Reply
from bot.sim.providers.wire import Scene, bearer_of, http_status, wait_headers
from bot.sim.wire_json import JsonObject, as_list, as_object, int_of, text_of, words_of

_FORM = ChatForm(
    finishes={
        "stop": "stop",
        "stop_sequence": "stop",
        "length": "length",
        "window": "length",
        "refused": "content_filter",
        "broken": "stop",
    },
    usage=frozenset({"extra"}),
    extras={"service_tier": "default", "system_fingerprint": "fp_simulated"},
    obfuscates=True,
)

_USUAL: Mapping[FaultName, str] = {
    "auth": "invalid_api_key",
    "forbidden": "unsupported_country_region_territory",
    "no_money": "credit_balance_exhausted",
    "plan_limit": "organization_usage_limit_exceeded",
    "rate_limit": "rate_limit_exceeded",
    "overload": "server_is_overloaded",
    "server": "server_error",
    "too_long": "context_length_exceeded",
    "bad_request": "unsupported_parameter",
    "unknown_model": "model_not_found",
    "refused": "invalid_prompt",
}

_CODES: Mapping[str, tuple[int, str, str, str | None]] = {
    "invalid_api_key": (401, REQUEST, "Incorrect API key provided: {key}.", None),
    "unsupported_country_region_territory": (
        403,
        "request_forbidden",
        "Country, region, or territory not supported",
        None,
    ),
    "credit_balance_exhausted": (
        429,
        "insufficient_quota",
        "Your credit balance is used up. Add credits to go on.",
        None,
    ),
    "organization_spend_limit_exceeded": (
        429,
        "insufficient_quota",
        "Your organization has reached the spend limit it set.",
        None,
    ),
    "project_spend_limit_exceeded": (
        429,
        "insufficient_quota",
        "This project has reached the spend limit it was given.",
        None,
    ),
    "organization_usage_limit_exceeded": (
        429,
        "insufficient_quota",
        "Your organization has reached its usage limit for this month.",
        None,
    ),
    "rate_limit_exceeded": (
        429,
        "requests",
        "Rate limit reached for {model} on requests per min.",
        None,
    ),
    "slow_down": (429, "requests", "Requests grow too fast. Slow down, then ramp up.", None),
    "server_is_overloaded": (503, "service_unavailable_error", "The servers are overloaded.", None),
    "server_error": (500, "server_error", "The server had an error while processing.", None),
    "context_length_exceeded": (
        400,
        REQUEST,
        "This model's maximum context length is {window} tokens. However, your messages resulted"
        " in {tokens} tokens. Please reduce the length of the messages.",
        "messages",
    ),
    "unsupported_parameter": (
        400,
        REQUEST,
        "Unsupported parameter: 'temperature' is not supported with this model.",
        "temperature",
    ),
    "model_not_found": (
        404,
        REQUEST,
        "The model `{model}` does not exist or you do not have access to it.",
        None,
    ),
    "invalid_prompt": (
        400,
        REQUEST,
        "Your prompt was flagged as possibly against the usage policy.",
        None,
    ),
}


class OpenAiWire:
    """Speaks as `api.openai.com` does."""

    prefix = "/v1"
    chat = "/chat/completions"
    elsewhere: FaultName | None = None
    has_broken_finish = False

    def key_of(self, headers: Mapping[str, str]) -> str | None:
        """Return the bearer key."""
        return bearer_of(headers)

    def admit(self, headers: Mapping[str, str]) -> None:
        """Ask for nothing further."""

    def user_of(self, body: JsonObject) -> str:
        """Return `safety_identifier`, or the older `user`."""
        return text_of(body, "safety_identifier") or text_of(body, "user") or ""

    def understand(
        self, body: JsonObject, headers: Mapping[str, str], models: Sequence[SimProviderModel]
    ) -> Ask:
        """Check a request by OpenAI's rules."""
        check_known(body)
        name = text_of(body, "model")
        if name is None:
            raise declined(400, "you must provide a model parameter")
        model = find_model(models, name)
        if model is None:
            message = f"The model `{name}` does not exist or you do not have access to it."
            raise declined(404, message, code="model_not_found")
        check_request(body, model)
        options = as_object(body.get("stream_options"))
        return Ask(
            model=model,
            messages=tuple(chat_message(raw) for raw in as_list(body["messages"])),
            stream=body.get("stream") is True,
            max_tokens=_limit(body),
            stop=words_of(body.get("stop")),
            thinks=_thinks(body),
            include_usage=options.get("include_usage") is True,
            obfuscate=options.get("include_obfuscation") is not False,
        )

    def frames(self, ask: Ask, reply: Reply, faults: Mapping[FaultName, Fault]) -> Iterator[Frame]:
        """Yield a streamed reply: thinking hidden, usage on an extra chunk when asked for."""
        form = replace(_FORM, obfuscates=ask.obfuscate)
        if not ask.include_usage:
            form = replace(form, usage=frozenset())
        return chat_frames(form.with_usage(faults), reply)

    def whole(self, ask: Ask, reply: Reply) -> JsonObject:
        """Return a reply in one piece."""
        return whole_chat(_FORM, reply)

    def answer(self, fault: Fault, scene: Scene) -> HttpAnswer:
        """Return a fault as an error object."""
        code = fault.code or _USUAL.get(fault.name, "server_error")
        if code not in _CODES:
            status, kind = http_status(code, 500), "server_error"
            return error_answer(status, "The server had an error.", kind=kind, code=None)
        status, kind, message, param = _CODES[code]
        text = message.format(
            key=scene.shown_key,
            model=scene.model,
            window=scene.window,
            tokens=scene.prompt_tokens,
        )
        headers = wait_headers(fault, scene.now)
        return error_answer(status, text, kind=kind, code=code, param=param, headers=headers)

    def error_event(self, fault: Fault, scene: Scene) -> Frame:
        """Return an error inside the stream."""
        return Frame(self.answer(Fault("server", fault.code), scene).body)

    def headers(self, number: int) -> Mapping[str, str]:
        """Return request id and limits."""
        return {
            "x-request-id": f"req_{number:032x}",
            "openai-version": "2020-10-01",
            "openai-processing-ms": "12",
            "x-ratelimit-limit-requests": "5000",
            "x-ratelimit-remaining-requests": "4999",
            "x-ratelimit-reset-requests": "12ms",
            "x-ratelimit-limit-tokens": "2000000",
            "x-ratelimit-remaining-tokens": "1999000",
            "x-ratelimit-reset-tokens": "30ms",
        }

    def model_list(self, models: Sequence[SimProviderModel]) -> JsonObject:
        """Return the list of models."""
        return {"object": "list", "data": [self.model(model) for model in models]}

    def model(self, model: SimProviderModel) -> JsonObject:
        """Return the description of one model."""
        return {"id": model.key, "object": "model", "created": 1_758_499_200, "owned_by": "system"}


def _limit(body: JsonObject) -> int | None:
    limit = int_of(body, "max_completion_tokens")
    return int_of(body, "max_tokens") if limit is None else limit


def _thinks(body: JsonObject) -> Thinks:
    match body.get("reasoning_effort"):
        case "none":
            return "off"
        case "minimal" | "low":
            return "less"
        case _:
            return "auto"
