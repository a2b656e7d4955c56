"""What one key alone cannot show: hosts that stand twice, orders that name nobody."""

from collections.abc import Collection, Iterator, Sequence

from bot.documents.faults import shown
from bot.documents.values import split_list
from bot.documents.yaml import Path, Plain, dotted
from bot.policy.names import nearest
from bot.process.redaction import Redactor
from bot.settings.layers import Layer, effective, origin_of
from bot.settings.values import LOCAL, parse_host_address, split_hosts


def cross_faults(layers: Sequence[Layer], redactor: Redactor) -> list[str]:
    """Faults between keys, found on unchecked values so that they are listed with all others."""
    return [*_twin_faults(layers, redactor), *_order_faults(layers, redactor)]


def _twin_faults(layers: Sequence[Layer], redactor: Redactor) -> Iterator[str]:
    seen: dict[tuple[str, str], int] = {}
    for at, host in enumerate(_hosts(layers)):
        for key, value in host.items():
            first = seen.setdefault((key, value.casefold()), at)
            if first != at:
                path: Path = ("hosts", at, key)
                words = f"{dotted(path)} is {shown(value, redactor)}, and so is hosts.{first}.{key}"
                yield f"{origin_of(layers, path)}: {words}; expected another one for each host"


def _hosts(layers: Sequence[Layer]) -> Iterator[dict[str, str]]:
    """Name and address of each host, where they can be told."""
    try:
        hosts = split_hosts(effective(layers, ("hosts",)))
    except ValueError:
        return
    for host in hosts if isinstance(hosts, list) else ():
        yield _identity(host)


def _identity(host: Plain) -> dict[str, str]:
    given = {"address": host} if isinstance(host, str) else host
    if not isinstance(given, dict):
        return {}
    try:
        address = parse_host_address(given.get("address"))
    except ValueError:
        return {}
    name = given.get("name")
    # Hosts without a name are called by their address, which is compared already.
    return {"address": address} if name is None else {"address": address, "name": str(name)}


def _order_faults(layers: Sequence[Layer], redactor: Redactor) -> Iterator[str]:
    providers = {name for layer in layers for name in layer.providers}
    types = {name for layer in layers for name in _request_types(layer)}
    orders: list[tuple[Path, set[str]]] = [(("routing", "cloud"), providers)]
    orders += [(("routing", "request_types", name), {LOCAL, *providers}) for name in sorted(types)]
    for path, known in orders:
        items = split_list(effective(layers, path))
        for item in items if isinstance(items, list) else ():
            if isinstance(item, str) and item not in known:
                words = f"{dotted(path)} names {shown(item, redactor)}, which is no provider"
                near = nearest(item, sorted(known), 1) or sorted(known)
                yield f"{origin_of(layers, path)}: {words}; nearest: {', '.join(near)}"


def _request_types(layer: Layer) -> Collection[str]:
    routing = layer.values.get("routing")
    types = routing.get("request_types") if isinstance(routing, dict) else None
    return types.keys() if isinstance(types, dict) else ()
