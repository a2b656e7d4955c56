"""Writes one reply: its latest text alone, one call at a time, paced; its end is tried longest."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from math import inf
from typing import Literal

import structlog

from bot.domain.values import value
from bot.policy.pacing import Pacer, Writing, ask_all
from cogs._ban import TRIES_ITSELF
from cogs._faults import SENDING_ERRORS, DiscordFault, fault_of
from cogs._transport import Transport
from cogs._view import MessageView, View, cut_short

MAX_TRIES = 26
"""Of the last words: with pauses up to ``MAX_PAUSE_S`` a fault may last two minutes."""

MAX_PAUSE_S = 5.0

SOON_S = 1.0
"""From one try to the next where a fault may be over by then: about as often as answers are edited.
With pauses that doubled six failed edits let one stand still for eleven seconds."""

SOON_TRIES = 5
"""Of the last words, which nothing newer follows, so many are made so soon."""

_WAKE_CHARS = 256
"""A waiting writer asks anew when so much text came, for others may have left its line meanwhile:
asking after every few words was a tenth of what a token costs."""

KeepMessage = Callable[[int, int], Awaitable[bool]]
"""``keep(part, message_id)`` remembers a message; False when it is too early to."""

_log = structlog.get_logger(__name__)


WriteEnd = Literal["shown", "gone", "given up"]
"""How the writing ended.

