"""A cloud in virtual time whose ledger refuses nothing; each play says how it answers."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime

from bot.cloud.billing import Ledger
from bot.cloud.providers import Providers
from bot.domain.chat import Endpoint, InferenceRequest
from bot.domain.cloud import Account, Booking, LedgerAnswer, ProviderConfig, Settlement
from bot.domain.events import Delta
from bot.domain.ids import ProviderName


class FreeSky(ABC):
    """What every play of providers without sockets or a database needs the same."""

    @abstractmethod
    def open_stream(
        self, endpoint: Endpoint, request: InferenceRequest
    ) -> AbstractAsyncContextManager[AsyncIterator[Delta]]: ...

    @abstractmethod
    async def book(self, booking: Booking) -> LedgerAnswer: ...

    async def settle(self, settlement: Settlement) -> LedgerAnswer:
        return LedgerAnswer(settlement.number, ())

    async def accounts(self, _providers: Sequence[ProviderName]) -> tuple[Account, ...]:
        return ()

    def providers(self, *configs: ProviderConfig) -> Providers:
        return Providers(
            configs,
            ledger=Ledger(self.book, self.settle, self.accounts, lambda: "today"),
            open_stream=self.open_stream,
            observe=lambda _: None,
            utcnow=lambda: datetime(2026, 11, 20, tzinfo=UTC),
            draw=lambda: 0.5,
            salt="salt",
        )
