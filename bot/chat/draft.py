"""The answer being made: the one mutable thing of a turn, turned into a receipt at its end."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from bot.domain.chat import (
    Candidate,
    FinishReason,
    Message,
    Receipt,
    Rejection,
    Seam,
    Timing,
    Usage,
)
from bot.domain.errors import Unavailable
from bot.domain.events import (
    Delta,
    Notice,
    ReasoningDelta,
    Silence,
    StreamEnd,
    TextDelta,
    TurnEvent,
)
from bot.domain.ids import HostName, PersonaName
from bot.policy.conversation import is_trim_news
from bot.policy.seams import Joint


class Draft:
    """Text, reasoning, timing and failed attempts of one turn, told to its reader as they come.

    Times are seconds on the event loop's clock.
    """

    def __init__(
        self,
        persona: PersonaName,
        choice_reason: str,
        emit: Callable[[TurnEvent], Awaitable[None]],
        straight: Callable[[Sequence[TextDelta]], bool] | None = None,
    ) -> None:
        self.so_far = Receipt(persona=persona, choice_reason=choice_reason)
        """The receipt but for what ``receipt`` measures; the turn writes its route and cost in."""
        self.emit = emit
        """Tells the reader."""
        self.straight = straight
        """Is offered words that may be told without waiting, and says if they were."""
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._loop = asyncio.get_running_loop()
        self._opened_at = self._asked_at = self._loop.time()
        self._sent_at: float | None = None
        self._first_at: float | None = None
        self._spoke_at: float | None = None
        """When the first word of the answer came, after any reasoning."""
        self._last_at: float | None = None
        self._lost_at = 0.0
        """When the last delta of a host that was lost came."""
        self._deltas = 0
        self._kept: Receipt | None = None
        """As it stood when a host was lost in the middle of the answer; None before any was."""
        self._kept_pieces = (0, 0)
        """Of text and of reasoning, by hosts that were lost."""
        self._joint: Joint | None = None

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(self._text)

    @property
    def reasoning(self) -> str:
        """The reasoning so far."""
        return "".join(self._reasoning)

    @property
    def has_text(self) -> bool:
        """Has anything been shown?"""
        return bool(self._text)

    @property
    def has_spoken(self) -> bool:
        """Has whoever is asked now said a word of the answer?"""
        return len(self._text) > self._kept_pieces[0]

    @property
    def has_thought(self) -> bool:
        """Has whoever is asked now said a word of reasoning?"""
        return len(self._reasoning) > self._kept_pieces[1]

    async def notice(self, text: str) -> None:
        """Tells something that stops nothing, once; the receipt keeps it."""
        if text in self.so_far.notices:
            return
        self.so_far = replace(self.so_far, notices=(*self.so_far.notices, text))
        await self.emit(Notice(text))

    async def trimmed(
        self, messages: Sequence[Message], dropped: int, *, has_earlier: bool
    ) -> None:
        """Tells that the oldest messages are not sent, where that is so and is news.

        Args:
            messages: What is sent.
            dropped: How many are not, of those that were read from the store.
            has_earlier: There are more that were not even read.
        """
        # By a host's count all that was read may fit; what was not read is missing all the same.
        if not (dropped or has_earlier):
            return
        told = self.so_far.told
        kept = sum(message.role != "system" for message in messages)
        if is_trim_news(told, kept):
            more = "more than " if has_earlier else ""
            await self.notice(f"Kept the newest {kept} of {more}{kept + dropped} messages.")
            self.so_far = replace(self.so_far, told=replace(told, kept=kept))

    def pressed(self, what: str) -> None:
        """Its asker did something meanwhile; the receipt keeps what and when."""
        told = f"{what} after {self._loop.time() - self._opened_at:.0f} s"
        self.so_far = replace(self.so_far, presses=(*self.so_far.presses, told))

    def asks(self) -> None:
        """A candidate is turned to: how long it takes to fail or be left counts from here."""
        self._asked_at = self._loop.time()

    def granted(self, candidate: Candidate, queue_s: float = 0.0, load_s: float = 0.0) -> None:
        """The right to ask a candidate was given, after so many seconds of waiting and loading."""
        # The one before may have been left by choice, in the middle of its reasoning.
        self._begin_anew()
        self.so_far = replace(
            self.so_far,
            model=candidate.model,
            host=candidate.host,
            provider=candidate.provider,
            timing=Timing(queue_s=queue_s, load_s=load_s),
        )

    def sent(self) -> None:
        """The request goes out now: the wait for the first delta is counted from here."""
        self._sent_at = self._loop.time()

    async def hear(self, delta: Delta) -> None:
        """Takes one delta in and passes it on; the end mark of a stream is for the receipt only."""
        if isinstance(delta, Silence):
            await self.emit(delta)
            return
        if isinstance(delta, StreamEnd):
            # Servers invent other words; people are told of these two alone.
            finish: FinishReason = "stop"
            if delta.finish == "length" or delta.finish == "refused":
                finish = delta.finish
            self.so_far = replace(self.so_far, usage=delta.usage, finish=finish)
            if self._joint is not None and (held := self._joint.flush()):
                await self._say(held)
            return
        now = self._loop.time()
        if self._first_at is None:
            self._first_at = now
        self._last_at = now
        self._deltas += 1
        if isinstance(delta, ReasoningDelta):
            self._reasoning.append(delta.text)
            await self.emit(delta)
            return
        if self._spoke_at is None:
            self._spoke_at = now
        if text := delta.text if self._joint is None else self._joint.feed(delta.text):
            await self._say(text)

    def take(self, words: Sequence[TextDelta]) -> bool:
        """Whether further words of the answer could be taken in and told at once.

        Not its first, and none that must be joined to another host's: those are for ``hear``.
        """
        if not self.has_spoken or self._joint is not None:
            return False
        if self.straight is None or not self.straight(words):
            return False
        self._last_at = self._loop.time()
        self._deltas += len(words)
        self._text.extend([delta.text for delta in words])
        return True

    async def _say(self, text: str) -> None:
        """Shows words of the answer; the first after a lost host tell how long the pause was."""
        seams = self.so_far.seams
        if seams and not self.has_spoken:
            joined = replace(seams[-1], pause_s=self._loop.time() - self._lost_at)
            self.so_far = replace(self.so_far, seams=(*seams[:-1], joined), cause="")
        self._text.append(text)
        await self.emit(TextDelta(text))

    def lost(self, host: HostName, error: Unavailable) -> None:
        """The host was lost in the middle of the answer; what it said stays, the next goes on."""
        seam, self._lost_at = Seam(host, error.user_message, self._deltas), self._last_at or 0.0
        self._kept = self.receipt()
        self._kept_pieces = len(self._text), len(self._reasoning)
        # No end mark came, so neither usage nor a finish reason is there to be taken back.
        seams = (*self.so_far.seams, seam)
        self.so_far = replace(self.so_far, seams=seams, timing=Timing())
        self._begin_anew()

    def failed(self, candidate: Candidate, error: Unavailable) -> None:
        """A candidate could not serve; its reasoning, if any, is dropped with it."""
        attempt = Rejection.of(candidate, error, self._loop.time() - self._asked_at)
        # The same one may be asked again.
        self.asks()
        self.so_far = replace(
            self.so_far,
            attempts=(*self.so_far.attempts, attempt),
            timing=Timing(),
            model=None,
            host=None,
            provider=None,
            usage=Usage(),
            finish="stop",
        )
        self._begin_anew()

    def left(self, candidate: Candidate, why: Unavailable) -> None:
        """A candidate did not fail, and was left for another that was sooner by then."""
        gone = Rejection.of(candidate, why, self._loop.time() - self._asked_at)
        self.so_far = replace(self.so_far, left=(*self.so_far.left, gone))

    def receipt(self, finish: FinishReason | None = None) -> Receipt:
        """The receipt of the whole answer as things stand.

        The wait is that for its first word; tokens and seconds of generation are of all its hosts.

        Args:
            finish: Why generation stopped; None takes what the stream said.
        """
        whole, kept = self.part(), self._kept
        if kept is not None:
            usage, timing = whole.usage, whole.timing
            # A host that is lost sends no usage: its part is always counted by deltas.
            said = kept.usage.completion_tokens + usage.completion_tokens
            usage = replace(usage, completion_tokens=said, estimated=True)
            timing = replace(
                kept.timing,
                generation_s=kept.timing.generation_s + timing.generation_s,
                thinking_s=kept.timing.thinking_s + timing.thinking_s,
                total_s=timing.total_s,
            )
            timed = kept.timed + whole.timed
            whole = replace(whole, usage=usage, timing=timing, timed_parts=timed)
            if not self.has_spoken:
                whole = replace(whole, model=kept.model, host=kept.host)
        elif finish == "refused" and self._sent_at is None:
            # Who was sent nothing declined nothing.
            whole = replace(whole, model=None, host=None, provider=None)
        return replace(whole, finish=finish or whole.finish)

    def part(self) -> Receipt:
        """The receipt of what was said since a host was last lost, of the whole where none was.

        Deltas are counted where the other side sent no usage.
        """
        usage, timing = self.so_far.usage, self.so_far.timing
        # Not every server counts, and none counts what broke off: a delta is about a token.
        if usage.completion_tokens == 0 and self._deltas:
            usage = Usage(
                prompt_tokens=usage.prompt_tokens, completion_tokens=self._deltas, estimated=True
            )
        first_token_s, thinking_s, generation_s = None, 0.0, 0.0
        if self._first_at is not None and self._last_at is not None:
            generation_s = self._last_at - self._first_at
            # An answer that was thought away was thinking to its end.
            thinking_s = (self._spoke_at or self._last_at) - self._first_at
            first_token_s = None if self._sent_at is None else self._first_at - self._sent_at
        until_asked_s = 0.0
        if self._sent_at is not None:
            waited_s = self._sent_at - self._opened_at
            until_asked_s = max(0.0, waited_s - timing.queue_s - timing.load_s)
        timing = replace(
            timing,
            until_asked_s=until_asked_s,
            first_token_s=first_token_s,
            thinking_s=thinking_s,
            generation_s=generation_s,
            total_s=self._loop.time() - self._opened_at,
        )
        return replace(self.so_far, usage=usage, timing=timing)

    def _begin_anew(self) -> None:
        del self._reasoning[self._kept_pieces[1] :]
        self._sent_at = self._first_at = self._spoke_at = self._last_at = None
        self._deltas = 0
        # Also for the next that is asked to go on, where one failed with words held back.
        self._joint = None if self._kept is None else Joint(self.text)
