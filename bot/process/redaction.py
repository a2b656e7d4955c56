"""Takes secrets out of text before it is logged or shown: known values, and the shapes of keys."""

import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import cast
from urllib.parse import quote

MASK = "[redacted]"

MIN_SECRET_LENGTH = 6
"""A shorter registered value would blank ordinary words all over the log."""

MAX_DEPTH = 8
"""Deeper values are written as one text; nobody logs such on purpose."""

_SECRET_KEYS = re.compile(
    r"(?:.*[-_])?(?:authorization|api[-_]?key|token|passwd|password|secret|cookie|passkey)"
    r"|clientpasskey",
    re.IGNORECASE,
)

_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = (
    # A named header or field, in a header line, a mapping's repr or JSON.
    (
        re.compile(
            r"\b((?:proxy-)?authorization|x-api-key|api[-_]?key|client_?passkey|passwd|password)"
            r"(\\*[\"']?\s*[:=]\s*\\*[\"']?)(?:(?:bearer|bot|basic)\s+)?[^\s\"',}\]\\]+",
            re.IGNORECASE,
        ),
        rf"\1\2{MASK}",
    ),
    (re.compile(r"\b(bearer)\s+[^\s\"',}\]\\]{8,}", re.IGNORECASE), rf"\1 {MASK}"),
    # LM Studio API tokens, then the keys of OpenAI, Anthropic and OpenRouter.
    (re.compile(r"(?<![A-Za-z0-9])sk-lm-[A-Za-z0-9]{4,}:[A-Za-z0-9]{4,}"), MASK),
    (re.compile(r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{12,}"), MASK),
    # Z.AI keys.
    (re.compile(r"(?<![A-Za-z0-9])[0-9a-f]{32}\.[A-Za-z0-9]{16}(?![A-Za-z0-9])"), MASK),
    # Discord bot tokens: user id, time and signature, each base64.
    (re.compile(r"(?<![\w-])[\w-]{23,30}\.[\w-]{6,7}\.[\w-]{27,}"), MASK),
    # Discord webhook and interaction tokens stand in the path.
    (re.compile(r"(/(?:webhooks|interactions)/\d+/)[\w-]{20,}"), rf"\1{MASK}"),
    (
        re.compile(r"([?&](?:access_token|token|api_?key|key)=)[^&\s\"']+", re.IGNORECASE),
        rf"\1{MASK}",
    ),
    (re.compile(r"(://)[^/@\s\"']+@"), rf"\1{MASK}@"),
)

_SHORT, _MOST_CLEAN = 64, 2000
"""Characters of a text that is remembered as clean, and how many are."""

# What every shape has some of. Most words of a log line have none, and one look is cheaper than
# nine.
_SUSPECT = re.compile(r"[:=./]|sk-|bearer", re.IGNORECASE)


class Redactor:
    """Replaces secrets in text and in nested values.

    Args:
        secrets: values known to be secret, whatever their shape.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known: set[str] = set()
        for secret in secrets:
            halves = secret.split(":", 1)[1:] if secret.startswith("sk-lm-") else []
            for value in (secret.strip(), *halves):
                if len(value) >= MIN_SECRET_LENGTH:
                    # In plain text, in a repr, in JSON and in a URL. Half a character, which the
                    # environment may well hold, cannot be quoted.
                    known |= {value, repr(value)[1:-1], json.dumps(value)[1:-1]}
                    known |= {quote(value, safe=safe, errors="replace") for safe in ("", "/")}
        longest_first = sorted(known, key=len, reverse=True)
        pattern = "|".join(re.escape(secret) for secret in longest_first)
        self._known = re.compile(pattern) if pattern else None
        self._clean: set[str] = set()
        """Short texts found to hold none: names of fields, models and hosts come with each line."""

    def text(self, text: str) -> str:
        """The text without secrets."""
        if text in self._clean:
            return text
        cleaned = text if self._known is None else self._known.sub(MASK, text)
        if _SUSPECT.search(cleaned) is not None:
            for shape, replacement in _SHAPES:
                cleaned = shape.sub(replacement, cleaned)
        if cleaned == text and len(text) <= _SHORT:
            if len(self._clean) >= _MOST_CLEAN:
                self._clean.clear()
            self._clean.add(text)
        return cleaned

    def value(self, value: object, depth: int = 0) -> object:
        """The value without secrets, as plain types a log line can carry."""
        match value:
            case str():
                return self.text(value)
            case None | bool() | int() | float():
                return value
            # An abstract class takes ten times as long to tell.
            case dict() | Mapping() if depth < MAX_DEPTH:
                told: dict[str, object] = {}
                for key, item in cast(Mapping[object, object], value).items():
                    name = str(key)
                    # Counts such as `first_token` are no secrets.
                    if item is not None and not isinstance(item, (int, float)):
                        # Most of a line was in the line before it.
                        is_clean = type(item) is str and item in self._clean
                        if _is_secret(name):
                            item = MASK
                        elif not is_clean:
                            item = self.value(item, depth + 1)
                    told[name if name in self._clean else self.text(name)] = item
                return told
            case list() | tuple() | set() | frozenset() if depth < MAX_DEPTH:
                return [self.value(item, depth + 1) for item in cast(Iterable[object], value)]
            case _:
                return self.text(repr(value))


@lru_cache(maxsize=1024)
def _is_secret(key: str) -> bool:
    """Does a field of this name hold one? Nearly all of them are written in our own code."""
    return _SECRET_KEYS.fullmatch(key) is not None
