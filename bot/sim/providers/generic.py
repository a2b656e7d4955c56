"""A gateway that copies OpenAI's wire, with OpenRouter's departures from it."""

from collections.abc import Iterator, Mapping, Sequence

from bot.sim.providers.asking import Ask, Declined, HttpAnswer, Thinks, chat_message, find_model
from bot.sim.providers.chat_frames import ChatForm, UsagePlace, chat_frames, whole_chat
from bot.sim.providers.config import SimProviderConfig, SimProviderModel, UsageStyle
from bot.sim.providers.faults import Fault, FaultName
from bot.sim.providers.frames import Frame
from bot.sim.providers.replying import Finish, Reply
from bot.sim.providers.wire import Scene, bearer_of, http_status, wait_headers
from bot.sim.wire_json import JsonObject, as_list, as_object, int_of, text_of, words_of

_FINISHES: Mapping[Finish, str] = {
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "window": "length",
    "refused": "content_filter",
    "broken": "error",
}

_PLACES: Mapping[UsageStyle, frozenset[UsagePlace]] = {
    "extra": frozenset({"extra"}),
    "finish": frozenset({"finish"}),
    "every": frozenset({"every"}),
    "none": frozenset(),
}

_ANSWERS: Mapping[FaultName, tuple[int, str]] = {
    "auth": (401, "No auth credentials found"),
    "forbidden": (403, "This key may not use that model"),
    "no_money": (402, "Insufficient credits. Add more to go on."),
    "plan_limit": (429, "Rate limit exceeded: free-models-per-day"),
    "rate_limit": (429, "Rate limit exceeded"),
    "overload": (503, "No provider of this model is available"),
    "server": (502, "Provider returned error"),
    "too_long": (
        400,
        "This endpoint's maximum context length is {window} tokens. However, you requested about"
        " {tokens} tokens. Please reduce the length of either one.",
    ),
    "bad_request": (400, "A field of the request is not valid"),
    "unknown_model": (400, "{model} is not a valid model ID"),
    "refused": (403, "The input was flagged by moderation"),
}


class GenericWire:
    """Speaks as OpenRouter does; unknown fields are left unread."""

    prefix = "/api/v1"
    chat = "/chat/completions"
    elsewhere: FaultName | None = None
    has_broken_finish = True

    def __init__(self, config: SimProviderConfig) -> None:
        self._form = ChatForm(
            finishes=_FINISHES,
            usage=_PLACES[config.usage],
            reasoning=config.reasoning,
            extras={"provider": "Simulated"},
            has_native_finish=True,
            comment="OPENROUTER PROCESSING",
        )

    def key_of(self, headers: Mapping[str, str]) -> str | None:
        """Return the bearer key."""
        return bearer_of(headers)

    def admit(self, headers: Mapping[str, str]) -> None:
        """Ask for nothing further."""

    def user_of(self, body: JsonObject) -> str:
        """Return `user`."""
        return text_of(body, "user") or ""

    def understand(
        self, body: JsonObject, headers: Mapping[str, str], models: Sequence[SimProviderModel]
    ) -> Ask:
        """Check the few things a gateway insists on."""
        name = text_of(body, "model") or ""
        model = find_model(models, name)
        if model is None:
            raise Declined(_error(400, f"{name} is not a valid model ID"))
        messages = as_list(body.get("messages"))
        if not messages:
            raise Declined(_error(400, 'Input required: specify "prompt" or "messages"'))
        limit = int_of(body, "max_tokens")
        return Ask(
            model=model,
            messages=tuple(chat_message(raw) for raw in messages),
            stream=body.get("stream") is True,
            max_tokens=int_of(body, "max_completion_tokens") if limit is None else limit,
            stop=words_of(body.get("stop")),
            thinks=_thinks(body),
        )

    def frames(self, ask: Ask, reply: Reply, faults: Mapping[FaultName, Fault]) -> Iterator[Frame]:
        """Yield a streamed reply after a comment line."""
        return chat_frames(self._form.with_usage(faults), reply)

    def whole(self, ask: Ask, reply: Reply) -> JsonObject:
        """Return a reply in one piece."""
        return whole_chat(self._form, reply)

    def answer(self, fault: Fault, scene: Scene) -> HttpAnswer:
        """Return a fault as a number and a message."""
        usual, message = _ANSWERS.get(fault.name, (500, "Internal server error"))
        status = http_status(fault.code, usual)
        text = message.format(window=scene.window, tokens=scene.prompt_tokens, model=scene.model)
        headers = None if fault.name == "no_money" else wait_headers(fault, scene.now)
        flagged: JsonObject = {
            "reasons": ["violence"],
            "flagged_input": "…",
            "provider_name": "Simulated",
            "model_slug": scene.model,
        }
        return _error(status, text, headers, flagged if fault.name == "refused" else None)

    def error_event(self, fault: Fault, scene: Scene) -> Frame:
        """Return a chunk that is an error and a finish in one."""
        answer = self.answer(Fault("server", fault.code), scene)
        choice: JsonObject = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
        return Frame(as_object(answer.body) | {"choices": [choice], "model": scene.model})

    def headers(self, number: int) -> Mapping[str, str]:
        """Return a generation id."""
        return {"x-generation-id": f"gen-{number:012d}"}

    def model_list(self, models: Sequence[SimProviderModel]) -> JsonObject:
        """Return the list of models."""
        return {"data": [self.model(model) for model in models]}

    def model(self, model: SimProviderModel) -> JsonObject:
        """Return the description of one model."""
        return {
            "id": model.key,
            "object": "model",
            "created": 1_753_632_000,
            "owned_by": "simulated",
            "name": model.key,
            "context_length": model.window,
        }


def _thinks(body: JsonObject) -> Thinks:
    reasoning = as_object(body.get("reasoning"))
    return "off" if reasoning.get("enabled") is False else "auto"


def _error(
    status: int,
    message: str,
    headers: Mapping[str, str] | None = None,
    flagged: JsonObject | None = None,
) -> HttpAnswer:
    error: JsonObject = {"code": status, "message": message}
    if flagged is not None:
        error["metadata"] = flagged
    outcome = "error" if flagged is None else "refused"
    return HttpAnswer(status, {"error": error}, headers or {}, outcome=outcome, reason=str(status))
