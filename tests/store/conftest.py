"""An open database in a fresh folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from clocks import WallClock
from databases import new_database

from bot.store.database import Database


@pytest.fixture
def clock() -> WallClock:
    return WallClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lantern.db"


@pytest.fixture
async def database(path: Path, clock: WallClock) -> AsyncIterator[Database]:
    async with Database(new_database(path), utcnow=clock) as opened:
        yield opened
