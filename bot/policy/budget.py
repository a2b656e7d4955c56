"""Money: whose limit refuses a call, when the admins are warned, and what settling a call moves.

The ledger asks inside the one transaction that also writes, so that no answer rests on sums another
call has changed meanwhile. All amounts are integers of micro-dollars.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bot.domain.cloud import Basis, DayTotals

Payer = Literal["all", "server", "user"]
"""Whose limit an account counts against."""


Account = tuple[Payer, str]
"""Whose spending is added up: everybody's, a server's by its id, a person's by their hash."""

EVERYBODY: Account = ("all", "")
_WHOSE = {
    "all": "the daily budget",
    "server": "this server's daily budget",
    "user": "your own daily budget",
}


@dataclass(frozen=True, slots=True)
class BudgetRules:
    """The limits of one day; None is no limit."""

    daily_micro_usd: int | None = None
    per_server_micro_usd: int | None = None
    per_user_micro_usd: int | None = None
    alert_at: float = 0.8
    """Share of the daily limit from which the admins are warned, once a day."""

    def cap(self, payer: Payer) -> int | None:
        """The limit of one account."""
        match payer:
            case "all":
                return self.daily_micro_usd
            case "server":
                return self.per_server_micro_usd
            case "user":
                return self.per_user_micro_usd


def accounts_of(server: str, user: str) -> tuple[Account, ...]:
    """Every account a call is charged to; an empty name is nobody's."""
    named: tuple[Account, ...] = (("server", server), ("user", user))
    return (EVERYBODY, *(account for account in named if account[1]))


def refusal(accounts: Mapping[Account, DayTotals], worst_micro_usd: int) -> str:
    """Why a call may not be made, by the tightest limit; empty when each account can pay.

    What is under way counts at its worst case. Counted at the likely cost, calls at once would
    each find room and pass the limit together.

    Args:
        accounts: Every account the call is charged to, as it stands today.
        worst_micro_usd: The most it can cost.
    """
    limits = [
        (left, cap, payer)
        for (payer, _), today in accounts.items()
        if (left := today.left_micro_usd) is not None and (cap := today.cap_micro_usd) is not None
    ]
    if not limits or worst_micro_usd <= min(limits)[0]:
        return ""
    left, cap, payer = min(limits)
    return f"{_WHOSE[payer]} of ${cap / 1e6:.2f} has only ${left / 1e6:.4f} left"


def is_alert_due(today: DayTotals, alert_at: float) -> bool:
    """Has a day's spending reached the share the admins are warned at?"""
    # What is only held does not count: most of it is given back when the call ends.
    cap = today.cap_micro_usd
    return cap is not None and today.spent_micro_usd >= cap * alert_at


def moves(
    state: str, basis: Basis | str, held: int, charged: int, cost: int
) -> tuple[int, int] | None:
    """What settling a call adds to spent and to reserved money; None when nothing changes any more.

    Args:
        state: Of the call's row: ``reserved`` until it is settled for the first time.
        basis: What its cost rests on, once it is settled.
        held: What was reserved for it.
        charged: What it is charged with so far.
        cost: What it really cost.
    """
    if state == "reserved":
        return cost, -held
    # A call a killed Lantern left open was charged whole; another process of ours may still have
    # been alive and know better (adr 0010).
    return (cost - charged, 0) if basis == "worst" else None
