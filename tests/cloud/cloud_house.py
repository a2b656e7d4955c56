"""A whole cloud on loopback: simulated providers, the real wires, the real ledger."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC
from pathlib import Path

from brief import brief
from clocks import WallClock
from collected import Collected
from databases import new_database

from bot.cloud.billing import Ledger
from bot.cloud.call import CloudAsk
from bot.cloud.deployment import Deployment
from bot.cloud.providers import Providers
from bot.cloud.serve import Listener, ProviderTries, serve
from bot.domain.chat import DialectName, Message, Place, TurnRequest, Wire
from bot.domain.cloud import CloudEvent, Price, ProviderConfig
from bot.domain.errors import BotError, FailureKind, Unavailable
from bot.domain.events import Delta, StreamEnd
from bot.domain.ids import ModelKey, PersonaName, PlaceId, ProviderName, TurnId, UserId
from bot.domain.personas import Persona
from bot.inference.streams import Inference
from bot.policy.budget import BudgetRules
from bot.policy.pricing import flat_price
from bot.policy.privacy import (
    CloudConsent,
    Consent,
    Judge,
    Marks,
    consent_to_cloud,
    origins_of_request,
    to_look_up,
)
from bot.sim.providers.catalogue import models_of
from bot.sim.providers.config import SimProviderConfig, WireKind
from bot.sim.providers.provider import SimProvider
from bot.store.database import Database
from bot.store.ledger import LedgerStore

SAGE = Persona(PersonaName("sage"))
CHANNEL = PlaceId("discord:9")
SERVER = PlaceId("discord:7")
ADA = UserId("discord:1")
SALT = "0123456789abcdef"
REQUEST = TurnRequest(ADA, "Ada", Place(CHANNEL, server=SERVER), "…")

SPEECH: dict[WireKind, tuple[Wire, DialectName]] = {
    "zai": ("openai", "zai"),
    "openai": ("openai", "openai"),
    "anthropic": ("anthropic", "generic"),
    "generic": ("openai", "generic"),
}


@dataclass(slots=True)
class Heard(Collected):
    """Everything one question gave, as a face would hear it."""

    retries: list[FailureKind] = field(default_factory=list[FailureKind])
    notices: list[str] = field(default_factory=list[str])
    requests: int = 0
    places: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])
    """In the line, and the seconds told until its turn."""
    served: StreamEnd | None = None
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    async def words(self, count: int) -> None:
        """Wait until so many were heard."""
        while len(self.text.split()) < count:
            self._more.clear()
            await self._more.wait()

    async def waits(self) -> None:
        """Wait until it was told a place in the line."""
        while not self.places:
            self._more.clear()
            await self._more.wait()

    def listener(self) -> Listener:
        async def sent() -> None:
            self.requests += 1

        async def hear(delta: Delta) -> None:
            self.deltas.append(delta)
            self._more.set()

        async def again(error: Unavailable) -> None:
            self.retries.append(error.kind)

        async def notice(text: str) -> None:
            self.notices.append(text)

        async def queued(place: int, seconds: float) -> None:
            self.places.append((place, seconds))
            self._more.set()

        return Listener(sent, hear, again, notice, queued)


@dataclass(slots=True)
class Cloud:
    """Providers, their doubles by name, and what the admins were told."""

    providers: Providers
    doubles: dict[str, SimProvider]
    ledger: LedgerStore
    database: Database
    clock: WallClock
    news: list[CloudEvent]
    slept: list[float]
    turns: int = 0

    def double(self, name: str = "zai") -> SimProvider:
        return self.doubles[name]

    def ask(self, text: str = "Why is the sky blue?", *, answer_tokens: int = 200) -> CloudAsk:
        return asking(self.next_turn(), text, answer_tokens=answer_tokens)

    def only(self, name: ProviderName) -> Deployment:
        (deployment,) = self.providers.deployments(name)
        return deployment

    def next_turn(self) -> TurnId:
        self.turns += 1
        return TurnId(f"turn{self.turns}")

    async def serve(
        self,
        name: str = "zai",
        ask: CloudAsk | None = None,
        question: ProviderTries | None = None,
        *,
        is_last: bool = True,
        is_hurried: bool = False,
        heard: Heard | None = None,
    ) -> Heard:
        """Serve one question and keep whatever came of it."""
        heard = heard or Heard()
        try:
            heard.served = await serve(
                self.providers,
                ProviderName(name),
                ask or self.ask(),
                question or ProviderTries(),
                heard.listener(),
                is_last=is_last,
                is_hurried=is_hurried,
            )
        except BotError as error:
            heard.error = error
        return heard

    async def rows(self) -> list[dict[str, object]]:
        """The ledger as it stands."""
        query = "SELECT * FROM ledger ORDER BY number"
        found = await self.database.read(lambda c: c.execute(query).fetchall())
        return [dict(row) for row in found]


def asking(turn: TurnId, *texts: str, answer_tokens: int = 200) -> CloudAsk:
    """A question of Ada's whose words may leave."""
    origins = origins_of_request(SAGE.name, REQUEST)
    messages = tuple(
        Message("user" if at % 2 == 0 else "assistant", text, origins=origins)
        for at, text in enumerate(texts)
    )
    return CloudAsk(
        turn=turn,
        messages=messages,
        judge=judge_with(consent(messages)),
        answer_tokens=answer_tokens,
        user=ADA,
        server=SERVER,
    )


