"""One turn, from question to receipt, as a stream of events every face consumes alike."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog

from bot.chat.cache import AnswerCache
from bot.chat.channel import safe_channel
from bot.chat.choices import Choices
from bot.chat.consents import Consents
from bot.chat.draft import Draft
from bot.chat.override import Override
from bot.chat.planning import Asking, Job, Planner
from bot.chat.router import Router
from bot.chat.usage import Tally
from bot.chat.words import cloud_words
from bot.domain.chat import Place, Turn, TurnKind, TurnRequest, TurnStatus, Usage
from bot.domain.errors import (
    BotError,
    Bug,
    Draining,
    Interrupted,
    NotPermitted,
    StoreUnavailable,
)
from bot.domain.events import (
    Failed,
    Finished,
    Loading,
    Notice,
    Offered,
    Routed,
    Started,
    Stopped,
    TextDelta,
    TurnEvent,
    Way,
)
from bot.domain.hosts import HostState
from bot.domain.ids import HostName, ModelKey, PersonaName, PlaceId, TurnId, UserId
from bot.fleet.fleet import Fleet
from bot.policy.access import check_text
from bot.policy.context import CONTINUE_TEXT, blind
from bot.policy.privacy import CloudConsent, LocalOnly
from bot.store.turns import TurnStore

CHECKPOINT_S = 1.0
"""A crash loses at most this much of an unfinished answer's stored text."""

RESTARTING = "Lantern is restarting."

CLOSE_S = 5.0
"""Longest a leaving face waits for the last words to be stored."""

BEGIN_AT_ONCE = 4
"""Turns looking things up beside each other: of a hundred asked in one moment the first asks for
its model while the others wait, instead of all waiting for all."""

_log = structlog.get_logger(__name__)

Emit = Callable[[TurnEvent], Awaitable[None]]


@dataclass(slots=True)
class _Running:
    """A turn under way; ``stop`` ends it and its text so far is kept."""

    id: TurnId
    place: Place
    user: UserId
    """Who may stop it: whoever asked or pressed."""
    override: Override = field(default_factory=Override)
    loading: tuple[HostName, ModelKey] | None = None
    is_stored: bool = False
    stopped: "_Outcome | None" = None
    """How it was told to end."""
    scope: asyncio.Timeout | None = None
    """Entered while there is something to cut short."""

    def stop(self, reason: str = "Stopped.", *, by_asker: bool = True) -> None:
        """Ends the turn, once; before its work began it then ends at the beginning."""
        if self.stopped is not None:
            return
        self.stopped = _Outcome(TurnStatus.PARTIAL, reason, by_asker=by_asker)
        if self.scope is not None:
            # A deadline already past cancels exactly this block, and says that we did.
            self.scope.reschedule(0.0)


