"""What to do when Discord does not take a message: told apart by what the writer does next."""

from enum import Enum

import aiohttp
import discord

SENDING_ERRORS = (
    discord.DiscordException,
    aiohttp.ClientError,  # a cut line is one of these, not an HTTPException
    OSError,
    TimeoutError,
    RuntimeError,  # aiohttp's word for a session that was closed: we are leaving
)
"""Everything a call to Discord may raise."""

_GONE = frozenset({
    10003,  # unknown channel
    10004,  # unknown guild
    10008,  # unknown message: somebody deleted it
    10062,  # unknown interaction: not answered within 3 s
    40060,  # interaction already answered: another process has this token
    50007,  # direct messages closed
    50278,  # no server in common any more
})  # fmt: skip
_EXPIRED = frozenset({10015, 50027})  # unknown webhook, invalid webhook token
_ARCHIVED = 50083


class Fault(Enum):
    """Why a message was not taken."""

    GONE = "gone"
    """There is no place to show it any more: stop the work."""
    DENIED = "denied"
    """We may not do that here; a permission taken in the middle may come back."""
    EXPIRED = "expired"
    """The interaction's fifteen minutes are over: go on by plain message edits."""
    ARCHIVED = "archived"
    """The thread was archived: its messages cannot be edited, a new one opens it again."""
    REFUSED = "refused"
    """Discord will never take this very content."""
    LEAVING = "leaving"
    """We have disconnected: the next start closes what is open."""
    PASSING = "passing"
    """Try again in a moment."""


def fault_of(error: BaseException) -> Fault:
    """The kind of trouble an error of ``SENDING_ERRORS`` stands for."""
    if isinstance(error, RuntimeError):
        return Fault.LEAVING
    if not isinstance(error, discord.HTTPException):
        return Fault.PASSING
    if error.code == _ARCHIVED:
        return Fault.ARCHIVED
    if error.code in _EXPIRED or error.status == 401:
        return Fault.EXPIRED
    if error.code in _GONE or error.status == 404:
        return Fault.GONE
    if error.status == 403:
        return Fault.DENIED
    if error.status >= 500 or error.status == 429:
        return Fault.PASSING
    return Fault.REFUSED
