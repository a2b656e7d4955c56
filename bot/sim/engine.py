"""The machine behind the wires: disk, memory, loads and predictions of one simulated host."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bot.sim.clock import SimClock
from bot.sim.errors import (
    ConnectionCut,
    ModelNotLoaded,
    ModelNotOnDisk,
    NoModelNamed,
    NoModelsLoaded,
)
from bot.sim.faults import Faults
from bot.sim.journal import Journal, Via
from bot.sim.loading import Load, Loader
from bot.sim.memory import Instance, LoadOrder, Memory
from bot.sim.models import SimHostConfig, SimModel
from bot.sim.pace import Pace
from bot.sim.predicting import Prediction, PredictionOrder
from bot.sim.predictor import Predictor
from bot.sim.tasks import HostTasks

DEFAULT_JIT_TTL_S = 3600.0
"""LM Studio's default for models loaded on demand over REST: 60 minutes."""

_EPOCH_MS = 1_767_225_600_000
"""The simulated calendar starts on 2026-01-01: no wall clock is read here."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A model as a REST request names it."""

    name: str
    embedding: bool = False
    ttl_s: float | None = None
    fields: Mapping[str, object] = field(default_factory=dict[str, object])


class Engine:
    """Answers the wires' questions; every effect over time runs in the host's task group."""

    def __init__(
        self, config: SimHostConfig, clock: SimClock, journal: Journal, faults: Faults
    ) -> None:
        self.config = config
        self.clock = clock
        self.journal = journal
        self.faults = faults
        self.memory = Memory(config)
        self.loader = Loader(config, self.memory, clock, journal, faults)
        self._pace = Pace(config, clock, faults)
        self._predictor = Predictor(config, self._pace, journal, self.loader.touch)
        self._tasks: HostTasks | None = None

    @property
    def tasks(self) -> HostTasks:
        """The tasks of the running host."""
        assert self._tasks is not None, "the host is not running"
        return self._tasks

    def run_in(self, tasks: HostTasks) -> None:
        """Use these for loads and prefills."""
        self._tasks = tasks

    def on_disk(self, key: str) -> SimModel:
        """Return the downloaded model of a key.

        Raises:
            ModelNotOnDisk: there is none.
        """
        found = next((model for model in self.config.models if model.key == key), None)
        if found is None:
            raise ModelNotOnDisk(key, [model.key for model in self.config.models])
        return found

    def loaded(self, name: str, *, embedding: bool | None = None) -> Instance:
        """Return the resident instance an identifier, reference or key names.

        Raises:
            ModelNotLoaded: there is none.
        """
        found = self.memory.find(name, embedding=embedding)
        if found is None:
            query: dict[str, object] = {"identifier": name}
            raise ModelNotLoaded(query, [instance.identifier for instance in self.memory])
        return found

    def load(self, order: LoadOrder) -> Load:
        """Begin an explicit load; see `Loader.start` for its refusals."""
        return self.loader.start(order, self.tasks.spawn)

    def load_just_in_time(self, model: SimModel, ttl_s: float | None, via: Via) -> Load:
        """Begin a load on demand, which may evict the other models loaded that way."""
        self.evict_for_jit()
        return self.load(LoadOrder(model, ttl_s=ttl_s, via=via, is_jit=True))

    def evict_for_jit(self) -> list[Instance]:
        """Make room for a load on demand, where that is switched on."""
        return self.loader.evict_jit() if self.config.auto_evict else []

    def wall_ms(self, at_s: float | None = None) -> int:
        """Return a simulated moment as milliseconds of the simulated calendar."""
        return _EPOCH_MS + round(1000 * (self.clock.now() if at_s is None else at_s))

    async def serving(self, wanted: Wanted) -> Instance:
        """Return the instance that serves a REST request, as LM Studio chooses it.

        Raises:
            ModelNotOnDisk: several are loaded, none of that name, and none can be loaded.
            NoModelsLoaded: nothing is loaded and the name is not to be loaded on demand.
            SimError: the load on demand failed, or no name was given and several are loaded.
            ConnectionCut: a fault breaks the connection of this load.
        """
        found = self.memory.find(wanted.name, embedding=wanted.embedding)
        if found is not None:
            return found
        model = self._loadable(wanted)
        if model is not None:
            ttl_s = wanted.ttl_s if wanted.ttl_s is not None else DEFAULT_JIT_TTL_S
            return await self.finish(self.load_just_in_time(model, ttl_s, "jit"))
        candidates = self.memory.of_kind(embedding=wanted.embedding)
        if len(candidates) == 1:
            return candidates[0]
        if not candidates:
            raise NoModelsLoaded
        if not wanted.name:
            raise NoModelNamed
        raise ModelNotOnDisk(wanted.name, [instance.identifier for instance in candidates])

    async def finish(self, load: Load) -> Instance:
        """Wait for a load on behalf of one connection.

        Raises:
            SimError: the load failed.
            ConnectionCut: a fault breaks the connection; the load goes on.
        """
        drop = self.faults.take("drop_mid_load")
        async for fraction in load.progress.follow():
            if drop is not None and fraction >= drop.number:
                raise ConnectionCut
        return await load.instance()

    def predict(self, order: PredictionOrder) -> Prediction:
        """Accept a prediction; see `Predictor.open` for its refusal."""
        return self._predictor.open(order, self.tasks.spawn)

    async def compute_embedding(self, instance: Instance, tokens: int) -> None:
        """Spend the time an embedding takes, in a slot of its instance.

        Raises:
            ModelGone: the instance was unloaded.
        """
        await instance.slots.acquire(object())
        instance.phases["computingEmbedding"] += 1
        try:
            await self.clock.sleep(self._pace.embedding_s(instance, tokens))
        finally:
            instance.phases["computingEmbedding"] -= 1
            instance.slots.release()
            instance.idle_since_s = self.clock.now()
            self.loader.touch()

    def _loadable(self, wanted: Wanted) -> SimModel | None:
        if not self.config.jit:
            return None
        models = (m for m in self.config.models if m.is_embedding == wanted.embedding)
        return next((model for model in models if model.key == wanted.name), None)
