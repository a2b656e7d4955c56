"""What is kept of one person: their questions and facts, to be shown, taken along and forgotten."""

import json
import re
import sqlite3
from dataclasses import asdict, dataclass

from bot.domain.chat import Place, Quote
from bot.domain.ids import PlaceId, TurnId, UserId
from bot.domain.values import value
from bot.store.beside import beside_ids
from bot.store.database import Database
from bot.store.rows import insert, value_of

_FACTS = "SELECT * FROM fact WHERE user = ? ORDER BY number"
_DROP_FACT = "DELETE FROM fact WHERE user = ? AND number = ?"
# A retry asks nothing new: counted, three questions read like ten.
_SAID = """
SELECT id FROM turn WHERE user = :user AND (:conversation IS NULL OR conversation = :conversation)
    AND NOT EXISTS (SELECT 1 FROM redone WHERE redone.turn = turn.id)
ORDER BY number DESC LIMIT :most
"""
_RUNNING = "SELECT id FROM turn WHERE user = ? AND status = 'running'"
# The last message of an answer alone has buttons.
_SHOWN = """
WITH there AS (SELECT * FROM reply WHERE message_id NOT IN (SELECT message_id FROM gone))
SELECT channel_id, message_id FROM there AS last JOIN turn ON turn.id = last.turn
WHERE user = :user AND part = (SELECT max(part) FROM there WHERE there.turn = last.turn)
ORDER BY number DESC LIMIT :most
"""
_THEIRS = "SELECT id FROM turn WHERE user = ?"
# What was said after it goes on from what stood before it, however many leave at once.
_FREE = "UPDATE turn SET parent = (SELECT parent FROM turn WHERE id = :turn) WHERE parent = :turn"
_REMOVE = "DELETE FROM turn WHERE id IN (SELECT value FROM json_each(?))"
_UNQUOTE = (
    "DELETE FROM attachment WHERE message_id IN (SELECT message_id FROM quote WHERE user = ?)",
    "DELETE FROM quote WHERE user = ?",
)
# Of quotes older than 0020 only the time tells which message they are from: cut to milliseconds,
# it may be one too early.
_IS_QUOTED = """
SELECT 1 FROM quote WHERE message_id = :message
UNION ALL SELECT 1 FROM attachment WHERE message_id = :message
UNION ALL SELECT 1 FROM quote
WHERE message_id IS NULL AND said_at_ms BETWEEN :written_ms - 1 AND :written_ms LIMIT 1
"""
_UNQUOTE_MESSAGE = (
    "DELETE FROM attachment WHERE message_id = :message",
    "DELETE FROM quote WHERE message_id = :message",
    """
    DELETE FROM quote
    WHERE message_id IS NULL AND said_at_ms BETWEEN :written_ms - 1 AND :written_ms
    """,
)
# Each answer says of a question by the message's menu what it is about: a link that leads nowhere.
_ABOUT = """
SELECT id, receipt FROM turn
WHERE id IN (SELECT turn FROM quote WHERE message_id = :message) AND receipt IS NOT NULL
"""
_SAY_OTHERWISE = "UPDATE turn SET receipt = ? WHERE id = ?"
_DROP_FACTS = "DELETE FROM fact WHERE user = ?"
# An answer kept for the same question holds nobody's name: any of them may be theirs.
_DROP_ANSWERS = "DELETE FROM answer"


EPOCH_MS = 1_420_070_400_000
"""Discord counts the milliseconds in its ids, all but their last 22 bits, from the year 2015 on."""

MOST_SHOWN = 50
"""Of the answers that went, so many of the newest are told with where they were shown."""


@value
class Fact:
    """Something a person asked to be remembered."""

    number: int
    said: Quote


@value
class Forgotten:
    """What was deleted of a person."""

    questions: int
    facts: int
    shown: tuple[tuple[str, str], ...]
    """Where the newest answers end: channel and message."""

    @property
    def is_nothing(self) -> bool:
        """Neither a question nor a fact was there."""
        return not (self.questions or self.facts)


