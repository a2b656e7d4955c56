"""What people do to the fleet by hand: load, unload, pin and unpin, drain and resume."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress

from bot.chat.catalog import Catalog
from bot.chat.keeping import Keeper, Pin
from bot.chat.planning import FIRST_LOOK_S, ChatRules
from bot.chat.safe_channel import safe_channel
from bot.chat.walk import LoadSteps, Readiness, load_first
from bot.chat.words import seconds_text, unready_lines, unstored_text
from bot.cloud.providers import Providers
from bot.documents.values import parse_seconds
from bot.domain.chat import Candidate, Route
from bot.domain.errors import (
    FailureKind,
    NoCandidates,
    NotPermitted,
    RequestRefused,
    StoreUnavailable,
    Unavailable,
    UnknownName,
)
from bot.domain.events import Progress
from bot.domain.hosts import AWAY, Drain, OwnInstance, Wish
from bot.domain.ids import HostName, InstanceId, ModelKey, ProviderName
from bot.domain.personas import LoadSettings
from bot.domain.values import value
from bot.fleet.fleet import Fleet
from bot.policy.names import resolve
from bot.policy.routing import RouteAsk, plan_route


@value
class UnloadsDone:
    """What came of an unload by hand."""

    said: str
    """In plain words, with what stays and why."""
    left: tuple[tuple[HostName, InstanceId], ...]
    """What this act took out of memory."""


class FleetActs:
    """Acts on hosts and providers; who may do so is the face's to check with ``policy.access``."""

    def __init__(
        self,
        fleet: Fleet,
        catalog: Catalog,
        rules: ChatRules,
        providers: Providers,
        keeper: Keeper,
        *,
        own: Callable[[], Awaitable[Sequence[OwnInstance]]],
        is_owner: bool,
    ) -> None:
        """``own`` reads what the owner of the database keeps: this one, or one that runs beside."""
        self._fleet = fleet
        self._own = own
        self._is_owner = is_owner
        self._keeper = keeper
        self._providers = providers
        self._catalog = catalog
        self._rules = rules

    def load(
        self,
        host: str | None,
        model: str,
        load: LoadSettings | None = None,
        *,
        idle_ttl_s: float | None = None,
    ) -> LoadSteps:
        """Loads a model (on the best host when none is named): progress, then where it is.

        Errors leave the iteration: ``UnknownName``; ``RequestRefused`` when the host that is
        named does not have the model; ``NoCandidates`` when no host could, with
        each one's own reason.
        """

        async def produce(emit: Callable[[Progress | Readiness], Awaitable[None]]) -> None:
            await self._fleet.settled(FIRST_LOOK_S)
            key = self._catalog.any_model(model)
            self._fleet.order_load(key)
            wish = Wish(
                model_key=key,
                load=load or LoadSettings(),
                # A copy with a smaller window is not what was asked for.
                min_context=(load and load.context_length) or 0,
                idle_ttl_s=idle_ttl_s or self._rules.idle_ttl_s,
                user="by hand",
                purpose="order",
                replaces=load is not None,
            )
            if host is not None:
                route = Route((Candidate(key, self._catalog.holder(host, key)),))
            else:
                # No chat: an embedding model, which answers none, may be loaded by hand too; it
                # was once refused here as if somebody wanted to talk to it.
                ask = RouteAsk(models=(key,), load=wish.load, is_chat=False)
                route = plan_route(self._catalog.snapshot(), ask)
            ready = await load_first(self._fleet, wish, route, emit)
            if ready.by is None:
                head = f"No host can load `{key}` now."
                if host is not None:
                    head = f"{self._catalog.host(host)} cannot load `{key}` now."
                kinds = [failed.kind for failed in ready.failed if failed.kind is not None]
                whole = unready_lines(ready, str)
                raise NoCandidates(f"{head}\n{unready_lines(ready)}".rstrip(), kinds, whole)
            await emit(ready)

        return safe_channel(produce)

    async def cancel_load(self, host: str, model: str) -> bool:
        """Cancels a load that nobody else waits for."""
        return self._fleet.host(self._catalog.host(host)).cancel_load(ModelKey(model))

    async def unload(
        self, host: str | None, model: str, *, even_foreign: bool = False
    ) -> UnloadsDone:
        """Unloads a model from one host, or from every host that has it loaded.

        Raises:
            UnknownName: no host has it loaded (any more).
            RequestRefused: it is being loaded just now.
            NotPermitted: it is answering somebody, is kept by the Lantern that this one stands
                beside, or is foreign and ``even_foreign`` is not set.
            Unavailable: no host took it out of memory; with each one's own reason.
        """
        only = self._catalog.host(host) if host else None
        try:
            model, names = self._loaded(model, only)
        except UnknownName:
            self._check_at_rest(model, only)
            # Loaded since the newest look, which may be half a minute old, by others or by a
            # command that sends its asker here.
            await self._fleet.probe_all()
            model, names = self._loaded(model, only)
        await self.take_over()
        # As it stands now: that one may have loaded it since this one was built.
        kept = None if self._is_owner else await self._own()
        done: list[tuple[HostName, InstanceId]] = []
        stays: list[str] = []
        refused: list[NotPermitted] = []
        for name in names:
            theirs = None if kept is None else [own.reference for own in kept if own.host == name]
            try:
                meant = await self._fleet.host(name).unload(
                    model, even_foreign=even_foreign, theirs=theirs
                )
            except NotPermitted as error:
                refused.append(error)
            else:
                for identifier, why in meant.items():
                    if why:
                        stays.append(f"`{identifier}` on {name} is still in memory: {why}")
                    else:
                        done.append((name, identifier))
        # `Unloaded .` was once said with the model still in memory.
        if not done and stays:
            raise Unavailable(" ".join(stays), FailureKind.SERVER)
        if not done and refused:
            raise refused[0]
        if not done:
            raise UnknownName("loaded model", model, ())
        said = f"Unloaded {', '.join(f'`{identifier}` on {name}' for name, identifier in done)}."
        words = " ".join([said, *stays, *(error.user_message for error in refused)])
        return UnloadsDone(words, tuple(done))

    async def take_over(self) -> None:
        """Makes ours what commands beside this Lantern loaded.

        They are Lantern too, and left it to whoever owns the database: to them it was kept by this
        one, and this one took it for somebody else's, so that neither unloaded it.
        """
        hosts = self._catalog.snapshot().hosts.values()
        if self._is_owner and any(not copy.own for host in hosts for copy in host.loaded):
            # The log has why, and what is not known as ours is foreign.
            with suppress(StoreUnavailable):
                self._fleet.take_over(await self._own())

    async def pin(self, host: str | None, model: str, *, is_pinned: bool) -> str:
        """Keeps what is loaded of a model in memory, or lets it be evicted again; says which.

        Raises:
            UnknownName: no host has it loaded.
            NotPermitted: that is for the Lantern to do that this one stands beside.
        """
        if not self._is_owner:
            verb = "pin" if is_pinned else "unpin"
            raise NotPermitted(
                f"Pins are kept by the Lantern that runs on this database: `/fleet {verb}` is for "
                "its Discord, or for a chat here while it is stopped."
            )
        # What was pinned and is out of memory just now can be unpinned too.
        pins = () if is_pinned else await self._keeper.pins()
        model, names = self._loaded(model, self._catalog.host(host) if host else None, pins)
        were_pinned: list[HostName] = []
        for name in names:
            copies = self._catalog.snapshot().hosts[name].instances
            meant = [copy for copy in copies if model in (copy.identifier, copy.model_key)]
            keys = {copy.model_key for copy in meant}
            if any(copy.pinned for copy in meant) or any(
                (name, key) in pins for key in keys or {ModelKey(model)}
            ):
                were_pinned.append(name)
            if keys:
                self._fleet.host(name).pin(model, is_pinned)
            for key in keys or {ModelKey(model)}:
                await self._keeper.pin(name, key, is_pinned)
        where = ", ".join(names)
        if is_pinned:
            return (
                f"`{model}` stays in memory on {where} until it is unpinned or unloaded; "
                "should it get lost, it is loaded again."
            )
        if not were_pinned:
            return f"`{model}` was not pinned on {where}."
        return f"`{model}` on {', '.join(were_pinned)} may leave memory again."

    async def drain(self, host: str, *, is_draining: bool, lasting: str | None = None) -> str:
        """Gives a machine back to its owner, or takes it into use again; says what that means.

        Args:
            host: Which.
            is_draining: False takes it into use again.
            lasting: After how long it ends by itself, as people write it; None until resumed.

        Raises:
            UnknownName: no such host.
            RequestRefused: that is no time.
            NotPermitted: that is for the Lantern to do that this one stands beside.
        """
        name, verb = self._catalog.host(host), "drain" if is_draining else "resume"
        if not self._is_owner:
            # It was confirmed, and that one went on as before.
            raise NotPermitted(
                f"{name} is drained and resumed by the Lantern that runs on this database: by "
                f"`/fleet {verb}` there, the page of its gateway or "
                f"`POST /admin/hosts/{name}/{verb}`."
            )
        try:
            left_s = None if lasting is None else parse_seconds(lasting, may_be_zero=False)
        except ValueError as error:
            raise RequestRefused(f"`{lasting[:40] if lasting else ''}` is not {error}.") from error
        was_draining = self._catalog.snapshot().hosts[name].drained_until is not None
        drain = Drain(name, is_draining, left_s)
        unstored = unstored_text(drain, await self._fleet.host(name).drained(drain))
        if not is_draining:
            if not was_draining:
                return f"{name} was not drained.{unstored}"
            return f"{name} takes new turns again.{unstored}"
        end = "" if left_s is None else f", at the latest in {seconds_text(left_s)}"
        return (
            f"{name} drains: running answers end, models that Lantern loaded leave when they are "
            f"at rest, and nothing new comes until `/fleet resume {name}`{end}.{unstored}"
        )

    async def resume(self, name: str) -> str:
        """Takes a drained machine into use again, or a provider that was left out; says which.

        Raises:
            UnknownName: no such host or provider.
        """
        provider = ProviderName(name.strip().lower())
        if provider not in self._providers.names:
            return await self.drain(name, is_draining=False)
        for deployment in self._providers.deployments(provider):
            self._providers.renew(deployment.config)
        return f"☁ {provider} is asked again, from the next question on."

    def _check_at_rest(self, name: str, only: HostName | None) -> None:
        """Is nothing of this name on its way into memory?

        Raises:
            RequestRefused: it is: "there is no loaded model" was no answer beside a load bar.
        """
        hosts = self._catalog.snapshot().hosts.values()
        loads = {
            str(host.load.model_key): host.name
            for host in hosts
            if host.load is not None and only in (None, host.name)
        }
        with suppress(UnknownName):
            key = resolve("load", name, loads)
            raise RequestRefused(
                f"`{key}` is still being loaded on {loads[key]}; Cancel under its load ends that."
            )

    def _loaded(
        self, name: str, only: HostName | None, pins: Collection[Pin] = ()
    ) -> tuple[str, tuple[HostName, ...]]:
        """The identifier or model key meant, and the hosts that have it in memory or pinned."""
        hosts = self._catalog.snapshot().hosts.values()
        names = {
            host.name: {str(text) for i in host.loaded for text in (i.identifier, i.model_key)}
            | {str(key) for at, key in pins if at == host.name}
            for host in hosts
            if only in (None, host.name)
        }
        # What a host that is away has in memory is not known, whatever its disk was seen to hold.
        unasked = tuple(h.name for h in hosts if h.name in names and h.state in AWAY)
        known = sorted(set[str]().union(*names.values()))
        found = resolve("loaded model", name, known, unasked)
        return found, tuple(host for host, held in names.items() if found in held)
