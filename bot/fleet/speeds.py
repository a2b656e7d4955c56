"""How fast one host loads and answers, remembered as running averages; the scheduler's memory."""

from collections.abc import Mapping

from bot.domain.hosts import LoadRecord, Model, Speed, SpeedRecord
from bot.domain.ids import ModelKey
from bot.policy.speeds import blend, blend_speed, load_rate, speed_of_answer


class History:
    """One host's measurements."""

    def __init__(self, speeds: Mapping[ModelKey, Speed], load_bytes_per_s: float | None) -> None:
        self.speeds = speeds
        """By model; replaced, never changed, when something new is measured."""
        self.load_bytes_per_s = load_bytes_per_s
        """Over all loads."""

    def learn(self, record: LoadRecord | SpeedRecord) -> None:
        """One load or one answer finished."""
        if isinstance(record, LoadRecord):
            self.load_bytes_per_s = blend(self.load_bytes_per_s, load_rate(record))
            measured = Speed(load_s=record.seconds)
        else:
            measured = speed_of_answer(record)
        known = self.speeds.get(record.model_key, Speed())
        self.speeds = {**self.speeds, record.model_key: blend_speed(known, measured)}

    def expected_load_s(self, key: ModelKey, model: Model | None) -> float | None:
        """Seconds a load takes here, from its own history, else by size; None when unknown."""
        known = self.speeds.get(key)
        if known is not None and known.load_s is not None:
            return known.load_s
        if model is None or model.size_bytes is None or not self.load_bytes_per_s:
            return None
        return model.size_bytes / self.load_bytes_per_s
