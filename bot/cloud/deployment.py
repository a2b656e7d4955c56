"""One key and address of a provider: its health, its gate and its rate, all in one owner."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from bot.cloud.call import ProviderCall
from bot.cloud.concurrency import Gate
from bot.domain.cloud import CloudEvent, ProviderConfig, ProviderNews, ProviderStanding
from bot.domain.errors import FailureKind, Refused, Unavailable
from bot.domain.personas import Priority
from bot.policy.breaker import on_abandoned, on_try
from bot.policy.concurrency import TOO_MUCH, first_concurrency, wait_s
from bot.policy.provider_health import ProviderHealth, answered, barred, failed
from bot.policy.ratelimit import Bucket, RateRule, given_back, take
from bot.policy.speeds import blend

TellPlace = Callable[[int, float], Awaitable[None]]
"""Hears the place in the line, 1 being next, and the seconds until its turn."""


class Deployment:
    """What is known of one deployment and who may ask it now; most providers have just one."""

    def __init__(self, config: ProviderConfig, observe: Callable[[CloudEvent], None]) -> None:
        # Z.AI limits requests at once and tells the limit only by refusing: begun with few.
        is_careful = config.dialect == "zai"
        self.gate = Gate(first_concurrency(config.max_concurrent, is_careful=is_careful))
        self.first_token_s: float | None = None
        """Measured: a running average."""
        self._answer_s: float | None = None
        """How long an answer holds its place: a running average."""
        self._observe = observe
        self._bucket: Bucket | None = None
        self.health = ProviderHealth()
        self.renew(config)

    def renew(self, config: ProviderConfig) -> None:
        """Take settings, new ones or the same; how it did before is forgotten.

        For a key that was mended and money that was paid in, which nothing else tells.
        """
        self.config = config
        # But for what was told: who heard that it is out hears that it is back.
        self.health = ProviderHealth(told=self.health.told)
        self._rate = RateRule(config.rate_count, config.rate_period_s)

    def why_out(self, now: float) -> str:
        """Why it cannot be asked now, for people; nothing when it can."""
        if (outage := barred(self.health, now)) is not None:
            return _again_in(outage.reason, outage.until, now)
        if self.health.wait_until - now > self.config.max_wait_s:
            return _again_in("It asked us to slow down.", self.health.wait_until, now)
        return ""

    def wait_s(self, place: int, now: float) -> float:
        """Seconds until the turn of who waits at a place of the line, 1 being next; 0 is in."""
        told_s = max(0.0, self.health.wait_until - now)
        limit, running_s = self.gate.concurrency.limit, self.gate.running_s(now)
        return told_s + wait_s(place, limit, self._answer_s, running_s)

    def standing(self, asked: int, now: float) -> tuple[bool, int, float]:
        """How well it suits a question that asked it so often; the least suits best."""
        place = 0 if self.gate.is_open else len(self.gate.waiting) + 1
        # Its rate is looked at, not taken from: it may be another's turn.
        rate_s = take(self._bucket, self._rate, now)[1]
        return barred(self.health, now) is not None, asked, max(rate_s, self.wait_s(place, now))

    def told(self, now: float) -> ProviderStanding:
        """How it stands, for people; what was spent is its provider's."""
        config = self.config
        return ProviderStanding(
            name=config.label,
            model=config.model,
            reason=self.why_out(now),
            limited_s=max(0.0, self.health.wait_until - now),
            running=self.gate.holding.total(),
            waiting=len(self.gate.waiting),
            accounts=(),
        )

    @asynccontextmanager
    async def place(
        self, user: str, deadline: float, tell: TellPlace, priority: Priority = "normal"
    ) -> AsyncGenerator[None]:
        """A place among the calls under way, for as long as the block lasts.

        Args:
            user: Who asks; people take turns.
            deadline: The loop's time after which nobody waits any more.
            tell: Hears of the wait, where there is one.
            priority: How urgent it is.

        Raises:
            Unavailable: it is out; ``BUSY``: there is no place in time, or its rate limit and its
                own word ask for a longer wait.
        """
        loop = asyncio.get_running_loop()
        self._check(loop.time())

        async def moved(place: int) -> None:
            await tell(place, self.wait_s(place, loop.time()))

        try:
            await self.gate.enter(user, deadline, moved, priority)
        except TimeoutError as err:
            busy = self.gate.holding.total()
            words = f"{self.config.label} is busy with {busy} other questions of ours."
            raise Unavailable(words, FailureKind.BUSY) from err
        try:
            await self._slow_down(deadline, tell)
            # Looked at again: while this one waited another may have failed, or be the one trial.
            self._check(loop.time())
            self.health = replace(self.health, breaker=on_try(self.health.breaker, loop.time()))
            yield
        finally:
            self.gate.leave(user)

    def abandon(self, *, was_sent: bool = False) -> None:
        """The request proved nothing: half-open, the next one may try.

        One that was not sent counts for no rate: those that a spent budget refused kept everybody
        else waiting for their turn.
        """
        if not was_sent and self._bucket is not None:
            self._bucket = given_back(self._bucket, self._rate)
        self.health = replace(self.health, breaker=on_abandoned(self.health.breaker))

    def ended(
        self,
        call: ProviderCall,
        error: BaseException | None,
        *,
        jitter: float,
    ) -> None:
        """A request ended, with the error that ended it."""
        name = self.config.label
        if isinstance(error, Unavailable):
            now = asyncio.get_running_loop().time()
            if error.kind in TOO_MUCH and call.sent_at is not None:
                self.gate.crowded(call.sent_at)
            self.health, what = failed(self.health, error, now, jitter=jitter)
            if what is not None:
                self._observe(ProviderNews(what, name, error.kind, error.user_message))
        elif call.end is not None or isinstance(error, Refused):
            # A refusal is no failure: the provider is well, it does not want this question.
            self.gate.answered()
            self.first_token_s = blend(self.first_token_s, call.first_token_s)
            if call.sent_at is not None:
                held_s = asyncio.get_running_loop().time() - call.sent_at
                self._answer_s = blend(self._answer_s, held_s)
            self.health, what = answered(self.health)
            if what is not None:
                self._observe(ProviderNews(what, name))
        else:
            self.abandon(was_sent=call.sent_at is not None)

    async def _slow_down(self, deadline: float, tell: TellPlace) -> None:
        """Waits as long as it asked for, and for its rate.

        Raises:
            Unavailable: ``BUSY``: that would take until after the deadline.
        """
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            pause_s = max(0.0, self.health.wait_until - now)
            if pause_s == 0.0:
                self._bucket, pause_s = take(self._bucket, self._rate, now)
            if pause_s == 0.0:
                return
            if now + pause_s > deadline:
                words = f"{self.config.label} takes no more questions for {pause_s:.0f} s."
                raise Unavailable(words, FailureKind.BUSY, retry_after_s=pause_s)
            await tell(1, pause_s)
            await asyncio.sleep(pause_s)

    def _check(self, now: float) -> None:
        if (outage := barred(self.health, now)) is not None:
            why = _again_in(outage.reason, outage.until, now)
            seconds = None if outage.until is None else outage.until - now
            words = f"{self.config.label} is not asked now: {why}"
            raise Unavailable(words, outage.kind, retry_after_s=seconds)


def _again_in(reason: str, until: float | None, now: float) -> str:
    if until is None:
        return reason
    seconds = until - now
    if seconds < 90:
        return f"{reason} Again in {max(1, round(seconds))} s."
    wait = f"{round(seconds / 60)} min" if seconds < 5400 else f"{round(seconds / 3600)} h"
    return f"{reason} Again in {wait}."
