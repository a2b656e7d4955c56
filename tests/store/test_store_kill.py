"""Killed at any moment, the database keeps every turn it acknowledged."""

import asyncio
import os
import sqlite3
import sys
from pathlib import Path

import pytest
from clocks import WallClock

from bot.domain.ids import TurnId
from bot.store.database import Database
from bot.store.turns import TurnStore

WRITER = Path(__file__).with_name("write_until_killed.py")
KILLED_AFTER_LINES = (1, 2, 43, 150, 7, 311)
"""Arbitrary; where in the next writes the blow falls is up to the machine."""


async def acknowledged_until_killed(path: Path, run: str, lines: int) -> list[str]:
    """What the writer acknowledged before it was killed, soon after so many lines."""
    writer = await asyncio.create_subprocess_exec(
        sys.executable,
        str(WRITER),
        str(path),
        run,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert writer.stdout is not None
    try:
        async with asyncio.timeout(60):
            said = [await writer.stdout.readline() for _ in range(lines)]
    finally:
        writer.kill()
    said += (await writer.stdout.read()).splitlines(keepends=True)
    await writer.wait()
    return [line.decode().strip() for line in said if line.endswith(b"\n")]


async def check(turns: TurnStore, acknowledged: list[str]) -> None:
    done = {line.removeprefix("done ") for line in acknowledged if line.startswith("done ")}
    begun = {line.removeprefix("begun ") for line in acknowledged if line.startswith("begun ")}
    assert done <= begun
    for name in begun:
        turn = await turns.get(TurnId(name))
        assert turn is not None, name
        assert turn.status != "running"
        assert [a.text for a in turn.attachments] == [f"notes of {name} " * 200]
        if name in done:
            assert (turn.status, turn.reply_text) == ("done", f"reply to {name}")


@pytest.mark.slow
@pytest.mark.ops
async def test_a_killed_lantern_loses_nothing_it_acknowledged(path: Path, clock: WallClock) -> None:
    everything: list[str] = []
    for run, lines in enumerate(KILLED_AFTER_LINES):
        everything += await acknowledged_until_killed(path, f"run{run}", lines)
        async with Database(path, utcnow=clock) as database:
            turns = TurnStore(database)
            left = await turns.close_running()
            assert len(left) <= 4
            assert await database.read(verdict) == "ok"
            await check(turns, everything)
    assert len(everything) >= sum(KILLED_AFTER_LINES)


def verdict(connection: sqlite3.Connection) -> str:
    return connection.execute("PRAGMA integrity_check").fetchone()[0]
