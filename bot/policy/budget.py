"""Money: what may be spent in a day, reserved for the worst case before and settled after.

All amounts are integers of micro-dollars. One dollar per million tokens is one micro-dollar per
token, so prices multiply without rounding until the last step, which rounds up.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from decimal import Decimal
from enum import StrEnum

from bot.domain.errors import BudgetExceeded
from bot.domain.ids import PlaceId, UserId


class Payer(StrEnum):
    """Whose limit an account counts against."""

    ALL = "all"
    SERVER = "server"
    USER = "user"


@dataclass(frozen=True, slots=True)
class BudgetRules:
    """The limits of one day; None is no limit."""

    daily_micro_usd: int | None = None
    per_server_micro_usd: int | None = None
    per_user_micro_usd: int | None = None
    alert_at: float = 0.8
    """Share of the daily limit from which the admins are warned, once a day."""


@dataclass(frozen=True, slots=True)
class AccountKey:
    """One account: everybody's, a server's or a person's."""

    payer: Payer
    name: str = ""


@dataclass(frozen=True, slots=True)
class Account:
    """What was spent today and what is held for requests under way."""

    spent: int = 0
    reserved: int = 0

    @property
    def committed(self) -> int:
        """The most today can have cost once everything under way is settled."""
        return self.spent + self.reserved


@dataclass(frozen=True, slots=True)
class Reservation:
    """Money held for one request; it belongs to the day it was made on."""

    day: str
    accounts: tuple[AccountKey, ...]
    micro_usd: int


@dataclass(frozen=True, slots=True)
class Budget:
    """One day's accounts and the reservations still open."""

    day: str
    """``2026-11-20``, in the budget's own time zone."""
    accounts: Mapping[AccountKey, Account] = field(default_factory=dict[AccountKey, Account])
    open: Mapping[str, Reservation] = field(default_factory=dict[str, Reservation])
    was_alerted: bool = False

    def account(self, key: AccountKey) -> Account:
        """The account as it stands; empty when nothing was spent."""
        return self.accounts.get(key, Account())


@dataclass(frozen=True, slots=True)
class SpendVerdict:
    """Whether an amount may still be spent, and why not."""

    may_spend: bool
    left_micro_usd: int | None
    """The tightest limit's rest before this amount; None without any limit."""
    reason: str = ""


EVERYBODY = AccountKey(Payer.ALL)
_WHOSE = {
    Payer.ALL: "the daily budget",
    Payer.SERVER: "this server's daily budget",
    Payer.USER: "your own daily budget",
}


def day_key(utcnow: datetime, zone: tzinfo) -> str:
    """The day a moment (aware) belongs to in a time zone."""
    return utcnow.astimezone(zone).date().isoformat()


def accounts_for(server: PlaceId | None, user: UserId | None) -> tuple[AccountKey, ...]:
    """Every account one request is charged to."""
    keys = [EVERYBODY]
    if server is not None:
        keys.append(AccountKey(Payer.SERVER, server))
    if user is not None:
        keys.append(AccountKey(Payer.USER, user))
    return tuple(keys)


def cost_micro_usd(
    prompt_tokens: int, completion_tokens: int, input_price: Decimal, output_price: Decimal
) -> int:
    """The cost of so many tokens at dollars per million, rounded up."""
    return math.ceil(prompt_tokens * input_price + completion_tokens * output_price)


def roll(budget: Budget, day: str) -> Budget:
    """The budget on a new day: nothing spent, what is under way still held.

    A day before the current one, from a clock set back, changes nothing: no day is reset twice.
    """
    if day <= budget.day:
        return budget
    held: dict[AccountKey, Account] = {}
    for reservation in budget.open.values():
        for key in reservation.accounts:
            before = held.get(key, Account())
            held[key] = replace(before, reserved=before.reserved + reservation.micro_usd)
    return Budget(day, held, budget.open)


def verdict(
    budget: Budget, rules: BudgetRules, accounts: Iterable[AccountKey], micro_usd: int
) -> SpendVerdict:
    """May this much still be spent, with everything under way at its worst?"""
    limited = [
        (max(0, limit - budget.account(key).committed), limit, key.payer)
        for key in accounts
        if (limit := _limit(rules, key.payer)) is not None
    ]
    if not limited:
        return SpendVerdict(may_spend=True, left_micro_usd=None)
    left, limit, payer = min(limited)
    may_spend = micro_usd <= left
    reason = "" if may_spend else _words(limit, payer, left)
    return SpendVerdict(may_spend=may_spend, left_micro_usd=left, reason=reason)


def reserve(
    budget: Budget, rules: BudgetRules, request: str, accounts: tuple[AccountKey, ...], worst: int
) -> Budget:
    """Hold the worst case of a request, so that parallel ones cannot overspend together.

    Args:
        budget: The budget before.
        rules: The limits.
        request: Names the reservation until it is settled; any unique string.
        accounts: Whom it is charged to, from ``accounts_for``.
        worst: Micro-dollars of the worst case.

    Raises:
        BudgetExceeded: a limit would be passed; says which.
    """
    answer = verdict(budget, rules, accounts, worst)
    if not answer.may_spend:
        raise BudgetExceeded(answer.reason)
    changed = dict(budget.accounts)
    for key in accounts:
        before = budget.account(key)
        changed[key] = replace(before, reserved=before.reserved + worst)
    held = {**budget.open, request: Reservation(budget.day, accounts, worst)}
    return replace(budget, accounts=changed, open=held)


def settle(budget: Budget, request: str, actual: int) -> Budget:
    """Turn a reservation into what the request really cost; 0 releases it.

    A cost reserved yesterday stays yesterday's. Settling twice changes nothing the second time.
    """
    reservation = budget.open.get(request)
    if reservation is None:
        return budget
    spent = actual if reservation.day == budget.day else 0
    changed = dict(budget.accounts)
    for key in reservation.accounts:
        before = budget.account(key)
        rest = before.reserved - reservation.micro_usd
        changed[key] = Account(before.spent + spent, rest)
    left_open = {name: held for name, held in budget.open.items() if name != request}
    return replace(budget, accounts=changed, open=left_open)


def is_alert_due(budget: Budget, rules: BudgetRules) -> bool:
    """Has today's spending reached the alert share for the first time?"""
    if budget.was_alerted or rules.daily_micro_usd is None:
        return False
    return budget.account(EVERYBODY).spent >= rules.daily_micro_usd * rules.alert_at


def alerted(budget: Budget) -> Budget:
    """The budget once its admins were warned."""
    return replace(budget, was_alerted=True)


def _limit(rules: BudgetRules, payer: Payer) -> int | None:
    limits = {
        Payer.ALL: rules.daily_micro_usd,
        Payer.SERVER: rules.per_server_micro_usd,
        Payer.USER: rules.per_user_micro_usd,
    }
    return limits[payer]


def _words(limit: int, payer: Payer, left: int) -> str:
    return f"{_WHOSE[payer]} of ${limit / 1e6:.2f} has only ${left / 1e6:.4f} left"
