"""All providers: what routing may know of them, and the only way to ask one."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import Self

from bot.cloud.billing import Billing, Ledger
from bot.cloud.call import CloudAsk, OpenStream, ProviderCall
from bot.cloud.prices import Prices
from bot.cloud.provider import Provider, Tell
from bot.cloud.reservation import reservation
from bot.domain.cloud import CloudEvent, Price, ProviderConfig, ProviderSnapshot, ProviderStanding
from bot.domain.errors import BRIEFLY, Bug, FailureKind, StoreUnavailable, Unavailable
from bot.domain.ids import ProviderName, UserId
from bot.policy.budget import refusal
from bot.policy.dialects import thinking_room
from bot.policy.pricing import PLAN, likely_cost, worst_cost
from bot.policy.privacy import LEDGER, user_hash
from bot.policy.provider_health import barred
from bot.policy.retry import RetryBudget

_CLOSE_S = 10.0
"""Longest the last costs may take to be written when Lantern stops."""
_TYPICAL = (1000, 500)
"""Prompt and answer tokens by which the cheapest provider is found."""


async def unheard(place: int, seconds: float) -> None:
    """Of a wait nobody watches."""


class Providers:
    """The cloud, as one async context manager; leaving it waits for the last costs."""

    def __init__(
        self,
        configs: Sequence[ProviderConfig],
        *,
        ledger: Ledger,
        open_stream: OpenStream,
        observe: Callable[[CloudEvent], None],
        utcnow: Callable[[], datetime],
        draw: Callable[[], float],
        salt: str,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Ask nobody yet.

        Args:
            configs: Who may be asked.
            ledger: Where money is written down.
            open_stream: ``Inference.open``.
            observe: Hears what the admins are to be told.
            utcnow: The wall clock, aware.
            draw: A number drawn evenly from 0 to 1, so that pauses differ.
            salt: For the hashes people go by; made once and kept.
            sleep: Pauses before a retry.
        """
        self.draw = draw
        self.sleep = sleep
        self.names = tuple(config.name for config in configs)
        """Every provider, as configured."""
        self._open_stream = open_stream
        self._utcnow = utcnow
        self._salt = salt
        self._prices = Prices()
        self._providers = {config.name: Provider(config, observe) for config in configs}
        self._tasks = asyncio.TaskGroup()
        self._billing = Billing(ledger, observe, self._tasks)
        self._retries = RetryBudget()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # As if nothing had gone wrong: costs are written all the same, and an error of the block
        # leaves it as it is instead of in a group.
        async with asyncio.timeout(_CLOSE_S):
            await self._tasks.__aexit__(None, None, None)

    async def prepare(self) -> None:
        """Load prices and what is spent, so that the next snapshot knows them."""
        if any(provider.config.price is None for provider in self._providers.values()):
            await self._prices.load()
        today = self._billing.today()
        if self._providers and not any(a.period == today for a in self._billing.accounts()):
            await self._billing.refresh(self.names)

    def snapshots(
        self, prompt_tokens: int, answer_tokens: int, now: float
    ) -> tuple[ProviderSnapshot, ...]:
        """Every provider as a decision about such a request sees it; sync, from memory.

        Args:
            prompt_tokens: Estimated.
            answer_tokens: Room for the answer.
            now: The loop's time.
        """
        return tuple(
            self._snapshot(provider, prompt_tokens, answer_tokens, now)
            for provider in self._providers.values()
        )

    def call(
        self, name: ProviderName, ask: CloudAsk, until: float | None = None, tell: Tell = unheard
    ) -> AbstractAsyncContextManager[ProviderCall]:
        """The right to ask a provider once: ``async with providers.call(...) as call:``.

        Entering waits a bounded time for a place, then holds the money. Leaving settles the cost
        and remembers how the provider did, whatever the block ended with.

        Args:
            name: Whom.
            ask: What.
            until: The loop's time after which nobody waits for a place any more; None leaves it to
                the provider's own limit.
            tell: Hears of the wait, where there is one.

        Raises:
            Unavailable: nobody is configured by that name; on entering also: it is out, busy,
                resting, or its worst case would pass a limit.
        """
        provider = self._provider(name)
        if until is None:
            until = asyncio.get_running_loop().time() + provider.config.max_wait_s
        return self._call(provider, ask, until, tell)

    @asynccontextmanager
    async def _call(
        self, provider: Provider, ask: CloudAsk, until: float, tell: Tell
    ) -> AsyncGenerator[ProviderCall]:
        """One call, from its place to its cost.

        1. A place: room among the calls under way, its rate, its health (``provider``).
        2. The price, and the worst case of what would be sent (``prices``, ``reservation``).
        3. The money is held (``billing``), or the provider is left as it was found.
        4. The block sends the request, judged once more, and reads the answer (``call``).
        5. How it went is remembered, and the place left.
        6. What it cost is settled.
        """
        call, error = None, None
        try:
            async with provider.place(str(ask.user or ""), until, tell):
                try:
                    call = await self._reserved(provider, ask)
                except BaseException:
                    provider.abandon()
                    raise
                try:
                    yield call
                except BaseException as raised:
                    error = raised
                    raise
                finally:
                    provider.ended(call, error, jitter=self.draw())
        finally:
            # After the place is left: a slow disk must not keep the next question waiting.
            if call is not None:
                await self._billing.settle(call.settlement(error))

    async def _reserved(self, provider: Provider, ask: CloudAsk) -> ProviderCall:
        """A call whose worst case is held in the ledger."""
        config, at = provider.config, self._utcnow()
        if self._prices.price(config, at) is None:
            await self._prices.load()
        price = self._prices.price(config, at)
        if price is None:
            raise Bug("there is no price after prices were loaded")
        booking, call = reservation(config, ask, price, self._salt, self._open_stream)
        call.number = await self._billing.book(booking)
        return call

    async def standings(self) -> tuple[ProviderStanding, ...]:
        """Every provider as it stands now, with what was spent on it."""
        await self._billing.refresh(self.names)
        now = asyncio.get_running_loop().time()
        return tuple(
            ProviderStanding(
                name=name,
                model=provider.config.model,
                reason=provider.why_out(now),
                limited_s=max(0.0, provider.health.wait_until - now),
                running=provider.gate.holding.total(),
                waiting=len(provider.gate.waiting),
                accounts=tuple(a for a in self._billing.accounts(name) if a.payer == "provider"),
            )
            for name, provider in self._providers.items()
        )

    def config(self, name: ProviderName) -> ProviderConfig:
        """The settings of one provider.

        Raises:
            Unavailable: nobody is configured by that name.
        """
        return self._provider(name).config

    def context_length(self, name: ProviderName) -> int | None:
        """The window of its model; None when nobody knows it."""
        return self._prices.context_length(self.config(name), self._utcnow())

    # --- retries -------------------------------------------------------------------------

    def take_repeat(self, name: ProviderName) -> bool:
        """Take one repeat out of the minute's budget; False when none is left or it is out."""
        # A repeat that would be refused here at once is none: the next candidate is asked instead.
        now = asyncio.get_running_loop().time()
        is_free = self._retries.may_retry(now) and barred(self._provider(name).health, now) is None
        # Taken where it is allowed: counted only at their sending, many questions that fail in one
        # moment would each find the same last place.
        if is_free:
            self._retries = self._retries.sent(now, is_retry=True)
        return is_free

    def count_first(self) -> None:
        """A question's first request to a provider was sent."""
        now = asyncio.get_running_loop().time()
        self._retries = self._retries.sent(now, is_retry=False)

    # --- admins and reports ---------------------------------------------------------------

    def renew(self, config: ProviderConfig) -> None:
        """Take a provider's settings, new ones or the same; it may be asked again at once.

        Raises:
            Unavailable: nobody is configured by that name.
        """
        self._provider(config.name).renew(config)

    @property
    def has_outage(self) -> bool:
        """Is one left out for its key, its money or its plan?"""
        return any(provider.health.outage is not None for provider in self._providers.values())

    def take_keys(self, configs: Sequence[ProviderConfig]) -> None:
        """Take keys that were changed meanwhile; whoever has a new one may be asked at once."""
        for config in configs:
            provider = self._providers.get(config.name)
            if provider is not None and provider.config.api_key != config.api_key:
                provider.renew(replace(provider.config, api_key=config.api_key))

    async def catch_up(self) -> None:
        """Write costs that could not be written when they came; for a timer."""
        try:
            await self._billing.catch_up()
        except Unavailable as err:
            raise StoreUnavailable(err.user_message) from err

    def ledger_name(self, user: UserId) -> str:
        """The hash a person goes by in the ledger."""
        return user_hash(self._salt, LEDGER, user)

    async def cheapest(self) -> tuple[ProviderName, Price] | None:
        """By what turns answered at home are priced for a report; None without a known price."""
        await self.prepare()
        at = self._utcnow()
        # A stand-in's price would tell of savings that nobody can check, a plan's of none.
        known = [
            (likely_cost(price, *_TYPICAL), name, price)
            for name, provider in self._providers.items()
            if (price := self._prices.price(provider.config, at)) is not None
            and price.is_known
            and price.source != PLAN
        ]
        if not known:
            return None
        _, name, price = min(known, key=lambda found: found[:2])
        return name, price

    def _provider(self, name: ProviderName) -> Provider:
        provider = self._providers.get(name)
        if provider is None:
            words = f"No provider is configured by the name {name}."
            raise Unavailable(words, FailureKind.NOT_THERE)
        return provider

    def _snapshot(
        self, provider: Provider, prompt_tokens: int, answer_tokens: int, now: float
    ) -> ProviderSnapshot:
        config, at = provider.config, self._utcnow()
        reason = provider.why_out(now)
        brief, worst, likely = "not available", None, None
        if (price := self._prices.price(config, at)) is not None:
            room = answer_tokens + thinking_room(config.model, config.thinking)
            worst = worst_cost(price, prompt_tokens, room)
            short = refusal(self._billing.accounts(config.name), worst)
            if not reason and short:
                reason = f"it may cost up to ${worst / 1e6:.4f}; {short}"
                brief = BRIEFLY[FailureKind.BUDGET]
            # A stand-in's price is held and charged, but no route is compared by it.
            worst = worst if price.is_known else None
            likely = likely_cost(price, prompt_tokens, answer_tokens) if price.is_known else None
        return ProviderSnapshot(
            name=config.name,
            model=config.model,
            is_serving=not reason,
            reason=reason,
            brief=brief,
            quality=config.quality,
            first_token_s=provider.first_token_s,
            cost_micro_usd=worst,
            context_length=self._prices.context_length(config, at),
            vision=config.vision,
            likely_micro_usd=likely,
        )
