"""What is known of LAN hosts: models on disk, instances in memory, and work under way."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Literal

from bot.domain.ids import HostName, InstanceId, InstanceRef, ModelKey
from bot.domain.personas import LoadSettings, Priority
from bot.domain.values import value

ModelKind = Literal["llm", "vlm", "embedding"]


Interface = Literal["SDK socket", "/api/v1", "/api/v0", "/v1"]
"""The richest interface a host answered on, best first."""


Purpose = Literal["question", "order", "hint", "ahead"]
"""Why a model is wanted: to answer now; because a person or a setting wants it in memory; because
somebody seems about to ask; because that is likely by what was asked of late."""
GUESSES = frozenset[Purpose]({"hint", "ahead"})
"""Nobody waits for these, so that they take nothing of anybody."""
HostState = Literal["unknown", "up", "down", "asleep", "waking", "draining"]
"""Whether a host may serve.

``unknown``: not probed yet;
``asleep``: it does not answer, and can be woken;
``waking``: it is being woken;
``draining``: up, but told by an admin to take no new turns.
"""


AWAY: frozenset[HostState] = frozenset({"unknown", "down", "asleep", "waking"})
"""Nothing is known of what such a host has in memory."""


@value
class Model:
    """One model on a host's disk (*available*), whether or not it is in memory."""

    key: ModelKey
    kind: ModelKind = "llm"
    display_name: str = ""
    size_bytes: int | None = None
    """File size; not what it takes in memory."""
    max_context_length: int | None = None
    vision: bool = False
    tool_use: bool = False
    reasoning: bool = False
    architecture: str = ""
    quantization: str = ""
    weights_bytes: int | None = None
    """What it takes in memory before any context, as the host estimates it; None while untold."""
    token_bytes: float | None = None
    """What each token of its context takes beside, likewise."""


@value
class Instance:
    """One loaded copy of a model (*resident*)."""

    identifier: InstanceId
    model_key: ModelKey
    reference: InstanceRef | None = None
    """None where the host's interface does not tell it (REST only)."""
    context_length: int | None = None
    parallel: int | None = None
    """Concurrent requests it takes, when the host says so."""
    size_bytes: int | None = None
    weights_bytes: int | None = None
    token_bytes: float | None = None
    """As its model's, so that a copy counts in memory by what its load was allowed by."""
    kind: ModelKind = "llm"
    own: bool = False
    """Loaded by Lantern; False is foreign and never unloaded unless told to."""
    pinned: bool = False
    leases: int = 0
    reading: int = 0
    """Of these, still without the first word of their answer."""
    answers_since: tuple[float, ...] = ()
    """Monotonic seconds at which each of these was granted, as far as that is known."""
    idle_since: float | None = None
    """Monotonic seconds since when no lease holds it; None while leased."""
    idle_ttl_s: float | None = None
    """Seconds it may rest; None means never evicted by time."""
    last_used: int | None = None
    """By the host's own clock; only a change means something."""
    net_ttl_s: int | None = None
    """LM Studio's own TTL it was loaded with; None where there is none, or it is not told."""
    slowdown: float = 1.0
    """How many times slower it writes than its model usually does there; 1.0 as usual."""
    spared_until: float = 0.0
    """Monotonic seconds; it would not leave, or works for others, and is left in peace so long."""
    conversations: tuple[str, ...] = ()
    """Whose words its slots read last, as far as they came through Lantern: one a slot."""
    is_kept_free: bool = False
    """It takes no new turns: another model waits for its room."""
    missed_s: float = 0.0
    """Seconds its eviction is expected to cost those who will ask for it; see ``policy.demand``."""
    awaited_until: float = 0.0
    """Monotonic seconds; so long it makes way only for what somebody asks for, for no guess."""


@value
class Report:
    """What one probe of a host found."""

    interface: Interface
    version: str = ""
    models: Mapping[ModelKey, Model] = field(default_factory=dict[ModelKey, Model])
    residents: tuple[Instance, ...] = ()
    """As the host lists them: of owner, leases and rest it knows nothing."""
    lists_only_loaded: bool | None = None


