"""What a simulated provider is made of: its wire, its models and their prices."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bot.sim.answers import AnswerScript, default_answer

WireKind = Literal["zai", "openai", "anthropic", "generic"]
Thinking = Literal["never", "switch", "always"]
UsageStyle = Literal["extra", "finish", "every", "none"]
ReasoningField = Literal["reasoning", "reasoning_content", "inline"]
Plan = Literal["general", "coding"]

_TOKENS_PER_PRICE = 1_000_000


@dataclass(frozen=True, slots=True)
class SimPrice:
    """Integers of micro-dollars per million tokens."""

    input: int = 0
    output: int = 0
    cached: int | None = None
    """Of prompt tokens read from the cache; None costs as much as any other."""

    def cost_micro_usd(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int) -> int:
        """Return the cost of a request, rounded up once; cached tokens are part of the prompt."""
        cached_price = self.input if self.cached is None else self.cached
        total = (prompt_tokens - cached_tokens) * self.input
        total += cached_tokens * cached_price + completion_tokens * self.output
        return -(-total // _TOKENS_PER_PRICE)


@dataclass(frozen=True, slots=True)
class SimProviderModel:
    """One model a provider sells."""

    key: str
    price: SimPrice = SimPrice()
    window: int = 200_000
    max_output: int = 128_000
    thinking: Thinking = "never"
    """``switch`` thinks unless told not to, ``always`` refuses to be told."""
    efforts: tuple[str, ...] = ()
    """Values of its effort parameter; empty takes none."""
    takes_sampling: bool = True
    takes_prefill: bool = False
    """Anthropic: the last turn may be the assistant's."""
    reply_name: str | None = None
    """The name a reply gives, where it is not the asked one."""


@dataclass(frozen=True, slots=True)
class SimProviderConfig:
    """One simulated provider. All times and speeds are multiplied by `time_scale`."""

    wire: WireKind = "openai"
    name: str = ""
    """As answers call it; empty is ``simulated-`` and the wire."""
    key: str = "sim-key"
    models: tuple[SimProviderModel, ...] = ()
    """Empty is the catalogue of the wire."""
    plan: Plan = "general"
    """Z.AI: the endpoint the key is for; the other one says there is no balance."""
    usage: UsageStyle = "extra"
    """Generic only: where counts come."""
    reasoning: ReasoningField = "reasoning"
    """Generic only: how reasoning comes."""
    max_concurrent: int | None = None
    """Requests for one model at once; more are refused, as Z.AI does (1302)."""
    cache_from_tokens: int | None = 1024
    """Shortest repeated beginning of a prompt that counts as cached; None caches nothing."""
    first_token_s: float = 0.4
    tokens_per_s: float = 80.0
    time_scale: float = 1.0
    """Real seconds per simulated second; 0 is as fast as possible."""
    port: int = 0
    journal_path: Path | None = None
    """A JSON-lines file to which every request is appended when it has ended."""
    answer: AnswerScript = default_answer

    @property
    def display_name(self) -> str:
        """The name answers give."""
        return self.name or f"simulated-{self.wire}"
