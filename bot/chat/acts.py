"""What people do to the fleet by hand: load, unload, pin, drain."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from bot.chat.catalog import Catalog
from bot.chat.channel import safe_channel
from bot.chat.planning import FIRST_LOOK_S, ChatRules
from bot.domain.errors import FailureKind, NoCandidates, NotPermitted, Unavailable, UnknownName
from bot.domain.events import Progress
from bot.domain.hosts import Wish
from bot.domain.ids import AUTO, HostName, ModelKey
from bot.domain.personas import LoadSettings
from bot.fleet.fleet import Fleet
from bot.policy.names import resolve
from bot.policy.routing import RouteAsk, plan_route


class FleetActs:
    """Acts on the fleet; who may do so is the face's to check with ``policy.access``."""

    def __init__(self, fleet: Fleet, catalog: Catalog, rules: ChatRules) -> None:
        self._fleet = fleet
        self._catalog = catalog
        self._rules = rules

    def load(
        self,
        host: str | None,
        model: str,
        load: LoadSettings | None = None,
        *,
        idle_ttl_s: float | None = None,
    ) -> AbstractAsyncContextManager[AsyncIterator[Progress]]:
        """Loads a model (on the best host when none is named), as progress until it is there.

        No progress at all means it was in memory already. Errors leave the iteration:
        ``UnknownName``, any ``Unavailable``, ``NoCandidates``.
        """

        async def produce(emit: Callable[[Progress], Awaitable[None]]) -> None:
            await self._fleet.settled(FIRST_LOOK_S)
            key = self._catalog.any_model(model)
            wish = Wish(
                model_key=key,
                load=load or LoadSettings(),
                idle_ttl_s=idle_ttl_s or self._rules.idle_ttl_s,
                user="by hand",
            )
            hosts = (self._catalog.host(host),) if host else self._hosts_for(key, wish)
            await self._load_on_first(hosts, wish, emit)

        return safe_channel(produce)

    async def cancel_load(self, host: str, model: str) -> bool:
        """Cancels a load that nobody else waits for."""
        return await self._fleet.cancel_load(self._catalog.host(host), ModelKey(model))

    async def unload(self, host: str | None, model: str, *, even_foreign: bool = False) -> str:
        """Unloads a model from one host, or from every host that has it loaded.

        Returns:
            What happened, in plain words.

        Raises:
            UnknownName: no host has it loaded.
            NotPermitted: it is answering somebody, or foreign and ``even_foreign`` is not set.
            Unavailable: no host took it out of memory; with each one's own reason.
        """
        only = self._catalog.host(host) if host else None
        model, names = self._loaded(model, only)
        done: list[str] = []
        stays: list[str] = []
        refused: list[NotPermitted] = []
        for name in names:
            try:
                meant = await self._fleet.unload(name, model, even_foreign=even_foreign)
            except NotPermitted as error:
                refused.append(error)
            else:
                for identifier, why in meant.items():
                    what = f"`{identifier}` on {name}"
                    if why:
                        stays.append(f"{what} is still in memory: {why}")
                    else:
                        done.append(what)
        if not done and stays:
            raise Unavailable(" ".join(stays), FailureKind.SERVER)
        if not done and refused:
            raise refused[0]
        said = f"Unloaded {', '.join(done)}."
        return " ".join([said, *stays, *(error.user_message for error in refused)])

    def _loaded(self, name: str, only: HostName | None) -> tuple[str, tuple[HostName, ...]]:
        """The identifier or model key meant, and the hosts that have it in memory."""
        hosts = self._catalog.snapshot().hosts.values()
        names = {
            host.name: {str(text) for i in host.instances for text in (i.identifier, i.model_key)}
            for host in hosts
            if only in (None, host.name)
        }
        found = resolve("loaded model", name, sorted(set[str]().union(*names.values())))
        return found, tuple(host for host, held in names.items() if found in held)

    def _hosts_for(self, key: ModelKey, wish: Wish) -> tuple[HostName, ...]:
        if key == AUTO:
            raise UnknownName("model", key, ())
        ask = RouteAsk(models=(key,), load=wish.load)
        snapshot = self._catalog.snapshot()
        route = plan_route(snapshot, ask, (), snapshot.taken_at)
        hosts = tuple(c.host for c in route.candidates if c.host is not None)
        if not hosts:
            reasons = "\n".join(f"• {r.where}: {r.reason}" for r in route.rejected)
            raise NoCandidates(f"No host can load `{key}` now.\n{reasons}".rstrip())
        return hosts

    async def _load_on_first(
        self,
        hosts: tuple[HostName, ...],
        wish: Wish,
        emit: Callable[[Progress], Awaitable[None]],
    ) -> None:
        failures: list[Unavailable] = []
        for host in hosts:
            try:
                async with self._fleet.lease(host, wish) as lease:
                    async for step in lease:
                        await emit(step)
            except Unavailable as failed:
                failures.append(failed)
            else:
                return
        if len(failures) == 1:
            raise failures[0]
        tried = "\n".join(f"• {h}: {f.user_message}" for h, f in zip(hosts, failures, strict=True))
        raise NoCandidates(f"No host could load `{wish.model_key}`. Tried:\n{tried}")
