"""One whole chat from the chunks of a stream: providers are always asked for streams."""

import json
from typing import cast

from bot.gateway.edge import Object

_GROWING = ("content", "reasoning_content", "reasoning", "refusal")


class WholeChat:
    """Takes a provider's chunks in and gives the body they add up to, in the provider's words."""

    def __init__(self) -> None:
        self._head: Object = {}
        self._message: Object = {"role": "assistant", "content": None}
        self._calls: dict[object, Object] = {}
        self._choice: Object = {"index": 0, "finish_reason": None}
        self._usage: object = None

    @property
    def has_begun(self) -> bool:
        """Did any chunk come?"""
        return bool(self._head)

    def take(self, payload: str) -> None:
        """One chunk more."""
        chunk = cast(Object, json.loads(payload))
        choices = cast(list[Object], chunk.pop("choices", None) or [])
        self._usage = chunk.pop("usage", None) or self._usage
        self._head |= chunk
        for choice in choices[:1]:
            delta = cast(Object, choice.pop("delta", None) or {})
            self._choice |= {name: value for name, value in choice.items() if value is not None}
            for name in _GROWING:
                if text := delta.get(name):
                    self._message[name] = f"{self._message.get(name) or ''}{text}"
            for call in cast(list[Object], delta.get("tool_calls") or []):
                self._grow(call)

    def body(self) -> bytes:
        """The JSON of the whole answer."""
        message = self._message
        if self._calls:
            message = message | {"tool_calls": list(self._calls.values())}
        whole = {
            **self._head,
            "object": "chat.completion",
            "choices": [{**self._choice, "message": message}],
            "usage": self._usage,
        }
        return json.dumps(whole).encode()

    def _grow(self, piece: Object) -> None:
        function = cast(Object, piece.pop("function", None) or {})
        call = self._calls.setdefault(piece.pop("index", 0), {"function": {"arguments": ""}})
        call |= piece
        made = cast(Object, call["function"])
        arguments = f"{made['arguments']}{function.pop('arguments', None) or ''}"
        made |= function | {"arguments": arguments}