@value
class LoadInFlight:
    """A load under way on a host."""

    model_key: ModelKey
    fraction: float
    """0.0 to 1.0, as the host reports it."""
    started_at: float
    """Monotonic seconds."""
    expected_s: float | None
    """Whole expected duration, from this host and model's own history; None when unknown."""
    waiters: int = 1
    told_at: float | None = None
    """When the host reported the fraction, in monotonic seconds; None: just now. Of one that is
    held, when whoever holds it last gave a sign of life."""
    gap_s: float = 0.0
    """The longest between two of its reports so far."""
    is_guess: bool = False
    """Nobody has asked for it: it is given up as soon as somebody needs another load."""
    is_stopping: bool = False
    """It was told to end: it serves nobody any more."""
    is_held: bool = False
    """It has not begun: a load begun before is waited for, another Lantern's or a lost one."""


@value
class LoadHolder:
    """Another process on the database, which loads at a host."""

    pid: int | None
    """Its number; None where it left no word of itself."""
    sign: int | None
    """Changes every second while it turns; None where it gives no such sign."""


@value
class Speed:
    """Measured behaviour of one model on one host (exponential averages)."""

    load_s: float | None = None
    prefill_tokens_per_s: float | None = None
    tokens_per_s: float | None = None
    turn_s: float | None = None
    """How long one answer holds its slot."""


@value
class Pace:
    """The work a host does in a second, or one token of a model asks for; see ``policy.speeds``."""

    prefill: float | None = None
    """Reading a prompt; None where nothing was measured."""
    decode: float | None = None
    """Writing an answer; likewise."""


@value
class LoadLimits:
    """What a host taught about loading one model."""

    usual_context: int | None = None
    """Tokens it loads the model with when nothing is said; None when never seen."""
    most_context: int | None = None
    """Tokens it gave when more was asked for; None while it gave what was asked."""
    refusal: str = ""
    """Why it refused the newest load for lack of memory: one more must leave before the retry."""
    is_retried: bool = False
    """The one more has left: the next refusal is final, unless ours are in use there."""
    failure: str = ""
    """Why its newest load failed, in words for people; empty once it was in memory again."""
    failed_until: float = -math.inf
    """Monotonic seconds: until then it is loaded for nobody."""


Together = frozenset[tuple[ModelKey, int | None, int]]
"""What is in memory at once: model keys with their context, and which copy of it each is."""


