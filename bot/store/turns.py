"""Turns: a tree of questions and replies, kept while the replies are still being written."""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace

from bot.domain.chat import Attachment, Place, Quote, Receipt, Turn, TurnKind, TurnStatus
from bot.domain.ids import PersonaName, PlaceId, TurnId, UserId
from bot.policy.conversation import STOPPED
from bot.store.beside import Answers, answers_beside, reword, show
from bot.store.database import Database, Values
from bot.store.ledger import FreeLine
from bot.store.rows import Value, insert, receipt_json, receipt_of, storable, value_of

BRANCH_TURNS = 400
"""The newest turns of a branch that are read; more than common context windows hold."""
BRANCH_TEXT_BYTES = 2**62
"""As many as there are; a caller that knows a window asks for less."""
BRANCH_IMAGE_BYTES = 16 * 1024 * 1024
"""Images read with a branch, newest first; older ones come without their bytes."""
IMAGE_BYTES = 4 * 1024 * 1024
"""A larger image is not kept; its name is."""

_KNOWN = "SELECT id FROM turn WHERE id = ?"
_STILL_STORED = "SELECT id FROM turn WHERE id IN (SELECT value FROM json_each(:turns))"
_ANSWERS = "UPDATE question SET turn = ? WHERE id = ?"
# A command has a token until it is answered.
_ASKED = """
INSERT OR IGNORE INTO asked (message_id, turn, channel_id) VALUES (
    :question, :turn,
    (SELECT channel_id FROM question WHERE id = :question AND is_open = 1 AND token IS NULL)
)
"""
_ASKED_BY = "SELECT turn FROM asked WHERE message_id = ?"
_ASKS = "SELECT message_id, channel_id FROM asked WHERE turn = ?"
_NEWEST_ASKED = """
SELECT asked.channel_id, message_id, number FROM asked JOIN turn ON turn.id = asked.turn
WHERE asked.channel_id IS NOT NULL
UNION
SELECT substr(ifnull(quote.thread, quote.channel), length('discord:') + 1), message_id, number
FROM quote JOIN turn ON turn.id = quote.turn WHERE message_id IS NOT NULL
ORDER BY number DESC LIMIT ?
"""
# Only a running turn changes: its first ending is the only one.
_CHECKPOINT = """
UPDATE turn SET receipt = ?, reply_text = ?, reasoning_text = ?, changed_at_ms = ?
WHERE id = ? AND status = 'running'
"""
_FINISH = """
UPDATE turn SET status = ?, receipt = ?, reply_text = ?, reasoning_text = ?, changed_at_ms = ?
WHERE id = ? AND status = 'running'
"""
# Bytes of a blob: length() of a text would stop at its first NUL. What failed counts nothing: a
# question too long for any model would hide all that was said before it.
_LINE = """
WITH RECURSIVE line (id, parent, depth, bytes) AS (
    SELECT id, parent, 1,
        iif(status = 'failed', 0, length(CAST(user_text || reply_text AS BLOB)))
    FROM turn WHERE id = :leaf
    UNION ALL
    SELECT turn.id, turn.parent, depth + 1,
        bytes + iif(status = 'failed', 0, length(CAST(user_text || reply_text AS BLOB)))
    FROM line JOIN turn ON turn.id = line.parent
    WHERE depth < :turns AND bytes < :text_bytes
)
"""
_LINE_TURNS = """
SELECT channel, thread, server, is_private,
    iif(depth = 1 OR status = 'failed', receipt, NULL), turn.id, turn.parent, user, user_name,
    persona, user_text, reply_text, iif(depth = 1, reasoning_text, ''), status, created_at_ms
FROM line JOIN turn USING (id) ORDER BY depth DESC
"""
"""Its columns are read by their places."""
# Newest images first: a branch with a picture in each turn would else fill the memory. By the ids
# of a line that was walked once: most lines have neither files nor quotes.
_LINE_ATTACHMENTS = """
WITH sized AS (
    SELECT attachment.rowid AS place,
        sum(ifnull(length(image), 0)) OVER (ORDER BY line.key DESC, position) AS image_bytes
    FROM json_each(:line) AS line JOIN attachment ON attachment.turn = line.value
)
SELECT turn, name, media_type, text, message_id,
    iif(image_bytes <= :image_bytes, image, NULL) AS image
FROM sized JOIN attachment ON attachment.rowid = place
ORDER BY turn, position
"""
_LINE_QUOTES = """
SELECT quote.* FROM json_each(:line) AS line JOIN quote ON quote.turn = line.value
ORDER BY turn, position
"""
# Running and failed ones too: a question asked while another is answered once took the same parent,
# and what was said beside it was in no later transcript. A turn's own number, not its time, says
# which is newest: a clock may be set back. Of the branches aside, those in which this person spoke.
# Of answers beside each other the first stands for all: asked again, an old question is no newer.
_LATEST = """
SELECT id FROM turn
WHERE conversation = :conversation AND persona = :persona
    AND number > ifnull((SELECT after FROM reset WHERE reset.conversation = turn.conversation), 0)
    AND NOT EXISTS (SELECT 1 FROM redone WHERE redone.turn = turn.id)
    AND NOT EXISTS (
        SELECT 1 FROM aside WHERE aside.turn = turn.id AND NOT EXISTS (
            SELECT 1 FROM aside AS here JOIN turn AS said ON said.id = here.turn
            WHERE here.branch = aside.branch AND here.is_said AND said.user = :user
        )
    )
ORDER BY number DESC LIMIT 1
"""
_BRANCH_OF = "SELECT branch FROM aside WHERE turn = ?"
_TIP_OF = """
SELECT turn.id FROM aside JOIN turn ON turn.id = aside.turn
WHERE aside.branch = ? AND NOT EXISTS (SELECT 1 FROM redone WHERE redone.turn = turn.id)
ORDER BY number DESC LIMIT 1
"""
_PUT_ASIDE = "INSERT OR REPLACE INTO aside (turn, branch, is_said) VALUES (?, ?, ?)"
_REDOES = "SELECT redoes FROM redone WHERE turn = ?"
_CONVERSATION_OF = "SELECT conversation FROM turn WHERE id = ?"
_PARENT_OF = "SELECT parent FROM turn WHERE id = ?"
_RESUME = "UPDATE turn SET status = 'running' WHERE id = ? AND status IN ('done', 'partial')"
_LAST_IN = """
SELECT id FROM turn
WHERE conversation = ? AND NOT EXISTS (SELECT 1 FROM redone WHERE redone.turn = turn.id)
ORDER BY number DESC LIMIT 1
"""
_SINCE_RESET = """
SELECT id FROM turn
WHERE conversation = ? AND NOT EXISTS (SELECT 1 FROM redone WHERE redone.turn = turn.id)
    AND number > ifnull((SELECT after FROM reset WHERE reset.conversation = turn.conversation), 0)
ORDER BY number DESC LIMIT 1
"""
_RUNNING = "SELECT id FROM turn WHERE status = 'running' ORDER BY number"
# The reset remembers a number and deletes nothing, so that /retry and /why still find old turns.
_OPENED = """
SELECT id FROM turn WHERE id = :opened_on
    AND NOT EXISTS (SELECT 1 FROM reset WHERE reset.conversation = :conversation)
"""
_RESET = """
INSERT INTO reset (conversation, after) VALUES (?, (SELECT ifnull(max(number), 0) FROM turn))
ON CONFLICT (conversation) DO UPDATE SET after = excluded.after
"""


