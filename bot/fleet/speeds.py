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

    def loaded(self, record: LoadRecord) -> None:
        """One load finished."""
        self.load_bytes_per_s = blend(self.load_bytes_per_s, load_rate(record))
        self._learn(record.model_key, Speed(load_s=record.seconds))

    def answered(self, record: SpeedRecord) -> None:
        """One answer finished."""
        self._learn(record.model_key, speed_of_answer(record))

    def expected_load_s(self, key: ModelKey, model: Model | None) -> float | None:
        """Seconds a load takes here, from its own history, else by size; None when unknown."""
        known = self.speeds.get(key)
        if known is not None and known.load_s is not None:
            return known.load_s
        if model is None or model.size_bytes is None or not self.load_bytes_per_s:
            return None
        return model.size_bytes / self.load_bytes_per_s

    def _learn(self, key: ModelKey, measured: Speed) -> None:
        known = self.speeds.get(key, Speed())
        self.speeds = {**self.speeds, key: blend_speed(known, measured)}
