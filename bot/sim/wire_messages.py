"""The shape of `/v1/messages` (LM Studio 0.4.1): Anthropic's, a row of blocks."""

from collections.abc import Sequence
from dataclasses import dataclass

from bot.sim.predicting import Prediction
from bot.sim.prompts import Token
from bot.sim.wire_frames import sse
from bot.sim.wire_json import JsonObject, parse_object

_STOPS = {
    "maxPredictedTokensReached": "max_tokens",
    "contextLengthReached": "max_tokens",
    "stopStringFound": "stop_sequence",
    "toolCalls": "tool_use",
}
_DELTAS = {
    "none": ("text_delta", "text"),
    "reasoning": ("thinking_delta", "thinking"),
    "tool": ("input_json_delta", "partial_json"),
}


@dataclass(slots=True)
class AnthropicMessage:
    """One answer of `/v1/messages`."""

    prediction: Prediction
    kind: str = ""
    """Of the block that is growing."""
    blocks: int = 0

    def begin(self) -> list[bytes]:
        """Return the event that opens a message."""
        return [self._event("message_start", {"message": self._body([], None)})]

    def token(self, token: Token) -> list[bytes]:
        """Return the events of a token; a token of another kind closes one block and opens one."""
        if token.kind not in _DELTAS:
            return []
        events: list[bytes] = []
        if token.kind != self.kind:
            events += self._block_ends()
            self.kind, index = token.kind, self.blocks
            block: JsonObject = {"index": index, "content_block": self._block(token.kind, "")}
            events.append(self._event("content_block_start", block))
            self.blocks += 1
        name, field = _DELTAS[token.kind]
        delta: JsonObject = {"type": name, field: token.text}
        place: JsonObject = {"index": self.blocks - 1, "delta": delta}
        return [*events, self._event("content_block_delta", place)]

    def end(self) -> list[bytes]:
        """Return the events that close the last block and the message."""
        delta = {"stop_reason": self._stop(), "stop_sequence": None}
        usage = {"output_tokens": self.prediction.sent}
        return [
            *self._block_ends(),
            self._event("message_delta", {"delta": delta, "usage": usage}),
            self._event("message_stop", {}),
        ]

    def whole(self, tokens: Sequence[Token]) -> JsonObject:
        """Return the body of a message that is not streamed."""
        texts: dict[str, str] = {}
        for token in tokens:
            if token.kind in _DELTAS:
                texts[token.kind] = texts.get(token.kind, "") + token.text
        blocks = [self._block(kind, text) for kind, text in texts.items()]
        return self._body(blocks, self._stop())

    def _block(self, kind: str, text: str) -> JsonObject:
        match kind:
            case "tool":
                call = self.prediction.order.demand.call
                name = call.name if call else ""
                number = f"toolu_{self.prediction.number:024x}"
                given = parse_object(text) or {}
                return {"type": "tool_use", "id": number, "name": name, "input": given}
            case "reasoning":
                return {"type": "thinking", "thinking": text, "signature": ""}
            case _:
                return {"type": "text", "text": text}

    def _block_ends(self) -> list[bytes]:
        if not self.kind:
            return []
        return [self._event("content_block_stop", {"index": self.blocks - 1})]

    def _stop(self) -> str:
        return _STOPS.get(self.prediction.stop_reason, "end_turn")

    def _body(self, blocks: Sequence[JsonObject], reason: str | None) -> JsonObject:
        usage = {"input_tokens": self.prediction.prompt_tokens, "output_tokens": 0}
        if reason is not None:
            usage["output_tokens"] = self.prediction.sent
        return {
            "id": f"msg_{self.prediction.number:024x}",
            "type": "message",
            "role": "assistant",
            "model": self.prediction.reply_model,
            "content": list(blocks),
            "stop_reason": reason,
            "stop_sequence": None,
            "usage": usage,
        }

    def _event(self, name: str, body: JsonObject) -> bytes:
        return sse({"type": name, **body}, event=name)