@dataclass(eq=False, slots=True)
class TurnStore:
    """Keeps turns. Each method is one transaction and raises ``StoreUnavailable`` alone."""

    database: Database
    _fresh: dict[TurnId, tuple[str, str, Receipt, int]] = field(default_factory=dict)
    """Text, reasoning, whose words and when, as they are to be stored."""

    async def begin(
        self,
        turn: Turn,
        kind: TurnKind = "new",
        redoes: TurnId | None = None,
        question: str | None = None,
    ) -> None:
        """Store a new turn and its place in the tree (ADR 15).

        Args:
            turn: Begun after its parent, or whichever answer beside that is shown by now; one that
                was deleted meanwhile makes it a root.
            kind: ``retry`` takes the place of what it redoes, beside it (ADR 21); what goes on with
                a turn is no turn of its own (``resume``).
            redoes: Of a retry, the turn it redoes.
            question: Of Discord's, which this turn answers: noted in the same transaction, so that
                a message which appears as we are killed is found again by it.
        """
        now_ms = self.database.now_ms()

        def change(connection: sqlite3.Connection) -> None:
            about = redoes if kind == "retry" else turn.parent
            beside = None if about is None else answers_beside(connection, about)
            branch = _branch_for(connection, turn, kind, beside)
            parent = None
            if kind == "retry" and about is not None:
                # Read here: another answer before it may have been chosen since it was looked up.
                redone = connection.execute(_PARENT_OF, (about,)).fetchone()
                parent = None if redone is None else redone["parent"]
            elif beside is not None:
                said_in = connection.execute(_CONVERSATION_OF, (beside.shown,)).fetchone()
                is_here = said_in["conversation"] == turn.place.conversation
                parent = beside.shown if is_here else turn.parent
            insert(connection, "turn", _columns(turn, parent, now_ms))
            if branch:
                connection.execute(_PUT_ASIDE, (turn.id, branch, kind == "new"))
            if kind == "retry" and beside is not None:
                insert(connection, "redone", {"turn": turn.id, "redoes": about})
                show(connection, turn.id)
            if question is not None:
                connection.execute(_ANSWERS, (turn.id, question))
                connection.execute(_ASKED, {"question": question, "turn": turn.id})
            for position, attachment in enumerate(turn.attachments):
                columns = {"turn": turn.id, "position": position, **asdict(attachment)}
                if attachment.image is not None and len(attachment.image) > IMAGE_BYTES:
                    columns["image"] = None
                insert(connection, "attachment", columns)
            for position, quote in enumerate(turn.quotes):
                said = {"user": quote.user, "user_name": quote.user_name, "text": quote.text}
                said |= {"turn": turn.id, "said_at_ms": quote.said_at_ms, "position": position}
                said |= {"message_id": quote.message_id}
                insert(connection, "quote", {**said, **asdict(quote.place)})

        await self.database.write(change)

    async def resume(self, turn: TurnId, question: str | None = None) -> bool:
        """Let an answer that had ended run again, with the words it has.

        Args:
            turn: Which.
            question: Of Discord's, which asked to go on.

        Returns:
            False when it runs already, has no answer, or is not stored any more.
        """

        def change(connection: sqlite3.Connection) -> bool:
            if not connection.execute(_RESUME, (turn,)).rowcount:
                return False
            connection.execute(_ANSWERS, (turn, question))
            return True

        return await self.database.write(change)

    async def answers(self, turn: TurnId) -> Answers | None:
        """The answers to the question of a turn; None where it is not stored."""
        return await self.database.read(lambda c: answers_beside(c, turn))

    async def asked_by(self, message_id: str) -> TurnId | None:
        """The turn a message asked, however long ago."""
        rows = await self.database.fetch(_ASKED_BY, (message_id,))
        return TurnId(rows[0]["turn"]) if rows else None

    async def message_of(self, turn: TurnId) -> str | None:
        """The message, or Discord's interaction, that asked a turn."""
        rows = await self.database.fetch(_ASKS, (turn,))
        return rows[0]["message_id"] if rows else None

    async def asked_in(self, turn: TurnId) -> tuple[str, str] | None:
        """The channel and the id of the message that asked a turn; None where a command did."""
        rows = await self.database.fetch(_ASKS, (turn,))
        where = rows[0]["channel_id"] if rows else None
        return None if where is None else (where, rows[0]["message_id"])

    async def newest_asked(self, most: int) -> dict[str, tuple[str, ...]]:
        """The newest messages that asked something or are quoted, newest first, by channels."""
        found: defaultdict[str, tuple[str, ...]] = defaultdict(tuple)
        for row in await self.database.fetch(_NEWEST_ASKED, (most,)):
            found[row["channel_id"]] += (row["message_id"],)
        return dict(found)

    async def show(self, turn: TurnId) -> None:
        """Put an answer in the place of those beside it; later transcripts go on from it."""
        await self.database.write(lambda c: show(c, turn))

    async def reword(self, turn: TurnId, words: str) -> bool:
        """Note that the question of a turn reads so now; without words nobody can ask it.

        Returns:
            Is one of its answers to other words than it has, or was one until now?
        """
        return await self.database.write(lambda c: reword(c, turn, words))

    def checkpoint(self, turn: TurnId, reply_text: str, reasoning_text: str, who: Receipt) -> None:
        """Have the text so far stored soon, unless the turn no longer runs; nobody waits for it.

        Args:
            turn: Which.
            reply_text: So far.
            reasoning_text: So far.
            who: Whose words these are: after a crash nothing else tells that they left the LAN.
        """
        # One of each turn: a disk that hangs must not gather every text of every running answer.
        self._fresh[turn] = reply_text, reasoning_text, who, self.database.now_ms()

        def change(connection: sqlite3.Connection) -> None:
            # Empty where an older note of this turn took the newer text with it.
            if (fresh := self._fresh.pop(turn, None)) is not None:
                reply, reasoning, by, now_ms = fresh
                values = receipt_json(by), storable(reply), storable(reasoning), now_ms, turn
                connection.execute(_CHECKPOINT, values)

        self.database.note(change)

    async def finish(
        self,
        turn: TurnId,
        status: TurnStatus,
        reply_text: str,
        reasoning_text: str,
        receipt: Receipt,
        free_line: FreeLine | None = None,
    ) -> None:
        """Store how a running turn ended; a second ending changes nothing.

        Args:
            turn: Which.
            status: How.
            reply_text: All that was said.
            reasoning_text: All that was thought.
            receipt: What it took.
            free_line: Goes into the ledger with it; None where a provider's call is there already.
        """
        now_ms = self.database.now_ms()
        texts = (storable(reply_text), storable(reasoning_text))
        # Gone on with at once the turn runs again, and an older text must not take its place.
        self._fresh.pop(turn, None)

        def change(connection: sqlite3.Connection) -> None:
            # The receipt is made on the writer's thread: the first one costs 4 ms.
            values = (status, receipt_json(receipt), *texts, now_ms, turn)
            if not connection.execute(_FINISH, values).rowcount:
                return
            if not reply_text.strip():
                _give_back(connection, turn)
            if free_line is not None:
                insert(connection, "ledger", free_line)

        await self.database.write(change)

    async def get(self, turn: TurnId) -> Turn | None:
        """One turn."""
        line = await self.database.read(lambda c: _branch(c, _KNOWN, (turn,), 1))
        return line[0] if line else None

    async def branch(
        self, turn: TurnId, *, text_bytes: int = BRANCH_TEXT_BYTES
    ) -> tuple[Turn, ...]:
        """The turns from the root to this one, root first; of a very long branch the newest.

        Only the last comes with its reasoning and, beside failed ones, its receipt: the others are
        there for their words, and receipts are nine tenths of the cost of reading a branch.

        Args:
            turn: The last turn of the branch.
            text_bytes: Older turns are left out once questions and replies (in UTF-8) reach this;
                the turn that reaches it is still read.
        """
        return await self.database.read(
            lambda c: _branch(c, _KNOWN, (turn,), BRANCH_TURNS, text_bytes)
        )

    async def still_stored(self, turns: Iterable[TurnId]) -> frozenset[TurnId]:
        """Which of these are stored, still."""
        rows = await self.database.fetch(_STILL_STORED, {"turns": json.dumps(list(turns))})
        return frozenset(TurnId(row["id"]) for row in rows)

    async def newest_branch(
        self,
        conversation: PlaceId,
        persona: PersonaName,
        user: UserId,
        *,
        opened_on: TurnId | None = None,
        text_bytes: int = BRANCH_TEXT_BYTES,
    ) -> tuple[Turn, ...]:
        """The branch a person's new message goes on from, read as ``branch`` does.

        It ends in the newest turn since the reset, however that stands, that is on the line or on
        a branch in which this person spoke. Where there is none, and never was a reset, it is that
        of ``opened_on``, else empty.
        """
        values = {
            "conversation": conversation,
            "persona": persona,
            "user": user,
            "opened_on": opened_on,
        }

        def find(connection: sqlite3.Connection) -> tuple[Turn, ...]:
            newest = _branch(connection, _LATEST, values, BRANCH_TURNS, text_bytes, as_shown=True)
            return newest or _branch(connection, _OPENED, values, BRANCH_TURNS, text_bytes)

        return await self.database.read(find)

    async def last_in(self, conversation: PlaceId, *, since_reset: bool = False) -> Turn | None:
        """The newest turn here as it is shown, whoever answered and however it stands.

        Args:
            conversation: Where.
            since_reset: Only of the conversation as it was last begun.
        """
        leaf = _SINCE_RESET if since_reset else _LAST_IN
        line = await self.database.read(
            lambda c: _branch(c, leaf, (conversation,), 1, as_shown=True)
        )
        return line[0] if line else None

    async def reset(self, conversation: PlaceId) -> None:
        """Make the next message to any persona here a fresh beginning; nothing is deleted."""
        await self.database.execute(_RESET, (conversation,))

    async def close_running(self) -> tuple[Turn, ...]:
        """End the turns a killed Lantern left running; returns them as they now stand.

        With some text a turn becomes partial, without any failed. Only for the start, before the
        first turn of this run.
        """
        now_ms = self.database.now_ms()

        def change(connection: sqlite3.Connection) -> tuple[Turn, ...]:
            closed: list[Turn] = []
            for row in connection.execute(_RUNNING).fetchall():
                (turn,) = _branch(connection, _KNOWN, (row["id"],), 1)
                status = "partial" if turn.reply_text else "failed"
                who = turn.receipt or Receipt(turn.persona)
                receipt = replace(who, finish="error", notices=(STOPPED,))
                texts = (turn.reply_text, turn.reasoning_text)
                values = (status, receipt_json(receipt), *texts, now_ms, turn.id)
                connection.execute(_FINISH, values)
                if not turn.reply_text.strip():
                    _give_back(connection, turn.id)
                closed.append(replace(turn, status=status, receipt=receipt))
            return tuple(closed)

        return await self.database.write(change)


