"""Addresses, forwarded addresses and Hosts, to the letter."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.policy.http_doors import (
    address_of,
    client_address,
    is_known_host,
    is_loopback,
    is_of_other_site,
    is_within,
)

PROXIES = (ip_network("10.0.0.1/32"), ip_network("192.168.7.0/24"), ip_network("fd00::/64"))
FOREIGN = "203.0.113.9"

addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        (" 10.0.0.2\t", "10.0.0.2"),
        ("::1", "::1"),
        ("::ffff:10.0.0.2", "10.0.0.2"),
        ("::FFFF:0a00:0002", "10.0.0.2"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("", None),
        ("10.0.0", None),
        ("10.0.0.256", None),
        ("010.0.0.1", None),
        ("0x7f.0.0.1", None),
        ("2130706433", None),
        ("10.0.0.1:80", None),
        ("10.0.0.1%eth0", None),
        ("[::1]", None),
        ("١٠.0.0.1", None),
        ("localhost", None),
        ("10.0.0.1, 10.0.0.2", None),
    ],
)
def test_an_address_is_read_whole_or_not_at_all(text: str, address: str | None) -> None:
    assert address_of(text) == (None if address is None else ip_address(address))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_in_ipv6_clothes_is_the_same_client(address: IPv4Address) -> None:
    assert address_of(f"::ffff:{address}") == address


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        # Without a trusted proxy its own address counts, whatever it writes.
        (FOREIGN, [], FOREIGN),
        (FOREIGN, ["127.0.0.1"], FOREIGN),
        (FOREIGN, ["10.0.0.1"], FOREIGN),
        ("10.0.0.2", ["127.0.0.1"], "10.0.0.2"),
        ("192.168.6.255", ["127.0.0.1"], "192.168.6.255"),
        ("192.168.8.0", ["127.0.0.1"], "192.168.8.0"),
        # Behind one the last that is no proxy counts; what stands before it was written by it.
        ("10.0.0.1", [FOREIGN], FOREIGN),
        ("192.168.7.0", [FOREIGN], FOREIGN),
        ("192.168.7.255", [FOREIGN], FOREIGN),
        ("::ffff:10.0.0.1", [FOREIGN], FOREIGN),
        ("fd00::9", [FOREIGN], FOREIGN),
        ("10.0.0.1", [f"127.0.0.1, {FOREIGN}"], FOREIGN),
        ("10.0.0.1", [f"127.0.0.1,{FOREIGN},192.168.7.8"], FOREIGN),
        ("10.0.0.1", ["127.0.0.1", FOREIGN], FOREIGN),
        ("10.0.0.1", [FOREIGN, "127.0.0.1"], "127.0.0.1"),
        ("10.0.0.1", ["127.0.0.1", f"{FOREIGN}, 10.0.0.1"], FOREIGN),
        ("10.0.0.1", ["::ffff:203.0.113.9"], FOREIGN),
        ("10.0.0.1", ["junk", FOREIGN], FOREIGN),
        # The proxy itself asked.
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["192.168.7.8, 10.0.0.1"], "192.168.7.8"),
        # Junk proves nothing about who stands behind it.
        ("10.0.0.1", [""], None),
        ("10.0.0.1", [f"{FOREIGN},"], None),
        ("10.0.0.1", [FOREIGN, ""], None),
        ("10.0.0.1", ["unknown"], None),
        ("10.0.0.1", ["127.0.0.1:4711"], None),
        ("10.0.0.1", [f"{FOREIGN} 127.0.0.1"], None),
        ("10.0.0.1", ["junk, 10.0.0.1"], None),
        ("", [], None),
        ("unix", [], None),
    ],
)
def test_who_asks(peer: str, forwarded: list[str], client: str | None) -> None:
    found = client_address(peer, forwarded, PROXIES)
    assert found == (None if client is None else ip_address(client))


@given(addresses, st.lists(st.text(max_size=30), max_size=4))
def test_nobody_who_is_no_proxy_can_say_who_they_are(peer: str, lines: list[str]) -> None:
    address = address_of(peer)
    assert address is not None
    if not is_within(address, PROXIES):
        assert client_address(peer, lines, PROXIES) == address


@given(st.lists(st.text(alphabet="0123456789.:, abcf", max_size=40), max_size=3), addresses)
def test_what_a_client_writes_before_its_proxy_changes_nothing(
    forged: list[str], real: str
) -> None:
    address = address_of(real)
    assert address is not None
    if not is_within(address, PROXIES):
        assert client_address("10.0.0.1", [*forged, real], PROXIES) == address


@pytest.mark.parametrize(
    ("address", "is_in"),
    [
        ("10.0.0.0", False),
        ("10.0.0.1", True),
        ("10.0.0.2", False),
        ("192.168.7.0", True),
        ("192.168.7.255", True),
        ("192.168.8.0", False),
        ("fd00::", True),
        ("fd00::ffff:ffff:ffff:ffff", True),
        ("fd00:0:0:1::", False),
        ("::10.0.0.1", False),
    ],
)
def test_a_network_ends_where_it_ends(address: str, *, is_in: bool) -> None:
    assert is_within(ip_address(address), PROXIES) is is_in
    assert not is_within(ip_address(address), ())


NAMES = ("Lantern.LAN", "box.")


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8400",
        "localhost.",
        "localhost.:8400",
        "127.0.0.1",
        "127.0.0.1:8400",
        "10.0.0.5.:8400",
        "203.0.113.9:1",
        "[::1]",
        "[::1]:8400",
        "[::FFFF:127.0.0.1]:80",
        "lantern.lan",
        "lantern.lan.:8400",
        " LANTERN.lan:8400 ",
        "box",
        "box.",
    ],
)
def test_these_hosts_are_ours(host: str) -> None:
    assert is_known_host(host, NAMES)


@pytest.mark.parametrize(
    "host",
    [
        "",
        ".",
        ":8400",
        "evil.example",
        "lantern.lan.evil.example",
        "evil-lantern.lan",
        "lantern",
        "localhost..",
        "localhost:",
        "localhost:80:80",
        "localhost:http",
        "localhost:٨٠",
        "localhost:٨0",
        "[::1]]:80",
        "localhost@evil.example",
        "evil.example@localhost",
        "localhost, evil.example",
        "localhost/",
        "127.0.0.1.evil.example",
        "127.0.0.1.nip.io",
        "127.1",
        "0x7f000001",
        "2130706433",
        "::1",
        "[::1",
        "::1]",
        "[::1]evil.example",
        "[::1]8400",
        "[::1]:",
        "[::1]:http",
        "[localhost]",
        "[]",
    ],
)
def test_these_hosts_are_not(host: str) -> None:
    assert not is_known_host(host, NAMES)


@given(st.ip_addresses(v=4), st.integers(0, 65535))
def test_no_address_can_be_rebound(address: IPv4Address, port: int) -> None:
    assert is_known_host(f"{address}:{port}", ())


@given(st.ip_addresses(v=6), st.integers(0, 65535))
def test_no_ipv6_address_can_be_rebound(address: IPv6Address, port: int) -> None:
    assert is_known_host(f"[{address}]:{port}", ())


@given(st.from_regex(r"[a-z][a-z0-9-]{0,20}(\.[a-z]{2,6}){1,3}(:[0-9]{1,5})?", fullmatch=True))
def test_a_name_that_nobody_configured_is_foreign(host: str) -> None:
    assert is_known_host(host, ()) is (host.partition(":")[0] == "localhost")


@pytest.mark.parametrize(
    ("host", "is_here"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.255.255.255", True),
        ("128.0.0.0", False),
        ("[::1]", True),
        ("[::ffff:127.0.0.1]", True),
        ("[::]", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("lantern.lan", False),
        ("", False),
    ],
)
def test_where_listening_lets_in_this_machine_alone(host: str, *, is_here: bool) -> None:
    assert is_loopback(host) is is_here


@pytest.mark.parametrize(
    ("origin", "site", "host", "is_foreign"),
    [
        (None, None, "box:8400", False),
        ("http://box:8400", None, "box:8400", False),
        ("http://BOX:8400", None, "box:8400 ", False),
        ("https://box", None, "Box", False),
        ("http://box:8401", None, "box:8400", True),
        ("http://box", None, "box:8400", True),
        ("http://evil.example", None, "box:8400", True),
        ("null", None, "box:8400", True),
        ("", None, "box:8400", True),
        ("box:8400", None, "box:8400", True),
        # The browser's own word; behind a proxy the Host may be another.
        ("https://lantern.lan", "same-origin", "127.0.0.1:8400", False),
        (None, "none", "box", False),
        (None, "Same-Origin ", "box", False),
        (None, "cross-site", "box", True),
        (None, "same-site", "box", True),
        ("http://box", "cross-site", "box", True),
        (None, "", "box", True),
    ],
)
def test_a_page_of_another_site(
    origin: str | None, site: str | None, host: str, *, is_foreign: bool
) -> None:
    assert is_of_other_site(origin, site, host) is is_foreign
