"""One layer per place settings come from: its values, and where exactly each of them stands."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from bot.documents.yaml import Path, Plain

PREFIX = "LANTERN_"
"""Begins every variable that is a setting."""

DEFAULT_ORIGIN = "default"


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable's value and where it stands."""

    value: str = field(repr=False)
    origin: str


Variables = Mapping[str, Variable]


@dataclass(frozen=True, slots=True)
class Layer:
    """The values of one place, as a nested mapping."""

    values: dict[str, Plain] = field(repr=False)
    origins: Mapping[Path, str]
    is_variables: bool = False
    is_preset: bool = False

    @property
    def providers(self) -> Collection[str]:
        """Names of the providers this layer speaks of."""
        named = self.values.get("providers")
        return named.keys() if isinstance(named, dict) else ()

    def decides(self, path: Path) -> bool:
        """Does it say what stands at the path? Mappings merge; all else hides lower layers."""
        here: Plain = self.values
        for part in path:
            if not isinstance(here, dict):
                return True
            if part not in here:
                return False
            here = here[str(part)]
        return True

    def origin(self, path: Path) -> str:
        """Where the value at the path, or what holds it, stands."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.origins:
                return self.origins[path[:end]]
        return next(self.origins_below(path), DEFAULT_ORIGIN)

    def origins_below(self, path: Path) -> Iterator[str]:
        """Where the values within the path stand."""
        return (origin for at, origin in self.origins.items() if at[: len(path)] == path)


class LayerSource(PydanticBaseSettingsSource):
    """Gives one layer's values to pydantic-settings, which merges the layers by their order."""

    def __init__(self, settings_cls: type[BaseSettings], layer: Layer) -> None:
        super().__init__(settings_cls)
        self._layer = layer

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The value of one field; asked by the base class's contract."""
        return self._layer.values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        """The layer's values."""
        return dict(self._layer.values)


def variable_name(path: Path) -> str:
    """The variable that sets what stands at the path."""
    return PREFIX + "__".join(str(part) for part in path).upper()


def find(variables: Variables, name: str) -> Variable | None:
    """The variable of that name; files in a secrets directory are named in either case."""
    return variables.get(name) or variables.get(name.upper())


def origin_of(layers: Iterable[Layer], path: Path) -> str:
    """Where the value that counts at the path stands, or else what holds it."""
    places = tuple(layers)
    for end in range(len(path), 0, -1):
        for layer in places:
            if layer.decides(path[:end]):
                return layer.origin(path[:end])
    return DEFAULT_ORIGIN


def effective(layers: Iterable[Layer], path: Path) -> Plain:
    """The value that counts at the path, before it was checked; mappings are not merged."""
    deciding = next((layer for layer in layers if layer.decides(path)), None)
    here: Plain = deciding.values if deciding else None
    for part in path:
        here = here.get(str(part)) if isinstance(here, dict) else None
    return here
