"""Switching: what answers here and why, and choosing another persona or model."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from bot.chat.catalog import Catalog
from bot.chat.choices import Choices, Resolved
from bot.chat.consents import Consents
from bot.chat.planning import FIRST_LOOK_S, Asking, Job, Planner
from bot.chat.safe_channel import safe_channel
from bot.chat.walk import LoadSteps, Readiness, load_first
from bot.domain.chat import Message, Place, Route, TurnRequest
from bot.domain.events import Progress
from bot.domain.ids import ModelKey, PersonaName, UserId
from bot.domain.personas import Persona
from bot.fleet.fleet import Fleet
from bot.policy.access import check_may_switch
from bot.policy.choice import Scope, key_for
from bot.policy.privacy import Consent
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
        # Right after the start every name was called unknown, before any host had answered.
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
    ) -> LoadSteps:
        """Loads what would answer here (or what was just chosen): progress, then how it ended.

        Where only a provider can answer nothing is loaded; where nobody can, that is told as well.
        Leaving early cancels no load.
        """

        async def produce(emit: Callable[[Progress | Readiness], Awaitable[None]]) -> None:
            resolved = await self._choices.resolve(place, user, persona, model)
            job = await self._job(resolved, place, user)
            ready = await load_first(self._fleet, job.wish, job.route, emit)
            await emit(replace(ready, provider=resolved.provider))

        return safe_channel(produce)

    async def _job(self, resolved: Resolved, place: Place, user: UserId) -> Job:
        # Nothing is asked yet, so the smallest question stands for whatever will be.
        request = TurnRequest(user=user, user_name="", place=place, text="…")
        await self._planner.prepare()

        async def judge(messages: Sequence[Message]) -> Consent:
            return await self._consents.judge(resolved, request, (), messages)

        return self._planner.job(Asking(resolved, (), request, await judge(()), judge, user))