@value
class HostSnapshot:
    """Everything known of one host at one moment; may be stale, so it advises and never gates."""

    name: HostName
    address: str
    """``address:port``."""
    state: HostState = "unknown"
    reason: str = ""
    """Why it is in this state, in words for people."""
    is_in_doubt: bool = False
    """It failed once, or came by less than it may serve, and the probe under way decides."""
    interface: Interface | None = None
    version: str = ""
    lists_only_loaded: bool | None = None
    """True when ``/v1/models`` lists only what is in memory (JIT off); None when unknown."""
    away_since: float | None = None
    """Monotonic seconds; None while it is there, or nobody has looked yet."""
    silent_since: float | None = None
    """Monotonic seconds; since when it has told nothing though it was asked, while it works on what
    it was sent. It may read a long prompt, or hang."""
    next_probe_at: float | None = None
    """Monotonic seconds; when it is looked at next though nobody asks, while it is away."""
    needs_token: bool = False
    """It wants a token that it was not given, or not the right one."""
    has_token: bool = False
    """A token is configured for it."""
    models: Mapping[ModelKey, Model] = field(default_factory=dict[ModelKey, Model])
    instances: tuple[Instance, ...] = ()
    load: LoadInFlight | None = None
    waiting: Mapping[ModelKey, int] = field(default_factory=dict[ModelKey, int])
    """Who waits for a slot or a load, by model; a guess keeps nobody waiting."""
    memory_bytes: int | None = None
    """The memory budget for models, when configured."""
    ceiling_bytes: int | None = None
    """What it refused to hold together, learnt from a refused load; others may have had a part."""
    held: tuple[Together, ...] = ()
    """What it was seen to hold together: any part of it fits, whatever a formula says."""
    refused: tuple[Together, ...] = ()
    """What it refused to hold together of late: nor does it hold more than that."""
    max_loaded: int | None = None
    evict_foreign: bool = False
    """Instances loaded by others may be evicted too."""
    limits: Mapping[ModelKey, LoadLimits] = field(default_factory=dict[ModelKey, LoadLimits])
    """Learnt from its loads."""
    slots: int = 5
    """Replies generated at once per instance when the host does not say."""
    weight: float = 1.0
    wake_s: float | None = None
    """How long it takes to wake, where it can be woken; measured once it was."""
    woken_at: float | None = None
    """Monotonic seconds; when its waking began, while it goes on."""
    drained_until: float | None = None
    """Monotonic seconds; infinite where only somebody's word ends the drain, None without one."""
    load_bytes_per_s: float | None = None
    """Measured over all loads of this host."""
    speeds: Mapping[ModelKey, Speed] = field(default_factory=dict[ModelKey, Speed])
    pace: Pace = Pace()
    """Over all models measured here; until there is one, as fast as the fastest host."""
    efforts: Mapping[ModelKey, Pace] = field(default_factory=dict[ModelKey, Pace])
    """What one token of each model asks for, learnt on all hosts."""
    failures: int = 0
    """Consecutive failures; 0 when healthy."""

    @property
    def is_serving(self) -> bool:
        """May new turns go here at once?"""
        return self.state == "up"

    @property
    def tells(self) -> bool:
        """Is it there, and does it say how it stands?"""
        return self.state not in AWAY and self.silent_since is None

    @property
    def loaded(self) -> tuple[Instance, ...]:
        """What is in its memory now: nothing anybody knows of while it is away.

        ``instances`` is what was last seen, which predictions and a host that is back begin with.
        """
        return () if self.state in AWAY else self.instances

    def has_loaded(self, key: ModelKey) -> bool:
        """Is a copy of the model in its memory now?"""
        return any(instance.model_key == key for instance in self.loaded)

    @property
    def is_undecided(self) -> bool:
        """Will a probe that is under way tell whether it serves?"""
        return self.state == "unknown" or self.is_in_doubt


@value
class HostConfig:
    """One host as its owner configured it."""

    name: HostName
    address: str
    """``address:port``, no scheme."""
    memory_bytes: int | None = None
    max_loaded: int | None = None
    token: str | None = field(default=None, repr=False)
    """LM Studio API token, ``sk-lm-xxxxxxxx:xxxxxxxxxxxxxxxxxxxx``."""
    slots: int = 5
    weight: float = 1.0
    max_waiting: int = 500
    """Turns that may wait there at once; more are refused."""
    wake_mac: str | None = None
    """Of its network card, ``00:1a:2b:3c:4d:5e``; None where it cannot be woken."""


@value
class FleetSnapshot:
    """All hosts at one moment. ``taken_at`` is monotonic seconds."""

    hosts: Mapping[HostName, HostSnapshot]
    taken_at: float

    def holders(self, key: ModelKey) -> tuple[HostSnapshot, ...]:
        """Hosts that have the model on disk or in memory, whatever their state."""
        return tuple(
            host
            for host in self.hosts.values()
            if key in host.models or any(i.model_key == key for i in host.instances)
        )


@value
class Wish:
    """What a turn needs of a host: an instance of this model with at least this much context."""

    model_key: ModelKey
    load: LoadSettings = field(default_factory=LoadSettings)
    min_context: int = 0
    """Tokens the transcript and its answer need; 0 when anything will do."""
    idle_ttl_s: float | None = 1800.0
    """How long an instance loaded for this wish may rest; None means it is kept loaded."""
    user: str = ""
    """Who asks, so that users take turns; any opaque string."""
    max_wait_s: float | None = None
    """Longest the asker will wait for the grant; None waits for ever."""
    priority: Priority = "normal"
    since: float | None = None
    """From when on its asker waited at other hosts, monotonic seconds; None where nowhere."""
    conversation: str = ""
    """Whose words are read, so that its next turn finds them read; empty where nobody can tell."""
    purpose: Purpose = "question"
    replaces: bool = False
    """Ordered by hand with settings of its own: it takes the place of copies at rest that are too
    small for it, however lately somebody ordered those."""


