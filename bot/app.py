"""The composition root: builds every object from plain values and closes it in reverse order."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import field, replace
from datetime import UTC, datetime, time, tzinfo
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import structlog

from bot.chat.acts import FleetActs
from bot.chat.answering import Answering
from bot.chat.cache import AnswerCache
from bot.chat.catalog import Catalog
from bot.chat.choices import Choices
from bot.chat.cloud_serving import CloudServing
from bot.chat.consents import Consents
from bot.chat.flights import News, Newsroom
from bot.chat.host_serving import HostServing
from bot.chat.keeping import Keeper
from bot.chat.lantern import Lantern
from bot.chat.personas import Personas
from bot.chat.place_settings import Configured, PlaceSettings
from bot.chat.planning import ChatRules, Planner
from bot.chat.relaying import Relaying
from bot.chat.switch import Switch
from bot.chat.turns import Turns
from bot.chat.usage import UsageTracker
from bot.cloud.billing import Ledger
from bot.cloud.providers import Providers
from bot.documents.shelf import DEFAULT_PERSONA, PersonaShelf
from bot.domain.cloud import BudgetNews, CloudEvent, ProviderConfig, ProviderNews
from bot.domain.errors import ConfigError
from bot.domain.events import FleetEvent
from bot.domain.hosts import HostConfig, OwnInstance
from bot.domain.ids import PersonaName, PlaceId, ProviderName, TurnId
from bot.domain.values import value
from bot.fleet.fleet import Fleet, FleetRules, Recorder
from bot.inference.streams import Inference
from bot.policy.budget import BudgetRules
from bot.policy.offers import SlowRules
from bot.process.lock import sole_load
from bot.process.logs import hide_also
from bot.process.timer import Timer
from bot.settings import Loaded
from bot.store.answers import AnswerStore
from bot.store.choices import ChoiceStore
from bot.store.database import Database
from bot.store.fleet_memory import FleetStore
from bot.store.ledger import LedgerStore
from bot.store.notes import NoteStore
from bot.store.people import PeopleStore
from bot.store.personas import PersonaStore
from bot.store.place_settings import PlaceSettingStore
from bot.store.privacy import PrivacyStore
from bot.store.questions import QuestionStore
from bot.store.replies import ReplyStore
from bot.store.turns import TurnStore

PERSONAS_EVERY_S = 2.0
"""How soon an edited persona file counts."""

KEEP_EVERY_S = 5.0
"""How soon a model to be kept in memory is missed."""

PRELOAD_EVERY_S = 300.0
"""How often the usual hours are looked at; far less than they are looked ahead."""

LATE_COSTS_EVERY_S = 60.0
"""How often costs that could not be written are tried again."""

KEYS_EVERY_S = 60.0
"""How soon a key that was changed in a file counts, while its provider is left out."""

DRAINS_EVERY_S = 2.0
"""How soon a drain of the Lantern that runs on the database counts beside it."""

SALT_NOTE = "salt of people's hashes"

Observe = Callable[[FleetEvent], None]
ObserveCloud = Callable[[CloudEvent], None]

_log = structlog.get_logger(__name__)


def utcnow() -> datetime:
    """Wall time; the one place it is read."""
    return datetime.now(UTC)  # noqa: TID251  # the injected utcnow of everything else


@value
class Plan:
    """What to build, as plain values; made from settings or by the demo."""

    hosts: tuple[HostConfig, ...]
    rules: ChatRules
    fleet_rules: FleetRules
    personas: Path
    database: Path
    providers: tuple[ProviderConfig, ...] = ()
    budget: BudgetRules = field(default_factory=BudgetRules)
    zone: tzinfo = UTC
    """Where a day of the budget begins, and whose date and time stand in prompts."""
    configured: Configured = field(default_factory=Configured)
    """What the file says of what admins may also set in Discord."""
    cache_ttl_s: float | None = None
    """How long a whole answer is kept to be given again; None switches the cache off."""
    cache_entries: int = 1000
    has_preload: bool = False
    """Models are loaded before the hours at which they are usually asked for."""
    reread: Callable[[], Sequence[ProviderConfig]] | None = None
    """Reads the providers' settings again, for keys that were changed; None never does."""
    is_service: bool = False
    """It serves until it is stopped, by the settings that are to count from now on."""
    is_owner: bool = True
    """This process holds the lock on the database: only then does it unload or close anything
    that a Lantern before it left behind. Without it, every instance counts as foreign."""


