"""What can answer, from memory alone: fast enough for autocomplete, plain enough for tables."""

from bisect import insort
from collections.abc import (
    Callable,
    Collection,
    Container,
    Iterable,
    KeysView,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, replace
from math import inf
from operator import attrgetter

from bot.chat.standing import standing_words
from bot.chat.words import cost_text, seconds_text
from bot.documents.shelf import PersonaShelf
from bot.domain.chat import Rejection
from bot.domain.cloud import ProviderSnapshot
from bot.domain.errors import NoCandidates, RequestRefused, UnknownName
from bot.domain.hosts import AWAY, FleetSnapshot, HostSnapshot, Model
from bot.domain.ids import AUTO, HostName, ModelKey, PersonaName, PlaceId, ProviderName, UserId
from bot.domain.personas import Persona
from bot.policy.choice import CLOUD, title_of
from bot.policy.names import matching, nearest, resolve, shown_name
from bot.policy.prediction import Prediction, predict_load_s
from bot.policy.routing import RouteAsk, predict_seconds

KEPT_S = 1.0
TYPICAL = (1000, 500)
"""Prompt and answer tokens that a provider's price is told for."""

_SERVING = attrgetter("is_serving")
_GONE = AWAY - {"unknown"}
_SIGHT = "vision"
"""Finds the models that can see, whatever they are called."""
_LEAST_TYPED = 3
"""Fewer letters of a word mean anything."""


@dataclass(frozen=True, slots=True)
class ModelOption:
    """One model or provider a person may choose, with how it stands."""

    key: ModelKey
    """Of a provider: its model."""
    mark: str
    """``warm · studio-1``, ``cold · ~12 s · studio-2``, ``glm-4.6 · about 0.2 ¢ an answer``..."""
    value: str = ""
    """What is stored when it is chosen."""
    name: str = ""
    """As a list shows it: ``qwen/qwen3-8b``, ``☁ zai``; ``● `` before what answers here now."""
    hosts: tuple[HostName, ...] = ()
    """Hosts that have it on disk."""
    is_warm: bool = False
    seconds: float | None = None
    """Predicted seconds to the first token; None when nobody can serve it now."""
    size_bytes: int | None = None
    is_sighted: bool = False
    """Of a provider: its model sees pictures."""
    is_able: bool = True
    """Could it answer now?"""


class Catalog:
    """Answers questions about the fleet and the shelf; reads snapshots, changes nothing."""

    def __init__(
        self,
        snapshot: Callable[[], FleetSnapshot],
        shelf: PersonaShelf,
        providers: Callable[[int, int, float], Sequence[ProviderSnapshot]],
        request_types: Iterable[str] = (),
    ) -> None:
        self.snapshot = snapshot
        """The fleet as it is known now."""
        self.request_types = tuple(request_types)
        """Names of the orders that the settings define."""
        self._shelf = shelf
        self._providers = providers
        self._made: tuple[Mapping[HostName, HostSnapshot], float, tuple[ModelOption, ...]]
        self._made = {}, -inf, ()
        self._keys: tuple[list[tuple[Mapping[ModelKey, Model], list[ModelKey]]], KeysView[ModelKey]]
        self._keys = [], dict[ModelKey, None]().keys()
        """What they were made of, and every model there is."""

    def all_model_keys(self) -> KeysView[ModelKey]:
        """Every model any host has, embedding models too, sorted; quick to look one up in."""
        # A host keeps its list while it is the same, which is quickly seen. Of a hundred hosts the
        # sum was made anew for each request, three times.
        made_of = [
            (host.models, [instance.model_key for instance in host.instances])
            for host in self.snapshot().hosts.values()
        ]
        if made_of != self._keys[0]:
            found = {key for models, loaded in made_of for key in (*models, *loaded)}
            self._keys = made_of, dict.fromkeys(sorted(found)).keys()
        return self._keys[1]

    def models(
        self,
        typed: str = "",
        limit: int = 25,
        cloud: Iterable[ProviderName] = (),
        current: str = "",
    ) -> tuple[ModelOption, ...]:
        """Models matching what was typed, soonest first, then providers.

        ``auto`` leads when it matches, then what answers here now.

        Args:
            typed: Any part of a name, well typed or nearly; ``vision`` finds whatever can see.
            limit: Most options.
            cloud: Providers that may be asked here, in their order.
            current: What answers here now, as a choice of it is stored.
        """
        snapshot = self.snapshot()
        wanted = typed.strip().lower()
        known = _chat_models(snapshot)
        away = self._away(snapshot, cloud)
        sighted = {str(key) for key, m in known.items() if m.vision or m.kind == "vlm"}
        sighted |= {value for value, option in away.items() if option.is_sighted}
        # Of fewer letters any word may begin so.
        is_sight = any(len(w) >= _LEAST_TYPED and _SIGHT.startswith(w) for w in wanted.split())
        texts = {str(key): (str(key), model.display_name) for key, model in known.items()} | {
            value: (value.removeprefix(CLOUD), f"{value} {option.name} {option.key}")
            for value, option in away.items()
        }
        for value in sighted if is_sight else ():
            texts[value] = texts[value][0], f"{texts[value][1]} {_SIGHT}"
        found = set(matching(wanted, texts, 0))
        if not found and wanted not in AUTO:
            # `visoin` too, but not every word that is somewhat like it.
            is_sight = abs(len(wanted) - len(_SIGHT)) <= 1 and bool(nearest(wanted, [_SIGHT]))
            found = {*matching(wanted, texts, limit), *(sighted if is_sight else ())}
        clouds = [option for value, option in away.items() if value in found]
        # Among many models those few would else be found by nobody who does not know them.
        room = max(limit - len(clouds) - 1, limit // 2)
        keys = [key for key in known if key in found]
        options = [*self._soonest(snapshot, keys, room, current), *clouds]
        options.sort(key=lambda option: option.value != current)
        if wanted in AUTO:
            words = "the persona's own model, else the soonest"
            options.insert(0, ModelOption(AUTO, words, AUTO, AUTO))
        return tuple(
            replace(option, name=f"● {option.name}") if option.value == current else option
            for option in options[:limit]
        )

    def personas(
        self,
        typed: str = "",
        limit: int = 25,
        user: UserId | None = None,
        server: PlaceId | None = None,
        among: Container[PersonaName] | None = None,
        current: str = "",
    ) -> tuple[Persona, ...]:
        """Personas this person may choose here, by part of a name or description, or nearly so.

        ``among`` are those that count; None: all. ``current`` leads where it matches.
        """
        seen = {p.name: p for p in self._shelf.seen_by(user, server)}
        texts = {
            name: (shown_name(name), persona.description)
            for name, persona in seen.items()
            if among is None or name in among
        }
        found = sorted(matching(typed, texts, limit), key=lambda name: name != current)
        return tuple(seen[name] for name in found[:limit])

    def stands(self, persona: Persona) -> str:
        """How this persona's model stands, as ``ModelOption.mark``; empty where it is any."""
        snapshot = self.snapshot()
        return "" if persona.model == AUTO else self._option(snapshot, persona.model).mark

    def hosts(self, typed: str = "") -> tuple[HostSnapshot, ...]:
        """Hosts whose name or address matches what was typed."""
        wanted = typed.strip().lower()
        return tuple(
            host
            for host in self.snapshot().hosts.values()
            if wanted in host.name.lower() or wanted in host.address.lower()
        )

    def persona(
        self, name: str, user: UserId | None = None, server: PlaceId | None = None
    ) -> Persona:
        """The persona this person means here.

        Raises:
            UnknownName: nobody has that name; names the nearest.
        """
        return self._shelf.find(name, user, server)

    def choice(self, name: str) -> str:
        """What was meant, as it is stored: a model key, ``auto``, or a provider: ``cloud:zai``.

        A model here goes before a provider's of the same name, which would cost; a provider's own
        name goes before what a model's merely holds.

        Raises:
            UnknownName: neither a host has it nor is it a provider; names the nearest.
            RequestRefused: it is an embedding model.
            NoCandidates: no host answers, so nothing is known of models.
        """
        typed = name.strip()
        if typed.lower() == AUTO:
            return AUTO
        snapshot = self.snapshot()
        providers = self._providers(*TYPICAL, snapshot.taken_at)
        known = [str(provider.name) for provider in providers]
        marked = typed.removeprefix("☁").strip().removeprefix(CLOUD).strip()
        if marked != typed:
            return CLOUD + resolve("provider", marked, known)
        chat_models = _chat_models(snapshot)
        try:
            every = [*known, *sorted(map(str, chat_models))]
            found = resolve("model", typed, every, tuple(self.unasked()))
        except UnknownName as error:
            theirs = [p.name for p in providers if p.model.lower() == typed.lower()]
            if len(theirs) == 1:
                return CLOUD + theirs[0]
            if theirs:
                told = [title_of(CLOUD + t) for t in theirs]
                raise UnknownName("provider", typed, told, is_unclear=True) from None
            try:
                return str(self.model(typed))
            except UnknownName:
                # `vision` stands in few names of models that can see: what is offered while one
                # types finds them by it all the same, also written `visoin`.
                sighted = [option.value for option in self.models(typed, 3) if not error.nearest]
                told = UnknownName("model", typed, sighted, unasked=tuple(self.unasked()))
                raise (told if sighted else error) from None
        is_cloud = found in known and ModelKey(found) not in chat_models
        return CLOUD + found if is_cloud else found

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
            known = map(str, self.all_model_keys())
            return ModelKey(resolve("model", name, known, tuple(self.unasked())))
        except UnknownName:
            # With every host away nobody knows what they have: `There is no model` was a lie then.
            if not name.strip() or not (reasons := self.outage()):
                raise
            # Read by a whole channel where somebody switched: no host's own words in it.
            key = ModelKey(name)
            hosts = self.snapshot().hosts
            out = [
                Rejection(h, key, "", brief="off" if at.state in _GONE else "not heard from yet")
                for h, at in hosts.items()
            ]
            words = f"No host answers now, so nothing is known of a model `{name}`: "
            words += standing_words(out)
            raise NoCandidates(words, details="; ".join(reasons)) from None

    def unasked(self) -> dict[HostName, str]:
        """Hosts that are away and were never looked at, so that they may have anything; why."""
        hosts = self.snapshot().hosts.values()
        return {
            host.name: host.reason or "not looked at yet"
            for host in hosts
            if host.state in AWAY and not host.models
        }

    def outage(self) -> tuple[str, ...]:
        """Each host with why it is away, when not one of them is there; else nothing."""
        hosts = self.snapshot().hosts.values()
        if any(host.state in ("up", "draining") for host in hosts):
            return ()
        return tuple(f"{host.name}: {host.reason or 'not looked at yet'}" for host in hosts)

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

    def holder(self, name: str, key: ModelKey) -> HostName:
        """The host meant, where it has a model on its disk, or may have.

        Raises:
            UnknownName: no such host; names the nearest.
            RequestRefused: it does not have the model; names the hosts that do.
        """
        host, snapshot = self.host(name), self.snapshot()
        known = snapshot.hosts[host]
        if known.models and known not in (holders := snapshot.holders(key)):
            others = ", ".join(holder.name for holder in holders)
            words = f"{host} does not have `{key}`; it is on {others}."
            raise RequestRefused(words if others else f"{host} does not have `{key}`.")
        return host

    def option(self, key: ModelKey, only: HostName | None = None) -> ModelOption:
        """How one model stands on the fleet now, or on one host."""
        snapshot = self.snapshot()
        if only is not None:
            snapshot = replace(snapshot, hosts={only: snapshot.hosts[only]})
        return self._option(snapshot, key)

    def options(self) -> tuple[ModelOption, ...]:
        """How every model stands on the fleet; while no host changes, up to a second ago."""
        snapshot, (hosts, at, made) = self.snapshot(), self._made
        # Each viewer of the gateway asked for it anew: a prediction for each model on each host.
        is_new = len(hosts) == len(snapshot.hosts) and all(
            hosts.get(name) is host for name, host in snapshot.hosts.items()
        )
        if not is_new or snapshot.taken_at - at >= KEPT_S:
            made = tuple(self._option(snapshot, key) for key in self.all_model_keys())
            self._made = snapshot.hosts, snapshot.taken_at, made
        return made

    def providers(self, *, only_serving: bool = False) -> tuple[ProviderName, ...]:
        """Every provider, as configured; or those alone that may be asked now."""
        known = self._providers(*TYPICAL, self.snapshot().taken_at)
        return tuple(p.name for p in known if p.is_serving or not only_serving)

    def _away(
        self, snapshot: FleetSnapshot, cloud: Iterable[ProviderName]
    ) -> dict[str, ModelOption]:
        """These providers by what a choice of them is stored as; who may not be asked now last."""
        known = {p.name: p for p in self._providers(*TYPICAL, snapshot.taken_at)}
        asked = [known[name] for name in dict.fromkeys(cloud) if name in known]
        asked.sort(key=lambda provider: not provider.is_serving)
        return {
            f"{CLOUD}{p.name}": ModelOption(
                p.model,
                f"{p.model} · {_price(p) if p.is_serving else f'{p.brief} now'}",
                f"{CLOUD}{p.name}",
                title_of(f"{CLOUD}{p.name}"),
                is_sighted=p.vision,
                is_able=p.is_serving,
            )
            for p in asked
        }

    def _soonest(
        self, snapshot: FleetSnapshot, keys: Iterable[ModelKey], room: int, current: str
    ) -> list[ModelOption]:
        """So many of these models: what answers here, then what could answer soonest."""
        least: dict[ModelKey, float] = {}
        for host in filter(_SERVING, snapshot.hosts.values()):
            loading = host.load.model_key if host.load is not None else None
            for model in host.models.values():
                at_least_s = 0.0 if model.key == loading else predict_load_s(host, model)[0]
                least[model.key] = min(at_least_s, least.get(model.key, at_least_s))
            least |= {instance.model_key: 0.0 for instance in host.instances}

        def place(key: ModelKey) -> tuple[bool, float, ModelKey]:
            return key != current, least.get(key, inf), key

        options: list[ModelOption] = []
        seconds: list[float] = []
        # By rising least seconds: of a thousand models most are never judged, at every key typed.
        for key in sorted(keys, key=place):
            if len(seconds) >= room and least.get(key, inf) > seconds[room - 1]:
                break
            options.append(option := self._option(snapshot, key))
            if option.seconds is not None:
                insort(seconds, option.seconds)
        options.sort(key=lambda o: (o.value != current, o.seconds is None, o.seconds or 0.0, o.key))
        return options[:room]

    def _option(self, snapshot: FleetSnapshot, key: ModelKey) -> ModelOption:
        holders = snapshot.holders(key)
        ask = RouteAsk(models=(key,))
        best: tuple[Prediction, HostSnapshot] | None = None
        refused: list[str] = []
        for host in holders:
            verdict = predict_seconds(host, key, ask, snapshot.taken_at)
            if isinstance(verdict, Rejection):
                refused.append(verdict.reason)
            elif best is None or verdict.seconds < best[0].seconds:
                best = (verdict, host)
        is_warm = any(host.has_loaded(key) for host in holders if host.is_serving)
        models = (host.models.get(key) for host in holders)
        sizes = (model.size_bytes for model in models if model is not None)
        return ModelOption(
            key=key,
            mark=_mark(holders, best, refused, key),
            value=str(key),
            name=str(key),
            hosts=tuple(host.name for host in holders),
            is_warm=is_warm,
            seconds=best[0].seconds if best is not None else None,
            size_bytes=next((size for size in sizes if size is not None), None),
            is_able=best is not None,
        )


def _mark(
    holders: Collection[HostSnapshot],
    best: tuple[Prediction, HostSnapshot] | None,
    refused: list[str],
    key: ModelKey,
) -> str:
    if best is not None:
        soonest, host = best
        seconds = soonest.seconds
        if host.has_loaded(key):
            busy = f" · ~{seconds_text(seconds)}" if seconds >= 5 else ""
            return f"warm · {host.name}{busy}"
        if host.load is not None and host.load.model_key == key:
            return f"loading {host.load.fraction:.0%} · {host.name}"
        if host.state in AWAY:
            return f"host {host.state} · ~{seconds_text(seconds)} · {host.name}"
        # Whole keys: `b/big` in the row of `a/big` read as if it evicted itself.
        leaving = [instance.model_key for instance in soonest.evicts]
        more = f" and {len(leaving) - 1} more" if len(leaving) > 1 else ""
        room = f" · must evict {leaving[0]}{more}" if leaving else ""
        return f"cold · ~{seconds_text(seconds)} · {host.name}{room}"
    # Only then: a model also held by a host that is up has that one's own reason instead.
    if holders and all(host.state in _GONE for host in holders):
        return "host asleep or away"
    there = (why for host, why in zip(holders, refused, strict=True) if host.state not in _GONE)
    return next(there, "no host has it")


def _price(provider: ProviderSnapshot) -> str:
    """What a typical answer of a provider costs."""
    likely = provider.likely_micro_usd
    if provider.has_plan:
        return "paid by its plan"
    if likely is None:
        return "price unknown"
    return f"about {cost_text(likely)} an answer" if likely else "free"


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
