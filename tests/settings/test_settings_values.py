import pytest

from bot.policy.ratelimit import RateRule
from bot.settings.values import parse_host_name, parse_origin, parse_rate


@pytest.mark.parametrize(
    ("said", "rate", "text"),
    [
        ("60/min", RateRule(60, 60.0), "60/min"),
        (" 5 / S ", RateRule(5, 1.0), "5/s"),
        ("100/hour", RateRule(100, 3600.0), "100/h"),
        ("2/d", RateRule(2, 86_400.0), "2/d"),
        (7, RateRule(7, 60.0), "7/min"),
        (RateRule(3, 1.0), RateRule(3, 1.0), "3/s"),
    ],
)
def test_a_rate_is_read_as_written_and_written_as_read(
    said: object, rate: RateRule, text: str
) -> None:
    assert parse_rate(said) == rate
    assert str(rate) == text


@pytest.mark.parametrize("said", ["", "0/min", "-1/s", "60/week", "1.5/min", True, None])
def test_what_is_no_rate_is_refused_with_an_example(said: object) -> None:
    with pytest.raises(ValueError, match="such as 60/min"):
        parse_rate(said)


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ("https://chat.lan", "https://chat.lan"),
        ("HTTPS://Chat.LAN/", "https://chat.lan"),
        ("https://chat.lan:443", "https://chat.lan"),
        ("http://chat.lan:80", "http://chat.lan"),
        ("http://chat.lan:443", "http://chat.lan:443"),
        ("http://10.0.0.5:3000", "http://10.0.0.5:3000"),
        ("http://[fd00::1]:3000", "http://[fd00::1]:3000"),
    ],
)
def test_an_origin_is_kept_as_browsers_send_it(given: str, origin: str) -> None:
    assert parse_origin(given) == origin


def test_a_name_of_ours_is_kept_without_its_last_dot() -> None:
    assert parse_host_name(" Lantern.LAN. ") == "lantern.lan"
