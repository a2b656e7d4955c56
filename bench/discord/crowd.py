"""Twenty channels stream beside ten that wait for a cold model, at 80 ± 60 ms; rhythm."""

import asyncio
from statistics import median

from bench.discord.rig import Rig
from bench.discord.stage import SHARED, Stage, host

CHANNELS = 30
SIZES = (120, 300, 520, 700)
LONGEST_S, LONGEST_SHARED_S = 3.0, 4.0
"""Without a new word, while words come; where two answers share a channel's edits."""

STAGE = Stage(
    hosts=tuple(host(f"h{n}", SHARED, tokens_per_s=44.0, parallel=4) for n in range(5)),
    channels=(*(f"c{n}" for n in range(CHANNELS)), "general"),
    users=("alice", *(f"u{n}" for n in range(CHANNELS)), "bob"),
    config="discord: {default_persona: sage}\n",
    latency={"rest_ms": 80, "jitter_ms": 60, "gateway_ms": 80},
)


async def cold(rig: Rig) -> None:
    """The model is in no memory yet: bars of loads, and queues behind them."""
    await _wave(rig, "cold")


async def warm(rig: Rig) -> None:
    """Twenty slots for thirty questions."""
    streams, waits = await _wave(rig, "warm")
    rig.check("warm: 20 stream while 10 wait", streams >= 19 and waits >= 9, (streams, waits))


async def _wave(rig: Rig, name: str) -> tuple[int, int]:
    """Asks in every channel at once; the most that streamed, and that waited, at one time."""
    sizes = {f"{name}{n}q": SIZES[(n * 7) % len(SIZES)] for n in range(CHANNELS)}
    asked: dict[str, float] = {}

    async def one(number: int, tag: str) -> None:
        await asyncio.sleep(number * 0.618 % 1.5)
        user, where, text = f"u{number}", f"#c{number}", f"Go [[count {sizes[tag]} {tag}]]"
        asked[tag] = (await rig.discord.now())["t"]
        if number % 3 == 2:
            await rig.chat(user, where, text)
        else:
            await rig.say(user, where, text)

    async with asyncio.TaskGroup() as tasks:
        for number, tag in enumerate(sizes):
            tasks.create_task(one(number, tag))
    most = [0, 0]

    def is_over() -> bool:
        live = [message for message in rig.discord.mine() if message.is_working]
        streams = sum("stop" in m.acts and "x" in m.text for m in live)
        most[:] = max(most[0], streams), max(most[1], len(live) - streams)
        return not live and all(rig.said(tag)[-1:] == [size - 1] for tag, size in sizes.items())

    await rig.until(is_over, "the end of all answers", 200)
    _check_answers(rig, name, sizes, LONGEST_S)
    heads = {t: sum(f"{t}x0." in m.text for m in rig.discord.mine()) for t in sizes}
    rig.check(f"{name}: each is answered once", set(heads.values()) == {1}, heads)
    first = [min(at for at, _, _ in rig.growth(t) if at >= asked[t]) - asked[t] for t in sizes]
    rig.check(
        f"{name}: first sign", max(first) < 2, f"{median(first):.2f} s, at most {max(first):.2f}"
    )
    return most[0], most[1]


def _check_answers(rig: Rig, name: str, sizes: dict[str, int], longest_s: float) -> None:
    broken = [tag for tag, size in sizes.items() if not rig.is_whole(tag, size)]
    rig.check(f"{name}: nothing is lost, doubled or out of order", not broken, broken)
    gaps = {tag: max(rig.gaps_s(tag)) for tag in sizes}
    worst = max(gaps, key=lambda tag: gaps[tag])
    seen = f"{gaps[worst]:.2f} s, median of the longest {median(gaps.values()):.2f}"
    rig.check(
        f"{name}: no gap over {longest_s:g} s while words come", gaps[worst] <= longest_s, seen
    )
    shrank = [tag for tag in sizes if rig.shrank(tag)]
    rig.check(f"{name}: no word that was seen goes away again", not shrank, shrank)


async def pairs(rig: Rig) -> None:
    """Two answers in each of ten channels, and somebody types a model's name meanwhile."""
    sizes = {f"pair{n}n{k}": 250 for n in range(10) for k in range(2)}
    for n in range(10):
        for k in range(2):
            await rig.say(f"u{n + 10 * k}", f"#c{n}", f"Go [[count 250 pair{n}n{k}]]")
    took: list[float] = []
    for _ in range(12):
        typed = {"channel": "#general", "name": "model", "option": "name", "value": "qw"}
        took.append((await rig.discord.autocomplete(user="alice", **typed))["ms"])
    seen = f"{median(took):.0f} ms, at most {max(took):.0f}, of them 160 ± 120 on the way"
    rig.check("a model's name is completed while 20 stream", max(took) < 1000, seen)

    def is_over() -> bool:
        return all(rig.said(tag)[-1:] == [size - 1] for tag, size in sizes.items())

    await rig.until(is_over, "the end of all pairs", 150)
    await rig.settled()
    _check_answers(rig, "pairs", sizes, LONGEST_SHARED_S)


SCENES = (cold, warm, pairs)