def _branch_for(
    connection: sqlite3.Connection, turn: Turn, kind: TurnKind, about: Answers | None
) -> str:
    """The branch aside that a new turn belongs to; nothing on the line everybody goes on from.

    What goes on from the newest turn of the line or of a branch belongs to the same, what redoes a
    turn belongs where that does. Else words open a branch, for those who speak in it.
    """
    if about is None:
        return ""
    said_in = connection.execute(_CONVERSATION_OF, (about.first,)).fetchone()
    if said_in["conversation"] != turn.place.conversation:
        return ""  # a thread's own line begins at the answer it was opened on
    aside = connection.execute(_BRANCH_OF, (about.first,)).fetchone()
    if kind == "retry":
        return "" if aside is None else aside["branch"]
    if aside is not None:
        tip = connection.execute(_TIP_OF, (aside["branch"],)).fetchone()
        return aside["branch"] if tip["id"] == about.first else turn.id
    values = {"conversation": turn.place.conversation, "persona": turn.persona, "user": None}
    head = connection.execute(_LATEST, values).fetchone()
    # After /reset whoever replies to an old answer goes on from it.
    return "" if head is None or head["id"] == about.first else turn.id


def _give_back(connection: sqlite3.Connection, turn: TurnId) -> None:
    """A retry that brought no word steps aside: what it redid is shown again."""
    redone = connection.execute(_REDOES, (turn,)).fetchone()
    beside = answers_beside(connection, turn)
    if redone is not None and beside is not None and beside.shown == turn:
        show(connection, redone["redoes"])


