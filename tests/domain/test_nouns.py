"""How nouns are declared."""

from dataclasses import field

from bot.domain.values import value


@value
class Door:
    """Where somebody comes in."""

    name: str
    width: int = 90
    key: str = field(default="under the mat", repr=False)


@value
class Ticket:
    """Whoever holds it may enter."""

    number: str

    def __repr__(self) -> str:
        return "a ticket"


def test_a_value_that_shows_itself_in_its_own_way_does_so() -> None:
    assert repr(Ticket("1234")) == "a ticket"


def test_a_value_is_shown_as_it_is_written_without_what_is_not_to_be_shown() -> None:
    assert repr(Door("front", 120)) == "Door(name='front', width=120)"


def test_values_of_the_same_fields_are_the_same() -> None:
    assert {Door("front"): 1}[Door("front")] == 1
    assert Door("front") != Door("front", key="none")
