"""The ledger: money held before a call and settled after it, and what every turn used.

Booking is one transaction that reads the day's accounts, asks ``policy.budget`` and holds the
worst case, so that calls at once cannot overspend together. A row found still reserved at the
start belongs to a call a killed Lantern never settled; it is charged whole, so that the ledger
never says less than the provider, and at most one reservation per such call more.
"""

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo

from bot.domain.cloud import (
    Booked,
    Booking,
    DayTotals,
    Declined,
    FreeTurn,
    Settled,
    Settlement,
    UsageLine,
)
from bot.domain.ids import PlaceId, UserId
from bot.policy.budget import (
    EVERYBODY,
    Account,
    AccountKey,
    Budget,
    BudgetRules,
    Payer,
    accounts_for,
    day_key,
    is_alert_due,
    verdict,
)
from bot.policy.periods import Period
from bot.policy.pricing import dearest
from bot.store.database import Database
from bot.store.usage_report import By, report

_BOOK = """
INSERT INTO ledger (turn, source, state, basis, answered_by, model, server, user, day, at_ms,
    input_price, cached_price, output_price, price_source, price_as_of, price_known,
    reserved_micro_usd)
VALUES (?, 'cloud', 'reserved', '', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_ADD_FREE = """
INSERT INTO ledger (turn, source, state, basis, answered_by, model, server, user, day, at_ms,
    ended_at_ms, prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens,
    first_token_ms, generation_ms)
