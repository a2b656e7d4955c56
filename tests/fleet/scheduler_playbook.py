"""Plays scripts against a scheduler: say what happens, read what it decides, in short words."""

from collections.abc import Iterable
from dataclasses import replace

from bot.domain.errors import FailureKind, HostUnreachable, Unavailable
from bot.domain.events import FleetEvent, Progress
from bot.domain.hosts import (
    HostConfig,
    Instance,
    Interface,
    LoadOrder,
    Model,
    OwnInstance,
    Report,
    Wish,
)
from bot.domain.ids import HostName, InstanceId, InstanceRef, ModelKey
from bot.domain.personas import LoadSettings
from bot.fleet import signals
from bot.fleet.residents import reference_of
from bot.fleet.scheduler import Scheduler
from bot.fleet.signals import Effect, Event, Ticket
from bot.fleet.speeds import History

HOST = HostName("studio")
GB = 1_000_000_000


def model(name: str, *, gb: float = 10, window: int | None = 32768) -> Model:
    return Model(ModelKey(name), size_bytes=round(gb * GB), max_context_length=window)


class Playbook:
    """A scheduler with a pretended host behind it; time passes only when told."""

    def __init__(
        self,
        *models: Model | str,
        memory_gb: float | None = None,
        max_loaded: int | None = None,
        slots: int = 2,
        own: Iterable[OwnInstance] = (),
        evict_foreign: bool = False,
    ) -> None:
        config = HostConfig(
            HOST,
            "studio:1234",
            memory_bytes=None if memory_gb is None else round(memory_gb * GB),
            max_loaded=max_loaded,
            slots=slots,
        )
        self.scheduler = Scheduler(
            config, history=History({}, None), own=own, evict_foreign=evict_foreign
        )
        entries = [model(m) if isinstance(m, str) else m for m in models]
        self.disk = {entry.key: entry for entry in entries}
        self.memory: dict[InstanceId, Instance] = {}
        self.now = 1000.0
        self.log: list[Effect] = []
        self.news: list[FleetEvent] = []
        self.granted: dict[str, Instance] = {}
        self.refused: dict[str, Exception] = {}
        self.loading: LoadOrder | None = None
        self.leaving: list[InstanceRef] = []
        self._names: dict[Ticket, str] = {}
        self._tickets: dict[str, Ticket] = {}
        self._told: dict[str, Progress] = {}
        self._loads = 0

    # --- what happens ---------------------------------------------------------------------

    def after(self, seconds: float) -> "Playbook":
        self.now += seconds
        return self

    def up(self) -> list[str]:
        return self.play(signals.Probed(self.now, self.report()))

    def down(self, kind: FailureKind = FailureKind.CONNECT) -> list[str]:
        return self.play(signals.ProbeFailed(self.now, "gone", kind))

    def ask(
        self,
        who: str,
        key: str,
        *,
        user: str = "",
        context: int = 0,
        wait: float | None = None,
        ttl: float | None = 60.0,
        load: LoadSettings | None = None,
    ) -> list[str]:
        ticket = Ticket(len(self._tickets) + 1)
        self._tickets[who], self._names[ticket] = ticket, who
        wish = Wish(ModelKey(key), load or LoadSettings(), context, ttl, user or who, wait)
        return self.play(signals.Asked(self.now, ticket, wish))

    def leave(self, who: str) -> list[str]:
        return self.play(signals.Left(self.now, self._tickets[who]))

    def tick(self) -> list[str]:
        return self.play(signals.Ticked(self.now))

    def progress(self, fraction: float) -> list[str]:
        return self.play(signals.Progressed(self.now, fraction))

    def loaded(self, *, context: int | None = None, seconds: float = 0.0) -> list[str]:
        """The load under way ends well."""
        assert self.loading is not None
        order, self.loading = self.loading, None
        self.now += seconds
        wanted = context or order.settings.context_length or 4096
        instance = self._place(order.model_key, wanted)
        own = OwnInstance(
            HOST,
            instance.reference or InstanceRef(""),
            instance.identifier,
            order.model_key,
            order.idle_ttl_s,
        )
        return self.play(signals.Loaded(self.now, own, self.listed()))

    def load_breaks(
        self, reason: str = "exit code 1", kind: FailureKind = FailureKind.LOAD_FAILED
    ) -> list[str]:
        self.loading = None
        return self.play(signals.LoadBroke(self.now, reason, kind, self.listed()))

    def load_refused(self) -> list[str]:
        return self.load_breaks("insufficient system resources", FailureKind.DOES_NOT_FIT)

    def unloaded(self, *, stays: bool = False) -> list[str]:
        """The oldest unload under way ends."""
        reference = self.leaving.pop(0)
        if not stays:
            self.memory = {k: i for k, i in self.memory.items() if reference_of(i) != reference}
        return self.play(signals.UnloadEnded(self.now, reference, self.listed()))

    def appears(
        self, key: str, *, context: int | None = 4096, parallel: int | None = None
    ) -> Instance:
        """Somebody else loads something; seen at the next probe."""
        instance = replace(self._place(ModelKey(key), context), parallel=parallel)
        self.memory[instance.identifier] = instance
        return instance

    def vanishes(self, identifier: str) -> None:
        del self.memory[InstanceId(identifier)]

    def play(self, event: Event) -> list[str]:
        """Feeds one event; returns what the scheduler decided, news to waiters left out."""
        effects = self.scheduler.on(event)
        self.log.extend(effects)
        return [words for effect in effects if (words := self._words(effect))]

    # --- what there is --------------------------------------------------------------------

    def report(self) -> Report:
        return Report(Interface.SDK, "0.4.16", self.disk, self.listed())

    def listed(self) -> tuple[Instance, ...]:
        return tuple(self.memory.values())

    def told(self, who: str) -> Progress:
        return self._told[who]

    def instance(self, name: str) -> Instance:
        found = [i for i in self.scheduler.books.snapshot().instances if i.identifier == name]
        assert found, f"{name} is not in memory"
        return found[0]

    def _place(self, key: ModelKey, context: int | None) -> Instance:
        self._loads += 1
        names = [InstanceId(key), *(InstanceId(f"{key}:{n}") for n in range(2, 9))]
        name = next(name for name in names if name not in self.memory)
        size = self.disk[key].size_bytes if key in self.disk else None
        instance = Instance(name, key, InstanceRef(f"ref-{self._loads}"), context, size_bytes=size)
        self.memory[name] = instance
        return instance

    def _words(self, effect: Effect) -> str:
        match effect:
            case signals.Grant() | signals.Refuse() | signals.Tell():
                return self._words_to(self._names[effect.ticket], effect)
            case signals.StartLoad(order=order):
                assert self.loading is None, "two loads at once"
                self.loading = order
                context = order.settings.context_length
                return f"load {order.model_key}" + (f" with {context}" if context else "")
            case signals.StopLoad():
                return "stop the load"
            case signals.StartUnload(reference=reference, instance=instance):
                self.leaving.append(reference)
                return f"unload {instance.identifier}"
            case signals.Forget(reference=reference):
                return f"forget {reference}"
            case signals.Keep(own=own):
                return f"keep {own.identifier}"
            case signals.Announce(event=event):
                self.news.append(event)
                return ""
            case signals.Remember():
                return ""

    def _words_to(self, who: str, effect: signals.Grant | signals.Refuse | signals.Tell) -> str:
        match effect:
            case signals.Grant(instance=instance):
                self.granted[who] = instance
                return f"grant {who} {instance.identifier}"
            case signals.Refuse(error=error):
                self.refused[who] = error
                assert isinstance(error, Unavailable)
                is_lost = isinstance(error, HostUnreachable)
                return f"refuse {who} {'HostUnreachable' if is_lost else error.kind}"
            case signals.Tell(progress=progress):
                self._told[who] = progress
                return ""


def up_with(*models: Model | str, **limits: object) -> Playbook:
    """A playbook whose host has answered its first probe."""
    play = Playbook(*models, **limits)  # pyright: ignore[reportArgumentType]  # passed through
    play.up()
    return play
