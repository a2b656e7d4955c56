"""What was chosen, for whom and where: models and personas by scope."""

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from bot.domain.ids import UserId
from bot.domain.values import value
from bot.policy.choice import Scope, ScopeKey
from bot.policy.place_rules import SetValue
from bot.store.database import Database

Subject = Literal["model", "persona"]

_GET = "SELECT subject, value FROM choice WHERE scope = ? AND place = ? AND user = ?"
_LOOK = """
SELECT value, changed_at_ms, changed_by FROM choice
WHERE scope = ? AND place = ? AND user = ? AND subject = ?
"""
_DROP = "DELETE FROM choice WHERE scope = ? AND place = ? AND user = ? AND subject = ?"
_PUT = """
INSERT OR REPLACE INTO choice (scope, place, user, subject, value, changed_at_ms, changed_by)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""
# Discord gives a thread the id of the message it was opened on; before it stands the face's name.
_OPENED_ON = """
SELECT persona FROM turn WHERE id = (
    SELECT turn FROM reply WHERE message_id = :message
    UNION ALL SELECT turn FROM asked WHERE message_id = :message LIMIT 1
)
"""
_NOTED = "SELECT value FROM note WHERE name = 'choices made'"
_NOTE = "INSERT OR REPLACE INTO note (name, value) VALUES ('choices made', ?)"

MAX_CHANGES = 50
"""So many of the newest choices can be taken back."""

Restored = Literal["restored", "again", "changed", "gone"]
"""``again``: it was taken back before; ``changed``: somebody chose since; ``gone``: is too old."""


@value
class Change:
    """One choice that was made, and what it took the place of."""

    ticket: str
    """Names it."""
    by: UserId
    slot: tuple[Scope, str, str, Subject]
    """Scope, place, user and subject."""
    before: str | None
    before_ms: int
    after: str | None
    after_ms: int
    is_undone: bool = False
    before_by: str = ""
    """Whose choice that was; empty where it was not noted."""

    def stands(self, now: tuple[str | None, int]) -> bool:
        """Has nobody chosen since, by what is stored there ``now``?"""
        return now == (self.after, self.after_ms if self.after is not None else 0)


@value
class Stored:
    """What is chosen in some place. Keys under which nothing is are missing."""

    personas: Mapping[ScopeKey, str]
    models: Mapping[ScopeKey, str]
    opened_on: str | None = None
    """The persona whose answer the thread there was opened on."""


@dataclass(eq=False, slots=True)
class ChoiceStore:
    """Keeps choices. Each method is one transaction and raises ``StoreUnavailable`` alone."""

    database: Database

    async def get(self, keys: Sequence[ScopeKey]) -> Stored:
        """The choices stored under these keys, and whose answer their thread was opened on."""

        def find(connection: sqlite3.Connection) -> Stored:
            found: dict[Subject, dict[ScopeKey, str]] = {"persona": {}, "model": {}}
            opened_on: str | None = None
            for key in keys:
                for row in connection.execute(_GET, (key.scope, key.place, key.user or "")):
                    found[row["subject"]][key] = row["value"]
                if key.scope == "thread":
                    message = {"message": key.place.rpartition(":")[2]}
                    row = connection.execute(_OPENED_ON, message).fetchone()
                    opened_on = None if row is None else row["persona"]
            return Stored(found["persona"], found["model"], opened_on)

        # In one read, so that nobody's persona comes from before a switch and the model from after.
        return await self.database.read(find)

    async def set_for(
        self, keys: Sequence[ScopeKey], subject: Subject
    ) -> Mapping[ScopeKey, SetValue]:
        """What is chosen under these keys, by whom and when."""

        def find(connection: sqlite3.Connection) -> dict[ScopeKey, SetValue]:
            found: dict[ScopeKey, SetValue] = {}
            for key in keys:
                value, at_ms, by = _look(
                    connection, (key.scope, key.place, key.user or "", subject)
                )
                if value is not None:
                    found[key] = SetValue((value,), UserId(by), at_ms)
            return found

        return await self.database.read(find)

    async def put(
        self,
        key: ScopeKey,
        subject: Subject,
        value: str | None,
        *,
        by: UserId | None = None,
        ticket: str = "",
    ) -> None:
        """Store a choice in place of the one before; None takes it away.

        With a ticket it can be taken back by ``restore`` while it is among the newest.
        """
        slot = (key.scope, key.place, key.user or "", subject)
        now_ms = self.database.now_ms()

        def change(connection: sqlite3.Connection) -> None:
            before, before_ms, before_by = _look(connection, slot)
            # Later than the one before, whatever the clock says: by its time each is told apart.
            at_ms = max(now_ms, before_ms + 1)
            _write(connection, slot, value, at_ms, by or "")
            if ticket:
                made = Change(
                    ticket,
                    by or UserId(""),
                    slot,
                    before,
                    before_ms,
                    value,
                    at_ms,
                    before_by=before_by,
                )
                _note(connection, (*_noted(connection), made))

        # The choice and how to take it back in one transaction: two who choose at once would else
        # both note the same value as the one before.
        await self.database.write(change)

    async def change(self, ticket: str) -> Change | None:
        """The choice of that ticket; None when it was made too long ago."""
        changes = await self.database.read(_noted)
        return next((made for made in changes if made.ticket == ticket), None)

    async def overtaken(
        self, tickets: Collection[str]
    ) -> Mapping[str, tuple[Subject, str | None] | None]:
        """Of these choices, as far as they are known and not undone, what is stored there now.

        None where the choice stands, or another has chosen the same.
        """

        def find(connection: sqlite3.Connection) -> dict[str, tuple[Subject, str | None] | None]:
            changes = [made for made in _noted(connection) if made.ticket in tickets]
            looked = [(made, _look(connection, made.slot)) for made in changes]
            return {
                made.ticket: None if now[0] == made.after else (made.slot[-1], now[0])
                for made, now in looked
                if not made.is_undone
            }

        return await self.database.read(find)

    async def restore(self, ticket: str) -> tuple[Restored, str | None]:
        """Put back what a choice took the place of, unless somebody chose since.

        Returns:
            How that went, and what is stored there now.
        """

        def undo(connection: sqlite3.Connection) -> tuple[Restored, str | None]:
            changes = {made.ticket: made for made in _noted(connection)}
            made = changes.get(ticket)
            if made is None:
                return "gone", None
            value, at_ms, _ = _look(connection, made.slot)
            if made.is_undone:
                return "again", value
            if not made.stands((value, at_ms)):
                return "changed", value
            # With its own time, so that the choice before can be taken back in its turn.
            _write(connection, made.slot, made.before, made.before_ms, made.before_by)
            _note(connection, (changes | {ticket: replace(made, is_undone=True)}).values())
            return "restored", made.before

        return await self.database.write(undo)


def _look(connection: sqlite3.Connection, slot: Sequence[str]) -> tuple[str | None, int, str]:
    row = connection.execute(_LOOK, slot).fetchone()
    return (None, 0, "") if row is None else tuple(row)


def _write(
    connection: sqlite3.Connection, slot: Sequence[str], value: str | None, at_ms: int, by: str
) -> None:
    if value is None:
        connection.execute(_DROP, slot)
    else:
        connection.execute(_PUT, (*slot, value, at_ms, by))


def _noted(connection: sqlite3.Connection) -> tuple[Change, ...]:
    row = connection.execute(_NOTED).fetchone()
    rows: list[dict[str, Any]] = [] if row is None else json.loads(row["value"])
    for made in rows:
        made["slot"] = tuple(made["slot"])
    return tuple(Change(**made) for made in rows)


def _note(connection: sqlite3.Connection, changes: Iterable[Change]) -> None:
    newest = [asdict(made) for made in changes][-MAX_CHANGES:]
    connection.execute(_NOTE, (json.dumps(newest),))
