"""What OpenAI's chat completions refuse."""

from collections.abc import Mapping

from bot.sim.providers.asking import Declined, HttpAnswer, is_within
from bot.sim.providers.config import SimProviderModel
from bot.sim.wire_json import JsonObject, as_list, as_object, text_of, words_of

REQUEST = "invalid_request_error"

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


def error_answer(
    status: int,
    message: str,
    *,
    kind: str,
    code: str | None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> HttpAnswer:
    """Return an error object."""
    error: JsonObject = {"message": message, "type": kind, "param": param, "code": code}
    outcome = "refused" if code == "invalid_prompt" else "error"
    reason = code or str(status)
    return HttpAnswer(status, {"error": error}, headers or {}, outcome=outcome, reason=reason)


def check_request(body: JsonObject, model: SimProviderModel) -> None:
    """Check the fields of a request to a model.

    Raises:
        Declined: one of them is not allowed.
    """
    if not model.takes_sampling:
        _check_reasoning_model(body)
    _check_ranges(body, model)
    _check_effort(body, model)
    _check_messages(as_list(body.get("messages")))


def declined(
    status: int, message: str, *, code: str | None = None, param: str | None = None
) -> Declined:
    """Return a refusal of a request as OpenAI words it."""
    return Declined(error_answer(status, message, kind=REQUEST, code=code, param=param))


def check_known(body: JsonObject) -> None:
    """Refuse fields that do not exist.

    Raises:
        Declined: there is one.
    """
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


def _check_messages(messages: list[object]) -> None:
    if not messages:
        message = "Invalid 'messages': empty array. Expected one of at least 1 item."
        raise declined(400, message, code="empty_array", param="messages")
    for number, item in enumerate(messages):
        if text_of(as_object(item), "role") not in _ROLES:
            param = f"messages[{number}].role"
            raise declined(400, f"Invalid value for {param}.", code="invalid_value", param=param)
