"""The ledger: money held before a call and settled after it, and what every turn used.

Booking is one transaction that reads the accounts of its day and month, asks ``policy.budget`` and
holds the worst case, so that calls at once cannot overspend together. A row found still reserved at
the start belongs to a call a killed Lantern never settled; it is charged whole, so that the ledger
never says less than the provider, and at most one reservation per such call more.
"""

import math
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Literal

from bot.domain.chat import LOST_S, Usage
from bot.domain.cloud import (
    Account,
    Booking,
    BudgetNews,
    FreeTurn,
    HourLine,
    LastDay,
    LedgerAnswer,
    PriceStep,
    Settlement,
    UsageLine,
)
from bot.domain.ids import ModelKey, PlaceId, ProviderName
from bot.policy.budget import (
    BudgetRules,
    accounts_of,
    brief_refusal,
    is_beyond,
    is_held,
    left_of,
    moves,
    news_of,
    refusal,
    with_fitting,
)
from bot.policy.periods import Period, left_of_day_s
from bot.policy.pricing import dearest, fitting_answer
from bot.store.database import Database
from bot.store.rows import Value, insert, value_of

FreeLine = Mapping[str, Value]
"""A line of the ledger, by column."""

By = Literal["all", "server", "user", "model", "answered_by", "day", "month"]

_HOUR = timedelta(hours=1)
_MOST = 2**40
"""Tokens of one call; sums of many still fit an integer of SQLite."""
_SETTLE = """
UPDATE ledger SET state = :state, basis = :basis, cost_micro_usd = :cost_micro_usd,
    prompt_tokens = :prompt_tokens, cached_tokens = :cached_tokens,
    completion_tokens = :completion_tokens, reasoning_tokens = :reasoning_tokens,
    input_price = :input_price, cached_price = :cached_price, output_price = :output_price,
    first_token_ms = :first_token_ms, generation_ms = :generation_ms, ended_at_ms = :ended_at_ms,
    is_answer = :is_answer
WHERE number = :number
"""
_CHARGE_WHOLE = """
UPDATE ledger SET state = 'settled', basis = 'worst', cost_micro_usd = reserved_micro_usd,
    ended_at_ms = ?
WHERE number = ?
"""
_ROW = "SELECT * FROM ledger WHERE number = ?"
_OPEN = "SELECT * FROM ledger WHERE state = 'reserved' ORDER BY number"
_ACCOUNT = "SELECT spent, reserved FROM account WHERE period = ? AND payer = ? AND name = ?"
# Sums are kept, not added up from the day's rows: on a busy day that held the writer for tens of
# milliseconds a booking (migration 0002).
_OPEN_ACCOUNT = """
INSERT OR IGNORE INTO account (period, payer, name, spent, reserved) VALUES (?, ?, ?, 0, 0)
"""
_MOVE = """
UPDATE account SET spent = spent + ?, reserved = reserved + ?
WHERE period = ? AND payer = ? AND name = ?
"""
_TELL = "INSERT OR IGNORE INTO budget_notice (period, what, provider) VALUES (?, ?, ?)"
_COLUMNS: Mapping[By, str] = {
    "all": "''",
    "server": "server",
    "user": "user",
    "model": "model",
    "answered_by": "answered_by",
    "day": "day",
    "month": "substr(day, 1, 7)",
}
# What is counted in a provider's stead is rounded up, so no speed is told by it.
_IS_TIMED = "NOT (source = 'cloud' AND basis IN ('counted', 'worst'))"
_SUMS = """
SELECT {column} AS name,
    total(source = 'cloud' AND state = 'settled') AS cloud_calls,
    total(source = 'cloud' AND is_answer) AS cloud_answers,
    total(source = 'local') AS local_turns,
    total(source = 'cache') AS cached_turns,
    sum(iif(source <> 'cache', prompt_tokens, 0)) AS prompt_tokens,
    sum(iif(source <> 'cache', completion_tokens, 0)) AS completion_tokens,
    sum(cost_micro_usd) AS cost_micro_usd,
    sum(iif(state = 'reserved', reserved_micro_usd, 0)) AS reserved_micro_usd,
    sum(iif(basis IN ('counted', 'worst'), cost_micro_usd, 0)) AS assumed_micro_usd,
    total(price_known = 0 AND state = 'settled') AS unknown_price_calls,
    total(price_source = 'plan' AND state = 'settled') AS plan_calls,
    sum(iif(source <> 'cloud', prompt_tokens, 0)) AS free_prompt_tokens,
    sum(iif(source <> 'cloud', completion_tokens, 0)) AS free_completion_tokens,
    1000.0 * sum(iif(generation_ms > 0 AND {is_timed}, completion_tokens, 0))
        / nullif(sum(iif({is_timed}, generation_ms, 0)), 0) AS tokens_per_s
FROM ledger
WHERE day BETWEEN :first AND :last AND (:user IS NULL OR user = :user)
    AND (:server IS NULL OR server = :server)
GROUP BY 1
ORDER BY {order}
"""
# An answer given again from the cache took none.
_TOKENS = """
SELECT coalesce(sum(prompt_tokens + completion_tokens), 0) AS tokens FROM ledger
WHERE day = :day AND user = :user AND source <> 'cache' AND (:server IS NULL OR server = :server)
"""
# Of a paid call that was no answer the cost counts, and nobody waited for it. What a receipt leaves
# out is nothing, so the means are over all receipts.
_HOURS = """
SELECT (at_ms - :since_ms) / 3600000 AS nth,
    total(source = 'local') AS local,
    total(source = 'cloud' AND is_answer) AS cloud,
    total(source = 'cache') AS cached,
    sum(iif(source <> 'cache', prompt_tokens + completion_tokens, 0)) AS tokens,
    sum(cost_micro_usd) AS cost_micro_usd,
    coalesce(sum(json_extract(wait, '$.timing.queue_s')) / count(wait), 0.0) AS queue_s,
    coalesce(sum(json_extract(wait, '$.timing.load_s')) / count(wait), 0.0) AS load_s,
    coalesce(sum(json_extract(wait, '$.timing.first_token_s')) / count(wait), 0.0) AS reading_s,
    coalesce(sum(iif(until_s >= :lost_s, until_s, 0.0)) / count(wait), 0.0) AS until_asked_s
FROM (
    SELECT ledger.*, iif(is_answer, receipt, NULL) AS wait,
        iif(is_answer, json_extract(receipt, '$.timing.until_asked_s'), NULL) AS until_s
    FROM ledger LEFT JOIN turn ON turn.id = ledger.turn
    WHERE day >= :day AND at_ms >= :since_ms AND ledger.server = :server
)
GROUP BY 1
"""
_QUARTERS = """
SELECT model, at_ms / 900000 AS quarter FROM ledger WHERE source = 'local' AND day >= ?
GROUP BY 1, 2
"""
_DEAREST_FIRST = "cost_micro_usd DESC, completion_tokens DESC, name"


