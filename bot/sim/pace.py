"""How fast a simulated host reads and writes, and which faults meet a prediction."""

from bot.sim.answers import Message
from bot.sim.clock import SimClock
from bot.sim.faults import Fault, FaultName, Faults
from bot.sim.memory import Instance
from bot.sim.models import SimHostConfig
from bot.sim.prompts import count_tokens

_CROWDING = 0.5
"""Streams beside each other share the machine: n of them each run at n ** -0.5 of the speed."""


class Pace:
    """The speeds and dials of one host."""

    def __init__(self, config: SimHostConfig, clock: SimClock, faults: Faults) -> None:
        self.clock = clock
        self._config = config
        self._faults = faults

    def take_faults(self) -> dict[FaultName, Fault]:
        """Use the dials that concern one prediction."""
        names: tuple[FaultName, ...] = (
            "drop_after_tokens",
            "silent_end",
            "stall_after_tokens",
            "stall_prefill",
            "slow_first_token",
        )
        taken = (self._faults.take(name) for name in names)
        return {fault.name: fault for fault in taken if fault is not None}

    def reply_model(self, instance: Instance) -> str:
        """Return the name a reply gives: the serving instance's, whatever was asked."""
        wrong = self._faults.take("wrong_model")
        return wrong.text if wrong else instance.identifier

    def prefill_s(
        self, instance: Instance, messages: tuple[Message, ...], prompt_tokens: int
    ) -> float:
        """Return the seconds a prompt needs, less what the instance has cached."""
        cached = messages[: instance.cached_messages(messages)]
        fresh = prompt_tokens - (count_tokens(cached) if cached else 0)
        return max(1, fresh) / self._read_speed(instance)

    def embedding_s(self, instance: Instance, tokens: int) -> float:
        """Return the seconds an embedding takes."""
        return tokens / self._read_speed(instance)

    def speed(self, instance: Instance) -> float:
        """Return tokens per second of one stream."""
        alone = instance.model.tokens_per_s or self._config.tokens_per_s
        return alone / max(1, instance.slots.running) ** _CROWDING

    def _read_speed(self, instance: Instance) -> float:
        return instance.model.prefill_tokens_per_s or self._config.prefill_tokens_per_s
