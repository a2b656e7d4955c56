"""Stand-ins for what the cogs talk to: Lantern by scripts, Discord by its own classes."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import discord
from stand_ins import Method, checked, double

from bot.chat.acts import FleetActs
from bot.chat.catalog import Catalog, ModelOption
from bot.chat.flights import Newsroom
from bot.chat.keeping import Keeper
from bot.chat.lantern import Lantern
from bot.chat.personas import Personas
from bot.chat.place_settings import Configured, PlaceSettings
from bot.chat.relaying import Relaying
from bot.chat.switch import PersonaOption, Switch
from bot.chat.taken_back import TakenBack
from bot.chat.turns import Turns
from bot.chat.usage import UsageTracker
from bot.cloud.providers import Providers
from bot.documents.shelf import PersonaShelf
from bot.domain.chat import (
    Candidate,
    Place,
    Receipt,
    Timing,
    Turn,
    TurnRequest,
    TurnStatus,
    Usage,
)
from bot.domain.cloud import ProviderSnapshot
from bot.domain.errors import RequestRefused
from bot.domain.events import Finished, Reading, Started, TextDelta, TurnEvent, Way
from bot.domain.hosts import (
    FleetSnapshot,
    HostSnapshot,
    Instance,
    Model,
)
from bot.domain.ids import (
    HostName,
    InstanceId,
    ModelKey,
    PersonaName,
    PlaceId,
    TurnId,
    UserId,
)
from bot.domain.personas import Persona
from bot.fleet.fleet import Fleet
from bot.policy.pacing import CHANNEL, CREATION, Pacer, Pacers
from bot.policy.place_rules import SettingName, SetValue, Stored
from bot.store.beside import Answers
from bot.store.database import Database
from bot.store.ledger import LedgerStore
from bot.store.notes import NoteStore
from bot.store.people import PeopleStore
from bot.store.place_settings import PlaceSettingStore
from bot.store.privacy import PrivacyStore
from bot.store.questions import Question, QuestionStore
from bot.store.replies import ReplyMessage, ReplyStore
from bot.store.turns import TurnStore
from cogs._faults import DiscordFault, fault_of
from cogs._readers import Readers
from cogs._transport import Transport
from cogs._view import MessageView

HOST = HostName("studio-1")
MODEL = ModelKey("qwen/qwen3-30b-a3b-2507")
TURN = TurnId("ab12cd34")
OWNER = 42
ALICE, BOB = UserId("discord:1"), UserId("discord:2")
CANDIDATE = Candidate(MODEL, HOST, seconds=1.0, reason="warm")
RECEIPT = Receipt(
    persona=PersonaName("sage"),
    model=MODEL,
    host=HOST,
    usage=Usage(prompt_tokens=10, completion_tokens=90),
    timing=Timing(first_token_s=0.5, generation_s=3.0, total_s=3.5),
)
STARTED = Started(TURN, PersonaName("sage"), MODEL, "the configured default")
READING = Reading(CANDIDATE, 1200, 4.0)
FINISHED = Finished(TURN, RECEIPT)
REQUEST = TurnRequest(
    user=ALICE, user_name="Alice", place=Place(PlaceId("discord:7")), text="hello"
)


def stored_turn(
    reply: str, status: TurnStatus = "done", receipt: Receipt | None = None, **more: Any
) -> Turn:
    turn = Turn(
        id=TURN,
        parent=None,
        user=ALICE,
        user_name="Alice",
        place=REQUEST.place,
        persona=PersonaName("sage"),
        user_text="hello",
        reply_text=reply,
        reasoning_text="",
        status=status,
        created_at_ms=0,
        receipt=receipt,
    )
    return replace(turn, **more)


def http_error(status: int, code: int = 0, text: str = "no") -> discord.HTTPException:
    """What discord.py raises for an answer of that status and code."""
    kinds: dict[int, type[discord.HTTPException]] = {
        403: discord.Forbidden,
        404: discord.NotFound,
        503: discord.DiscordServerError,
    }
    response = cast(aiohttp.ClientResponse, SimpleNamespace(status=status, reason="reason"))
    return kinds.get(status, discord.HTTPException)(response, {"code": code, "message": text})


# --- the rest of Lantern --------------------------------------------------------------------

Script = Sequence[TurnEvent | float]
"""Events, and seconds to wait between them."""

SHORT: Script = (STARTED, TextDelta("hi"), FINISHED)


class ScriptedTurns(Turns):
    """Plays one script for every request."""

    def __init__(self, script: Script = SHORT) -> None:
        self.script = script
        self.requests: list[TurnRequest] = []
        self.left_early = 0
        self.is_left = False
        self.said: list[tuple[str, object]] = []
        self.showed: list[tuple[TurnId, float]] = []
        self.askers: dict[TurnId, UserId] = {}
        self.authors: dict[TurnId, UserId] = {}
        self.stored: dict[TurnId, Turn] = {}
        self.store = MemoryTurns(self.stored, self.said)
        self.taken_back = TakenBack()
        self.refusals: dict[Way, RequestRefused] = {}
        """Of whoever takes a way."""
        self.questions: MemoryQuestions | None = None
        """Told which turn answers, as the store does when a turn begins."""

    def open(
        self, request: TurnRequest, straight: object = None
    ) -> AbstractAsyncContextManager[AsyncIterator[TurnEvent]]:
        return self._open(request)

    @asynccontextmanager
    async def _open(self, request: TurnRequest) -> AsyncGenerator[AsyncIterator[TurnEvent]]:
        self.requests.append(request)
        if self.questions is not None and request.question is not None:
            self.questions.answer(request.question, TURN)
        is_whole = False

        async def events() -> AsyncIterator[TurnEvent]:
            nonlocal is_whole
            for step in self.script:
                if isinstance(step, float | int):
                    await asyncio.sleep(step)
                else:
                    yield step
            is_whole = True

        try:
            yield events()
        finally:
            self.is_left = True
            self.left_early += not is_whole

    def stop(self, conversation: PlaceId, user: UserId | None = None) -> int:
        self.said.append(("stop", (conversation, user)))
        return sum(user in (None, asker) for asker in self.askers.values())

    def stop_turn(self, turn: TurnId, *, cancels_load: bool = False) -> bool:
        self.said.append(("cancel_load" if cancels_load else "stop_turn", turn))
        return turn in self.askers

    async def check_way(self, turn: TurnId, way: Way) -> None:
        if way in self.refusals:
            raise self.refusals[way]

    def choose(self, turn: TurnId, way: Way) -> bool:
        self.said.append(("choose", way))
        return turn in self.askers

    async def check_taken(self, turn: TurnId) -> None:
        """Whoever was chosen answers."""

    def showing(self, turn: TurnId) -> None:
        self.showed.append((turn, asyncio.get_running_loop().time()))

    def author(self, turn: TurnId) -> UserId | None:
        return self.authors.get(turn)

    def asker(self, turn: TurnId) -> UserId | None:
        return self.askers.get(turn)

    def running(self, conversation: PlaceId | None = None) -> tuple[TurnId, ...]:
        return tuple(self.askers)


class MemoryTurns(TurnStore):
    """The turns of a script in a dictionary."""

    def __init__(self, stored: dict[TurnId, Turn], said: list[tuple[str, object]]) -> None:
        self.stored = stored
        self.said = said
        self.asked: dict[str, TurnId] = {}
        self.newest_questions: dict[str, tuple[str, ...]] = {}

    async def get(self, turn: TurnId) -> Turn | None:
        return self.stored.get(turn)

    async def answers(self, turn: TurnId) -> Answers | None:
        return Answers(turn, turn, (turn,)) if turn in self.stored else None

    async def asked_in(self, turn: TurnId) -> tuple[str, str] | None:
        return None

    async def newest_asked(self, most: int) -> dict[str, tuple[str, ...]]:
        assert most > 0
        return self.newest_questions

    async def asked_by(self, message_id: str) -> TurnId | None:
        return self.asked.get(message_id)

    async def show(self, turn: TurnId) -> None:
        self.said.append(("show", turn))

    async def last_in(self, conversation: PlaceId, *, since_reset: bool = False) -> Turn | None:
        is_begun_anew = since_reset and ("reset", conversation) in self.said
        return None if is_begun_anew else next(iter(self.stored.values()), None)

    async def reset(self, conversation: PlaceId) -> None:
        self.said.append(("reset", conversation))


class MemoryReplies(ReplyStore):
    """The reply table in a dictionary."""

    def __init__(self) -> None:
        self.rows: dict[str, ReplyMessage] = {}

    async def put(self, message_id: str, channel_id: str, turn: TurnId, part: int) -> None:
        self.rows[message_id] = ReplyMessage(message_id, channel_id, turn, part, True)

    async def turn_of(self, message_id: str) -> TurnId | None:
        row = self.rows.get(message_id)
        return row.turn if row is not None else None

    async def messages(self, turn: TurnId) -> tuple[ReplyMessage, ...]:
        rows = [row for row in self.rows.values() if row.turn == turn]
        return tuple(sorted(rows, key=lambda row: row.part))

    async def bind(
        self, turn: TurnId, channel_id: str, message_ids: Sequence[int], beside: Sequence[TurnId]
    ) -> None:
        self.rows = {k: row for k, row in self.rows.items() if row.turn not in (turn, *beside)}
        for part, message in enumerate(message_ids):
            self.rows[str(message)] = ReplyMessage(str(message), channel_id, turn, part, False)

    async def lost(self, message_id: str) -> None:
        self.rows.pop(message_id, None)

    async def close(self, turn: TurnId) -> None:
        for key, row in self.rows.items():
            if row.turn == turn:
                self.rows[key] = replace(row, is_open=False)

    async def left_open(self) -> tuple[ReplyMessage, ...]:
        return tuple(row for row in self.rows.values() if row.is_open)


class MemoryQuestions(QuestionStore):
    """The question table in a dictionary."""

    def __init__(self) -> None:
        self.open: dict[str, Question] = {}
        self.known: dict[str, str] = {}

    async def hear(self, question: str, channel_id: str, token: str | None) -> bool:
        if question in self.known:
            return False
        self.known[question] = channel_id
        self.open[question] = Question(question, channel_id, token, None)
        return True

    def answer(self, question: str, turn: TurnId) -> None:
        if question in self.open:
            self.open[question] = replace(self.open[question], turn=turn)

    async def close(self, question: str) -> None:
        self.open.pop(question, None)

    async def left_open(self) -> tuple[Question, ...]:
        return tuple(self.open.values())

    async def channels(self, limit: int) -> dict[str, int]:
        asked = [(channel, int(question)) for question, channel in self.known.items()]
        return dict(asked[-limit:])


class MemoryNotes(NoteStore):
    """The note table in a dictionary."""

    def __init__(self) -> None:
        self.notes: dict[str, str] = {}

    async def get(self, name: str) -> str | None:
        return self.notes.get(name)

    async def put(self, name: str, value: str) -> None:
        self.notes[name] = value

    async def keep(self, name: str, value: str) -> str:
        return self.notes.setdefault(name, value)


class TwoPersonas(PersonaShelf):
    """``sage`` with a greeting, and ``default``."""

    def __init__(self) -> None:
        sage = Persona(PersonaName("sage"), "calm teacher", greeting="Ask.\n@everyone may.")
        super().__init__(Path("nowhere"))
        self._personas = {"sage": sage, "default": Persona(PersonaName("default"))}

    def all(self) -> tuple[Persona, ...]:
        return tuple(self._personas.values())


def fleet_of(*keys: str) -> Callable[[], FleetSnapshot]:
    """One host with these models on disk, the first of them in memory, and one that is away."""
    models = {ModelKey(key): Model(ModelKey(key), size_bytes=10**10) for key in keys}
    first = ModelKey(keys[0])
    up = HostSnapshot(
        HOST,
        "10.0.0.1:1234",
        "up",
        models=models,
        instances=(Instance(InstanceId(first), first, own=True),),
    )
    away = HostSnapshot(HostName("studio-2"), "10.0.0.2:1234", "down", "does not answer")
    return lambda: FleetSnapshot({up.name: up, away.name: away}, taken_at=0.0)


def clouds(*providers: ProviderSnapshot) -> Callable[[int, int, float], Sequence[ProviderSnapshot]]:
    """These providers, whatever is to be asked of them."""

    def snapshots(prompt_tokens: int, answer_tokens: int, now: float) -> Sequence[ProviderSnapshot]:
        return providers

    return snapshots


def lantern_of(
    turns: Turns | None = None,
    *,
    models: Sequence[str] = (MODEL, "google/gemma-3-12b"),
    cloud: Sequence[ProviderSnapshot] = (),
) -> Lantern:
    """Lantern over scripts; what is not scripted is specified by its class alone."""
    providers = double(Providers)
    providers.standings.return_value = ()
    catalog = Catalog(fleet_of(*models), TwoPersonas(), clouds(*cloud), ("quick", "teaching"))
    switch, privacy = checked(Switch), checked(PrivacyStore)
    privacy.changes = 0

    def options(
        place: Place, user: UserId, typed: str = "", limit: int = 25, persona: str | None = None
    ) -> tuple[ModelOption, ...]:
        return catalog.models(typed, limit, [provider.name for provider in cloud])

    def offered(place: Place, user: UserId, typed: str, limit: int) -> tuple[PersonaOption, ...]:
        found = catalog.personas(typed, limit, user, place.server)
        return tuple(PersonaOption(persona, "", is_current=False) for persona in found)

    def meant(place: Place, user: UserId, name: str, **_: object) -> str:
        return catalog.choice(name)

    switch.options.side_effect, switch.check_model.side_effect = options, meant
    switch.personas.side_effect = offered
    return Lantern(
        turns=turns or ScriptedTurns(),
        personas=double(Personas),
        keeper=double(Keeper),
        switch=switch,
        catalog=catalog,
        acts=checked(FleetActs),
        replies=MemoryReplies(),
        questions=MemoryQuestions(),
        notes=MemoryNotes(),
        people=checked(PeopleStore),
        usage=checked(UsageTracker),
        relaying=double(Relaying),
        newsroom=Newsroom(),
        privacy=privacy,
        place_settings=settings_of(),
        fleet=double(Fleet),
        shelf=TwoPersonas(),
        providers=providers,
        database=double(Database),
    )


READERS = Readers(MemoryNotes())
"""Nobody has pressed anything."""


class MemorySettings(PlaceSettingStore):
    """The table of settings in a dictionary."""

    def __init__(self) -> None:
        self.rows: dict[tuple[PlaceId, SettingName], SetValue] = {}

    async def all(self) -> Stored:
        return dict(self.rows)

    async def put(
        self, place: PlaceId, values: Mapping[SettingName, Sequence[str]], by: UserId
    ) -> Mapping[SettingName, SetValue | None]:
        kept: dict[SettingName, SetValue | None] = {
            name: SetValue(tuple(value), by, 0) if value else None for name, value in values.items()
        }
        for name, new in kept.items():
            self.rows.pop((place, name), None)
            if new is not None:
                self.rows[place, name] = new
        return kept


def settings_of(configured: Configured | None = None, used: int = 0) -> PlaceSettings:
    """Settings in memory, and a ledger in which everybody used so many tokens today."""
    ledger = checked(LedgerStore)
    ledger.tokens_today.return_value = (used, 5400.0)
    return PlaceSettings(MemorySettings(), ledger, str, configured or Configured())


_IDS = itertools.count(900)


# --- Discord --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sent:
    """One call, as Discord would have seen it."""

    at: float
    verb: str
    message: int
    view: MessageView | None


@dataclass(slots=True, eq=False)
class PaperTransport(Transport):
    """Keeps messages in memory; each call takes a while, and fails as told."""

    pacers_: Pacers = field(default_factory=Pacers)
    channel_id: int = 7
    question: int | None = None
    call_s: float = 0.08
    deferred: int | None = None
    closes_at: float = inf
    faults: list[BaseException | None] = field(default_factory=list[BaseException | None])
    """For the next calls, one each; None lets one through."""
    calls: list[Sent] = field(default_factory=list[Sent])
    shown: dict[int, MessageView | None] = field(default_factory=dict[int, MessageView | None])
    befores: list[MessageView | None] = field(default_factory=list[MessageView | None])
    """What edits were said to find."""
    is_busy: bool = False
    typed: int = 0

    def pacers(self, *, is_new: bool) -> tuple[Pacer, ...]:
        now = asyncio.get_running_loop().time()
        limit = CREATION if is_new else CHANNEL
        return (self.pacers_.of_channel(self.channel_id, now, limit), self.pacers_.everywhere)

    async def begin(self) -> int | None:
        if self.deferred is not None:
            self.shown[self.deferred] = None
        return self.deferred

    async def show_typing(self) -> None:
        self.typed += 1

    def fault_of(self, error: BaseException) -> DiscordFault:
        return fault_of(error)

    async def send(self, part: int, message: MessageView) -> int:
        number = 100 + len(self.calls)
        if self.deferred is not None and self.shown.get(self.deferred) is None:
            # Discord fills a message that says "is thinking" with the first one that follows it.
            number = self.deferred
        await self._call("send", number, message)
        return number

    async def edit(
        self, message_id: int, message: MessageView, before: MessageView | None = None
    ) -> None:
        # What is told to stand there does; None is always true.
        assert before in (None, self.shown.get(message_id))
        self.befores.append(before)
        await self._call("edit", message_id, message)

    async def delete(self, message_id: int) -> None:
        await self._call("delete", message_id, None)
        del self.shown[message_id]

    async def dress(self, message_id: int, message: MessageView | None) -> None:
        under = self.shown[message_id]
        assert under is not None
        acts = () if message is None else message.acts
        await self._call("dress", message_id, replace(under, acts=acts))

    async def _call(self, verb: str, message: int, view: MessageView | None) -> None:
        assert not self.is_busy, "two calls of one reply in flight"
        self.is_busy = True
        self.calls.append(Sent(asyncio.get_running_loop().time(), verb, message, view))
        try:
            await asyncio.sleep(self.call_s)
        finally:
            self.is_busy = False
        if self.faults and (fault := self.faults.pop(0)) is not None:
            raise fault
        if view is not None:
            self.shown[message] = view

    @property
    def texts(self) -> list[str]:
        """What a person reads, in order."""
        return [view.content for view in self.shown.values() if view is not None]

    @property
    def last(self) -> MessageView:
        """The newest message."""
        view = list(self.shown.values())[-1]
        assert view is not None
        return view


def interaction_of(
    user: int = 1,
    *,
    guild: int | None = 5,
    channel: int = 7,
    manages: bool = False,
    roles: Sequence[tuple[int, str]] = (),
) -> Any:
    """An interaction as discord.py hands it over; an attribute Discord has not fails."""
    interaction = double(discord.Interaction)
    interaction.id = next(_IDS)
    interaction.token = f"token-{interaction.id}"
    interaction.type = discord.InteractionType.application_command
    interaction.command = None
    interaction.guild_id, interaction.channel_id = guild, channel
    interaction.locale = discord.Locale.american_english
    interaction.guild_locale = discord.Locale.american_english if guild else None
    interaction.context.private_channel = False
    interaction.application_id, interaction.message.webhook_id = 9, None
    interaction.channel = double(discord.TextChannel)
    interaction.permissions = discord.Permissions(manage_guild=manages)
    interaction.user = double(discord.Member if guild else discord.User)
    interaction.user.id, interaction.user.display_name = user, "Alice"
    if guild:
        interaction.user.roles = [_role(key, name) for key, name in roles]
    _answering(interaction)
    interaction.client.get_partial_messageable.side_effect = partial_channel
    return interaction


def partial_channel(channel: int = 7, *, guild_id: int | None = None) -> Any:
    """A channel known by its id alone."""
    found = double(discord.PartialMessageable)
    found.id, found.guild_id = channel, guild_id
    found.send = Method(map(_message, range(500, 540)))
    found.typed = 0

    async def typing() -> None:
        found.typed += 1

    found.typing = typing
    partial = double(discord.PartialMessage)
    found.get_partial_message.return_value = partial
    return found


def _answering(interaction: Any) -> None:
    response = double(discord.InteractionResponse)
    response.is_done.return_value = False
    callback = double(discord.InteractionCallbackResponse)
    callback.message_id = 200

    async def answer(*_: object, **__: object) -> object:
        response.is_done.return_value = True
        return callback

    for verb in ("defer", "send_message", "edit_message"):
        getattr(response, verb).side_effect = answer
    interaction.response = response
    interaction.followup = double(discord.Webhook)
    interaction.followup.send.return_value = _message(201)
    interaction.edit_original_response.return_value = _message(200)
    interaction.client = double(discord.Client)
    interaction.client.application = double(discord.AppInfo)
    interaction.client.application.owner.id, interaction.client.application.team = OWNER, None


def _message(key: int) -> Any:
    message = double(discord.Message)
    message.id = key
    return message


def _role(key: int, name: str) -> Any:
    role = double(discord.Role)
    role.id, role.name = key, name
    return role


async def give(command: Any, cog: object, interaction: Any, *options: object) -> None:
    """Gives a command as discord.py would, past its checks."""
    await command.callback(cog, interaction, *options)


def said_to(interaction: Any) -> list[str]:
    """Every text the person was answered, in order of kind."""
    calls = [
        *interaction.response.send_message.await_args_list,
        *interaction.followup.send.await_args_list,
    ]
    return [cast(str, call.args[0]) for call in calls]
