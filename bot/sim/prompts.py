"""Prompts and limits of a prediction: pure arithmetic over messages and tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bot.sim.answers import Answer, Message, tokenise

TokenKind = Literal["reasoningStartTag", "reasoning", "reasoningEndTag", "none", "tool"]
StopReason = Literal[
    "eosFound",
    "stopStringFound",
    "maxPredictedTokensReached",
    "contextLengthReached",
    "toolCalls",
]

_IMAGE_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token and whether it belongs to the reasoning."""

    text: str
    kind: TokenKind = "none"


@dataclass(frozen=True, slots=True)
class Script:
    """The tokens a prediction will generate and why it will stop then."""

    tokens: tuple[Token, ...]
    stop_reason: StopReason
    ends: bool = True


def format_prompt(messages: Sequence[Message]) -> str:
    """Return the conversation as the model reads it (ChatML)."""
    parts = [f"<|im_start|>{message.role}\n{message.text}<|im_end|>\n" for message in messages]
    return "".join(parts) + "<|im_start|>assistant\n"


def count_tokens(messages: Sequence[Message]) -> int:
    """Return the prompt size of a conversation."""
    images = sum(message.images for message in messages)
    return len(tokenise(format_prompt(messages))) + images * _IMAGE_TOKENS


def script(answer: Answer, *, max_tokens: int | None, stop: Sequence[str], room: int) -> Script:
    """Return what of an answer is generated under its limits; `room` is left in the context."""
    content, stopped = _until_stop(answer.content, stop)
    tokens = _typed(answer.reasoning, content)
    tokens += tuple(Token(text, "tool") for text in answer.call)
    limit = room if max_tokens is None else min(max_tokens, room)
    reason: StopReason
    if len(tokens) > limit:
        hit_context = max_tokens is None or room < max_tokens
        reason = "contextLengthReached" if hit_context else "maxPredictedTokensReached"
        return Script(tokens[:limit], reason, answer.ends)
    reason = "stopStringFound" if stopped else "toolCalls" if answer.call else "eosFound"
    return Script(tokens, reason, answer.ends)


def _typed(reasoning: Sequence[str], content: Sequence[str]) -> tuple[Token, ...]:
    answer = tuple(Token(text) for text in content)
    if not reasoning:
        return answer
    thought = tuple(Token(text, "reasoning") for text in reasoning)
    return (
        Token("<think>", "reasoningStartTag"),
        *thought,
        Token("</think>", "reasoningEndTag"),
        *answer,
    )


def _until_stop(content: Sequence[str], stop: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    text = "".join(content)
    cuts = [at for at in (text.find(word) for word in stop if word) if at >= 0]
    if not cuts:
        return tuple(content), False
    return _first_chars(content, min(cuts)), True


def _first_chars(content: Sequence[str], count: int) -> tuple[str, ...]:
    kept: list[str] = []
    for token in content:
        if count <= 0:
            break
        kept.append(token[:count])
        count -= len(token)
    return tuple(kept)
