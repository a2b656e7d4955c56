"""All providers: what routing may know of them, and the only way to ask one."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import datetime
from itertools import chain
from types import TracebackType
from typing import Self

from bot.cloud.billing import Billing, Held, Ledger
from bot.cloud.call import CloudAsk, OpenStream, ProviderCall
from bot.cloud.deployment import Deployment, TellPlace
from bot.cloud.prices import Prices
from bot.cloud.reservation import reservation
from bot.domain.cloud import (
    AnswerRoom,
    CloudEvent,
    Price,
    ProviderConfig,
    ProviderSnapshot,
    ProviderStanding,
)
from bot.domain.errors import Bug, FailureKind, StoreUnavailable, Unavailable
from bot.domain.ids import ProviderName, UserId
from bot.policy.budget import (
    brief_refusal,
    dollars_text,
    is_beyond,
    is_held,
    left_of,
    refusal,
    with_fitting,
)
from bot.policy.dialects import thinking_room
from bot.policy.pricing import PLAN, fitting_answer, likely_cost, worst_cost
from bot.policy.privacy import LEDGER, user_hash
from bot.policy.provider_health import barred, choose_deployment
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
            configs: Who may be asked; several of one name are its deployments, in their order.
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
        self.names = tuple(dict.fromkeys(config.name for config in configs))
        """Every provider, as configured."""
        self._open_stream = open_stream
        self._utcnow = utcnow
        self._salt = salt
        self._prices = Prices()
        # One account of money and one consent for all deployments of a provider; what one key or
        # address takes, refuses or breaks says nothing of the others.
        self._providers = {
            name: tuple(Deployment(config, observe) for config in configs if config.name == name)
            for name in self.names
        }
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
        if any(d.config.price is None for d in self._deployments()):
            await self._prices.load()
        today = self._billing.today()
        if self._providers and not any(a.period == today for a in self._billing.accounts()):
            await self._billing.refresh(self.names)

    def snapshots(
        self,
        prompt_tokens: int,
        answer_tokens: int,
        now: float,
        room: AnswerRoom | None = None,
    ) -> tuple[ProviderSnapshot, ...]:
        """Every provider as a decision about such a request sees it; sync, from memory.

        Args:
            prompt_tokens: Estimated.
            answer_tokens: Room for the answer, by half of which a usual cost is told.
            now: The loop's time.
            room: What a provider is sent as that, and its most is told by; None is the same.
        """
        room = room or AnswerRoom(answer_tokens)
        return tuple(
            self._snapshot(provider, prompt_tokens, answer_tokens, now, room)
            for provider in self._providers.values()
        )

    def next_deployment(self, name: ProviderName, asked: Mapping[int, int]) -> Deployment:
        """Which of a provider's deployments a question goes to now.

        Args:
            name: The provider.
            asked: How often this question asked each, by its number.

        Raises:
            Unavailable: nobody is configured by that name.
        """
        all_, now = self.deployments(name), asyncio.get_running_loop().time()
        standings = [d.standing(asked.get(d.config.deployment, 0), now) for d in all_]
        weights = [d.config.weight for d in all_]
        return all_[choose_deployment(standings, weights, self.draw())]

    @asynccontextmanager
    async def call(
        self,
        deployment: Deployment,
        ask: CloudAsk,
        until: float | None = None,
        tell: TellPlace = unheard,
    ) -> AsyncGenerator[ProviderCall]:
        """The right to ask a deployment once: ``async with providers.call(...) as call:``.

        1. A place: room among the calls under way, its rate, its health (``deployment``).
        2. The price, and the worst case of what would be sent (``prices``, ``reservation``).
        3. The money is held (``billing``), or the deployment is left as it was found. Where only
           what is held for calls under way stands against it, some of that is waited for: people
           were told of a spent budget of which most was left.
        4. The block sends the request, judged once more, and reads the answer (``call``).
        5. How it went is remembered, whatever the block ended with, and the place left.
        6. What it cost is settled.

        Args:
            deployment: Whom.
            ask: What.
            until: The loop's time after which nobody waits for a place any more; None leaves it to
                the provider's own limit.
            tell: Hears of the wait, where there is one.

        Raises:
            Unavailable: on entering: it is out, busy, resting, or its worst case would pass a
                limit.
        """
        if until is None:
            until = asyncio.get_running_loop().time() + deployment.config.max_wait_s
        call, error = None, None
        try:
            async with AsyncExitStack() as place:
                while call is None:
                    await place.enter_async_context(
                        deployment.place(str(ask.user or ""), until, tell, ask.priority)
                    )
                    try:
                        call = await self._reserved(deployment.config, ask)
                    except Held as held:
                        deployment.abandon()
                        # Others, whose money it is not, need not wait for it.
                        await place.aclose()
                        await tell(1, deployment.wait_s(1, asyncio.get_running_loop().time()))
                        await self._billing.freed(held, until)
                    except BaseException:
                        deployment.abandon()
                        raise
                try:
                    yield call
                except BaseException as raised:
                    error = raised
                    raise
                finally:
                    deployment.ended(call, error, jitter=self.draw())
        finally:
            # After the place is left: a slow disk must not keep the next question waiting.
            if call is not None:
                await self._billing.settle(call.settlement(error))

    async def _reserved(self, config: ProviderConfig, ask: CloudAsk) -> ProviderCall:
        """A call whose worst case is held in the ledger."""
        at = self._utcnow()
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
        found: list[ProviderStanding] = []
        for name, provider in self._providers.items():
            each = tuple(d.told(now) for d in provider)
            accounts = tuple(a for a in self._billing.accounts(name) if a.payer == "provider")
            whole = replace(
                each[0],
                name=name,
                reason=_why_out(provider, now),
                limited_s=min(one.limited_s for one in each),
                running=sum(one.running for one in each),
                waiting=sum(one.waiting for one in each),
                accounts=accounts,
                deployments=each if len(each) > 1 else (),
            )
            found.append(whole)
        return tuple(found)

    def config(self, name: ProviderName) -> ProviderConfig:
        """The settings of one provider, but for its further keys and addresses.

        Raises:
            Unavailable: nobody is configured by that name.
        """
        return self.deployments(name)[0].config

    def context_length(self, name: ProviderName) -> int | None:
        """The window of its model; None when nobody knows it."""
        return self._prices.context_length(self.config(name), self._utcnow())

    # --- retries -------------------------------------------------------------------------

    def take_repeat(self, name: ProviderName) -> bool:
        """Take one repeat out of the minute's budget; False when none is left or it is out."""
        # A repeat that would be refused here at once is none: the next candidate is asked instead.
        now = asyncio.get_running_loop().time()
        is_there = any(barred(d.health, now) is None for d in self.deployments(name))
        is_free = is_there and self._retries.may_retry(now)
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
        """Take a deployment's settings, new ones or the same; it may be asked again at once.

        Raises:
            Unavailable: there is no such provider or deployment.
        """
        for deployment in self.deployments(config.name):
            if deployment.config.deployment == config.deployment:
                return deployment.renew(config)
        raise _unknown(config.label)

    @property
    def has_outage(self) -> bool:
        """Is one left out for its key, its money or its plan?"""
        return any(deployment.health.outage is not None for deployment in self._deployments())

    def take_keys(self, configs: Sequence[ProviderConfig]) -> None:
        """Take keys that were changed meanwhile; whoever has a new one may be asked at once."""
        keys = {config.label: config.api_key for config in configs}
        for deployment in self._deployments():
            old = deployment.config
            if old.label in keys and old.api_key != keys[old.label]:
                deployment.renew(replace(old, api_key=keys[old.label]))

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
            if (price := self._prices.price(provider[0].config, at)) is not None
            and price.is_known
            and price.source != PLAN
        ]
        if not known:
            return None
        _, name, price = min(known, key=lambda found: found[:2])
        return name, price

    def deployments(self, name: ProviderName) -> tuple[Deployment, ...]:
        """A provider's deployments, one at least.

        Raises:
            Unavailable: nobody is configured by that name.
        """
        if name not in self._providers:
            raise _unknown(name)
        return self._providers[name]

    def _deployments(self) -> Iterator[Deployment]:
        return chain.from_iterable(self._providers.values())

    def _snapshot(
        self,
        provider: Sequence[Deployment],
        prompt_tokens: int,
        answer_tokens: int,
        now: float,
        room: AnswerRoom,
    ) -> ProviderSnapshot:
        at, reason = self._utcnow(), _why_out(provider, now)
        # Those that may be asked speak for the provider; where none may, all do.
        able = [d for d in provider if not d.why_out(now)] or provider
        config = able[0].config
        seen = [d.first_token_s for d in able if d.first_token_s is not None]
        brief, worst, likely, has_plan, beyond = "not available", None, None, False, False
        if (price := self._prices.price(config, at)) is not None:
            most = room.at(config) + thinking_room(config.model, config.thinking)
            worst = worst_cost(price, prompt_tokens, most)
            accounts = self._billing.accounts(config.name)
            short = refusal(accounts, worst)
            if not reason and short and not is_held(accounts, worst):
                fitting = fitting_answer(price, worst, room.at(config), left_of(accounts) or 0)
                short = with_fitting(short, fitting)
                reason = f"it may cost up to {dollars_text(worst)}; {short}"
                brief, beyond = brief_refusal(accounts, worst), is_beyond(accounts, worst)
            # A stand-in's price is held and charged, but no route is compared by it.
            worst = worst if price.is_known else None
            likely = likely_cost(price, prompt_tokens, answer_tokens) if price.is_known else None
            has_plan = price.source == PLAN
        return ProviderSnapshot(
            name=config.name,
            model=config.model,
            is_serving=not reason,
            reason=reason,
            brief=brief,
            is_beyond=beyond,
            quality=config.quality,
            first_token_s=min(seen, default=None),
            cost_micro_usd=worst,
            context_length=self._prices.context_length(config, at),
            vision=config.vision,
            likely_micro_usd=likely,
            has_plan=has_plan,
        )


def _why_out(provider: Sequence[Deployment], now: float) -> str:
    """Why none of its deployments can be asked now, for people; nothing when one can."""
    reasons = [deployment.why_out(now) for deployment in provider]
    if not all(reasons):
        return ""
    if len(reasons) == 1:
        return reasons[0]
    return " ".join(f"{d.config.label}: {why}" for d, why in zip(provider, reasons, strict=True))


def _unknown(name: ProviderName) -> Unavailable:
    return Unavailable(f"No provider is configured by the name {name}.", FailureKind.NOT_THERE)
