"""What a simulated host is made of: models on its disk and the machine's properties."""

from dataclasses import dataclass
from typing import Literal

from bot.sim.answers import AnswerScript, default_answer

ModelKind = Literal["llm", "vlm", "embedding"]
Generation = Literal["0.3", "0.4"]
OverflowAnswer = Literal["status", "event"]
ReasoningStyle = Literal["reasoning_content", "reasoning", "inline"]
Prefill = Literal["continued", "refused", "echoed", "thought"]

GB = 1_000_000_000


@dataclass(frozen=True, slots=True)
class SimModel:
    """One model on a simulated host's disk."""

    key: str
    size_bytes: int
    kind: ModelKind = "llm"
    max_context_length: int = 32768
    display_name: str | None = None
    vision: bool = False
    tool_use: bool = False
    reasoning: bool = False
    prefill: Prefill = "continued"
    """What comes of a chat that ends with words of the assistant: they are gone on from; its
    template refuses them; they are said once more first (LM Studio's tracker, bugs 2041, 2058); or
    there are thoughts about them and no word.
    """
    architecture: str = "llama"
    quantization: str = "Q4_K_M"
    tokens_per_s: float | None = None
    """Its own speed; None takes the host's."""
    prefill_tokens_per_s: float | None = None

    @property
    def is_embedding(self) -> bool:
        """Whether it belongs to the embedding namespace."""
        return self.kind == "embedding"

    @property
    def sees(self) -> bool:
        """Whether it accepts pictures."""
        return self.vision or self.kind == "vlm"


@dataclass(frozen=True, slots=True)
class SimHostConfig:
    """One simulated LM Studio machine. All times and speeds are multiplied by `time_scale`."""

    name: str = "sim"
    models: tuple[SimModel, ...] = ()
    memory_bytes: int = 64 * GB
    load_bytes_per_s: float = 2.0 * GB
    tokens_per_s: float = 60.0
    prefill_tokens_per_s: float = 1500.0
    parallel: int = 4
    """Slots per instance on 0.4; a 0.3 host always has one."""
    generation: Generation = "0.4"
    responses: bool = True
    """Has `/v1/responses`: LM Studio since 0.3.29."""
    jit: bool = True
    """Load on demand over REST; also makes `/v1/models` list the whole disk."""
    auto_evict: bool = True
    """LM Studio's "only keep last JIT loaded model"."""
    token: str | None = None
    """`sk-lm-<8>:<20>`; None lets everybody in."""
    sockets: bool = True
    """False: WebSockets are closed to us and only REST works."""
    time_scale: float = 1.0
    """Real seconds per simulated second; 0 is as fast as possible, and idle instances never age."""
    port: int = 0
    default_context_length: int = 4096
    """Context of a load that does not say one."""
    context_bytes_per_token: int = 0
    """Memory per token of context, beside the model's size."""
    reasoning_style: ReasoningStyle = "reasoning_content"
    overflow: OverflowAnswer = "status"
    """A stream's prompt is too long: HTTP 400, or an error event after 200 as newer versions do."""
    answer: AnswerScript = default_answer

    @property
    def slots(self) -> int:
        """Concurrent predictions of one instance: LM Studio before 0.4 does one at a time."""
        return 1 if self.generation == "0.3" else self.parallel
