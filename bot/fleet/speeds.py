"""How fast one host loads and answers, remembered as running averages; the scheduler's memory."""

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence

from bot.domain.hosts import LoadRecord, Model, Pace, Speed, SpeedRecord
from bot.domain.ids import HostName, ModelKey
from bot.policy.speeds import (
    UNMEASURED,
    UNTOLD,
    USUAL_BYTES,
    LoadBasis,
    blend,
    blend_speed,
    fastest,
    learnt,
    load_rate,
    load_seconds,
    rates_by,
    speed_of_answer,
)
from bot.policy.spill import KEPT_RATES

_SOMEWHERE = HostName("")


class Yardstick:
    """What is measured on one host and true for all: each model's effort; and the hosts' paces."""

    def __init__(self) -> None:
        self.efforts: Mapping[ModelKey, Pace] = {}
        """Replaced, never changed, when something new is measured."""
        self._paces: dict[HostName, Pace] = {}

    def learn(
        self,
        host: HostName,
        key: ModelKey,
        size_bytes: float | None,
        measured: Speed,
        most: Speed = UNTOLD,
    ) -> None:
        """One answer was measured; ``most`` as in ``policy.speeds.learnt``."""
        pace, effort = self._paces.get(host, UNMEASURED), self.efforts.get(key, UNMEASURED)
        pace, known = learnt(pace, effort, size_bytes or USUAL_BYTES, measured, most)
        self._paces[host] = pace
        if known != effort:
            self.efforts = {**self.efforts, key: known}

    def pace(self, host: HostName) -> Pace:
        """The host's own; of one never measured the fastest there is."""
        own = self._paces.get(host, UNMEASURED)
        if own.prefill and own.decode:
            return own
        best = fastest(self._paces.values())
        return Pace(own.prefill or best.prefill, own.decode or best.decode)


class History:
    """One host's measurements."""

    def __init__(
        self,
        speeds: Mapping[ModelKey, Speed],
        load_bytes_per_s: float | None,
        host: HostName = _SOMEWHERE,
        yardstick: Yardstick | None = None,
        answers: Mapping[ModelKey, Sequence[float]] | None = None,
    ) -> None:
        self.rates: defaultdict[ModelKey, deque[float]] = defaultdict(
            lambda: deque(maxlen=KEPT_RATES)
        )
        """Tokens a second of each model's newest answers, by whichever copy."""
        for key, rates in (answers or {}).items():
            self.rates[key].extend(rates)
        self.speeds = speeds
        """By model; replaced, never changed, when something new is measured."""
        self.load_bytes_per_s = load_bytes_per_s
        """Over all loads."""
        self.yardstick = yardstick or Yardstick()
        """The whole fleet's."""
        self._host = host
        self._earlier = dict(speeds)
        """Measured before the start, and not told to the yardstick yet."""

    def found(self, models: Mapping[ModelKey, Model]) -> None:
        """The host's disk was read: what was measured before the start has sizes now."""
        for key in self._earlier.keys() & models.keys():
            size_bytes = models[key].size_bytes
            self.yardstick.learn(self._host, key, size_bytes, self._earlier.pop(key))

    def learn(
        self, record: LoadRecord | SpeedRecord, model: Model | None = None, most: Speed = UNTOLD
    ) -> None:
        """One load or one answer finished, with the model as the host knows it."""
        if isinstance(record, LoadRecord):
            self.load_bytes_per_s = blend(self.load_bytes_per_s, load_rate(record))
            measured = Speed(load_s=record.seconds)
        else:
            measured = speed_of_answer(record)
            size_bytes = model.size_bytes if model is not None else None
            self.yardstick.learn(self._host, record.model_key, size_bytes, measured, most)
        known = self.speeds.get(record.model_key, UNTOLD)
        self.speeds = {**self.speeds, record.model_key: blend_speed(known, measured)}

    def expected_rates(self, model: Model) -> tuple[float, float]:
        """As ``policy.speeds.expected_rates``, here."""
        yardstick = self.yardstick
        return rates_by(self.speeds, yardstick.pace(self._host), yardstick.efforts, model)

    def load_s(self, key: ModelKey, model: Model | None) -> tuple[float, LoadBasis]:
        """Seconds a load takes here, and what that rests on."""
        size_bytes = model.size_bytes if model is not None else None
        measured_s = self.speeds.get(key, UNTOLD).load_s
        return load_seconds(measured_s, self.load_bytes_per_s, size_bytes)