def consent(messages: Sequence[Message], persona: Persona = SAGE) -> CloudConsent:
    """A consent to send these words, asked for in the proper way."""
    origins = origins_of_request(persona.name, REQUEST)
    given = consent_to_cloud(
        messages,
        origins,
        persona=persona,
        personas={persona.name: False},
        marks=Marks(to_look_up(origins)),
    )
    assert isinstance(given, CloudConsent), given
    return given


def judge_with(given: Consent) -> Judge:
    """Always the same verdict."""

    async def judge(messages: Sequence[Message]) -> Consent:
        return given

    return judge


def price_of(model: str) -> Price:
    """What the doubles charge for a model of theirs."""
    wires: tuple[WireKind, ...] = ("zai", "openai", "anthropic", "generic")
    sold = [m for wire in wires for m in models_of(SimProviderConfig(wire=wire))]
    price = next(m.price for m in sold if m.key == model)
    return flat_price(price.input, price.output, price.cached)


def config_for(double: SimProvider, name: str, **changes: object) -> ProviderConfig:
    """The settings that lead to a double, at the very prices it charges."""
    model = models_of(double.config)[0]
    wire, dialect = SPEECH[double.config.wire]
    config = ProviderConfig(
        name=ProviderName(name),
        base_url=double.base_url,
        model=ModelKey(model.key),
        wire=wire,
        dialect=dialect,
        api_key=double.key,
        price=price_of(model.key),
    )
    return replace(config, **changes)


def ledger_of(ledger: LedgerStore) -> Ledger:
    """The ledger as the cloud is handed it."""
    return Ledger(
        ledger.book,
        ledger.settle,
        lambda names: ledger.accounts(providers=names),
        ledger.today,
    )


@asynccontextmanager
async def cloud_house(
    folder: Path,
    *wires: WireKind,
    rules: BudgetRules | None = None,
    sim: SimProviderConfig | None = None,
    weights: Sequence[float] = (),
    **changes: object,
) -> AsyncGenerator[Cloud]:
    """Run a cloud of these wires, each under its own name; ``changes`` hold for every provider.

    With ``weights`` each has so many deployments, whose doubles go by their labels.
    """
    clock = WallClock()
    news: list[CloudEvent] = []
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)

    async with AsyncExitStack() as stack:
        doubles: dict[str, SimProvider] = {}
        configs: list[ProviderConfig] = []
        for wire in wires or ("zai",):
            for number, weight in enumerate(weights, 1) if weights else [(0, 1.0)]:
                told = replace(sim or SimProviderConfig(time_scale=0.0, answer=brief), wire=wire)
                double = await stack.enter_async_context(SimProvider(told, utcnow=clock))
                own: dict[str, object] = {"deployment": number, "weight": weight}
                configs.append(config_for(double, wire, **changes, **own))
                doubles[configs[-1].label] = double
        database = await stack.enter_async_context(
            Database(new_database(folder / "lantern.db"), utcnow=clock)
        )
        ledger = LedgerStore(database, rules or BudgetRules(), UTC)
        inference = await stack.enter_async_context(Inference(utcnow=clock))
        providers = Providers(
            configs,
            ledger=ledger_of(ledger),
            open_stream=inference.open,
            observe=news.append,
            utcnow=clock,
            draw=lambda: 0.5,
            salt=SALT,
            sleep=sleep,
        )
        await stack.enter_async_context(providers)
        yield Cloud(providers, doubles, ledger, database, clock, news, slept)
