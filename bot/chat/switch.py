"""Switching: what answers here and why, and choosing another persona or model."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import structlog

from bot.chat.catalog import Catalog, ModelOption
from bot.chat.choices import Choices, Resolved
from bot.chat.consents import Consents
from bot.chat.planning import FIRST_LOOK_S, Asking, Job, Planner
from bot.chat.safe_channel import safe_channel
from bot.chat.walk import LoadSteps, Readiness, load_first
from bot.domain.chat import Message, Place, Route, Turn, TurnRequest
from bot.domain.errors import BotError, NoCandidates, NotPermitted, RequestRefused, UnknownName
from bot.domain.events import Progress
from bot.domain.ids import ModelKey, PersonaName, ProviderName, UserId
from bot.domain.personas import Persona
from bot.domain.values import value
from bot.fleet.fleet import Fleet
from bot.policy.access import Rights, check_may_switch
from bot.policy.choice import (
    Scope,
    key_for,
    provider_in,
    scope_keys,
    title_of,
    way_back,
    why_at_home,
)
from bot.policy.context import most_bytes
from bot.policy.names import shown_name
from bot.policy.place_rules import SetValue
from bot.policy.privacy import Consent, LocalOnly, Sources
from bot.policy.warmup import WARM_UP, WARM_UP_TTL_S, may_warm_up
from bot.store.choices import ChoiceStore, Subject
from bot.store.privacy import PrivacyStore
from bot.store.turns import TurnStore

_log = structlog.get_logger(__name__)

_NOBODY = UserId("")
"""Of a choice for many: whatever one of them has chosen or marked for themselves is not meant."""

TOO_LATE = "That choice is too long ago to be undone; `/model` and `/persona` choose anew."
UNDONE = "That was undone already."


@value
class Explanation:
    """What answers here, and why."""

    persona: Persona
    persona_reason: str
    model: ModelKey
    model_reason: str
    route: Route
    provider: ProviderName | None = None
    """Was chosen to go before the model."""
    way_back: str = ""
    """The command by which the persona's own model answers again; empty where it does."""


def model_words(said: Explanation) -> str:
    """Which model or provider answers, and why; one line."""
    if said.provider is not None:
        name = shown_name(said.persona.name)
        return f"{said.model_reason}; after it `{said.model}`, {name}'s own model"
    return f"`{said.model}` ({said.model_reason})"


def beside_words(said: Explanation, persona: Persona) -> str:
    """Why not simply this persona by its own model answers, just chosen; empty where it does."""
    if said.persona.name != persona.name:
        name = shown_name(said.persona.name)
        return f"For you here **{name}** still answers: {said.persona_reason}."
    if not said.way_back:
        return ""
    if said.provider is not None:
        return f"{said.model_reason}, so it answers first; {said.way_back} goes back."
    own = f"{shown_name(persona.name)}'s own `{persona.model}`"
    words = f"It answers with `{said.model}`, {said.model_reason}"
    return f"{words}; {said.way_back} goes back to {own}." if said.model != persona.model else ""


@value
class PersonaOption:
    """A persona that somebody may choose."""

    persona: Persona
    mark: str
    """How its model stands: ``warm · studio-1``; empty where it is any."""
    is_current: bool
    """It answers here now."""


