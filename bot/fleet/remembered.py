"""What must outlive one host's scheduler, and Lantern itself."""

import structlog

from bot.domain.errors import BotError
from bot.domain.hosts import Drain, FleetMemory, LoadBegun, LoadOrder, OwnInstance, WakeRecord
from bot.domain.ids import HostName
from bot.domain.personas import LoadSettings
from bot.fleet.effects import Forget
from bot.fleet.rules import Recorder

_log = structlog.get_logger(__name__)

Fact = OwnInstance | Forget | Drain | LoadBegun | WakeRecord


class Remembered:
    """One host's part of what is remembered, kept up as the recorder is told what changes."""

    def __init__(self, host: HostName, known: FleetMemory, recorder: Recorder) -> None:
        self._host = host
        self._recorder = recorder
        self.own = {own.reference: own for own in known.own if own.host == host}
        """The own instances as the recorder was told: what a new scheduler begins with."""
        self.wake_s = known.wakes.get(host)
        """How long it took to wake; None where it never did."""
        self.drain = next((drain for drain in known.drains if drain.host == host), None)
        """As the last Lantern left it."""
        self.begun = [
            (
                LoadOrder(load.model_key, "llm", LoadSettings(), load.ttl_s, load.idle_ttl_s),
                load.age_s,
            )
            for load in known.begun
            if load.host == host
        ]
        """Loads that the host may have gone on with while no Lantern was there, and how long ago
        each was begun."""
        self.noted = recorder.noted
        """Tells the recorder what only statistics are made of."""

    async def record(self, fact: Fact) -> str:
        """Tells the recorder; what it cannot keep costs a restart its memory, and nobody else.

        Returns:
            Why it could not be kept; empty where it is.
        """
        try:
            match fact:
                case OwnInstance(reference=reference):
                    self.own[reference] = fact
                    await self._recorder.own_added(fact)
                case Forget(reference=reference):
                    self.own.pop(reference, None)
                    await self._recorder.own_gone(self._host, reference)
                case Drain():
                    await self._recorder.drained(fact)
                case LoadBegun():
                    await self._recorder.begun(fact)
                case WakeRecord(seconds=seconds):
                    self.wake_s = seconds
                    await self._recorder.woken(fact)
        except BotError as error:
            _log.warning("not recorded", host=self._host, reason=error.user_message)
            return error.user_message
        return ""
