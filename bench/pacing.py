"""Staleness of streamed text, as a part of a fixed-1-s editor's.

Virtual time. A token is stale from the moment it arrives until the call that shows it has returned
(80 ms, give or take 20); a reply's staleness is the mean over its tokens, a row's the mean over its
replies. Discord counts calls in fixed windows that open with the first call to arrive. discord.py
holds the call that took a window's last place until the window has passed, and lets none begin
while it knows that no place is left. The fixed editor is given the text up to the instant it calls
and, like the paced one, shows the first token at once; it edits again a second after its last edit
ended, the end of the reply included.
"""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import ceil, exp, inf, log
from random import Random  # noqa: TID251  # seeded here and nowhere else
from statistics import mean

from bench.table import Row, at_most, exactly, told
from bot.policy.pacing import CHANNEL, INTERACTION, Limit, Pacer, Writing

SPEEDS = {10: 0.85, 30: 0.80, 80: 0.65, 200: 0.50}
"""Tokens per second, and the part of the fixed editor's staleness to stay under."""

UNIT = "x fixed 1 s"
API_S, JITTER_S = 0.080, 0.020
CHARACTERS_PER_TOKEN = 4
REPLIES = 120


@dataclass(slots=True)
class Bucket:
    """Discord's window for one channel's edits, and discord.py in front of it."""

    limit: Limit
    rng: Random
    opened: float = -inf
    used: int = 0
    refused: int = 0
    blocked_until: float = -inf

    def call(self, now: float) -> tuple[float, float]:
        """A call begun now: when its text is seen and when it returns."""
        began = max(now, self.blocked_until)
        latency = self.latency()
        arrives = began + latency / 2
        if arrives - self.opened >= self.limit.window_s:
            self.opened, self.used = arrives, 0
        elif self.used >= self.limit.calls:
            self.refused += 1
            arrives = self.opened + self.limit.window_s
            self.opened, self.used = arrives, 0
        self.used += 1
        seen = returns = arrives + latency / 2
        if self.used == self.limit.calls:
            returns = self.opened + self.limit.window_s + latency / 2
            self.blocked_until = returns
        return seen, returns

    def latency(self) -> float:
        """One call's time over the wire and back."""
        return API_S + self.rng.uniform(-JITTER_S, JITTER_S)


@dataclass(slots=True)
class Stream:
    """One reply: when its tokens arrive, and when each was seen."""

    name: str
    arrivals: list[float]
    seen: list[float] = field(default_factory=list[float])

    @property
    def staleness(self) -> float:
        """Mean seconds from a token's arrival until it was seen."""
        return mean(seen - arrived for arrived, seen in zip(self.arrivals, self.seen, strict=True))

    def ready(self, now: float) -> int:
        """Tokens that have arrived; none of those already shown is looked at again."""
        count = len(self.seen)
        while count < len(self.arrivals) and self.arrivals[count] <= now:
            count += 1
        return count

    def show(self, count: int, at: float) -> None:
        """The first so many tokens are seen from then on."""
        self.seen += [at] * (count - len(self.seen))

    @property
    def is_shown(self) -> bool:
        """Whether nothing is left to show."""
        return len(self.seen) == len(self.arrivals)


Writer = Iterator[float]
"""Gives the time it wants to be woken at."""

MakeWriters = Callable[[list[Stream], Bucket], list[Writer]]


def fixed(stream: Stream, bucket: Bucket) -> Writer:
    """An edit a second after the last one ended."""
    yield (now := stream.arrivals[0])
    free = now + bucket.latency()
    stream.show(1, free)
    while not stream.is_shown:
        yield (now := max(free + 1.0, stream.arrivals[len(stream.seen)]))
        seen, free = bucket.call(now)
        stream.show(stream.ready(now), seen)


def paced(stream: Stream, bucket: Bucket, channel: Pacer) -> Writer:
    """Lantern's policy; the message is created in its own bucket, then edited."""
    yield (now := stream.arrivals[0])
    start, edits, free = now, 0, now + bucket.latency()
    stream.show(1, free)
    while not stream.is_shown:
        yield (now := max(now, free, stream.arrivals[len(stream.seen)]))
        count = stream.ready(now)
        ended = count == len(stream.arrivals)
        at = channel.ask(now, stream.name, _writing(stream, count, start, edits, ended))
        if at <= now:
            channel.began(now, stream.name)
            start, edits = now, edits + 1
            seen, free = bucket.call(now)
            stream.show(count, seen)
        else:
            now = min(at, inf if ended else stream.arrivals[count])
    channel.left(stream.name)


