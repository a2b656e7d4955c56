"""OpenAI's chat completions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from bot.sim.answers import Message
from bot.sim.providers.asking import (
    Ask,
    Declined,
    HttpAnswer,
    Thinks,
    chat_message,
    find_model,
    is_within,
)
from bot.sim.providers.chat_frames import ChatForm, chat_frames, whole_chat
from bot.sim.providers.config import SimProviderModel
from bot.sim.providers.faults import Fault, FaultName
from bot.sim.providers.frames import Frame
from bot.sim.providers.replying import Reply
from bot.sim.providers.wire import Scene, bearer_of, http_status, wait_headers
from bot.sim.wire_json import JsonObject, as_list, as_object, int_of, text_of, words_of

_USER_CHARS = 64
_MAX_STOPS = 4

_FIELDS = frozenset(
    {
        "model",
        "messages",
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "frequency_penalty",
        "presence_penalty",
        "logprobs",
        "top_logprobs",
        "logit_bias",
        "n",
        "stop",
        "seed",
        "user",
        "safety_identifier",
        "prompt_cache_key",
        "metadata",
        "store",
        "reasoning_effort",
        "verbosity",
        "response_format",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "service_tier",
        "modalities",
    }
)
_ROLES = frozenset({"developer", "system", "user", "assistant", "tool"})
_NOT_FOR_REASONING = (
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "stop",
)

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

_REQUEST = "invalid_request_error"
_CODES: Mapping[str, tuple[int, str, str, str | None]] = {
    "invalid_api_key": (401, _REQUEST, "Incorrect API key provided: {key}.", None),
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
        _REQUEST,
        "This model's maximum context length is {window} tokens. However, your messages resulted"
        " in {tokens} tokens. Please reduce the length of the messages.",
        "messages",
    ),
    "unsupported_parameter": (
        400,
        _REQUEST,
        "Unsupported parameter: 'temperature' is not supported with this model.",
        "temperature",
    ),
    "model_not_found": (
        404,
        _REQUEST,
        "The model `{model}` does not exist or you do not have access to it.",
        None,
    ),
    "invalid_prompt": (
        400,
        _REQUEST,
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
        _check_known(body)
        name = text_of(body, "model")
        if name is None:
            raise declined(400, "you must provide a model parameter")
        model = find_model(models, name)
        if model is None:
            raise _coded("model_not_found", Fault("unknown_model"), name)
        if not model.takes_sampling:
            _check_reasoning_model(body)
        _check_ranges(body, model)
        _check_effort(body, model)
        options = as_object(body.get("stream_options"))
        return Ask(
            model=model,
            messages=_messages(body),
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
            return _error(status, "The server had an error.", kind=kind, code=None)
        status, kind, message, param = _CODES[code]
        text = message.format(
            key=scene.shown_key,
            model=scene.model,
            window=scene.window,
            tokens=scene.prompt_tokens,
        )
        headers = wait_headers(fault, scene.now)
        return _error(status, text, kind=kind, code=code, param=param, headers=headers)

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


def declined(
    status: int, message: str, *, code: str | None = None, param: str | None = None
) -> Declined:
    """Return a refusal of a request as OpenAI words it."""
    return Declined(_error(status, message, kind=_REQUEST, code=code, param=param))


def _check_known(body: JsonObject) -> None:
    unknown = sorted(body.keys() - _FIELDS)
    if unknown:
        raise declined(400, f"Unrecognized request argument supplied: {unknown[0]}")
    if "stream_options" in body and body.get("stream") is not True:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise declined(400, message, param="stream_options")


def _check_reasoning_model(body: JsonObject) -> None:
    if "max_tokens" in body:
        message = (
            "Unsupported parameter: 'max_tokens' is not supported with this model."
            " Use 'max_completion_tokens' instead."
        )
        raise declined(400, message, code="unsupported_parameter", param="max_tokens")
    if body.get("temperature", 1) != 1:
        message = (
            "Unsupported value: 'temperature' does not support this value with this model."
            " Only the default (1) value is supported."
        )
        raise declined(400, message, code="unsupported_value", param="temperature")
    for name in _NOT_FOR_REASONING:
        if name in body:
            message = f"Unsupported parameter: '{name}' is not supported with this model."
            raise declined(400, message, code="unsupported_parameter", param=name)


def _check_ranges(body: JsonObject, model: SimProviderModel) -> None:
    for name, low, high in (
        ("temperature", 0.0, 2.0),
        ("top_p", 0.0, 1.0),
        ("max_tokens", 1, model.max_output),
        ("max_completion_tokens", 1, model.max_output),
    ):
        if name in body and body[name] is not None and not is_within(body[name], low, high):
            message = f"Invalid value for '{name}': expected between {low:g} and {high:g}."
            raise declined(400, message, code="invalid_value", param=name)
    if len(words_of(body.get("stop"))) > _MAX_STOPS:
        raise declined(400, "Invalid 'stop': too many items.", param="stop")
    if len(text_of(body, "safety_identifier") or "") > _USER_CHARS:
        message = f"Invalid 'safety_identifier': string too long, {_USER_CHARS} at most."
        raise declined(400, message, code="string_above_max_length", param="safety_identifier")


def _check_effort(body: JsonObject, model: SimProviderModel) -> None:
    if "reasoning_effort" not in body:
        return
    if not model.efforts:
        message = "Unrecognized request argument supplied: reasoning_effort"
        raise declined(400, message)
    if body["reasoning_effort"] not in model.efforts:
        takes = ", ".join(f"'{effort}'" for effort in model.efforts)
        message = f"Unsupported value: 'reasoning_effort' takes {takes} with this model."
        raise declined(400, message, code="unsupported_value", param="reasoning_effort")


def _messages(body: JsonObject) -> tuple[Message, ...]:
    raw = as_list(body.get("messages"))
    if not raw:
        message = "Invalid 'messages': empty array. Expected one of at least 1 item."
        raise declined(400, message, code="empty_array", param="messages")
    for number, item in enumerate(raw):
        if text_of(as_object(item), "role") not in _ROLES:
            param = f"messages[{number}].role"
            raise declined(400, f"Invalid value for {param}.", code="invalid_value", param=param)
    return tuple(chat_message(item) for item in raw)


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


def _coded(code: str, fault: Fault, model: str) -> Declined:
    status, kind, message, param = _CODES[code]
    text = message.format(model=model, key="", window=0, tokens=0)
    return Declined(_error(status, text, kind=kind, code=code, param=param))


def _error(
    status: int,
    message: str,
    *,
    kind: str,
    code: str | None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> HttpAnswer:
    error: JsonObject = {"message": message, "type": kind, "param": param, "code": code}
    outcome = "refused" if code == "invalid_prompt" else "error"
    reason = code or str(status)
    return HttpAnswer(status, {"error": error}, headers or {}, outcome=outcome, reason=reason)
