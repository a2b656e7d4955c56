"""Turns over the real planner, walk, consents, providers and storage; recording ears at the edges.

Only what would leave the process is a double: the stream to a provider, and serving by a host.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from databases import new_database

from bot.chat.answering import Answering
from bot.chat.cache import AnswerCache
from bot.chat.choices import Choices
from bot.chat.cloud_serving import CloudServing
from bot.chat.consents import Consents
from bot.chat.draft import Draft
from bot.chat.host_serving import HostServing
from bot.chat.planning import ChatRules, Job, Planner
from bot.chat.relaying import Relaying
from bot.chat.turns import Turns
from bot.chat.usage import UsageTracker
from bot.cloud.billing import Ledger
from bot.cloud.providers import Providers
from bot.documents.shelf import PersonaShelf
from bot.domain.chat import (
    Candidate,
    Endpoint,
    InferenceRequest,
    Message,
    Receipt,
    Turn,
    TurnKind,
    TurnRequest,
    TurnStatus,
    Usage,
)
from bot.domain.cloud import ProviderConfig
from bot.domain.errors import FailureKind, StoreUnavailable, Unavailable
from bot.domain.events import Delta, StreamEnd, TextDelta
from bot.domain.hosts import FleetSnapshot, HostSnapshot, Model
from bot.domain.ids import HostName, ModelKey, PersonaName, PlaceId, ProviderName, TurnId, UserId
from bot.fleet.fleet import Fleet, Recorder
from bot.inference.streams import Inference
from bot.policy.budget import BudgetRules
from bot.policy.offers import SlowRules
from bot.policy.prediction import Strategy
from bot.policy.pricing import flat_price
from bot.policy.privacy import Marks, Sources
from bot.store.answers import AnswerStore
from bot.store.choices import ChoiceStore
from bot.store.database import Database
from bot.store.fleet_memory import FleetStore
from bot.store.ledger import FreeLine, LedgerStore
from bot.store.privacy import PrivacyStore
from bot.store.turns import BRANCH_TEXT_BYTES, TurnStore

Luck = Literal["fine", "fails", "breaks", "refuses", "down"]
"""How whoever is asked next does; for providers ``down`` is ``fails``."""

MODEL = ModelKey("qwen")
HOST, TWIN = HostName("studio"), HostName("twin")
"""The second goes on with what the first one broke off, where a test has it."""
VENDORS = (ProviderName("zai"), ProviderName("openai"))


@dataclass(slots=True)
class Ears:
    """What hosts and providers were sent, and how they do."""

    at_home: Luck = "fine"
    away: Luck = "fine"
    sent_away: list[str] = field(default_factory=list[str])
    read_at_home: list[str] = field(default_factory=list[str])
    """The transcripts of the turn under way."""
    reply: str = ""
    """What a host answers with."""
    hosts: tuple[HostName, ...] = (HOST,)

    def snapshot(self) -> FleetSnapshot:
        state = "down" if self.at_home == "down" else "up"
        models = {MODEL: Model(MODEL, max_context_length=32_768, size_bytes=5_000_000_000)}
        now = asyncio.get_running_loop().time()
        hosts = {name: HostSnapshot(name, "lan:1", state, models=models) for name in self.hosts}
        return FleetSnapshot(hosts, now)

    @asynccontextmanager
    async def open_stream(
        self, endpoint: Endpoint, request: InferenceRequest
    ) -> AsyncGenerator[AsyncIterator[Delta]]:
        if request.before_words is not None:
            await request.before_words()
        self.sent_away.append(said_in(request.messages))
        if self.away in ("fails", "down"):
            raise Unavailable(f"{endpoint.source} is away.", FailureKind.SERVER)
        yield self._deltas(endpoint)

    async def _deltas(self, endpoint: Endpoint) -> AsyncIterator[Delta]:
        if self.away != "refuses":
            yield TextDelta("An answer from afar.")
        if self.away == "breaks":
            raise Unavailable(f"{endpoint.source} broke off.", FailureKind.CUT)
        finish = "refused" if self.away == "refuses" else "stop"
        yield StreamEnd(finish, Usage(10, 5), endpoint.model)


class HomeEar(HostServing):
    """A host that hears and answers without any socket."""

    def __init__(self, fleet: Fleet, inference: Inference, ears: Ears) -> None:
        super().__init__(fleet, inference)
        self._ears = ears

    async def answer(self, job: Job) -> tuple[Luck, str]:
        """How it does this time, and what it says."""
        self._ears.read_at_home.append(said_in(job.messages))
        await asyncio.sleep(0)
        return self._ears.at_home, self._ears.reply

    async def serve(
        self,
        host: HostName,
        candidate: Candidate,
        job: Job,
        draft: Draft,
        *,
        max_wait_s: float | None,
        is_last: bool,
    ) -> None:
        draft.granted(candidate)
        luck, reply = await self.answer(job)
        if luck == "fails":
            raise Unavailable(f"{host} is away.", FailureKind.CUT)
        await draft.hear(TextDelta(reply))
        if luck == "breaks" and host != TWIN:
            raise Unavailable(f"{host} broke off.", FailureKind.CUT)
        await draft.hear(StreamEnd("stop", Usage(10, 5), candidate.model))


class ShakyPrivacyStore(PrivacyStore):
    """A store that at times cannot be read."""

    is_broken = False

    async def look_up(self, asked: Sources) -> Marks:
        if self.is_broken:
            raise StoreUnavailable("The database is locked.")
        return await super().look_up(asked)


class WatchedTurnStore(TurnStore):
    """Says how much it read; at times is interrupted, or never done."""

    is_stuck = False
    """The end of a turn is never stored."""
    is_disk_full = False
    """Neither a question nor an end is stored."""
    is_locked: asyncio.Event | None = None
    """Until it is set no question is stored."""
    is_killed = False
    """Nothing is stored of how turns end: what kill -9 leaves behind."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.read: list[int] = []
        """How many turns each branch had."""
        self.kept: list[str] = []
        """The texts so far that were stored."""
        self.on_begin: Callable[[TurnId], object] = lambda turn: None
        self.on_stored: Callable[[TurnId], object] = lambda turn: None

    async def begin(
        self,
        turn: Turn,
        kind: TurnKind = "new",
        redoes: TurnId | None = None,
        question: str | None = None,
    ) -> None:
        self.on_begin(turn.id)
        if self.is_locked is not None:
            await self.is_locked.wait()
        if self.is_disk_full:
            raise StoreUnavailable("The disk is full.")
        await super().begin(turn, kind, redoes, question)
        self.on_stored(turn.id)

    async def resume(self, turn: TurnId, question: str | None = None) -> bool:
        is_there = await super().resume(turn, question)
        self.on_stored(turn)
        return is_there

    def checkpoint(self, turn: TurnId, reply_text: str, reasoning_text: str, who: Receipt) -> None:
        super().checkpoint(turn, reply_text, reasoning_text, who)
        self.kept.append(reply_text)

    async def newest_branch(
        self,
        conversation: PlaceId,
        persona: PersonaName,
        user: UserId,
        *,
        opened_on: TurnId | None = None,
        text_bytes: int = BRANCH_TEXT_BYTES,
    ) -> tuple[Turn, ...]:
        branch = await super().newest_branch(
            conversation, persona, user, opened_on=opened_on, text_bytes=text_bytes
        )
        self.read.append(len(branch))
        return branch

    async def finish(
        self,
        turn: TurnId,
        status: TurnStatus,
        reply_text: str,
        reasoning_text: str,
        receipt: Receipt,
        free_line: FreeLine | None = None,
    ) -> None:
        if self.is_killed:
            return
        if self.is_disk_full:
            raise StoreUnavailable("The disk is full.")
        if self.is_stuck:
            await asyncio.Event().wait()
        await super().finish(turn, status, reply_text, reasoning_text, receipt, free_line)