class LedgerStore:
    """Keeps the ledger. Each method is one transaction and raises ``StoreUnavailable`` alone."""

    def __init__(self, database: Database, rules: BudgetRules, zone: tzinfo) -> None:
        """Keep it by the limits of days and months, which begin where the time zone says."""
        self._database = database
        self._rules = rules
        self._zone = zone

    def today(self) -> str:
        """The day it is now, as the ledger counts days: ``2026-11-20``."""
        return self._now()[0]

    async def book(self, booking: Booking) -> LedgerAnswer:
        """Hold the worst case of a call, unless a limit would be passed."""
        day, now_ms = self._now()
        return await self._database.write(lambda c: self._book(c, booking, day, now_ms))

    async def settle(self, settlement: Settlement) -> LedgerAnswer:
        """Turn a reservation into what the call cost; a second settling changes nothing.

        A charge that was only assumed after a crash gives way to the truth, should it still come.
        The answer's accounts are those of the day and month the call was booked in.
        """
        now_ms = self._database.now_ms()
        return await self._database.write(lambda c: self._settle(c, settlement, now_ms))

    def free_line(self, turn: FreeTurn) -> FreeLine:
        """The line of a turn that cost nothing, as of now."""
        day, now_ms = self._now()
        return {
            "turn": turn.turn,
            "source": turn.source,
            "state": "settled",
            "basis": "counted" if turn.usage.estimated else "usage",
            "answered_by": turn.where,
            "model": turn.model,
            "server": turn.server or "",
            "user": turn.user,
            "day": day,
            "at_ms": now_ms,
            "ended_at_ms": now_ms,
            "is_answer": True,
            **_used(turn.usage, turn.first_token_s, turn.generation_s),
        }

    def note_free(self, line: FreeLine) -> None:
        """Note a line on its own; a stored turn's goes with its end (``TurnStore.finish``)."""
        self._database.gather(_free, line)

    async def charge_open(self) -> int:
        """Charge what a killed Lantern left reserved, whole; says how many calls that were.

        Only for the start, before the first call of this run, by the owner of the database.
        """
        now_ms = self._database.now_ms()

        def change(connection: sqlite3.Connection) -> int:
            rows: list[sqlite3.Row] = connection.execute(_OPEN).fetchall()
            for row in rows:
                held: int = row["reserved_micro_usd"]
                connection.execute(_CHARGE_WHOLE, (now_ms, row["number"]))
                _move(connection, self._payers(row), held, -held)
            return len(rows)

        return await self._database.write(change)

    async def accounts(
        self,
        *,
        server: PlaceId | None = None,
        user: str = "",
        providers: Iterable[ProviderName] = (),
    ) -> tuple[Account, ...]:
        """Everybody's account of today and of this month, then those asked for, with their limits.

        Args:
            server: This server's too.
            user: This person's too, by hash.
            providers: These providers' too.
        """
        day = self.today()
        asked = accounts_of(
            self._rules, day, server=server or "", user=user, providers=tuple(providers)
        )
        return await self._database.read(lambda c: _filled(c, asked))

    async def tokens_today(self, user: str, server: PlaceId | None = None) -> tuple[int, float]:
        """Tokens somebody's prompts and answers took today, and the seconds until it is over.

        Args:
            user: Whose, by hash.
            server: In this server alone.
        """
        day, now_ms = self._now()
        rows = await self._database.fetch(_TOKENS, {"day": day, "user": user, "server": server})
        now = datetime.fromtimestamp(now_ms / 1000, self._zone)
        return rows[0]["tokens"], left_of_day_s(now)

    async def last_day(self, server: PlaceId) -> LastDay:
        """A server's answers by the hours of the clock, up to this one."""
        now = datetime.fromtimestamp(self._database.now_ms() / 1000, self._zone)
        # Counted in UTC: where clocks were put back, a day by the wall has 25 hours.
        start = (now.replace(minute=0, second=0, microsecond=0).astimezone(UTC)) - _HOUR * 23
        values = {
            "since_ms": round(start.timestamp() * 1000),
            # The index knows days alone.
            "day": start.astimezone(self._zone).date().isoformat(),
            "server": server,
            "lost_s": LOST_S,
        }
        lines = (value_of(HourLine, row) for row in await self._database.fetch(_HOURS, values))
        by_hour = {line.nth: line for line in lines}
        hours = tuple(by_hour.get(nth, HourLine(nth)) for nth in range(24))
        return LastDay(start.astimezone(self._zone), hours)

    async def asked_of_hosts(self, days: int) -> list[tuple[ModelKey, datetime]]:
        """Which models hosts answered with in the last days, once for each quarter of an hour."""
        now = datetime.fromtimestamp(self._database.now_ms() / 1000, self._zone)
        first = (now - timedelta(days=days)).date().isoformat()
        return [
            (ModelKey(row["model"]), datetime.fromtimestamp(900 * row["quarter"], UTC))
            for row in await self._database.fetch(_QUARTERS, (first,))
        ]

    async def report(
        self,
        period: Period,
        by: By = "all",
        *,
        user: str | None = None,
        server: PlaceId | None = None,
    ) -> tuple[UsageLine, ...]:
        """Turns of a period added up by a column, dearest first, days in their order.

        Args:
            period: Its days.
            by: What a line is for; ``all`` is one line.
            user: Of this person alone, by hash.
            server: Of this server alone.
        """
        await self._database.noted()
        order = "name" if by in ("day", "month") else _DEAREST_FIRST
        values = {"first": period.first, "last": period.last, "user": user, "server": server}
        rows = await self._database.fetch(
            _SUMS.format(column=_COLUMNS[by], order=order, is_timed=_IS_TIMED), values
        )
        return tuple(value_of(UsageLine, row) for row in rows)

    def _now(self) -> tuple[str, int]:
        """The day and the UTC milliseconds it is now, of one look at the clock."""
        # A day is a key, not a reset: a clock set back goes on with the account it finds.
        now_ms = self._database.now_ms()
        return _day(now_ms // 60_000, self._zone), now_ms

    # --- inside a transaction ---------------------------------------------------------------

    def _book(
        self, connection: sqlite3.Connection, booking: Booking, day: str, now_ms: int
    ) -> LedgerAnswer:
        server, worst, price = booking.server or "", booking.worst_micro_usd, booking.price
        payers = accounts_of(
            self._rules,
            day,
            server=server,
            user=booking.user,
            own_daily_micro_usd=booking.daily_micro_usd,
            providers=(booking.provider,),
        )
        accounts = _filled(connection, payers)
        if reason := refusal(accounts, worst):
            # Most of what is held is given back within seconds: nobody need hear of it.
            held = is_held(accounts, worst)
            news = () if held else _untold(connection, news_of("spent", accounts, worst))
            left_s = left_of_day_s(datetime.fromtimestamp(now_ms / 1000, self._zone))
            renews_in_s = math.inf if is_beyond(accounts, worst) else left_s
            left = left_of(accounts) or 0
            fitting = fitting_answer(price, worst, booking.answer_tokens, left)
            words = with_fitting(reason, fitting)
            brief = brief_refusal(accounts, worst)
            return LedgerAnswer(0, _shared(accounts), words, news, renews_in_s, brief, held)
        step = dearest((price,)) or PriceStep()
        row = {
            "turn": booking.turn,
            "source": "cloud",
            "state": "reserved",
            "basis": "",
            "answered_by": booking.provider,
            "model": booking.model,
            "server": server,
            "user": booking.user,
            "day": day,
            "at_ms": now_ms,
            "input_price": step.input,
            "cached_price": step.cached,
            "output_price": step.output,
            "price_source": price.source,
            "price_as_of": price.as_of,
            "price_known": price.is_known,
            "reserved_micro_usd": worst,
        }
        number = insert(connection, "ledger", row).lastrowid or 0
        _move(connection, payers, 0, worst)
        return LedgerAnswer(number, _shared(_filled(connection, payers)))

    def _settle(
        self, connection: sqlite3.Connection, settlement: Settlement, now_ms: int
    ) -> LedgerAnswer:
        row: sqlite3.Row = connection.execute(_ROW, (settlement.number,)).fetchone()
        moved = moves(
            row["state"],
            row["basis"],
            held=row["reserved_micro_usd"],
            charged=row["cost_micro_usd"],
            cost=settlement.cost_micro_usd,
        )
        payers = self._payers(row)
        if moved is not None:
            values = {
                "number": settlement.number,
                "state": "released" if settlement.basis == "nothing" else "settled",
                "basis": settlement.basis,
                "cost_micro_usd": settlement.cost_micro_usd,
                "input_price": settlement.step.input,
                "cached_price": settlement.step.cached,
                "output_price": settlement.step.output,
                "ended_at_ms": now_ms,
                "is_answer": settlement.is_answer,
                **_used(settlement.usage, settlement.first_token_s, settlement.generation_s),
            }
            connection.execute(_SETTLE, values)
            _move(connection, payers, *moved)
        accounts = _filled(connection, payers)
        news = _untold(connection, news_of("alert", accounts, self._rules.alert_at))
        return LedgerAnswer(settlement.number, _shared(accounts), news=news)

    def _payers(self, row: sqlite3.Row) -> tuple[Account, ...]:
        """Who pays for a call, by its row: in the day and month it was booked in."""
        providers = (ProviderName(row["answered_by"]),)
        return accounts_of(
            self._rules, row["day"], server=row["server"], user=row["user"], providers=providers
        )


def _filled(connection: sqlite3.Connection, payers: Iterable[Account]) -> tuple[Account, ...]:
    """The accounts with what is spent and held of them."""
    found: list[Account] = []
    for account in payers:
        key = (account.period, account.payer, account.name)
        row = connection.execute(_ACCOUNT, key).fetchone()
        spent, reserved = (0, 0) if row is None else row
        found.append(replace(account, spent_micro_usd=spent, reserved_micro_usd=reserved))
    return tuple(found)


def _shared(accounts: Iterable[Account]) -> tuple[Account, ...]:
    """Those that any asker's next call is charged to as well."""
    return tuple(account for account in accounts if account.payer in ("all", "provider"))


@lru_cache(maxsize=16)
def _day(minute: int, zone: tzinfo) -> str:
    """The day of one of the minutes since 1970; days begin at whole ones. Each answer asks."""
    return datetime.fromtimestamp(minute * 60, zone).date().isoformat()


def _free(connection: sqlite3.Connection, lines: Iterable[FreeLine]) -> None:
    for line in lines:
        insert(connection, "ledger", line)


def _used(usage: Usage, first_token_s: float | None, generation_s: float) -> FreeLine:
    # Counted by the other side: one beyond SQLite's integers would take the turn's end with it.
    counts = {
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "completion_tokens": usage.completion_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
    }
    return {name: min(count, _MOST) for name, count in counts.items()} | {
        "first_token_ms": None if first_token_s is None else round(first_token_s * 1000),
        "generation_ms": round(generation_s * 1000),
    }


def _move(
    connection: sqlite3.Connection, payers: Iterable[Account], spent: int, reserved: int
) -> None:
    names = [(account.period, account.payer, account.name) for account in payers]
    # Not one upsert: the table's CHECK would refuse the negative sums of a settlement as a new row.
    connection.executemany(_OPEN_ACCOUNT, names)
    connection.executemany(_MOVE, [(spent, reserved, *name) for name in names])


def _untold(connection: sqlite3.Connection, news: Iterable[BudgetNews]) -> tuple[BudgetNews, ...]:
    """Of these news what the admins have not heard in its day or month; now they have."""
    # Kept in the ledger: a Lantern started again on the same day does not warn again.
    return tuple(
        one
        for one in news
        if connection.execute(_TELL, (one.account.period, one.what, one.account.name)).rowcount == 1
    )
