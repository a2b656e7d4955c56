"""What a warm turn costs besides network and model.

CPU time of this process, all threads, over the real path: choices and transcript from the store on
disk, route, lease, stream over loopback, receipt stored, log line written. The simulated host runs
in a process of its own. Turns with few and with many tokens are measured in turn; the slope is the
cost of a token, and what is left at no token at all is the turn's own.
"""

import time
from dataclasses import dataclass
from statistics import mean, median

from bench.house import Studio, ask, house, on_fast_loop, question, studio
from bench.table import Row, at_most, told
from bot.app import Lantern
from bot.domain.ids import TurnId

FEW, MANY = 8, 104
TOKENS_PER_S = 1000.0
"""Slow enough that every token is read by itself."""

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
    with studio(tokens_per_s=TOKENS_PER_S) as host:
        fresh, grown = on_fast_loop(_measure(host))
    return [
        at_most("CPU besides tokens, first message", fresh.turn_ms, "ms", LIMIT_MS),
        at_most(f"CPU besides tokens, {BEFORE} turns before it", grown.turn_ms, "ms", LIMIT_MS),
        told("CPU of each token, from socket to face", fresh.token_ms * 1e3, "us"),
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
