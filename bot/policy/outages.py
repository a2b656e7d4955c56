"""When the owners hear of a provider's outage: one message for each that passes by itself.

A frozen record by provider; its keeper tells what is due and asks again. All times are monotonic
seconds.
"""

import math
from collections.abc import Iterable
from dataclasses import replace

from bot.domain.chat import Receipt
from bot.domain.cloud import ProviderNews
from bot.domain.errors import FailureKind
from bot.domain.ids import ProviderName
from bot.domain.values import value
from bot.policy.retry import ROWS
from bot.policy.routing import NOT_MEANT

PASSING_S = 60.0
"""An outage that may pass by itself is told once it lasts so long, else when it is over."""
EARLY_S = 60.0
"""What went elsewhere so long before it went out is of the failures that put it out."""
SETTLED_S = 60.0
"""It is over once the provider has been well for so long."""


@value
class OutageRecord:
    """One provider's outage, from its first failure until the owners know how it ended."""

    name: ProviderName
    kind: FailureKind
    reason: str
    began: float
    out_at: float
    """When it went out for the last time."""
    times: int = 1
    """It was out, back and out again so often."""
    elsewhere: int = 0
    """Questions that went elsewhere or were not answered meanwhile."""
    back_at: float | None = None
    """It answers since then; None while it is out."""
    is_told: bool = False
    """The owners know that it is out, and for this reason."""


def heard(
    record: OutageRecord | None, news: ProviderNews, now: float, passed: Iterable[float] = ()
) -> OutageRecord | None:
    """The record after news of its provider; None where there is nothing to tell.

    Args:
        record: As it was; None while it is not out.
        news: What happened.
        now: When.
        passed: When questions went elsewhere while it was not out yet.
    """
    if news.what == "out":
        kind = news.kind or FailureKind.SERVER
        if record is None:
            early = sum(now - at <= EARLY_S for at in passed)
            return OutageRecord(news.name, kind, news.reason, now, now, elsewhere=early)
        # A breaker that opens for five seconds at a time was six messages in half a minute.
        if record.back_at is not None:
            record = replace(record, times=record.times + 1, out_at=now, back_at=None)
        is_told = record.is_told and (kind is record.kind or not ROWS[kind].is_out)
        return replace(record, kind=kind, reason=news.reason, is_told=is_told)
    if record is None:
        return None
    if news.what == "back":
        return replace(record, back_at=now)
    if news.what == "passed":
        return replace(record, elsewhere=record.elsewhere + 1)
    return record


def due_at(record: OutageRecord) -> float:
    """From when on it is to be told as it stands; infinity for never."""
    # A key, a balance or a plan is the owner's to mend: nothing is gained by waiting.
    waits_for_owner = ROWS[record.kind].is_out
    if record.back_at is not None:
        return record.back_at + (0.0 if waits_for_owner else SETTLED_S)
    if record.is_told:
        return math.inf
    return record.began + (0.0 if waits_for_owner else PASSING_S)


def after_telling(now_held: OutageRecord, told: OutageRecord) -> OutageRecord | None:
    """The record after the owners were told of it; None when all is said.

    Args:
        now_held: As it is now: more may have happened while it was being told.
        told: As it was told.
    """
    if told.back_at is None:
        same = now_held.kind is told.kind
        return replace(now_held, is_told=now_held.is_told or same)
    if now_held.back_at == told.back_at:
        return None
    # Out again meanwhile: that is another outage, of which nobody has heard.
    elsewhere, times = now_held.elsewhere - told.elsewhere, now_held.times - told.times
    began = now_held.out_at
    return replace(now_held, began=began, elsewhere=elsewhere, times=times, is_told=False)


def passed_over(receipt: Receipt) -> frozenset[ProviderName]:
    """Names (hosts' too) whose part of a question somebody else had to take, or nobody took."""
    failed = {attempt.where for attempt in receipt.attempts}
    # Behind a host that answered, a provider that is out was missed by nobody.
    if receipt.host is None:
        failed |= {r.where for r in receipt.route.rejected if r.reason not in NOT_MEANT}
    return frozenset(ProviderName(name) for name in failed - {receipt.provider})