@value
class Demand:
    """Who asks for one model, as of a moment; everything fades from there on: ``policy.demand``."""

    begun: float = 0.0
    """Conversations begun of late."""
    resting: float = 0.0
    """Conversations that may go on."""
    at: float = 0.0
    """Monotonic seconds."""
    wish: Wish | None = None
    """The newest, as it was asked."""
    most_context: int = 0
    """The largest that anybody needed of late, in tokens."""
    most_at: float = 0.0
    """When that was."""


@value
class LoadOrder:
    """One load, decided: what is put in memory and how."""

    model_key: ModelKey
    kind: ModelKind
    settings: LoadSettings
    ttl_s: int | None
    """Given to LM Studio, which unloads by it when Lantern is dead; None means never."""
    idle_ttl_s: float | None
    """After how long at rest Lantern evicts it itself."""


@value
class OwnInstance:
    """What must survive a restart to tell an own instance from a foreign one."""

    host: HostName
    reference: InstanceRef
    identifier: InstanceId
    model_key: ModelKey
    idle_ttl_s: float | None
    pinned: bool = False


@value
class Drain:
    """An admin's word that a host is given back to its owner, or that it is over."""

    host: HostName
    is_on: bool = True
    left_s: float | None = None
    """After so long it ends by itself; None goes on until somebody ends it."""


@value
class LoadBegun:
    """A load is about to be commanded, or is over: should Lantern die meanwhile, it is known."""

    host: HostName
    model_key: ModelKey
    ttl_s: int
    """As in ``LoadOrder``: by it the instance is told from others' afterwards."""
    idle_ttl_s: float | None
    is_over: bool = False
    age_s: float = 0.0
    """How long ago that was, when it is read again."""


@value
class WakeRecord:
    """A host was woken, and how long that took until it answered."""

    host: HostName
    seconds: float


@value
class LoadRecord:
    """One finished load, for the history that predicts the next."""

    host: HostName
    model_key: ModelKey
    seconds: float
    size_bytes: int | None


@value
class SpeedRecord:
    """One finished answer's measured speeds on a host."""

    host: HostName
    model_key: ModelKey
    prompt_tokens: int
    """Read by the machine with nothing beside; 0 where nobody can tell, or it did other work."""
    completion_tokens: int
    """Written with nothing beside; 0 likewise."""
    first_token_s: float
    """From sending the request to the first delta; to its end where it came as a whole."""
    generation_s: float
    """From the first delta to the last; 0 where it came as a whole."""
    predicted_s: float | None = None
    """What was told of it: from the question to the first word; None where nothing was."""
    waited_s: float | None = None
    """What came of that."""


@value
class FleetMemory:
    """What the store remembered of the fleet from before a restart."""

    own: tuple[OwnInstance, ...] = ()
    speeds: Mapping[tuple[HostName, ModelKey], Speed] = field(
        default_factory=dict[tuple[HostName, ModelKey], Speed]
    )
    rates: Mapping[HostName, float] = field(default_factory=dict[HostName, float])
    """Measured load speed by host, bytes per second."""
    answers: Mapping[tuple[HostName, ModelKey], Sequence[float]] = field(
        default_factory=dict[tuple[HostName, ModelKey], Sequence[float]]
    )
    """Tokens a second of the newest answers of each model on each host, oldest first."""
    wakes: Mapping[HostName, float] = field(default_factory=dict[HostName, float])
    """How long hosts take to wake, in seconds."""
    begun: tuple[LoadBegun, ...] = ()
    """Loads that were under way when Lantern died a moment ago."""
    drains: tuple[Drain, ...] = ()
    """Those that are not over."""
