"""A trace: machines, models and an evening of questions, made up from a size, a load and a seed.

Every length is part of the trace, so that all policies get the same work. The shapes are those that
were measured where people talk to models:

- messages log-normal with a Pareto tail, answers exponential, bursts of arrivals as gamma gaps with
  a coefficient of variation of 1.8: ServeGen (arXiv 2505.09999), BurstGPT (arXiv 2401.17644);
- few models get most of the questions (Zipf), conversations of about three turns: LMSYS-Dialogue-1M
  (arXiv 2309.11998).

Added for a chat server: what is popular drifts within the hour, everybody has favourites, and now
and then a crowd asks for one persona within half a minute.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random  # noqa: TID251  # made-up data, the same for one seed
from typing import Literal

from bot.domain.ids import HostName, ModelKey

GB = 1_000_000_000
CONTEXT = 8192
"""Tokens that every policy loads every model with."""
ANSWER_TOKENS = 1024
"""Longest answer, and the room kept for one."""
FULL = 7800
"""A conversation ends before its transcript and an answer need more: nothing is ever trimmed."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model as its file and its shape decide what it costs."""

    key: ModelKey
    size_bytes: int
    active: float
    """Billions of parameters read for each token; fewer than all in a mixture of experts."""
    kv_bytes: int
    """Of keys and values, per token of context."""

    def bytes_at(self, context: int) -> int:
        """What it takes in memory."""
        return self.size_bytes + self.kv_bytes * context


@dataclass(frozen=True, slots=True)
class HostSpec:
    """A machine alone with one question, and what is on its disk."""

    name: HostName
    memory_bytes: int
    bandwidth: float
    """Bytes per second that writing reaches."""
    read_8b: float
    """Prompt tokens per second of a model of eight billion parameters."""
    disk: float
    """Bytes per second from the disk into memory."""
    start_s: float
    """Of a load, before its first byte."""
    models: Mapping[ModelKey, ModelSpec]

    def read_s(self, model: ModelSpec, tokens: int) -> float:
        """Seconds to read so many prompt tokens: compute, so that it goes by parameters."""
        return tokens * model.active / (8.0 * self.read_8b)

    def write_s(self, model: ModelSpec) -> float:
        """Seconds per answer token: each reads the active weights, at 4.8 bits a parameter."""
        return max(1 / 160, min(model.size_bytes, model.active * 0.6 * GB) / self.bandwidth)

    def load_s(self, model: ModelSpec) -> float:
        """Seconds from the command until the model is in memory."""
        return self.start_s + model.size_bytes / self.disk


@dataclass(frozen=True, slots=True)
class ChatTurn:
    """One question as sent, with the answer it will get."""

    words: int
    """Tokens of the message itself."""
    prompt: int
    """Tokens of the whole transcript."""
    answer: int
    pause_s: float
    """From the answer before to this question; 0 for the first."""


@dataclass(frozen=True, slots=True)
class Dialogue:
    """One conversation: one person, one persona with its model."""

    number: int
    person: str
    model: ModelKey
    starts_at: float
    asked: tuple[ChatTurn, ...]


@dataclass(frozen=True, slots=True)
class SwitchedOff:
    """A machine that is gone for a while; what was in its memory is lost."""

    host: HostName
    begins_at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Trace:
    """Everything that happens, but for the policy."""

    name: str
    seed: int
    hosts: tuple[HostSpec, ...]
    models: Mapping[ModelKey, ModelSpec]
    shares: Mapping[ModelKey, float]
    """Of all questions, as their owner would expect before any drift."""
    chats: tuple[Dialogue, ...]
    outages: tuple[SwitchedOff, ...]
    prompts: Mapping[ModelKey, int]
    """Tokens of each persona's system prompt."""

    def able(self, key: ModelKey) -> list[HostSpec]:
        """Hosts that have a model and the memory for it."""
        need = self.models[key].bytes_at(CONTEXT)
        return [host for host in self.hosts if key in host.models and need <= host.memory_bytes]


SizeName = Literal["small", "medium", "large"]
LoadName = Literal["light", "busy", "heavy"]


@dataclass(frozen=True, slots=True)
class _Fleet:
    kinds: tuple[str, ...]
    models: int
    people: int
    hours: float
    on_disk: float
    """How likely a machine has a model it can hold."""


_FLEETS: Mapping[SizeName, _Fleet] = {
    "small": _Fleet(("rtx4090", "m4pro", "rtx3060"), 8, 30, 6.0, 0.85),
    "medium": _Fleet(("rtx4090", "ultra", "m4max", "strix", "m4pro", "rtx3060"), 20, 80, 3.0, 0.6),
    "large": _Fleet(
        ("rtx5090", "ultra", "rtx4090", "rtx4090", "m4max", "m4max", "strix", "strix", "m4pro",
         "m4pro", "rtx3060", "rtx3060"), 40, 180, 2.0, 0.55),
}  # fmt: skip
SIZES = tuple(_FLEETS)
LOADS: Mapping[LoadName, float] = {"light": 0.08, "busy": 0.2, "heavy": 0.38}
"""Of all the hosts' time, what answering would take if no two questions ever met, nothing were ever
loaded and each were answered by any host that can: loads, waiting and slow hosts come on top."""

