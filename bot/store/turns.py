"""Turns: a tree of questions and replies, kept while the replies are still being written."""

import sqlite3
from collections import defaultdict
from dataclasses import replace

from bot.domain.chat import Attachment, Receipt, Turn, TurnStatus
from bot.domain.ids import PersonaName, PlaceId, TurnId
from bot.store.database import Database
from bot.store.fields import storable
from bot.store.receipts import encode_receipt
from bot.store.rows import attachment_of, attachment_values, turn_of, turn_values

BRANCH_TURNS = 400
"""The newest turns of a branch that are read; more than common context windows hold."""
BRANCH_TEXT_BYTES = 2**62
"""As many as there are; a caller that knows a window asks for less."""
BRANCH_IMAGE_BYTES = 16 * 1024 * 1024
"""Images read with a branch, newest first; older ones come without their bytes."""
STOPPED = "Lantern was stopped before this answer was finished."

_INSERT = """
INSERT INTO turn (id, parent, user, user_name, channel, thread, server, is_private, conversation,
    persona, user_text, reply_text, reasoning_text, status, created_at_ms, changed_at_ms, receipt)
VALUES (:id, (SELECT id FROM turn WHERE id = :parent), :user, :user_name, :channel, :thread,
    :server, :is_private, :conversation, :persona, :user_text, :reply_text, :reasoning_text,
    :status, :created_at_ms, :changed_at_ms, :receipt)
"""
_INSERT_ATTACHMENT = """
INSERT INTO attachment (turn, position, name, media_type, text, image) VALUES (?, ?, ?, ?, ?, ?)
"""
# Only a running turn changes: its first ending is the only one.
_CHECKPOINT = """
UPDATE turn SET reply_text = ?, reasoning_text = ?, changed_at_ms = ?
WHERE id = ? AND status = 'running'
"""
_FINISH = """
UPDATE turn SET status = ?, receipt = ?, reply_text = ?, reasoning_text = ?, changed_at_ms = ?
WHERE id = ? AND status = 'running'
"""
# Bytes of a blob: length() of a text would stop at its first NUL.
_LINE = """
WITH RECURSIVE line (id, parent, depth, bytes) AS (
    SELECT id, parent, 1, length(CAST(user_text || reply_text AS BLOB))
    FROM turn WHERE id = :leaf
    UNION ALL
    SELECT turn.id, turn.parent, depth + 1,
        bytes + length(CAST(user_text || reply_text AS BLOB))
    FROM line JOIN turn ON turn.id = line.parent
    WHERE depth < :turns AND bytes < :text_bytes
)
"""
_LINE_TURNS = """
SELECT turn.id, turn.parent, user, user_name, channel, thread, server, is_private, persona,
    user_text, reply_text, iif(depth = 1, reasoning_text, '') AS reasoning_text, status,
    created_at_ms, iif(depth = 1, receipt, NULL) AS receipt
FROM line JOIN turn USING (id) ORDER BY depth DESC
"""
_LINE_ATTACHMENTS = """
, sized AS (
    SELECT attachment.rowid AS place,
        sum(ifnull(length(image), 0)) OVER (ORDER BY depth, position) AS image_bytes
    FROM line JOIN attachment ON attachment.turn = line.id
)
SELECT turn, name, media_type, text, iif(image_bytes <= :image_bytes, image, NULL) AS image
FROM sized JOIN attachment ON attachment.rowid = place
ORDER BY turn, position
"""
_LATEST = """
SELECT id FROM turn
WHERE conversation = ? AND persona = ? AND status NOT IN ('failed', 'running')
    AND number > ifnull((SELECT after FROM reset WHERE reset.conversation = turn.conversation), 0)
ORDER BY number DESC LIMIT 1
"""
_LAST_IN = "SELECT id FROM turn WHERE conversation = ? ORDER BY number DESC LIMIT 1"
_SINCE_RESET = """
SELECT id FROM turn
WHERE conversation = ?
    AND number > ifnull((SELECT after FROM reset WHERE reset.conversation = turn.conversation), 0)
ORDER BY number DESC LIMIT 1
"""
_RUNNING = "SELECT id FROM turn WHERE status = 'running' ORDER BY number"
_RESET = """
INSERT INTO reset (conversation, after) VALUES (?, (SELECT ifnull(max(number), 0) FROM turn))
ON CONFLICT (conversation) DO UPDATE SET after = excluded.after
"""

_Finish = tuple[TurnStatus, str, str, str, int, TurnId]


