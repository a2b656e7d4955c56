"""Which persona and model answer here: stored choices by scope, resolved to nouns."""

from collections.abc import Callable
from datetime import datetime

from bot.documents.shelf import PersonaShelf
from bot.domain.chat import Place
from bot.domain.errors import RequestRefused
from bot.domain.ids import AUTO, ModelKey, PersonaName, ProviderName, UserId
from bot.domain.personas import Persona
from bot.domain.values import value
from bot.policy.choice import CLOUD, Scope, choose, provider_in, scope_keys
from bot.policy.names import shown_name
from bot.store.choices import ChoiceStore

PLAIN = Persona(name=PersonaName(""), description="a model without a persona")
"""Answers a request that names a model alone; no persona's file can have this name."""


@value
class Resolved:
    """Who answers with what, and why, in words for people."""

    persona: Persona
    persona_reason: str
    model: ModelKey
    model_reason: str
    is_named: bool
    """A model was asked for by name, so the persona's alternatives do not apply."""
    provider: ProviderName | None = None
    """A provider was asked for by name: it goes first, the persona's models stand in."""
    is_substitute: bool = False
    """The persona chosen here is gone, so this one answers in its place."""
    scope: Scope | None = None
    """For whom the model or provider was chosen; None where the persona's own answers."""
    now: datetime | None = None
    """When a prompt says it is, in the zone people live in. Once for a turn: its transcript is made
    anew for each candidate, and stays the same."""

    @property
    def models(self) -> tuple[ModelKey, ...]:
        """Models that may answer, in order."""
        if self.is_named or self.model == AUTO:
            return (self.model,)
        return (self.model, *self.persona.alternatives)

    @property
    def value(self) -> str:
        """What answers here first, as a choice of it is stored."""
        return f"{CLOUD}{self.provider}" if self.provider is not None else str(self.model)


class Choices:
    """Resolves choices for a turn; owns nothing, reads the store and the shelf."""

    def __init__(
        self,
        store: ChoiceStore,
        shelf: PersonaShelf,
        find_choice: Callable[[str], str],
        default_persona: PersonaName,
        now: Callable[[], datetime],
        has_own: Callable[[Place], bool] = lambda _: True,
    ) -> None:
        self._store = store
        self._shelf = shelf
        self._find_choice = find_choice
        self.default_persona = default_persona
        """Answers where nobody is chosen."""
        self._now = now
        """The time in prompts, in the zone people live in."""
        self._has_own = has_own
        """May people choose for themselves there, as of now?"""

    def check_left(self, resolved: Resolved) -> None:
        """Is whoever was to answer still there, as their answer is about to begin?

        Raises:
            RequestRefused: the persona was deleted while its question waited.
        """
        if self._shelf.get(resolved.persona.name) is None:
            # Nobody stands in unasked: the words were meant for another.
            name = shown_name(resolved.persona.name)
            words = f"{name} was deleted while this waited; Retry has another persona answer."
            raise RequestRefused(words)

    async def resolve(
        self,
        place: Place,
        user: UserId,
        persona: PersonaName | None = None,
        model: str | None = None,
        *,
        has_spoken: bool = False,
    ) -> Resolved:
        """Who answers here; ``persona`` and ``model`` are options said for this turn alone.

        With ``has_spoken`` the persona gave the answer that was pressed: where it is gone whoever
        is chosen here stands in.

        Raises:
            UnknownName: an option names nobody, or what neither a host nor a provider is.
            RequestRefused: the option is an embedding model.
            NoCandidates: no host answers, so nothing is known of the model.
            StoreUnavailable: the choices cannot be read.
        """
        # One read for all scopes instead of one for each: every turn begins with it.
        keys = scope_keys(place, user)
        if not self._has_own(place):
            keys = tuple(key for key in keys if key.scope != "me")
        said: str | None = None
        gone: str | None = None
        if has_spoken and persona is not None and self._shelf.get(str(persona)) is None:
            gone = persona
        elif persona is not None:
            said = self._shelf.find(persona, user, place.server).name
        option = self._find_choice(model) if model is not None else None
        stored = await self._store.get(keys)
        opened_on = stored.opened_on if self._has_own(place) else None
        if opened_on is not None:
            # One made for somebody else alone stays theirs: whoever else asks here has their own.
            seen = {persona.name for persona in self._shelf.seen_by(user, place.server)}
            opened_on = opened_on if opened_on in seen else None
        wanted = choose(said, stored.personas, keys, str(self.default_persona), opened_on)
        # A press asked for nobody.
        why_who = "who answered before" if has_spoken else wanted.reason
        who = self._shelf.get(wanted.value)
        if who is None:
            gone = gone or wanted.value
            who = self._shelf.get(str(self.default_persona)) or self._shelf.all()[0]
        # The words were meant for another: who stands in is told, and nothing leaves the LAN.
        if is_gone := gone is not None:
            why_who = f"{shown_name(gone)} is gone, so {shown_name(who.name)} answers"
        now = self._now()
        picked = choose(option, stored.models, keys, "")
        if (provider := provider_in(picked.value)) is not None:
            words = f"☁ {provider} {picked.reason}"
            scope = picked.scope
            return Resolved(who, why_who, who.model, words, False, provider, is_gone, scope, now)
        if not picked.value or picked.value == AUTO:
            reason = f"{shown_name(who.name)}'s own model"
            if picked.value == AUTO:
                reason = f"auto ({picked.reason}): {reason}"
            return Resolved(who, why_who, who.model, reason, False, None, is_gone, None, now)
        named = ModelKey(picked.value)
        return Resolved(who, why_who, named, picked.reason, True, None, is_gone, picked.scope, now)
