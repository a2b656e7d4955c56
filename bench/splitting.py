"""Splitting a streamed reply into messages.

One reply of 20,000 characters, prose and code in turn, shown ten times a second while it grows by
800 characters a second: what one such showing costs, with the parts already known and without.
"""

from time import perf_counter

from bench.table import Row, told
from bot.policy.splitting import Part, cut_reply, shown_parts

LENGTH, STEP = 20_000, 80

PROSE = (
    "The lamp on the **studio** shelf burns for as long as somebody reads by it. When nobody "
    "does, it is put out; [the next reader](https://example.org/lamp) lights it again.\n\n"
)
CODE = "```python\ndef light(lamp):\n    for wick in lamp:\n        wick.burn(until=dawn)\n```\n\n"


def run() -> list[Row]:
    """Milliseconds per showing, and how much knowing the closed parts saves."""
    text = ((PROSE * 7 + CODE * 9) * 20)[:LENGTH]
    known = _mean_ms(text, remember=True)
    anew = _mean_ms(text, remember=False)
    return [
        told("one showing, closed parts known", known, "ms"),
        told("one showing, cut anew", anew, "ms"),
        told("the former as a part of the latter", known / anew, ""),
    ]


def _mean_ms(text: str, *, remember: bool) -> float:
    parts: tuple[Part, ...] = ()
    ends = range(STEP, len(text) + 1, STEP)
    begun = perf_counter()
    for end in ends:
        parts = cut_reply(text[:end], known=parts if remember else ())
        shown_parts(parts)
    return (perf_counter() - begun) / len(ends) * 1000
