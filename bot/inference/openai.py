"""The chat-completions wire of LM Studio, Z.AI, OpenAI, OpenRouter, Ollama and vLLM."""

import base64
import json
import re
from collections.abc import Mapping, Sequence

from bot.domain.chat import DialectName, Endpoint, InferenceRequest, Message, Usage
from bot.domain.errors import FailureKind
from bot.domain.events import Delta, StreamEnd
from bot.domain.personas import Sampling
from bot.domain.values import value
from bot.inference.errors import classify_event
from bot.inference.pieces import Piece, Pieces
from bot.inference.wire import (
    Call,
    Verdict,
    WireFault,
    count_of,
    first_of,
    is_object,
    object_of,
    parse_object,
    text_of,
)

_COMMON = ("temperature", "top_p")

_NOT_ABROAD = frozenset(
    {
        "max_completion_tokens",
        "max_tokens",
        "temperature",
        "top_p",
        "stop",
        "top_k",
        "min_p",
        "repeat_penalty",
        "ttl",
        "draft_model",
        "stream_options",
        "user",
        "safety_identifier",
    }
)
"""Of a client's own request: what each server takes otherwise, is LM Studio's alone, or would tell
two servers that they know one person."""

_DONE = "[DONE]"

_FINISHES = {
    "length": "length",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "content_filter": "refused",
    "sensitive": "refused",
    "refusal": "refused",
}
"""Everything else that ends an answer is ``stop``."""

_BROKEN = frozenset({"error", "network_error"})
"""OpenRouter and Z.AI report their own breakdown as a finish reason: no end mark."""


