"""Conversations as the three shapes of a request hold them; no shape is trusted."""

from bot.sim.answers import Message
from bot.sim.wire_json import JsonObject, as_list, as_object, text_of

_PICTURES = frozenset({"image_url", "input_image", "image"})


def chat_messages(body: JsonObject) -> tuple[Message, ...]:
    """Return the messages of a chat; content is a string or parts."""
    return tuple(_message(as_object(raw)) for raw in as_list(body.get("messages")))


def response_messages(body: JsonObject) -> tuple[Message, ...]:
    """Return the instructions and the input of a response; input is a string or items."""
    told = text_of(body, "instructions")
    given = body.get("input")
    items: list[object] = [{"content": given}] if isinstance(given, str) else as_list(given)
    messages = [Message("system", told)] if told else []
    for raw in items:
        item = as_object(raw)
        match item.get("type"):
            case "function_call":
                messages.append(Message("assistant", text_of(item, "arguments") or ""))
            case "function_call_output":
                messages.append(Message("tool", text_of(item, "output") or ""))
            case "reasoning":
                continue
            case _:
                messages.append(_message(item))
    return tuple(messages)


def anthropic_messages(body: JsonObject) -> tuple[Message, ...]:
    """Return the system prompt and the messages of Anthropic's shape."""
    system = _message({"role": "system", "content": body.get("system")})
    messages = [system] if system.text else []
    for raw in as_list(body.get("messages")):
        source = as_object(raw)
        message = _message(source)
        parts = [as_object(part) for part in as_list(source.get("content"))]
        # Results of tools come in a user's message there.
        is_result = any(part.get("type") == "tool_result" for part in parts)
        messages.append(Message("tool", message.text) if is_result else message)
    return tuple(messages)


def _message(source: JsonObject) -> Message:
    role, content = text_of(source, "role") or "user", source.get("content")
    if isinstance(content, str):
        return Message(role, content)
    parts = [as_object(part) for part in as_list(content)]
    text = "".join(text_of(part, "text") or text_of(part, "content") or "" for part in parts)
    return Message(role, text, sum(part.get("type") in _PICTURES for part in parts))
