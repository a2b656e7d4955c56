"""Replies in the chat-completions form of Z.AI, OpenAI and the gateways that copy it."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from bot.sim.providers.config import ReasoningField
from bot.sim.providers.faults import Fault, FaultName
from bot.sim.providers.frames import Frame, FrameKind
from bot.sim.providers.replying import Finish, Reply, Usage
from bot.sim.wire_json import JsonObject

UsagePlace = Literal["finish", "extra", "every"]


@dataclass(frozen=True, slots=True)
class ChatForm:
    """How one provider writes chunks."""

    finishes: Mapping[Finish, str]
    usage: frozenset[UsagePlace]
    reasoning: ReasoningField | None = None
    """None: thinking is never shown."""
    extras: Mapping[str, object] = field(default_factory=dict[str, object])
    """Members of every body."""
    obfuscates: bool = False
    is_terse: bool = False
    """Z.AI leaves out members that hold nothing."""
    has_native_finish: bool = False
    """OpenRouter repeats the model's own finish reason, and reports a breakdown as one."""
    comment: str = ""
    """What a comment line before the first chunk says."""

    def with_usage(self, faults: Mapping[FaultName, Fault]) -> "ChatForm":
        """Return this form as the dials about usage have it."""
        if "no_usage" in faults:
            return replace(self, usage=frozenset[UsagePlace]())
        if "duplicate_usage" in faults:
            return replace(self, usage=frozenset({"finish", "extra", "every"}))
        return self


def chat_frames(form: ChatForm, reply: Reply) -> Iterator[Frame]:
    """Yield a streamed reply."""
    if form.comment:
        yield Frame(form.comment, "comment")
    if not form.is_terse:
        yield _chunk(form, reply, {"role": "assistant", "content": ""})
    for text in _thoughts(form, reply):
        delta = _thought_delta(form, text)
        yield Frame(None, "thought") if delta is None else _chunk(form, reply, delta, "thought")
    for number, text in enumerate(reply.content, 1):
        usage = reply.usage_at(number) if "every" in form.usage else None
        delta = _call(reply, number, text) if reply.calls else _delta(form, text)
        yield _chunk(form, reply, delta, "text", usage=usage)
    yield from _ending(form, reply)


def whole_chat(form: ChatForm, reply: Reply) -> JsonObject:
    """Return a reply in one piece."""
    message: JsonObject = {"role": "assistant", "content": "".join(reply.content)}
    thought = "".join(_thoughts(form, reply))
    if thought and form.reasoning == "inline":
        message["content"] = f"{thought}{message['content']}"
    elif thought and form.reasoning is not None:
        message[form.reasoning] = thought
    choice: JsonObject = {"index": 0, "message": message, "finish_reason": _finish(form, reply)}
    if not form.is_terse:
        message["refusal"] = None
        choice["logprobs"] = None
    body = _body(form, reply, "chat.completion", [choice])
    return body | {"usage": usage_object(reply.usage)}


def usage_object(usage: Usage) -> JsonObject:
    """Return counts as this wire writes them."""
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.thinking},
    }


def _ending(form: ChatForm, reply: Reply) -> Iterator[Frame]:
    on_finish = bool(form.usage & {"finish", "every"})
    delta = _delta(form, "") if form.is_terse else {}
    usage = reply.usage if on_finish else None
    finish = _finish(form, reply)
    last = _chunk(form, reply, delta, "finish", finish=finish, usage=usage)
    if reply.finish == "broken" and form.has_native_finish and isinstance(last.data, dict):
        error = {"code": 502, "message": "Provider returned error"}
        last = Frame(last.data | {"error": error}, "finish")
    yield last
    if "extra" in form.usage:
        yield Frame(
            _body(form, reply, "chat.completion.chunk", [])
            | {"usage": usage_object(reply.usage)}
            | _obfuscation(form, reply, "usage")
        )
    yield Frame("[DONE]")


def _finish(form: ChatForm, reply: Reply) -> str:
    if reply.calls and reply.finish == "stop":
        return "tool_calls"
    return form.finishes[reply.finish]


def _call(reply: Reply, number: int, text: str) -> JsonObject:
    call: JsonObject = {"index": 0, "function": {"arguments": text}}
    if number == 1:
        function = {"name": reply.calls, "arguments": text}
        call |= {"id": f"call_{reply.reply_id}", "type": "function", "function": function}
    return {"tool_calls": [call]}


def _thoughts(form: ChatForm, reply: Reply) -> tuple[str, ...]:
    thoughts = reply.reasoning
    if form.reasoning != "inline" or not thoughts:
        return thoughts
    return ("<think>", *thoughts, "</think>")


def _thought_delta(form: ChatForm, text: str) -> JsonObject | None:
    match form.reasoning:
        case None:
            return None
        case "inline":
            return _delta(form, text)
        case name:
            return {"role": "assistant", name: text}


def _delta(form: ChatForm, text: str) -> JsonObject:
    return {"role": "assistant", "content": text} if form.is_terse else {"content": text}


def _chunk(
    form: ChatForm,
    reply: Reply,
    delta: JsonObject,
    kind: FrameKind = "plain",
    *,
    finish: str | None = None,
    usage: Usage | None = None,
) -> Frame:
    choice: JsonObject = {"index": 0, "delta": delta}
    if finish is not None or not form.is_terse:
        choice["finish_reason"] = finish
    if not form.is_terse:
        choice["logprobs"] = None
    if form.has_native_finish:
        choice["native_finish_reason"] = finish
    body = _body(form, reply, "chat.completion.chunk", [choice])
    if usage is not None:
        body["usage"] = usage_object(usage)
    elif "extra" in form.usage:
        body["usage"] = None
    text = str(delta.get("content", ""))
    return Frame(body | _obfuscation(form, reply, text), kind)


def _body(form: ChatForm, reply: Reply, kind: str, choices: list[JsonObject]) -> JsonObject:
    return {
        "id": reply.reply_id,
        "object": kind,
        "created": reply.created,
        "model": reply.model,
        **form.extras,
        "choices": choices,
    }


def _obfuscation(form: ChatForm, reply: Reply, text: str) -> JsonObject:
    if not form.obfuscates:
        return {}
    noise = hashlib.shake_256(f"{reply.reply_id}{text}".encode()).hexdigest(8)
    return {"obfuscation": noise[: 16 - len(text) % 12]}