class Switch:
    """Keeps choices and warms what was chosen."""

    def __init__(
        self,
        *,
        choices: Choices,
        consents: Consents,
        store: ChoiceStore,
        turns: TurnStore,
        privacy: PrivacyStore,
        planner: Planner,
        catalog: Catalog,
        fleet: Fleet,
    ) -> None:
        self._choices = choices
        self._consents = consents
        self._store = store
        self._turns = turns
        self._privacy = privacy
        self._planner = planner
        self._catalog = catalog
        self._fleet = fleet

    async def explain(self, place: Place, user: UserId) -> Explanation:
        """Who would answer the next message here, and by which route."""
        resolved = await self._choices.resolve(place, user)
        job = await self._next_job(resolved, place, user)
        return Explanation(
            persona=resolved.persona,
            persona_reason=resolved.persona_reason,
            model=resolved.model,
            model_reason=resolved.model_reason,
            route=job.route,
            provider=resolved.provider,
            way_back=way_back(resolved.scope),
        )

    async def options(
        self,
        place: Place,
        user: UserId,
        typed: str = "",
        limit: int = 25,
        persona: str | None = None,
    ) -> tuple[ModelOption, ...]:
        """What may be chosen here, as somebody types: models, and providers where words may leave.

        What answers here now comes first and is marked.
        """
        try:
            said = PersonaName(persona) if persona else None
            resolved = await self._choices.resolve(place, user, said)
            job = await self._next_job(resolved, place, user)
        except BotError:
            # Half a list is better than none to somebody who types.
            return self._catalog.models(typed, limit)
        consent, cloud = job.asking.consent, list[ProviderName]()
        if not isinstance(consent, LocalOnly):
            routed = [c.provider for c in job.route.candidates if c.provider is not None]
            # Those that are out of the order of fallbacks answer where they are chosen.
            every = dict.fromkeys((*routed, *self._catalog.providers()))
            cloud = [name for name in every if consent.covers((), name)]
        return self._catalog.models(typed, limit, cloud, resolved.value)

    async def personas(
        self, place: Place, user: UserId, typed: str = "", limit: int = 25
    ) -> tuple[PersonaOption, ...]:
        """Who may be chosen here, as somebody types; who answers now comes first and is marked."""
        current = ""
        with suppress(BotError):
            current = (await self._choices.resolve(place, user)).persona.name
        found = self._catalog.personas(typed, limit, user, place.server, current=current)
        return tuple(PersonaOption(p, self._catalog.stands(p), p.name == current) for p in found)

    async def check_model(
        self,
        place: Place,
        user: UserId,
        name: str,
        *,
        scope: Scope = "me",
        persona: PersonaName | None = None,
        again: Turn | None = None,
    ) -> str:
        """What is meant by a name, as it is stored, where it may be chosen; changes nothing.

        Args:
            place: Where.
            user: Who chooses.
            name: As they typed or picked it.
            scope: For whom.
            persona: Said for this turn alone.
            again: The turn that is answered once more: its words and those before it count.

        Raises:
            UnknownName: neither a host has it nor is it a provider.
            NoCandidates: no host answers, so nothing is known of models.
            NotPermitted: no words may leave there; it says which setting keeps them, and what
                opens it.
        """
        value = self._catalog.choice(name)
        if provider_in(value) is None:
            return value
        if again is not None:
            # The words stay their author's, whoever presses.
            resolved = await self._choices.resolve(
                place, again.user, persona or again.persona, value, has_spoken=persona is None
            )
            text_bytes = most_bytes(self._planner.window(resolved))
            said = await self._turns.branch(again.id, text_bytes=text_bytes)
            await self._check_leaves(resolved, place, user, said)
            return value
        who, at = (user, place) if scope == "me" else (_NOBODY, place)
        if scope == "server" and place.server is not None:
            # It holds in all its channels, whatever is marked in this one.
            at = replace(place, channel=place.server, thread=None)
        resolved = await self._choices.resolve(at, who, persona, value)
        await self._check_leaves(resolved, at, who)
        return value

    async def check_named(
        self,
        place: Place,
        user: UserId,
        *,
        persona: PersonaName | None = None,
        model: str | None = None,
        again: Turn | None = None,
    ) -> None:
        """Passes where whoever is named for one question may answer it, as far as is known.

        Asked before anything is begun for it that others read: the turn asks again, once it knows
        of all hosts. Arguments as for ``check_model``.

        Raises:
            UnknownName: nobody has that name, and each host has told of its models.
            NotPermitted: as ``check_model`` says.
        """
        if persona is not None:
            self._catalog.persona(persona, user, place.server)
        if model is None:
            return
        try:
            await self.check_model(place, user, model, persona=persona, again=again)
        except NoCandidates:
            # No host is there to tell; a provider may stand in, or one may be woken.
            return
        except UnknownName:
            if any(host.state == "unknown" for host in self._fleet.snapshot().hosts.values()):
                return
            raise

    async def set_model(
        self,
        place: Place,
        user: UserId,
        scope: Scope,
        name: str,
        *,
        rights: Rights,
        ticket: str = "",
    ) -> str:
        """Chooses a model, ``auto`` or a provider for a scope, kept across restarts.

        Returns:
            The choice as it is stored; ``title_of`` writes it for people.

        Raises:
            UnknownName: neither a host has it nor is it a provider.
            NotPermitted: the scope is not the asker's to change, or no words may leave there.
        """
        check_may_switch(scope, rights, is_private=place.is_private)
        # Right after the start every name was called unknown, before any host had answered.
        await self._fleet.settled(FIRST_LOOK_S)
        value = await self.check_model(place, user, name, scope=scope)
        key = key_for(scope, place, user)
        await self._store.put(key, "model", value, by=user, ticket=ticket)
        return value

    async def set_persona(
        self,
        place: Place,
        user: UserId,
        scope: Scope,
        name: str,
        *,
        rights: Rights,
        ticket: str = "",
    ) -> Persona:
        """Chooses a persona for a scope, kept across restarts.

        Raises:
            UnknownName: nobody has that name.
            NotPermitted: the scope is not the asker's to change.
        """
        check_may_switch(scope, rights, is_private=place.is_private)
        persona = self._catalog.persona(name, user, place.server)
        key = key_for(scope, place, user)
        await self._store.put(key, "persona", str(persona.name), by=user, ticket=ticket)
        return persona

    async def set_default(
        self, place: Place, user: UserId, scope: Scope, name: str | None, rights: Rights
    ) -> None:
        """Chooses who answers for everybody of a channel or server; None is as farther out.

        Raises:
            UnknownName: nobody has that name.
            NotPermitted: the scope is not the asker's to change.
        """
        check_may_switch(scope, rights)
        persona = (
            None if name is None else str(self._catalog.persona(name, None, place.server).name)
        )
        await self._store.put(key_for(scope, place, user), "persona", persona, by=user)

    @property
    def default_persona(self) -> PersonaName:
        """Who answers where nobody is chosen."""
        return self._choices.default_persona

    async def defaults(self, place: Place) -> Mapping[Scope, SetValue]:
        """Which personas are chosen for everybody of a place, by scope; by whom, and when."""
        found = await self._store.set_for(scope_keys(place, _NOBODY), "persona")
        return {key.scope: chosen for key, chosen in found.items()}

    async def undo(self, place: Place, user: UserId, ticket: str, *, rights: Rights) -> str:
        """Takes back the choice made by that ticket; says what is chosen instead now.

        Raises:
            NotPermitted: it was somebody else's, or is not the asker's to change any more.
            RequestRefused: it is too long ago, was undone before, or somebody chose since.
        """
        made = await self._store.change(ticket)
        if made is None:
            raise RequestRefused(TOO_LATE)
        if made.by != user and not rights.is_admin:
            raise NotPermitted("Only the person who chose, or an admin, may undo that.")
        scope, *_, subject = made.slot
        check_may_switch(scope, rights, is_private=place.is_private)
        outcome, now = await self._store.restore(ticket)
        match outcome:
            case "restored":
                return f"↩ Undone: {_chosen(subject, now)}."
            case "again":
                raise RequestRefused(UNDONE)
            case "gone":
                raise RequestRefused(TOO_LATE)
            case "changed":
                words = f"This was changed meanwhile: {_chosen(subject, now)}."
                raise RequestRefused(f"{words} Nothing was undone.")

    async def overtaken(self, tickets: Collection[str]) -> Mapping[str, str]:
        """Of the choices made by these tickets that are known, how somebody changed them since.

        In words; empty where nobody has, or the change was undone.
        """
        made = await self._store.overtaken(tickets)
        return {
            ticket: f"⚠ This was changed meanwhile: {_chosen(*now)}." if now else ""
            for ticket, now in made.items()
        }

    async def _check_leaves(
        self, resolved: Resolved, place: Place, user: UserId, said: Sequence[Turn] = ()
    ) -> None:
        """Passes where words may leave for the provider that was asked for by name.

        Args:
            resolved: With the provider.
            place: Where it is chosen.
            user: By whom.
            said: Words that are to leave, where these are known; the last turn's are asked anew.

        Raises:
            NotPermitted: they may not; it says by which setting, and what opens it.
        """
        persona, provider = resolved.persona, resolved.provider
        if provider is None:
            return
        author = said[-1].user if said else user
        consent = await self._consents.judge(resolved, _smallest(place, author), said, ())
        if isinstance(consent, LocalOnly):
            at = (place.channel, place.thread, place.server)
            asked = Sources(frozenset(filter(None, at)), frozenset({user}), frozenset())
            marks = await self._privacy.look_up(asked)
            own = user if user == author else None
            why = why_at_home(persona, place, own, marks) or consent.words
            raise NotPermitted(f"☁ {provider} cannot be asked here: {why}.")
        if not consent.covers((), provider):
            asks = ", ".join(persona.cloud or ())
            words = (
                f"persona {shown_name(persona.name)} asks only {asks}; choose another by `/persona`"
            )
            raise NotPermitted(f"☁ {provider} cannot be asked here: {words}.")

    def warm(
        self,
        place: Place,
        user: UserId,
        *,
        persona: PersonaName | None = None,
        model: str | None = None,
    ) -> LoadSteps:
        """Loads what would answer here (or what was just chosen): progress, then how it ended.

        Where only a provider can answer nothing is loaded; where nobody can, that is told as well.
        Leaving early cancels no load.
        """

        async def produce(emit: Callable[[Progress | Readiness], Awaitable[None]]) -> None:
            resolved = await self._choices.resolve(place, user, persona, model)
            job = await self._next_job(resolved, place, user)
            wish = replace(job.wish, purpose="order")
            ready = await load_first(self._fleet, wish, job.route, emit)
            await emit(replace(ready, provider=resolved.provider))

        return safe_channel(produce)

    async def warm_up(self, place: Place, user: UserId) -> None:
        """Starts to load what would answer here, where it takes nothing of anybody; waits for none.

        Raises:
            StoreUnavailable: it cannot be read what answers here.
        """
        resolved = await self._choices.resolve(place, user)
        job = await self._next_job(resolved, place, user)
        first = next(iter(job.route.candidates), None)
        if first is None or first.host is None:
            return
        # Of the newest snapshot: the route may be of a moment ago.
        fleet, wish = self._fleet.snapshot(), job.wish
        ttl_s = min(wish.idle_ttl_s or WARM_UP_TTL_S, WARM_UP_TTL_S)
        guess = replace(wish, model_key=first.model, idle_ttl_s=ttl_s, user=WARM_UP, priority="low")
        guess = replace(guess, purpose="hint")
        if may_warm_up(fleet.hosts[first.host], guess, fleet.taken_at):
            _log.info("model warmed up", host=first.host, model=first.model)
            async with self._fleet.host(first.host).lease(guess):
                pass

    async def _next_job(self, resolved: Resolved, place: Place, user: UserId) -> Job:
        """The job of whatever is asked next, with all it goes on from.

        Loaded for the smallest question alone, a model was loaded a second time by the first one
        of a long conversation, with room for its words. And a provider was said to answer next
        where earlier words kept the conversation at home.
        """
        branch = await self._turns.newest_branch(
            place.conversation,
            resolved.persona.name,
            user,
            text_bytes=most_bytes(self._planner.window(resolved)),
        )
        request = _smallest(place, user)
        await self._planner.prepare()

        async def judge(messages: Sequence[Message]) -> Consent:
            return await self._consents.judge(resolved, request, branch, messages)

        return self._planner.job(Asking(resolved, branch, request, await judge(()), judge, user))


def _smallest(place: Place, user: UserId) -> TurnRequest:
    """Nothing is asked yet, so the smallest question stands for whatever will be."""
    return TurnRequest(user=user, user_name="", place=place, text="…")


def _chosen(subject: Subject, value: str | None) -> str:
    if value is None:
        return f"no {subject} is chosen"
    return f"{title_of(value) if subject == 'model' else f'**{shown_name(value)}**'} is chosen"
