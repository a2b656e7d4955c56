"""What one host taught about loading: the contexts it gives, and the loads it refused."""

from collections.abc import Mapping

from bot.domain.hosts import LoadOrder, Model, Wish
from bot.domain.ids import ModelKey


class LoadLimits:
    """Learnt from loads as they end; asked before the next."""

    def __init__(self) -> None:
        self._usual: dict[ModelKey, int] = {}
        """Context a model was loaded with when nothing was said."""
        self._most: dict[ModelKey, int] = {}
        """Context that was given when more was asked for."""
        self._refusals: dict[ModelKey, str] = {}
        """Loads refused for lack of memory: one more must leave before the retry."""
        self._retried: set[ModelKey] = set()

    def usual_context(self, key: ModelKey) -> int | None:
        """What the host loads a model with when nothing is said; None when never seen."""
        return self._usual.get(key)

    def need(self, wish: Wish, models: Mapping[ModelKey, Model]) -> int:
        """The context a wish needs, as far as this host can give it."""
        key, need = wish.model_key, wish.min_context
        model = models.get(key)
        if model is not None and model.max_context_length is not None:
            need = min(need, model.max_context_length)
        return min(need, self._most.get(key, need))

    def loaded(self, order: LoadOrder, context: int | None) -> None:
        """A load ended well; ``context`` is what the instance has, when the host tells."""
        self.forgive(order.model_key)
        asked = order.settings.context_length
        if context is None:
            return
        if asked is None:
            self._usual[order.model_key] = context
        elif context < asked:
            self._most[order.model_key] = context

    def refusal(self, key: ModelKey) -> str | None:
        """The host's reason, when one more must leave before the load is tried again."""
        return self._refusals.get(key)

    def refused(self, key: ModelKey, reason: str) -> bool:
        """The host refused a load for lack of memory. False when it was the retry already."""
        if key in self._retried:
            return False
        self._refusals[key] = reason
        return True

    def made_room(self, key: ModelKey) -> None:
        """Something leaves for this load; after a refusal that is the one more, once."""
        if self._refusals.pop(key, None) is not None:
            self._retried.add(key)

    def forgive(self, key: ModelKey) -> None:
        """Past refusals of this load count no more."""
        self._refusals.pop(key, None)
        self._retried.discard(key)

    def refused_keys(self) -> tuple[ModelKey, ...]:
        """Models with a refusal still remembered."""
        return tuple({*self._refusals, *self._retried})
