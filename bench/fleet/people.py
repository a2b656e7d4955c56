"""The people of a trace, and one evening of theirs under one policy."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from bench.fleet.host import Generation, Machine, NotServed, Work
from bench.fleet.trace import ChatTurn, Dialogue, SwitchedOff, Trace
from bot.domain.ids import HostName

PATIENCE_S = 600.0
"""Whoever has no word by then leaves; counted as so long a wait."""
AGAIN_S, LONGEST_PAUSE_S = 4.0, 60.0
"""A question that failed is asked again after this, twice as long each time."""


class NobodyAnswers(Exception):
    """Nobody answers this now."""


@dataclass(slots=True, eq=False)
class PlayedQuestion:
    """One question on its way, and what became of it."""

    number: int
    chat: Dialogue
    place: int
    """Which of the conversation's it is; 0 is the first."""
    asked: ChatTurn
    asked_at: float
    spoke_at: float | None = None
    """When its first word came."""
    done_at: float | None = None
    host: HostName | None = None
    """Who answered last."""
    predicted_s: float | None = None
    """To the first word, as the policy told it when asked; None where it tells nothing."""
    refused: int = 0
    """How often nobody would answer though a host that can hold the model was up."""
    tries: int = 0
    has_left: bool = False
    """Patience was over."""
    read: int = 0
    """Prompt tokens that were really read."""
    patience: asyncio.Timeout | None = None

    @property
    def waited_s(self) -> float:
        """To the first word."""
        return PATIENCE_S if self.spoke_at is None else self.spoke_at - self.asked_at

    def spoke(self) -> None:
        """The first word is there."""
        if self.spoke_at is None:
            self.spoke_at = asyncio.get_running_loop().time()
            if self.patience is not None:
                self.patience.reschedule(None)

    async def hear(self, machine: Machine, answer: Generation) -> None:
        """Listens to an answer to its end; leaving closes the connection.

        Raises:
            NotServed: it broke off.
        """
        self.host = machine.name
        try:
            await answer.first
            self.read = answer.read
            self.spoke()
            await answer.last
        finally:
            machine.leave(answer)

    def request(self) -> Work:
        """What is sent for it."""
        return Work(self.chat.number, self.asked.prompt, self.asked.answer)


@dataclass(slots=True, eq=False)
class Evening:
    """A trace being played: what a policy may see of it, and everything that was asked."""

    trace: Trace
    machines: Mapping[HostName, Machine]
    questions: list[PlayedQuestion] = field(default_factory=list[PlayedQuestion])

    def able(self, question: PlayedQuestion) -> list[Machine]:
        """The machines that could answer it, were they up."""
        return [self.machines[host.name] for host in self.trace.able(question.chat.model)]


Serve = Callable[[PlayedQuestion], Awaitable[None]]
"""Answers one question; raises ``NobodyAnswers``, or ``NotServed`` when it broke."""
Policy = Callable[[Evening], AbstractAsyncContextManager[Serve]]
"""A way of routing, at work while the block lasts."""


async def spend(trace: Trace, policy: Policy, kind: type[Machine] = Machine) -> Evening:
    """Plays a trace under one policy; run it on a ``VirtualLoop``."""
    machines = {spec.name: kind(spec, trace.seed) for spec in trace.hosts}
    evening = Evening(trace, machines)
    async with policy(evening) as reply, asyncio.TaskGroup() as tasks:
        for outage in trace.outages:
            tasks.create_task(_break(machines[outage.host], outage))
        for chat in trace.chats:
            tasks.create_task(_chat(evening, chat, reply))
    return evening


async def _break(machine: Machine, outage: SwitchedOff) -> None:
    await asyncio.sleep(outage.begins_at - asyncio.get_running_loop().time())
    machine.goes()
    await asyncio.sleep(outage.seconds)
    machine.returns()


async def _chat(evening: Evening, chat: Dialogue, reply: Serve) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(chat.starts_at - loop.time())
    for place, asked in enumerate(chat.asked):
        await asyncio.sleep(asked.pause_s)
        question = PlayedQuestion(len(evening.questions), chat, place, asked, loop.time())
        evening.questions.append(question)
        try:
            async with asyncio.timeout(PATIENCE_S) as question.patience:
                await _insist(evening, question, reply)
        except TimeoutError:
            question.has_left = True


async def _insist(evening: Evening, question: PlayedQuestion, reply: Serve) -> None:
    """Asks until there is an answer, or the first words of one."""
    while question.spoke_at is None:
        question.tries += 1
        try:
            await reply(question)
        except (NobodyAnswers, NotServed):
            if question.spoke_at is not None:
                return
            question.refused += any(machine.is_up for machine in evening.able(question))
            pause_s = min(LONGEST_PAUSE_S, AGAIN_S * 2.0 ** (question.tries - 1))
            # People differ, and the same one does the same under every policy.
            chance = zlib.crc32(f"{question.chat.number}/{question.tries}".encode()) / 2**32
            await asyncio.sleep(pause_s * (0.7 + 0.6 * chance))
        else:
            question.done_at = asyncio.get_running_loop().time()
