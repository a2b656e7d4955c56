"""Stand-ins for a class whose methods record their calls; what the class has not, they have not."""

import inspect
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple, cast


class Given(NamedTuple):
    """What one call was given."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Method:
    """Records how it is called, and answers as told, in the words of ``unittest.mock``.

    An ``AsyncMock`` takes half a millisecond to make, and one press of a button twenty of them.
    """

    def __init__(
        self,
        side_effect: object = None,
        *,
        is_async: bool = True,
        takes: inspect.Signature | None = None,
    ) -> None:
        self.call_args_list: list[Given] = []
        self.await_args_list: list[Given] = []
        self.side_effect = side_effect
        """An exception, a function, or one answer for each call."""
        self._is_async = is_async
        self._takes = takes
        """A call that does not fit raises."""

    def __getattr__(self, name: str) -> Any:
        if name != "return_value":
            raise AttributeError(f"a method has no {name!r}")
        made = self.return_value = Anything(is_async=False)
        return made

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = Given(args, kwargs)
        self._fitting(given)
        self.call_args_list.append(given)
        return self._awaited(given) if self._is_async else self._answer(given)

    async def _awaited(self, given: Given) -> Any:
        self.await_args_list.append(given)
        answer = self._answer(given)
        return await answer if inspect.isawaitable(answer) else answer

    def _answer(self, given: Given) -> Any:
        effect: Any = self.side_effect
        if effect is None:
            return self.return_value
        assert not isinstance(effect, type), "an exception itself, not its class"
        if callable(effect):
            return effect(*given.args, **given.kwargs)
        if isinstance(effect, Iterable):
            answers = cast("Iterable[Any]", effect)
            effect = self.side_effect = iter(answers)
            effect = next(effect)
        if isinstance(effect, BaseException):
            raise effect
        return effect

    def _fitting(self, given: Given) -> object:
        """What a call gives by name where the signature is known, however it was written."""
        if self._takes is None:
            return given
        return self._takes.bind(*given.args, **given.kwargs).arguments

    # --- what tests ask ---------------------------------------------------------------------

    @property
    def called(self) -> bool:
        return bool(self.call_args_list)

    @property
    def call_args(self) -> Any:
        return self.call_args_list[-1] if self.call_args_list else None

    @property
    def await_args(self) -> Any:
        return self.await_args_list[-1] if self.await_args_list else None

    @property
    def await_count(self) -> int:
        return len(self.await_args_list)

    def assert_awaited_once_with(self, *args: Any, **kwargs: Any) -> None:
        assert len(self.await_args_list) == 1, self.await_args_list
        self.assert_awaited_with(*args, **kwargs)

    def assert_awaited_with(self, *args: Any, **kwargs: Any) -> None:
        assert self._fitting(self.await_args) == self._fitting(Given(args, kwargs))

    def assert_awaited_once(self) -> None:
        assert len(self.await_args_list) == 1, self.await_args_list

    def assert_not_awaited(self) -> None:
        assert self.await_args_list == []

    def assert_called_once_with(self, *args: Any, **kwargs: Any) -> None:
        assert len(self.call_args_list) == 1, self.call_args_list
        self.assert_called_with(*args, **kwargs)

    def assert_called_with(self, *args: Any, **kwargs: Any) -> None:
        assert self._fitting(self.call_args) == self._fitting(Given(args, kwargs))

    def assert_not_called(self) -> None:
        assert self.call_args_list == []


class Anything(Method):
    """Has every attribute, takes every call, and stands for something that is there.

    A ``MagicMock`` makes a class of its own for each: eleven thousand of them, most of which
    were only asked whether they are true, were a fifth of the time of all tests of ``cogs``.
    """

    def __getattr__(self, name: str) -> Any:
        # Not a misspelt question of the test's own.
        if name.startswith(("__", "assert")):
            raise AttributeError(f"nothing has {name!r}")
        made = self.__dict__[name] = Anything(is_async=False)
        return made

    def __bool__(self) -> bool:
        return True

    def __int__(self) -> int:
        return 1

    __index__ = __int__

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[Any]:
        return iter(())


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
            made: Any = Anything(is_async=False)
        else:
            is_async = inspect.iscoroutinefunction(method)
            takes = _signature(method) if self._is_checked else None
            made = Method(is_async=is_async, takes=takes)
        self.__dict__[name] = made
        return made


@cache
def _members(kind: type) -> dict[str, Any]:
    """What a class has by name: a method as its caller sees it, None for anything else."""
    found = dict[str, Any]()
    for name in dir(kind):
        member = inspect.getattr_static(kind, name)
        method = getattr(kind, name, None)
        # Of an instance, although there is none.
        bound = member.__get__(object()) if inspect.isfunction(member) else method
        found[name] = bound if inspect.isroutine(method) else None
    return found


@cache
def _signature(method: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(method)


def double(kind: type) -> Any:
    """Something of that class: asking for what the class has not fails."""
    return _StandIn(kind, is_checked=False)


def checked(kind: type) -> Any:
    """The same, and a call its method would not take fails too."""
    return _StandIn(kind, is_checked=True)
