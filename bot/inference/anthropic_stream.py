"""Reads the stream of the Anthropic messages wire."""

from collections.abc import Sequence
from dataclasses import replace

from bot.domain.chat import Endpoint
from bot.domain.errors import FailureKind
from bot.domain.events import Delta, StreamEnd
from bot.inference.errors import classify_event
from bot.inference.faults import Verdict, WireFault
from bot.inference.json_wire import count_of, is_object, parse_object, text_of
from bot.inference.pieces import Counted, Pieces

_FINISHES = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refused",
}
"""Everything else that ends an answer is ``stop``."""


class AnthropicReader:
    """Turns events into deltas; ``message_stop`` is the end mark, unknown events are skipped."""

    def __init__(self, endpoint: Endpoint, *, prompt_estimate: int) -> None:
        self._accepted = endpoint.accepted_models
        self._is_local = endpoint.is_local
        self._prompt_estimate = prompt_estimate
        self._pieces = Pieces(inline_think=False)
        self._model = ""
        self._stop_reason = ""
        self._counted = Counted()
        self.is_done = False

    @property
    def is_whole(self) -> bool:
        """Did ``message_stop`` come?"""
        return self.is_done

    def read(self, payload: str) -> Sequence[Delta]:
        """Return the deltas of one event."""
        event = parse_object(payload)
        match event.get("type"):
            case "content_block_delta":
                return self._delta(event.get("delta"))
            case "content_block_start":
                return self._delta(event.get("content_block"))
            case "message_start":
                self._begin(event.get("message"))
            case "message_delta":
                self._progress(event)
            case "message_stop":
                self._stop()
            case "ping" | "content_block_stop":
                pass
            case _:
                self._raise_error(event)
        return ()

    def flush(self) -> Sequence[Delta]:
        """Return what was held back for mending."""
        return self._pieces.flush()

    def end(self) -> StreamEnd:
        """Return the end of the whole stream."""
        finish = _FINISHES.get(self._stop_reason, "stop")
        return StreamEnd(
            finish, self._pieces.usage(self._counted, self._prompt_estimate), self._model
        )

    def _delta(self, delta: object) -> Sequence[Delta]:
        if not is_object(delta):
            return ()
        match delta.get("type"):
            case "text_delta" | "text":
                return self._pieces.answer(text_of(delta.get("text")))
            case "thinking_delta" | "thinking":
                return self._pieces.reasoning(text_of(delta.get("thinking")))
            case _:
                return ()

    def _begin(self, message: object) -> None:
        if not is_object(message):
            return
        model = text_of(message.get("model"))
        if model and self._accepted and model not in self._accepted:
            raise WireFault(Verdict(FailureKind.WRONG_MODEL, model))
        self._model = model
        self._count(message.get("usage"))

    def _progress(self, event: dict[str, object]) -> None:
        delta = event.get("delta")
        if is_object(delta):
            self._stop_reason = text_of(delta.get("stop_reason")) or self._stop_reason
        self._count(event.get("usage"))

    def _count(self, usage: object) -> None:
        if not is_object(usage):
            return
        cached = count_of(usage.get("cache_read_input_tokens"))
        written = count_of(usage.get("cache_creation_input_tokens"))
        prompt = count_of(usage.get("input_tokens")) + cached + written
        # Cumulative: a later count replaces an earlier one, and what it leaves out still stands.
        self._counted = replace(
            self._counted,
            prompt=prompt or self._counted.prompt,
            completion=count_of(usage.get("output_tokens")) or self._counted.completion,
            cached=cached or self._counted.cached,
        )

    def _stop(self) -> None:
        if self._stop_reason == "model_context_window_exceeded" and not self._pieces.has_answer:
            raise WireFault(Verdict(FailureKind.TOO_LONG, code=self._stop_reason))
        self.is_done = True

    def _raise_error(self, event: dict[str, object]) -> None:
        verdict = classify_event(event, is_local=self._is_local)
        if verdict is not None:
            raise WireFault(verdict)
