"""A day's answers as a picture: bars for who answered, and for what was waited for."""

import io
from collections.abc import Callable, Sequence
from math import floor, log10
from typing import TYPE_CHECKING

from bot.domain.cloud import HourLine, LastDay
from bot.domain.values import value

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

WIDTH, HEIGHT = 1100, 512
"""Twice what Discord shows on a screen, so that it is sharp on fine ones as well."""

_FINE = 2
"""Drawn so much larger and made smaller: the library draws edges as stairs."""

# One ground for both of Discord's themes: what is legible on dark and on white at once is grey.
_GROUND, _WORDS, _QUIET, _LINE = "#1e1f22", "#f2f3f5", "#a5a8ae", "#34363c"
# Told apart by who does not see red beside green, too.
_WHO: tuple[tuple[str, str, Callable[[HourLine], float]], ...] = (
    ("own hosts", "#5b8def", lambda hour: hour.local),
    ("cloud", "#f2b544", lambda hour: hour.cloud),
    ("given again", "#8b8f97", lambda hour: hour.cached),
)
_WAITED: tuple[tuple[str, str, Callable[[HourLine], float]], ...] = (
    ("to be asked", "#c9ccd3", lambda hour: hour.until_asked_s),
    ("in a queue", "#e0679b", lambda hour: hour.queue_s),
    ("for a load", "#a98bf0", lambda hour: hour.load_s),
    ("for reading", "#4fc3b1", lambda hour: hour.reading_s),
)
_LEFT, _RIGHT = 76, 28
_SMALL, _MIDDLE, _LARGE = 21, 23, 31


@value
class _Plot:
    """One row of bars: where it stands, what it is called, what its colours are."""

    top: int
    bottom: int
    title: str
    kinds: tuple[tuple[str, str, Callable[[HourLine], float]], ...]
    least: float
    """Its top is never below this: half an answer is none."""
    unit: str = ""


_PLOTS = (
    _Plot(138, 302, "Answers an hour", _WHO, 2),
    _Plot(376, 452, "Seconds to the first word", _WAITED, 1, " s"),
)


def day_chart(day: LastDay, totals: str) -> bytes:
    """A small PNG of the day, legible on dark and on light.

    It takes a tenth of a second or so, which belongs into a thread.

    Args:
        day: What it shows.
        totals: Said beside its title, in Latin letters: its typeface has no other signs.
    """
    # Only whoever puts up a board pays for it, when its first picture is drawn.
    from PIL import Image, ImageDraw

    size = WIDTH * _FINE, HEIGHT * _FINE
    image = Image.new("RGB", size, _GROUND)
    pen = ImageDraw.Draw(image)
    _write(pen, (_LEFT, 22), "The last 24 hours", _WORDS, _LARGE)
    _write(pen, (WIDTH - _RIGHT, 30), totals, _QUIET, _MIDDLE, anchor="ra")
    for plot in _PLOTS:
        _draw(pen, plot, day.hours)
    for nth in range(0, len(day.hours), 3):
        hour = (day.starts_at.hour + nth) % 24
        _write(pen, (_x(nth) + _STEP / 2, 462), f"{hour:02}", _QUIET, _SMALL, anchor="ma")
    file = io.BytesIO()
    # Flat colours and their edges: a table of 64 says all of them in a third of the bytes.
    small = image.reduce(_FINE).quantize(64, dither=Image.Dither.NONE)
    small.save(file, "PNG", optimize=True)
    return file.getvalue()


_STEP = (WIDTH - _LEFT - _RIGHT) / 24


def _x(nth: int) -> float:
    return _LEFT + nth * _STEP


def _draw(pen: "ImageDraw", plot: _Plot, hours: Sequence[HourLine]) -> None:
    sums = [sum(amount(hour) for _, _, amount in plot.kinds) for hour in hours]
    most = scale(max((plot.least, *sums)))
    height = plot.bottom - plot.top
    for part in (0.0, 0.5, 1.0):
        y = plot.bottom - height * part
        _box(pen, (_LEFT, y - 0.75, WIDTH - _RIGHT, y + 0.75), _LINE)
        if part:
            _write(pen, (_LEFT - 12, y), f"{most * part:g}{plot.unit}", _QUIET, _SMALL, anchor="rm")
    _legend(pen, plot)
    for nth, hour in enumerate(hours):
        y, left, right = float(plot.bottom), _x(nth) + _STEP * 0.16, _x(nth) + _STEP * 0.84
        parts = [(colour, height * amount(hour) / most) for _, colour, amount in plot.kinds]
        parts = [(colour, tall) for colour, tall in parts if tall]
        for colour, tall in parts:
            # A lone answer among thousands is seen, too.
            top = min(y - tall, y - 2)
            _box(pen, (left, top, right, y), colour, radius=4 if colour is parts[-1][0] else 0)
            y = top


def _legend(pen: "ImageDraw", plot: _Plot) -> None:
    y = plot.top - 34
    _write(pen, (_LEFT, y), plot.title, _WORDS, _MIDDLE, anchor="lm")
    x = float(WIDTH - _RIGHT)
    for name, colour, _ in reversed(plot.kinds):
        x -= _write(pen, (x, y), name, _QUIET, _SMALL, anchor="rm") + 12
        _box(pen, (x - 14, y - 7, x, y + 7), colour, radius=4)
        x -= 14 + 26


def scale(most: float) -> float:
    """The round number that is the top of a plot whose highest bar is ``most``: 1, 2, 4, 5, 6, 8.

    Times a power of ten; half of it is a round number as well.
    """
    power = 10.0 ** floor(log10(most))
    return next(step * power for step in (1, 2, 4, 5, 6, 8, 10) if most <= step * power * 1.0001)


def _box(
    pen: "ImageDraw",
    box: tuple[float, float, float, float],
    colour: str,
    *,
    radius: float = 0,
) -> None:
    """A box, rounded above; below it stands on what is under it."""
    left, top, right, bottom = (part * _FINE for part in box)
    radius = min(radius * _FINE, bottom - top)
    corners = (True, True, False, False)
    pen.rounded_rectangle((left, top, right, bottom), radius, fill=colour, corners=corners)


def _write(
    pen: "ImageDraw",
    at: tuple[float, float],
    words: str,
    colour: str,
    size: int,
    *,
    anchor: str = "la",
) -> float:
    """Writes and gives the width; the typeface is the one that comes with the library."""
    from PIL.ImageFont import load_default

    font = load_default(size * _FINE)
    pen.text((at[0] * _FINE, at[1] * _FINE), words, colour, font, anchor)
    return pen.textlength(words, font) / _FINE