_KINDS: Mapping[str, tuple[float, float, float, float, float]] = {
    "rtx5090": (29.0, 1350.0, 5200.0, 2.2, 1.5),
    "rtx4090": (22.0, 790.0, 3200.0, 2.0, 1.5),
    "rtx3060": (11.0, 260.0, 900.0, 0.45, 2.5),
    "ultra": (140.0, 640.0, 860.0, 3.0, 1.2),
    "m4max": (48.0, 420.0, 620.0, 2.6, 1.2),
    "m4pro": (24.0, 220.0, 280.0, 2.0, 1.2),
    "strix": (64.0, 195.0, 330.0, 1.3, 1.8),
}
"""GB for models, GB/s, prompt tokens/s at 8B, GB/s from disk, seconds before a load begins; from
the makers' bandwidths at some 80 % and llama.cpp's published benchmarks."""

_CATALOGUE: tuple[tuple[str, float, float, int], ...] = (
    ("meta/llama-3.1-8b", 4.9, 8.0, 131_072),
    ("google/gemma-3-12b", 8.1, 12.0, 92_160),
    ("qwen/qwen3-30b-a3b", 18.6, 3.3, 98_304),
    ("mistralai/mistral-nemo", 7.5, 12.2, 163_840),
    ("mistralai/mistral-small", 14.3, 24.0, 163_840),
    ("openai/gpt-oss-20b", 12.1, 3.6, 49_152),
    ("qwen/qwen3-8b", 5.0, 8.2, 147_456),
    ("qwen/qwen3-4b", 2.5, 4.0, 147_456),
    ("microsoft/phi-4", 9.1, 14.7, 204_800),
    ("google/gemma-3-27b", 17.2, 27.0, 122_880),
    ("meta/llama-3.3-70b", 42.5, 70.0, 327_680),
    ("qwen/qwen3-14b", 9.0, 14.8, 163_840),
    ("qwen/qwen3-32b", 19.8, 32.8, 262_144),
    ("google/gemma-3-4b", 2.5, 4.3, 69_632),
    ("openai/gpt-oss-120b", 63.4, 5.1, 73_728),
    ("zai/glm-4.5-air", 60.0, 12.0, 188_416),
    ("qwen/qwen2.5-vl-7b", 6.0, 8.3, 57_344),
    ("deepseek/r1-distill-14b", 9.0, 14.8, 196_608),
    ("ibm/granite-3.3-8b", 5.0, 8.2, 163_840),
    ("mistralai/devstral-small", 14.3, 23.6, 163_840),
)
"""Key, GB of the file at four bits, billions of active parameters, bytes of keys and values per
token at 16 bits; from the models' published configurations."""

CROWD = 0.01
"""How many arrivals bring nine others along on the mean, all to one persona within half a minute.
"""
SAMPLE = 400
"""Conversations drawn to learn what one costs on the mean."""


def make(size: SizeName, load: LoadName, seed: int = 1) -> Trace:
    """The trace of that name; the same arguments make the same trace, whatever was made before."""
    fleet = _FLEETS[size]
    # The machines and the models are the same under each load: only the people differ.
    rng = Random(f"fleet/{size}/{seed}")
    models = _models(fleet.models)
    hosts = _hosts(fleet, models, rng)
    weights = [1 / (rank + 1) ** 1.1 for rank in range(len(models))]
    shares = {key: w / sum(weights) for key, w in zip(models, weights, strict=True)}
    prompts = {key: rng.randint(120, 600) for key in models}
    horizon_s = fleet.hours * 3600
    outages = tuple(_outages(hosts, horizon_s, rng))
    trace = Trace(f"{size}-{load}-{seed}", seed, hosts, models, shares, (), outages, prompts)
    rng = Random(f"people/{size}/{load}/{seed}")
    work_s = _work_per_chat(trace, rng)
    count = round(LOADS[load] * len(hosts) * horizon_s / work_s / (1 + 9 * CROWD))
    chats = sorted(_chats(trace, fleet.people, count, horizon_s, rng), key=lambda c: c.starts_at)
    return replace(trace, chats=tuple(replace(c, number=n) for n, c in enumerate(chats)))


def _models(count: int) -> dict[ModelKey, ModelSpec]:
    found: dict[ModelKey, ModelSpec] = {}
    for number in range(count):
        name, gigabytes, active, kv = _CATALOGUE[number % len(_CATALOGUE)]
        # The second round are finetunes: of the same size, with weights of their own.
        key = ModelKey(name if number < len(_CATALOGUE) else f"tuned/{name.split('/')[1]}-rp")
        found[key] = ModelSpec(key, round(gigabytes * GB), active, kv)
    return found


