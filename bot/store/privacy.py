"""What must stay on the LAN: places, people, and turns that were said in private."""

import asyncio
import json
import sqlite3
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Literal

from bot.domain.ids import PlaceId, TurnId, UserId
from bot.policy.place_rules import SetValue
from bot.policy.privacy import CLOCKS_MS, Marks, Sent, Sources, Span
from bot.store.database import Database

_MARK = """
INSERT OR IGNORE INTO local_only (kind, name, changed_at_ms, changed_by) VALUES (?, ?, ?, ?)
"""
# A clock may have been set back since it was marked.
_ENDED = """
INSERT OR IGNORE INTO private_span (kind, name, since_ms, until_ms)
SELECT kind, name, min(changed_at_ms, :now), :now FROM local_only
WHERE kind = :kind AND name = :name
"""
_UNMARK = "DELETE FROM local_only WHERE kind = :kind AND name = :name"
_SPANS = """
SELECT name, since_ms, until_ms FROM private_span
WHERE kind = ? AND name IN (SELECT value FROM json_each(?))
"""
# A message and its turn have each a time of their own, by two clocks; the turn's is the later.
_ASKED_IN_PRIVATE = """
SELECT 1 FROM turn JOIN local_only ON local_only.kind = 'turn' AND local_only.name = turn.id
WHERE turn.user = ? AND turn.created_at_ms BETWEEN ? AND ? LIMIT 1
"""
_MARKED = """
SELECT name, changed_by, changed_at_ms FROM local_only
WHERE kind = ? AND name IN (SELECT value FROM json_each(?))
"""


class PrivacyStore:
    """Keeps marks. Each method is one transaction and raises ``StoreUnavailable`` alone."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.changes = 0
        """Marks of places and people that were begun to be set or taken away."""
        self._under_way = 0
        self._is_quiet = asyncio.Event()
        self._is_quiet.set()

    async def mark(
        self,
        kind: Literal["place", "user", "turn"],
        name: str,
        *,
        local_only: bool = True,
        by: UserId | None = None,
    ) -> None:
        """Say whether the words of a place, of a person or of a turn stay here.

        Args:
            kind: A channel, thread or server is a place. A turn is marked before it is stored, for
                good.
            name: Which one.
            local_only: False takes the mark back.
            by: Who says so, of a place or person; what is marked already keeps who marked it first.
        """
        now_ms = self._database.now_ms()

        def change(connection: sqlite3.Connection) -> None:
            if local_only:
                connection.execute(_MARK, (kind, name, now_ms, by or ""))
                return
            for statement in (_ENDED, _UNMARK):
                connection.execute(statement, {"kind": kind, "name": name, "now": now_ms})

        if kind == "turn":
            # Nobody reads a turn before it is stored, so no look-up has to wait for its mark.
            await self._database.write(change)
            return
        self.changes += 1
        self._under_way += 1
        self._is_quiet.clear()
        try:
            await self._database.write(change)
        finally:
            self._under_way -= 1
            if self._under_way == 0:
                self._is_quiet.set()

    async def marked(self, places: Collection[PlaceId]) -> Mapping[PlaceId, SetValue]:
        """Which of these places are marked, by whom and since when."""
        rows = await self._database.fetch(_MARKED, ("place", json.dumps(sorted(places))))
        return {
            PlaceId(row["name"]): SetValue(("on",), UserId(row["changed_by"]), row["changed_at_ms"])
            for row in rows
        }

    async def look_up(self, asked: Sources) -> Marks:
        """What of this is marked."""

        def find(connection: sqlite3.Connection) -> Marks:
            marked: dict[str, frozenset[str]] = {}
            sets = {"place": asked.places, "user": asked.people, "turn": asked.turns}
            for kind, names in sets.items():
                # A JSON list, so that one statement serves any number of names.
                rows = connection.execute(_MARKED, (kind, json.dumps(sorted(names))))
                marked[kind] = frozenset(row["name"] for row in rows)
            spans = defaultdict[str, tuple[Span, ...]](tuple)
            moments: set[Sent] = set()
            # Only words that are quoted have a time of their own, and few questions quote any.
            if asked.moments:
                for kind in ("place", "user"):
                    for name, *span in connection.execute(
                        _SPANS, (kind, json.dumps(sorted(sets[kind])))
                    ):
                        spans[name] += ((span[0], span[1]),)
                for user, at_ms in asked.moments:
                    within = (user, at_ms - CLOCKS_MS, at_ms + CLOCKS_MS)
                    if connection.execute(_ASKED_IN_PRIVATE, within).fetchone() is not None:
                        moments.add((user, at_ms))
            return Marks(
                asked,
                spans=dict(spans),
                moments=frozenset(moments),
                places=frozenset(map(PlaceId, marked["place"])),
                people=frozenset(map(UserId, marked["user"])),
                turns=frozenset(map(TurnId, marked["turn"])),
            )

        # What was read while somebody said otherwise is read again: words that leave on an old look
        # would leave after "never sent" was answered.
        while True:
            await self._is_quiet.wait()
            seen = self.changes
            marks = await self._database.read(find)
            if seen == self.changes:
                return marks
