"""The shape of `/v1/responses` (LM Studio 0.3.29): a row of items, each told as it grows."""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from bot.sim.predicting import Prediction
from bot.sim.prompts import Token
from bot.sim.wire_frames import sse
from bot.sim.wire_json import JsonObject, as_list, as_object, text_of

_PARTS = {"none": "output_text", "reasoning": "reasoning_text", "tool": "function_call_arguments"}
"""What a token grows, and how its events are called; tags of reasoning are not shown."""
_IN_PROGRESS = "response.in_progress"
_CUT = ("maxPredictedTokensReached", "contextLengthReached")


@dataclass(slots=True)
class Response:
    """One answer of `/v1/responses`; holds the items as they grow."""

    prediction: Prediction
    host: str
    created: int
    asked: JsonObject
    """The request, parts of which the answer repeats."""
    output: list[JsonObject] = field(default_factory=list[JsonObject])
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    kind: str = ""
    """Of the token that came last."""
    text: str = ""
    """Of the item that is growing."""

    @property
    def reply_id(self) -> str:
        """By this it may be referred to."""
        # Two hosts never give one id to two answers.
        whose = f"{self.host}/{self.prediction.number}".encode()
        return f"resp_{hashlib.sha256(whose).hexdigest()[:48]}"

    def begin(self) -> list[bytes]:
        """Return the two events that open a response."""
        opened: JsonObject = {"response": self._body("in_progress")}
        return [self._event("response.created", opened), self._event(_IN_PROGRESS, opened)]

    def token(self, token: Token) -> list[bytes]:
        """Return the events of a token; a token of another kind closes one item and opens one."""
        if token.kind not in _PARTS:
            return []
        events: list[bytes] = []
        if token.kind != self.kind:
            events += [*self._item_ends(), *self._item_begins(token.kind)]
        self.text += token.text
        place = self._place() | {"delta": token.text}
        return [*events, self._event(f"response.{_PARTS[token.kind]}.delta", place)]

    def end(self) -> list[bytes]:
        """Return the events that close the last item and the response."""
        events = self._item_ends()
        status = self._status()
        last = self._event(f"response.{status}", {"response": self._body(status)})
        return [*events, last]

    def whole(self, tokens: Sequence[Token]) -> JsonObject:
        """Return the body of a response that is not streamed."""
        for token in tokens:
            self.token(token)
        self._item_ends()
        return self._body(self._status())

    def _item_begins(self, kind: str) -> list[bytes]:
        self.kind, self.text = kind, ""
        self.output.append(self._item("in_progress"))
        place: JsonObject = {"output_index": len(self.output) - 1, "item": self.output[-1]}
        events = [self._event("response.output_item.added", place)]
        if kind == "none":
            part = self._place() | {"part": _part("")}
            events.append(self._event("response.content_part.added", part))
        return events

    def _item_ends(self) -> list[bytes]:
        if not self.kind:
            return []
        self.output[-1] = self._item("completed")
        place, part = self._place(), _PARTS[self.kind]
        name = "arguments" if self.kind == "tool" else "text"
        events = [self._event(f"response.{part}.done", place | {name: self.text})]
        if self.kind == "none":
            events.append(
                self._event("response.content_part.done", place | {"part": _part(self.text)})
            )
        whole: JsonObject = {"output_index": len(self.output) - 1, "item": self.output[-1]}
        self.kind = ""
        return [*events, self._event("response.output_item.done", whole)]

    def _item(self, status: str) -> JsonObject:
        number = self.prediction.number
        is_whole = status == "completed"
        match self.kind:
            case "tool":
                call = self.prediction.order.demand.call
                return {
                    "id": f"fc_{number:048x}",
                    "type": "function_call",
                    "status": status,
                    "call_id": f"call_{number:016x}",
                    "name": call.name if call else "",
                    "arguments": self.text if is_whole else "",
                }
            case "reasoning":
                thought = {"type": "reasoning_text", "text": self.text}
                return {
                    "id": f"rs_{number:048x}",
                    "type": "reasoning",
                    "summary": [],
                    "content": [thought] if is_whole else [],
                }
            case _:
                return {
                    "id": f"msg_{number:048x}",
                    "type": "message",
                    "role": "assistant",
                    "status": status,
                    "content": [_part(self.text)] if is_whole else [],
                }

    def _place(self) -> JsonObject:
        place: JsonObject = {
            "item_id": self.output[-1]["id"],
            "output_index": len(self.output) - 1,
        }
        return place if self.kind == "tool" else {**place, "content_index": 0}

    def _status(self) -> str:
        is_cut = self.prediction.stop_reason in _CUT
        return "incomplete" if is_cut else "completed"

    def _body(self, status: str) -> JsonObject:
        asked, is_over = self.asked, status != "in_progress"
        why = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return {
            "id": self.reply_id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": None,
            "incomplete_details": why,
            "instructions": asked.get("instructions"),
            "max_output_tokens": asked.get("max_output_tokens"),
            "model": self.prediction.reply_model,
            "output": list(self.output) if is_over else [],
            "parallel_tool_calls": True,
            "previous_response_id": asked.get("previous_response_id"),
            "reasoning": {"effort": None, "summary": None},
            "store": asked.get("store", True),
            "temperature": asked.get("temperature", 0.8),
            "text": asked.get("text") or {"format": {"type": "text"}},
            "tool_choice": asked.get("tool_choice", "auto"),
            "tools": asked.get("tools", []),
            "top_p": asked.get("top_p", 0.95),
            "truncation": "disabled",
            "usage": _usage(self.prediction) if is_over else None,
            "user": None,
            "metadata": {},
        }

    def _event(self, name: str, body: JsonObject) -> bytes:
        return sse({"type": name, "sequence_number": next(self.numbers), **body}, event=name)


def said(output: Sequence[JsonObject]) -> str:
    """Return the words of a whole response, as the next one remembers them."""
    parts = [as_object(part) for item in output for part in as_list(item.get("content"))]
    return "".join(text_of(p, "text") or "" for p in parts if p.get("type") == "output_text")


def _part(text: str) -> JsonObject:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(prediction: Prediction) -> JsonObject:
    prompt, completion = prediction.prompt_tokens, prediction.sent
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": prediction.thought},
        "total_tokens": prompt + completion,
    }
