"""Reads LM Studio's own words about a failed load."""

import re

_MEMORY = re.compile(
    r"insufficient system resources|guardrail|insufficient (?:v?ram|memory)|out of memory|"
    r"not enough (?:v?ram|memory)",
    re.IGNORECASE,
)
_HEADINGS = re.compile(r"^\s*(?:Reported cause|Suggested potential remedy):\s*$", re.MULTILINE)


def is_refusal_for_memory(reason: str) -> bool:
    """Did the host refuse for lack of memory, so that evicting something may help?"""
    return _MEMORY.search(reason) is not None


def one_line(reason: str, limit: int = 400) -> str:
    """A many-line error as one line a person can read."""
    words = " ".join(_HEADINGS.sub("", reason).split())
    return words if len(words) <= limit else words[: limit - 1].rstrip() + "…"