@dataclass(frozen=True, slots=True)
class World:
    """Everything a test turns the knobs of."""

    turns: Turns
    store: WatchedTurnStore
    privacy: ShakyPrivacyStore
    shelf: PersonaShelf
    providers: Providers
    ears: Ears
    personas: Path
    home: "HomeEar"
    relaying: Relaying
    """For clients; it has no host."""

    async def write_persona(self, name: str, *, local_only: bool) -> None:
        """Writes a persona's file and reads it."""
        text = f"name: {name}\nmodel: {MODEL}\nlocal_only: {str(local_only).lower()}\n"
        (self.personas / f"{name}.yaml").write_text(text, encoding="utf-8")
        await self.shelf.refresh()

    def pardon(self) -> None:
        """No provider is left out for what it did before."""
        for name in VENDORS:
            for deployment in self.providers.deployments(name):
                self.providers.renew(deployment.config)


def said_in(messages: tuple[Message, ...]) -> str:
    """All words of a transcript."""
    return "\n".join(message.text for message in messages)


@asynccontextmanager
async def world(
    folder: Path,
    strategy: Strategy,
    *,
    is_slow: bool,
    home_ear: type[HomeEar] = HomeEar,
    vendors: tuple[ProviderName, ...] = VENDORS,
) -> AsyncGenerator[World]:
    """Builds it; every load counts as slow when asked for."""
    ears, ids, personas = Ears(), iter(range(10_000)), folder / "personas"
    personas.mkdir()
    rules = ChatRules(
        PersonaName("default"),
        strategy=strategy,
        cloud=vendors,
        slow=SlowRules(after_s=0.0) if is_slow else SlowRules(),
    )
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            Database(new_database(folder / "l.db"), utcnow=utcnow)
        )
        kept = FleetStore(database)
        recorder = Recorder(
            kept.add_own,
            kept.remove_own,
            kept.add,
            kept.drain,
            kept.woken,
            kept.load_begun,
        )
        fleet = await stack.enter_async_context(Fleet((), recorder=recorder))
        ledger = LedgerStore(database, BudgetRules(), UTC)
        providers = await stack.enter_async_context(_providers(_configs(), ledger, ears))
        shelf, privacy = PersonaShelf(personas), ShakyPrivacyStore(database)
        store = WatchedTurnStore(database)
        inference = await stack.enter_async_context(Inference(utcnow=utcnow))
        home = home_ear(fleet, inference, ears)
        planner = Planner(ears.snapshot, rules, providers.snapshots, providers.prepare)
        consents = Consents(privacy, shelf)
        usage = UsageTracker(ledger, providers, lambda _: None)
        relaying = Relaying(
            planner=planner,
            consents=consents,
            fleet=fleet,
            hosts=home,
            inference=inference,
            providers=providers,
            usage=usage,
            tell=lambda _: None,
            max_wait_s=60.0,
        )
        turns = Turns(
            store=store,
            choices=Choices(ChoiceStore(database), shelf, ModelKey, rules.default_persona, utcnow),
            consents=consents,
            planner=planner,
            answering=Answering(home, CloudServing(providers), planner.rest_of, fleet.snapshot),
            cache=AnswerCache(AnswerStore(database, ttl_s=3600.0, max_entries=100)),
            usage=usage,
            fleet=fleet,
            new_id=lambda: TurnId(f"turn{next(ids)}"),
            admit=anybody,
        )
        yield World(turns, store, privacy, shelf, providers, ears, personas, home, relaying)


async def anybody(request: TurnRequest, payer: UserId) -> None:
    """Whoever asks is answered."""


def utcnow() -> datetime:
    return datetime(2026, 11, 20, 10, 15, tzinfo=UTC)


def _configs() -> tuple[ProviderConfig, ...]:
    price = flat_price(100_000, 500_000)
    configs = tuple(
        ProviderConfig(name, "http://nowhere.invalid", ModelKey("glm"), price=price, retries=1)
        for name in VENDORS
    )
    # Two keys of the first side by side: what fails at one is sent to the other at once.
    return (*(replace(configs[0], deployment=n) for n in (1, 2)), *configs[1:])


async def _at_once(seconds: float) -> None:
    await asyncio.sleep(0)


def _providers(configs: Sequence[ProviderConfig], ledger: LedgerStore, ears: Ears) -> Providers:
    return Providers(
        configs,
        ledger=Ledger(
            ledger.book,
            ledger.settle,
            lambda names: ledger.accounts(providers=names),
            ledger.today,
        ),
        open_stream=ears.open_stream,
        observe=lambda _: None,
        utcnow=utcnow,
        draw=lambda: 0.5,
        salt="salt",
        sleep=_at_once,
    )
