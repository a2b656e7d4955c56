"""Killed at any moment under load, the ledger still says what the provider charged."""

import asyncio
import os
import sys
from datetime import UTC
from pathlib import Path

import pytest
from clocks import WallClock
from cloud_house import SALT
from spend_until_killed import AT_ONCE, NAME

from bot.domain.ids import UserId
from bot.policy.budget import BudgetRules
from bot.policy.privacy import user_hash
from bot.sim.providers.config import SimProviderConfig
from bot.sim.providers.provider import SimProvider
from bot.store.database import Database
from bot.store.ledger import LedgerStore

SPENDER = Path(__file__).with_name("spend_until_killed.py")
MODEL = "gpt-6-luna"
CUT_OFF = "SELECT count(*) FROM ledger WHERE basis = 'worst'"
KILLED_AFTER_LINES = (1, 17, 60, 5, 33)
"""Arbitrary; where in the calls under way the blow falls is up to the machine."""


async def spend_until_killed(path: Path, base_url: str, run: str, lines: int) -> list[str]:
    """The turns acknowledged as paid for before the blow, soon after so many."""
    spender = await asyncio.create_subprocess_exec(
        sys.executable,
        str(SPENDER),
        *(str(path), base_url, MODEL, run),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert spender.stdout is not None
    try:
        async with asyncio.timeout(60):
            said = [await spender.stdout.readline() for _ in range(lines)]
    finally:
        spender.kill()
    said += (await spender.stdout.read()).splitlines(keepends=True)
    await spender.wait()
    words = [line.decode().split() for line in said if line.endswith(b"\n")]
    assert all(word[0] == "paid" for word in words), words
    return [word[1] for word in words]


@pytest.mark.slow
@pytest.mark.ops
async def test_after_kill_9_the_ledger_equals_the_providers_journal(tmp_path: Path) -> None:
    path = tmp_path / "lantern.db"
    sim = SimProviderConfig(wire="openai", tokens_per_s=4000, first_token_s=0.004)
    paid: set[str] = set()
    cut_off = 0
    async with SimProvider(sim) as double:
        for run, lines in enumerate(KILLED_AFTER_LINES):
            paid.update(await spend_until_killed(path, double.base_url, f"run{run}", lines))
            await double.journal.until(lambda journal: not journal.open)
            async with Database(path, utcnow=WallClock()) as database:
                ledger = LedgerStore(database, BudgetRules(), UTC)
                assert await ledger.charge_open() <= AT_ONCE
                await check(database, ledger, double, paid)
                cut_off = await database.read(lambda c: c.execute(CUT_OFF).fetchone()[0])
    assert cut_off > 0, "nobody was killed in the middle of anything"


async def check(
    database: Database, ledger: LedgerStore, double: SimProvider, paid: set[str]
) -> None:
    found = await database.read(lambda c: c.execute("SELECT * FROM ledger").fetchall())
    rows = {row["turn"]: row for row in found}
    charged = {call.arrival.user: call.cost_micro_usd for call in double.journal.chats()}
    assert len(rows) == len(found)
    assert paid <= rows.keys()
    whole = 0
    for turn, row in rows.items():
        cost = charged.pop(user_hash(SALT, NAME, UserId(turn)), 0)
        if row["basis"] == "usage":
            assert row["cost_micro_usd"] == cost
        else:
            assert row["basis"] == "worst"
            assert turn not in paid
            assert cost <= row["cost_micro_usd"] == row["reserved_micro_usd"]
            whole += row["cost_micro_usd"] - cost
    assert charged == {}, "the provider was asked for something nobody wrote down"
    totals = (await ledger.accounts())[0]
    assert totals.reserved_micro_usd == 0
    assert totals.spent_micro_usd == sum(row["cost_micro_usd"] for row in found)
    assert totals.spent_micro_usd - double.journal.cost_micro_usd == whole
