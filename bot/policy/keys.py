"""API keys: how one looks, what is stored of it, and what it may be used for. Pure."""

import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Literal

from bot.domain.values import value
from bot.policy.ratelimit import RateRule

KeyScope = Literal["inference", "admin", "metrics"]

SCOPES: tuple[KeyScope, ...] = ("inference", "admin", "metrics")

_PREFIX = "lantern_"
_PUBLIC = 8
"""Characters that name a key: it is found by them, and shown by them in lists."""
_SECRET = 32
LENGTH = len(_PREFIX) + _PUBLIC + _SECRET

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""Base 62: marked as one word by a double click, and needs no quoting in any shell."""

_NOBODY = "0" * 64


@value
class ApiKey:
    """What is stored of a key; the key itself is shown once and kept nowhere."""

    id: str
    """Its public part."""
    name: str
    digest: str
    """SHA-256 of the whole key, as hexadecimal; a key of 190 random bits needs no slow hash."""
    scopes: tuple[KeyScope, ...] = ("inference",)
    models: tuple[str, ...] = ()
    """Patterns of the models it may ask for; empty is all."""
    daily_micro_usd: int | None = None
    """What its providers' answers may cost a day; None leaves the limits of everybody."""
    rate: RateRule | None = None
    created_at_ms: int = 0
    last_used_ms: int | None = None
    expires_at_ms: int | None = None
    """None never does."""

    @property
    def prefix(self) -> str:
        """What may be shown of it: enough to tell it from others, too little to open a door."""
        return f"lantern_{self.id}…"

    def is_over(self, now_ms: int) -> bool:
        """Has its time come to an end?"""
        return self.expires_at_ms is not None and now_ms >= self.expires_at_ms

    def record(self) -> dict[str, object]:
        """What programs are told of it, at a terminal and over HTTP; nothing that opens a door."""
        moments = (self.created_at_ms, self.last_used_ms, self.expires_at_ms)
        created, last_used, expires = (
            None if at is None else datetime.fromtimestamp(at // 1000, UTC).isoformat()
            for at in moments
        )
        return {
            "name": self.name,
            "prefix": self.prefix,
            "scopes": list(self.scopes),
            "models": list(self.models),
            "daily_usd": None if self.daily_micro_usd is None else self.daily_micro_usd / 1e6,
            "rate": self.rate and str(self.rate),
            "created": created,
            "last_used": last_used,
            "expires": expires,
        }


def make_key(drawn: str) -> tuple[str, str, str]:
    """A new key from random characters: the key, its public part, and what is stored of it.

    Args:
        drawn: 40 characters of ``ALPHABET``, drawn at random.
    """
    assert len(drawn) == _PUBLIC + _SECRET, "a shorter key could be guessed"
    key = f"{_PREFIX}{drawn}"
    return key, drawn[:_PUBLIC], digest_of(key)


def public_part(key: str) -> str | None:
    """What a key is found by; None of what is none of ours."""
    is_ours = len(key) == LENGTH and key.startswith(_PREFIX) and key.isascii() and key[8:].isalnum()
    return key[len(_PREFIX) : len(_PREFIX) + _PUBLIC] if is_ours else None


def digest_of(key: str) -> str:
    """What is stored of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def is_right(key: str, known: ApiKey | None, now_ms: int) -> bool:
    """Is it this stored key, and still in force? Takes as long where there is none."""
    stored = _NOBODY if known is None else known.digest
    matches = hmac.compare_digest(digest_of(key), stored)
    if known is None or not matches:
        return False
    return not known.is_over(now_ms)


def may_ask_for(patterns: Sequence[str], name: str, models: Sequence[str] = ()) -> bool:
    """Is a name among those a key is for? By shell patterns; none at all is every name.

    Args:
        patterns: The key's.
        name: Of a model, or of a persona.
        models: Of a persona, every model that may answer for it: whose key is for all of these may
            ask by its name as well.
    """

    def fits(asked: str) -> bool:
        return any(fnmatchcase(asked, pattern) for pattern in patterns)

    return not patterns or fits(name) or (bool(models) and all(map(fits, models)))