class Turns:
    """Opens turns and knows which ones run."""

    def __init__(
        self,
        *,
        store: TurnStore,
        choices: Choices,
        consents: Consents,
        planner: Planner,
        router: Router,
        recall: AnswerCache,
        tally: Tally,
        fleet: Fleet,
        new_id: Callable[[], TurnId],
        utcnow: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._choices = choices
        self._consents = consents
        self._planner = planner
        self._router = router
        self._recall = recall
        self._tally = tally
        self._fleet = fleet
        self._new_id = new_id
        self._utcnow = utcnow
        self._running: dict[TurnId, _Running] = {}
        self._is_draining = False
        self._all_done = asyncio.Event()
        self._all_done.set()
        self._door = asyncio.Semaphore(BEGIN_AT_ONCE)

    def open(self, request: TurnRequest) -> AbstractAsyncContextManager[AsyncIterator[TurnEvent]]:
        """The turn as events, ending with exactly one ``Finished``, ``Stopped`` or ``Failed``.

        Leaving the block early stops the work everywhere, the host's generation included; the
        text so far is stored.
        """

        async def produce(emit: Emit) -> None:
            await self._play(request, emit)

        return safe_channel(produce)

    # --- what else faces ask ---------------------------------------------------------------

    def stop(self, conversation: PlaceId, user: UserId | None = None) -> int:
        """Stops the running turns of a conversation (of one user); says how many."""
        mine = [
            running
            for running in self._running.values()
            if running.place.conversation == conversation and user in (None, running.user)
        ]
        for running in mine:
            running.stop()
        return len(mine)

    def stop_turn(self, turn: TurnId) -> bool:
        """Stops one turn; False when it is not running."""
        running = self._running.get(turn)
        if running is None:
            return False
        running.stop()
        return True

    async def cancel_load(self, turn: TurnId) -> bool:
        """Stops the turn, and its load too when nobody else waits for it."""
        running = self._running.get(turn)
        if running is None:
            return False
        if running.loading is not None:
            await self._fleet.cancel_load(*running.loading)
        running.stop()
        return True

    def choose(self, turn: TurnId, way: Way) -> bool:
        """Takes a way that was ``Offered``; False when it is not open any more."""
        running = self._running.get(turn)
        return running is not None and running.override.choose(way)

    def asker(self, turn: TurnId) -> UserId | None:
        """Who asked a running turn."""
        running = self._running.get(turn)
        return running.user if running is not None else None

    def running(self, conversation: PlaceId) -> tuple[TurnId, ...]:
        """The turns running in a conversation."""
        return tuple(
            running.id
            for running in self._running.values()
            if running.place.conversation == conversation
        )

    async def find(self, turn: TurnId) -> Turn | None:
        """A stored turn."""
        return await self._store.get(turn)

    async def last(self, conversation: PlaceId) -> Turn | None:
        """The newest turn of a conversation, whatever became of it."""
        return await self._store.last_in(conversation)

    async def current(self, conversation: PlaceId) -> Turn | None:
        """Like ``last``, but nothing from before the conversation was begun afresh."""
        return await self._store.last_since_reset(conversation)

    async def reset(self, conversation: PlaceId) -> None:
        """A fresh conversation: the next turn sees none of the earlier ones."""
        await self._store.reset(conversation)

    async def drain(self, limit_s: float) -> None:
        """Refuses new turns, lets the running ones finish within ``limit_s``, then stops them."""
        self._is_draining = True
        if not self._running:
            return
        _log.info("draining", running=len(self._running), limit_s=limit_s)
        try:
            async with asyncio.timeout(limit_s):
                await self._all_done.wait()
        except TimeoutError:
            for running in tuple(self._running.values()):
                running.stop(RESTARTING, by_asker=False)
            async with asyncio.timeout(CLOSE_S):
                await self._all_done.wait()

    # --- one turn --------------------------------------------------------------------------

    async def _play(self, request: TurnRequest, emit: Emit) -> None:
        """A turn from its first look-up to its last event."""
        if self._is_draining:
            words = "Lantern is restarting and takes no new questions just now."
            await emit(Failed(None, Draining(words)))
            return
        # Known from here on, so that a drain waits for it and nothing of it is left behind.
        running = _Running(self._new_id(), request.place, request.user)
        self._running[running.id] = running
        self._all_done.clear()
        try:
            with structlog.contextvars.bound_contextvars(turn_id=running.id):
                last = await self._last_event(request, running, emit)
        finally:
            del self._running[running.id]
            if not self._running:
                self._all_done.set()
        await emit(last)

    async def _last_event(self, request: TurnRequest, running: _Running, emit: Emit) -> TurnEvent:
        """The turn edge: every error becomes the last event."""
        try:
            async with self._door:
                begun = await self._begin(request, running.id)
            return await self._run(begun, running, emit)
        except BotError as error:
            return Failed(running.id if running.is_stored else None, error)
        except Exception:
            _log.exception("turn broke")
            error = Bug("Something went wrong inside Lantern; it is logged.")
            return Failed(running.id if running.is_stored else None, error)

    async def _begin(self, request: TurnRequest, turn_id: TurnId) -> "_Begun":
        """Everything that is looked up; nothing is stored yet."""
        line = await self._line(request)
        payer = request.user
        is_retry = request.kind is TurnKind.RETRY
        request = _completed(request, line[-1] if line else None)
        check_text(request.text, has_attachments=bool(request.attachments))
        resolved = await self._choices.resolve(
            request.place, request.user, request.persona, request.model
        )
        place, persona = request.place, resolved.persona.name
        branch = await self._branch(line, place.conversation, persona, is_retry=is_retry)
        await self._planner.prepare()
        messages = self._planner.messages(resolved, branch, request)
        abroad = self._planner.messages_abroad(resolved, branch, request)
        # Images are left out for models that cannot see: those messages are covered as well.
        sent = (*messages, *abroad, *blind(abroad))
        # A retry says the words of the turn it redoes once more: where that was said counts too.
        said = (*branch, line[-1]) if line and is_retry else branch

        async def judge() -> CloudConsent | LocalOnly:
            consent = await self._consents.judge(resolved, request, said, sent)
            if isinstance(consent, LocalOnly):
                await self._consents.keep_here(turn_id)
            return consent

        consent = await judge()
        turn = Turn(
            id=turn_id,
            parent=branch[-1].id if branch else None,
            user=request.user,
            user_name=request.user_name,
            place=place,
            persona=persona,
            user_text=request.text,
            reply_text="",
            reasoning_text="",
            status=TurnStatus.RUNNING,
            created_at_ms=int(self._utcnow().timestamp() * 1000),
            attachments=request.attachments,
        )
        asking = Asking(resolved, branch, request, messages, abroad, consent, judge, payer, turn.id)
        return _Begun(asking, turn, is_retry)

    async def _line(self, request: TurnRequest) -> tuple[Turn, ...]:
        """The branch that ends in the turn replied to; nothing when that is not stored."""
        if request.parent is None:
            return ()
        line = await self._store.branch(request.parent)
        if line and line[-1].place.conversation != request.place.conversation:
            raise NotPermitted("That reply belongs to another conversation.")
        return line

    async def _branch(
        self,
        line: tuple[Turn, ...],
        conversation: PlaceId,
        persona: PersonaName,
        *,
        is_retry: bool,
    ) -> tuple[Turn, ...]:
        """The turns before this one; a retry stands beside the turn it redoes."""
        if not line:
            return await self._store.newest_branch(conversation, persona)
        if not is_retry:
            return line
        before = line[-1].parent
        return await self._store.branch(before) if before is not None else ()

    async def _run(self, begun: "_Begun", running: _Running, emit: Emit) -> TurnEvent:
        loop = asyncio.get_running_loop()
        resolved, turn = begun.asking.resolved, begun.turn
        reason = f"persona {resolved.persona_reason}; model {resolved.model_reason}"
        draft = Draft(turn.persona, reason, loop.time())
        outcome: _Outcome | None = None
        watched = _Watched(running, draft, self._store, emit, loop.time())
        try:
            await self._store.begin(turn)
            running.is_stored = True
            outcome = await self._outcome(begun, draft, running, watched)
        finally:
            # Also when the face left or the process stops, even in the middle of the first write:
            # what was said is kept. Bounded, and the store shields its own transaction.
            async with asyncio.timeout(CLOSE_S):
                last = await self._close(turn, draft, outcome)
        return last

    async def _outcome(
        self, begun: "_Begun", draft: Draft, running: _Running, watched: "_Watched"
    ) -> "_Outcome":
        try:
            async with asyncio.timeout(None) as running.scope:
                if running.stopped is not None:
                    return running.stopped
                turn, resolved = begun.turn, begun.asking.resolved
                reason = f"{resolved.persona_reason}; {resolved.model_reason}"
                await watched.emit(Started(turn.id, turn.persona, resolved.model, reason))
                if resolved.is_substitute:
                    words = f"The persona {resolved.persona_reason}."
                    draft.noticed(words)
                    await watched.emit(Notice(words))
                job = await self._job(begun)
                draft.routed(job.route)
                await watched.emit(Routed(job.route))
                await self._answer(job, draft, watched, is_retry=begun.is_retry)
        except TimeoutError:
            if running.stopped is None:
                raise
            return running.stopped
        except Interrupted as cut:
            return _Outcome(TurnStatus.PARTIAL, cut.user_message)
        except BotError as error:
            return _Outcome(TurnStatus.FAILED, error.user_message, error=error)
        finally:
            running.scope = None
        return _Outcome(TurnStatus.DONE)

    async def _job(self, begun: "_Begun") -> Job:
        """The job; where nobody can serve, after one more look at the hosts that are out."""
        job = self._planner.job(begun.asking)
        if not job.route.candidates:
            await self._look_again()
            job = self._planner.job(begun.asking)
        return job

    async def _look_again(self) -> None:
        """Probes the hosts not known to serve: one may just have started, or only stumbled."""
        hosts = self._fleet.snapshot().hosts.values()
        out = [host.name for host in hosts if host.state in (HostState.UNKNOWN, HostState.DOWN)]
        async with asyncio.TaskGroup() as tasks:
            for name in out:
                tasks.create_task(self._fleet.probe(name))

    async def _answer(self, job: Job, draft: Draft, watched: "_Watched", *, is_retry: bool) -> None:
        """The answer from the cache, else from the route or whatever its asker prefers to it."""
        known = None if is_retry else await self._recall.find(job)
        if known is not None:
            usage = Usage(known.prompt_tokens, known.completion_tokens)
            draft.recalled(known.answered_by, known.model, usage, is_local=known.is_local)
            draft.add_text(known.text, asyncio.get_running_loop().time())
            await watched.emit(TextDelta(known.text))
            return
        if words := cloud_words(job.route):
            draft.noticed(words)
            await watched.emit(Notice(words))
        job = await self._offered(job, draft, watched)
        await self._router.answer(job, draft, watched.emit, watched.running.override)
        await self._recall.keep(job, draft.text, draft.receipt(0.0))

    async def _offered(self, job: Job, draft: Draft, watched: "_Watched") -> Job:
        """The job, with another first candidate where the settings prefer one to a slow load."""
        ways = self._planner.ways(job)
        if ways is None:
            return job
        chosen = self._planner.automatic(ways)
        if chosen is None:
            offer = Offered(job.turn, ways.here, ways.warm, ways.cloud)
            watched.running.override.offered(offer)
            await watched.emit(offer)
            return job
        words = f"{ways.here.where} would take long, so {chosen.where} answers."
        draft.noticed(words)
        await watched.emit(Notice(words))
        others = tuple(c for c in job.route.candidates if c != chosen)
        return replace(job, route=replace(job.route, candidates=(chosen, *others)))

    async def _close(self, turn: Turn, draft: Draft, outcome: "_Outcome | None") -> TurnEvent:
        """Stores how the turn ended, then says it."""
        now = asyncio.get_running_loop().time()
        if outcome is None:
            status = TurnStatus.PARTIAL if draft.has_text else TurnStatus.FAILED
            outcome = _Outcome(status, "The reader left.", by_asker=True)
        finish = None
        if outcome.status is not TurnStatus.DONE:
            finish = "cancelled" if outcome.by_asker else "error"
        receipt = draft.receipt(now, finish)
        await self._store.finish(turn.id, outcome.status, draft.text, draft.reasoning, receipt)
        if receipt.from_cache:
            where = str(receipt.host or receipt.provider)
            await self._tally.note_free(turn, receipt, "cache", where)
        elif receipt.host is not None and draft.has_text:
            await self._tally.note_free(turn, receipt, "local", receipt.host)
        _log.info(
            "turn finished",
            turn_id=turn.id,
            status=str(outcome.status),
            persona=turn.persona,
            model=receipt.model,
            where=receipt.host or receipt.provider,
            tokens=receipt.usage.completion_tokens,
            first_token_s=receipt.timing.first_token_s,
            total_s=round(receipt.timing.total_s, 3),
            attempts=len(receipt.attempts),
        )
        if outcome.error is not None:
            return Failed(turn.id, outcome.error, receipt)
        if outcome.status is TurnStatus.DONE:
            return Finished(turn.id, receipt)
        return Stopped(turn.id, receipt, outcome.reason, outcome.by_asker)


@dataclass(frozen=True, slots=True)
class _Begun:
    """A turn ready to be stored and run."""

    asking: Asking
    turn: Turn
    is_retry: bool


@dataclass(frozen=True, slots=True)
class _Outcome:
    status: TurnStatus
    reason: str = ""
    by_asker: bool = False
    error: BotError | None = None


@dataclass(slots=True)
class _Watched:
    """Passes events on; notes what is loading and keeps the stored text fresh."""

    running: _Running
    draft: Draft
    store: TurnStore
    send: Emit
    stored_at: float

    async def emit(self, event: TurnEvent) -> None:
        if isinstance(event, TextDelta):
            self.running.override.close()
        self.running.loading = (event.host, event.model) if isinstance(event, Loading) else None
        await self.send(event)
        now = asyncio.get_running_loop().time()
        if self.draft.has_text and now - self.stored_at >= CHECKPOINT_S:
            self.stored_at = now
            try:
                await self.store.checkpoint(self.running.id, self.draft.text, self.draft.reasoning)
            except StoreUnavailable as error:
                # Only the end must be stored; an answer is not cut for want of a copy.
                _log.warning("answer not stored yet", reason=error.user_message)


def _completed(request: TurnRequest, parent: Turn | None) -> TurnRequest:
    """As a new message: a retry asks its parent's question again, a continuation to go on."""
    if parent is None:
        if request.kind is TurnKind.NEW:
            return request
        raise NotPermitted("That reply is not stored any more, so it cannot be redone.")
    persona = request.persona or parent.persona
    if request.kind is TurnKind.RETRY:
        # The words stay their author's, whoever presses.
        return replace(
            request,
            kind=TurnKind.NEW,
            user=parent.user,
            user_name=parent.user_name,
            text=parent.user_text,
            attachments=parent.attachments,
            persona=persona,
        )
    if request.kind is TurnKind.CONTINUE:
        return replace(request, kind=TurnKind.NEW, text=CONTINUE_TEXT, persona=persona)
    return request
