"""A whole Lantern without a face, over simulated hosts, for tests."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from brief import brief
from databases import new_database
from patience import GUARD_S

from bot.app import Plan, lantern, utcnow
from bot.chat.lantern import Lantern
from bot.chat.planning import ChatRules
from bot.commands.demo import provider_config
from bot.domain.chat import Attachment, Place, Receipt, TurnKind, TurnRequest
from bot.domain.cloud import CloudEvent, ProviderConfig
from bot.domain.events import (
    Failed,
    FellBack,
    Finished,
    FleetEvent,
    Notice,
    Stopped,
    TextDelta,
    TurnEvent,
)
from bot.domain.hosts import HostConfig
from bot.domain.ids import HostName, ModelKey, PersonaName, PlaceId, ProviderName, TurnId, UserId
from bot.fleet.fleet import FleetRules
from bot.policy.budget import BudgetRules
from bot.sim.host import SimHost
from bot.sim.models import GB, SimHostConfig, SimModel
from bot.sim.providers.config import SimProviderConfig, WireKind
from bot.sim.providers.provider import SimProvider

QWEN = SimModel("qwen/qwen3-8b", 5 * GB)
GEMMA = SimModel("google/gemma-3-4b", 3 * GB)
FAST = 0.0
"""A simulator that loses no time."""
PATIENT = FleetRules(
    probe_every_s=3600, probe_timeout_s=GUARD_S, call_timeout_s=GUARD_S, sweep_every_s=3600
)
"""Nothing happens by the clock, and no host that answers is too late."""

PLACE = Place(PlaceId("discord:1"), server=PlaceId("discord:9"))
ADA, BOB = UserId("discord:ada"), UserId("discord:bob")


def sim(name: str, *models: SimModel, **changes: object) -> SimHostConfig:
    """A quick simulated host."""
    config = SimHostConfig(name=name, models=models, time_scale=FAST, answer=brief)
    return replace(config, **changes)


def cloud(**wires: WireKind) -> dict[str, SimProviderConfig]:
    """Quick simulated providers by the names they are configured under."""
    return {
        name: SimProviderConfig(wire=wire, time_scale=FAST, answer=brief)
        for name, wire in wires.items()
    }


@dataclass(slots=True)
class Said:
    """Everything one turn said."""

    events: list[TurnEvent] = field(default_factory=list[TurnEvent])

    @property
    def text(self) -> str:
        return "".join(e.text for e in self.events if isinstance(e, TextDelta))

    @property
    def last(self) -> Finished | Stopped | Failed:
        end = self.events[-1]
        assert isinstance(end, Finished | Stopped | Failed)
        return end

    @property
    def receipt(self) -> Receipt:
        assert self.last.receipt is not None
        return self.last.receipt

    @property
    def turn(self) -> TurnId:
        assert self.last.turn is not None
        return self.last.turn

    @property
    def fallbacks(self) -> list[FellBack]:
        return [e for e in self.events if isinstance(e, FellBack)]

    @property
    def notices(self) -> str:
        return "\n".join(e.text for e in self.events if isinstance(e, Notice))


@dataclass(slots=True)
class House:
    """A running Lantern with its simulated hosts and providers by name."""

    lantern: Lantern
    hosts: dict[str, SimHost]
    news: list[FleetEvent]
    doubles: dict[str, SimProvider] = field(default_factory=dict[str, SimProvider])
    cloud_news: list[CloudEvent] = field(default_factory=list[CloudEvent])

    def request(
        self,
        text: str,
        *,
        user: UserId = ADA,
        place: Place = PLACE,
        persona: str | None = None,
        model: str | None = None,
        parent: TurnId | None = None,
        kind: TurnKind = "new",
        attachments: Sequence[Attachment] = (),
    ) -> TurnRequest:
        return TurnRequest(
            user=user,
            user_name=str(user).split(":")[-1],
            place=place,
            text=text,
            attachments=tuple(attachments),
            parent=parent,
            kind=kind,
            persona=PersonaName(persona) if persona else None,
            model=ModelKey(model) if model else None,
        )

    async def play(self, request: TurnRequest) -> Said:
        said = Said()
        async with self.lantern.turns.open(request) as events:
            async for event in events:
                said.events.append(event)
        return said

    async def ask(
        self,
        text: str,
        *,
        user: UserId = ADA,
        place: Place = PLACE,
        persona: str | None = None,
        model: str | None = None,
        parent: TurnId | None = None,
    ) -> Said:
        request = self.request(
            text, user=user, place=place, persona=persona, model=model, parent=parent
        )
        return await self.play(request)


@asynccontextmanager
async def house(
    folder: Path,
    *configs: SimHostConfig,
    personas: dict[str, str] | None = None,
    rules: ChatRules | None = None,
    fleet_rules: FleetRules | None = None,
    memory_gb: float | None = None,
    providers: Mapping[str, SimProviderConfig] | None = None,
    provider_changes: Mapping[str, object] | None = None,
    budget: BudgetRules | None = None,
    cache_ttl_s: float | None = None,
    is_settled: bool = True,
    hanging: Sequence[str] = (),
    wakeable: Mapping[str, str] | None = None,
    reread: Callable[[], Sequence[ProviderConfig]] | None = None,
) -> AsyncGenerator[House]:
    """Runs simulated hosts and providers and a Lantern over them.

    Every host is probed once before, if ``is_settled``; those that hang do so from before the
    first probe, since one begun by then would be lost or go through.

    ``wakeable`` gives hosts the address of their network card.

    Providers are allowed in the order given, unless ``rules`` says otherwise.
    """
    shelf = folder / "personas"
    shelf.mkdir(exist_ok=True)
    for name, text in (personas or {}).items():
        (shelf / f"{name}.yaml").write_text(f"name: {name}\n{text}", encoding="utf-8")
    async with AsyncExitStack() as stack:
        hosts = {c.name: await stack.enter_async_context(SimHost(c)) for c in configs}
        for name in hanging:
            hosts[name].faults.hang()
        doubles = {
            name: await stack.enter_async_context(SimProvider(config, utcnow=utcnow))
            for name, config in (providers or {}).items()
        }
        rules = rules or ChatRules(default_persona=PersonaName("default"))
        if not rules.cloud:
            rules = replace(rules, cloud=tuple(map(ProviderName, doubles)))
        plan = Plan(
            hosts=tuple(
                HostConfig(
                    name=HostName(name),
                    address=host.address,
                    memory_bytes=round(memory_gb * GB) if memory_gb else None,
                    token=host.config.token,
                    wake_mac=(wakeable or {}).get(name),
                )
                for name, host in hosts.items()
            ),
            rules=rules,
            fleet_rules=fleet_rules or PATIENT,
            personas=shelf,
            database=new_database(folder / "lantern.db"),
            providers=_configs(doubles, provider_changes or {}),
            budget=budget or BudgetRules(),
            cache_ttl_s=cache_ttl_s,
            cache_entries=10,
            reread=reread,
        )
        news: list[FleetEvent] = []
        cloud_news: list[CloudEvent] = []
        built = await stack.enter_async_context(
            lantern(plan, observe=news.append, observe_cloud=cloud_news.append)
        )
        if is_settled:
            await built.fleet.settled(GUARD_S)
        yield House(built, hosts, news, doubles, cloud_news)


def _configs(
    doubles: Mapping[str, SimProvider], changes: Mapping[str, object]
) -> tuple[ProviderConfig, ...]:
    return tuple(replace(provider_config(d, name), **changes) for name, d in doubles.items())
