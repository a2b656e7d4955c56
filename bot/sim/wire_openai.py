"""OpenAI-shaped bodies of completions, whole and streamed; no I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bot.sim.models import ReasoningStyle
from bot.sim.predicting import Prediction
from bot.sim.prompts import Token
from bot.sim.wire_frames import sse, words
from bot.sim.wire_json import JsonObject

Form = Literal["chat", "text"]

_FINISH = {
    "eosFound": "stop",
    "stopStringFound": "stop",
    "maxPredictedTokensReached": "length",
    "contextLengthReached": "length",
    "toolCalls": "tool_calls",
}


@dataclass(slots=True)
class Completion:
    """One answer of `/chat/completions` or `/completions`."""

    prediction: Prediction
    form: Form
    created: int
    style: ReasoningStyle
    includes_usage: bool = False
    native: bool = False
    """With LM Studio's own statistics, as `/api/v0` gives them."""
    has_called: bool = False

    def begin(self) -> list[bytes]:
        """Nothing goes before the first token."""
        return []

    def token(self, token: Token) -> list[bytes]:
        """Return the chunks of a token; none when this style does not show it."""
        if self.form == "text":
            return [self._chunk({"text": token.text})] if token.kind == "none" else []
        if token.kind == "tool":
            return [*self._call_begins(), self._piece({"arguments": token.text})]
        if token.kind == "none" or self.style == "inline":
            return [self._delta({"role": "assistant", "content": token.text})]
        if token.kind == "reasoning":
            return [self._delta({"role": "assistant", self.style: token.text})]
        return []

    def end(self) -> list[bytes]:
        """Return the finish reason, the usage where it was asked for, and the mark."""
        last: JsonObject = {"text": ""} if self.form == "text" else {"delta": {}}
        extras = v0_extras(self.prediction) if self.native else {}
        events = [self._chunk(last, finish_reason(self.prediction), extras)]
        if self.includes_usage:
            usage_chunk: JsonObject = {"choices": [], "usage": usage(self.prediction)}
            events.append(sse(self._head(streamed=True) | usage_chunk))
        return [*events, b"data: [DONE]\n\n"]

    def whole(self, tokens: Sequence[Token]) -> JsonObject:
        """Return the body of an answer that is not streamed."""
        choice: JsonObject = {
            "index": 0,
            "logprobs": None,
            "finish_reason": finish_reason(self.prediction),
        }
        if self.form == "text":
            choice["text"] = words(tokens, "none")
        else:
            choice["message"] = self._message(tokens)
        body = self._head(streamed=False) | {
            "choices": [choice],
            "usage": usage(self.prediction),
            "stats": {},
        }
        return body | (v0_extras(self.prediction) if self.native else {})

    def _message(self, tokens: Sequence[Token]) -> JsonObject:
        message: JsonObject = {
            "role": "assistant",
            "content": words(tokens, "none"),
            "tool_calls": [],
        }
        if self.style == "inline":
            message["content"] = "".join(token.text for token in tokens if token.kind != "tool")
        elif thought := words(tokens, "reasoning"):
            message[self.style] = thought
        if call := self.prediction.order.demand.call:
            function = {"name": call.name, "arguments": words(tokens, "tool")}
            message["tool_calls"] = [
                {"id": self._call_id(), "type": "function", "function": function}
            ]
        return message

    def _call_begins(self) -> list[bytes]:
        call = self.prediction.order.demand.call
        if self.has_called or call is None:
            return []
        self.has_called = True
        first: JsonObject = {"id": self._call_id(), "type": "function"}
        return [self._piece({"name": call.name, "arguments": ""}, first)]

    def _piece(self, function: JsonObject, more: JsonObject | None = None) -> bytes:
        call: JsonObject = {"index": 0, **(more or {}), "function": function}
        return self._delta({"role": "assistant", "tool_calls": [call]})

    def _call_id(self) -> str:
        return f"{365_000_000 + self.prediction.number}"

    def _delta(self, delta: JsonObject) -> bytes:
        return self._chunk({"delta": delta})

    def _chunk(
        self, part: JsonObject, finish: str | None = None, extras: JsonObject | None = None
    ) -> bytes:
        choice: JsonObject = {"index": 0, **part, "logprobs": None, "finish_reason": finish}
        return sse(self._head(streamed=True) | {"choices": [choice]} | (extras or {}))

    def _head(self, *, streamed: bool) -> JsonObject:
        is_chat, model = self.form == "chat", self.prediction.reply_model
        kind = "text_completion" if not is_chat else "chat.completion"
        return {
            "id": f"{'chatcmpl' if is_chat else 'cmpl'}-{self.prediction.number:016x}",
            "object": f"{kind}.chunk" if streamed and is_chat else kind,
            "created": self.created,
            "model": model,
            "system_fingerprint": model,
        }


def finish_reason(prediction: Prediction) -> str:
    """Return OpenAI's word for why a prediction stopped."""
    return _FINISH.get(prediction.stop_reason, "stop")


def usage(prediction: Prediction) -> JsonObject:
    """Return the token counts of a prediction."""
    prompt, completion = prediction.prompt_tokens, prediction.sent
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def v0_extras(prediction: Prediction) -> JsonObject:
    """Return what `/api/v0` adds to a finished reply."""
    model = prediction.order.instance.model
    generation_s = max(prediction.seconds - prediction.first_token_s, 1e-9)
    return {
        "stats": {
            "tokens_per_second": prediction.sent / generation_s,
            "time_to_first_token": prediction.first_token_s,
            "generation_time": generation_s,
            "stop_reason": prediction.stop_reason,
        },
        "model_info": {
            "arch": model.architecture,
            "quant": model.quantization,
            "format": "gguf",
            "context_length": prediction.order.instance.context_length,
        },
        "runtime": {
            "name": "lantern-sim",
            "version": "1.0.0",
            "supported_formats": ["gguf"],
        },
    }
