"""OpenAI-shaped bodies of completions: plain dictionaries, no I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bot.sim.models import ReasoningStyle
from bot.sim.predicting import Prediction
from bot.sim.prompts import Token
from bot.sim.wire_json import JsonObject

Form = Literal["chat", "text"]

_FINISH = {
    "eosFound": "stop",
    "stopStringFound": "stop",
    "maxPredictedTokensReached": "length",
    "contextLengthReached": "length",
}


@dataclass(frozen=True, slots=True)
class Head:
    """What every body of one reply repeats."""

    reply_id: str
    created: int
    model: str
    form: Form
    style: ReasoningStyle

    def _head(self, kind: str) -> JsonObject:
        return {
            "id": self.reply_id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.model,
        }

    def chunk(self, token: Token) -> JsonObject | None:
        """Return the stream chunk of a token, or None when this style does not show it."""
        if self.form == "text":
            return self._text_chunk(token.text, None) if token.kind == "none" else None
        delta = self._delta(token)
        return None if delta is None else self._chat_chunk(delta, None)

    def last_chunk(self, prediction: Prediction) -> JsonObject:
        """Return the chunk that carries the finish reason."""
        reason = finish_reason(prediction)
        return self._text_chunk("", reason) if self.form == "text" else self._chat_chunk({}, reason)

    def usage_chunk(self, prediction: Prediction) -> JsonObject:
        """Return the chunk that `include_usage` asks for."""
        kind = "text_completion" if self.form == "text" else "chat.completion.chunk"
        body: JsonObject = {"choices": [], "usage": usage(prediction)}
        return self._head(kind) | body

    def whole(self, prediction: Prediction, tokens: Sequence[Token]) -> JsonObject:
        """Return the body of a reply that is not streamed."""
        kind = "text_completion" if self.form == "text" else "chat.completion"
        choice: JsonObject = {
            "index": 0,
            "logprobs": None,
            "finish_reason": finish_reason(prediction),
        }
        choice |= self._whole_choice(tokens)
        return self._head(kind) | {
            "choices": [choice],
            "usage": usage(prediction),
            "stats": {},
        }

    def _whole_choice(self, tokens: Sequence[Token]) -> JsonObject:
        answer = "".join(token.text for token in tokens if token.kind == "none")
        if self.form == "text":
            return {"text": answer}
        message: JsonObject = {"role": "assistant", "content": answer, "tool_calls": []}
        thought = "".join(token.text for token in tokens if token.kind == "reasoning")
        if self.style == "inline":
            message["content"] = "".join(token.text for token in tokens)
        elif thought:
            message[self.style] = thought
        return {"message": message}

    def _delta(self, token: Token) -> JsonObject | None:
        if token.kind == "none" or self.style == "inline":
            return {"role": "assistant", "content": token.text}
        if token.kind == "reasoning":
            return {"role": "assistant", self.style: token.text}
        return None

    def _chat_chunk(self, delta: JsonObject, finish: str | None) -> JsonObject:
        choice: JsonObject = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return self._head("chat.completion.chunk") | {"choices": [choice]}

    def _text_chunk(self, text: str, finish: str | None) -> JsonObject:
        choice: JsonObject = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
        return self._head("text_completion") | {"choices": [choice]}


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