class TurnStore:
    """Keeps turns. Each method is one transaction and raises ``StoreUnavailable`` alone."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, turn: Turn) -> None:
        """Stores a new turn; a parent that was deleted meanwhile makes it a root."""
        row = turn_values(turn, self._database.now_ms())
        attachments = attachment_values(turn)

        def insert(connection: sqlite3.Connection) -> None:
            connection.execute(_INSERT, row)
            connection.executemany(_INSERT_ATTACHMENT, attachments)

        await self._database.write(insert)

    async def checkpoint(self, turn: TurnId, reply_text: str, reasoning_text: str) -> None:
        """Keeps the text so far; changes nothing when the turn no longer runs."""
        now_ms = self._database.now_ms()
        values = (storable(reply_text), storable(reasoning_text), now_ms, turn)
        await self._database.write(lambda c: c.execute(_CHECKPOINT, values).rowcount)

    async def finish(
        self,
        turn: TurnId,
        status: TurnStatus,
        reply_text: str,
        reasoning_text: str,
        receipt: Receipt,
    ) -> None:
        """Stores how a running turn ended; a second ending changes nothing."""
        now_ms = self._database.now_ms()
        values = _finish(turn, status, (reply_text, reasoning_text), receipt, now_ms)
        await self._database.write(lambda c: c.execute(_FINISH, values).rowcount)

    async def get(self, turn: TurnId) -> Turn | None:
        """One turn."""
        return await self._database.read(lambda c: _one(c, turn))

    async def branch(
        self, turn: TurnId, *, text_bytes: int = BRANCH_TEXT_BYTES
    ) -> tuple[Turn, ...]:
        """The turns from the root to this one, root first; of a very long branch the newest.

        Only the last comes with its reasoning and receipt: the others are there for their words,
        and receipts are nine tenths of the cost of reading a branch.

        Args:
            turn: The last turn of the branch.
            text_bytes: Older turns are left out once questions and replies (in UTF-8) reach this;
                the turn that reaches it is still read.
        """
        return await self._database.read(lambda c: _branch(c, turn, BRANCH_TURNS, text_bytes))

    async def newest_branch(
        self,
        conversation: PlaceId,
        persona: PersonaName,
        *,
        text_bytes: int = BRANCH_TEXT_BYTES,
    ) -> tuple[Turn, ...]:
        """The branch a new message goes on from, read as ``branch`` does.

        It ends in the newest turn since the reset that did not fail; empty where there is none.
        """

        def find(connection: sqlite3.Connection) -> tuple[Turn, ...]:
            leaf = _id(connection, _LATEST, conversation, persona)
            return () if leaf is None else _branch(connection, leaf, BRANCH_TURNS, text_bytes)

        return await self._database.read(find)

    async def last_in(self, conversation: PlaceId) -> Turn | None:
        """The newest turn here, whoever answered and however it stands."""
        return await self._newest(_LAST_IN, conversation)

    async def last_since_reset(self, conversation: PlaceId) -> Turn | None:
        """The newest turn of the conversation as it was last begun."""
        return await self._newest(_SINCE_RESET, conversation)

    async def _newest(self, query: str, conversation: PlaceId) -> Turn | None:
        def find(connection: sqlite3.Connection) -> Turn | None:
            turn = _id(connection, query, conversation)
            return None if turn is None else _one(connection, turn)

        return await self._database.read(find)

    async def reset(self, conversation: PlaceId) -> None:
        """Makes the next message to any persona here a fresh beginning; nothing is deleted."""
        await self._database.write(lambda c: c.execute(_RESET, (conversation,)).rowcount)

    async def close_running(self) -> tuple[Turn, ...]:
        """Ends the turns a killed Lantern left running; returns them as they now stand.

        With some text a turn becomes partial, without any failed. Only for the start, before the
        first turn of this run.
        """
        now_ms = self._database.now_ms()
        return await self._database.write(lambda c: _close_running(c, now_ms))


def _finish(
    turn: TurnId, status: TurnStatus, texts: tuple[str, str], receipt: Receipt, now_ms: int
) -> _Finish:
    reply_text, reasoning_text = (storable(text) for text in texts)
    return status, encode_receipt(receipt), reply_text, reasoning_text, now_ms, turn


def _id(connection: sqlite3.Connection, query: str, *values: str) -> TurnId | None:
    row = connection.execute(query, values).fetchone()
    return None if row is None else TurnId(row["id"])


def _one(connection: sqlite3.Connection, turn: TurnId) -> Turn | None:
    line = _branch(connection, turn, 1)
    return line[0] if line else None


def _branch(
    connection: sqlite3.Connection,
    leaf: TurnId,
    turns: int,
    text_bytes: int = BRANCH_TEXT_BYTES,
) -> tuple[Turn, ...]:
    limits = {
        "leaf": leaf,
        "turns": turns,
        "text_bytes": text_bytes,
        "image_bytes": BRANCH_IMAGE_BYTES,
    }
    attachments = defaultdict[str, list[Attachment]](list)
    for row in connection.execute(_LINE + _LINE_ATTACHMENTS, limits):
        attachments[row["turn"]].append(attachment_of(row))
    rows = connection.execute(_LINE + _LINE_TURNS, limits)
    return tuple(turn_of(row, tuple(attachments.get(row["id"], ()))) for row in rows)


def _close_running(connection: sqlite3.Connection, now_ms: int) -> tuple[Turn, ...]:
    ids = [TurnId(row["id"]) for row in connection.execute(_RUNNING)]
    closed = tuple(_closed(turn) for id_ in ids for turn in _branch(connection, id_, 1))
    connection.executemany(
        _FINISH,
        [
            _finish(turn.id, turn.status, (turn.reply_text, turn.reasoning_text), receipt, now_ms)
            for turn in closed
            if (receipt := turn.receipt)
        ],
    )
    return closed


def _closed(turn: Turn) -> Turn:
    status = TurnStatus.PARTIAL if turn.reply_text else TurnStatus.FAILED
    receipt = Receipt(persona=turn.persona, finish="error", notices=(STOPPED,))
    return replace(turn, status=status, receipt=receipt)
