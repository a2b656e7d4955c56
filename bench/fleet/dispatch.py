"""Policies that load and unload by themselves: who waits, one act at a time on each host."""

# ruff: noqa: B027  # Hooks: a policy that does nothing there leaves them as they are.
import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bench.fleet.host import UNLOAD_S, Copy, Generation, Machine, NotServed
from bench.fleet.people import Evening, NobodyAnswers, PlayedQuestion, Policy, Serve
from bench.fleet.trace import CONTEXT
from bot.domain.ids import HostName, ModelKey


@dataclass(slots=True, eq=False)
class Waiting:
    """A question without a slot; ``at`` is the host it was bound to, if any."""

    question: PlayedQuestion
    answer: asyncio.Future[tuple[Machine, Generation]]
    at: Machine | None = None


@dataclass(frozen=True, slots=True)
class Begin:
    """Send it to this copy now."""

    machine: Machine
    copy: Copy


@dataclass(frozen=True, slots=True)
class Bring:
    """Load its model there, after these have left."""

    machine: Machine
    leaving: list[Copy]


class Dispatcher(ABC):
    """Everybody who waits; whenever anything changed, all are decided on anew in their order.

    A subclass says what is decided (``decide``), and may bind questions to hosts (``enter``).
    """

    BEAT_S = 3600.0
    """How often ``beat`` is called."""

    def __init__(self, evening: Evening, tasks: asyncio.TaskGroup) -> None:
        self.evening = evening
        self.waiting: list[Waiting] = []
        self.acting: set[HostName] = set()
        """Hosts where something is being loaded or taken out."""
        self.now = asyncio.get_running_loop().time
        self._tasks = tasks
        self._soon: asyncio.Handle | None = None
        for machine in evening.machines.values():
            machine.watchers.append(self.wake)

    # --- what a policy decides ------------------------------------------------------------

    def enter(self, waiting: Waiting) -> None:
        """Somebody asks, or asks again since the host was lost before the first word."""

    def begin_round(self) -> None:
        """Everybody who waits will be decided on now."""

    @abstractmethod
    def decide(self, waiting: Waiting) -> Begin | Bring | None:
        """What is done for one who waits; None leaves it waiting."""

    def lost(self, waiting: Waiting) -> None:
        """The host it was bound to is gone."""
        self.waiting.remove(waiting)
        waiting.answer.set_exception(NobodyAnswers())

    def served(self, question: PlayedQuestion, machine: Machine, seconds: float) -> None:
        """An answer is whole; it took so long."""

    def beat(self) -> None:
        """Comes round, whatever happens."""

    # --- what is done ---------------------------------------------------------------------

    async def reply(self, question: PlayedQuestion) -> None:
        """See ``people.Serve``."""
        while True:
            waiting = Waiting(question, asyncio.get_running_loop().create_future())
            self.enter(waiting)
            self.waiting.append(waiting)
            self.wake()
            try:
                machine, answer = await waiting.answer
            except asyncio.CancelledError:
                if waiting in self.waiting:
                    self.waiting.remove(waiting)
                elif waiting.answer.done() and not waiting.answer.cancelled():
                    # Given in the very moment of leaving.
                    machine, answer = waiting.answer.result()
                    machine.leave(answer)
                raise
            began = self.now()
            try:
                await question.hear(machine, answer)
            except NotServed as error:
                if question.spoke_at is not None:
                    raise NobodyAnswers from error
            else:
                self.served(question, machine, self.now() - began)
                return

    def wake(self) -> None:
        """Everything is decided anew in the loop's next step."""
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._soon = None
        self.begin_round()
        for waiting in list(self.waiting):
            if waiting.at is not None and not waiting.at.is_up:
                self.lost(waiting)
                continue
            match self.decide(waiting):
                case Begin(machine, copy):
                    self.waiting.remove(waiting)
                    answer = machine.begin(copy, waiting.question.request())
                    waiting.answer.set_result((machine, answer))
                case Bring(machine, leaving):
                    self.bring(machine, waiting.question.chat.model, leaving)
                case None:
                    pass

    def bring(self, machine: Machine, key: ModelKey, leaving: list[Copy]) -> None:
        """Begins a load, evictions first."""
        self.acting.add(machine.name)
        for copy in leaving:
            copy.is_leaving = True
        self._tasks.create_task(self._bring(machine, key, leaving))

    async def _bring(self, machine: Machine, key: ModelKey, leaving: list[Copy]) -> None:
        try:
            if leaving:
                await asyncio.sleep(UNLOAD_S)
            for copy in leaving:
                machine.evict(copy)
            await machine.load(self.evening.trace.models[key], CONTEXT)
        except NotServed:
            # Whoever waits for it is decided on anew.
            pass
        finally:
            self.acting.discard(machine.name)
            self.wake()


def dispatched(make: Callable[[Evening, asyncio.TaskGroup], Dispatcher]) -> Policy:
    """The policy of a dispatcher."""

    @asynccontextmanager
    async def policy(evening: Evening) -> AsyncGenerator[Serve]:
        async with asyncio.TaskGroup() as tasks:
            dispatcher = make(evening, tasks)

            async def beats() -> None:
                while True:
                    await asyncio.sleep(dispatcher.BEAT_S)
                    dispatcher.beat()

            beating = tasks.create_task(beats())
            yield dispatcher.reply
            beating.cancel()

    return policy
