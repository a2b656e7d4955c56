"""All providers: what routing may know of them, and the only way to ask one."""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from bot.cloud.asking import CloudAsk
from bot.cloud.billing import Billing
from bot.cloud.prices import Prices
from bot.cloud.provider import Provider
from bot.cloud.reservation import Permit, Surroundings
from bot.domain.cloud import Price, ProviderConfig, ProviderSnapshot
from bot.domain.errors import Bug, FailureKind, StoreUnavailable, Unavailable
from bot.domain.ids import ProviderName, UserId
from bot.policy.pricing import likely_cost, worst_cost
from bot.policy.privacy import LEDGER, CloudConsent, user_hash
from bot.policy.retry import RetryBudget
from bot.policy.wires import thinking_room

_CLOSE_S = 10.0
"""Longest the last costs may take to be written when Lantern stops."""
_TYPICAL = (1000, 500)
"""Prompt and answer tokens by which the cheapest provider is found."""


class Providers:
    """The cloud, as one async context manager; leaving it waits for the last costs."""

    def __init__(
        self,
        configs: Sequence[ProviderConfig],
        around: Surroundings,
        prices: Prices | None = None,
    ) -> None:
        self._around = around
        self._prices = prices or Prices()
        self._providers = {config.name: Provider(config, around.observe) for config in configs}
        self._tasks = asyncio.TaskGroup()
        self._cashier = Billing(around.books, around.observe, self._tasks)
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

    @property
    def names(self) -> tuple[ProviderName, ...]:
        """Every provider, as configured."""
        return tuple(self._providers)

    async def prepare(self) -> None:
        """Load prices and the day's totals, so that the next snapshot knows them."""
        if any(provider.config.price is None for provider in self._providers.values()):
            await self._prices.load()
        if self._providers and self._cashier.totals is None:
            await self._cashier.refresh()

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

    def call(self, name: ProviderName, ask: CloudAsk) -> Permit:
        """The right to ask a provider once: ``async with providers.call(...) as call:``.

        Entering waits a bounded time for a place, then holds the money. Leaving settles the cost
        and remembers how the provider did, whatever the block ended with.

        Raises:
            Bug: the consent does not cover these words, or is none.
            Unavailable: nobody is configured by that name; on entering also: it is out,
                busy, resting, or its worst case would pass a limit.
        """
        if type(ask.consent) is not CloudConsent or not ask.consent.covers(ask.messages, name):
            raise Bug(f"words without consent were about to be sent to {name}")
        return Permit(self._provider(name), ask, self._around, self._prices, self._cashier)

    def config(self, name: ProviderName) -> ProviderConfig:
        """The settings of one provider.

        Raises:
            Unavailable: nobody is configured by that name.
        """
        return self._provider(name).config

    def context_length(self, name: ProviderName) -> int | None:
        """The window of its model; None when nobody knows it."""
        return self._prices.context_length(self.config(name))

    # --- retries -------------------------------------------------------------------------

    def may_retry(self, name: ProviderName) -> bool:
        """Does the minute's budget of retries allow one, and would the provider be asked?"""
        now = asyncio.get_running_loop().time()
        return self._retries.may_retry(now) and not self._provider(name).is_barred(now)

    def count_request(self, *, is_retry: bool) -> None:
        """A request of a question was sent."""
        now = asyncio.get_running_loop().time()
        budget = self._retries
        self._retries = budget.after_retry(now) if is_retry else budget.after_first(now)

    async def pause(self, seconds: float) -> None:
        """Wait before a retry."""
        await self._around.sleep(seconds)

    def draw(self) -> float:
        """A number from 0 to 1, for pauses that differ."""
        return self._around.draw()

    # --- admins and reports ---------------------------------------------------------------

    def renew(self, config: ProviderConfig) -> None:
        """Take a provider's new settings, such as another key; it may be asked again at once.

        Raises:
            Unavailable: nobody is configured by that name.
        """
        self._provider(config.name).renew(config)

    def pardon(self, name: ProviderName) -> None:
        """An admin says that a provider may be asked again: money was paid in, a key mended.

        Raises:
            Unavailable: nobody is configured by that name.
        """
        self._provider(name).pardon()

    async def catch_up(self) -> None:
        """Write costs that could not be written when they came; for a timer."""
        try:
            await self._cashier.catch_up()
        except Unavailable as err:
            raise StoreUnavailable(err.user_message) from err

    def ledger_name(self, user: UserId) -> str:
        """The hash a person goes by in the ledger."""
        return user_hash(self._around.salt, LEDGER, user)

    async def cheapest(self) -> tuple[ProviderName, Price] | None:
        """By what turns answered at home are priced for a report; None without a known price."""
        await self.prepare()
        at = self._around.utcnow()
        known = [
            (likely_cost(price, *_TYPICAL), name, price)
            for name, provider in self._providers.items()
            if (price := self._prices.price(provider.config, at)) is not None and price.is_known
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
        config = provider.config
        price = self._prices.price(config, self._around.utcnow())
        room = answer_tokens + thinking_room(config.model, config.thinking)
        worst = None if price is None else worst_cost(price, prompt_tokens, room)
        reason = provider.why_out(now) or self._why_too_dear(worst)
        is_known = price is not None and price.is_known
        return ProviderSnapshot(
            name=config.name,
            model=config.model,
            is_serving=not reason,
            reason=reason,
            quality=config.quality,
            first_token_s=provider.first_token_s,
            cost_micro_usd=worst if is_known else None,
            context_length=self._prices.context_length(config),
            vision=config.vision,
            likely_micro_usd=(
                likely_cost(price, prompt_tokens, answer_tokens)
                if price is not None and is_known
                else None
            ),
        )

    def _why_too_dear(self, worst: int | None) -> str:
        totals = self._cashier.totals
        left = None if totals is None else totals.left_micro_usd
        if worst is None or left is None or worst <= left:
            return ""
        return f"it may cost up to ${worst / 1e6:.4f}; today's budget has ${left / 1e6:.4f} left"
