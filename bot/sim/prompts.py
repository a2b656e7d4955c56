"""Prompts and limits of a prediction: pure arithmetic over messages and tokens."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    """Return the conversation as the model reads it (ChatML).

    Words of the assistant at its end are left open: the model goes on from them.
    """
    parts = [f"<|im_start|>{message.role}\n{message.text}<|im_end|>\n" for message in messages]
    if begun(messages):
        return "".join(parts).removesuffix("<|im_end|>\n")
    return "".join(parts) + "<|im_start|>assistant\n"


def begun(messages: Sequence[Message]) -> str:
    """Return the assistant's words that a conversation ends with, as its template trims them."""
    return messages[-1].text.strip() if messages and messages[-1].role == "assistant" else ""


def rest_of(answer: Answer, said: str, *, is_echoed: bool) -> Answer:
    """Return what of an answer is left after its first words, without thinking anew.

    Of other words than its own, as another host has said them, so many tokens are taken for said.
    """
    text = "".join(answer.content)
    skipped = tokenise(text[len(said) :]) if text.startswith(said) else None
    left = answer.content[len(tokenise(said)) :] if skipped is None else skipped
    return replace(answer, content=tokenise(said) + left if is_echoed else left, reasoning=())


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
