"""The composition root: what is done again and again, and by which of two on one database."""

from datetime import time
from pathlib import Path

import pytest
from databases import new_database

from bot.app import Plan, lantern
from bot.chat.planning import ChatRules
from bot.domain.ids import PersonaName
from bot.fleet.fleet import FleetRules
from bot.process.timer import TimedWork, Timer
from bot.store.backups import backups_of


@pytest.mark.parametrize("is_owner", [True, False])
async def test_every_day_the_owner_of_a_database_backs_it_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_owner: bool
) -> None:
    jobs: dict[str, tuple[float | time, TimedWork]] = {}

    def every(_: Timer, when: float | time, name: str, job: TimedWork) -> None:
        jobs[name] = when, job

    monkeypatch.setattr(Timer, "every", every)
    path = new_database(tmp_path / "lantern.db")
    rules = ChatRules(default_persona=PersonaName("default"))
    plan = Plan((), rules, FleetRules(), tmp_path, path, is_owner=is_owner)
    async with lantern(plan):
        assert ("backup" in jobs) is is_owner
        if is_owner:
            when, work = jobs["backup"]
            # What somebody had forgotten leaves the copies by this, and within the days it says.
            assert isinstance(when, time)
            await work()
    assert len(backups_of(path)) == is_owner
