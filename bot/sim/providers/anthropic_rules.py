"""What Anthropic's messages API refuses."""

from collections.abc import Iterable, Mapping

from bot.sim.providers.asking import Declined, HttpAnswer, is_within
from bot.sim.providers.config import SimProviderModel
from bot.sim.wire_json import JsonObject, as_list, as_object, text_of, words_of

VERSIONS = ("2023-06-01", "2026-10-21")
NEW_VERSION = VERSIONS[-1]
"""From here on sampling parameters are no fields at all."""

_MAX_MESSAGES = 100_000
_USER_CHARS = 256
_SAMPLING = ("temperature", "top_p", "top_k")
_FIELDS = frozenset(
    {
        "model",
        "messages",
        "max_tokens",
        "system",
        "stream",
        "stop_sequences",
        "metadata",
        "thinking",
        "output_config",
        "cache_control",
        "service_tier",
        "tools",
        "tool_choice",
    }
)


def declined(message: str, status: int = 400, kind: str = "invalid_request_error") -> Declined:
    """Return the refusal of a request."""
    return Declined(error_answer(status, kind, message))


def error_answer(
    status: int,
    kind: str,
    message: str,
    *,
    detail: str | None = None,
    headers: Mapping[str, str] | None = None,
    number: int = 0,
) -> HttpAnswer:
    """Return an error in the wire's form."""
    error: JsonObject = {"type": kind, "message": message}
    if detail is not None:
        error["details"] = {"error_code": detail}
    body: JsonObject = {"type": "error", "error": error, "request_id": f"req_{number:024d}"}
    return HttpAnswer(status, body, headers or {}, reason=detail or kind)


def check_version(headers: Mapping[str, str]) -> None:
    """Refuse a request that pins no version, or none that exists."""
    version = headers.get("anthropic-version")
    if version is None:
        raise declined("anthropic-version: header is required")
    if version not in VERSIONS:
        raise declined(f'anthropic-version: "{version}" is not a valid version')


def check_request(body: JsonObject, headers: Mapping[str, str], model: SimProviderModel) -> None:
    """Check the fields of a request.

    Raises:
        Declined: one of them is missing, unknown or not allowed.
    """
    is_new = headers.get("anthropic-version") == NEW_VERSION
    known = _FIELDS if is_new else _FIELDS.union(_SAMPLING)
    for name in sorted(body.keys() - known):
        raise declined(f"{name}: Extra inputs are not permitted")
    for name in _SAMPLING[:2]:
        if name in body and not is_within(body[name], 0.0, 1.0):
            raise declined(f"{name}: Input should be between 0 and 1")
    _check_limit(body, model)
    _check_extras(body, model)
    _check_messages(as_list(body.get("messages")), model)


def _check_limit(body: JsonObject, model: SimProviderModel) -> None:
    if "max_tokens" not in body:
        raise declined("max_tokens: Field required")
    if not is_within(body["max_tokens"], 1, float("inf")):
        raise declined("max_tokens: Input should be greater than or equal to 1")
    if not is_within(body["max_tokens"], 1, model.max_output):
        raise declined(
            f"max_tokens: {body['max_tokens']} > {model.max_output}, which is the maximum allowed"
            f" number of output tokens for {model.key}"
        )


def _check_extras(body: JsonObject, model: SimProviderModel) -> None:
    if any(not stop.strip() for stop in words_of(body.get("stop_sequences"))):
        raise declined("stop_sequences: each stop sequence must contain non-whitespace")
    metadata = as_object(body.get("metadata"))
    for name in sorted(metadata.keys() - {"user_id"}):
        raise declined(f"metadata.{name}: Extra inputs are not permitted")
    if len(text_of(metadata, "user_id") or "") > _USER_CHARS:
        raise declined(f"metadata.user_id: String should have at most {_USER_CHARS} characters")
    if not isinstance(body.get("system"), str):
        _check_blocks("system", as_list(body.get("system")))
    thinking = as_object(body.get("thinking")).get("type")
    if thinking == "disabled" and model.thinking == "always":
        raise declined("thinking: this model always thinks")
    effort = as_object(body.get("output_config")).get("effort")
    if effort is not None and effort not in model.efforts:
        raise declined("output_config.effort: not supported by this model")


def _check_messages(messages: list[object], model: SimProviderModel) -> None:
    if not messages:
        raise declined("messages: at least one message is required")
    if len(messages) > _MAX_MESSAGES:
        raise declined(f"messages: List should have at most {_MAX_MESSAGES} items")
    roles = [text_of(as_object(raw), "role") for raw in messages]
    if roles[0] == "system":
        raise declined('messages: Unexpected role "system"; use the top-level `system` parameter')
    for number, role in enumerate(roles):
        if role not in ("user", "assistant", "system"):
            raise declined(f"messages.{number}.role: Input should be 'user' or 'assistant'")
    if roles[0] != "user":
        raise declined('messages: first message must use the "user" role')
    if roles[-1] == "assistant" and not model.takes_prefill:
        raise declined(
            "This model does not support assistant message prefill."
            " The conversation must end with a user message."
        )
    for number, raw in enumerate(messages):
        _check_content(f"messages.{number}", as_object(raw))


def _check_content(where: str, message: JsonObject) -> None:
    for name in sorted(message.keys() - {"role", "content"}):
        raise declined(f"{where}.{name}: Extra inputs are not permitted")
    content = message.get("content")
    if isinstance(content, str):
        if not content.strip():
            raise declined(f"{where}: text content must contain non-whitespace text")
        return
    blocks = as_list(content)
    if not blocks:
        raise declined(f"{where}.content: Field required")
    is_document = any(as_object(block).get("type") == "document" for block in blocks)
    if is_document and message.get("role") == "assistant":
        raise declined(f"{where}.content: document blocks are not permitted in assistant turns")
    _check_blocks(f"{where}.content", blocks)


def _check_blocks(where: str, blocks: Iterable[object]) -> None:
    for number, raw in enumerate(blocks):
        block = as_object(raw)
        if block.get("type") == "text" and not (text_of(block, "text") or "").strip():
            raise declined(f"{where}.{number}.text: text content blocks must be non-empty")
