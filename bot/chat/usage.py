"""What turns cost and saved: free turns into the ledger, reports out of it."""

from collections.abc import Callable
from typing import Literal

import structlog

from bot.cloud.providers import Providers
from bot.domain.chat import Candidate, Receipt
from bot.domain.cloud import Account, CloudEvent, FreeTurn, ProviderNews, UsageLine
from bot.domain.ids import PlaceId, ProviderName, TurnId, UserId
from bot.domain.values import value
from bot.policy.budget import refusal, refusal_text
from bot.policy.outages import passed_over
from bot.policy.periods import Period, PeriodName, month_before, period_of
from bot.policy.pricing import avoided_micro_usd
from bot.store.ledger import By, FreeLine, LedgerStore

ReportPeriod = PeriodName | Literal["last month"]
"""``last month`` is the monthly summary: a whole month."""

Whose = Literal["me", "server", "all"]

_log = structlog.get_logger(__name__)


@value
class UsageReport:
    """A period's tokens, speed and money, for one person, one server or everybody."""

    period: Period
    total: UsageLine
    lines: tuple[UsageLine, ...]
    """By model, or by what was asked for."""
    providers: tuple[UsageLine, ...]
    """What each provider answered and was paid."""
    limits: tuple[Account, ...]
    """Everybody's account of today and of this month, then the limits of whomever it is for.

    None where the period is over.
    """
    avoided_micro_usd: int | None
    """What the cheapest configured provider would have charged for the free turns."""
    avoided_by: ProviderName | None


class UsageTracker:
    """Notes what was free and reports what was used."""

    def __init__(
        self, ledger: LedgerStore, providers: Providers, observe: Callable[[CloudEvent], None]
    ) -> None:
        self._ledger = ledger
        self.last_day = ledger.last_day
        """A server's answers by the hours up to now."""
        self._providers = providers
        self._observe = observe

    def line(
        self,
        turn: TurnId,
        user: UserId,
        server: PlaceId | None,
        receipt: Receipt,
        *,
        has_text: bool,
    ) -> FreeLine | None:
        """The ledger's line of a turn that ended; None where it cost something or said nothing.

        A provider's answer is in the ledger already. Of providers that somebody else had to stand
        in for, the admins' news are told.

        Args:
            turn: Which.
            user: Who ordered the answer, and so pays for it.
            server: Where.
            receipt: What it took.
            has_text: Was any word of it said?
        """
        for name in sorted(passed_over(receipt).intersection(self._providers.names)):
            self._observe(ProviderNews("passed", name))
        is_free = receipt.from_cache or (receipt.host is not None and has_text)
        if receipt.model is None or not is_free:
            return None
        free = FreeTurn(
            turn=turn,
            source="cache" if receipt.from_cache else "local",
            where=str(receipt.host or receipt.provider),
            model=receipt.model,
            usage=receipt.usage,
            user=self._providers.ledger_name(user),
            server=server,
            first_token_s=receipt.timing.first_token_s,
            generation_s=receipt.timing.generation_s,
        )
        return self._ledger.free_line(free)

    def note(
        self,
        turn: TurnId,
        user: UserId,
        server: PlaceId | None,
        receipt: Receipt,
        *,
        has_text: bool,
    ) -> None:
        """Notes how a request ended that is stored nowhere else, as ``line`` has it."""
        line = self.line(turn, user, server, receipt, has_text=has_text)
        if line is not None:
            self._ledger.note_free(line)

    async def refusal(self, candidate: Candidate, user: UserId, server: PlaceId | None) -> str:
        """Why a provider's answer cannot be paid as money stands now; empty where it can.

        Advice for whoever is about to choose it: the ledger asks anew when the call is booked.

        Args:
            candidate: The provider, with the most it can cost; unknown, the ledger alone decides.
            user: Whose limits it counts against.
            server: Where it was asked.

        Raises:
            StoreUnavailable: the ledger cannot be read.
        """
        name, worst = candidate.provider, candidate.cost_micro_usd
        if name is None or worst is None:
            return ""
        accounts = await self._ledger.accounts(
            server=server, user=self._providers.ledger_name(user), providers=(name,)
        )
        reason = refusal(accounts, worst)
        return refusal_text(name, worst, reason) if reason else ""

    async def report(
        self,
        period: ReportPeriod | Callable[[str], Period],
        whose: Whose,
        user: UserId,
        server: PlaceId | None,
        by: By = "model",
    ) -> UsageReport:
        """What was used in a period, by whom it is for and then by ``by``.

        Args:
            period: Its name, or what gives it for today.
            whose: Whose turns are counted.
            user: Who ``me`` is.
            server: Which server it is.
            by: What a line is for.

        Raises:
            StoreUnavailable: the ledger cannot be read.
        """
        today = self._ledger.today()
        if callable(period):
            span = period(today)
        else:
            span = month_before(today) if period == "last month" else period_of(period, today)
        # The ledger knows people by a hash alone, so a report for one is asked for by it.
        name = self._providers.ledger_name(user) if whose == "me" else None
        place = server if whose == "server" else None
        totals = await self._ledger.report(span, user=name, server=place)
        clouds = await self._ledger.report(span, "answered_by", user=name, server=place)
        # Of today and this month: below another month's figures they read as that month's.
        runs = span.first <= today <= span.last
        accounts = await self._ledger.accounts(server=place, user=name or "") if runs else ()
        lines = await self._ledger.report(span, by, user=name, server=place)
        total = totals[0] if totals else UsageLine("")
        cheapest = await self._providers.cheapest()
        return UsageReport(
            period=span,
            total=total,
            lines=lines,
            providers=tuple(line for line in clouds if line.cloud_calls),
            limits=accounts,
            avoided_micro_usd=None if cheapest is None else avoided_micro_usd(total, cheapest[1]),
            avoided_by=None if cheapest is None else cheapest[0],
        )
