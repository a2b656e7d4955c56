"""What a turn costs besides network and model.

CPU time of this process, all threads, over the real path: choices and transcript from the store on
disk, route, lease, stream over loopback, receipt stored, log line written. The simulated host runs
in a process of its own. Warm turns of few and of many tokens are measured in turn; the slope is
what tokens cost, and what is left at no token at all is the turn's own.
"""

import asyncio
import time
from dataclasses import dataclass
from statistics import mean, median

from bench.house import Studio, ask, house, on_fast_loop, question, studio
from bench.table import Row, at_most, told
from bot.app import Lantern
from bot.domain.events import TextDelta
from bot.domain.ids import TurnId

FEW, MANY = 8, 104
AT_ONCE, TOKENS_PER_S, SECONDS = 64, 30, 4
"""The streams that ``client_cost`` reads, here as whole turns."""

BATCHES, BATCH = 7, 8
BEFORE = 20
"""Turns of a grown conversation, of a hundred tokens each."""

LIMIT_MS = 5.0


@dataclass(frozen=True, slots=True)
class _Costs:
    """CPU milliseconds of turns with few and with many tokens, medians of batches."""

    few_ms: float
    many_ms: float

    @property
    def token_ms(self) -> float:
        return (self.many_ms - self.few_ms) / (MANY - FEW)

    @property
    def turn_ms(self) -> float:
        return self.few_ms - FEW * self.token_ms


def run() -> list[Row]:
    """A conversation's first message, and one with a conversation behind it."""
    with studio() as host:
        fresh, grown = on_fast_loop(_measure(host))
    # Streams beside each other share a simulated host: each has its speed over the root of n.
    with studio(parallel=AT_ONCE, tokens_per_s=TOKENS_PER_S * AT_ONCE**0.5) as host:
        token_us = on_fast_loop(_crowd_us(host))
    return [
        at_most("CPU besides tokens, first message", fresh.turn_ms, "ms", LIMIT_MS),
        at_most(f"CPU besides tokens, {BEFORE} turns before it", grown.turn_ms, "ms", LIMIT_MS),
        told(
            f"CPU per token, {AT_ONCE} turns of {TOKENS_PER_S} tokens/s, from socket to face",
            token_us,
            "us",
        ),
    ]


async def _measure(host: Studio) -> tuple[_Costs, _Costs]:
    async with house(host) as built:
        parent: TurnId | None = None
        for _ in range(BEFORE):
            parent = (await ask(built, question("[[tokens 100]] Go on.", parent=parent))).turn
        return await _costs(built, None), await _costs(built, parent)


async def _costs(built: Lantern, parent: TurnId | None) -> _Costs:
    await _batch_ms(built, FEW, parent, "warm")
    few: list[float] = []
    many: list[float] = []
    for number in range(BATCHES):
        few.append(await _batch_ms(built, FEW, parent, f"few{number}"))
        many.append(await _batch_ms(built, MANY, parent, f"many{number}"))
    return _Costs(median(few), median(many))


async def _batch_ms(built: Lantern, tokens: int, parent: TurnId | None, name: str) -> float:
    """Mean CPU of a few turns; without a parent each begins a conversation of its own."""
    costs: list[float] = []
    for number in range(BATCH):
        place = "discord:1" if parent is not None else f"discord:{name}.{number}"
        request = question(f"[[tokens {tokens}]] Why?", place=place, parent=parent)
        before = time.process_time()
        answered = await ask(built, request)
        costs.append((time.process_time() - before) * 1e3)
        assert answered.tokens == tokens
    return mean(costs)


async def _crowd_us(host: Studio) -> float:
    """CPU microseconds per token while many answers stream; their beginnings are left out."""
    async with house(host) as built:
        await ask(built, question("[[tokens 1]] Warm up."))
        crowd = _Crowd(built)
        async with asyncio.TaskGroup() as tasks:
            for number in range(AT_ONCE):
                tasks.create_task(crowd.read(f"discord:{number}"))
            await crowd.all_begun.wait()
            before, tokens = time.process_time(), crowd.tokens
            await asyncio.sleep(SECONDS)
            spent_s, tokens = time.process_time() - before, crowd.tokens - tokens
    return spent_s / tokens * 1e6


class _Crowd:
    """Readers of answers that stream beside each other."""

    def __init__(self, built: Lantern) -> None:
        self._built = built
        self._begun = 0
        self.all_begun = asyncio.Event()
        self.tokens = 0

    async def read(self, name: str) -> None:
        """One answer, somewhat longer than is measured."""
        text = f"[[tokens {TOKENS_PER_S * (SECONDS + 2)}]] Why?"
        has_begun = False
        async with self._built.turns.open(question(text, place=name, user=name)) as events:
            async for event in events:
                if not isinstance(event, TextDelta):
                    continue
                self.tokens += 1
                if not has_begun:
                    has_begun = True
                    self._begun += 1
                    if self._begun == AT_ONCE:
                        self.all_begun.set()
