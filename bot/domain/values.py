"""How nouns are declared, and whatever else is made by the thousand."""

from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, dataclass_transform

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(kind: type[_T]) -> type[_T]:
    """A slotted dataclass that the type checker holds to be frozen.

    Frozen at run time too, each of its fields is set through ``object.__setattr__``: a candidate of
    nine fields took five times as long to make, and a route over a dozen hosts makes a dozen. And
    two functions more are compiled for each class at every start, a third of what a class takes;
    one more to show it, which all can share.
    """
    made = dataclass(slots=True, unsafe_hash=True, repr=False)(kind)
    # One of its own may keep a secret out of logs.
    if "__repr__" not in vars(kind):
        made.__repr__ = _shown
    return made


def _shown(self: Any) -> str:
    shown = (f"{one.name}={getattr(self, one.name)!r}" for one in fields(self) if one.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"
