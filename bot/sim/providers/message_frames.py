"""Replies in the form of Anthropic's messages API."""

import hashlib
import itertools
from collections.abc import Iterator, Mapping

from bot.sim.providers.frames import Frame, FrameKind
from bot.sim.providers.replying import Finish, Reply, Usage
from bot.sim.wire_json import JsonObject

_STOP_REASONS: Mapping[Finish, str] = {
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "window": "model_context_window_exceeded",
    "refused": "refusal",
    "broken": "end_turn",
}


def message_frames(reply: Reply, *, counts: bool = True, repeats: bool = False) -> Iterator[Frame]:
    """Yield a streamed reply.

    Args:
        reply: what is said.
        counts: False leaves every usage out.
        repeats: says the cumulative usage in the middle, too.
    """
    yield _event("message_start", {"message": _message(reply, [], None, _opening(reply, counts))})
    yield _event("ping", {})
    index = itertools.count()
    if reply.reasoning:
        yield from _thinking(reply, next(index))
    if reply.content:
        yield from _text(reply, next(index), repeats=repeats and counts)
    usage = _progress(reply.usage, counts)
    delta = {"stop_reason": _STOP_REASONS[reply.finish], "stop_sequence": reply.stopped_by}
    yield _event("message_delta", {"delta": delta | _stop_details(reply), **usage}, "finish")
    yield _event("message_stop", {})


def whole_message(reply: Reply) -> JsonObject:
    """Return a reply in one piece."""
    blocks: list[JsonObject] = []
    if reply.reasoning:
        thought = "".join(reply.reasoning)
        blocks.append({"type": "thinking", "thinking": thought, "signature": _signature(reply)})
    if reply.content:
        blocks.append({"type": "text", "text": "".join(reply.content)})
    reason = _STOP_REASONS[reply.finish]
    usage: JsonObject = {"usage": _whole_usage(reply.usage)}
    return _message(reply, blocks, reason, usage) | _stop_details(reply)


def _thinking(reply: Reply, index: int) -> Iterator[Frame]:
    block: JsonObject = {"type": "thinking", "thinking": "", "signature": ""}
    yield _start(index, block)
    for text in reply.reasoning:
        yield _block_delta(index, {"type": "thinking_delta", "thinking": text}, "thought")
    yield _block_delta(index, {"type": "signature_delta", "signature": _signature(reply)})
    yield _event("content_block_stop", {"index": index})


def _text(reply: Reply, index: int, *, repeats: bool) -> Iterator[Frame]:
    yield _start(index, {"type": "text", "text": ""})
    for number, text in enumerate(reply.content, 1):
        yield _block_delta(index, {"type": "text_delta", "text": text}, "text")
        if repeats:
            delta: JsonObject = {"stop_reason": None, "stop_sequence": None}
            usage = _progress(reply.usage_at(number), counts=True)
            yield _event("message_delta", {"delta": delta, **usage})
    yield _event("content_block_stop", {"index": index})


def _message(
    reply: Reply, blocks: list[JsonObject], reason: str | None, usage: JsonObject
) -> JsonObject:
    return {
        "id": reply.reply_id,
        "type": "message",
        "role": "assistant",
        "model": reply.model,
        "content": blocks,
        "stop_reason": reason,
        "stop_sequence": reply.stopped_by if reason else None,
        **usage,
    }


def _opening(reply: Reply, counts: bool) -> JsonObject:
    if not counts:
        return {"usage": {"input_tokens": 0, "output_tokens": 0}}
    first = Usage(reply.prompt_tokens, 1, reply.cached_tokens)
    return {"usage": _whole_usage(first)}


def _progress(usage: Usage, counts: bool) -> JsonObject:
    if not counts:
        return {"usage": {"output_tokens": 0}}
    details = {"thinking_tokens": usage.thinking}
    return {"usage": {"output_tokens": usage.completion, "output_tokens_details": details}}


def _whole_usage(usage: Usage) -> JsonObject:
    return {
        # Tokens read from the cache are counted beside the input here, not within it.
        "input_tokens": usage.prompt - usage.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.completion,
        "service_tier": "standard",
    }


def _stop_details(reply: Reply) -> JsonObject:
    if reply.finish != "refused":
        return {}
    category = reply.code or None
    return {"stop_details": {"type": "refusal", "category": category, "explanation": None}}


def _signature(reply: Reply) -> str:
    return hashlib.sha256(reply.reply_id.encode()).hexdigest()


def _start(index: int, block: JsonObject) -> Frame:
    return _event("content_block_start", {"index": index, "content_block": block})


def _block_delta(index: int, delta: JsonObject, kind: FrameKind = "plain") -> Frame:
    return _event("content_block_delta", {"index": index, "delta": delta}, kind)


def _event(name: str, body: JsonObject, kind: FrameKind = "plain") -> Frame:
    return Frame({"type": name, **body}, kind, name)
