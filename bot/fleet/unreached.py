"""Why a host could not be reached, in words for people: asleep is not crashed."""

import errno
import socket
from collections.abc import Iterator
from typing import cast

import httpx

from bot.domain.errors import FailureKind, HostUnreachable

_NOBODY_THERE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ETIMEDOUT})
_REFUSED = errno.ECONNREFUSED


def unreached(address: str, error: httpx.HTTPError | OSError) -> HostUnreachable:
    """The failure of a call that got no answer."""
    match error:
        case httpx.ConnectTimeout():
            return HostUnreachable(_asleep(address), FailureKind.TIMEOUT)
        case httpx.TimeoutException():
            text = f"{address} accepts connections and says nothing: it hangs, or is too busy."
            return HostUnreachable(text, FailureKind.TIMEOUT)
        case httpx.ConnectError():
            return HostUnreachable(_unconnected(address, error))
        case _:
            text = f"{address} cut the connection ({type(error).__name__})."
            return HostUnreachable(text, FailureKind.CUT)


def _unconnected(address: str, error: Exception) -> str:
    causes = list(_beneath(error))
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        name = address.rpartition(":")[0]
        return f"The name {name} cannot be resolved: check its spelling, or use the address."
    numbers = {cause.errno for cause in causes if isinstance(cause, OSError)}
    if _REFUSED in numbers:
        return f"{address} refuses connections: LM Studio's server is not running there."
    return _asleep(address) if numbers & _NOBODY_THERE else f"{address} cannot be reached."


def _asleep(address: str) -> str:
    return f"Nothing answers at {address}: the machine is asleep or switched off."


def _beneath(error: BaseException | None) -> Iterator[BaseException]:
    """An error and all that led to it; a name with two addresses fails in a group."""
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for part in cast("BaseExceptionGroup[BaseException]", error).exceptions:
                yield from _beneath(part)
        error = error.__cause__ or error.__context__
