"""Short ways to say hosts, models, instances and turns, and Hypothesis strategies over them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from random import Random  # noqa: TID251
from typing import TypeVar, get_args

from hypothesis import strategies as st

from bot.domain.chat import Attachment, Place, Receipt, Turn, TurnStatus
from bot.domain.hosts import (
    FleetSnapshot,
    HostSnapshot,
    HostState,
    Instance,
    LoadInFlight,
    LoadLimits,
    Model,
    ModelKind,
    Speed,
)
from bot.domain.ids import HostName, InstanceId, ModelKey, PersonaName, PlaceId, TurnId, UserId

_T = TypeVar("_T")

GB = 1_000_000_000
NOW = 1000.0
QWEN = ModelKey("qwen/qwen3-8b")
GEMMA = ModelKey("google/gemma-3-12b")
EMBED = ModelKey("nomic/embed-text")


def model(
    key: str,
    gb: float | None = 5.0,
    *,
    kind: ModelKind = "llm",
    vision: bool = False,
    context: int | None = 32_768,
) -> Model:
    size = None if gb is None else round(gb * GB)
    return Model(ModelKey(key), kind, size_bytes=size, vision=vision, max_context_length=context)


def instance(
    key: str = QWEN,
    *,
    gb: float | None = 5.0,
    own: bool = True,
    pinned: bool = False,
    leases: int = 0,
    idle_s: float | None = 0.0,
    ttl_s: float | None = 1800.0,
    context: int | None = 8192,
    parallel: int | None = None,
    identifier: str | None = None,
    kind: ModelKind = "llm",
) -> Instance:
    rests = idle_s is not None and not leases
    return Instance(
        InstanceId(identifier or key),
        ModelKey(key),
        context_length=context,
        parallel=parallel,
        size_bytes=None if gb is None else round(gb * GB),
        kind=kind,
        own=own,
        pinned=pinned,
        leases=leases,
        idle_since=NOW - (idle_s or 0.0) if rests else None,
        idle_ttl_s=ttl_s,
    )


def host(
    name: str = "studio-1",
    models: Iterable[Model] = (),
    instances: Iterable[Instance] = (),
    *,
    state: HostState = "up",
    reason: str = "",
    load: LoadInFlight | None = None,
    waiting: Mapping[ModelKey, int] | None = None,
    memory_gb: float | None = None,
    max_loaded: int | None = None,
    slots: int = 4,
    weight: float = 1.0,
    rate: float | None = None,
    speeds: Mapping[ModelKey, Speed] | None = None,
) -> HostSnapshot:
    return HostSnapshot(
        HostName(name),
        f"{name}:1234",
        state=state,
        reason=reason,
        models={m.key: m for m in models},
        instances=tuple(instances),
        load=load,
        waiting=waiting or {},
        memory_bytes=None if memory_gb is None else round(memory_gb * GB),
        max_loaded=max_loaded,
        slots=slots,
        weight=weight,
        load_bytes_per_s=rate,
        speeds=speeds or {},
    )


def fleet(*hosts: HostSnapshot) -> FleetSnapshot:
    return FleetSnapshot({h.name: h for h in hosts}, NOW)


def turn(
    said: str,
    reply: str,
    *,
    user: str = "discord:1",
    name: str = "Ada",
    status: TurnStatus = "done",
    attachments: tuple[Attachment, ...] = (),
    receipt: Receipt | None = None,
) -> Turn:
    return Turn(
        id=TurnId(f"turn of {said}"),
        parent=None,
        user=UserId(user),
        user_name=name,
        place=Place(PlaceId("discord:99")),
        persona=PersonaName("sage"),
        user_text=said,
        reply_text=reply,
        reasoning_text="",
        status=status,
        created_at_ms=0,
        receipt=receipt,
        attachments=attachments,
    )


# --- Hypothesis: drawn from pools made once, so that an example is made in little time -----------

_KEYS = (QWEN, GEMMA, EMBED, ModelKey("big/one-70b"))


def varied(count: int, make: Callable[[Random], _T]) -> list[_T]:
    """Many different ones; the same in every run."""
    rng = Random(20)  # test data: nothing secret, and the same each time
    return [make(rng) for _ in range(count)]


def _any_instance(rng: Random) -> Instance:
    held = rng.choice([(), (), ("ada",), ("ada", "bob")])
    one = instance(
        rng.choice(_KEYS),
        gb=rng.choice([None, 0.1, 1.0, 5.0, 8.0, 60.0, rng.uniform(0.1, 60.0)]),
        own=rng.random() < 0.7,
        pinned=rng.random() < 0.2,
        leases=rng.choice([0, 0, 0, 1, 3]),
        idle_s=rng.choice([None, 0.0, 10.0, 1800.0, rng.uniform(0.0, 3600.0)]),
        ttl_s=rng.choice([None, 0.0, 10.0, 1800.0]),
        context=rng.choice([None, 2048, 4096, 32_768]),
        parallel=rng.choice([None, 1, 4]),
    )
    is_kept_free, missed_s = rng.random() < 0.1, rng.choice([0.0, 0.0, 7.5])
    return replace(one, conversations=held, is_kept_free=is_kept_free, missed_s=missed_s)


def _any_models(rng: Random) -> tuple[Model, ...]:
    kinds: tuple[ModelKind, ...] = ("llm", "llm", "vlm", "embedding")
    return tuple(
        model(
            key,
            rng.choice([None, 0.1, 5.0, 60.0]),
            kind=rng.choice(kinds),
            vision=rng.random() < 0.3,
            context=rng.choice([None, 4096, 32_768]),
        )
        for key in rng.sample(_KEYS, rng.randint(0, 4))
    )


def _any_host(rng: Random) -> HostSnapshot:
    load = LoadInFlight(
        rng.choice(_KEYS),
        rng.choice([0.0, 0.05, 0.5, 1.0]),
        NOW - rng.uniform(0.0, 60.0),
        rng.choice([None, 0.0, 30.0]),
        rng.randint(1, 9),
    )
    return host(
        models=_any_models(rng),
        instances=_distinct(_any_instance(rng) for _ in range(rng.randint(0, 4))),
        state=rng.choice(["up", "up", "up", *get_args(HostState)]),
        load=rng.choice([None, load]),
        waiting={key: rng.randint(0, 9) for key in rng.sample(_KEYS, rng.randint(0, 3))},
        memory_gb=rng.choice([None, 1.0, 16.0, 100.0]),
        max_loaded=rng.choice([None, 1, 4]),
        slots=rng.randint(1, 5),
        weight=rng.choice([0.5, 1.0, 2.0]),
        rate=rng.choice([None, 1e8, 1e10]),
        speeds={key: _any_speed(rng) for key in rng.sample(_KEYS, rng.randint(0, 3))},
    )


def _any_speed(rng: Random) -> Speed:
    return Speed(
        load_s=rng.choice([None, 0.1, 12.0]),
        prefill_tokens_per_s=rng.choice([None, 0.0, 5e-324, 800.0]),
        turn_s=rng.choice([None, 0.1, 60.0]),
    )


def _distinct(drawn: Iterable[Instance]) -> tuple[Instance, ...]:
    return tuple(
        replace(one, identifier=InstanceId(f"{one.identifier}:{n}")) for n, one in enumerate(drawn)
    )


_INSTANCES = varied(200, _any_instance)
_HOSTS = varied(400, _any_host)


def instances() -> st.SearchStrategy[tuple[Instance, ...]]:
    """Any instances of one host; identifiers differ."""
    return st.lists(st.sampled_from(_INSTANCES), max_size=5).map(_distinct)


def limits() -> st.SearchStrategy[LoadLimits]:
    """What a host may have taught about loading a model."""
    contexts = st.none() | st.sampled_from([1000, 2048, 4096, 5000, 32_768])
    return st.builds(LoadLimits, usual_context=contexts, most_context=contexts)


def fleets() -> st.SearchStrategy[FleetSnapshot]:
    """Any fleet of up to four hosts."""

    def named(hosts: list[HostSnapshot]) -> FleetSnapshot:
        return fleet(*(replace(one, name=HostName(f"{n}")) for n, one in enumerate(hosts)))

    return st.lists(st.sampled_from(_HOSTS), max_size=4).map(named)
