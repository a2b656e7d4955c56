"""One turn as a stream of events; every face consumes the same union and matches it fully."""

from typing import Literal

from bot.domain.chat import Candidate, Receipt, Route, Usage
from bot.domain.errors import BotError
from bot.domain.ids import HostName, InstanceId, ModelKey, PersonaName, ProviderName, TurnId
from bot.domain.values import value

# --- deltas: what one endpoint sends -------------------------------------------------------


@value
class TextDelta:
    """A piece of the answer."""

    text: str


# A class of its own, though only the name differs: a face that forgot to ask for a kind would
# show a model's thoughts as its answer.
@value
class ReasoningDelta:
    """A piece of the reasoning; never shown in the reply itself."""

    text: str


# A stream that just stops looks whole to whoever waits for no mark: servers that die in the middle
# close the line properly, too.
@value
class StreamEnd:
    """The end mark came: the answer is whole."""

    finish: str
    """``stop``, ``length`` or ``refused``."""
    usage: Usage
    model: str
    """The model named by the reply."""


@value
class Silence:
    """In the middle of an answer nothing came for a while; it may still go on."""

    seconds: float


Delta = TextDelta | ReasoningDelta | Silence | StreamEnd

# --- progress: what a host says before a lease is granted -----------------------------------


@value
class Queued:
    """Waiting for a place: at a host, for the load of something else too; or at a provider."""

    where: HostName | ProviderName | None
    """None is behind answers that it goes on from."""
    model: ModelKey
    position: int
    """1 is next."""
    seconds: float | None = None
    """Until its turn, from who is ahead and how long answers take there; None when unknown."""
    finishing: ModelKey | None = None
    """Whose answer is being finished first; None where nothing is running there."""


@value
class Evicting:
    """Idle models leave memory to make room."""

    host: HostName
    model: ModelKey
    evicted: tuple[ModelKey, ...]


@value
class Loading:
    """The model is being loaded."""

    host: HostName
    model: ModelKey
    fraction: float
    """0.0 to 1.0, never decreasing within one load."""
    seconds_left: float | None
    """From this host and model's own history; None when unknown."""
    elapsed_s: float = 0.0
    waiters: int = 1
    usual_s: float | None = None
    """How long this load takes by its history, where this one takes notably longer; else None."""
    stands_s: float | None = None
    """So long it has told of no progress, where that is notably longer than between its reports so
    far; else None. Nobody knows then how long is left. Of one that is held: so long whoever holds
    it gave no sign of life."""
    is_held: bool = False
    """As in ``LoadInFlight``."""


@value
class Waking:
    """The host sleeps and is being woken."""

    host: HostName
    model: ModelKey
    seconds_left: float
    """From how long it took before, else assumed; 0 when it takes longer."""


Progress = Queued | Evicting | Loading | Waking

# --- a turn --------------------------------------------------------------------------------


@value
class Started:
    """The turn is stored and a persona and model were chosen."""

    turn: TurnId
    persona: PersonaName
    model: ModelKey
    reason: str


@value
class Routed:
    """The route was decided."""

    route: Route


Way = Literal["wait", "warm", "cloud"]
"""What an asker may choose while a slow model loads."""


@value
class Offered:
    """The wanted model is cold and slow here; until the first word something else may be chosen.

    The load goes on meanwhile. ``Turns.choose`` takes a way.
    """

    turn: TurnId
    here: Candidate
    """What is being waited for."""
    warm: Candidate | None
    """A model in memory that could answer at once."""
    cloud: Candidate | None

    @property
    def ways(self) -> tuple[Way, ...]:
        """Those that are open beside waiting."""
        warm: tuple[Way, ...] = () if self.warm is None else ("warm",)
        return warm if self.cloud is None else (*warm, "cloud")

    def without(self, way: Way) -> "Offered | None":
        """With one way less; None where only waiting is left."""
        warm = None if way == "warm" else self.warm
        cloud = None if way == "cloud" else self.cloud
        return Offered(self.turn, self.here, warm, cloud) if warm or cloud else None


@value
class Reading:
    """The request was sent; the model reads the prompt. The words that follow are its own."""

    candidate: Candidate
    prompt_tokens: int
    """Estimated."""
    expected_s: float | None
    """From measured prefill speed; None when unknown."""
    doubt_s: float | None = None
    """So long without a word is no reading any more; None of a provider, which is not doubted."""


@value
class FellBack:
    """A candidate failed before its first word; the next one is tried."""

    failed: Candidate
    reason: str


@value
class Resuming:
    """A host was lost in the middle of the answer: another is asked to go on from its last word.

    What is said of queue, load and reading until the next word is of that one.
    """

    lost: HostName
    candidate: Candidate


@value
class Notice:
    """Something the person should know that stops nothing."""

    text: str
    is_passing: bool = False
    """It is true of this moment alone, as how things stand; whatever comes next takes its place."""


@value
class Finished:
    """The answer is whole and stored."""

    turn: TurnId
    receipt: Receipt


@value
class Stopped:
    """The answer was stopped by the asker or broke after its first word; its text is kept."""

    turn: TurnId
    receipt: Receipt
    reason: str
    by_asker: bool


# Apart from Stopped: that one has words worth keeping, this one has an error worth telling.
@value
class Failed:
    """No answer: what happened, what was tried, what to do."""

    turn: TurnId | None
    """None when the request was refused before anything was stored."""
    error: BotError
    receipt: Receipt | None = None


TurnEvent = (
    Started
    | Routed
    | Queued
    | Evicting
    | Loading
    | Waking
    | Offered
    | Reading
    | FellBack
    | Resuming
    | Notice
    | TextDelta
    | ReasoningDelta
    | Silence
    | Finished
    | Stopped
    | Failed
)

# --- fleet news: for logs, the gateway's events and metrics -----------------------------------

UnloadCause = Literal["evicted", "idle", "admin", "drained", "cancelled", "stray", "elsewhere"]
"""Why an instance left memory; ``elsewhere`` is by somebody else's hand or timer."""


# One class where five differed by name: whoever listens writes them all down alike.
@value
class FleetEvent:
    """One change on a host, said once; of the optional fields those that its kind has are set."""

    what: Literal[
        "host lost",
        "host asleep",
        "host found",
        "host drained",
        "host resumed",
        "model slow",
        "model quick",
        "model loaded",
        "model unloaded",
        "load failed",
    ]
    """``load failed`` also of a load that was cancelled; ``model loaded`` only of an own load."""
    host: HostName
    model: ModelKey | None = None
    reason: str = ""
    instance: InstanceId | None = None
    """Which was loaded or has left."""
    cause: UnloadCause | None = None
    """Of an unload, what ``reason`` says in words."""
    seconds: float | None = None
    """How long the load took; of a drain, when it will end by itself."""
    size_bytes: int | None = None
    interface: str = ""
    version: str = ""
