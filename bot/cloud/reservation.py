"""The way in and out of one call: a place, the money, the call, its cost and its outcome."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from types import TracebackType

from bot.cloud.asking import CloudAsk, OpenStream
from bot.cloud.billing import Billing
from bot.cloud.books import Books
from bot.cloud.call import Call, Granted
from bot.cloud.prices import Prices
from bot.cloud.provider import Provider
from bot.domain.chat import Endpoint, InferenceRequest
from bot.domain.cloud import Booking, CloudEvent, Price
from bot.domain.errors import Bug
from bot.policy.context import message_tokens
from bot.policy.periods import month_left_s
from bot.policy.pricing import worst_cost
from bot.policy.privacy import LEDGER, user_hash
from bot.policy.wires import first_token_s, thinking_room


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the providers are given from outside."""

    books: Books
    open_stream: OpenStream
    """``Inference.open``."""
    observe: Callable[[CloudEvent], None]
    utcnow: Callable[[], datetime]
    draw: Callable[[], float]
    """A number drawn evenly from 0 to 1."""
    salt: str
    """For the hashes people go by; made once and kept."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    """Pauses before a retry."""


class Permit:
    """The way in and out of one call."""

    def __init__(
        self,
        provider: Provider,
        ask: CloudAsk,
        around: Surroundings,
        prices: Prices,
        cashier: Billing,
    ) -> None:
        self._provider = provider
        self._ask = ask
        self._around = around
        self._prices = prices
        self._cashier = cashier
        self._call: Call | None = None

    async def __aenter__(self) -> Call:
        provider = self._provider
        deadline = asyncio.get_running_loop().time() + provider.config.max_wait_s
        with ExitStack() as undo:
            await provider.enter(deadline)
            undo.callback(provider.gate.leave)
            await provider.slow_down(deadline)
            provider.begin()
            undo.callback(provider.abandon)
            self._call = Call(await self._granted(), self._around.open_stream)
            undo.pop_all()
        return self._call

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        call = self._call
        if call is None:
            raise Bug("a call was left before it was entered")
        left_s = month_left_s(self._around.utcnow())
        self._provider.ended(call, error, month_left_s=left_s, jitter=self._around.draw())
        self._provider.gate.leave()
        await self._cashier.settle(call.close(error))

    async def _granted(self) -> Granted:
        config, ask = self._provider.config, self._ask
        price = await self._price()
        thinking = ask.thinking or config.thinking
        room = ask.answer_tokens + thinking_room(config.model, thinking)
        prompt_tokens = sum(map(message_tokens, ask.messages))
        number = await self._cashier.book(
            Booking(
                turn=ask.turn,
                provider=config.name,
                model=config.model,
                worst_micro_usd=worst_cost(price, prompt_tokens, room),
                price=price,
                user=self._hashed(LEDGER),
                server=ask.server,
            )
        )
        # The limit is always sent: without it the worst case would have no bound.
        sampling = replace(ask.sampling, max_tokens=room)
        name = self._hashed(config.name) or None
        request = InferenceRequest(ask.messages, sampling, name)
        return Granted(number, self._endpoint(), request, price, prompt_tokens)

    async def _price(self) -> Price:
        config, at = self._provider.config, self._around.utcnow()
        price = self._prices.price(config, at)
        if price is None:
            await self._prices.load()
            price = self._prices.price(config, at)
        if price is None:
            raise Bug("there is no price after prices were loaded")
        return price

    def _hashed(self, purpose: str) -> str:
        user = self._ask.user
        return "" if user is None else user_hash(self._around.salt, purpose, user)

    def _endpoint(self) -> Endpoint:
        config = self._provider.config
        thinking = self._ask.thinking or config.thinking
        return Endpoint(
            base_url=config.base_url,
            model=config.model,
            wire=config.wire,
            token=config.api_key,
            source=config.name,
            is_local=False,
            first_token_s=first_token_s(config.timeout_s, config.model, thinking),
            idle_s=config.idle_s,
            dialect=config.dialect,
            thinking=thinking,
        )
