"""Money: whose limit refuses a call, when the admins are warned, and what settling a call moves.

The ledger asks inside the one transaction that also writes, so that no answer rests on sums another
call has changed meanwhile. All amounts are integers of micro-dollars.
"""

from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from typing import Literal

from bot.domain.cloud import Account, Basis, BudgetNews, Payer
from bot.domain.ids import ProviderName
from bot.domain.values import value

_MONTH = len("2026-11")

OVER_BUDGET: Mapping[Payer, str] = {
    "all": "over everybody's budget",
    "provider": "over the provider's budget",
    "server": "over this server's budget",
    "user": "over the asker's budget",
}
"""Whose budget is in the way, for readers, who need not be who asked."""


@value
class BudgetRules:
    """The limits of one day and one month; None is no limit."""

    daily_micro_usd: int | None = None
    per_server_micro_usd: int | None = None
    per_user_micro_usd: int | None = None
    alert_at: float = 0.8
    """Share of a limit from which the admins are warned, once in its day or month."""
    monthly_micro_usd: int | None = None
    by_provider: Mapping[ProviderName, tuple[int | None, int | None]] = field(
        default_factory=dict[ProviderName, tuple[int | None, int | None]]
    )
    """Of a day and of a month, for what one provider is paid."""


def accounts_of(
    rules: BudgetRules,
    day: str,
    *,
    server: str = "",
    user: str = "",
    own_daily_micro_usd: int | None = None,
    providers: Iterable[ProviderName] = (),
) -> tuple[Account, ...]:
    """Every account a call is charged to, with its limit and nothing spent; everybody's day first.

    Args:
        rules: The limits.
        day: In the budget's time zone; its month is the one it lies in.
        server: Empty for nobody's.
        user: The person's hash; empty for nobody's.
        own_daily_micro_usd: This user's own limit, beside that of every user; None is none.
        providers: Who is paid; several to read their accounts together.
    """
    month = day[:_MONTH]
    daily, monthly = rules.daily_micro_usd, rules.monthly_micro_usd
    found = [Account(day, cap_micro_usd=daily), Account(month, cap_micro_usd=monthly)]
    for name in providers:
        daily, monthly = rules.by_provider.get(name, (None, None))
        found += [Account(day, 0, 0, daily, "provider", name)]
        found += [Account(month, 0, 0, monthly, "provider", name)]
    if server:
        found += [Account(day, 0, 0, rules.per_server_micro_usd, "server", server)]
    if user:
        limits = (rules.per_user_micro_usd, own_daily_micro_usd)
        cap = min((limit for limit in limits if limit is not None), default=None)
        found += [Account(day, 0, 0, cap, "user", user)]
    return tuple(found)


def refusal(accounts: Iterable[Account], worst_micro_usd: int) -> str:
    """Why a call may not be made, by the tightest limit; empty when each account can pay.

    What is under way counts at its worst case. Counted at the likely cost, calls at once would
    each find room and pass the limit together.

    Args:
        accounts: Every account the call is charged to, as it stands now.
        worst_micro_usd: The most it can cost.
    """
    if (account := _tightest(accounts, worst_micro_usd)) is None:
        return ""
    cap, left = account.cap_micro_usd or 0, account.left_micro_usd or 0
    words = f"{whose(account)} of {dollars_text(cap)} has only {dollars_text(left)} left"
    held = dollars_text(account.reserved_micro_usd)
    return f"{words}, {held} is held for answers under way" if account.reserved_micro_usd else words


def brief_refusal(accounts: Iterable[Account], worst_micro_usd: int) -> str:
    """Whose limit ``refusal`` names, as readers are told: what follows "is"; empty for none."""
    account = _tightest(accounts, worst_micro_usd)
    return "" if account is None else OVER_BUDGET[account.payer]


def _tightest(accounts: Iterable[Account], worst_micro_usd: int) -> Account | None:
    """The account with the least left, where that does not pay for a call."""
    limited = [(left, a) for a in accounts if (left := a.left_micro_usd) is not None]
    left, account = min(limited, key=lambda each: each[0], default=(worst_micro_usd, None))
    return None if worst_micro_usd <= left else account


def is_held(accounts: Iterable[Account], worst_micro_usd: int) -> bool:
    """Could each account pay for a call, were nothing held for those under way?"""
    unheld = [replace(account, reserved_micro_usd=0) for account in accounts]
    return not refusal(unheld, worst_micro_usd)


def is_beyond(accounts: Iterable[Account], worst_micro_usd: int) -> bool:
    """Does a call cost more than a whole limit, so that it is refused in the next period, too?"""
    caps = (account.cap_micro_usd for account in accounts)
    return any(cap is not None and worst_micro_usd > cap for cap in caps)


def left_of(accounts: Iterable[Account]) -> int | None:
    """The most a call may cost now; None without any limit."""
    lefts = (account.left_micro_usd for account in accounts)
    return min((left for left in lefts if left is not None), default=None)


def refusal_text(name: ProviderName, worst_micro_usd: int, reason: str) -> str:
    """What people are told of a call that ``refusal`` gives a reason against.

    Args:
        name: Who would have been paid.
        worst_micro_usd: The most it can cost.
        reason: Of ``refusal``.
    """
    return f"{name} may cost up to {dollars_text(worst_micro_usd)}, but {reason}."


def with_fitting(reason: str, tokens: int) -> str:
    """A reason of ``refusal`` with what helps: so many tokens of an answer, where any, are paid."""
    return (
        f"{reason}; an answer of {tokens:,} tokens (`max_tokens`) can be paid" if tokens else reason
    )


def dollars_text(micro_usd: int) -> str:
    """Dollars with as many digits as a small sum needs: a budget below a cent read ``$0.00``."""
    digits = 2 if micro_usd >= 1_000_000 or micro_usd == 0 else 4 if micro_usd >= 1_000 else 6
    return f"${micro_usd / 1_000_000:.{digits}f}"


def whose(account: Account) -> str:
    """Whose budget an account is, for people: ``zai's monthly budget``."""
    owner = {
        "all": "the",
        "provider": f"{account.name}'s",
        "server": "this server's",
        "user": "your own",
    }[account.payer]
    return f"{owner} {span_of(account)} budget"


def span_of(account: Account) -> Literal["daily", "monthly"]:
    """What an account's limit is for."""
    return "monthly" if len(account.period) == _MONTH else "daily"


def news_of(
    what: Literal["alert", "spent"], accounts: Iterable[Account], measure: float
) -> tuple[BudgetNews, ...]:
    """What the admins are to hear of the accounts that are theirs to care for.

    Args:
        what: Whether calls no longer fit, or a share is spent.
        accounts: As they stand now.
        measure: The worst case that was refused, or the share they are warned from.
    """
    found: list[BudgetNews] = []
    for account in accounts:
        # One person's or server's limit is theirs to know.
        if (cap := account.cap_micro_usd) is None or account.payer in ("server", "user"):
            continue
        # What is only held is not spent: most of it is given back when the call ends.
        if (
            measure > (account.left_micro_usd or 0)
            if what == "spent"
            else account.spent_micro_usd >= cap * measure
        ):
            found.append(BudgetNews(what, account))
    return tuple(found)


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
