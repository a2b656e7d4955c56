"""LM Studio's words about failed loads."""

import pytest

from bot.domain.errors import FailureKind
from bot.fleet.rest import load_failure, one_line, reason_of


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("Model loading was stopped due to insufficient system resources. Under the ...", True),
        ("... you can adjust the model loading guardrails in settings.", True),
        ("llama: failed to allocate: out of memory", True),
        ("Insufficient VRAM", True),
        ("Engine exited with code 18446744072635812000", False),
        ("Failed to load model", False),
    ],
)
def test_a_refusal_for_memory_is_told_from_a_broken_load(reason: str, expected: bool) -> None:
    kind = FailureKind.DOES_NOT_FIT if expected else FailureKind.LOAD_FAILED
    assert load_failure(reason).kind is kind


def test_many_lines_become_one() -> None:
    text = "\n\n  Failed to load\n\n  Reported cause:\n    exit code 7\n"
    assert one_line(text) == "Failed to load exit code 7"
    assert len(one_line("x " * 1000)) <= 400


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"error": {"message": "no such model"}}, "no such model"),
        ({"error": "no such model"}, "no such model"),
        ({"error": {}}, "HTTP 500 without a reason"),
        ([], "HTTP 500 without a reason"),
    ],
)
def test_the_hosts_reason_is_found_in_either_shape(answer: object, expected: str) -> None:
    assert reason_of(answer, 500) == expected