@dataclass(eq=False, slots=True)
class PeopleStore:
    """Keeps facts and takes words away. Each method raises ``StoreUnavailable`` alone."""

    database: Database

    async def facts(self, user: UserId) -> tuple[Fact, ...]:
        """What is remembered of somebody, oldest first."""
        rows = await self.database.fetch(_FACTS, (user,))
        return tuple(
            Fact(
                row["number"],
                Quote(row["text"], user, row["user_name"], value_of(Place, row), row["said_at_ms"]),
            )
            for row in rows
        )

    async def remember(self, fact: Quote) -> None:
        """Keep a fact with where and when it was said."""
        said = {"user": fact.user, "user_name": fact.user_name, "text": fact.text}
        said |= {"said_at_ms": fact.said_at_ms, **asdict(fact.place)}
        await self.database.write(lambda c: insert(c, "fact", said))

    async def drop(self, user: UserId, number: int) -> bool:
        """Forget one fact of somebody; False when it is none of theirs."""
        values = user, number
        return await self.database.erase(lambda c: c.execute(_DROP_FACT, values).rowcount) > 0

    async def said(
        self, user: UserId, most: int, conversation: PlaceId | None = None
    ) -> tuple[TurnId, ...]:
        """Somebody's newest questions, newest first; of one conversation or of all.

        Each by the turn that asked it first, however often it was answered.
        """
        values = {"user": user, "conversation": conversation, "most": most}
        return tuple(TurnId(row["id"]) for row in await self.database.fetch(_SAID, values))

    async def running(self, user: UserId) -> tuple[TurnId, ...]:
        """What is being answered to somebody's questions."""
        return tuple(TurnId(row["id"]) for row in await self.database.fetch(_RUNNING, (user,)))

    async def forget(self, user: UserId) -> Forgotten:
        """Delete a person's questions with answers and files, facts, and words quoted by others."""

        def change(connection: sqlite3.Connection) -> Forgotten:
            every = {"user": user, "conversation": None, "most": -1}
            count = len(connection.execute(_SAID, every).fetchall())
            shown = connection.execute(_SHOWN, {"user": user, "most": MOST_SHOWN}).fetchall()
            theirs = [row["id"] for row in connection.execute(_THEIRS, (user,))]
            _remove(connection, theirs)
            for statement in _UNQUOTE:
                connection.execute(statement, (user,))
            facts = connection.execute(_DROP_FACTS, (user,)).rowcount
            connection.execute(_DROP_ANSWERS)
            ends = tuple((row["channel_id"], row["message_id"]) for row in shown)
            return Forgotten(count, facts, ends)

        return await self.database.erase(change)

    async def unquote(self, message_id: str) -> None:
        """Take a message's words and files out of the questions that quote it."""
        values = {"message": message_id, "written_ms": (int(message_id) >> 22) + EPOCH_MS}
        # Of all messages that people delete nearly none is quoted, and erasing waits for the disk.
        if not await self.database.fetch(_IS_QUOTED, values):
            return

        link = re.compile(rf'https://[^\s"]+/{message_id}(?=:)')

        def change(connection: sqlite3.Connection) -> None:
            for turn, receipt in connection.execute(_ABOUT, values).fetchall():
                said = link.sub("a deleted message", receipt)
                if said != receipt:
                    connection.execute(_SAY_OTHERWISE, (said, turn))
            for statement in _UNQUOTE_MESSAGE:
                connection.execute(statement, values)

        await self.database.erase(change)

    async def remove(self, turn: TurnId) -> None:
        """Delete a question with all answers to it; what was said since goes on without it."""

        def change(connection: sqlite3.Connection) -> None:
            _remove(connection, beside_ids(connection, turn))

        await self.database.erase(change)


def _remove(connection: sqlite3.Connection, turns: list[TurnId]) -> None:
    for turn in turns:
        connection.execute(_FREE, {"turn": turn})
    connection.execute(_REMOVE, (json.dumps(turns),))
