"""The picture of a day: small, whole at every size of numbers, legible on both of its grounds."""

import io
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bot.documents.day_chart import HEIGHT, WIDTH, day_chart, scale
from bot.domain.cloud import HourLine, LastDay

START = datetime(2026, 11, 21, 9, tzinfo=UTC)
BUSY = HourLine(0, 30, 9, 4, 90_000, 1200, 1.5, 6.0, 0.8, 3.0)
DAY = LastDay(START, tuple(replace(BUSY, nth=n, local=(n * 7) % 40) for n in range(24)))


def drawn(day: LastDay) -> Image.Image:
    png = day_chart(day, "512 answers · 1.2 M tokens · 3.1 cents")
    assert len(png) < 60_000
    return Image.open(io.BytesIO(png))


def colours(image: Image.Image) -> set[tuple[int, ...]]:
    found = image.convert("RGB").getcolors(1 << 20) or []
    return {colour for _, colour in found if isinstance(colour, tuple)}


def luminance(colour: tuple[int, ...]) -> float:
    parts = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def test_a_busy_day_is_a_small_picture_of_its_own_ground() -> None:
    image = drawn(DAY)
    assert image.size == (WIDTH, HEIGHT)
    ground = image.convert("RGB").getpixel((3, 3))
    assert ground == (0x1E, 0x1F, 0x22)
    # Each kind's colour stands out from it as Web Content Accessibility asks of pictures: 3 to 1.
    assert isinstance(ground, tuple)
    bars = [(0x5B, 0x8D, 0xEF), (0xF2, 0xB5, 0x44), (0xE0, 0x67, 0x9B), (0xA9, 0x8B, 0xF0)]
    bars.append((0xC9, 0xCC, 0xD3))
    for bar in bars:
        assert (luminance(bar) + 0.05) / (luminance(ground) + 0.05) > 3
        assert any(
            max(abs(a - b) for a, b in zip(bar, seen, strict=True)) < 12 for seen in colours(image)
        )


def test_a_lone_answer_is_seen_among_thousands() -> None:
    lines = (HourLine(n, local={5: 10**7, 12: 1}.get(n, 0)) for n in range(24))
    image = drawn(LastDay(START, tuple(lines))).convert("RGB")
    # Between the middle of the plot and its right edge there is that one bar.
    assert any(blue > 150 for *_, blue in colours(image.crop((WIDTH // 2, 290, WIDTH - 100, 302))))


@given(st.floats(1e-3, 1e12))
def test_the_top_of_a_plot_is_round_and_not_far_above_its_highest_bar(most: float) -> None:
    top = scale(most)
    assert most <= top * 1.001
    assert top <= most * 2.001
    assert f"{top / 2:g}".strip("0.").__len__() <= 7


@pytest.mark.parametrize(
    ("most", "top"),
    [(1, 1), (1.1, 2), (3, 4), (5, 5), (7, 8), (9, 10), (52, 60), (100, 100)],
)
def test_tops_of_plots(most: float, top: float) -> None:
    assert scale(most) == top
