"""How long the other side asks us to wait."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

_RESET = re.compile(
    r"(?:reset at|regain access on)\s+"
    r"(\d{4}-\d\d-\d\d)(?: at)?[ T](\d\d:\d\d)(:\d\d)?(\s*(?:UTC|Z))?",
    re.IGNORECASE,
)
_BEIJING = timezone(timedelta(hours=8))
"""Z.AI writes its reset times without a zone, in Beijing time."""


def retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return the seconds asked for by the headers; None when they ask nothing or nonsense.

    Args:
        headers: looked up by lower-case name.
        now: aware; used for an HTTP date when the answer does not carry its own ``date``.
    """
    in_ms = _number(headers.get("retry-after-ms"))
    if in_ms is not None:
        return in_ms / 1000
    value = headers.get("retry-after")
    in_s = _number(value)
    return in_s if in_s is not None else _until(_http_date(value), headers, now)


def reset_in_s(
    message: str, headers: Mapping[str, str], now: datetime | None = None
) -> float | None:
    """Return the seconds until the reset that a plan's limit names in its text, if any is ahead."""
    found = _RESET.search(message)
    if found is None:
        return None
    day, minute, second, is_utc = found.groups()
    try:
        at = datetime.fromisoformat(f"{day}T{minute}{second or ':00'}")
    except ValueError:
        return None
    seconds = _until(at.replace(tzinfo=UTC if is_utc else _BEIJING), headers, now)
    return seconds or None


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None


def _http_date(value: str | None) -> datetime | None:
    if not value:
        return None
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _until(at: datetime | None, headers: Mapping[str, str], now: datetime | None) -> float | None:
    # The answer's own clock first: it is the one the asked-for time was read from.
    start = _http_date(headers.get("date")) or now
    if at is None or start is None:
        return None
    return max(0.0, (at - start).total_seconds())
