"""One provider: its health, its gate and its rate, all in one owner."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from bot.cloud.call import ProviderCall
from bot.cloud.concurrency import Gate
from bot.domain.cloud import CloudEvent, ProviderConfig, ProviderNews
from bot.domain.errors import FailureKind, Refused, Unavailable
from bot.policy.breaker import on_abandoned, on_try
from bot.policy.concurrency import CAREFUL_START, CROWDED_CODE, Concurrency
from bot.policy.provider_health import ProviderHealth, answered, barred, failed
from bot.policy.ratelimit import Bucket, RateRule, take
from bot.policy.retry import LONGEST_TOLD_S
from bot.policy.speeds import blend


class Provider:
    """What is known of one provider and who may ask it now."""

    def __init__(self, config: ProviderConfig, observe: Callable[[CloudEvent], None]) -> None:
        # Z.AI limits requests at once and tells the limit only by refusing: begun with few.
        most = config.max_concurrent
        first = min(CAREFUL_START, most) if config.dialect == "zai" else most
        self.gate = Gate(Concurrency(first, most))
        self.first_token_s: float | None = None
        """Measured: a running average."""
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
        if self.health.wait_until - now > LONGEST_TOLD_S:
            return _again_in("It asked us to slow down.", self.health.wait_until, now)
        return ""

    @asynccontextmanager
    async def place(self, deadline: float) -> AsyncGenerator[None]:
        """A place among the calls under way, for as long as the block lasts.

        Args:
            deadline: The loop's time after which nobody waits any more.

        Raises:
            Unavailable: it is out, there is no place in time, or its rate limit and its own word
                ask for a longer wait.
        """
        loop = asyncio.get_running_loop()
        self._check(loop.time())
        try:
            await self.gate.enter(deadline)
        except TimeoutError as err:
            words = f"{self.config.name} is busy with {self.gate.busy} other questions of ours."
            raise Unavailable(words, FailureKind.BUSY) from err
        try:
            await self._slow_down(deadline)
            # Looked at again: while this one waited another may have failed, or be the one trial.
            self._check(loop.time())
            self.health = replace(self.health, breaker=on_try(self.health.breaker, loop.time()))
            yield
        finally:
            self.gate.leave()

    def abandon(self) -> None:
        """The request proved nothing: half-open, the next one may try."""
        self.health = replace(self.health, breaker=on_abandoned(self.health.breaker))

    def ended(
        self,
        call: ProviderCall,
        error: BaseException | None,
        *,
        jitter: float,
    ) -> None:
        """A request ended, with the error that ended it."""
        name = self.config.name
        if isinstance(error, Unavailable):
            now = asyncio.get_running_loop().time()
            if error.code == CROWDED_CODE:
                self.gate.crowded()
            self.health, what = failed(self.health, error, now, jitter=jitter)
            if what is not None:
                self._observe(ProviderNews(what, name, error.kind, error.user_message))
        elif call.end is not None or isinstance(error, Refused):
            # A refusal is no failure: the provider is well, it does not want this question.
            self.gate.answered()
            self.first_token_s = blend(self.first_token_s, call.first_token_s)
            self.health, what = answered(self.health)
            if what is not None:
                self._observe(ProviderNews(what, name))
        else:
            self.abandon()

    async def _slow_down(self, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            told_s = wait_s = max(0.0, self.health.wait_until - now)
            if told_s == 0.0:
                self._bucket, wait_s = take(self._bucket, self._rate, now)
            if wait_s == 0.0:
                return
            if told_s > LONGEST_TOLD_S or now + wait_s > deadline:
                words = f"{self.config.name} takes no more questions for {wait_s:.0f} s."
                raise Unavailable(words, FailureKind.RATE_LIMIT, retry_after_s=wait_s)
            await asyncio.sleep(wait_s)

    def _check(self, now: float) -> None:
        if (outage := barred(self.health, now)) is not None:
            why = _again_in(outage.reason, outage.until, now)
            seconds = None if outage.until is None else outage.until - now
            words = f"{self.config.name} is not asked now: {why}"
            raise Unavailable(words, outage.kind, retry_after_s=seconds)


def _again_in(reason: str, until: float | None, now: float) -> str:
    if until is None:
        return reason
    seconds = until - now
    if seconds < 90:
        return f"{reason} Again in {max(1, round(seconds))} s."
    wait = f"{round(seconds / 60)} min" if seconds < 5400 else f"{round(seconds / 3600)} h"
    return f"{reason} Again in {wait}."
