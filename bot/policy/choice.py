"""Which stored choice is in force: the nearest scope wins."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from bot.domain.chat import Place
from bot.domain.errors import NotPermitted
from bot.domain.ids import PlaceId, UserId


class Scope(StrEnum):
    """For whom a choice of model or persona holds."""

    ME = "me"
    """This person, in this channel or thread."""
    THREAD = "thread"
    CHANNEL = "channel"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class ScopeKey:
    """The one slot a choice is stored in."""

    scope: Scope
    place: PlaceId
    user: UserId | None = None
    """Set for ``Scope.ME`` alone."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The value in force and, in words for people, where it comes from."""

    value: str
    reason: str


_REASONS = {
    Scope.ME: "chosen by you here",
    Scope.THREAD: "chosen for this thread",
    Scope.CHANNEL: "chosen for this channel",
    Scope.SERVER: "chosen for this server",
}


def scope_keys(place: Place, user: UserId) -> tuple[ScopeKey, ...]:
    """Every slot that may hold a choice for this person in this place, nearest first."""
    keys = [ScopeKey(Scope.ME, place.conversation, user), ScopeKey(Scope.CHANNEL, place.channel)]
    if place.thread is not None:
        keys.insert(0, ScopeKey(Scope.THREAD, place.thread))
    if place.server is not None:
        keys.append(ScopeKey(Scope.SERVER, place.server))
    return tuple(keys)


def key_for(scope: Scope, place: Place, user: UserId) -> ScopeKey:
    """The slot a new choice goes to; ``channel`` said inside a thread means that thread.

    Raises:
        NotPermitted: the place has no thread or no server to choose for.
    """
    match scope:
        case Scope.ME:
            return ScopeKey(Scope.ME, place.conversation, user)
        case Scope.SERVER:
            return _server_key(place)
        case Scope.THREAD if place.thread is None:
            raise NotPermitted("This is not a thread, so nothing can be chosen for one here.")
        case Scope.THREAD | Scope.CHANNEL if place.thread is not None:
            return ScopeKey(Scope.THREAD, place.thread)
        case _:
            return ScopeKey(Scope.CHANNEL, place.channel)


def choose(
    option: str | None, stored: Mapping[ScopeKey, str], keys: Iterable[ScopeKey], configured: str
) -> Choice:
    """Take what was said for this turn, else the nearest stored choice, else the configured one."""
    if option:
        return Choice(option, "asked for this turn")
    for key in keys:
        if value := stored.get(key):
            return Choice(value, _REASONS[key.scope])
    return Choice(configured, "the configured default")


def _server_key(place: Place) -> ScopeKey:
    if place.server is None:
        raise NotPermitted("There is no server here; choose for yourself or for this channel.")
    return ScopeKey(Scope.SERVER, place.server)
