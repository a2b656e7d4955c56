"""Sends one streamed reply, at its pace and with the breaks that dials put into it."""

from collections.abc import Mapping
from dataclasses import replace

from aiohttp import web

from bot.sim.clock import SimClock
from bot.sim.providers.asking import Ask
from bot.sim.providers.config import SimProviderConfig
from bot.sim.providers.faults import STREAM_FAULTS, Fault, FaultName, ProviderFaults
from bot.sim.providers.frames import Frame, with_breaks
from bot.sim.providers.journal import Outcome
from bot.sim.providers.line import Line
from bot.sim.providers.replying import Reply
from bot.sim.providers.visit import Visit
from bot.sim.providers.wire import ProviderWire, Scene

_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}


class Stream:
    """The stream of one request."""

    def __init__(
        self,
        request: web.Request,
        visit: Visit,
        wire: ProviderWire,
        scene: Scene,
        dials: ProviderFaults,
        clock: SimClock,
    ) -> None:
        self._request = request
        self._visit = visit
        self._wire = wire
        self._scene = scene
        self._dials = dials
        self._clock = clock
        self._faults = self._taken()

    async def send(
        self, ask: Ask, reply: Reply, config: SimProviderConfig, headers: Mapping[str, str]
    ) -> web.StreamResponse:
        """Send a reply to its end, or to where a fault ends it.

        Raises:
            ConnectionError: the asker is gone.
        """
        response = web.StreamResponse(headers={**headers, **_HEADERS})
        self._visit.status = 200
        await response.prepare(self._request)
        await self._clock.sleep(config.first_token_s)
        self._visit.charge_prompt(ask.model.price, reply)
        line = Line(response, self._faults.keys(), self._scene.number, wire_chat=self._wire.chat)
        due_s = self._clock.now()
        for step in with_breaks(self._wire.frames(ask, reply, self._faults), self._faults):
            if isinstance(step, Frame):
                due_s += _is_token(step) / config.tokens_per_s
                await self._write(step, due_s, line, reply)
            elif await self._ends_here(step.fault, line):
                break
        await response.write_eof()
        return response

    def _taken(self) -> Mapping[FaultName, Fault]:
        path = self._visit.arrival.path
        faults = self._dials.take_all(STREAM_FAULTS, path)
        if not self._wire.has_broken_finish and (broken := self._dials.take("broken", path)):
            faults["error_event"] = replace(broken, name="error_event")
        return faults

    async def _write(self, frame: Frame, due_s: float, line: Line, reply: Reply) -> None:
        if _is_token(frame):
            await self._clock.sleep_until(due_s)
        self._visit.charge(frame.kind)
        if frame.kind == "finish":
            # Written down before the asker can know it: whoever has a whole answer can look it up.
            self._visit.end(outcome_of(reply), reply.finish)
        await line.write(frame.encode())

    async def _ends_here(self, fault: Fault, line: Line) -> bool:
        if fault.name in ("stall", "no_first_token"):
            await self._dials.until_cleared()
            return False
        self._visit.end("cut", fault.name)
        if fault.name == "error_event":
            await line.write(self._wire.error_event(fault, self._scene).encode())
        elif fault.name == "cut":
            cut(self._request, self._visit, fault.name)
        return True


def outcome_of(reply: Reply) -> Outcome:
    """Return how a reply that was sent whole counts."""
    match reply.finish:
        case "refused":
            return "refused"
        case "broken":
            return "cut"
        case _:
            return "finished"


def cut(request: web.Request, visit: Visit, reason: str) -> web.StreamResponse:
    """Break the connection of a request off at once."""
    visit.end("cut", reason)
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _is_token(frame: Frame) -> bool:
    return frame.kind in ("thought", "text")
