"""One request on its way through a provider: what it is charged for and how it ends."""

import asyncio

from bot.sim.providers.asking import HttpAnswer
from bot.sim.providers.config import SimPrice
from bot.sim.providers.frames import FrameKind
from bot.sim.providers.journal import Arrival, Bill, Call, Outcome, ProviderJournal
from bot.sim.providers.replying import Reply


class Visit:
    """Ends exactly once: whatever happens after an end changes nothing."""

    def __init__(self, journal: ProviderJournal, arrival: Arrival) -> None:
        self.arrival = arrival
        self.status = 0
        self._journal = journal
        self._has_ended = False
        self._price = SimPrice()
        self._prompt = self._cached = self._thoughts = self._texts = 0
        journal.begin(arrival)

    def charge_prompt(self, price: SimPrice, reply: Reply) -> None:
        """The prompt was read: from here on leaving costs money."""
        self._price = price
        self._prompt = reply.prompt_tokens
        self._cached = reply.cached_tokens

    def charge(self, kind: FrameKind) -> None:
        """A token was generated, if this kind of frame is one."""
        self._thoughts += kind == "thought"
        self._texts += kind == "text"

    def charge_whole(self, reply: Reply) -> None:
        """All of a reply was generated."""
        self._thoughts, self._texts = len(reply.reasoning), len(reply.content)

    def answered(self, answer: HttpAnswer) -> None:
        """It ends with an answer in one piece instead of a reply."""
        self.status = answer.status
        self.end(answer.outcome, answer.reason)

    def end(self, outcome: Outcome, reason: str) -> None:
        """Write it down."""
        if self._has_ended:
            return
        self._has_ended = True
        now = asyncio.get_running_loop().time()
        self._journal.end(Call(self.arrival, now, self.status, outcome, reason, self._bill()))

    def _bill(self) -> Bill:
        completion = self._thoughts + self._texts
        return Bill(
            prompt_tokens=self._prompt,
            completion_tokens=completion,
            cached_tokens=self._cached,
            thinking_tokens=self._thoughts,
            cost_micro_usd=self._price.cost_micro_usd(self._prompt, completion, self._cached),
        )