def plan_from(
    loaded: Loaded, *, is_owner: bool, reread: Callable[[], Loaded] | None = None
) -> Plan:
    """The plan the settings describe; ``reread`` gives a service those that are written by then."""
    settings = loaded.settings
    providers = loaded.provider_configs
    on = {provider.name for provider in providers}
    zone = settings.budget.timezone
    return Plan(
        hosts=loaded.host_configs,
        rules=ChatRules(
            default_persona=PersonaName(settings.discord.default_persona),
            idle_ttl_s=settings.eviction.idle_ttl,
            max_local_wait_s=settings.routing.max_local_wait,
            strategy=settings.routing.strategy,
            providers=frozenset(on),
            cloud=tuple(ProviderName(n) for n in settings.routing.cloud if ProviderName(n) in on),
            request_types=settings.routing.request_types,
            slow=SlowRules(settings.routing.slow_after, settings.routing.when_slow),
            # A first probe is over by then, one way or the other; who would not wait so long for a
            # host that is known does not for one that is not.
            first_look_s=min(settings.health.timeout + 1.0, settings.routing.max_local_wait),
        ),
        fleet_rules=FleetRules(
            probe_every_s=settings.health.interval,
            probe_timeout_s=settings.health.timeout,
            sweep_every_s=settings.eviction.sweep_every,
            evict_foreign=settings.eviction.evict_foreign,
        ),
        personas=loaded.personas_dir,
        database=loaded.database_path,
        providers=providers,
        budget=loaded.budget_rules,
        # UTC needs no table of zones, which Windows has none of by itself.
        zone=UTC if zone == "UTC" else ZoneInfo(zone),
        configured=Configured(
            frozenset(PlaceId(f"discord:{key}") for key in settings.discord.unprompted_channels),
            settings.discord.tokens_per_day,
            settings.discord.footer,
            settings.discord.webhooks,
        ),
        cache_ttl_s=settings.cache.ttl if settings.cache.enabled else None,
        cache_entries=settings.cache.max_entries,
        reread=None if reread is None else partial(_configs_now, reread),
        has_preload=settings.routing.preload,
        is_service=reread is not None,
        is_owner=is_owner,
    )


def _configs_now(reread: Callable[[], Loaded]) -> Sequence[ProviderConfig]:
    """The providers as they are written by now, their keys kept out of the log from here on."""
    loaded = reread()
    # Before anybody is asked with a new key: its refusal may say the key, and that is logged.
    hide_also(loaded.secrets)
    return loaded.provider_configs


def log_fleet(event: FleetEvent) -> None:
    """One line per change of a host."""
    fields: dict[str, object] = {"host": event.host, "model": event.model, "reason": event.reason}
    fields |= {"interface": event.interface, "version": event.version}
    if event.seconds is not None:
        fields["seconds"] = round(event.seconds, 2)
    log = _log.warning if event.what in ("host lost", "load failed", "model slow") else _log.info
    log(event.what, **{name: value for name, value in fields.items() if value})


def log_cloud(event: CloudEvent) -> None:
    """One line per change of a provider or of the budget."""
    match event:
        case ProviderNews(what="passed"):
            pass  # Its turn has a line of its own.
        case ProviderNews(what="back", name=name):
            _log.info("provider back", provider=name)
        case ProviderNews(what=what, name=name, kind=kind, reason=reason):
            said = "provider out" if what == "out" else "provider refuses"
            _log.warning(said, provider=name, kind=str(kind), reason=reason)
        case BudgetNews(what=what, account=account):
            said = "budget nearly spent" if what == "alert" else "budget spent"
            spent, cap = account.spent_micro_usd, account.cap_micro_usd
            fields = {"period": account.period, "spent_micro_usd": spent, "cap_micro_usd": cap}
            _log.warning(said, of=account.name or "all", **fields)


