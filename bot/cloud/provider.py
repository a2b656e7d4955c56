"""One provider: its standing, its door and its rate, all in one owner."""

import asyncio
from collections.abc import Callable

from bot.cloud.call import Call
from bot.cloud.concurrency import Gate
from bot.domain.cloud import CloudEvent, ProviderConfig, ProviderNews
from bot.domain.errors import FailureKind, Refused, Unavailable
from bot.policy.concurrency import CROWDED_CODE, lanes
from bot.policy.provider_health import (
    Failed,
    Standing,
    abandoned,
    answered,
    barred,
    failed,
    news,
    said,
    tried,
    wait_s,
)
from bot.policy.ratelimit import Bucket, RateRule, take
from bot.policy.retry import LONGEST_TOLD_S
from bot.policy.speeds import blend


class Provider:
    """What is known of one provider and who may ask it now."""

    def __init__(self, config: ProviderConfig, observe: Callable[[CloudEvent], None]) -> None:
        self.config = config
        self.gate = Gate(lanes(config.max_concurrent, is_careful=config.dialect == "zai"))
        self.first_token_s: float | None = None
        """Measured: a running average."""
        self._observe = observe
        self._standing = Standing()
        self._bucket: Bucket | None = None
        self._rate = RateRule(config.rate_count, config.rate_period_s)

    def why_out(self, now: float) -> str:
        """Why it cannot be asked now, for people; nothing when it can."""
        bar = barred(self._standing, now)
        if bar is not None:
            return _with_time(bar.reason, bar.seconds)
        wait = wait_s(self._standing, now)
        return _with_time("It asked us to slow down.", wait) if wait > LONGEST_TOLD_S else ""

    def is_barred(self, now: float) -> bool:
        """May no request go out, whatever wait it asks for?"""
        return barred(self._standing, now) is not None

    async def enter(self, deadline: float) -> None:
        """Wait for a place; ``gate.leave`` gives it back.

        Raises:
            Unavailable: it is out, or there is no place in time.
        """
        self._check(asyncio.get_running_loop().time())
        try:
            await self.gate.enter(deadline)
        except TimeoutError as err:
            words = f"{self.config.name} is busy with {self.gate.busy} other questions of ours."
            raise Unavailable(words, FailureKind.BUSY) from err

    async def slow_down(self, deadline: float) -> None:
        """Wait as long as its rate limit and its own word ask for.

        Raises:
            Unavailable: that would be too long.
        """
        loop = asyncio.get_running_loop()
        while (wait := self._wait_s(loop.time())) > 0.0:
            told = wait_s(self._standing, loop.time())
            if told > LONGEST_TOLD_S or loop.time() + wait > deadline:
                raise self._too_soon(wait)
            await asyncio.sleep(wait)

    def begin(self) -> None:
        """A request goes out now.

        Raises:
            Unavailable: it is out after all; in half-open, others are trying it.
        """
        now = asyncio.get_running_loop().time()
        self._check(now)
        self._standing = tried(self._standing, now)

    def abandon(self) -> None:
        """The request proved nothing."""
        self._standing = abandoned(self._standing)

    def ended(
        self, call: Call, error: BaseException | None, *, month_left_s: float, jitter: float
    ) -> None:
        """A request ended, with the error that ended it."""
        if isinstance(error, Unavailable):
            self._failed(error, month_left_s, jitter)
        elif call.end is not None or isinstance(error, Refused):
            self._answered(call)
        else:
            self.abandon()

    def renew(self, config: ProviderConfig) -> None:
        """Take other settings; what it did under the old ones is forgotten."""
        self.config = config
        self._rate = RateRule(config.rate_count, config.rate_period_s)
        self.pardon()

    def pardon(self) -> None:
        """An admin says that it may be asked again."""
        self._standing = Standing()

    def _check(self, now: float) -> None:
        bar = barred(self._standing, now)
        if bar is not None:
            words = f"{self.config.name} is not asked now: {_with_time(bar.reason, bar.seconds)}"
            raise Unavailable(words, bar.kind, retry_after_s=bar.seconds)

    def _wait_s(self, now: float) -> float:
        told = wait_s(self._standing, now)
        if told > 0.0:
            return told
        taken = take(self._bucket, self._rate, now)
        self._bucket = taken.bucket
        return taken.wait_s

    def _too_soon(self, wait: float) -> Unavailable:
        words = f"{self.config.name} takes no more questions for {wait:.0f} s."
        return Unavailable(words, FailureKind.RATE_LIMIT, retry_after_s=wait)

    def _answered(self, call: Call) -> None:
        before = self._standing
        self._standing = answered(before)
        self.gate.answered()
        self.first_token_s = blend(self.first_token_s, call.first_token_s)
        if news(before, self._standing, None) == "back":
            self._observe(ProviderNews("back", self.config.name))

    def _failed(self, error: Unavailable, month_left_s: float, jitter: float) -> None:
        now = asyncio.get_running_loop().time()
        failure = Failed(error.kind, error.user_message, error.code, error.retry_after_s)
        before = self._standing
        after = failed(before, failure, now, month_left_s=month_left_s, jitter=jitter)
        if error.code == CROWDED_CODE:
            self.gate.crowded()
        what = news(before, after, failure)
        if what is None:
            self._standing = after
        else:
            self._standing = said(after, what)
            self._observe(ProviderNews(what, self.config.name, error.kind, error.user_message))


def _with_time(reason: str, seconds: float | None) -> str:
    if seconds is None:
        return reason
    return f"{reason} Again in {_duration(seconds)}."


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{round(seconds / 3600)} h"
