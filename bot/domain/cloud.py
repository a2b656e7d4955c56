"""What routing needs to know of a cloud provider at one moment."""

from dataclasses import dataclass

from bot.domain.ids import ModelKey, ProviderName


@dataclass(frozen=True, slots=True)
class ProviderSnapshot:
    """One provider as a routing decision sees it; advises, never gates."""

    name: ProviderName
    model: ModelKey
    is_serving: bool
    reason: str = ""
    """Why it is out: breaker open, no key, budget spent."""
    quality: int = 5
    first_token_s: float | None = None
    """Measured, or None."""
    cost_micro_usd: int | None = None
    """Worst case of this request; None when the price is unknown."""
    context_length: int | None = None
    vision: bool = False