``gone``: there is no place to show it any more, or somebody deleted the message it grew in;
``given up``: discord did not take the last words, by many tries or until we left; it may yet.
"""


@value
class Step:
    """One call to Discord."""

    part: int
    view: MessageView | None
    """None takes the message away."""
    message_id: int | None
    """None makes a new message."""


class Messages:
    """The messages of one reply, what each shows, and the next call that brings them up to date.

    Parts are brought up to date in order, so they stand in order.
    """

    def __init__(
        self,
        ids: Sequence[int] = (),
        *,
        is_unsure: bool = False,
        renews: Sequence[int] = (),
        locale: object = None,
    ) -> None:
        """Of those that ``renews`` names one that was deleted is made anew where it is needed."""
        self._locale = locale
        self._wordless = set(renews)
        """Hold no word of this reply: who deletes one takes nothing of it away."""
        self.lost: set[int] = set()
        """Found deleted. One whose words came before others stays so, and those grow on."""
        self.made: list[int | None] = [*ids]
        """Their ids in order, those that were there already first; None stands for a lost one."""
        self.most: int | None = None
        """So many messages there may be at most; None while more may be made."""
        self._shown: dict[int | None, MessageView] = {}
        self._stand_ins: dict[MessageView, MessageView] = {}
        self._unsure: set[int] = {len(self.made)} if is_unsure else set()
        """Parts that may be there all the same: their creation failed, or a crash hid it."""
        self._orphans: list[int] = []
        """Messages that could not be edited any more, to be taken away when possible."""

    def next_step(self, views: Sequence[MessageView]) -> Step | None:
        """The first difference between what should be shown and what is."""
        views = self._fitted(views)
        grown: Step | None = None
        for part, wanted in enumerate(views):
            view = self._stand_ins.get(wanted, wanted)
            if part >= len(self.made):
                return grown or Step(part, view, None)
            before = self._shown.get(message_id := self.made[part])
            if message_id in self.lost:
                continue
            # What stands there from before goes before what has grown: with words in every edit
            # of the first message, the second kept its old words and buttons for a minute. And
            # before what follows it: Discord fills one that says "is thinking" with the next that
            # is made, and two parts took turns in it for ever.
            if before is None:
                return Step(part, view, message_id)
            # An end that spills over is begun before the message above it is finished: messages
            # are made by a limit of their own, and its edit would first wait for the channel's.
            if part == len(self.made) - 1 and part + 1 < len(views):
                spilt = views[part + 1]
                return grown or Step(part + 1, self._stand_ins.get(spilt, spilt), None)
            grown = grown or (Step(part, view, message_id) if before != view else None)
        if grown is not None:
            return grown
        # Nothing to show yet, such as an opened fence, takes no load bar away.
        if views and len(self.made) > len(views):
            return Step(len(self.made) - 1, None, self.made[-1])
        if self._orphans:
            return Step(len(self.made), None, self._orphans[0])
        return None

    def _fitted(self, views: Sequence[MessageView]) -> Sequence[MessageView]:
        """As many as there may be; those that are lost make way where fewer are needed."""
        if self.most is not None and len(views) > self.most:
            views = (*views[: self.most - 1], cut_short(views[self.most - 1], self._locale))
        # What holds the place of a message that is there no more needs none.
        while len(views) > len(self.made) and views[-1].is_spare:
            views = views[:-1]
        spare = max(0, len(self.made) - len(views)) if views else 0
        for message in [made for made in self.made if made in self.lost][:spare]:
            self.made.remove(message)
        return views

    async def take(self, step: Step, transport: Transport) -> None:
        """Makes the call and remembers what is shown."""
        if step.view is None:
            try:
                if step.message_id is not None:
                    await transport.delete(step.message_id)
            except SENDING_ERRORS as error:
                # What is gone already, or not ours to remove, is no trouble.
                if fault_of(error) in (DiscordFault.PASSING, DiscordFault.LEAVING):
                    raise
            if step.part < len(self.made):
                self.made.pop(step.part)
            else:
                self._orphans.pop(0)
        elif step.message_id is not None:
            # Of a call that fails nobody knows what it changed.
            before = self._shown.pop(step.message_id, None)
            await transport.edit(step.message_id, step.view, before)
            self._shown[step.message_id] = step.view
            if not step.view.is_spare:
                self._wordless.discard(step.message_id)
        else:
            is_unsure = step.part in self._unsure
            self._unsure.add(step.part)
            message_id = await transport.send(step.part, step.view)
            self._unsure.discard(step.part)
            self.made[step.part : step.part + 1] = [message_id]
            # The nonce may have found the message of an earlier try, with its older words.
            if not is_unsure:
                self._shown[message_id] = step.view

    def adapt(self, step: Step, fault: DiscordFault, reason: str) -> bool:
        """Changes what is still to be shown so that the fault cannot recur; False if it cannot."""
        match fault:
            case DiscordFault.LOST if step.message_id is not None:
                self.lost.add(step.message_id)
                spared = self._wordless | self.lost
                has_later_words = not spared.issuperset(self.made[step.part + 1 :])
                is_last = step.part == len(self.made) - 1
                if step.message_id in self._wordless or not (has_later_words or is_last):
                    self.made.pop(step.part)
                # Whoever deletes the message in which an answer grows wants it to end.
                return step.message_id not in self.made or has_later_words
            case DiscordFault.ARCHIVED | DiscordFault.EXPIRED if step.message_id is not None:
                # The thread takes new messages alone, or the webhook that made this one is gone:
                # another takes its place.
                self._orphans.append(step.message_id)
                self.made[step.part] = None
            case DiscordFault.REFUSED if step.view and step.view not in self._stand_ins.values():
                content = f"⚠ Discord refused to show this part of the answer.\n-# {reason[:200]}"
                self._stand_ins[step.view] = replace(step.view, content=content)
            case DiscordFault.DENIED if step.message_id is None and step.part:
                # The last message there is says that no other may follow.
                self.most = step.part
            case _:
                return False
        return True


class Writer:
    """Owns the messages of one reply."""

    def __init__(
        self,
        view: View,
        transport: Transport,
        keep: KeepMessage | None = None,
        denied_tries: int = MAX_TRIES,
        showing: Callable[[], object] | None = None,
        *,
        is_news: bool = True,
    ) -> None:
        """``denied_tries`` are made where we may not write any more; ``showing`` precedes each.

        Without ``is_news`` it was logged before that this cannot be shown.
        """
        self.is_visible = False
        """Has a message been given something to show?"""
        self._view = view
        self._transport = transport
        self._keep = keep
        self._showing = showing
        self._is_news = is_news
        self._kept: set[int] = set()
        self._denied_tries = denied_tries
        self._messages = Messages(locale=transport.locale)
        self.lost = frozenset[int]()
        """Messages of it that somebody has deleted."""
        self._news = asyncio.Event()
        self._wakes_at_length = 0
        self._given = Writing(ready=0)
        self._given_changes: int | None = None
        self._has_more = False
        self._makes_new = False
        """The next call makes a message, which has a limit of its own."""
        self._failures = 0
        self._tries_last = False
        """Were the last words already tried in vain?"""
        self._key = f"{id(self):x}"
        self._joined: set[Pacer] = set()

    def poke(self) -> None:
        """Wakes the writer: its view has changed."""
        if self._view.length >= self._wakes_at_length or self._view.is_over:
            self._news.set()

    def ids(self) -> tuple[int, ...]:
        """The messages there are now, in order."""
        made = self._messages.made
        return tuple(message for message in made if message not in (None, *self.lost))

    async def run(
        self, existing: tuple[int, ...] = (), *, is_unsure: bool = False, renews: bool = False
    ) -> WriteEnd:
        """Writes until the end is shown, over ``existing`` messages first; early when it cannot.

        With ``is_unsure`` the message behind those may be there, too, and is written over. With
        ``renews`` those that were deleted before are made anew.
        """
        try:
            deferred = await self._transport.begin()
            # Written anew by the response that made it, a message is named by both.
            ids = existing if deferred in (None, *existing) else (*existing, deferred)
            self._messages = Messages(
                ids,
                is_unsure=is_unsure,
                renews=existing if renews else (),
                locale=self._transport.locale,
            )
            outcome = None
            while outcome is None:
                # Before any call: a crash leaves even a message that only says "thinking" noted.
                await self._keep_new()
                at, wakes_at = self._next_call_at()
                if at > asyncio.get_running_loop().time():
                    self._wakes_at_length = wakes_at
                    await self._rest(at)
                else:
                    outcome = await self._act()
            await self._keep_new()
        except SENDING_ERRORS as error:
            outcome = "given up" if fault_of(error) is DiscordFault.LEAVING else "gone"
            self._warn("reply cannot be shown", error, outcome=outcome)
        finally:
            # One that left without a word would slow the others in its channel for ever.
            for pacer in self._joined:
                pacer.left(self._key)
        return outcome

    def _next_call_at(self) -> tuple[float, float]:
        """When the next call may begin, and at how much text to ask again before.

        Inf: there is nothing new to show, and whatever comes is worth a look.
        """
        now, changes = asyncio.get_running_loop().time(), self._view.changes
        # A status that reads as before must ask for no place: a waiting reply that was touched
        # every second and had nothing to show kept its place before every stream of the bot.
        if not self._has_more and changes != self._given_changes and not self._view.length:
            self._has_more = self._messages.next_step(self._view.messages(now)) is not None
            self._given_changes = changes
        if self._view.is_over:
            step = self._messages.next_step(self._view.messages(now))
            self._makes_new = step is not None and step.message_id is None
        writing = replace(
            self._given,
            ready=self._view.length,
            is_finished=self._view.is_over,
            is_changed=self._has_more or changes != self._given_changes,
            is_urgent=self._makes_new or (self._view.length > 0 and self._given.shown == 0),
            goes_on=self._makes_new and self._given.shown > 0,
        )
        self._makes_new = self._makes_new or not self._messages.made
        pacers = self._transport.pacers(is_new=self._makes_new)
        self._joined.update(pacers)
        at = ask_all(pacers, now, self._key, writing)
        if at == inf:
            return at, 0
        if not writing.ready:
            return at, 1  # the first word is worth an earlier look
        early, later = pacers[0].due_early_at(writing), writing.ready + _WAKE_CHARS
        return at, early if writing.ready < early < later else later

    async def _rest(self, until: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(None if until == inf else until):
                await self._news.wait()
        self._news.clear()

    async def _act(self) -> WriteEnd | None:
        """Makes the next call, if any is due; an outcome when it was the last."""
        now, changes = asyncio.get_running_loop().time(), self._view.changes
        views, is_last = self._view.messages(now), self._view.is_over
        step = self._messages.next_step(views)
        is_new = step is not None and step.message_id is None
        if step is not None and is_new != self._makes_new:
            # It waited for a place of the other limit.
            self._makes_new = is_new
            return None
        self._makes_new = False
        self._given = replace(
            self._given,
            shown=self._view.length,
            # The first words count as young again, however long a load bar stood there.
            edits=self._given.edits + 1 if self._given.shown else 0,
            last_start=self._given.last_start if step is None else now,
        )
        if step is not None:
            for pacer in self._transport.pacers(is_new=is_new):
                pacer.began(now, self._key)
            if self._showing is not None:
                self._showing()
            before = TRIES_ITSELF.set(True)
            try:
                await self._messages.take(step, self._transport)
            except SENDING_ERRORS as error:
                self._has_more = True
                return await self._failed(step, error)
            finally:
                TRIES_ITSELF.reset(before)
            self._failures = 0
            self.is_visible = True
        self._given_changes = changes
        self._has_more = self._messages.next_step(views) is not None
        if self._has_more:
            return None
        if self._messages.most is not None and len(views) > self._messages.most:
            return "gone"
        # Without asking for a place again: a reply that is shown needs none.
        return "shown" if is_last else None

    async def _failed(self, step: Step, error: BaseException) -> WriteEnd | None:
        """Pauses before the next try, or adapts; an outcome when there is nothing left to try."""
        fault = self._transport.fault_of(error)
        is_adapted = self._messages.adapt(step, fault, str(error))
        if fault is DiscordFault.LOST and step.message_id is not None:
            self.lost |= {step.message_id}
            # Those that are left may show other parts by now.
            self._kept.clear()
        if is_adapted:
            self._warn("message not taken as it was", error, fault=fault.value)
            return None
        # While text still comes a later call shows it anyway; only the last words are given up on.
        tries: float = 0
        if fault is DiscordFault.PASSING:
            tries = MAX_TRIES if self._view.is_over else inf
        elif fault is DiscordFault.DENIED and step.message_id is not None:
            tries = self._denied_tries
        elif fault is DiscordFault.LOCKED and self._messages.made:
            # In place of one that was archived: half an answer stood in the thread for ever, with a
            # Stop that stopped nothing, though it was open again three seconds later.
            tries = self._denied_tries
        if fault is DiscordFault.PASSING and self._view.is_over and not self._tries_last:
            # Those of earlier words are none of theirs: a burst that began in mid-stream had them
            # wait five seconds at once, and one of half a minute had them given up.
            self._tries_last, self._failures = True, 0
        self._failures += 1
        if self._failures < tries:
            pause_s = min(MAX_PAUSE_S, 2.0 ** (self._failures - 1))
            # What is refused each time counts towards the limit that bans a whole address.
            if fault is DiscordFault.PASSING:
                is_soon = not self._view.is_over or self._failures <= SOON_TRIES
                pause_s = SOON_S if is_soon else MAX_PAUSE_S
                # Of that the failed call was a part: some take seconds to fail.
                pause_s -= asyncio.get_running_loop().time() - (self._given.last_start or 0.0)
            await asyncio.sleep(max(0.0, pause_s))
            return None
        # What was tried in vain, or cut off by our own leaving, the next start tries again.
        outcome = "given up" if tries or fault is DiscordFault.LEAVING else "gone"
        self._warn("reply cannot be shown", error, outcome=outcome)
        return outcome

    async def _keep_new(self) -> None:
        for part, message_id in enumerate(self._messages.made):
            if message_id is None or message_id in self._kept | self.lost or self._keep is None:
                continue
            if await self._keep(part, message_id):
                self._kept.add(message_id)

    def _warn(self, event: str, error: BaseException, **more: str) -> None:
        if self._is_news:
            _log.warning(event, error=f"{type(error).__name__}: {error}"[:300], **more)
