"""Stand-ins for a class whose methods record their calls; what the class has not, they have not."""

import inspect
from functools import cache
from types import MethodType
from typing import Any
from unittest.mock import AsyncMock, MagicMock, create_autospec


class _StandIn:
    """Makes each attribute when it is first asked for.

    ``MagicMock(spec=...)`` and ``create_autospec`` look all of a class over for each object: of a
    Lantern no test uses more than a few methods of, that was 45 ms.
    """

    def __init__(self, kind: type, *, is_checked: bool) -> None:
        self._stands_for = kind
        self._is_checked = is_checked

    @property
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]  # only read
        return self._stands_for

    def __getattr__(self, name: str) -> Any:
        members = _members(self._stands_for)
        if name not in members:
            raise AttributeError(f"{self._stands_for.__name__} has no {name!r}")
        method = members[name]
        if method is None:
            made = MagicMock()
        elif self._is_checked:
            made = create_autospec(method)
        else:
            made = AsyncMock() if inspect.iscoroutinefunction(method) else MagicMock()
        self.__dict__[name] = made
        return made


@cache
def _members(kind: type) -> dict[str, Any]:
    """What a class has by name: a method as its caller sees it, None for anything else."""
    found = dict[str, Any]()
    for name in dir(kind):
        member = inspect.getattr_static(kind, name)
        if inspect.isfunction(member):
            found[name] = MethodType(member, object())
        else:
            method = getattr(kind, name, None)
            found[name] = method if inspect.isroutine(method) else None
    return found


def double(kind: type) -> Any:
    """Something of that class: asking for what the class has not fails."""
    return _StandIn(kind, is_checked=False)


def checked(kind: type) -> Any:
    """The same, and a call its method would not take fails too."""
    return _StandIn(kind, is_checked=True)
