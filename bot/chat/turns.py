"""One turn, from question to receipt, as a stream of events every face consumes alike."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from bot.chat.channel import safe_channel
from bot.chat.choices import Choices, Resolved
from bot.chat.draft import Draft
from bot.chat.planning import Planner
from bot.chat.router import Router
from bot.domain.chat import Place, Turn, TurnKind, TurnRequest, TurnStatus
from bot.domain.errors import BotError, Bug, Draining, Interrupted, NotPermitted
from bot.domain.events import Failed, Finished, Loading, Routed, Started, Stopped, TurnEvent
from bot.domain.ids import HostName, ModelKey, PersonaName, PlaceId, TurnId, UserId
from bot.fleet.fleet import Fleet
from bot.policy.access import check_text
from bot.policy.context import CONTINUE_TEXT
from bot.store.turns import TurnStore

CHECKPOINT_S = 1.0
"""A crash loses at most this much of an unfinished answer's stored text."""

CLOSE_S = 5.0
"""Longest a leaving face waits for the last words to be stored."""

_log = structlog.get_logger(__name__)

Emit = Callable[[TurnEvent], Awaitable[None]]


@dataclass(slots=True)
class _Running:
    """A turn under way; ``stop`` ends it as its asker wishes."""

    id: TurnId
    place: Place
    user: UserId
    scope: asyncio.Timeout
    loading: tuple[HostName, ModelKey] | None = None
    is_working: bool = False
    """Inside its scope; after it only the last words are stored and there is nothing to stop."""
    stopped: bool = False

    def stop(self) -> None:
        """Ends the turn; its text so far is kept."""
        if self.is_working:
            self.stopped = True
            # A deadline already past cancels exactly this block, and says that we did.
            self.scope.reschedule(0.0)


class Turns:
    """Opens turns and knows which ones run."""

    def __init__(
        self,
        *,
        store: TurnStore,
        choices: Choices,
        planner: Planner,
        router: Router,
        fleet: Fleet,
        new_id: Callable[[], TurnId],
        utcnow: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._choices = choices
        self._planner = planner
        self._router = router
        self._fleet = fleet
        self._new_id = new_id
        self._utcnow = utcnow
        self._running: dict[TurnId, _Running] = {}
        self._is_draining = False
        self._all_done = asyncio.Event()
        self._all_done.set()

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
                running.stop()
            async with asyncio.timeout(CLOSE_S):
                await self._all_done.wait()

    # --- one turn --------------------------------------------------------------------------

    async def _play(self, request: TurnRequest, emit: Emit) -> None:
        """The turn edge: every error becomes one last event."""
        turn_id: TurnId | None = None
        try:
            turn = await self._begin(request)
            turn_id = turn.turn.id
            with structlog.contextvars.bound_contextvars(turn_id=turn_id):
                await self._run(turn, emit)
        except BotError as error:
            await emit(Failed(turn_id, error))
        except Exception:
            _log.exception("turn broke", turn_id=turn_id)
            await emit(Failed(turn_id, Bug("Something went wrong inside Lantern; it is logged.")))

    async def _begin(self, request: TurnRequest) -> "_Begun":
        if self._is_draining:
            raise Draining("Lantern is restarting and takes no new questions just now.")
        line = await self._line(request)
        is_retry = request.kind is TurnKind.RETRY
        request = _completed(request, line[-1] if line else None)
        check_text(request.text, has_attachments=bool(request.attachments))
        resolved = await self._choices.resolve(
            request.place, request.user, request.persona, request.model
        )
        place, persona = request.place, resolved.persona.name
        branch = await self._branch(line, place.conversation, persona, is_retry=is_retry)
        turn = Turn(
            id=self._new_id(),
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
        await self._store.begin(turn)
        return _Begun(request, resolved, branch, turn)

    async def _line(self, request: TurnRequest) -> tuple[Turn, ...]:
        """The branch that ends in the turn replied to; nothing when that is not stored."""
        if request.parent is None:
            return ()
        line = await self._store.branch(request.parent)
        if line and line[-1].place.channel != request.place.channel:
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

    async def _run(self, begun: "_Begun", emit: Emit) -> None:
        loop = asyncio.get_running_loop()
        resolved, turn = begun.resolved, begun.turn
        reason = f"persona {resolved.persona_reason}; model {resolved.model_reason}"
        draft = Draft(turn.persona, reason, loop.time())
        outcome: _Outcome | None = None
        running = _Running(turn.id, turn.place, turn.user, asyncio.timeout(None))
        self._running[turn.id] = running
        self._all_done.clear()
        watched = _Watched(running, draft, self._store, emit, loop.time())
        try:
            outcome = await self._outcome(begun, draft, running, watched)
        finally:
            # Also when the face left or the process stops: what was said is kept. Bounded, and
            # the store shields its own transaction.
            try:
                async with asyncio.timeout(CLOSE_S):
                    last = await self._close(turn, draft, outcome)
            finally:
                del self._running[turn.id]
                if not self._running:
                    self._all_done.set()
        await emit(last)

    async def _outcome(
        self, begun: "_Begun", draft: Draft, running: _Running, watched: "_Watched"
    ) -> "_Outcome":
        try:
            async with running.scope:
                running.is_working = True
                turn, resolved = begun.turn, begun.resolved
                reason = f"{resolved.persona_reason}; {resolved.model_reason}"
                await watched.emit(Started(turn.id, turn.persona, resolved.model, reason))
                job = self._planner.job(resolved, begun.branch, begun.request)
                draft.routed(job.route)
                await watched.emit(Routed(job.route))
                await self._router.answer(job, draft, watched.emit)
        except TimeoutError:
            if not running.stopped:
                raise
            return _Outcome(TurnStatus.PARTIAL, "Stopped.", by_asker=True)
        except Interrupted as cut:
            return _Outcome(TurnStatus.PARTIAL, cut.user_message)
        except BotError as error:
            return _Outcome(TurnStatus.FAILED, error.user_message, error=error)
        finally:
            running.is_working = False
        return _Outcome(TurnStatus.DONE)

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
    """A stored turn ready to run."""

    request: TurnRequest
    resolved: Resolved
    branch: tuple[Turn, ...]
    turn: Turn


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
        self.running.loading = (event.host, event.model) if isinstance(event, Loading) else None
        await self.send(event)
        now = asyncio.get_running_loop().time()
        if self.draft.has_text and now - self.stored_at >= CHECKPOINT_S:
            self.stored_at = now
            await self.store.checkpoint(self.running.id, self.draft.text, self.draft.reasoning)


def _completed(request: TurnRequest, parent: Turn | None) -> TurnRequest:
    """As a new message: a retry asks its parent's question again, a continuation to go on."""
    if parent is None:
        if request.kind is TurnKind.NEW:
            return request
        raise NotPermitted("That reply is not stored any more, so it cannot be redone.")
    persona = request.persona or parent.persona
    if request.kind is TurnKind.RETRY:
        return replace(
            request,
            kind=TurnKind.NEW,
            text=parent.user_text,
            attachments=parent.attachments,
            persona=persona,
        )
    if request.kind is TurnKind.CONTINUE:
        return replace(request, kind=TurnKind.NEW, text=CONTINUE_TEXT, persona=persona)
    return request
