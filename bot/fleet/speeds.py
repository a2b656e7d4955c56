"""How fast one host loads and answers, remembered as running averages; the scheduler's memory."""

from collections.abc import Mapping

from bot.domain.hosts import LoadRecord, Model, Speed, SpeedRecord
from bot.domain.ids import ModelKey
from bot.policy.speeds import blend, blend_speed, load_rate, speed_of_answer, speed_of_load


class History:
    """One host's measurements."""

    def __init__(self, speeds: Mapping[ModelKey, Speed], rate: float | None) -> None:
        self._speeds = dict(speeds)
        self._rate = rate

    @property
    def speeds(self) -> Mapping[ModelKey, Speed]:
        """By model; replaced, never changed, when something new is measured."""
        return self._speeds

    @property
    def load_bytes_per_s(self) -> float | None:
        """Over all loads."""
        return self._rate

    def loaded(self, record: LoadRecord) -> None:
        """One load finished."""
        self._rate = blend(self._rate, load_rate(record))
        self._learn(record.model_key, speed_of_load(record))

    def answered(self, record: SpeedRecord) -> None:
        """One answer finished."""
        self._learn(record.model_key, speed_of_answer(record))

    def expected_load_s(self, key: ModelKey, model: Model | None) -> float | None:
        """Seconds a load takes here, from its own history, else by size; None when unknown."""
        known = self._speeds.get(key)
        if known is not None and known.load_s is not None:
            return known.load_s
        if model is None or model.size_bytes is None or not self._rate:
            return None
        return model.size_bytes / self._rate

    def turn_s(self, key: ModelKey) -> float | None:
        """Seconds one answer holds its slot; None when unknown."""
        known = self._speeds.get(key)
        return known.turn_s if known else None

    def _learn(self, key: ModelKey, measured: Speed) -> None:
        self._speeds = {**self._speeds, key: blend_speed(self._speeds.get(key, Speed()), measured)}
