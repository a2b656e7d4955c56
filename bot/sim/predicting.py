"""One prediction on one instance: its slot, prefill, tokens at the model's speed, its end."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from bot.sim.answers import Asked, Message
from bot.sim.clock import SimClock
from bot.sim.errors import ConnectionCut, ModelGone, PromptTooLong, SilentEnd
from bot.sim.faults import Fault, FaultName, Faults
from bot.sim.journal import (
    Journal,
    PredictionCancelled,
    PredictionCut,
    PredictionEnded,
    PredictionFailed,
    PredictionFinished,
    PredictionStarted,
    Via,
)
from bot.sim.memory import Instance, Phase
from bot.sim.models import SimHostConfig
from bot.sim.progress import Progress
from bot.sim.prompts import Script, Token, count_tokens, script

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
        world: "Predictor",
        tasks: asyncio.TaskGroup,
    ) -> None:
        self.order = order
        self.prompt_tokens = prompt_tokens
        self.stop_reason: str = plan.stop_reason
        self.sent = 0
        self.reply_model = world.reply_model(order)
        self.first_token_s = 0.0
        self.seconds = 0.0
        self.number = number
        self._plan = plan
        self._world = world
        self._tasks = tasks
        self._stopped = asyncio.Event()
        self._prefilled = Progress()
        self._prefilling: asyncio.Task[None] | None = None
        self._phase: Phase | None = None
        self._faults = world.take_faults()
        self._began_s = 0.0

    @property
    def is_cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._stopped.is_set()

    def cancel(self) -> None:
        """Ask for the end; `tokens()` stops at the next token."""
        self._stopped.set()

    async def __aenter__(self) -> Self:
        self._began_s = self._world.clock.now()
        try:
            await self.order.instance.slots.acquire()
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
            self.cancel()  # the prefill task closes the prediction when it is through
            return
        self._close(error)

    async def prefill(self) -> AsyncGenerator[float, None]:
        """Process the prompt; yields how far it is.

        Raises:
            ModelGone: the instance was unloaded.
        """
        self._enter("processingPrompt")
        self._prefilling = self._tasks.create_task(self._run_prefill(), name="sim prefill")
        async for fraction in self._prefilled.follow():
            yield fraction
        await asyncio.shield(self._prefilling)
        self._raise_if_gone()
        self.first_token_s = self._world.clock.now() - self._began_s

    async def tokens(self) -> AsyncGenerator[Token, None]:
        """Yield the tokens at the model's speed.

        Raises:
            ModelGone: the instance was unloaded.
            ConnectionCut: a fault wants the connection cut.
            SilentEnd: a fault wants the stream to end without its marks.
        """
        self._enter("generating")
        clock = self._world.clock
        due_s = clock.now()
        for token in self._plan.tokens:
            await self._break_if_told()
            due_s += 1.0 / self._world.speed(self.order.instance)
            await clock.sleep_until(due_s)
            self._raise_if_gone()
            if self.is_cancelled:
                break
            self.sent += 1
            yield token
        await self._break_if_told()
        self.seconds = clock.now() - self._began_s
        if self._ends_silently() and not self.is_cancelled:
            raise SilentEnd

    async def _run_prefill(self) -> None:
        seconds = self._world.prefill_s(self.order, self.prompt_tokens)
        slow = self._faults.get("slow_first_token")
        total_s = seconds + (slow.number if slow else 0.0)
        for step in range(1, _PREFILL_STEPS + 1):
            gone = self.order.instance.gone
            if await self._world.clock.sleep_unless(total_s / _PREFILL_STEPS, gone):
                break
            self._prefilled.advance(step / _PREFILL_STEPS)
        self.order.instance.prefixes.append(self.order.messages)
        self._prefilled.finish()
        if self.is_cancelled:
            self._close(None)

    async def _break_if_told(self) -> None:
        if self._reached("stall_after_tokens"):
            await self._stall()
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

    async def _stall(self) -> None:
        gone = self.order.instance.gone
        async with asyncio.TaskGroup() as waits:
            events = [waits.create_task(event.wait()) for event in (self._stopped, gone)]
            await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
            for task in events:
                task.cancel()

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
        self.order.instance.slots.release()
        self._write_end(self._ending(error))

    def _ending(self, error: BaseException | None) -> type[PredictionEnded]:
        match error:
            case ModelGone():
                return PredictionFailed
            case ConnectionCut() | SilentEnd():
                return PredictionCut
            case None if not self.is_cancelled and self.sent == len(self._plan.tokens):
                return PredictionFinished
            case _:
                return PredictionCancelled

    def _write_end(self, kind: type[PredictionEnded]) -> None:
        instance = self.order.instance
        now = asyncio.get_running_loop().time()
        end = (now, self.number, instance.model.key, instance.identifier, self.sent)
        if issubclass(kind, PredictionFinished):
            self._world.ended(instance, PredictionFinished(*end, reason=self.stop_reason))
        else:
            self._world.ended(instance, kind(*end))


class Predictor:
    """Opens predictions on one host and knows its speeds."""

    def __init__(
        self,
        config: SimHostConfig,
        clock: SimClock,
        journal: Journal,
        faults: Faults,
        on_idle: Callable[[], None],
    ) -> None:
        self.clock = clock
        self._on_idle = on_idle
        self._config = config
        self._journal = journal
        self._faults = faults
        self._numbers = itertools.count(1)

    def open(self, order: PredictionOrder, tasks: asyncio.TaskGroup) -> Prediction:
        """Accept a prediction.

        Raises:
            PromptTooLong: the prompt does not fit the context.
        """
        prompt_tokens = count_tokens(order.messages)
        context_length = order.instance.context_length
        if prompt_tokens >= context_length:
            raise PromptTooLong(prompt_tokens, context_length)
        asked = Asked(order.instance.model.key, self._config.name, order.messages)
        plan = script(
            self._config.answer(asked),
            max_tokens=order.max_tokens,
            stop=order.stop,
            room=context_length - prompt_tokens,
        )
        number = next(self._numbers)
        self._write_start(number, order, prompt_tokens)
        return Prediction(number, order, plan, prompt_tokens, self, tasks)

    def take_faults(self) -> dict[FaultName, Fault]:
        """Use the dials that concern one prediction."""
        names: tuple[FaultName, ...] = (
            "drop_after_tokens",
            "silent_end",
            "stall_after_tokens",
            "slow_first_token",
        )
        taken = (self._faults.take(name) for name in names)
        return {fault.name: fault for fault in taken if fault is not None}

    def reply_model(self, order: PredictionOrder) -> str:
        """Return the name the reply gives: the serving instance's, whatever was asked."""
        wrong = self._faults.take("wrong_model")
        return wrong.text if wrong else order.instance.identifier

    def prefill_s(self, order: PredictionOrder, prompt_tokens: int) -> float:
        """Return the seconds a prompt needs, less what the instance has cached."""
        instance = order.instance
        cached = order.messages[: instance.cached_messages(order.messages)]
        fresh = prompt_tokens - (count_tokens(cached) if cached else 0)
        speed = instance.model.prefill_tokens_per_s or self._config.prefill_tokens_per_s
        return max(1, fresh) / speed

    def speed(self, instance: Instance) -> float:
        """Return tokens per second of one stream: streams beside it slow it down."""
        alone = instance.model.tokens_per_s or self._config.tokens_per_s
        return alone / max(1, instance.slots.running) ** 0.5

    def ended(self, instance: Instance, record: PredictionEnded) -> None:
        """Note an end; the instance's idle time starts now."""
        instance.idle_since_s = self.clock.now()
        self._journal.write(record)
        self._on_idle()

    def _write_start(self, number: int, order: PredictionOrder, prompt_tokens: int) -> None:
        self._journal.write(
            PredictionStarted(
                at=asyncio.get_running_loop().time(),
                number=number,
                key=order.instance.model.key,
                identifier=order.instance.identifier,
                asked_model=order.asked_model,
                via=order.via,
                prompt_tokens=prompt_tokens,
                messages=order.messages,
                sampling=order.sampling,
            )
        )
