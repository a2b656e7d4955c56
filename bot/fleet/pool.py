"""Records of models that all hosts of a fleet share: a LAN keeps the same files on many disks."""

from collections.abc import Mapping

from bot.domain.hosts import Model
from bot.domain.ids import ModelKey
from bot.policy.index import shared_models

MOST_MODELS = 20_000
"""Remembered at once; beyond it all are forgotten, which costs later hosts their sharing."""


class ModelPool:
    """Owned by the fleet; holds nothing but what it may forget."""

    def __init__(self) -> None:
        self._known: dict[Model, Model] = {}

    def shared(self, models: Mapping[ModelKey, Model]) -> Mapping[ModelKey, Model]:
        """The same inventory, made of records other hosts hold where those are equal."""
        if len(self._known) > MOST_MODELS:
            self._known.clear()
        return shared_models(models, self._known)