VALUES (?, ?, 'settled', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_SETTLE = """
UPDATE ledger SET state = ?, basis = ?, cost_micro_usd = ?, prompt_tokens = ?, cached_tokens = ?,
    completion_tokens = ?, reasoning_tokens = ?, input_price = ?, cached_price = ?,
    output_price = ?, first_token_ms = ?, generation_ms = ?, ended_at_ms = ?
WHERE number = ?
"""
_CHARGE_WHOLE = """
UPDATE ledger SET state = 'settled', basis = 'worst', cost_micro_usd = reserved_micro_usd,
    ended_at_ms = ?
WHERE number = ?
"""
_ROW = "SELECT * FROM ledger WHERE number = ?"
_OPEN = "SELECT * FROM ledger WHERE state = 'reserved' ORDER BY number"
_ACCOUNT = "SELECT spent, reserved FROM account WHERE day = ? AND payer = ? AND name = ?"
_OPEN_ACCOUNT = """
INSERT OR IGNORE INTO account (day, payer, name, spent, reserved) VALUES (?, ?, ?, 0, 0)
"""
_MOVE = """
UPDATE account SET spent = spent + ?, reserved = reserved + ?
WHERE day = ? AND payer = ? AND name = ?
"""
_NOTICE = "INSERT OR IGNORE INTO budget_notice (day, what) VALUES (?, ?)"
_WAS_TOLD = "SELECT 1 FROM budget_notice WHERE day = ? AND what = 'alert'"


class LedgerStore:
    """Keeps the ledger. Each method is one transaction and raises ``StoreUnavailable`` alone."""

    def __init__(self, database: Database, rules: BudgetRules, zone: tzinfo) -> None:
        """Keep it by the limits of one day, which begins where the time zone says."""
        self._database = database
        self._rules = rules
        self._zone = zone

    def today(self) -> str:
        """The day it is now, as the ledger counts days."""
        return self._day(self._database.now_ms())

    async def book(self, booking: Booking) -> Booked | Declined:
        """Holds the worst case of a call, unless a limit would be passed."""
        now_ms = self._database.now_ms()
        day = self._day(now_ms)
        return await self._database.write(lambda c: _book(c, self._rules, booking, day, now_ms))

    async def settle(self, settlement: Settlement) -> Settled:
        """Turns a reservation into what the call cost; a second settling changes nothing.

        A charge that was only assumed after a crash gives way to the truth, should it still come.
        """
        now_ms = self._database.now_ms()
        return await self._database.write(lambda c: _settle(c, self._rules, settlement, now_ms))

    async def add_free(self, turn: FreeTurn) -> None:
        """Notes a turn that cost nothing."""
        now_ms = self._database.now_ms()
        row = _free_row(turn, self._day(now_ms), now_ms)
        await self._database.write(lambda c: c.execute(_ADD_FREE, row).rowcount)

    async def charge_open(self) -> int:
        """Charges what a killed Lantern left reserved, whole; says how many calls that were.

        Only for the start, before the first call of this run, by the owner of the database.
        """
        now_ms = self._database.now_ms()
        return await self._database.write(lambda c: _charge_open(c, now_ms))

    async def totals(self) -> DayTotals:
        """Today's spending against everybody's limit."""
        day = self.today()
        return await self._database.read(lambda c: _totals(c, self._rules, day))

    async def account(self, payer: Payer, name: str) -> DayTotals:
        """Today's spending of one server or person (by hash) against their limit."""
        day, key = self.today(), AccountKey(payer, name)
        return await self._database.read(lambda c: _totals(c, self._rules, day, key))

    async def report(
        self,
        period: Period,
        by: By = "all",
        *,
        user: str | None = None,
        server: PlaceId | None = None,
    ) -> tuple[UsageLine, ...]:
        """Turns of a period added up, dearest first; of one person (by hash) or server."""
        return await self._database.read(lambda c: report(c, period, by, user, server))

    def _day(self, now_ms: int) -> str:
        return day_key(datetime.fromtimestamp(now_ms / 1000, UTC), self._zone)


def _book(
    connection: sqlite3.Connection, rules: BudgetRules, booking: Booking, day: str, now_ms: int
) -> Booked | Declined:
    keys = _payers(booking.server or "", booking.user)
    budget = _budget(connection, day, keys)
    worst = booking.worst_micro_usd
    answer = verdict(budget, rules, keys, worst)
    if not answer.may_spend:
        is_everybodys = not verdict(budget, rules, (EVERYBODY,), worst).may_spend
        is_news = is_everybodys and connection.execute(_NOTICE, (day, "spent")).rowcount == 1
        return Declined(answer.reason, _totals(connection, rules, day), is_news)
    number = connection.execute(_BOOK, _booking_row(booking, day, now_ms)).lastrowid
    _move(connection, day, keys, reserved=worst)
    return Booked(number or 0, _totals(connection, rules, day))


def _booking_row(booking: Booking, day: str, now_ms: int) -> tuple[str | int, ...]:
    price = booking.price
    step = dearest((price,)) or price.steps[0]
    return (
        booking.turn,
        booking.provider,
        booking.model,
        booking.server or "",
        booking.user,
        day,
        now_ms,
        step.input,
        step.cached,
        step.output,
        price.source,
        price.as_of,
        int(price.is_known),
        booking.worst_micro_usd,
    )


def _free_row(turn: FreeTurn, day: str, now_ms: int) -> tuple[str | int | None, ...]:
    usage = turn.usage
    return (
        turn.turn,
        turn.source,
        "counted" if usage.estimated else "usage",
        turn.where,
        turn.model,
        turn.server or "",
        turn.user,
        day,
        now_ms,
        now_ms,
        usage.prompt_tokens,
        usage.cached_tokens,
        usage.completion_tokens,
        usage.reasoning_tokens,
        _ms(turn.first_token_s),
        _ms(turn.generation_s),
    )


def _settle(
    connection: sqlite3.Connection, rules: BudgetRules, settlement: Settlement, now_ms: int
) -> Settled:
    row: sqlite3.Row = connection.execute(_ROW, (settlement.number,)).fetchone()
    day: str = row["day"]
    if row["state"] == "reserved" or row["basis"] == "worst":
        connection.execute(_SETTLE, _settlement_row(settlement, now_ms))
        held: int = row["reserved_micro_usd"] if row["state"] == "reserved" else 0
        spent = settlement.cost_micro_usd - row["cost_micro_usd"]
        _move(connection, day, _payers(row["server"], row["user"]), spent=spent, reserved=-held)
    return Settled(_totals(connection, rules, day), _is_alert_due(connection, rules, day))


def _settlement_row(settlement: Settlement, now_ms: int) -> tuple[str | int | None, ...]:
    usage, step = settlement.usage, settlement.step
    return (
        "released" if settlement.basis == "nothing" else "settled",
        settlement.basis,
        settlement.cost_micro_usd,
        usage.prompt_tokens,
        usage.cached_tokens,
        usage.completion_tokens,
        usage.reasoning_tokens,
        step.input,
        step.cached,
        step.output,
        _ms(settlement.first_token_s),
        _ms(settlement.generation_s),
        now_ms,
        settlement.number,
    )


def _charge_open(connection: sqlite3.Connection, now_ms: int) -> int:
    rows: list[sqlite3.Row] = connection.execute(_OPEN).fetchall()
    for row in rows:
        connection.execute(_CHARGE_WHOLE, (now_ms, row["number"]))
        held: int = row["reserved_micro_usd"]
        keys = _payers(row["server"], row["user"])
        _move(connection, row["day"], keys, spent=held, reserved=-held)
    return len(rows)


def _payers(server: str, user: str) -> tuple[AccountKey, ...]:
    return accounts_for(PlaceId(server) if server else None, UserId(user) if user else None)


def _budget(connection: sqlite3.Connection, day: str, keys: Sequence[AccountKey]) -> Budget:
    accounts = {key: _account(connection, day, key) for key in keys}
    was_alerted = connection.execute(_WAS_TOLD, (day,)).fetchone() is not None
    return Budget(day, accounts, was_alerted=was_alerted)


def _account(connection: sqlite3.Connection, day: str, key: AccountKey) -> Account:
    row = connection.execute(_ACCOUNT, (day, key.payer, key.name)).fetchone()
    return Account() if row is None else Account(row["spent"], row["reserved"])


def _move(
    connection: sqlite3.Connection,
    day: str,
    keys: Sequence[AccountKey],
    *,
    spent: int = 0,
    reserved: int = 0,
) -> None:
    names = [(day, key.payer, key.name) for key in keys]
    connection.executemany(_OPEN_ACCOUNT, names)
    connection.executemany(_MOVE, [(spent, reserved, *name) for name in names])


def _totals(
    connection: sqlite3.Connection, rules: BudgetRules, day: str, key: AccountKey = EVERYBODY
) -> DayTotals:
    caps = {
        Payer.ALL: rules.daily_micro_usd,
        Payer.SERVER: rules.per_server_micro_usd,
        Payer.USER: rules.per_user_micro_usd,
    }
    account = _account(connection, day, key)
    return DayTotals(day, account.spent, account.reserved, caps[key.payer])


def _is_alert_due(connection: sqlite3.Connection, rules: BudgetRules, day: str) -> bool:
    if not is_alert_due(_budget(connection, day, (EVERYBODY,)), rules):
        return False
    return connection.execute(_NOTICE, (day, "alert")).rowcount == 1


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)
