"""One prediction on one instance: its slot, prefill, tokens at the model's speed, its end."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from bot.sim.answers import Message
from bot.sim.demands import NOTHING, Demand
from bot.sim.errors import ConnectionCut, ModelGone, SilentEnd
from bot.sim.faults import FaultName
from bot.sim.journal import (
    PredictionCancelled,
    PredictionCut,
    PredictionEnded,
    PredictionFailed,
    PredictionFinished,
    Via,
)
from bot.sim.memory import Instance, Phase
from bot.sim.pace import Pace
from bot.sim.progress import Progress
from bot.sim.prompts import Script, Token
from bot.sim.slots import Withdrawn
from bot.sim.tasks import Spawn, first_of

_PREFILL_STEPS = 10


@dataclass(frozen=True, slots=True)
class PredictionOrder:
    """What somebody wants predicted."""

    instance: Instance
    asked_model: str
    messages: tuple[Message, ...]
    via: Via
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    sampling: Mapping[str, object] = field(default_factory=dict[str, object])
    demand: Demand = NOTHING


class Prediction:
    """Use as `async with`; then iterate `prefill()` to its end, then `tokens()`.

    Leaving the block early stops the generation. When prefill is under way it is finished first,
    as LM Studio does, and holds its slot until then.
    """

    def __init__(
        self,
        number: int,
        order: PredictionOrder,
        plan: Script,
        prompt_tokens: int,
        pace: Pace,
        spawn: Spawn,
        on_end: Callable[[PredictionEnded], None],
    ) -> None:
        self.order = order
        self.prompt_tokens = prompt_tokens
        self.stop_reason: str = plan.stop_reason
        self.sent = 0
        self.thought = 0
        self.reply_model = pace.reply_model(order.instance)
        self.first_token_s = 0.0
        self.seconds = 0.0
        self.number = number
        self._plan = plan
        self._pace = pace
        self._spawn = spawn
        self._on_end = on_end
        self._stopped = asyncio.Event()
        self._prefilled = Progress()
        self._prefilling: asyncio.Task[None] | None = None
        self._has_slot = False
        self._phase: Phase | None = None
        self._faults = pace.take_faults()
        self._began_s = 0.0

    @property
    def is_cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._stopped.is_set()

    def cancel(self) -> None:
        """Ask for the end: leave the queue, or stop at the next token."""
        self._stopped.set()
        self.order.instance.slots.withdraw(self)

    async def __aenter__(self) -> Self:
        self._began_s = self._pace.clock.now()
        try:
            await self.order.instance.slots.acquire(self)
            self._has_slot = True
        except Withdrawn:
            return self
        except ModelGone:
            self._write_end(PredictionFailed)
            raise
        except asyncio.CancelledError:
            self._write_end(PredictionCancelled)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._prefilling is not None and not self._prefilling.done():
            self._prefilling.add_done_callback(lambda _: self._close(None))
            return
        self._close(error)

    async def prefill(self) -> AsyncGenerator[float, None]:
        """Process the prompt; yields how far it is.

        Raises:
            ModelGone: the instance was unloaded.
        """
        if not self._has_slot:
            return
        self._enter("processingPrompt")
        self._prefilling = self._spawn(self._run_prefill(), "sim prefill")
        async for fraction in self._prefilled.follow():
            yield fraction
        await asyncio.shield(self._prefilling)
        self._raise_if_gone()
        self.first_token_s = self._pace.clock.now() - self._began_s

    async def tokens(self) -> AsyncGenerator[Token, None]:
        """Yield the tokens at the model's speed.

        Raises:
            ModelGone: the instance was unloaded.
            ConnectionCut: a fault wants the connection cut.
            SilentEnd: a fault wants the stream to end without its marks.
        """
        if not self._has_slot:
            return
        self._enter("generating")
        clock = self._pace.clock
        due_s = clock.now()
        for token in self._plan.tokens:
            await self._break_if_told()
            due_s += 1.0 / self._pace.speed(self.order.instance)
            await clock.sleep_until(due_s)
            self._raise_if_gone()
            if self.is_cancelled:
                break
            self.sent += 1
            self.thought += token.kind == "reasoning"
            yield token
        await self._break_if_told()
        self.seconds = clock.now() - self._began_s
        if self._ends_silently() and not self.is_cancelled:
            raise SilentEnd

    async def _run_prefill(self) -> None:
        instance = self.order.instance
        slow, stall = self._faults.get("slow_first_token"), self._faults.get("stall_prefill")
        seconds = self._pace.prefill_s(instance, self.order.messages, self.prompt_tokens)
        seconds += slow.number if slow else 0.0
        try:
            for step in range(1, _PREFILL_STEPS + 1):
                if await self._pace.clock.sleep_unless(seconds / _PREFILL_STEPS, instance.gone):
                    break
                self._prefilled.advance(step / _PREFILL_STEPS)
                if stall is not None and step == _PREFILL_STEPS // 2:
                    await first_of(stall.lifted.wait(), instance.gone.wait())
            instance.prefixes.append(self.order.messages)
        finally:
            self._prefilled.finish()

    async def _break_if_told(self) -> None:
        stall = self._faults.get("stall_after_tokens")
        if stall is not None and self.sent == int(stall.number):
            gone = self.order.instance.gone
            await first_of(stall.lifted.wait(), self._stopped.wait(), gone.wait())
        if self._reached("drop_after_tokens"):
            raise ConnectionCut
        if self._reached("silent_end"):
            raise SilentEnd

    def _ends_silently(self) -> bool:
        fault = self._faults.get("silent_end")
        return not self._plan.ends or (fault is not None and fault.number < 0)

    def _reached(self, name: FaultName) -> bool:
        fault = self._faults.get(name)
        return fault is not None and self.sent == int(fault.number)

    def _raise_if_gone(self) -> None:
        if self.order.instance.gone.is_set():
            raise ModelGone

    def _enter(self, phase: Phase | None) -> None:
        phases = self.order.instance.phases
        if self._phase is not None:
            phases[self._phase] -= 1
        if phase is not None:
            phases[phase] += 1
        self._phase = phase

    def _close(self, error: BaseException | None) -> None:
        self._enter(None)
        if self._has_slot:
            self.order.instance.slots.release()
        self._write_end(self._ending(error))

    def _ending(self, error: BaseException | None) -> type[PredictionEnded]:
        match error:
            case ModelGone():
                return PredictionFailed
            case ConnectionCut() | SilentEnd():
                return PredictionCut
            case None if self._has_slot and self.sent == len(self._plan.tokens):
                return PredictionFinished
            case _:
                return PredictionCancelled

    def _write_end(self, kind: type[PredictionEnded]) -> None:
        instance = self.order.instance
        now = asyncio.get_running_loop().time()
        end = (now, self.number, instance.model.key, instance.identifier, self.sent)
        if issubclass(kind, PredictionFinished):
            self._on_end(PredictionFinished(*end, reason=self.stop_reason))
        else:
            self._on_end(kind(*end))
