"""Answers beside each other: several to one question, of which one is shown and gone on from."""

import json
import sqlite3

from bot.domain.ids import TurnId
from bot.domain.values import value

# All that redo one another, however long the chain; the first of them is the question's place in
# the tree, and has the smallest number.
_BESIDE = """
WITH RECURSIVE up (id) AS (
    VALUES (:turn) UNION SELECT redoes FROM up JOIN redone ON redone.turn = up.id
), beside (id) AS (
    SELECT id FROM up UNION SELECT redone.turn FROM beside JOIN redone ON redone.redoes = beside.id
)
SELECT turn.id, hidden.turn IS NOT NULL AS is_hidden,
    status = 'running' OR trim(reply_text, char(9, 10, 13, 32)) <> '' AS has_words,
    user_text IN (SELECT user_text FROM beside JOIN reworded ON reworded.turn = beside.id
        JOIN turn USING (id)) AS is_outdated
FROM beside JOIN turn USING (id) LEFT JOIN hidden ON hidden.turn = turn.id ORDER BY number
"""
_HIDE = "INSERT OR IGNORE INTO hidden (turn) SELECT value FROM json_each(?)"
_SHOW = "DELETE FROM hidden WHERE turn = ?"
_REWORDED = """
SELECT 1 FROM reworded WHERE turn IN (SELECT value FROM json_each(?)) LIMIT 1
"""
_READS_AS_ASKED = "DELETE FROM reworded WHERE turn IN (SELECT value FROM json_each(?))"
_READS_OTHERWISE = """
INSERT INTO reworded SELECT id FROM turn
WHERE id IN (SELECT value FROM json_each(?)) AND user_text <> ?
"""
# What a thread was opened on stays as it was then, whatever is pressed in its channel.
_ADOPT = """
UPDATE turn SET parent = :by
WHERE parent IN (SELECT value FROM json_each(:beside))
    AND id NOT IN (SELECT value FROM json_each(:beside))
    AND conversation = (SELECT conversation FROM turn WHERE id = :by)
"""


@value
class Answers:
    """What one question was answered, oldest first."""

    first: TurnId
    """Stands for all of them: the turn that was asked, whatever became of its answer."""
    shown: TurnId
    """Goes on in later transcripts."""
    ids: tuple[TurnId, ...]
    """Those with words, or still being written; and the shown one."""
    outdated: frozenset[TurnId] = frozenset()
    """Of them, those to other words than the question has since it was edited."""

    def place(self, turn: TurnId) -> tuple[int, int]:
        """Which of how many it is, counted from 1; the shown one where it is none of them."""
        return self.ids.index(turn if turn in self.ids else self.shown) + 1, len(self.ids)

    def beside(self, turn: TurnId, steps: int) -> TurnId:
        """The one so many steps further on, and round again at the ends."""
        nth, of = self.place(turn)
        return self.ids[(nth - 1 + steps) % of]


def answers_beside(connection: sqlite3.Connection, turn: TurnId) -> Answers | None:
    """The answers beside a turn's, its own among them; None where it is not stored."""
    rows = connection.execute(_BESIDE, {"turn": turn}).fetchall()
    if not rows:
        return None
    # Before answers could be looked through a retry hid nothing: there the newest went on.
    shown = next((row for row in reversed(rows) if not row["is_hidden"]), rows[-1])
    ids = tuple(row["id"] for row in rows if row["has_words"] or row is shown)
    outdated = frozenset(row["id"] for row in rows if row["is_outdated"])
    return Answers(rows[0]["id"], shown["id"], ids, outdated & {*ids})


def beside_ids(connection: sqlite3.Connection, turn: TurnId) -> list[TurnId]:
    """Every turn that answers, or failed to answer, the question of this one; its own too."""
    return [row["id"] for row in connection.execute(_BESIDE, {"turn": turn})]


def reword(connection: sqlite3.Connection, turn: TurnId, words: str) -> bool:
    """Note which answers to a question are to other words than it has now.

    Without words nobody can ask it, and no answer counts as one to others.

    Returns:
        Is one of them to other words, or was one until now?
    """
    beside = json.dumps(beside_ids(connection, turn))

    def is_outdated() -> bool:
        return connection.execute(_REWORDED, (beside,)).fetchone() is not None

    was_outdated = is_outdated()
    connection.execute(_READS_AS_ASKED, (beside,))
    if words:
        connection.execute(_READS_OTHERWISE, (beside, words))
    return was_outdated or is_outdated()


def show(connection: sqlite3.Connection, turn: TurnId) -> None:
    """Put one answer in the place of those beside it: what was said since goes on from it."""
    # As people see it: the channel holds what was said since, whichever answer stands above it.
    beside = beside_ids(connection, turn)
    connection.execute(_HIDE, (json.dumps([other for other in beside if other != turn]),))
    connection.execute(_SHOW, (turn,))
    connection.execute(_ADOPT, {"by": turn, "beside": json.dumps(beside)})
