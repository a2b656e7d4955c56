"""Switching: what answers here and why, and choosing another persona or model."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace

from bot.chat.catalog import Catalog
from bot.chat.channel import safe_channel
from bot.chat.choices import Choices, Resolved
from bot.chat.consents import Consents
from bot.chat.planning import FIRST_LOOK_S, Asking, Job, Planner
from bot.domain.chat import Place, Route, TurnRequest
from bot.domain.errors import NoCandidates, Unavailable
from bot.domain.events import Progress
from bot.domain.ids import HostName, ModelKey, PersonaName, UserId
from bot.domain.personas import Persona
from bot.fleet.fleet import Fleet
from bot.policy.access import check_may_switch
from bot.policy.choice import Scope, key_for
from bot.policy.privacy import CloudConsent, LocalOnly
from bot.store.choices import ChoiceStore


@dataclass(frozen=True, slots=True)
class Explanation:
    """What answers here, and why."""

    persona: Persona
    persona_reason: str
    model: ModelKey
    model_reason: str
    route: Route


class Switch:
    """Keeps choices and warms what was chosen."""

    def __init__(
        self,
        *,
        choices: Choices,
        consents: Consents,
        store: ChoiceStore,
        planner: Planner,
        catalog: Catalog,
        fleet: Fleet,
    ) -> None:
        self._choices = choices
        self._consents = consents
        self._store = store
        self._planner = planner
        self._catalog = catalog
        self._fleet = fleet

    async def explain(self, place: Place, user: UserId) -> Explanation:
        """Who would answer the next message here, and by which route."""
        resolved = await self._choices.resolve(place, user)
        job = await self._job(resolved, place, user)
        return Explanation(
            persona=resolved.persona,
            persona_reason=resolved.persona_reason,
            model=resolved.model,
            model_reason=resolved.model_reason,
            route=job.route,
        )

    async def set_model(
        self, place: Place, user: UserId, scope: Scope, name: str, *, is_admin: bool
    ) -> ModelKey:
        """Chooses a model (or ``auto``) for a scope, kept across restarts.

        Raises:
            UnknownName: no host has it.
            NotPermitted: the scope is not the asker's to change.
        """
        check_may_switch(scope, is_admin=is_admin, is_private=place.is_private)
        await self._fleet.settled(FIRST_LOOK_S)
        model = self._catalog.model(name)
        await self._store.put(key_for(scope, place, user), "model", str(model))
        return model

    async def set_persona(
        self, place: Place, user: UserId, scope: Scope, name: str, *, is_admin: bool
    ) -> Persona:
        """Chooses a persona for a scope, kept across restarts.

        Raises:
            UnknownName: nobody has that name.
            NotPermitted: the scope is not the asker's to change.
        """
        check_may_switch(scope, is_admin=is_admin, is_private=place.is_private)
        persona = self._catalog.persona(name)
        await self._store.put(key_for(scope, place, user), "persona", str(persona.name))
        return persona

    def warm(
        self,
        place: Place,
        user: UserId,
        *,
        persona: PersonaName | None = None,
        model: ModelKey | None = None,
    ) -> AbstractAsyncContextManager[AsyncIterator[Progress]]:
        """Loads what would answer here (or what was just chosen), as progress.

        Ends when it is in memory; no progress at all means it was there already.

        Errors leave the iteration: any ``Unavailable``, ``NoCandidates``.
        """

        async def produce(emit: Callable[[Progress], Awaitable[None]]) -> None:
            resolved = await self._choices.resolve(place, user, persona, model)
            await self._warm(resolved, place, user, emit)

        return safe_channel(produce)

    async def cancel_warm(self, host: HostName, model: ModelKey) -> bool:
        """Cancels a load that nobody else waits for."""
        return await self._fleet.cancel_load(host, model)

    async def _job(self, resolved: Resolved, place: Place, user: UserId) -> Job:
        request = TurnRequest(user=user, user_name="", place=place, text="…")
        await self._planner.prepare()
        messages = self._planner.messages(resolved, (), request)

        async def judge() -> CloudConsent | LocalOnly:
            return await self._consents.judge(resolved, request, (), messages)

        asking = Asking(resolved, (), request, messages, messages, await judge(), judge, user)
        return self._planner.job(asking)

    async def _warm(
        self,
        resolved: Resolved,
        place: Place,
        user: UserId,
        emit: Callable[[Progress], Awaitable[None]],
    ) -> None:
        job = await self._job(resolved, place, user)
        failures: list[str] = []
        for candidate in job.route.candidates:
            if candidate.host is None:
                return
            wish = replace(job.wish, model_key=candidate.model)
            try:
                async with self._fleet.lease(candidate.host, wish) as lease:
                    async for step in lease:
                        await emit(step)
            except Unavailable as failed:
                failures.append(f"• {candidate.where}: {failed.user_message}")
            else:
                return
        failures.extend(f"• {r.where}: {r.reason}" for r in job.route.rejected)
        reasons = "\n".join(failures)
        raise NoCandidates(f"No host can load `{resolved.model}` now.\n{reasons}".rstrip())
