"""Reads the stream of the OpenAI wire as each of its servers sends it."""

from collections.abc import Sequence

from bot.domain.chat import Endpoint
from bot.domain.errors import FailureKind
from bot.domain.events import Delta, StreamEnd
from bot.inference.errors import classify_event
from bot.inference.faults import Verdict, WireFault
from bot.inference.json_wire import count_of, is_array, is_object, parse_object, text_of
from bot.inference.pieces import Counted, Pieces
from bot.inference.think import Piece

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


class OpenAiReader:
    """Turns chunks into deltas.

    The end mark is a ``finish_reason``; OpenAI's usage chunk follows it, so only ``[DONE]`` or the
    end of the stream closes the reading. ``[DONE]`` alone is an end mark too.
    """

    def __init__(self, endpoint: Endpoint, *, inline_think: bool, prompt_estimate: int) -> None:
        self._accepted = endpoint.accepted_models
        self._is_local = endpoint.is_local
        self._prompt_estimate = prompt_estimate
        self._pieces = Pieces(inline_think=inline_think)
        self._model = ""
        self._finish: str | None = None
        self._counted = Counted()
        self._was_refused = False
        self.is_done = False

    @property
    def is_whole(self) -> bool:
        """Did a finish reason or ``[DONE]`` come?"""
        return self._finish is not None or self.is_done

    def read(self, payload: str) -> Sequence[Delta]:
        """Return the deltas of one chunk."""
        if payload == _DONE:
            self.is_done = True
            return ()
        chunk = parse_object(payload)
        choices = chunk.get("choices")
        if choices is None or chunk.get("error"):
            self._raise_error(chunk)
        model = chunk.get("model")
        if model != self._model:
            self._check_model(model)
        usage = chunk.get("usage")
        if is_object(usage):
            self._counted = _counted(usage)
        if not is_array(choices) or not choices:
            return ()
        choice = choices[0]
        return self._choice(choice) if is_object(choice) else ()

    def flush(self) -> Sequence[Delta]:
        """Return what was held back for mending."""
        return self._pieces.flush()

    def end(self) -> StreamEnd:
        """Return the end of the whole stream."""
        finish = "refused" if self._was_refused else self._finish or "stop"
        usage = self._pieces.usage(self._counted, self._prompt_estimate)
        return StreamEnd(finish, usage, self._model)

    def _raise_error(self, chunk: dict[str, object]) -> None:
        verdict = classify_event(chunk, is_local=self._is_local)
        if verdict is not None:
            raise WireFault(verdict)

    def _check_model(self, model: object) -> None:
        if not isinstance(model, str) or not model:
            return
        if self._accepted and model not in self._accepted:
            raise WireFault(Verdict(FailureKind.WRONG_MODEL, model))
        self._model = model

    def _choice(self, choice: dict[str, object]) -> Sequence[Delta]:
        delta = choice.get("delta")
        pieces = self._delta(delta) if is_object(delta) else []
        finish = choice.get("finish_reason")
        if isinstance(finish, str) and finish:
            if finish in _BROKEN:
                raise WireFault(Verdict(FailureKind.CUT, "its own inference broke", code=finish))
            self._finish = _FINISHES.get(finish, "stop")
        return pieces

    def _delta(self, delta: dict[str, object]) -> list[Piece]:
        pieces: list[Piece] = []
        # One of the two, never both: some servers repeat the same words under either name.
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(reasoning, str):
            pieces = self._pieces.reasoning(reasoning)
        content = delta.get("content")
        if isinstance(content, str) and content:
            pieces += self._pieces.answer(content)
        elif content is None and (refusal := text_of(delta.get("refusal"))):
            self._was_refused = True
            pieces += self._pieces.answer(refusal)
        return pieces


def _counted(usage: dict[str, object]) -> Counted:
    prompt_details = usage.get("prompt_tokens_details")
    completion_details = usage.get("completion_tokens_details")
    return Counted(
        prompt=count_of(usage.get("prompt_tokens")),
        completion=count_of(usage.get("completion_tokens")),
        cached=count_of(prompt_details.get("cached_tokens")) if is_object(prompt_details) else 0,
        reasoning=count_of(completion_details.get("reasoning_tokens"))
        if is_object(completion_details)
        else 0,
    )