def _writing(stream: Stream, count: int, start: float, edits: int, ended: bool) -> Writing:
    return Writing(
        ready=count * CHARACTERS_PER_TOKEN,
        shown=len(stream.seen) * CHARACTERS_PER_TOKEN,
        last_start=start,
        edits=edits,
        is_finished=ended,
    )


def all_fixed(streams: list[Stream], bucket: Bucket) -> list[Writer]:
    """Every reply by the fixed editor."""
    return [fixed(stream, bucket) for stream in streams]


def all_paced(streams: list[Stream], bucket: Bucket) -> list[Writer]:
    """Every reply by Lantern's policy, sharing one log."""
    channel = Pacer(bucket.limit)
    return [paced(stream, bucket, channel) for stream in streams]


def play(streams: list[Stream], bucket: Bucket, make: MakeWriters) -> None:
    """Let the writers of one channel run, each woken when it asked to be."""
    writers = make(streams, bucket)
    queue = [(next(writer), turn) for turn, writer in enumerate(writers)]
    heapq.heapify(queue)
    while queue:
        _, turn = heapq.heappop(queue)
        wake = next(writers[turn], None)
        if wake is not None:
            heapq.heappush(queue, (wake, turn))


@dataclass(frozen=True, slots=True)
class Scene:
    """How many replies stream at once in a channel, how long they are, and the bucket's limit."""

    at_once: int = 1
    tokens: int | None = None
    """None draws 30 to 500, as many short as long on a logarithmic scale."""
    limit: Limit = CHANNEL


def measure(scene: Scene, speed: float, make: MakeWriters) -> tuple[float, int]:
    """Mean staleness in seconds, and refused calls; the same replies for every policy."""
    rng, network = Random(speed), Random(speed + 1)
    results: list[float] = []
    refused = 0
    for _ in range(REPLIES // scene.at_once):
        bucket = Bucket(scene.limit, network)
        streams = [_stream(scene, str(place), speed, rng) for place in range(scene.at_once)]
        play(streams, bucket, make)
        results += [stream.staleness for stream in streams]
        refused += bucket.refused
    return mean(results), refused


def _stream(scene: Scene, name: str, speed: float, rng: Random) -> Stream:
    count = scene.tokens or round(exp(rng.uniform(log(30), log(500))))
    begin = rng.uniform(0.0, 3.0) if scene.at_once > 1 else 0.0
    return Stream(name, [begin + place / speed for place in range(count)])


def least(scene: Scene, speed: float) -> float:
    """A bound for single replies: every place in every window used, all edits evenly apart."""
    duration = ((scene.tokens or 0) - 1) / speed
    edits = scene.limit.calls * ceil(duration / scene.limit.window_s)
    return (duration / edits - 1 / speed) / 2 + API_S


SCENES = {
    "replies of 30-500 tokens": Scene(),
    "all of 300 tokens": Scene(tokens=300),
    "3 at once in the channel": Scene(at_once=3),
    "by an interaction's token": Scene(limit=INTERACTION),
}


def run() -> list[Row]:
    """The figures to reach, then the same for other scenes."""
    rows: list[Row] = []
    refused = 0
    for what, scene in SCENES.items():
        for speed, limit in SPEEDS.items():
            ours, more = measure(scene, speed, all_paced)
            theirs, _ = measure(scene, speed, all_fixed)
            rows.append(
                _row(f"{speed} tokens/s, {what}", scene, speed, ours / theirs, theirs, limit)
            )
            refused += more
    return [*rows, exactly("calls refused (429) in all of the above", refused, "", 0)]


def _row(what: str, scene: Scene, speed: float, ratio: float, theirs: float, limit: float) -> Row:
    if scene == Scene():
        return at_most(what, ratio, UNIT, limit)
    if scene.tokens:
        what += f" (least possible {least(scene, speed) / theirs:.2f})"
    return told(what, ratio, UNIT)
