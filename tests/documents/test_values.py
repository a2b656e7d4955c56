"""Durations and sizes, as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.documents.values import format_seconds, parse_gigabytes, parse_seconds


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (90, 90.0),
        (0, 0.0),
        (1.5, 1.5),
        ("90", 90.0),
        ("30s", 30.0),
        ("500ms", 0.5),
        ("5m", 300.0),
        ("5 min", 300.0),
        ("1h", 3600.0),
        ("1h30m", 5400.0),
        ("1H 30M 5s", 5405.0),
        ("1.5h", 5400.0),
        ("2d", 172800.0),
    ],
)
def test_a_duration_is_read(written: object, seconds: float) -> None:
    assert parse_seconds(written) == seconds


@pytest.mark.parametrize(
    "written",
    ["", "soon", "5x", "-5s", "5s m", "s", "1e3", "٣s", -1, True, None, [], {}, float("nan"),
     float("inf"), "9" * 400, "99999d"],
)  # fmt: skip
def test_what_is_no_duration_is_refused_with_what_is_expected(written: object) -> None:
    with pytest.raises(ValueError, match="a duration such as 30s"):
        parse_seconds(written)


@pytest.mark.parametrize("written", ["99999d", "99999999999h", 1e12])
def test_a_duration_that_is_too_long_is_told_the_most(written: object) -> None:
    with pytest.raises(ValueError, match=r"1h \(a bare number is seconds\), ten years at most"):
        parse_seconds(written)


@given(st.integers(0, 10 * 365 * 86_400_000))
def test_a_duration_survives_being_written_and_read(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_seconds(format_seconds(seconds)) == pytest.approx(seconds, abs=1e-6)


@given(st.one_of(st.text(), st.floats(), st.integers(), st.booleans(), st.none(), st.binary()))
def test_a_duration_is_in_range_or_refused(written: object) -> None:
    try:
        seconds = parse_seconds(written)
    except ValueError:
        return
    assert 0 <= seconds <= 10 * 365 * 86400


@pytest.mark.parametrize("written", [96, 96.0, "96", "96GB", "96 gb", "96 GiB"])
def test_a_size_is_read(written: object) -> None:
    assert parse_gigabytes(written) == 96.0


@pytest.mark.parametrize(
    "written", [0, -1, "lots", "96 MB", True, None, [], float("nan"), "9" * 400]
)
def test_what_is_no_size_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="a size in GB"):
        parse_gigabytes(written)
