"""What a turn costs besides network and model.

CPU time of this process, all threads, over the real path: choices and transcript from the store on
disk, route, lease, stream over loopback, receipt stored, log line written. The simulated host runs
in a process of its own. Warm turns of few and of many tokens are measured in turn; the slope is
what tokens cost, and what is left at no token at all is the turn's own.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, median

from bench.house import MODEL, Studio, ask, house, on_fast_loop, question, studio
from bench.table import Row, at_most, told
from bot.chat.lantern import Lantern
from bot.domain.chat import Endpoint, InferenceRequest, Message
from bot.domain.events import StreamEnd, TextDelta, TurnEvent
from bot.domain.ids import TurnId
from bot.inference.streams import Inference

FEW, MANY = 8, 104
AT_ONCE, TOKENS_PER_S, SECONDS = 64, 30, 4
"""The streams that ``client_cost`` reads, here as whole turns."""

BATCHES, BATCH = 7, 8
BEFORE = 20
"""Turns of a grown conversation, of a hundred tokens each."""

LONG = 400
"""Turns of a conversation far longer than the window: most of it is stored and never sent."""

LIMIT_MS = 5.0

Play = Callable[[str, str], Awaitable[int]]
"""Asks for a text in a conversation; gives the answer's tokens."""


@dataclass(frozen=True, slots=True)
class _Costs:
    """CPU milliseconds, one for each batch of answers with few and with many tokens."""

    few: list[float] = field(default_factory=list[float])
    many: list[float] = field(default_factory=list[float])

    @property
    def besides_tokens_ms(self) -> float:
        """What is left at no token at all."""
        few, many = median(self.few), median(self.many)
        return few - FEW * (many - few) / (MANY - FEW)


def run() -> list[Row]:
    """A conversation's first message, and one with a conversation behind it."""
    with studio() as host:
        costs = on_fast_loop(_measure(host))
    # Streams beside each other share a simulated host: each has its speed over the root of n.
    with studio(parallel=AT_ONCE, tokens_per_s=TOKENS_PER_S * AT_ONCE**0.5) as host:
        token_us = on_fast_loop(_crowd_us(host))
    kinds = ("fresh", "grown", "bare", "long")
    fresh, grown, bare, long = (costs[name].besides_tokens_ms for name in kinds)
    crowd = f"{AT_ONCE} turns of {TOKENS_PER_S} tokens/s"
    return [
        at_most("CPU besides tokens, first message", fresh, "ms", LIMIT_MS),
        at_most(f"CPU besides tokens, {BEFORE} turns before it", grown, "ms", LIMIT_MS),
        told("the latter's request alone, sent and read without Lantern", bare, "ms"),
        told(f"CPU besides tokens, {LONG} turns before it, a full window sent", long, "ms"),
        told(f"CPU per token, {crowd}, from socket to face", token_us, "us"),
    ]


async def _measure(host: Studio) -> Mapping[str, _Costs]:
    """The kinds of turns take turns, so that a slow moment of the machine is everybody's."""
    async with house(host) as built, Inference() as inference:
        kinds: dict[str, Play] = {
            "fresh": _turns(built, None),
            "grown": _turns(built, await _grown(built, BEFORE)),
            "long": _turns(built, await _grown(built, LONG)),
            "bare": _requests(inference, host),
        }
        costs = {name: _Costs() for name in kinds}
        for play in kinds.values():
            await _batch_ms(play, FEW, "warm")
        for number in range(BATCHES):
            for name, play in kinds.items():
                costs[name].few.append(await _batch_ms(play, FEW, f"few{number}"))
                costs[name].many.append(await _batch_ms(play, MANY, f"many{number}"))
        return costs


async def _grown(built: Lantern, turns: int) -> TurnId | None:
    parent: TurnId | None = None
    for _ in range(turns):
        parent = (await ask(built, question("[[tokens 100]] Go on.", parent=parent))).turn
    return parent


def _turns(built: Lantern, parent: TurnId | None) -> Play:
    """Whole turns; without a parent each begins a conversation of its own."""

    async def play(text: str, name: str) -> int:
        place = "discord:1" if parent is not None else f"discord:{name}"
        return (await ask(built, question(text, place=place, parent=parent))).tokens

    return play


def _requests(inference: Inference, host: Studio) -> Play:
    """The same words with a conversation as long before them, without anything of Lantern's."""
    names = frozenset({str(MODEL)})
    endpoint = Endpoint(f"http://{host.address}/v1", MODEL, accepted_models=names)
    before = (Message("user", "Go on."), Message("assistant", "word " * 100)) * BEFORE

    async def play(text: str, name: str) -> int:
        end: object = None
        request = InferenceRequest((*before, Message("user", text)))
        async with inference.open(endpoint, request) as deltas:
            async for delta in deltas:
                end = delta
        assert isinstance(end, StreamEnd)
        return end.usage.completion_tokens

    return play


async def _batch_ms(play: Play, tokens: int, name: str) -> float:
    """Mean CPU of a few answers."""
    costs: list[float] = []
    for number in range(BATCH):
        before = time.process_time()
        answered = await play(f"[[tokens {tokens}]] Why?", f"{name}.{number}")
        costs.append((time.process_time() - before) * 1e3)
        assert answered == tokens
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

        def take(events: Sequence[TurnEvent]) -> None:
            nonlocal has_begun
            for event in events:
                if not isinstance(event, TextDelta):
                    continue
                self.tokens += 1
                if not has_begun:
                    has_begun = True
                    self._begun += 1
                    if self._begun == AT_ONCE:
                        self.all_begun.set()

        asked = question(text, place=name, user=name)
        async with self._built.turns.open(asked, take) as events:
            async for event in events:
                take((event,))
