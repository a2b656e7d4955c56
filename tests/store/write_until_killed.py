"""Writes turns until it is killed; prints a line for each that was acknowledged.

``begun NAME``, ``done NAME``; several turns at once, as in a busy channel.
"""

import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from store_values import SAGE, new_turn

from bot.domain.chat import Attachment, Receipt
from bot.domain.ids import TurnId
from bot.store.database import Database
from bot.store.turns import TurnStore


def say(words: str) -> None:
    os.write(sys.stdout.fileno(), f"{words}\n".encode())


async def converse(turns: TurnStore, speaker: str) -> None:
    parent: str | None = None
    for number in range(1_000_000):
        name = f"{speaker}.{number}"
        notes = Attachment("notes.txt", "text/plain", text=f"notes of {name} " * 200)
        await turns.begin(new_turn(name, parent=parent, attachments=(notes,)))
        say(f"begun {name}")
        turns.checkpoint(TurnId(name), "half", "hmm", Receipt(SAGE))
        await turns.finish(TurnId(name), "done", f"reply to {name}", "", Receipt(SAGE))
        say(f"done {name}")
        parent = name


async def main(path: str, run: str) -> None:
    now = datetime(2026, 11, 20, tzinfo=UTC)
    async with Database(Path(path), utcnow=lambda: now) as database, asyncio.TaskGroup() as group:
        for speaker in range(4):
            group.create_task(converse(TurnStore(database), f"{run}.{speaker}"))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
