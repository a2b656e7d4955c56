"""From a checked chat to what a provider may be sent of it."""

from collections.abc import Mapping
from typing import cast

from bot.chat.abroad import Abroad
from bot.domain.chat import Attachment, Message
from bot.domain.personas import Sampling
from bot.gateway.edge import Object, is_picture
from bot.policy.fitness import MOST_ROOM

_PICTURE = Attachment("picture", "image/*")


def outbound(fields: Object, limit: int | None, answer_format: object) -> Abroad:
    """A chat for providers.

    Args:
        fields: The request with its gaps filled.
        limit: Of the answer, where it sets one.
        answer_format: As the client asked for it: what LM Studio must be told otherwise.
    """
    own = {name: value for name, value in fields.items() if name != "response_format"}
    if answer_format is not None:
        own["response_format"] = answer_format
    messages, why_not = _messages(own)
    return Abroad(
        fields=own,
        words=_words(own),
        answer_tokens=limit or MOST_ROOM,
        messages=messages,
        why_not=why_not,
        sampling=_sampling(own, limit),
    )


def _words(fields: Mapping[str, object]) -> Message:
    """Everything written in a request as one message, with its pictures."""
    texts: list[str] = []
    pictures: list[Attachment] = []
    stack = [fields[name] for name in sorted(fields, reverse=True) if name != "model"]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            part = cast(Object, value)
            if is_picture(part):
                pictures.append(_PICTURE)
            else:
                texts.extend(part)
                stack.extend(reversed(part.values()))
        elif isinstance(value, list):
            stack.extend(reversed(cast(list[object], value)))
        elif isinstance(value, str):
            texts.append(value)
    return Message("user", "\n".join(texts), tuple(pictures))


def _messages(fields: Object) -> tuple[tuple[Message, ...], str]:
    """A chat's words for another wire, or why it has none; one of both is empty."""
    if fields.get("tools") or fields.get("response_format"):
        return (), "tools and answer formats are not translated for its wire"
    said: list[Message] = []
    for message in cast(list[Object], fields.get("messages") or ()):
        role, content = message.get("role"), message.get("content")
        if isinstance(content, list):
            parts = cast(list[Object], content)
            if any(part.get("type") != "text" for part in parts):
                return (), "pictures of a client are not translated for its wire"
            content = "\n".join(str(part.get("text") or "") for part in parts)
        if role not in ("system", "user", "assistant") or not isinstance(content, str):
            return (), f"messages of the role {role} are not translated for its wire"
        said.append(Message(role, content))
    return tuple(said), ""


def _sampling(fields: Object, limit: int | None) -> Sampling:
    def number(name: str) -> float | None:
        value = fields.get(name)
        return value if isinstance(value, int | float) else None

    stop = fields.get("stop") or ()
    return Sampling(
        temperature=number("temperature"),
        max_tokens=limit,
        top_p=number("top_p"),
        stop=(stop,) if isinstance(stop, str) else tuple(cast(list[str], stop)),
    )
