"""The composition root: builds every object from plain values and closes it in reverse order."""

import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import structlog

from bot.chat.acts import FleetActs
from bot.chat.board import Board
from bot.chat.choices import Choices
from bot.chat.planning import ChatRules, Planner
from bot.chat.router import Router
from bot.chat.switch import Switch
from bot.chat.turns import Turns
from bot.domain.events import (
    FleetEvent,
    HostFound,
    HostLost,
    LoadProblem,
    ModelLoaded,
    ModelUnloaded,
)
from bot.domain.hosts import FleetMemory, HostConfig
from bot.domain.ids import PersonaName, TurnId
from bot.fleet.fleet import Fleet, FleetRules, Recorder
from bot.fleet.timer import Timer
from bot.inference.streams import Inference, inference_session
from bot.personas import DEFAULT_PERSONA, PersonaShelf
from bot.settings import Loaded
from bot.store.choices import ChoiceStore
from bot.store.database import Database
from bot.store.instances import InstanceStore
from bot.store.notes import NoteStore
from bot.store.replies import ReplyStore
from bot.store.speeds import SpeedStore
from bot.store.turns import TurnStore

PERSONAS_EVERY_S = 2.0
"""How soon an edited persona file counts."""

Observe = Callable[[FleetEvent], None]

_log = structlog.get_logger(__name__)


def utcnow() -> datetime:
    """Wall time; the one place it is read."""
    return datetime.now(UTC)  # noqa: TID251  # the injected utcnow of everything else


@dataclass(frozen=True, slots=True)
class Plan:
    """What to build, as plain values; made from settings or by the demo."""

    hosts: tuple[HostConfig, ...]
    rules: ChatRules
    fleet_rules: FleetRules
    personas: Path
    database: Path
    is_owner: bool = True
    """This process holds the lock on the database: only then does it unload or close anything
    that a Lantern before it left behind. Without it, every instance counts as foreign."""


@dataclass(frozen=True, slots=True)
class Lantern:
    """Everything a face needs, built and running."""

    fleet: Fleet
    turns: Turns
    switch: Switch
    board: Board
    acts: FleetActs
    shelf: PersonaShelf
    database: Database
    replies: ReplyStore
    notes: NoteStore


def plan_from(loaded: Loaded, *, is_owner: bool) -> Plan:
    """The plan the settings describe."""
    settings = loaded.settings
    return Plan(
        hosts=loaded.host_configs,
        rules=ChatRules(
            default_persona=PersonaName(settings.discord.default_persona),
            idle_ttl_s=settings.eviction.idle_ttl,
            max_local_wait_s=settings.routing.max_local_wait,
            strategy=settings.routing.strategy,
            request_types=settings.routing.request_types,
        ),
        fleet_rules=FleetRules(
            probe_every_s=settings.health.interval,
            probe_timeout_s=settings.health.timeout,
            sweep_every_s=settings.eviction.sweep_every,
            evict_foreign=settings.eviction.evict_foreign,
        ),
        personas=loaded.personas_dir,
        database=loaded.database_path,
        is_owner=is_owner,
    )


def log_fleet(event: FleetEvent) -> None:
    """One line per change of a host."""
    match event:
        case HostLost(host=host, reason=reason):
            _log.warning("host lost", host=host, reason=reason)
        case HostFound(host=host, interface=interface, version=version):
            _log.info("host found", host=host, interface=interface, version=version)
        case ModelLoaded(host=host, model=model, seconds=seconds):
            _log.info("model loaded", host=host, model=model, seconds=round(seconds, 2))
        case ModelUnloaded(host=host, model=model, reason=reason):
            _log.info("model unloaded", host=host, model=model, reason=reason)
        case LoadProblem(host=host, model=model, reason=reason):
            _log.warning("load failed", host=host, model=model, reason=reason)


@asynccontextmanager
async def lantern(plan: Plan, observe: Observe = log_fleet) -> AsyncGenerator[Lantern]:
    """Builds everything in order and closes it in reverse.

    Raises:
        StoreUnavailable: the database cannot be opened.
    """
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(plan.database, utcnow=utcnow))
        turn_store = TurnStore(database)
        interrupted = await turn_store.close_running() if plan.is_owner else ()
        shelf = PersonaShelf(
            plan.personas, replace(DEFAULT_PERSONA, name=plan.rules.default_persona)
        )
        await shelf.refresh()
        fleet = await stack.enter_async_context(await _fleet(plan, database, observe))
        session = await stack.enter_async_context(inference_session())
        built = _assembled(
            plan, database, turn_store, shelf, fleet, Inference(session, utcnow=utcnow)
        )
        timer = await stack.enter_async_context(Timer())
        timer.every(plan.fleet_rules.probe_every_s, "probe", fleet.probe_all)
        timer.every(PERSONAS_EVERY_S, "personas", shelf.refresh)
        if plan.is_owner:
            timer.every(plan.fleet_rules.sweep_every_s, "evict", fleet.evict_idle)
            timer.daily(4, 20, "backup", lambda: _back_up(database))
        if interrupted:
            _log.warning("unfinished turns closed", turns=len(interrupted))
        yield built


async def _back_up(database: Database) -> None:
    copy = await database.back_up()
    _log.info("database backed up", file=copy.name)


async def _fleet(plan: Plan, database: Database, observe: Observe) -> Fleet:
    instances, speeds = InstanceStore(database), SpeedStore(database)
    measured, rates = await speeds.remembered()
    own = await instances.all() if plan.is_owner else ()
    return Fleet(
        plan.hosts,
        memory=FleetMemory(own=own, speeds=measured, rates=rates),
        recorder=Recorder(
            own_added=instances.add,
            own_gone=instances.remove,
            loaded=speeds.add_load,
            spoke=speeds.add_speed,
        ),
        observe=observe,
        rules=plan.fleet_rules,
    )


def _assembled(
    plan: Plan,
    database: Database,
    turn_store: TurnStore,
    shelf: PersonaShelf,
    fleet: Fleet,
    inference: Inference,
) -> Lantern:
    board = Board(fleet.snapshot, shelf)
    choice_store = ChoiceStore(database)
    choices = Choices(choice_store, shelf, board.model_keys, plan.rules.default_persona)
    planner = Planner(fleet.snapshot, plan.rules)
    return Lantern(
        fleet=fleet,
        turns=Turns(
            store=turn_store,
            choices=choices,
            planner=planner,
            router=Router(fleet, inference),
            fleet=fleet,
            new_id=lambda: TurnId(secrets.token_hex(8)),
            utcnow=utcnow,
        ),
        switch=Switch(
            choices=choices, store=choice_store, planner=planner, board=board, fleet=fleet
        ),
        board=board,
        acts=FleetActs(fleet, board, plan.rules),
        shelf=shelf,
        database=database,
        replies=ReplyStore(database),
        notes=NoteStore(database),
    )
