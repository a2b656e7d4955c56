"""One turn, from question to receipt, as a stream of events every face consumes alike."""

import asyncio
import logging
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from weakref import WeakValueDictionary

import structlog

from bot.chat.answering import Answering
from bot.chat.beginning import Beginnings
from bot.chat.cache import AnswerCache
from bot.chat.choices import Choices
from bot.chat.consents import Consents
from bot.chat.draft import Draft
from bot.chat.planning import Asking, Job, Planner
from bot.chat.running import Ending, Running
from bot.chat.safe_channel import Handover, safe_channel
from bot.chat.standing import looking_words, private_words, unasked_words
from bot.chat.taken_back import TakenBack
from bot.chat.usage import UsageTracker
from bot.chat.walk import FirstLook
from bot.chat.words import candidate_line, rejection_line
from bot.domain.chat import (
    Receipt,
    Told,
    Turn,
    TurnKind,
    TurnRequest,
    TurnStatus,
)
from bot.domain.errors import (
    BotError,
    Bug,
    Interrupted,
    NoCandidates,
    NotPermitted,
    RequestRefused,
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
from bot.domain.ids import PlaceId, TurnId, UserId
from bot.fleet.fleet import Fleet
from bot.policy.choice import way_back
from bot.policy.context import GREET_TEXT
from bot.policy.conversation import added, continued
from bot.policy.foresight import foretold
from bot.policy.names import shown_name
from bot.policy.privacy import LocalOnly
from bot.policy.prompt import Moment, greeting, scene_of
from bot.store.ledger import FreeLine
from bot.store.turns import TurnStore

CHECKPOINT_S = 1.0
"""A crash loses at most this much of an unfinished answer's text, and what waits to be stored."""

RESTARTING = "Lantern is restarting."

CLOSE_S = 5.0
"""Longest a turn waits for its end to be stored before it says how it ended."""

SLOW_STORE_S, SLOW_LOOK_S = 3.0, 0.5
"""A question that waits longer to be stored, or for hosts that are out, is told why."""

SEEING = "whichever sees the picture the soonest"

BUSY = "The database is busy; this waits for it."

BEGIN_AT_ONCE = 4
"""Turns looking things up beside each other: of a hundred asked in one moment the first asks for
its model while the others wait, instead of all waiting for all."""

_log = structlog.get_logger(__name__)
_stdlib = logging.getLogger(__name__)
"""Says whether a line would be written, before its words are made."""


_End = tuple[TurnStatus, str, str, Receipt, FreeLine | None]
"""Status, text, reasoning, receipt and the line of the ledger, as the store takes them."""

_PRESSES: Mapping[Way, str] = {
    "wait": "Wait",
    "warm": "Answer now",
    "cloud": "Use the cloud",
}


class Turns:
    """Opens turns and knows which ones run. A turn is begun, run and closed, in that order."""

    def __init__(
        self,
        *,
        store: TurnStore,
        choices: Choices,
        consents: Consents,
        planner: Planner,
        answering: Answering,
        cache: AnswerCache,
        usage: UsageTracker,
        fleet: Fleet,
        new_id: Callable[[], TurnId],
        admit: Callable[[TurnRequest, UserId], Awaitable[None]],
    ) -> None:
        self.store = store
        """For what faces ask of stored turns; the running ones are written here alone."""
        self.taken_back = TakenBack()
        """Told by faces, before they look in the store for what it is about."""
        self._planner = planner
        self._answering = answering
        self._cache = cache
        self._usage = usage
        self._fleet = fleet
        self._new_id = new_id
        self._running: dict[TurnId, Running] = {}
        self._beginnings = Beginnings(
            store, choices, consents, planner, self._running, admit, self.taken_back
        )
        self._is_draining = False
        self._all_done = asyncio.Event()
        """Waited for while any turn runs alone: each that begins clears it."""
        self._unstored: dict[TurnId, _End] = {}
        """How turns ended whose end could not be stored."""
        self._door = asyncio.Semaphore(BEGIN_AT_ONCE)
        # Where two of one place look up the newest turn before either is stored, both go on from
        # it and the words of one are in no later transcript.
        self._lines = WeakValueDictionary[PlaceId, asyncio.Lock]()

    def open(
        self, request: TurnRequest, straight: Callable[[Sequence[TurnEvent]], object] | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[TurnEvent]]:
        """The turn as events, ending with exactly one ``Finished``, ``Stopped`` or ``Failed``.

        Leaving the block early stops the work everywhere, the host's generation included; the
        text so far is stored.

        Args:
            request: What is asked.
            straight: Is called with most words of the answer as they come, while the iterating one
                waits for more: these are not iterated. It must not fail.
        """
        return safe_channel(partial(self._play, request), straight)

    # --- what else faces ask ---------------------------------------------------------------

    def stop(self, conversation: PlaceId, user: UserId | None = None) -> int:
        """Stops the running turns of a conversation (those one user may stop); says how many.

        A load that nobody else waits for is ended too.
        """
        running = [self._running[turn] for turn in self.running(conversation)]
        mine = [turn for turn in running if user in (None, turn.user, turn.author)]
        for turn in mine:
            self._cancel_load(turn)
            turn.stop(press="/stop")
        return len(mine)

    def stop_turn(self, turn: TurnId, *, cancels_load: bool = False) -> bool:
        """Stops one turn; False when it is not running.

        Args:
            turn: Which.
            cancels_load: Its load is ended too, where nobody else waits for that.
        """
        running = self._running.get(turn)
        if running is None:
            return False
        if cancels_load:
            self._cancel_load(running)
        running.stop(press="Cancel" if cancels_load else "Stop")
        return True

    def _cancel_load(self, running: Running) -> None:
        # The host knows who else waits; a load under way outlives its asker otherwise, and takes
        # two minutes and the memory for nobody.
        if running.loading is not None:
            host, model = running.loading
            self._fleet.host(host).cancel_load(model)

    async def end(self, turns: Iterable[TurnId], reason: str, *, by_asker: bool = True) -> None:
        """Stops these turns where they run, and waits until their ends are stored.

        Ended by somebody they read as stopped; else as cut, by that reason.
        """
        running = [self._running[turn] for turn in turns if turn in self._running]
        for each in running:
            self._cancel_load(each)
            each.stop(reason, by_asker=by_asker)
        for each in running:
            await each.ended.wait()

    async def check_way(self, turn: TurnId, way: Way) -> None:
        """Passes where a way that was ``Offered`` may be taken still; else it is open no more.

        Raises:
            RequestRefused: the model that was offered has left memory; or no words may leave any
                more for the provider that was, a budget cannot pay it, or its asker may not be
                answered.
            StoreUnavailable: what that depends on cannot be read.
        """
        running = self._running.get(turn)
        offer = None if running is None else running.override.offer
        if running is None or running.judge is None or offer is None:
            return
        warm = offer.warm if way == "warm" else None
        # Pressed all the same, it was waited for longer than what had been loading for it.
        if warm is not None and not self._planner.is_in_memory(warm):
            running.override.close("warm")
            raise RequestRefused(
                f"`{warm.model}` is not in memory on {warm.where} any more; the answer goes on "
                "without it."
            )
        if way != "cloud" or offer.cloud is None:
            return
        consent = await running.judge(())
        if isinstance(consent, LocalOnly):
            # Only that way: meanwhile another may have been taken.
            running.override.close("cloud")
            words = f"☁ {offer.cloud.where} cannot be asked here: {consent.words}."
            raise NotPermitted(words)
        # Pressed all the same, it was refused by the ledger and the press did nothing.
        short = await self._usage.refusal(offer.cloud, running.user, running.place.server)
        if short:
            running.override.close("cloud")
            raise RequestRefused(short)

    def choose(self, turn: TurnId, way: Way) -> bool:
        """Takes a way that was ``Offered``; False when it is not open any more."""
        running = self._running.get(turn)
        if running is None or not running.override.choose(way):
            return False
        if running.draft is not None:
            running.draft.pressed(_PRESSES[way])
        return True

    async def check_taken(self, turn: TurnId) -> None:
        """Returns once anybody answers a turn for which a way was chosen, or it has ended.

        Raises:
            RequestRefused: whoever was chosen could not; the other ways are open again.
        """
        running = self._running.get(turn)
        failure = None if running is None else await running.override.failure()
        # Two presses of one moment found money for each: the ledger paid one, and the other learnt
        # it nowhere but in /why.
        if failure is not None:
            raise RequestRefused(failure.user_message) from failure

    def showing(self, turn: TurnId) -> None:
        """Has the text so far stored with what is about to be shown of it, where the turn runs."""
        # After a crash people read a second's words less than they had read, under "is kept".
        if (running := self._running.get(turn)) is not None:
            self._keep_fresh(running, every_s=0.0)

    def asker(self, turn: TurnId) -> UserId | None:
        """Who asked a running turn, or pressed for it."""
        running = self._running.get(turn)
        return running.user if running is not None else None

    def author(self, turn: TurnId) -> UserId | None:
        """Whose words a running turn answers, whoever pressed for it."""
        running = self._running.get(turn)
        return running.author if running is not None else None

    def running(self, conversation: PlaceId | None = None) -> tuple[TurnId, ...]:
        """The turns running in a conversation, or anywhere."""
        turns = self._running.values()
        return tuple(
            turn.id
            for turn in turns
            if conversation is None or turn.place.conversation == conversation
        )

    async def catch_up(self) -> None:
        """Stores the ends that could not be stored when they came."""
        for turn, end in tuple(self._unstored.items()):
            try:
                await self.store.finish(turn, *end)
            except StoreUnavailable:
                return  # the disk is no better: the others would fail alike
            del self._unstored[turn]
            _log.info("turn's end stored late", turn_id=turn)

    async def drain(self, limit_s: float) -> None:
        """Refuses new turns, lets the running ones finish within ``limit_s``, then stops them."""
        self._is_draining = True
        if not self._running:
            return
        _log.info("draining", running=len(self._running), limit_s=limit_s)
        try:
            async with asyncio.timeout(limit_s):
                await self._all_done.wait()
        # Ended with a reason: merely cancelled, each would leave a message with a spinner.
        except TimeoutError:
            for running in tuple(self._running.values()):
                running.stop(RESTARTING, by_asker=False)
            async with asyncio.timeout(CLOSE_S):
                await self._all_done.wait()

    # --- one turn: begin, run, close ---------------------------------------------------------

    async def _play(self, request: TurnRequest, emit: Handover[TurnEvent]) -> None:
        """A turn from its first look-up to its last event; every error becomes that event."""
        if self._is_draining:
            words = "Lantern is restarting and takes no new questions just now."
            await emit(Failed(None, RequestRefused(words)))
            return
        # Known from here on, so that a drain waits for it and nothing of it is left behind.
        gone_on_with = request.parent if request.kind == "continue" else None
        turn_id = gone_on_with or self._new_id()
        if turn_id in self._running:
            await emit(Failed(None, RequestRefused("That answer is still being written.")))
            return
        running = Running(turn_id, request.place, request.user)
        self._running[running.id] = running
        self._all_done.clear()
        try:
            if self._unstored:
                await self.catch_up()
            line = self._lines.setdefault(request.place.conversation, asyncio.Lock())
            with structlog.contextvars.bound_contextvars(turn_id=running.id):
                async with AsyncExitStack() as until_stored:
                    await until_stored.enter_async_context(line)
                    async with self._door:
                        asking, turn = await self._beginnings.begin(request, running.id)
                    running.author = turn.user
                    last = await self._run(
                        asking, turn, running, emit, request.kind, until_stored.aclose
                    )
        except BotError as error:
            _log_end(error, {"turn_id": running.id, "status": "failed"})
            last = Failed(running.id, error)
        except Exception:
            _log.exception("turn broke", turn_id=running.id)
            error = Bug("Something went wrong inside Lantern; it is logged.")
            last = Failed(running.id, error)
        finally:
            del self._running[running.id]
            # Each holds the other: a megabyte of ended answers waited for the garbage collector.
            running.draft = None
            running.override.settle()
            running.ended.set()
            if not self._running:
                self._all_done.set()
        if isinstance(last, Failed) and not running.is_stored:
            last = replace(last, turn=None)
        await emit(last)

    async def _run(
        self,
        asking: Asking,
        turn: Turn,
        running: Running,
        emit: Handover[TurnEvent],
        kind: TurnKind,
        on_stored: Callable[[], Awaitable[None]],
    ) -> TurnEvent:
        """Stores the question, answers it, and closes the turn whatever happens meanwhile."""
        resolved = asking.resolved
        sees, back = asking.request.must_see, way_back(resolved.scope)
        of_model = SEEING if sees else resolved.model_reason
        reason = f"persona {resolved.persona_reason}; model {of_model}"
        if back and not sees:
            reason += f" ({back} goes back)"
        loop = asyncio.get_running_loop()

        def taken(words: Sequence[TextDelta]) -> bool:
            if loop.time() - running.kept_at >= CHECKPOINT_S:
                # Once the draft has these words, too.
                loop.call_soon(self._keep_fresh, running)
            return emit.offer(words)

        straight = None if emit.straight is None else taken
        draft = Draft(turn.persona, reason, partial(self._tell, running, emit), straight)
        asked, option = asking.request.asked, str(asking.request.model or "")
        draft.so_far = replace(draft.so_far, asked=asked, option=option)
        running.draft, running.kept_at = draft, loop.time()
        ending: Ending | None = None
        try:
            redoes = None if asking.redone is None else asking.redone.id
            async with _said_when_slow(draft, BUSY, SLOW_STORE_S):
                if kind == "continue":
                    is_there = await self.store.resume(turn.id, asking.request.question)
                    running.before = turn
                else:
                    await self.store.begin(turn, kind, redoes, asking.request.question)
                    is_there = True
            if not is_there:
                raise RequestRefused("That answer cannot be gone on with any more.")
            asking = await self._beginnings.kept(asking)
            running.is_stored = True
            await on_stored()
            ending = await self._ending(asking, draft, running, is_retry=redoes is not None)
        except (StoreUnavailable, RequestRefused) as error:
            ending = Ending("failed", error.user_message, error=error)
        finally:
            # Also when the face left or the process stops, even in the middle of the first write:
            # what was said is kept.
            last = await self._close(asking, turn, draft, ending)
        return last

    async def _tell(self, running: Running, emit: Handover[TurnEvent], event: TurnEvent) -> None:
        """Passes an event on; notes what is loading, and the text so far."""
        if isinstance(event, TextDelta):
            running.override.settle()
        # What Cancel ends: the load under way now, not one of a candidate left behind.
        running.loading = (event.host, event.model) if isinstance(event, Loading) else None
        await emit(event)
        self._keep_fresh(running)

    def _keep_fresh(self, running: Running, every_s: float | None = None) -> None:
        """Has the text so far stored, where that was not done for a while."""
        draft, now = running.draft, asyncio.get_running_loop().time()
        every_s = CHECKPOINT_S if every_s is None else every_s
        if draft is None or not draft.has_text or now - running.kept_at < every_s:
            return
        running.kept_at = now
        by, thought = draft.receipt(), draft.reasoning
        who = Receipt(
            by.persona,
            by.model,
            by.host,
            by.provider,
            by.usage,
            by.timing,
            seams=by.seams,
            asked=by.asked,
            option=by.option,
            timed_parts=by.timed_parts,
        )
        if (before := running.before) is not None:
            who = who if before.receipt is None else continued(before.receipt, who)
            thought = "\n\n".join(filter(None, (before.reasoning_text, thought)))
        self.store.checkpoint(running.id, running.said(), thought, who)

    async def _ending(
        self, asking: Asking, draft: Draft, running: Running, *, is_retry: bool
    ) -> Ending:
        """Answers, and says how that ended."""
        try:
            async with asyncio.timeout(None) as running.scope:
                if running.stopped is not None:
                    # Stopped while it was looked up or stored: no host is asked any more.
                    return running.stopped
                await self._answer(asking, draft, running, is_retry=is_retry)
        except TimeoutError:
            if running.stopped is None:
                raise
            return running.stopped
        except Interrupted as cut:
            return Ending("partial", cut.user_message)
        except BotError as error:
            return Ending("failed", error.user_message, error=error)
        finally:
            running.scope = None
        return Ending("done")

    async def _answer(
        self, asking: Asking, draft: Draft, running: Running, *, is_retry: bool
    ) -> None:
        """The answer from the cache, else from the route or whatever its asker prefers to it."""
        resolved = asking.resolved
        reason = f"{resolved.persona_reason}; {resolved.model_reason}"
        await draft.emit(Started(asking.turn, resolved.persona.name, resolved.model, reason))
        if asking.request.text == GREET_TEXT:
            await self._told(asking, draft)
            await draft.hear(TextDelta(_greeting(asking)))
            return
        asking = await self._beginnings.caught_up(asking, draft)
        await self._remind(asking, draft)
        look = FirstLook(self._fleet, self._planner.first_look_s)
        job = await look.planned(
            partial(self._planner.job, asking),
            lambda job: job.route,
            lambda job: self._planner.pays_unseen(job.route, job),
            lambda: _said_when_slow(
                draft, looking_words(self._fleet.snapshot().hosts.values()), SLOW_LOOK_S
            ),
        )
        draft.so_far = replace(draft.so_far, route=job.route)
        if _stdlib.isEnabledFor(logging.DEBUG):
            # Names and numbers of ours alone: no word of whoever asks.
            _log.debug(
                "route chosen",
                turn_id=asking.turn,
                why=reason,
                candidates=[candidate_line(found) for found in job.route.candidates],
                rejected=[rejection_line(found) for found in job.route.rejected],
            )
        await draft.emit(Routed(job.route))
        # Who asks again wants another answer.
        may_repeat = not is_retry and not asking.request.no_cache
        if may_repeat and await self._cache.give(job, draft):
            return
        job = await self._offered(job, draft, running)

        late = partial(look.newcomers, job.route, lambda: self._planner.job(asking).route)
        await self._answering.answer(job, draft, running.override, late)
        await self._cache.keep(job, draft.text, draft.receipt())

    async def _told(self, asking: Asking, draft: Draft) -> Told:
        """What the conversation was told so far; here who stands in for a persona that is gone.

        Under each answer, nobody read it any more, nor learned how to end it.
        """
        newest = asking.branch[-1] if asking.branch else None
        running = None if newest is None else self._running.get(newest.id)
        last = None if newest is None else newest.receipt
        # What is gone on with runs itself, and was told what its receipt says.
        if running is not None and running.draft is not None and running.draft is not draft:
            last = running.draft.so_far
        told, resolved = Told() if last is None else last.told, asking.resolved
        reason = resolved.persona_reason
        if is_first := resolved.is_substitute and reason not in told.gone:
            told = replace(told, gone=(*told.gone, reason))
        # What is answered again stands under the name of who is gone.
        is_news = is_first or (resolved.is_substitute and asking.request.kind != "new")
        draft.so_far = replace(draft.so_far, told=told)
        if is_news:
            await draft.notice(f"The persona {reason}. `/persona` chooses anew.")
        return told

    async def _remind(self, asking: Asking, draft: Draft) -> None:
        """Goes on from what the conversation was told, and says what it was not told yet."""
        told = await self._told(asking, draft)
        consent, resolved = asking.consent, asking.resolved
        is_earlier = isinstance(consent, LocalOnly) and consent.is_by_earlier
        is_news = is_earlier and self._planner.has_cloud and not told.is_private
        # A provider that was asked for by name was passed over without a word.
        named = resolved.provider if resolved.scope is None or is_news else None
        if isinstance(consent, LocalOnly) and named is not None:
            await draft.notice(unasked_words(named, consent.words))
        # In a channel one person's mark kept everybody's next question here, and nothing said so.
        elif isinstance(consent, LocalOnly) and is_news:
            await draft.notice(private_words(consent.words))
        told = replace(told, is_private=told.is_private or is_news)
        draft.so_far = replace(draft.so_far, told=told)

    async def _offered(self, job: Job, draft: Draft, running: Running) -> Job:
        """The job, with another first candidate where the settings prefer one to a slow load."""
        ways = self._planner.ways(job)
        if ways is None:
            return job
        if ways.chosen is None:
            offer = Offered(running.id, ways.here, ways.warm, ways.cloud)
            running.override.offer, running.judge = offer, job.asking.judge
            await draft.emit(offer)
            return job
        chosen = ways.chosen
        # Of a provider the receipt tells, once it has answered.
        if chosen.host is not None:
            words = f"{ways.here.where} would take long, so `{chosen.model}` is asked instead."
            await draft.notice(words)
        # The rest stay: what is quick may still fail.
        others = tuple(c for c in job.route.candidates if c != chosen)
        return replace(job, route=replace(job.route, candidates=(chosen, *others)))

    async def _close(
        self, asking: Asking, turn: Turn, draft: Draft, ending: Ending | None
    ) -> TurnEvent:
        """Stores how the turn ended, then says it; without an ending its reader has left."""
        if ending is None:
            status = "partial" if draft.has_text else "failed"
            ending = Ending(status, "", by_asker=True)
        finish = None
        if isinstance(ending.error, RequestRefused):
            # Declined or too long: left out of what comes later, which it would end as well.
            finish = "refused"
        elif ending.status != "done":
            finish = "cancelled" if ending.by_asker else "error"
        receipt = draft.receipt(finish)
        if not ending.by_asker:
            # Told once and kept nowhere, it was gone as soon as the message was written anew.
            receipt = replace(receipt, ending=ending.reason)
        line = self._usage.line(
            turn.id, asking.payer, turn.place.server, receipt, has_text=draft.has_text
        )
        last = replace(
            turn,
            status=ending.status,
            reply_text=draft.text,
            reasoning_text=draft.reasoning,
            receipt=receipt,
        )
        whole = added(turn, last) if turn.reply_text else last
        receipt = whole.receipt or receipt
        end = (whole.status, whole.reply_text, whole.reasoning_text, receipt, line)
        unstored = await self._store_end(turn.id, end)
        if unstored is not None and ending.error is None:
            ending = replace(ending, status="failed", error=unstored)
        told, timing = foretold(receipt), receipt.timing
        first_s = None if timing.first_token_s is None else timing.wait_s
        fields = {
            "turn_id": turn.id,
            "status": str(ending.status),
            "persona": turn.persona,
            "model": receipt.model,
            "where": receipt.host or receipt.provider,
            "tokens": receipt.usage.completion_tokens,
            "first_token_s": first_s and round(first_s, 3),
            "predicted_s": told and round(told[0], 3),
            "waited_s": told and round(told[1], 3),
            "total_s": round(timing.total_s, 3),
            "attempts": len(receipt.attempts),
        }
        _log_end(ending.error, fields, "" if ending.by_asker else receipt.cause or ending.reason)
        if ending.error is not None:
            return Failed(turn.id, ending.error, receipt)
        if ending.status == "done":
            return Finished(turn.id, receipt)
        return Stopped(turn.id, receipt, ending.reason, ending.by_asker)

    async def _store_end(self, turn: TurnId, end: _End) -> StoreUnavailable | None:
        """Stores how a turn ended, within bounds; gives the error where it must be tried again."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self.store.finish(turn, *end)
        except TimeoutError:
            # An answer that was shown stays answered however slow the disk is: a write once begun
            # goes on without us, and a crash before its end is told at the next start.
            _log.warning("turn's end not stored in time", turn_id=turn, limit_s=CLOSE_S)
        except StoreUnavailable as error:
            # A disk that was full for a minute once left the turn "running" until the next start.
            self._unstored[turn] = end
            return error
        return None


def _greeting(asking: Asking) -> str:
    """How the persona greets; a retry brings the next of its greetings.

    Raises:
        RequestRefused: it has none.
    """
    persona, request = asking.resolved.persona, asking.request
    scene = scene_of(persona, request.user_name, Moment(asking.turn, asking.resolved.now))
    said = None if asking.redone is None else asking.redone.reply_text
    if not (words := greeting(persona, scene, said, request.greeting)):
        words = f"{shown_name(persona.name)} has no greeting (any more); write something to it."
        raise RequestRefused(words)
    return words


@asynccontextmanager
async def _said_when_slow(draft: Draft, text: str, after_s: float) -> AsyncGenerator[None]:
    """Tells the asker what lets a question wait, where it does for so long."""
    async with asyncio.TaskGroup() as group:

        async def say() -> None:
            await draft.emit(Notice(text, is_passing=True))

        # A timer, not a task: nearly every question is stored in a millisecond.
        timer = asyncio.get_running_loop().call_later(after_s, lambda: group.create_task(say()))
        failed = None
        try:
            yield
        except StoreUnavailable as error:
            # Not in a group: callers tell errors by their class.
            failed = error
        finally:
            timer.cancel()
    if failed is not None:
        raise failed


def _log_end(error: BotError | None, fields: Mapping[str, object], cut: str = "") -> None:
    """One line by whose fault it was, with kind and reason; ``cut`` is why an answer broke off."""
    if error is not None:
        fields = {**fields, "kind": type(error).__name__}
    match error:
        case None if cut:
            _log.warning("turn finished", **fields, reason=cut)
        # The asker's doing, and its message may repeat what they wrote.
        case None | RequestRefused():
            _log.info("turn finished", **fields)
        case StoreUnavailable() | Bug():
            _log.error("turn finished", **fields, reason=error.user_message)
        case _:
            details = error.details if isinstance(error, NoCandidates) else ""
            _log.warning("turn finished", **fields, reason=details or error.user_message)