def _hosts(
    fleet: _Fleet, models: Mapping[ModelKey, ModelSpec], rng: Random
) -> tuple[HostSpec, ...]:
    drafts: list[tuple[HostSpec, dict[ModelKey, ModelSpec]]] = []
    for number, kind in enumerate(fleet.kinds, start=1):
        memory, bandwidth, read, disk, start = _KINDS[kind]
        own = rng.uniform(0.9, 1.1)
        disks: dict[ModelKey, ModelSpec] = {}
        drafts.append((
            HostSpec(HostName(f"{kind}-{number}"), round(memory * GB), bandwidth * own * GB,
                     read * own, disk * rng.uniform(0.8, 1.2) * GB, start, disks), disks,
        ))  # fmt: skip
    for key, model in models.items():
        able = [disks for host, disks in drafts if model.bytes_at(CONTEXT) <= host.memory_bytes]
        # Whoever runs a fleet keeps each model on two machines, where two can hold it.
        for disks in rng.sample(able, min(2, len(able))):
            disks[key] = model
        for disks in able:
            if rng.random() < fleet.on_disk:
                disks[key] = model
    return tuple(host for host, _ in drafts)


def _outages(hosts: Sequence[HostSpec], horizon_s: float, rng: Random) -> Iterator[SwitchedOff]:
    for host in rng.sample(list(hosts), max(1, len(hosts) // 3)):
        begins_at = rng.uniform(0.15, 0.85) * horizon_s
        yield SwitchedOff(host.name, begins_at, min(600.0, rng.lognormvariate(math.log(120), 0.9)))


def _talk(prompt: int, rng: Random) -> Iterator[ChatTurn]:
    """The questions of one conversation behind a system prompt of so many tokens."""
    said, pause_s = prompt, 0.0
    while True:
        words = round(rng.lognormvariate(math.log(70), 1.1))
        if rng.random() < 0.12:
            # Something was pasted.
            words = round(300 * rng.paretovariate(1.4))
        words = max(4, min(4000, words))
        answer = max(8, min(ANSWER_TOKENS, round(rng.expovariate(1 / 240))))
        if said + words + ANSWER_TOKENS > FULL:
            if not pause_s:
                continue
            return
        said += words
        yield ChatTurn(words, said, answer, pause_s)
        said += answer
        if rng.random() < 1 / 3.1:
            return
        pause_s = min(1200.0, rng.lognormvariate(math.log(45), 0.9))


def _work_per_chat(trace: Trace, rng: Random) -> float:
    """Seconds that a conversation's answers take, alone, on the mean of the hosts that can."""
    total_s = 0.0
    keys = rng.choices(list(trace.shares), list(trace.shares.values()), k=SAMPLE)
    for key in keys:
        model, able = trace.models[key], trace.able(key)
        read = 0
        for asked in _talk(trace.prompts[key], rng):
            seconds = [
                h.read_s(model, asked.prompt - read) + asked.answer * h.write_s(model) for h in able
            ]
            total_s += sum(seconds) / len(seconds)
            read = asked.prompt + asked.answer
    return total_s / SAMPLE


def _chats(
    trace: Trace, people: int, count: int, horizon_s: float, rng: Random
) -> Iterator[Dialogue]:
    shape = 1 / 1.8**2
    gaps = [rng.gammavariate(shape, 1.0) for _ in range(count + 1)]
    stretch = horizon_s / sum(gaps)
    names = [f"person-{n}" for n in range(people)]
    keenness = [1 / (n + 1) ** 0.7 for n in range(people)]
    keys, base = list(trace.shares), list(trace.shares.values())
    favourites = {name: rng.choices(keys, base, k=2) for name in names}
    drift = [0.0] * len(keys)
    at = drifted_at = 0.0
    for gap in gaps[:count]:
        at += gap * stretch
        while drifted_at < at:
            drifted_at += 600.0
            drift = [0.9 * d + rng.gauss(0.0, 0.35) for d in drift]
        person, callers = rng.choices(names, keenness)[0], 1
        if rng.random() < CROWD:
            # Somebody posted a persona's link.
            key, callers = rng.choice(keys), rng.randint(5, 15)
        elif rng.random() < 0.5:
            key = rng.choice(favourites[person])
        else:
            key = rng.choices(keys, [b * math.exp(d) for b, d in zip(base, drift, strict=True)])[0]
        for caller in [person, *rng.sample(names, callers - 1)]:
            starts_at = at if caller == person else at + rng.uniform(0.0, 30.0)
            yield Dialogue(0, caller, key, starts_at, tuple(_talk(trace.prompts[key], rng)))
