"""A hundred turns at once for one cold model.

Whole turns over the real path; the simulated host runs in a process of its own. What happened there
is read from its journal, whose moments are on the same clock as ours. The wish is made right after
a turn is told its route, so that moment stands for it; the load command is the moment the host
reads ``loadModel`` from its socket.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from bench.house import HOST, Studio, ask, house, on_fast_loop, question, studio
from bench.table import Row, at_most, exactly, told
from bot.chat.lantern import Lantern
from bot.domain.events import Routed, TurnEvent
from bot.sim.journal import Called, LoadFinished, PredictionStarted, Record

ASKERS = 100
ROUNDS = 7
LOAD_S = 0.5
LIMIT_MS = 5.0


@dataclass(frozen=True, slots=True)
class _Round:
    """What one cold start was like; moments are seconds of the monotonic clock."""

    asked_at: float
    wished_at: float
    command_at: float
    first_chat_at: float
    loads: int
    early: int
    """Chat requests the host read before the model was loaded."""
    answered: int


def run() -> list[Row]:
    """The figures over several cold starts: counts at their worst, times as medians."""
    with studio(load_s=LOAD_S, parallel=8) as host:
        lone, crowds = on_fast_loop(_measure(host))

    def middle_ms(between: Callable[[_Round], float]) -> float:
        return median(map(between, crowds)) * 1e3

    waits = [median(_served_s(r) for r in rounds) for rounds in (crowds, lone)]
    wish_ms = middle_ms(lambda r: r.command_at - r.wished_at)
    request_ms = middle_ms(lambda r: r.command_at - r.asked_at)
    lone_ms = median(r.command_at - r.asked_at for r in lone) * 1e3
    return [
        exactly("loads", max(r.loads for r in crowds), "", 1),
        at_most("first wish until the load command is read by the host", wish_ms, "ms", LIMIT_MS),
        exactly("chat requests sent before it was loaded", max(r.early for r in crowds), "", 0),
        exactly("turns answered", min(r.answered for r in crowds), "", ASKERS),
        told(
            "first request until the load command, all begun in the same moment", request_ms, "ms"
        ),
        told("the same for a turn alone", lone_ms, "ms"),
        told(
            "load command until the first chat request, against a turn alone",
            waits[0] / waits[1],
            "x",
        ),
    ]


def _served_s(cold: _Round) -> float:
    return cold.first_chat_at - cold.command_at


async def _measure(host: Studio) -> tuple[list[_Round], list[_Round]]:
    async with house(host) as built:
        await _cold(host, built, 1)
        lone = [await _cold(host, built, 1) for _ in range(ROUNDS)]
        crowds = [await _cold(host, built, ASKERS) for _ in range(ROUNDS)]
    return lone, crowds


async def _cold(host: Studio, built: Lantern, askers: int) -> _Round:
    host.unload()
    await built.fleet.host(HOST).probe()
    host.journal()
    wishes: list[float] = []

    def heard(event: TurnEvent) -> None:
        if isinstance(event, Routed):
            wishes.append(time.monotonic())

    asked_at = time.monotonic()
    async with asyncio.TaskGroup() as turns:
        for number in range(askers):
            name = f"discord:{number}"
            request = question("[[tokens 4]] Why?", place=name, user=name)
            turns.create_task(ask(built, request, heard))
    return _round(host.journal(), asked_at, min(wishes))


def _round(journal: list[Record], asked_at: float, wished_at: float) -> _Round:
    commands = [r for r in journal if isinstance(r, Called) and r.endpoint == "loadModel"]
    chats = [place for place, r in enumerate(journal) if isinstance(r, PredictionStarted)]
    loaded = next(place for place, r in enumerate(journal) if isinstance(r, LoadFinished))
    return _Round(
        asked_at=asked_at,
        wished_at=wished_at,
        command_at=commands[0].at,
        first_chat_at=journal[chats[0]].at,
        loads=len(commands),
        early=sum(place < loaded for place in chats),
        answered=len(chats),
    )
