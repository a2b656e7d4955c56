"""Which stored choice is in force: the nearest scope wins."""

from collections.abc import Iterable, Mapping
from typing import Literal

from bot.domain.chat import Place
from bot.domain.errors import NotPermitted
from bot.domain.ids import PlaceId, ProviderName, UserId
from bot.domain.personas import Persona
from bot.domain.values import value
from bot.policy.names import shown_name
from bot.policy.privacy import OPEN_OWN, Marks, why_place

Scope = Literal["me", "thread", "channel", "server"]
"""For whom a choice of model or persona holds.

``me``: this person, in this channel or thread.
"""

SCOPES: Mapping[str, Scope] = {
    "me": "me",
    "thread": "thread",
    "channel": "channel",
    "server": "server",
}
"""By what people write."""


CLOUD = "cloud:"
"""Before a provider's name, where a provider was chosen instead of a model."""


def provider_in(value: str) -> ProviderName | None:
    """The provider that a stored choice names; None: it names a model."""
    # Marked, for a model's key may begin with a provider's name: `openai/gpt-oss-20b` runs here.
    return ProviderName(value.removeprefix(CLOUD)) if value.startswith(CLOUD) else None


def title_of(value: str) -> str:
    """How a choice of model or provider is written for people: ``☁ zai``, `` `qwen/qwen3-8b` ``."""
    provider = provider_in(value)
    return f"`{value}`" if provider is None else f"☁ {provider}"


@value
class ScopeKey:
    """The one slot a choice is stored in."""

    scope: Scope
    place: PlaceId
    user: UserId | None = None
    """Set for ``me`` alone."""


@value
class Choice:
    """The value in force and, in words for people, where it comes from."""

    value: str
    reason: str
    scope: Scope | None = None
    """Whose choice it is; None where nobody chose for good."""


_REASONS = {
    "me": "chosen by you here",
    "thread": "chosen for this thread",
    "channel": "chosen for this channel",
    "server": "chosen for this server",
}


def scope_keys(place: Place, user: UserId) -> tuple[ScopeKey, ...]:
    """Every slot that may hold a choice for this person in this place, nearest first."""
    keys = [ScopeKey("me", place.conversation, user), ScopeKey("channel", place.channel)]
    if place.thread is not None:
        keys.insert(0, ScopeKey("thread", place.thread))
    if place.server is not None:
        keys.append(ScopeKey("server", place.server))
    return tuple(keys)


def key_for(scope: Scope, place: Place, user: UserId) -> ScopeKey:
    """The slot a new choice goes to; ``channel`` said inside a thread means that thread.

    Raises:
        NotPermitted: the place has no thread or no server to choose for.
    """
    match scope:
        case "me":
            return ScopeKey("me", place.conversation, user)
        case "server" if place.server is not None:
            return ScopeKey("server", place.server)
        case "server":
            raise NotPermitted("There is no server here; choose for yourself or for this channel.")
        case "thread" if place.thread is None:
            raise NotPermitted("This is not a thread, so nothing can be chosen for one here.")
        case "thread" | "channel" if place.thread is not None:
            return ScopeKey("thread", place.thread)
        case _:
            return ScopeKey("channel", place.channel)


def choose(
    option: str | None,
    stored: Mapping[ScopeKey, str],
    keys: Iterable[ScopeKey],
    configured: str,
    opened_on: str | None = None,
) -> Choice:
    """Take what was said for this turn, else the nearest stored choice, else the configured one.

    What answered the message a thread was opened on goes before what is chosen farther out.
    """
    if option:
        return Choice(option, "asked for this turn")
    for key in keys:
        if opened_on and key.scope in ("channel", "server"):
            break
        if value := stored.get(key):
            return Choice(value, _REASONS[key.scope], key.scope)
    if opened_on:
        return Choice(opened_on, "whose answer this thread was opened on")
    return Choice(configured, "the configured default")


def way_back(scope: Scope | None) -> str:
    """The command that takes a choice of a model back; empty where there is none to take back."""
    # Nothing nearer than a thread's choice can be made: one's own would change nothing there.
    places = {None: "", "me": "`/model auto`", "thread": "`/model auto scope:channel`"}
    return places.get(scope, f"`/model auto`, for all `/model auto scope:{scope}`")


def as_others_read(told: str) -> str:
    """What was told of a choice to whose it is, as somebody else reads it.

    Theirs is not "chosen by you", nor does its way back lead anywhere from theirs.
    """
    mine, theirs = _REASONS["me"], "chosen by whoever asked"
    return told.replace(f"{mine} ({way_back('me')} goes back)", theirs).replace(mine, theirs)


def why_at_home(persona: Persona, place: Place, user: UserId | None, marks: Marks) -> str:
    """Which setting keeps words here on the LAN, and what opens them; empty where none does."""
    if persona.cloud == ():
        return (
            f"persona {shown_name(persona.name)} never uses the cloud; choose another by `/persona`"
        )
    if persona.local_only:
        return f"persona {shown_name(persona.name)} is local only; choose another by `/persona`"
    if user in marks.people:
        return f"you keep your own words local only; {OPEN_OWN} opens them"
    return "; ".join(filter(None, why_place(place, marks)))
