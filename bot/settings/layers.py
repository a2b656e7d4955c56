"""One layer per place settings come from: its values, where each stands, and how layers merge."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from bot.documents.yaml import Path, Plain
from bot.settings.values import parse_address, split_hosts

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
    """The values of one place, or of several merged, as a nested mapping."""

    values: dict[str, Plain] = field(repr=False)
    origins: Mapping[Path, str]
    """Where the value at a path stands, for those that have a place of their own."""
    is_variables: bool = False

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
        """Where the value at the path stands, or else what it holds, or what holds it."""
        for end in range(len(path), 0, -1):
            for place in self.origins_below(path[:end]):
                return place
        return DEFAULT_ORIGIN

    def origins_below(self, path: Path) -> Iterator[str]:
        """Where the value at the path stands, and then the values within it."""
        # The place itself goes first: a value replaced by a nearer layer may hold older ones.
        if path in self.origins:
            yield self.origins[path]
        for at, place in self.origins.items():
            if at != path and at[: len(path)] == path:
                yield place

    def over(self, lower: "Layer") -> "Layer":
        """Both merged, this one nearer: what it says hides what the lower one says."""
        # Where a hidden value stood is dropped with it, or a fault would name the wrong line.
        kept = {at: place for at, place in lower.origins.items() if not self.decides(at)}
        return Layer(_over(self.values, lower.values), {**self.origins, **kept})


def merge_hosts(variables: Layer, file: Layer) -> tuple[Layer, str | None]:
    """Hosts that variables name and hosts of the file, merged by address.

    Returns:
        The variables' layer with the file's hosts in it too, and what was merged, in words; the
        layer as it is, and None, where one of the two names no hosts. Without its own where what
        the file says is no list, so that this is a fault as it is alone.
    """
    # A variable can hardly say more than an address. When it hid the file's list, whoever had begun
    # with LANTERN_HOSTS and wrote memory_gb and token_env into the file, where the README leads,
    # saw neither count; and was not told.
    near, far = _hosts(variables), _hosts(file)
    if near is not None and far is None and file.values.get("hosts") is not None:
        # A forgotten dash lost each host's memory_gb and token without a word.
        kept = {key: value for key, value in variables.values.items() if key != "hosts"}
        origins = {at: place for at, place in variables.origins.items() if at[:1] != ("hosts",)}
        return Layer(kept, origins), None
    if near is None or far is None:
        return variables, None
    hosts, origins = list(near), dict(variables.origins)
    places = {address: at for at, host in enumerate(near) if (address := address_of(host))}
    richer: list[str] = []
    added: list[str] = []
    for index, host in enumerate(far):
        address = address_of(host)
        at = len(hosts) if address is None else places.get(address, len(hosts))
        more = _as_mapping(host)
        if at == len(hosts):
            hosts.append(host)
            added.append(address or f"hosts.{index}")
            origins["hosts", at] = file.origin(("hosts", index))
        else:
            # Key by key, the variable's first: environment beats the file within a host too.
            mine = _as_mapping(hosts[at])
            origins["hosts", at] = variables.origin(("hosts",))
            hosts[at] = {**more, **mine}
            more = {key: value for key, value in more.items() if key not in mine}
            richer += [f"{address} ({', '.join(more)})"] if more else []
        for path, place in file.origins.items():
            if path[:2] == ("hosts", index) and path[2:3] and path[2] in more:
                origins["hosts", at, *path[2:]] = place
    origin = variables.origin(("hosts",))
    words = f"{origin} and {file.origin(('hosts',))} both name hosts; they are merged by address"
    if richer:
        words += f"; more is known from the file of {', '.join(richer)}"
    if added:
        words += f"; only the file names {', '.join(added)}"
    return replace(variables, values={**variables.values, "hosts": hosts}, origins=origins), words


def address_of(host: Plain) -> str | None:
    """The address of a host as it was written, in the one form that can be compared."""
    try:
        return parse_address(_as_mapping(host).get("address"))
    except ValueError:
        return None


def variable_name(path: Path) -> str:
    """The variable that sets what stands at the path."""
    return PREFIX + "__".join(str(part) for part in path).upper()


def _over(upper: Mapping[str, Plain], lower: Mapping[str, Plain]) -> dict[str, Plain]:
    merged = dict(lower)
    for key, value in upper.items():
        below = merged.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            merged[key] = _over(value, below)
        else:
            merged[key] = value
    return merged


def _hosts(layer: Layer) -> list[Plain] | None:
    """The layer's hosts, None where it names none or what it says is no list."""
    try:
        hosts = split_hosts(layer.values.get("hosts"))
    except ValueError:
        return None
    return hosts if isinstance(hosts, list) else None


def _as_mapping(host: Plain) -> dict[str, Plain]:
    if isinstance(host, dict):
        return host
    return {"address": host}
