import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.store.rows import insert, storable, value_of


@dataclass(frozen=True, slots=True)
class Cat:
    name: str
    is_black: bool
    weight: float | None = None


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as opened:
        opened.row_factory = sqlite3.Row
        opened.execute("CREATE TABLE cat (name TEXT UNIQUE, is_black INTEGER, weight REAL) STRICT")
        yield opened


def cats(connection: sqlite3.Connection) -> list[Cat]:
    return [value_of(Cat, row) for row in connection.execute("SELECT rowid, * FROM cat")]


def test_a_value_comes_back_from_its_row_with_columns_to_spare(
    connection: sqlite3.Connection,
) -> None:
    insert(connection, "cat", {"name": "Mog", "is_black": False, "weight": 4})
    insert(connection, "cat", {"name": "Nox", "is_black": True})
    assert cats(connection) == [Cat("Mog", False, 4.0), Cat("Nox", True)]
    assert all(isinstance(cat.is_black, bool) for cat in cats(connection))


def test_a_row_that_is_there_is_refused_replaced_or_left(connection: sqlite3.Connection) -> None:
    insert(connection, "cat", {"name": "Nox", "is_black": True})
    again = {"name": "Nox", "is_black": False}
    with pytest.raises(sqlite3.IntegrityError):
        insert(connection, "cat", again)
    assert insert(connection, "cat", again, verb="INSERT OR IGNORE").rowcount == 0
    assert cats(connection) == [Cat("Nox", True)]
    insert(connection, "cat", again, verb="INSERT OR REPLACE")
    assert cats(connection) == [Cat("Nox", False)]


def test_halves_of_a_character_are_stored_whole_or_marked(connection: sqlite3.Connection) -> None:
    insert(connection, "cat", {"name": "\ud83d\ude42 lone \ud83d.", "is_black": True})
    assert cats(connection)[0].name == "🙂 lone \N{REPLACEMENT CHARACTER}."


@given(st.text())
def test_text_is_changed_only_where_it_must_be(text: str) -> None:
    assert storable(text) == text
    assert storable(text + "\ud83d").encode()
