"""What can answer, from memory alone: fast enough for autocomplete, plain enough for tables."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from bot.chat.standing import standing_words
from bot.chat.words import seconds_text
from bot.documents.shelf import PersonaShelf
from bot.domain.chat import Rejection
from bot.domain.errors import NoCandidates, RequestRefused, UnknownName
from bot.domain.hosts import FleetSnapshot, HostSnapshot, Model
from bot.domain.ids import AUTO, HostName, ModelKey
from bot.domain.personas import Persona
from bot.policy.names import nearest, resolve
from bot.policy.routing import RouteAsk, predict_seconds


@dataclass(frozen=True, slots=True)
class ModelOption:
    """One model a person may choose, with how it stands on the fleet."""

    key: ModelKey
    mark: str
    """``warm · studio-1``, ``cold · ~12 s · studio-2``, ``does not fit without evicting``..."""
    hosts: tuple[HostName, ...] = ()
    """Hosts that have it on disk."""
    is_warm: bool = False
    seconds: float | None = None
    """Predicted seconds to the first token; None when nobody can serve it now."""
    size_bytes: int | None = None


class Catalog:
    """Answers questions about the fleet and the shelf; reads snapshots, changes nothing."""

    def __init__(
        self,
        snapshot: Callable[[], FleetSnapshot],
        shelf: PersonaShelf,
        request_types: Iterable[str] = (),
    ) -> None:
        self.snapshot = snapshot
        """The fleet as it is known now."""
        self.request_types = tuple(request_types)
        """Names of the orders that the settings define."""
        self._shelf = shelf

    def all_model_keys(self) -> tuple[ModelKey, ...]:
        """Every model any host has, embedding models too, sorted."""
        found: set[ModelKey] = set()
        for host in self.snapshot().hosts.values():
            found |= {*host.models, *(instance.model_key for instance in host.instances)}
        return tuple(sorted(found))

    def models(self, typed: str = "", limit: int = 25) -> tuple[ModelOption, ...]:
        """Models matching what was typed, soonest first; ``auto`` leads when it matches."""
        snapshot = self.snapshot()
        wanted = typed.strip().lower()
        known = _chat_models(snapshot)
        found = [
            key
            for key, model in known.items()
            if wanted in key.lower() or wanted in model.display_name.lower()
        ]
        if not found and wanted not in AUTO:
            found = [ModelKey(key) for key in nearest(wanted, map(str, known), limit)]
        options = [self._option(snapshot, key) for key in found]
        # What can answer soonest leads; Discord shows 25 and asks again at every key typed.
        options.sort(key=lambda option: (option.seconds is None, option.seconds or 0.0, option.key))
        if wanted in AUTO:
            options.insert(0, ModelOption(AUTO, "the persona's own model, else the soonest"))
        return tuple(options[:limit])

    def personas(self, typed: str = "", limit: int = 25) -> tuple[Persona, ...]:
        """Personas whose name or description matches what was typed."""
        wanted = typed.strip().lower()
        found = [
            persona
            for persona in self._shelf.all()
            if wanted in persona.name.lower() or wanted in persona.description.lower()
        ]
        return tuple(found[:limit])

    def hosts(self, typed: str = "") -> tuple[HostSnapshot, ...]:
        """Hosts whose name or address matches what was typed."""
        wanted = typed.strip().lower()
        return tuple(
            host
            for host in self.snapshot().hosts.values()
            if wanted in host.name.lower() or wanted in host.address.lower()
        )

    def persona(self, name: str) -> Persona:
        """The persona meant.

        Raises:
            UnknownName: nobody has that name; names the nearest.
        """
        return self._shelf.find(name)

    def model(self, name: str) -> ModelKey:
        """The model key meant, or ``auto``.

        Raises:
            UnknownName: no host has it; names the nearest.
            RequestRefused: it is an embedding model.
            NoCandidates: no host answers, so nothing is known of models.
        """
        if name.strip().lower() == AUTO:
            return AUTO
        # An embedding model is known and yet no answer to what was asked: it is not called unknown.
        chat_models = _chat_models(self.snapshot())
        try:
            return ModelKey(resolve("model", name, sorted(map(str, chat_models))))
        except UnknownName:
            found = self.any_model(name)
            if found in chat_models:
                raise
        raise RequestRefused(f"`{found}` is an embedding model: it cannot chat.")

    def request_type(self, name: str) -> str:
        """The request type meant.

        Raises:
            UnknownName: the settings define none of that name; names the nearest.
        """
        # A name that was not understood changed nothing, and its asker never knew.
        return resolve("request type", name, self.request_types)

    def any_model(self, name: str) -> ModelKey:
        """Like ``model`` but embedding models too: for loading and unloading by hand."""
        try:
            return ModelKey(resolve("model", name, map(str, self.all_model_keys())))
        except UnknownName:
            # With every host away nobody knows what they have: `There is no model` was a lie then.
            if not (reasons := self.outage()):
                raise
            # Read by a whole channel where somebody switched: no host's own words in it.
            key = ModelKey(name)
            hosts = self.snapshot().hosts
            out = [
                Rejection(h, key, "", brief="off" if at.state == "down" else "not heard from yet")
                for h, at in hosts.items()
            ]
            words = f"No host answers now, so nothing is known of a model `{name}`: "
            words += standing_words(out)
            raise NoCandidates(words, details="; ".join(reasons)) from None

    def outage(self) -> tuple[str, ...]:
        """Each host with why it is away, when not one of them is there; else nothing."""
        hosts = self.snapshot().hosts.values()
        if any(host.state in ("up", "draining") for host in hosts):
            return ()
        return tuple(f"{host.name}: {host.reason or 'not asked yet'}" for host in hosts)

    def host(self, name: str) -> HostName:
        """The host meant, by name or address.

        Raises:
            UnknownName: no such host; names the nearest.
        """
        hosts = self.snapshot().hosts
        for host in hosts.values():
            if name.strip() == host.address:
                return host.name
        return HostName(resolve("host", name, [str(key) for key in hosts]))

    def option(self, key: ModelKey, only: HostName | None = None) -> ModelOption:
        """How one model stands on the fleet now, or on one host."""
        snapshot = self.snapshot()
        if only is not None:
            snapshot = replace(snapshot, hosts={only: snapshot.hosts[only]})
        return self._option(snapshot, key)

    def _option(self, snapshot: FleetSnapshot, key: ModelKey) -> ModelOption:
        holders = snapshot.holders(key)
        ask = RouteAsk(models=(key,))
        best: tuple[float, HostSnapshot] | None = None
        refused: list[str] = []
        for host in holders:
            verdict = predict_seconds(host, key, ask, snapshot.taken_at)
            if isinstance(verdict, Rejection):
                refused.append(verdict.reason)
            elif best is None or verdict.seconds < best[0]:
                best = (verdict.seconds, host)
        is_warm = any(_is_resident(h, key) for h in holders if h.is_serving)
        models = (host.models.get(key) for host in holders)
        sizes = (model.size_bytes for model in models if model is not None)
        return ModelOption(
            key=key,
            mark=_mark(holders, best, refused, key),
            hosts=tuple(host.name for host in holders),
            is_warm=is_warm,
            seconds=best[0] if best is not None else None,
            size_bytes=next((size for size in sizes if size is not None), None),
        )


def _mark(
    holders: Iterable[HostSnapshot],
    best: tuple[float, HostSnapshot] | None,
    refused: list[str],
    key: ModelKey,
) -> str:
    if best is not None:
        seconds, host = best
        if _is_resident(host, key):
            busy = f" · ~{seconds_text(seconds)}" if seconds >= 5 else ""
            return f"warm · {host.name}{busy}"
        if host.load is not None and host.load.model_key == key:
            return f"loading {host.load.fraction:.0%} · {host.name}"
        return f"cold · ~{seconds_text(seconds)} · {host.name}"
    # Only then: a model also held by a host that is up has that one's own reason instead.
    states = {host.state for host in holders}
    if states and "up" not in states:
        return "host asleep or away"
    return refused[0] if refused else "no host has it"


def _is_resident(host: HostSnapshot, key: ModelKey) -> bool:
    return any(instance.model_key == key for instance in host.instances)


def _chat_models(snapshot: FleetSnapshot) -> dict[ModelKey, Model]:
    found: dict[ModelKey, Model] = {}
    for host in snapshot.hosts.values():
        for model in host.models.values():
            if model.kind != "embedding":
                found.setdefault(model.key, model)
        # What others loaded from a place outside the catalogue can answer all the same.
        for instance in host.instances:
            if instance.kind != "embedding":
                found.setdefault(instance.model_key, Model(instance.model_key))
    return found
