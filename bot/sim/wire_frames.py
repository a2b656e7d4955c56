"""What the four shapes of an answer share: an event as bytes, and what each shape must give."""

import json
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from bot.sim.prompts import Token
from bot.sim.wire_json import JsonObject

Shape = Literal["chat", "text", "responses", "messages"]


class Frames(Protocol):
    """One answer in one shape: call `begin`, `token` for each, then `end`; or only `whole`."""

    def begin(self) -> list[bytes]:
        """Return the events before the first token."""
        ...

    def token(self, token: Token) -> list[bytes]:
        """Return the events of a token."""
        ...

    def end(self) -> list[bytes]:
        """Return the events after the last token."""
        ...

    def whole(self, tokens: Sequence[Token]) -> JsonObject:
        """Return the body of an answer that is not streamed."""
        ...


def sse(body: Mapping[str, object], event: str | None = None) -> bytes:
    """Return one server-sent event."""
    head = "" if event is None else f"event: {event}\n"
    return f"{head}data: {json.dumps(body)}\n\n".encode()


def words(tokens: Sequence[Token], kind: str) -> str:
    """Return the text of the tokens of one kind."""
    return "".join(token.text for token in tokens if token.kind == kind)


def broken(shape: Shape, cause: str) -> bytes:
    """Return the event that ends an answer which broke."""
    match shape:
        case "messages":
            error = {"type": "api_error", "message": cause}
            return sse({"type": "error", "error": error}, event="error")
        case "responses":
            told = {"type": "error", "code": "server_error", "message": cause, "param": None}
            return sse(told, event="error")
        case _:
            return sse({"error": {"message": cause}}, event="error")