@value
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
        # `max_tokens` is refused by every reasoning model; the newer name is taken by all.
        max_tokens_field="max_completion_tokens",
        user_field="safety_identifier",
        # Unknown names count as reasoning models: a dropped parameter is harmless, a 400 is not.
        no_sampling=re.compile(r"(?!(?:ft:)?(?:gpt-3\.5|gpt-4|chatgpt-4))"),
        # Each model takes some of the efforts and answers 400 to the others: the least of its own.
        thinking_off=(
            (re.compile(r"(?:ft:)?(?:gpt-3|gpt-4|chatgpt)"), {}),
            (re.compile(r"o\d"), {"reasoning_effort": "low"}),
            (re.compile(r"gpt-5(?!\.)"), {"reasoning_effort": "minimal"}),
            (re.compile(r"gpt-"), {"reasoning_effort": "none"}),
        ),
    ),
    "zai": Dialect(
        # Its ranges, and one stop string at most: what lies outside is refused, not trimmed.
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


def completions_call(endpoint: Endpoint, request: InferenceRequest) -> Call:
    """The HTTP request that asks an endpoint for a streamed chat completion, in its dialect."""
    dialect, model = DIALECTS[endpoint.dialect], endpoint.model
    body: dict[str, object] = {}
    if request.verbatim is not None:
        body = {k: v for k, v in request.verbatim.fields.items() if k not in _NOT_ABROAD}
    else:
        body["messages"] = [_message(message) for message in request.messages]
    body |= {"model": model, "stream": True}
    if dialect.include_usage:
        body["stream_options"] = {"include_usage": True}
    body |= _sampling(dialect, model, request.sampling)
    if endpoint.thinking == "off":
        fits = (fields for pattern, fields in dialect.thinking_off if pattern.match(model))
        body |= next(fits, dict[str, object]())
    if dialect.user_field and request.user_hash:
        body[dialect.user_field] = request.user_hash
    return Call(
        url=f"{endpoint.base_url.rstrip('/')}/chat/completions",
        headers={"Authorization": f"Bearer {endpoint.token}"} if endpoint.token else {},
        body=json.dumps(body).encode(),
    )


def _sampling(dialect: Dialect, model: str, sampling: Sampling) -> dict[str, object]:
    """The fields of a sampling as this server and model take them.

    What a server does not take is left out: LM Studio ignores it in silence, others answer 400.
    """
    fields: dict[str, object] = {}
    if sampling.max_tokens is not None:
        fields[dialect.max_tokens_field] = sampling.max_tokens
    if dialect.no_sampling is not None and dialect.no_sampling.match(model):
        return fields
    for name in dialect.sampling:
        value: float | None = getattr(sampling, name)
        if value is None:
            continue
        if name == "temperature" and dialect.max_temperature is not None:
            value = min(value, dialect.max_temperature)
        if name == "top_p" and dialect.min_top_p is not None:
            value = max(value, dialect.min_top_p)
        fields[name] = value
    if sampling.stop:
        fields["stop"] = list(sampling.stop[: dialect.max_stops])
    return fields


def _message(message: Message) -> dict[str, object]:
    parts: list[dict[str, object]] = []
    for image in message.images:
        if image.image:
            data = f"data:{image.media_type};base64,{base64.b64encode(image.image).decode()}"
            parts.append({"type": "image_url", "image_url": {"url": data}})
    if not parts:
        return {"role": message.role, "content": message.text}
    if message.text:
        parts.insert(0, {"type": "text", "text": message.text})
    return {"role": message.role, "content": parts}


class OpenAiReader:
    """Turns the chunks of one stream into deltas; knows nothing of sockets.

    The end mark is a ``finish_reason``; OpenAI's usage chunk follows it, so only ``[DONE]`` or the
    end of the stream closes the reading. ``[DONE]`` alone is an end mark too.
    """

    def __init__(self, endpoint: Endpoint, prompt_estimate: int) -> None:
        self.pieces = Pieces(inline_think=DIALECTS[endpoint.dialect].inline_think)
        self.is_done = False
        """Is nothing further worth waiting for?"""
        self.is_whole = False
        """Did the end mark come? From then on nothing can break the answer."""
        self._endpoint = endpoint
        self._prompt_estimate = prompt_estimate
        self._model = ""
        self._finish = "stop"
        self._usage = Usage()
        self._was_refused = False

    def read(self, payload: str) -> Sequence[Delta]:
        """The deltas of one chunk.

        Raises:
            WireFault: the chunk is broken, is an error, or names another model.
        """
        if payload == _DONE:
            self.is_done = self.is_whole = True
            return ()
        chunk = parse_object(payload)
        choices = chunk.get("choices")
        # An error may come beside an empty list of choices, so its absence alone proves nothing.
        if (choices is None or chunk.get("error")) and (
            verdict := classify_event(chunk, is_local=self._endpoint.is_local)
        ):
            raise WireFault(verdict)
        model, usage = text_of(chunk.get("model")), chunk.get("usage")
        if model and model != self._model:
            # A host with one model loaded serves any name with it (LM Studio's tracker, bug 619).
            accepted = self._endpoint.accepted_models
            if accepted and model not in accepted:
                raise WireFault(Verdict(FailureKind.WRONG_MODEL, model))
            self._model = model
        if is_object(usage):
            # On the last chunk (Z.AI), on one of its own (OpenAI, vLLM), or on every one: the
            # newest counts.
            prompt_details = object_of(usage.get("prompt_tokens_details"))
            completion_details = object_of(usage.get("completion_tokens_details"))
            self._usage = Usage(
                prompt_tokens=count_of(usage.get("prompt_tokens")),
                completion_tokens=count_of(usage.get("completion_tokens")),
                cached_tokens=count_of(prompt_details.get("cached_tokens")),
                reasoning_tokens=count_of(completion_details.get("reasoning_tokens")),
            )
        pieces = self._choice(object_of(first_of(choices)))
        if not usage and not self.is_whole:
            self.pieces.learn(payload, pieces)
        return pieces

    def end(self) -> StreamEnd:
        """The end of the whole stream."""
        finish = "refused" if self._was_refused else self._finish
        usage = self.pieces.usage(self._usage, self._prompt_estimate)
        return StreamEnd(finish, usage, self._model)

    def _choice(self, choice: dict[str, object]) -> list[Piece]:
        delta = object_of(choice.get("delta"))
        pieces: list[Piece] = []
        # One of the two, never both: some servers repeat the same words under either name.
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(reasoning, str):
            pieces = self.pieces.reasoning(reasoning)
        content = delta.get("content")
        if isinstance(content, str) and content:
            pieces += self.pieces.answer(content)
        elif call := object_of(object_of(first_of(delta.get("tool_calls"))).get("function")):
            # Only a client's own request brings tools: what it is told goes by the tap, and what is
            # written here counts as words of the answer.
            written = text_of(call.get("name")) + text_of(call.get("arguments"))
            pieces += self.pieces.answer(written)
        elif refusal := text_of(delta.get("refusal")):
            self._was_refused = True
            pieces += self.pieces.answer(refusal)
        if finish := text_of(choice.get("finish_reason")):
            if finish in _BROKEN:
                raise WireFault(Verdict(FailureKind.CUT, "its own inference broke", code=finish))
            self._finish, self.is_whole = _FINISHES.get(finish, "stop"), True
        return pieces
