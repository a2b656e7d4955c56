"""Running averages of how fast hosts load and answer; old measurements fade."""

from bot.domain.hosts import LoadRecord, Speed, SpeedRecord

NEWEST_WEIGHT = 0.3
"""Share of the newest measurement: about the last six decide."""
MEASURABLE_PROMPT = 64
"""Tokens; with fewer the first token's wait is mostly the way there and back."""
MEASURABLE_REPLY = 8
"""Tokens; fewer leave too few gaps between them to time."""


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
    return Speed(
        prefill_tokens_per_s=_rate(record.prompt_tokens, record.first_token_s) if is_long else None,
        # The first token came with the prefill; the rest were timed.
        tokens_per_s=_rate(record.completion_tokens - 1, record.generation_s) if is_wordy else None,
        turn_s=record.first_token_s + record.generation_s,
    )


def load_rate(record: LoadRecord) -> float | None:
    """Bytes per second of one load, whatever the model; None when its size is unknown."""
    return None if record.size_bytes is None else _rate(record.size_bytes, record.seconds)


def _rate(amount: float, seconds: float) -> float | None:
    return amount / seconds if amount > 0 and seconds > 0 else None
