"""What an error body says, whatever shape its server gives it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bot.inference.json_wire import is_array, is_object, text_of

_PREFIX = re.compile(r"\[(\d{3,4})\]")
"""Z.AI's Anthropic-shaped route puts its code before the text: ``[1310][Weekly limit…]``."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """An error body in one form."""

    codes: tuple[str, ...] = ()
    """Machine-readable, lower case, the most telling first."""
    message: str = ""
    was_flagged: bool = False
    """A moderator, not the key, is the reason (OpenRouter says both with 403)."""


def complaint_of(value: object) -> Complaint | None:
    """Return the complaint a JSON value holds; None when it holds none.

    Knows ``{"error": {…}}`` of OpenAI, LM Studio, Z.AI, OpenRouter and Anthropic,
    ``{"error": "text"}`` of LM Studio and Ollama, and bare ``message``, ``msg``,
    ``error_message`` or ``detail`` of vLLM, Z.AI's edge and FastAPI.
    """
    if not is_object(value):
        return None
    error = value.get("error")
    if is_object(error):
        return _complaint(error)
    if isinstance(error, str) and error:
        return Complaint(tuple(_codes(value)), error)
    bare = _bare_message(value)
    return Complaint(tuple(_codes(value)), bare) if bare else None


def _complaint(error: dict[str, object]) -> Complaint:
    message = text_of(error.get("message")) or text_of(error.get("msg"))
    prefix = _PREFIX.match(message)
    codes = (*(prefix.groups() if prefix else ()), *_codes(error))
    metadata = error.get("metadata")
    was_flagged = is_object(metadata) and ("reasons" in metadata or "flagged_input" in metadata)
    return Complaint(codes, message, was_flagged)


def _codes(error: dict[str, object]) -> Iterator[str]:
    details = error.get("details")
    found = [details.get("error_code")] if is_object(details) else []
    found += [error.get("code"), error.get("error_type"), error.get("type")]
    for code in found:
        if isinstance(code, str) and code.strip():
            yield code.strip().lower()
        elif isinstance(code, int) and not isinstance(code, bool):
            yield str(code)


def _bare_message(value: dict[str, object]) -> str:
    if "choices" in value:
        return ""
    for name in ("message", "msg", "error_message", "detail"):
        said = value.get(name)
        if isinstance(said, str) and said:
            return said
        # FastAPI's 422 quotes the rejected input beside `msg`; only `msg` is taken.
        if is_array(said) and said and is_object(said[0]):
            return text_of(said[0].get("msg"))
    return ""
