"""Who is told that an answer is ready: only who had to wait for it, and did not end it."""

import pytest

from bot.domain.chat import Receipt
from bot.domain.errors import Bug
from bot.domain.events import Failed, Finished, Stopped
from bot.domain.ids import PersonaName, TurnId
from bot.policy.pings import PING_AFTER_S, ping_words

TURN, RECEIPT = TurnId("t"), Receipt(PersonaName("p"))
DONE = Finished(TURN, RECEIPT)


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (DONE, "your answer is ready"),
        (Stopped(TURN, RECEIPT, "The line broke.", by_asker=False), "your answer was cut short"),
        (Stopped(TURN, RECEIPT, "", by_asker=True), ""),
        (Failed(TURN, Bug("no")), "your question could not be answered"),
    ],
)
def test_it_says_how_a_slow_answer_ended_but_nothing_to_who_stopped_it(
    end: Finished | Stopped | Failed, words: str
) -> None:
    assert ping_words(end, PING_AFTER_S, "<@1>") == (f"🔔 <@1> {words}." if words else "")


@pytest.mark.parametrize(("waited_s", "is_told"), [(PING_AFTER_S, True), (19.99, False)])
def test_nobody_is_told_of_what_they_hardly_waited_for(waited_s: float, is_told: bool) -> None:
    assert bool(ping_words(DONE, waited_s, "<@1>")) is is_told


def test_in_private_no_name_is_called() -> None:
    assert ping_words(DONE, 60.0) == "🔔 Your answer is ready."
