"""Keeps secrets and prompt text out of what other servers tell us."""

import re
from collections.abc import Iterator, Sequence

_LIMIT = 200
_WINDOW = 24
"""Characters in a row that, found in the prompt too, count as an echo of it."""
_SHORTEST_ECHO = 8
_SHORTEST_SECRET = 8
_GONE = "…"
_KEY = re.compile(r"\bsk-[\w\-.:*]{4,}|\bBearer\s+\S+", re.IGNORECASE)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]+")


def clean_reason(text: str, secret: str | None = None, prompt: Sequence[str] = ()) -> str:
    """Return a server's own words as one bounded line, without keys or echoes of the prompt.

    Servers quote what they were sent: a wrong key in a 401, the rejected input in a 422.
    """
    line = " ".join(_UNPRINTABLE.sub(" ", text[: 4 * _LIMIT]).split())
    for part in _secret_parts(secret):
        line = line.replace(part, _GONE)
    line = _KEY.sub(_GONE, line)
    return _bounded(_without_echo(line[: 2 * _LIMIT], prompt))


def _secret_parts(secret: str | None) -> Iterator[str]:
    if not secret:
        return
    yield secret
    yield from (part for part in re.split(r"[.:]", secret) if len(part) >= _SHORTEST_SECRET)


def _without_echo(line: str, prompt: Sequence[str]) -> str:
    for message in prompt:
        said = " ".join(message.split())
        if _SHORTEST_ECHO <= len(said) < _WINDOW:
            line = line.replace(said, _GONE)
        elif len(said) >= _WINDOW:
            line = _cut_at_echo(line, said)
    return line


def _cut_at_echo(line: str, said: str) -> str:
    for start in range(len(line) - _WINDOW + 1):
        if line[start : start + _WINDOW] in said:
            return line[:start] + _GONE
    return line


def _bounded(line: str) -> str:
    return line if len(line) <= _LIMIT else line[: _LIMIT - 1].rstrip() + _GONE
