"""How fast hosts load and answer: running averages, and guesses of what was never measured.

A host's pace and a model's effort are learnt together from every pair that was measured: one token
takes ``effort / pace`` seconds. So a model that was only ever asked on one host is known on all,
and a host that answered with one model is known with all. What was measured itself goes first.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Literal

from bot.domain.hosts import HostSnapshot, LoadRecord, Model, Pace, Speed, SpeedRecord
from bot.domain.ids import ModelKey

NEWEST_WEIGHT = 0.3
"""Share of the newest measurement: about the last six decide."""
MEASURABLE_PROMPT = 64
"""Tokens; with fewer the first token's wait is mostly the way there and back."""
MEASURABLE_REPLY = 8
"""Tokens; fewer leave too few gaps between them to time."""
LEARNT_SHARE = 0.15
"""Of what a measurement differs from the guess, so much changes the host's pace, and as much the
model's effort, where both were known: one alone could be wrong for a hundred others."""
USUAL_BYTES = 5e9
"""Of a model whose size nobody knows: 8 billion parameters at 4 bits."""
USUAL_PREFILL, USUAL_DECODE = 500.0 * USUAL_BYTES, 40.0 * USUAL_BYTES
"""Paces of a host while nothing was measured anywhere: of a laptop."""
SLOWEST_PER_S = 0.1
"""Tokens; what is slower is no measurement."""
LOAD_BYTES_PER_S = 1.2e9
"""Assumed until a host was measured; LM Studio's own example loads 12 GB in 9.1 s."""
LOAD_S = 20.0
"""Assumed where not even the size is known."""
UNMEASURED = Pace()
UNTOLD = Speed()
"""Nothing was measured."""
SENT_S = 0.05
"""From the grant to the host's beginning to read."""

LoadBasis = Literal["measured", "by size", "a guess by size", "a guess"]


def blend(average: float | None, measured: float | None) -> float | None:
    """The average after one more measurement; a missing one changes nothing."""
    if average is None or measured is None:
        return measured if average is None else average
    return average + NEWEST_WEIGHT * (measured - average)


def blend_speed(average: Speed, measured: Speed) -> Speed:
    """Every average of a model on a host after one more measurement."""
    return Speed(
        load_s=blend(average.load_s, measured.load_s),
        prefill_tokens_per_s=blend(average.prefill_tokens_per_s, measured.prefill_tokens_per_s),
        tokens_per_s=blend(average.tokens_per_s, measured.tokens_per_s),
        turn_s=blend(average.turn_s, measured.turn_s),
    )


def speed_of_answer(record: SpeedRecord) -> Speed:
    """What one answer measured; too short a prompt or reply measures no rate."""
    # One word asked and one answered time the way there and back, not the machine.
    is_long = record.prompt_tokens >= MEASURABLE_PROMPT
    is_wordy = record.completion_tokens >= MEASURABLE_REPLY
    # The way there is no reading: a quick machine passed for half as quick by its short prompts.
    read_s = max(record.first_token_s - SENT_S, record.first_token_s / 2)
    return Speed(
        prefill_tokens_per_s=_rate(record.prompt_tokens, read_s) if is_long else None,
        # The first token came with the prefill; the rest were timed.
        tokens_per_s=_rate(record.completion_tokens - 1, record.generation_s) if is_wordy else None,
        turn_s=record.first_token_s + record.generation_s,
    )


def load_rate(record: LoadRecord) -> float | None:
    """Bytes per second of one load, whatever the model; None when its size is unknown."""
    return None if record.size_bytes is None else _rate(record.size_bytes, record.seconds)


def load_seconds(
    measured_s: float | None, bytes_per_s: float | None, size_bytes: int | None
) -> tuple[float, LoadBasis]:
    """Seconds one load takes, and what that rests on.

    Args:
        measured_s: What loads of this model took on the host.
        bytes_per_s: What loads of any model made there.
        size_bytes: Of the model's file.
    """
    if measured_s is not None:
        return measured_s, "measured"
    if size_bytes is None:
        return LOAD_S, "a guess"
    if bytes_per_s:
        return size_bytes / bytes_per_s, "by size"
    return size_bytes / LOAD_BYTES_PER_S, "a guess by size"


def expected_rates(host: HostSnapshot, model: Model) -> tuple[float, float]:
    """Tokens a second that a host reads and writes with a model, alone: measured, else guessed."""
    return rates_by(host.speeds, host.pace, host.efforts, model)


def rates_by(
    speeds: Mapping[ModelKey, Speed], pace: Pace, efforts: Mapping[ModelKey, Pace], model: Model
) -> tuple[float, float]:
    """As ``expected_rates``, by what is known of a host."""
    speed, size = speeds.get(model.key, UNTOLD), model.size_bytes or USUAL_BYTES
    read, written = speed.prefill_tokens_per_s, speed.tokens_per_s
    if not (read and written):
        effort = efforts.get(model.key, UNMEASURED)
        read = read or (pace.prefill or USUAL_PREFILL) / (effort.prefill or size)
        written = written or (pace.decode or USUAL_DECODE) / (effort.decode or size)
    return max(SLOWEST_PER_S, read), max(SLOWEST_PER_S, written)


def learnt(
    pace: Pace, effort: Pace, size_bytes: float, measured: Speed, most: Speed = UNTOLD
) -> tuple[Pace, Pace]:
    """A host's pace and a model's effort after one answer; what it did not measure stays.

    Args:
        pace: Of the host, as far as known.
        effort: Of the model, as far as known.
        size_bytes: What the effort is taken for meanwhile: all weights are read for each token.
        measured: Rates per second.
        most: Those that the host would have reached with nothing beside, at the most.
    """
    reads, writes = most.prefill_tokens_per_s, most.tokens_per_s
    read = _learnt(pace.prefill, effort.prefill, size_bytes, measured.prefill_tokens_per_s, reads)
    written = _learnt(pace.decode, effort.decode, size_bytes, measured.tokens_per_s, writes)
    return Pace(read[0], written[0]), Pace(read[1], written[1])


def _learnt(
    pace: float | None,
    effort: float | None,
    size_bytes: float,
    rate: float | None,
    most: float | None,
) -> tuple[float | None, float | None]:
    # A model that nobody measured elsewhere says nothing of itself here: its size stands.
    weights = size_bytes if effort is None else effort
    if rate is None:
        # One that was never alone passed for the fastest: all were sent there, and it never was.
        return (pace if most is None else min(pace or math.inf, most * weights)), effort
    if pace is None:
        return rate * weights, effort
    # No token takes more than all weights: a host first measured with a mixture of experts passed
    # for twelve times as fast with every other model.
    pace = min(pace, rate * size_bytes)
    if effort is None:
        return pace, pace / rate
    # Of a product only the ratio can be wrong: each side takes the same share of it.
    off = (rate * effort / pace) ** LEARNT_SHARE
    return pace * off, effort / off


def fastest(paces: Iterable[Pace]) -> Pace:
    """The best of each: a host nobody ever tried is tried once, not left for ever."""
    known = list(paces)
    return Pace(
        max((p.prefill for p in known if p.prefill), default=None),
        max((p.decode for p in known if p.decode), default=None),
    )


def _rate(amount: float, seconds: float) -> float | None:
    return amount / seconds if amount > 0 and seconds > 0 else None
