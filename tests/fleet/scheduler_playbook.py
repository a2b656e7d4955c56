"""Plays scripts against a scheduler: say what happens, read what it decides, in short words."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from bot.domain.errors import FailureKind, HostUnreachable, Unavailable
from bot.domain.events import FleetEvent, Progress
from bot.domain.hosts import (
    Drain,
    HostConfig,
    Instance,
    LoadOrder,
    LoadRecord,
    Model,
    OwnInstance,
    Purpose,
    Report,
    Speed,
    SpeedRecord,
    WakeRecord,
    Wish,
)
from bot.domain.ids import HostName, InstanceId, InstanceRef, ModelKey
from bot.domain.personas import LoadSettings
from bot.fleet.demand import Demands
from bot.fleet.effects import (
    Effect,
    Effects,
    Forget,
    Grant,
    Refuse,
    StartUnload,
    StopLoad,
    Tell,
    Wake,
)
from bot.fleet.queue import Ticket
from bot.fleet.residents import reference_of
from bot.fleet.scheduler import Scheduler
from bot.fleet.speeds import History

HOST = HostName("studio")
GB = 1_000_000_000


def model(name: str, *, gb: float = 10, window: int | None = 32768) -> Model:
    return Model(ModelKey(name), size_bytes=round(gb * GB), max_context_length=window)


def unsized(*names: str) -> list[Model]:
    """Models whose size the host does not tell: nothing is reckoned with them."""
    return [replace(model(name), size_bytes=None) for name in names]


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
        wake_mac: str | None = None,
        max_waiting: int = 500,
        speeds: Mapping[ModelKey, Speed] | None = None,
    ) -> None:
        config = HostConfig(
            HOST,
            "studio:1234",
            memory_bytes=None if memory_gb is None else round(memory_gb * GB),
            max_loaded=max_loaded,
            slots=slots,
            wake_mac=wake_mac,
            max_waiting=max_waiting,
        )
        self.demands = Demands()
        self.scheduler = Scheduler(
            config,
            history=History(speeds or {}, None),
            own=own,
            evict_foreign=evict_foreign,
            wake_s=None,
            demands=self.demands,
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
        return self.read(self.scheduler.on_probed(self.now, self.report()))

    def see(self, report: Report) -> list[str]:
        """A probe that tells something of the test's own."""
        return self.read(self.scheduler.on_probed(self.now, report))

    def down(self, kind: FailureKind = FailureKind.CONNECT) -> list[str]:
        return self.read(self.scheduler.on_probe_failed(self.now, "gone", kind))

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
        since: float | None = None,
        conversation: str = "",
        purpose: Purpose = "question",
        replaces: bool = False,
    ) -> list[str]:
        ticket = Ticket(len(self._tickets) + 1)
        self._tickets[who], self._names[ticket] = ticket, who
        wish = Wish(ModelKey(key), load or LoadSettings(), context, ttl, user or who, wait)
        wish = replace(wish, since=since, conversation=conversation, purpose=purpose)
        wish = replace(wish, replaces=replaces)
        return self.read(self.scheduler.on_asked(self.now, ticket, wish))

    def leave(self, who: str) -> list[str]:
        return self.read(self.scheduler.on_left(self.now, self._tickets[who]))

    def tick(self) -> list[str]:
        return self.read(self.scheduler.on_tick(self.now))

    def progress(self, fraction: float) -> list[str]:
        return self.read(self.scheduler.on_progress(self.now, fraction))

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
        return self.read(self.scheduler.on_loaded(self.now, own, self.listed()))

    def load_made(self, kind: FailureKind) -> list[str]:
        """The load under way ends well, and the line breaks before what it made was listed."""
        assert self.loading is not None
        order, self.loading = self.loading, None
        made = self._place(order.model_key, order.settings.context_length or 4096)
        own = OwnInstance(
            HOST, made.reference or InstanceRef(""), made.identifier, order.model_key, 60.0
        )
        return self.read(self.scheduler.on_load_failed(self.now, "cut", kind, None, own))

    def load_breaks(
        self, reason: str = "exit code 1", kind: FailureKind = FailureKind.LOAD_FAILED
    ) -> list[str]:
        self.loading = None
        return self.read(self.scheduler.on_load_failed(self.now, reason, kind, self.listed(), None))

    def load_refused(self) -> list[str]:
        return self.load_breaks("insufficient system resources", FailureKind.DOES_NOT_FIT)

    def unloaded(self, *, stays: bool = False) -> list[str]:
        """The oldest unload under way ends."""
        reference = self.leaving.pop(0)
        if not stays:
            self.memory = {k: i for k, i in self.memory.items() if reference_of(i) != reference}
        return self.read(self.scheduler.on_unload_ended(self.now, reference, self.listed()))

    def appears(
        self, key: str, *, context: int | None = 4096, parallel: int | None = None
    ) -> Instance:
        """Somebody else loads something; seen at the next probe."""
        instance = replace(self._place(ModelKey(key), context), parallel=parallel)
        self.memory[instance.identifier] = instance
        return instance

    def vanishes(self, identifier: str) -> None:
        del self.memory[InstanceId(identifier)]

    def cancel(self, key: str) -> list[str]:
        return self.read(self.scheduler.on_cancelled(self.now, ModelKey(key)))

    def sweep(self) -> list[str]:
        return self.read(self.scheduler.on_swept(self.now))

    def doubt(self, reason: str = "HTTP 500") -> list[str]:
        return self.read(self.scheduler.on_doubted(self.now, reason))

    def pin(self, name: str, is_pinned: bool = True) -> list[str]:
        return self.read(self.scheduler.on_pinned(self.now, name, is_pinned))

    def drain(self, is_draining: bool = True, for_s: float | None = None) -> list[str]:
        drain = Drain(HOST, is_draining, for_s)
        return self.read(self.scheduler.on_drained(self.now, drain))

    def unload(
        self, name: str, even_foreign: bool = False, theirs: Collection[InstanceRef] | None = None
    ) -> list[str]:
        return self.read(self.scheduler.on_unload_asked(self.now, name, even_foreign, theirs))

    def read(self, effects: Effects) -> list[str]:
        """What the scheduler decided, in words; news to waiters left out."""
        self.log.extend(effects)
        return [words for effect in effects if (words := self._words(effect))]

    # --- what there is --------------------------------------------------------------------

    def report(self) -> Report:
        return Report("SDK socket", "0.4.16", self.disk, self.listed())

    def listed(self) -> tuple[Instance, ...]:
        return tuple(self.memory.values())

    def told(self, who: str) -> Progress:
        return self._told[who]

    def instance(self, name: str) -> Instance:
        found = [i for i in self.scheduler.snapshot().instances if i.identifier == name]
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
            case Grant() | Refuse() | Tell():
                return self._words_to(self._names[effect.ticket], effect)
            case LoadOrder():
                assert self.loading is None, "two loads at once"
                self.loading = effect
                context = effect.settings.context_length
                return f"load {effect.model_key}" + (f" with {context}" if context else "")
            case StopLoad():
                return "stop the load"
            case StartUnload(instance=instance):
                self.leaving.append(reference_of(instance))
                return f"unload {instance.identifier}"
            case Forget(reference=reference):
                return f"forget {reference}"
            case OwnInstance():
                return f"keep {effect.identifier}"
            case FleetEvent():
                self.news.append(effect)
                return ""
            case LoadRecord() | SpeedRecord():
                return ""
            case Wake() | WakeRecord() | Drain():
                return _words_of_host(effect)

    def _words_to(self, who: str, effect: Grant | Refuse | Tell) -> str:
        match effect:
            case Grant(instance=instance):
                self.granted[who] = instance
                return f"grant {who} {instance.identifier}"
            case Refuse(error=error):
                self.refused[who] = error
                assert isinstance(error, Unavailable)
                is_lost = isinstance(error, HostUnreachable)
                return f"refuse {who} {'HostUnreachable' if is_lost else error.kind}"
            case Tell(progress=progress):
                self._told[who] = progress
                return ""


def _words_of_host(effect: Wake | WakeRecord | Drain) -> str:
    match effect:
        case Wake():
            return "wake"
        case WakeRecord(seconds=seconds):
            return f"awake after {seconds:g}"
        case Drain(is_on=is_on, left_s=left_s):
            return f"drain {left_s}" if is_on else "resume"


def up_with(*models: Model | str, **limits: object) -> Playbook:
    """A playbook whose host has answered its first probe."""
    play = Playbook(*models, **limits)  # pyright: ignore[reportArgumentType]  # passed through
    play.up()
    return play