def _columns(turn: Turn, parent: TurnId | None, changed_at_ms: int) -> dict[str, Value]:
    return {
        "id": turn.id,
        "parent": parent,
        "user": turn.user,
        "user_name": turn.user_name,
        "channel": turn.place.channel,
        "thread": turn.place.thread,
        "server": turn.place.server,
        "is_private": turn.place.is_private,
        "conversation": turn.place.conversation,
        "persona": turn.persona,
        "user_text": turn.user_text,
        "reply_text": turn.reply_text,
        "reasoning_text": turn.reasoning_text,
        "status": turn.status,
        "created_at_ms": turn.created_at_ms,
        "changed_at_ms": changed_at_ms,
        "receipt": None if turn.receipt is None else receipt_json(turn.receipt),
    }


def _branch(
    connection: sqlite3.Connection,
    leaf: str,
    values: Values,
    turns: int,
    text_bytes: int = BRANCH_TEXT_BYTES,
    *,
    as_shown: bool = False,
) -> tuple[Turn, ...]:
    """The end of the branch whose last turn a query finds, oldest first; empty without one.

    ``as_shown`` takes of the answers beside that turn the one people see.
    """
    found = connection.execute(leaf, values).fetchone()
    if found is None:
        return ()
    beside = answers_beside(connection, found["id"]) if as_shown else None
    limits = {
        "leaf": found["id"] if beside is None else beside.shown,
        "turns": turns,
        "text_bytes": text_bytes,
    }
    rows = connection.execute(_LINE + _LINE_TURNS, limits).fetchall()
    wanted = {"line": json.dumps([row["id"] for row in rows]), "image_bytes": BRANCH_IMAGE_BYTES}
    attachments = defaultdict[str, list[Attachment]](list)
    for row in connection.execute(_LINE_ATTACHMENTS, wanted):
        attachments[row["turn"]].append(value_of(Attachment, row))
    quotes = defaultdict[str, list[Quote]](list)
    for row in connection.execute(_LINE_QUOTES, wanted):
        place = value_of(Place, row)
        quotes[row["turn"]].append(
            Quote(
                row["text"],
                UserId(row["user"]),
                row["user_name"],
                place,
                row["said_at_ms"],
                row["message_id"],
            )
        )
    # By place, not by name: looking fifteen names up in each row cost as much as the query.
    return tuple(
        Turn(
            *row[5:9],
            place=Place(*row[:3], is_private=bool(row[3])),
            persona=row[9],
            user_text=row[10],
            reply_text=row[11],
            reasoning_text=row[12],
            status=row[13],
            created_at_ms=row[14],
            receipt=None if row[4] is None else receipt_of(row[4]),
            attachments=tuple(attachments.get(row[5], ())),
            quotes=tuple(quotes.get(row[5], ())),
        )
        for row in rows
    )
