"""A persona: name, system prompt, model, sampling, load settings and privacy."""

from dataclasses import field
from typing import Literal

from bot.domain.ids import AUTO, ModelKey, PersonaName, ProviderName, UserId
from bot.domain.values import value

PersonaScope = Literal["me", "server", "all"]
"""For whom a persona made in a chat is: its maker, a server, or everybody this Lantern answers."""

Priority = Literal["high", "normal", "low"]
"""How urgent a question is, in the lines of hosts and providers."""


@value
class Sampling:
    """Generation parameters; None leaves the host's own default."""

    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    stop: tuple[str, ...] = ()


@value
class LoadSettings:
    """How a model is put in memory; None leaves the host's saved default."""

    context_length: int | None = None
    gpu: float | Literal["max", "off"] | None = None
    """Share of layers on the GPU, 0.0 to 1.0, or a word."""
    flash_attention: bool | None = None
    cpu_threads: int | None = None
    rope_frequency_base: float | None = None
    rope_frequency_scale: float | None = None
    num_experts: int | None = None
    kv_cache_quant: str | None = None
    """For both K and V: ``f32``, ``f16``, ``q8_0``, ``q5_0``, ``q5_1``, ``q4_0``, ``q4_1``..."""


@value
class BookEntry:
    """Words that join the prompt while one of their keys is being said; names as cards have them.

    With ``selective``, one of ``secondary_keys`` must be said as well.
    """

    keys: tuple[str, ...] = ()
    content: str = ""
    secondary_keys: tuple[str, ...] = ()
    enabled: bool = True
    constant: bool = False
    """Joins whatever is said."""
    selective: bool = False
    case_sensitive: bool = False
    whole_words: bool = True
    """``cat`` is not said in ``concatenate``; for keys of writing systems that part words."""
    use_regex: bool = False
    """Its keys are patterns. Those are kept and never run: a stranger's can take for ever."""
    insertion_order: int = 100
    """Lower stands higher in the prompt."""
    priority: int = 0
    """Where the budget is too small, the lowest are left out first."""
    position: Literal["before_char", "after_char"] = "before_char"


@value
class Book:
    """What a character knows, brought in by keywords; None leaves a number to Lantern."""

    entries: tuple[BookEntry, ...] = ()
    scan_depth: int | None = None
    """So many of the newest messages are looked through for keys."""
    token_budget: int | None = None
    recursive_scanning: bool = False
    """Keys are looked for in the entries that joined, too."""


@value
class Character:
    """Who a persona plays, as character cards tell it."""

    name: str = ""
    """What ``{{char}}`` stands for; empty: the persona's own name."""
    description: str = ""
    personality: str = ""
    scenario: str = ""
    examples: str = ""
    """Sample talks, each after a line ``<START>``."""
    post_history: str = ""
    """Said behind the newest message."""
    greetings: tuple[str, ...] = ()
    """Others than the persona's first."""
    book: Book = field(default_factory=Book)


@value
class Persona:
    """Who answers, with which model, how, and where the words may go."""

    name: PersonaName
    description: str = ""
    model: ModelKey = AUTO
    """``auto`` takes whatever model can answer soonest."""
    alternatives: tuple[ModelKey, ...] = ()
    """Other local models, in order; empty means none."""
    cloud: tuple[ProviderName, ...] | None = None
    """This persona's own provider order; empty means never; None uses the configured order."""
    local_only: bool = False
    system_prompt: str = ""
    character: Character = field(default_factory=Character)
    greeting: str = ""
    avatar: str = ""
    request_type: str | None = None
    priority: Priority = "normal"
    """Of questions to it, where they wait with others."""
    sampling: Sampling = field(default_factory=Sampling)
    load: LoadSettings = field(default_factory=LoadSettings)
    keep_loaded: bool = False
    idle_ttl_s: float | None = None
    """Seconds the model may rest; None uses the configured eviction TTL."""
    source: str = "built in"
    """Where it was read from, for people: a file name, ``Discord``, ``built in``."""
    maker: UserId | None = None
    """Who wrote its texts in a chat; None of a file's, which are its owner's."""

    @property
    def is_private(self) -> bool:
        """Do all words with it stay on the LAN?"""
        return self.local_only or self.cloud == ()


@value
class Made:
    """A persona that somebody made in a chat."""

    persona: Persona
    """Its name ends in a mark that is never given again: ``sage#0123abcd``."""
    scope: PersonaScope
    owner: str
    """The person or the server it belongs to; empty for everybody's."""
    maker: UserId
    version: int
    """Rises with each change."""
