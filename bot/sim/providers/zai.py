"""Z.AI's general endpoint: OpenAI-shaped, with its own fields, codes and finish reasons."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta, timezone

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

CODING_PREFIX = "/api/coding/paas/v4"
"""Where keys of the coding plan belong, and no others."""

_BEIJING = timezone(timedelta(hours=8))
_USER_ID_CHARS = (6, 128)

_FIELDS = frozenset(
    {
        "model",
        "messages",
        "stream",
        "thinking",
        "do_sample",
        "temperature",
        "top_p",
        "max_tokens",
        "stop",
        "tools",
        "tool_choice",
        "response_format",
        "request_id",
        "user_id",
        "tool_stream",
        "reasoning_effort",
    }
)
_ROLES = frozenset({"system", "user", "assistant", "tool"})

_FORM = ChatForm(
    finishes={
        "stop": "stop",
        "stop_sequence": "stop",
        "length": "length",
        "window": "length",
        "refused": "sensitive",
        "broken": "network_error",
    },
    usage=frozenset({"finish"}),
    reasoning="reasoning_content",
    is_terse=True,
)

_USUAL: Mapping[FaultName, str] = {
    "auth": "401",
    "forbidden": "1220",
    "no_money": "1113",
    "plan_limit": "1308",
    "rate_limit": "1302",
    "overload": "1305",
    "server": "1234",
    "too_long": "1261",
    "bad_request": "1210",
    "unknown_model": "1211",
    "refused": "1301",
}

_CODES: Mapping[str, tuple[int, str]] = {
    "401": (401, "token expired or incorrect"),
    "1000": (401, "Authentication failed"),
    "1001": (401, "No Authorization header was received"),
    "1002": (401, "The authentication token is not valid"),
    "1003": (401, "The authentication token has expired"),
    "1004": (401, "Authentication with the given token failed"),
    "1110": (403, "The account is not active"),
    "1111": (403, "The account does not exist"),
    "1112": (403, "The account is locked"),
    "1113": (429, "Insufficient balance or no resource package. Please recharge."),
    "1121": (403, "The account is locked for irregular use"),
    "1210": (400, "A parameter of the call is not valid"),
    "1211": (400, "Unknown model, please check the model code"),
    "1213": (400, "A required parameter was not received"),
    "1214": (400, "A parameter is not legal"),
    "1220": (403, "No permission for this interface"),
    "1234": (500, "Network error, please contact customer service"),
    "1261": (400, "The prompt is over the limit of {window} tokens"),
    "1301": (400, "The input or the answer may be unsafe or sensitive"),
    "1302": (429, "Too many requests at once, please lower the concurrency"),
    "1303": (429, "Requests come too often, please lower the frequency"),
    "1304": (429, "The daily limit of calls is reached"),
    "1305": (429, "The service may be temporarily overloaded, please try again later"),
    "1308": (429, "Usage limit reached for 5 hours. Your limit will reset at {reset}"),
    "1309": (429, "The plan has expired. It will reset at {reset}"),
    "1310": (429, "Weekly limit exhausted. Your limit will reset at {reset}"),
    "1313": (429, "The account was restricted for use outside the fair-use policy"),
}


class ZaiWire:
    """Speaks as `api.z.ai` does."""

    prefix = "/api/paas/v4"
    chat = "/chat/completions"
    elsewhere: FaultName | None = None
    has_broken_finish = True

    def key_of(self, headers: Mapping[str, str]) -> str | None:
        """Return the bearer key."""
        return bearer_of(headers)

    def admit(self, headers: Mapping[str, str]) -> None:
        """Ask for nothing further."""

    def user_of(self, body: JsonObject) -> str:
        """Return `user_id`."""
        return text_of(body, "user_id") or ""

    def understand(
        self, body: JsonObject, headers: Mapping[str, str], models: Sequence[SimProviderModel]
    ) -> Ask:
        """Check a request by Z.AI's rules."""
        model = find_model(models, body.get("model"))
        if model is None:
            raise _declined("1211" if text_of(body, "model") else "1213", "model")
        _check_fields(body, model)
        messages = as_list(body.get("messages"))
        if not messages:
            raise _declined("1213", "messages")
        if any(text_of(as_object(raw), "role") not in _ROLES for raw in messages):
            raise _declined("1214", "messages[].role")
        return Ask(
            model=model,
            messages=tuple(chat_message(raw) for raw in messages),
            stream=body.get("stream") is True,
            max_tokens=int_of(body, "max_tokens"),
            stop=words_of(body.get("stop")),
            thinks=_thinks(body),
        )

    def frames(self, ask: Ask, reply: Reply, faults: Mapping[FaultName, Fault]) -> Iterator[Frame]:
        """Yield a streamed reply: thinking first, usage on the last chunk."""
        return chat_frames(_FORM.with_usage(faults), reply)

    def whole(self, ask: Ask, reply: Reply) -> JsonObject:
        """Return a reply in one piece."""
        return whole_chat(_FORM, reply) | {"request_id": reply.reply_id}

    def answer(self, fault: Fault, scene: Scene) -> HttpAnswer:
        """Return a fault as a string code."""
        code = fault.code or _USUAL.get(fault.name, "1234")
        status, message = _CODES.get(code, (http_status(code, 500), "Internal error"))
        reset = scene.now.astimezone(_BEIJING) + timedelta(seconds=fault.wait_s or 3600.0)
        text = message.format(window=scene.window, reset=f"{reset:%Y-%m-%d %H:%M:%S}")
        # A plan says its reset in words, in Beijing time without a zone, and in no header.
        headers = None if fault.name == "plan_limit" else wait_headers(fault, scene.now)
        return _error(code, status, text, headers, scene.number)

    def error_event(self, fault: Fault, scene: Scene) -> Frame:
        """Return an error inside the stream."""
        answer = self.answer(Fault("server", fault.code), scene)
        return Frame(answer.body)

    def headers(self, number: int) -> Mapping[str, str]:
        """Return the log id."""
        return {"x-log-id": f"{number:032x}"}

    def model_list(self, models: Sequence[SimProviderModel]) -> JsonObject:
        """Return the list of models."""
        return {"object": "list", "data": [self.model(model) for model in models]}

    def model(self, model: SimProviderModel) -> JsonObject:
        """Return the description of one model."""
        return {"id": model.key, "object": "model", "created": 1_753_632_000, "owned_by": "z-ai"}