@asynccontextmanager
async def lantern(
    plan: Plan, observe: Observe = log_fleet, observe_cloud: ObserveCloud = log_cloud
) -> AsyncGenerator[Lantern]:
    """Builds everything in this order and closes it in reverse.

    1. The database, and what a Lantern before this one left open in it.
    2. Personas.
    3. Streams, the ledger and the providers.
    4. Turns, and what else faces ask.
    5. The hosts, and the timer.

    Raises:
        StoreUnavailable: the database cannot be opened.
    """
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(plan.database, utcnow=utcnow))
        # Beside a running Lantern its turns are not interrupted, and its calls still settle.
        interrupted = await TurnStore(database).close_running() if plan.is_owner else ()

        newsroom = Newsroom()
        stack.enter_context(newsroom.heard_by(partial(_hear, observe, observe_cloud)))
        shelf, read_personas = await _shelf(plan, database)
        fleet = await _fleet(plan, database, newsroom)

        inference = await stack.enter_async_context(Inference(utcnow=utcnow))
        ledger = LedgerStore(database, plan.budget, plan.zone)
        # A crash may have cut off calls whose answers were paid for: what was held for them counts
        # as spent before a provider is asked anything more (ADR 10).
        if plan.is_owner:
            await ledger.charge_open()
        providers = await stack.enter_async_context(
            await _providers(plan, database, ledger, inference, newsroom.tell)
        )

        place_settings = PlaceSettings(
            PlaceSettingStore(database), ledger, providers.ledger_name, plan.configured
        )
        await place_settings.load()
        keeper = _keeper(plan, database, ledger, fleet, shelf)
        usage = UsageTracker(ledger, providers, newsroom.tell)
        built = _assembled(
            plan,
            database,
            shelf,
            fleet,
            keeper,
            inference,
            providers,
            usage,
            place_settings,
            newsroom,
        )
        await built.personas.refresh()

        # Ten hosts' first connections take a fifth of a second of computing: what has no need of
        # them is not kept waiting for it.
        await stack.enter_async_context(fleet)
        # The timer last: none of its jobs may meet what is half built or already closed.
        timer = await stack.enter_async_context(Timer(utcnow))
        _repeat(timer, plan, built, read_personas)
        if plan.is_owner:
            stack.enter_context(newsroom.heard_by(built.keeper.hear))
        if interrupted:
            _log.warning("unfinished turns closed", turns=len(interrupted))
        yield built


def _repeat(
    timer: Timer, plan: Plan, built: Lantern, read_personas: Callable[[], Awaitable[None]]
) -> None:
    """What is done again and again while Lantern runs."""
    timer.every(plan.fleet_rules.probe_every_s, "probe", built.fleet.probe_all)
    timer.every(PERSONAS_EVERY_S, "personas", read_personas)
    timer.every(PERSONAS_EVERY_S, "personas made in chats", built.personas.refresh)
    timer.every(KEYS_EVERY_S, "keys", partial(_take_keys, plan.reread, built.providers))
    # Of two on one database only the owner drains, loads ahead, unloads, settles and backs up.
    if not plan.is_owner:
        store = FleetStore(built.database)
        timer.every(DRAINS_EVERY_S, "drains", partial(_take_drains, store, built.fleet))
    else:
        timer.every(KEEP_EVERY_S, "keep loaded", built.keeper.keep)
        if plan.has_preload:
            timer.every(PRELOAD_EVERY_S, "usual hours", built.keeper.preload)
        timer.every(plan.fleet_rules.sweep_every_s, "take over", built.acts.take_over)
        timer.every(plan.fleet_rules.sweep_every_s, "evict", built.fleet.evict_idle)
        timer.every(LATE_COSTS_EVERY_S, "late costs", built.providers.catch_up)
        timer.every(LATE_COSTS_EVERY_S, "late ends", built.turns.catch_up)
        timer.every(time(4, 20), "backup", partial(_back_up, built.database))


def _hear(observe: Observe, observe_cloud: ObserveCloud, news: News) -> None:
    match news:
        case FleetEvent():
            observe(news)
        case ProviderNews() | BudgetNews():
            observe_cloud(news)
        case _:
            pass


async def _take_keys(
    reread: Callable[[], Sequence[ProviderConfig]] | None, providers: Providers
) -> None:
    """Takes changed keys while a provider is left out: "wrong key" once lasted until a restart."""
    if reread is None or not providers.has_outage:
        return
    try:
        providers.take_keys(await asyncio.to_thread(reread))
    except ConfigError as error:
        # Half-written, perhaps: what holds goes on, and it is read again in a minute.
        _log.warning("keys not read again", faults=len(error.faults))


