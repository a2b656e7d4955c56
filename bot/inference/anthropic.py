"""The Anthropic messages wire."""

import base64
import json
import re
from collections.abc import Mapping, Sequence

from bot.domain.chat import Endpoint, InferenceRequest, Message, Usage
from bot.domain.errors import FailureKind
from bot.domain.events import Delta, StreamEnd
from bot.inference.errors import classify_event
from bot.inference.pieces import Pieces
from bot.inference.wire import (
    Call,
    Verdict,
    WireFault,
    count_of,
    object_of,
    parse_object,
    text_of,
)

VERSION = "2026-10-21"
"""Pinned: this version takes no sampling parameters at all, not even at their defaults."""

_VERSIONED = re.compile(r"/v\d+$")
_MAX_TOKENS = 8192
"""The wire requires a limit; thinking counts in it."""
_OPENING: Mapping[str, object] = {"type": "text", "text": "(The conversation begins.)"}
_GO_ON: Mapping[str, object] = {"type": "text", "text": "Go on exactly where you stopped."}

_FINISHES = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refused",
}
"""Everything else that ends an answer is ``stop``."""


def messages_call(endpoint: Endpoint, request: InferenceRequest) -> Call:
    """The HTTP request that asks an endpoint for a streamed message."""
    headers = {"anthropic-version": VERSION}
    if endpoint.token:
        headers["x-api-key"] = endpoint.token
    base = endpoint.base_url.rstrip("/")
    # The vendor's own client takes its address without the version, where ours gave 404.
    if not _VERSIONED.search(base):
        base = f"{base}/v1"
    sampling = request.sampling
    body: dict[str, object] = {
        "model": endpoint.model,
        "max_tokens": sampling.max_tokens or _MAX_TOKENS,
        "messages": _turns(request.messages),
        "stream": True,
    }
    # A message of the role ``system`` is refused at the beginning: it is a field of its own.
    if system := "\n\n".join(
        m.text for m in request.messages if m.role == "system" and m.text.strip()
    ):
        body["system"] = system
    if stops := [stop for stop in sampling.stop if stop.strip()]:
        body["stop_sequences"] = stops
    if request.user_hash:
        # Opaque by the provider's terms and by ours: a salted hash, never a name.
        body["metadata"] = {"user_id": request.user_hash}
    return Call(f"{base}/messages", headers, json.dumps(body).encode())


def _turns(messages: Sequence[Message]) -> list[dict[str, object]]:
    """Turns as the API takes them: alternating, the user's first and last, no blank text."""
    turns: list[tuple[str, list[dict[str, object]]]] = []
    for message in messages:
        blocks: list[dict[str, object]] = []
        for image in message.images:
            if image.image:
                data = base64.b64encode(image.image).decode()
                source = {"type": "base64", "media_type": image.media_type, "data": data}
                blocks.append({"type": "image", "source": source})
        if message.text.strip():
            blocks.append({"type": "text", "text": message.text})
        if message.role == "system" or not blocks:
            continue
        if turns and turns[-1][0] == message.role:
            turns[-1][1].extend(blocks)
        else:
            turns.append((message.role, blocks))
    if not turns or turns[0][0] != "user":
        turns.insert(0, ("user", [dict[str, object](_OPENING)]))
    if turns[-1][0] != "user":
        # A last turn of the assistant's own (prefill) is refused by the models in service.
        turns.append(("user", [dict[str, object](_GO_ON)]))
    return [{"role": role, "content": blocks} for role, blocks in turns]


class AnthropicReader:
    """Turns the events of one stream into deltas; knows nothing of sockets.

    ``message_stop`` is the end mark. Events of unknown types are skipped, as the API asks: new ones
    may come at any time.
    """

    def __init__(self, endpoint: Endpoint, prompt_estimate: int) -> None:
        self.pieces = Pieces(inline_think=False)
        self.is_done = False
        """Is nothing further worth waiting for?"""
        self.is_whole = False
        """Did the end mark come? From then on nothing can break the answer."""
        self._endpoint = endpoint
        self._prompt_estimate = prompt_estimate
        self._model = ""
        self._stop_reason = ""
        self._usage = Usage()

    def read(self, payload: str) -> Sequence[Delta]:
        """The deltas of one event.

        Raises:
            WireFault: the event is broken, is an error, or names another model.
        """
        event = parse_object(payload)
        match event.get("type"):
            case "content_block_delta":
                return self._delta(object_of(event.get("delta")))
            case "content_block_start":
                return self._delta(object_of(event.get("content_block")))
            case "message_start":
                message = object_of(event.get("message"))
                self._model = text_of(message.get("model"))
                accepted = self._endpoint.accepted_models
                if self._model and accepted and self._model not in accepted:
                    raise WireFault(Verdict(FailureKind.WRONG_MODEL, self._model))
                self._count(object_of(message.get("usage")))
            case "message_delta":
                reason = text_of(object_of(event.get("delta")).get("stop_reason"))
                self._stop_reason = reason or self._stop_reason
                self._count(object_of(event.get("usage")))
            case "message_stop":
                is_full = self._stop_reason == "model_context_window_exceeded"
                if is_full and not self.pieces.has_answer:
                    raise WireFault(Verdict(FailureKind.TOO_LONG, code=self._stop_reason))
                self.is_done = self.is_whole = True
            case "ping" | "content_block_stop":
                pass
            case _:
                # Status 200 was sent long before: an overload may end any stream in the middle.
                if verdict := classify_event(event, is_local=self._endpoint.is_local):
                    raise WireFault(verdict)
        return ()

    def end(self) -> StreamEnd:
        """The end of the whole stream."""
        finish = _FINISHES.get(self._stop_reason, "stop")
        usage = self.pieces.usage(self._usage, self._prompt_estimate)
        return StreamEnd(finish, usage, self._model)

    def _delta(self, delta: dict[str, object]) -> Sequence[Delta]:
        match delta.get("type"):
            case "text_delta" | "text":
                return self.pieces.answer(text_of(delta.get("text")))
            case "thinking_delta" | "thinking":
                return self.pieces.reasoning(text_of(delta.get("thinking")))
            case _:
                return ()

    def _count(self, usage: dict[str, object]) -> None:
        # What was read from the cache or written to it is not in `input_tokens`.
        cached = count_of(usage.get("cache_read_input_tokens"))
        written = count_of(usage.get("cache_creation_input_tokens"))
        prompt = count_of(usage.get("input_tokens")) + cached + written
        # Cumulative: a later count replaces an earlier one, and what it leaves out still stands.
        self._usage = Usage(
            prompt_tokens=prompt or self._usage.prompt_tokens,
            completion_tokens=count_of(usage.get("output_tokens")) or self._usage.completion_tokens,
            cached_tokens=cached or self._usage.cached_tokens,
        )