def _check_fields(body: JsonObject, model: SimProviderModel) -> None:
    unknown = sorted(body.keys() - _FIELDS)
    if unknown:
        raise _declined("1210", unknown[0])
    for name, low, high in (
        ("temperature", 0.0, 1.0),
        ("top_p", 0.01, 1.0),
        ("max_tokens", 1, model.max_output),
    ):
        if name in body and not is_within(body[name], low, high):
            raise _declined("1210", f"{name} must be within [{low:g}, {high:g}]")
    if "stop" in body and len(as_list(body["stop"])) != 1:
        raise _declined("1210", "stop takes a list of one item")
    low, high = _USER_ID_CHARS
    if "user_id" in body and not low <= len(text_of(body, "user_id") or "") <= high:
        raise _declined("1214", "user_id")
    _check_thinking(body, model)


def _check_thinking(body: JsonObject, model: SimProviderModel) -> None:
    wanted = as_object(body.get("thinking")).get("type")
    if "thinking" in body and wanted not in ("enabled", "disabled"):
        raise _declined("1210", "thinking.type")
    if wanted == "disabled" and model.thinking == "always":
        raise _declined("1210", "thinking cannot be disabled for this model")
    if "reasoning_effort" in body and body["reasoning_effort"] not in model.efforts:
        raise _declined("1210", "reasoning_effort")


def _thinks(body: JsonObject) -> Thinks:
    if as_object(body.get("thinking")).get("type") == "disabled":
        return "off"
    return "less" if body.get("reasoning_effort") == "low" else "auto"


def _declined(code: str, what: str) -> Declined:
    status, message = _CODES[code]
    return Declined(_error(code, status, f"{message}: {what}", None, 0))


def _error(
    code: str, status: int, message: str, headers: Mapping[str, str] | None, number: int
) -> HttpAnswer:
    body: JsonObject = {
        "error": {"code": code, "message": message},
        "request_id": f"{number:020d}",
    }
    outcome = "refused" if code == "1301" else "error"
    return HttpAnswer(status, body, headers or {}, outcome=outcome, reason=code)