async def _back_up(database: Database) -> None:
    copy = await database.back_up()
    _log.info("database backed up", file=copy.name)


async def _shelf(
    plan: Plan, database: Database
) -> tuple[PersonaShelf, Callable[[], Awaitable[None]]]:
    """The personas of files, read once, and what reads them anew."""
    builtin = replace(DEFAULT_PERSONA, name=plan.rules.default_persona)
    notes, private = NoteStore(database), f"private persona {builtin.name}"
    was_private = await notes.get(private) == "yes"
    shelf = PersonaShelf(plan.personas, builtin, was_private=was_private)

    async def read() -> None:
        nonlocal was_private
        await shelf.refresh()
        # Its file may be deleted and Lantern started anew: what stands in stays private.
        if shelf.was_private != was_private:
            await notes.put(private, "yes" if shelf.was_private else "no")
            was_private = shelf.was_private

    # Read before anything asks: a first turn without its persona would get the plain one.
    await read()
    return shelf, read


async def _fleet(plan: Plan, database: Database, newsroom: Newsroom) -> Fleet:
    """The hosts, with what the store remembers of them."""
    store = FleetStore(database)
    # The names are those of what serves: a command that was given other settings to try them out
    # took all that was known of the hosts along to the names there.
    addresses = {host.name: host.address for host in plan.hosts}
    if plan.is_owner and plan.is_service and (names := await store.renamed(addresses)):
        _log.info("hosts renamed", names=names)
    if plan.is_owner:
        await store.note_hosts(plan.hosts)
    memory = await store.remembered()
    # What is not known as own is foreign, and leaves only where the owner allows it (ADR 7).
    return Fleet(
        plan.hosts,
        memory=memory if plan.is_owner else replace(memory, own=(), begun=()),
        recorder=Recorder(
            own_added=store.add_own,
            own_gone=store.remove_own,
            noted=store.add,
            drained=store.drain if plan.is_owner else _unkept,
            woken=store.woken,
            begun=store.load_begun if plan.is_owner else _unkept,
        ),
        observe=newsroom.tell,
        observe_load=newsroom.tell,
        # To this one the other's own models are foreign, and may be answering.
        rules=replace(
            plan.fleet_rules,
            loads_ahead=plan.is_owner,
            evict_foreign=plan.fleet_rules.evict_foreign and plan.is_owner,
        ),
        sole_load=partial(sole_load, plan.database),
    )


async def _take_drains(store: FleetStore, fleet: Fleet) -> None:
    # A chat that was open already loaded models on the machine that was given back.
    fleet.take_drains(await store.drains())


async def _kept(plan: Plan, store: FleetStore) -> Sequence[OwnInstance]:
    """What the owner of the database keeps: at a host that it was started without it can nothing.

    What was loaded there could be unloaded by neither.
    """
    own = await store.own()
    if plan.is_owner:
        return own
    changed = await store.changed_hosts(plan.hosts)
    return [one for one in own if changed.get(one.host, True)]


async def _unkept(*fact: object) -> None:
    """Beside a running Lantern drains and loads under way are its own to note."""
    _log.info("not kept", fact=fact)


async def _providers(
    plan: Plan,
    database: Database,
    ledger: LedgerStore,
    inference: Inference,
    observe: ObserveCloud,
) -> Providers:
    """The cloud, with the functions it is given of other rooms."""
    return Providers(
        plan.providers,
        ledger=Ledger(
            book=ledger.book,
            settle=ledger.settle,
            accounts=lambda names: ledger.accounts(providers=names),
            today=ledger.today,
        ),
        open_stream=inference.open,
        observe=observe,
        utcnow=utcnow,
        draw=secrets.SystemRandom().random,
        # Made once for this database: people's hashes stay, and mean nothing elsewhere.
        salt=await NoteStore(database).keep(SALT_NOTE, secrets.token_hex(16)),
    )


