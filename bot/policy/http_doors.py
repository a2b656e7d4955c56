"""Who an HTTP request comes from, and whether that address and its Host may come in. Pure."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@lru_cache(maxsize=1024)
def address_of(text: str) -> Address | None:
    """An address as a peer or a header writes it; an IPv4 one in IPv6's clothes is unwrapped."""
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def client_address(
    peer: str, forwarded: Sequence[str], trusted: Iterable[Network]
) -> Address | None:
    """Where a request really comes from; None where that cannot be told.

    A forwarded address counts only from a proxy that is trusted, read from the right: what stands
    further left was written by whoever asked, and may be anything.

    Args:
        peer: The connection's other end.
        forwarded: Every ``X-Forwarded-For`` line, in order.
        trusted: The proxies' networks.
    """
    networks = tuple(trusted)
    address = address_of(peer)
    if address is None or not forwarded or not is_within(address, networks):
        return address
    for part in reversed(",".join(forwarded).split(",")):
        address = address_of(part)
        # Junk from a trusted proxy proves nothing about who stands behind it.
        if address is None or not is_within(address, networks):
            return address
    return address


def is_within(address: Address, networks: Iterable[Network]) -> bool:
    """Is an address in one of these networks?"""
    return any(address in network for network in networks)


def is_known_host(header: str, names: Iterable[str]) -> bool:
    """May a request name this Host? An address cannot be rebound to another machine; a name can.

    Args:
        header: The ``Host`` header, with or without a port.
        names: Names configured beside ``localhost``.
    """
    host = header.strip().lower()
    if host.startswith("["):
        inside, closed, port = host[1:].partition("]")
        return bool(closed) and (not port or _is_port(port)) and address_of(inside) is not None
    name, colon, port = host.partition(":")
    if colon and not _is_port(f":{port}"):
        return False
    name = name.removesuffix(".")
    known = {"localhost", *(n.lower().removesuffix(".") for n in names)}
    return name in known or address_of(name) is not None


def is_of_other_site(origin: str | None, fetch_site: str | None, host: str) -> bool:
    """Was a request made by a web page that did not come from here?

    Args:
        origin: The ``Origin`` header; None is no page's, or a mere look from one.
        fetch_site: ``Sec-Fetch-Site``, which browsers send to https and to this machine alone;
            where it is sent it is surer, for a proxy may have changed the Host.
        host: The ``Host`` header.
    """
    if fetch_site is not None:
        return fetch_site.strip().lower() not in ("same-origin", "none")
    if origin is None:
        return False
    return origin.partition("://")[2].strip().lower() != host.strip().lower()


def is_loopback(host: str) -> bool:
    """Does listening here let in this machine alone?"""
    address = address_of(host.strip("[]"))
    return host == "localhost" if address is None else address.is_loopback


def _is_port(text: str) -> bool:
    return text[:1] == ":" and text[1:].isascii() and text[1:].isdigit()