def _choosing(
    plan: Plan,
    database: Database,
    privacy: PrivacyStore,
    shelf: PersonaShelf,
    fleet: Fleet,
    providers: Providers,
    place_settings: PlaceSettings,
) -> tuple[Catalog, Choices, Consents, Planner, Switch]:
    """What decides who answers, whether words may leave the LAN, and whom to ask."""
    catalog = Catalog(fleet.snapshot, shelf, providers.snapshots, plan.rules.request_types)
    store = ChoiceStore(database)
    choices = Choices(
        store,
        shelf,
        catalog.choice,
        plan.rules.default_persona,
        now=lambda: utcnow().astimezone(plan.zone),
        has_own=lambda place: place_settings.at(place).own_choice,
    )
    consents = Consents(privacy, shelf)
    planner = Planner(fleet.snapshot, plan.rules, providers.snapshots, providers.prepare)
    switch = Switch(
        choices=choices,
        consents=consents,
        store=store,
        turns=TurnStore(database),
        privacy=privacy,
        planner=planner,
        catalog=catalog,
        fleet=fleet,
    )
    return catalog, choices, consents, planner, switch


def _serving(
    plan: Plan,
    database: Database,
    fleet: Fleet,
    inference: Inference,
    providers: Providers,
    choices: Choices,
    consents: Consents,
    planner: Planner,
    usage: UsageTracker,
    place_settings: PlaceSettings,
    newsroom: Newsroom,
) -> tuple[Turns, Relaying, Answering]:
    """What answers by hosts and providers: people's turns, clients' requests, and single jobs."""
    hosts = HostServing(fleet, inference)
    answering = Answering(hosts, CloudServing(providers), planner.rest_of, fleet.snapshot)
    answers = None
    if plan.cache_ttl_s is not None:
        answers = AnswerStore(database, ttl_s=plan.cache_ttl_s, max_entries=plan.cache_entries)
    turns = Turns(
        store=TurnStore(database),
        choices=choices,
        consents=consents,
        planner=planner,
        answering=answering,
        cache=AnswerCache(answers),
        usage=usage,
        fleet=fleet,
        new_id=lambda: TurnId(secrets.token_hex(8)),
        admit=place_settings.admit,
    )
    relaying = Relaying(
        planner=planner,
        consents=consents,
        fleet=fleet,
        hosts=hosts,
        inference=inference,
        providers=providers,
        usage=usage,
        tell=newsroom.tell,
        max_wait_s=plan.rules.max_local_wait_s,
    )
    return turns, relaying, answering


def _keeper(
    plan: Plan, database: Database, ledger: LedgerStore, fleet: Fleet, shelf: PersonaShelf
) -> Keeper:
    memory = FleetStore(database)
    return Keeper(
        fleet,
        shelf.every,
        memory.pins,
        memory.pin,
        ledger.asked_of_hosts,
        lambda: utcnow().astimezone(plan.zone),
    )


def _assembled(
    plan: Plan,
    database: Database,
    shelf: PersonaShelf,
    fleet: Fleet,
    keeper: Keeper,
    inference: Inference,
    providers: Providers,
    usage: UsageTracker,
    place_settings: PlaceSettings,
    newsroom: Newsroom,
) -> Lantern:
    """What needs no opening or closing, put together."""
    # One for all who set marks and ask for them: it counts those that are just being set.
    privacy = PrivacyStore(database)
    catalog, choices, consents, planner, switch = _choosing(
        plan, database, privacy, shelf, fleet, providers, place_settings
    )
    turns, relaying, answering = _serving(
        plan,
        database,
        fleet,
        inference,
        providers,
        choices,
        consents,
        planner,
        usage,
        place_settings,
        newsroom,
    )
    own = partial(_kept, plan, FleetStore(database))
    acts = FleetActs(fleet, catalog, plan.rules, providers, keeper, own=own, is_owner=plan.is_owner)
    return Lantern(
        turns=turns,
        switch=switch,
        catalog=catalog,
        acts=acts,
        usage=usage,
        relaying=relaying,
        keeper=keeper,
        newsroom=newsroom,
        privacy=privacy,
        place_settings=place_settings,
        replies=ReplyStore(database),
        questions=QuestionStore(database),
        notes=NoteStore(database),
        people=PeopleStore(database),
        fleet=fleet,
        shelf=shelf,
        personas=Personas(PersonaStore(database), shelf, consents, planner, answering, catalog),
        providers=providers,
        database=database,
    )
