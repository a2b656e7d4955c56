"""Reads settings as people write them: addresses, rates, networks, names, lists."""

import ipaddress
import re
from collections.abc import Mapping
from functools import partial
from typing import Annotated, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ByteSize,
    Field,
    JsonValue,
    PlainSerializer,
    SecretStr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)

from bot.documents.values import split_list
from bot.documents.yaml import Plain
from bot.policy.ratelimit import PERIODS, RateRule

T = TypeVar("T")

LM_STUDIO_PORT = 1234
"""LM Studio's own default port."""

ADDRESS_WORDS = "address:port such as 10.0.0.2:1234"
BYTES_WORDS = "a number of bytes such as 32MiB, 500KB or 1048576"
RATE_WORDS = "a rate such as 60/min, 1/s or 1000/h"

LOCAL = "local"
"""Stands for the LAN hosts in a request type's order."""

DATABASE_PREFIX = "sqlite:///"

_SIZES = {"GiB": 1 << 30, "GB": 10**9, "MiB": 1 << 20, "MB": 10**6, "KiB": 1 << 10, "KB": 1000}

_RATE = re.compile(r"([1-9][0-9]{0,8})\s*(?:/\s*(sec|s|min|m|hour|h|d))?")
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,252}[a-z0-9])?\.?")
_PASTED = re.compile(r"(?:http://)?([^/@?#]+)(?:/|/v1/?|/api/v[01]/?)?")
_FIELD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_OF_THE_CONNECTION = re.compile(
    r"host|connection|content-.*|transfer-encoding|accept|accept-encoding|anthropic-version",
    re.IGNORECASE,
)
_LIKE_A_KEY = re.compile(r"auth|key|token|secret|passw|cookie", re.IGNORECASE)
_RESERVED = frozenset({
    "model", "messages", "system", "stream", "stream_options", "n",
    "max_tokens", "max_completion_tokens",
})  # fmt: skip
"""Who answers, what is sent, and what bounds the bill."""
_IPV6 = re.compile(r"\[([0-9a-f:.]+(?:%[a-z0-9]+)?)\]")


def parse_rate(value: object) -> RateRule:
    """A rate from ``60/min``, ``1/s``, or a bare number a minute.

    Raises:
        ValueError: the value is no rate; the message says what is expected.
    """
    if isinstance(value, RateRule):
        return value
    text = "" if isinstance(value, bool) else str(value).strip().lower()
    found = _RATE.fullmatch(text)
    if found is None:
        raise ValueError(RATE_WORDS)
    return RateRule(int(found[1]), PERIODS[found[2] or "min"])


def parse_bytes(value: object, read: ValidatorFunctionWrapHandler) -> ByteSize:
    """A number of bytes as pydantic reads it.

    Raises:
        ValueError: the value is none; the message says what is expected.
    """
    try:
        return read(value)
    except ValidationError as error:
        raise ValueError(BYTES_WORDS) from error


def format_bytes(size: int) -> str:
    """An exact way to write a number of bytes: ``32MiB``, ``1536KiB``, ``2MB``, ``1025``."""
    for unit, one in _SIZES.items():
        if size >= one and size % one == 0:
            return f"{size // one}{unit}"
    return str(size)


def parse_mac(value: object) -> str:
    """A network card's address as ``00:1a:2b:3c:4d:5e``, from any of the usual ways to write it.

    Raises:
        ValueError: the value is none; the message says what is expected.
    """
    digits = re.sub(r"[:.-]", "", value.strip().lower()) if isinstance(value, str) else ""
    if not re.fullmatch(r"[0-9a-f]{12}", digits):
        raise ValueError("the address of a network card such as 00:1a:2b:3c:4d:5e")
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2))


def parse_address(
    value: object, *, default_port: int | None = LM_STUDIO_PORT, least_port: int = 1
) -> str:
    """``address:port``, with the default port put in where none is written.

    Raises:
        ValueError: the value is no address; the message says what is expected.
    """
    text = value.strip().lower() if isinstance(value, str) else ""
    # What people paste out of LM Studio or a browser: http://10.0.0.2:1234/v1.
    if least_port and (pasted := _PASTED.fullmatch(text)):
        text = pasted[1]
    # No more of it than the scheme is repeated: a URL may hold a name and a password.
    # Where http:// may stand before it, what is too much is the rest.
    bare = text.removeprefix("http://") if least_port else text
    if "://" in bare:
        raise ValueError(f"{ADDRESS_WORDS}, without {bare.split('://', 1)[0][:8]}://")
    if extra := re.search(r"[@/?#]", bare):
        what = "name and password" if extra[0] == "@" else "a path behind it"
        raise ValueError(f"{ADDRESS_WORDS}, without {what}")
    found = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::([0-9]{1,5}))?", text)
    host, given = (found[1], found[2] or "") if found else ("", "")
    number = int(given) if given else default_port
    if number is None or not least_port <= number <= 65535 or not _is_host(host):
        raise ValueError(ADDRESS_WORDS)
    return f"{host}:{number}"


def parse_network(value: object) -> str:
    """A network as ``10.0.0.0/8``, or a single address.

    Raises:
        ValueError: the value is neither.
    """
    try:
        return str(ipaddress.ip_network(str(value).strip(), strict=False))
    except ValueError as error:
        raise ValueError("a network such as 10.0.0.0/8, or one address") from error


def parse_origin(value: object) -> str:
    """A web page's origin, as browsers send it: ``https://chat.lan``, ``http://10.0.0.5:3000``.

    Raises:
        ValueError: the value is none; browsers compare it letter by letter, so a path or a star
            would never match.
    """
    text = value.strip().lower().removesuffix("/") if isinstance(value, str) else ""
    scheme, there, address = text.partition("://")
    try:
        fits = bool(there) and scheme in ("http", "https") and bool(parse_address(address))
    except ValueError:
        fits = False
    if not fits or "/" in address:
        raise ValueError("the origin of a page, such as https://chat.lan or http://10.0.0.5:3000")
    # Browsers leave these ports out.
    return text.removesuffix(":443" if scheme == "https" else ":80")


def parse_host_name(value: object) -> str:
    """A name as clients write it in an address, without scheme and port.

    Raises:
        ValueError: the value is none.
    """
    text = value.strip().lower().removesuffix(".") if isinstance(value, str) else ""
    if not _HOST.fullmatch(text):
        raise ValueError("a name such as lantern.lan, without http:// and port")
    return text


def parse_base_url(value: object) -> str:
    """An ``http(s)://`` address without its last slash.

    Raises:
        ValueError: the value is none, or holds a name and password.
    """
    expected = "an address such as https://api.example.com/v1, without name, password or query"
    try:
        parts = urlsplit(value.strip() if isinstance(value, str) else "")
        fits = parts.scheme in ("http", "https") and bool(parts.hostname)
        # A password in an address would reach every log line that names the provider.
        fits = fits and "@" not in parts.netloc and not (parts.query or parts.fragment)
        _ = parts.port  # reading it is what refuses a port that is none
    except ValueError as error:
        raise ValueError(expected) from error
    if not fits:
        raise ValueError(expected)
    return parts.geturl().rstrip("/")


def extra_texts(extras: Mapping[str, str]) -> Mapping[str, str]:
    """Headers, or words of an address's query, that hold no key and are not Lantern's to set.

    Raises:
        ValueError: one is no name or no text, is reserved, or reads like a key's.
    """
    for name, text in extras.items():
        if not _FIELD_NAME.fullmatch(name) or not (text.isascii() and text.isprintable()):
            raise ValueError("names of letters, digits and -_., each with a text on one line")
        if _OF_THE_CONNECTION.fullmatch(name):
            raise ValueError(f"names other than {name}, which Lantern sets")
        # Here it would be in the file and in whatever prints it.
        if _LIKE_A_KEY.search(name):
            raise ValueError(f"names other than {name}: a key belongs in api_key_env")
    return extras


def extra_fields(extras: Mapping[str, T]) -> Mapping[str, T]:
    """Fields of a provider's request that Lantern does not have to set itself.

    Raises:
        ValueError: one decides who answers, what is sent, how, or what it may cost at most.
    """
    if reserved := sorted(_RESERVED.intersection(extras)):
        raise ValueError(f"fields other than {reserved[0]}, which Lantern sets")
    return extras


def sendable(secret: SecretStr) -> SecretStr:
    """The secret, where a request's head takes it.

    Raises:
        ValueError: it holds a line break or the like: pasted or written over two lines, it is none.
    """
    if not secret.get_secret_value().isprintable():
        raise ValueError("a secret on one line, without tabs or other control characters")
    return secret


def not_yet(what: str, value: T) -> T:
    """The value, where it switches nothing on.

    Raises:
        ValueError: it asks for what is not built: a setting that does nothing is refused, for its
            owner would wait for what never comes.
    """
    if value:
        raise ValueError(f"nothing here: {what} is not built yet, so take this key out")
    return value


def matching(value: object, *, pattern: str, expected: str) -> str:
    """The text, or the whole number as text, when all of it matches the pattern.

    Raises:
        ValueError: it does not; the message is ``expected``.
    """
    # YAML reads a server's id as a number, and `true` is one in Python.
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not re.fullmatch(pattern, text):
        raise ValueError(expected)
    return text


def parse_time_zone(value: object) -> str:
    """A time zone's name.

    Raises:
        ValueError: this machine does not know it.
    """
    name = value.strip() if isinstance(value, str) else ""
    # Windows has no table of zones by itself, and UTC needs none.
    if name.upper() == "UTC":
        return "UTC"
    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("a time zone such as UTC or Europe/Berlin") from error


def parse_database_url(value: object) -> str:
    """A database's address.

    Raises:
        ValueError: the value names no SQLite file.
    """
    text = value.strip() if isinstance(value, str) else ""
    file = text.removeprefix(DATABASE_PREFIX)
    if file == text or file.endswith("/") or file in ("", ":memory:") or "?" in file:
        raise ValueError(
            "sqlite:/// and a file, such as sqlite:///lantern.db (only SQLite is supported)"
        )
    return text


def split_hosts(value: Plain) -> Plain:
    """Hosts from a comma list.

    Raises:
        ValueError: the text is a broken JSON list, or parts hosts by other than commas.
    """
    # Its pieces could be secrets, and each would be shown as an address that is none.
    for number, entry in enumerate(value.split(",") if isinstance(value, str) else (), start=1):
        if re.search(r"[{\"';]|\S\s+\S", entry):
            # By its number: of a long list the end is not shown.
            raise ValueError(
                f"a comma list of {ADDRESS_WORDS}, or a JSON list; entry {number} is no address"
            )
    return split_list(value)


def _is_host(host: str) -> bool:
    if bracketed := _IPV6.fullmatch(host):
        try:
            ipaddress.IPv6Address(bracketed[1])
        except ValueError:
            return False
        return True
    # All digits and dots can only be an IPv4 address, and then must be a whole one.
    if re.fullmatch(r"[0-9.]+", host):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            return False
    return _HOST.fullmatch(host) is not None


_TEXT = WithJsonSchema({"type": "string"})

MacAddress = Annotated[str, BeforeValidator(parse_mac), _TEXT]
HostAddress = Annotated[str, BeforeValidator(parse_address), _TEXT]
# Port 0 takes a free one; none at all is a slip, for nobody would know where to connect.
ListenAddress = Annotated[
    str, BeforeValidator(partial(parse_address, default_port=None, least_port=0)), _TEXT
]
LanRange = Annotated[str, BeforeValidator(parse_network), _TEXT]
Origin = Annotated[str, BeforeValidator(parse_origin), _TEXT]
OwnName = Annotated[str, BeforeValidator(parse_host_name), _TEXT]
Secret = Annotated[SecretStr, AfterValidator(sendable)]
BaseUrl = Annotated[str, BeforeValidator(parse_base_url), _TEXT]
Extra = Annotated[Mapping[str, str], Field(max_length=20), AfterValidator(extra_texts)]
ExtraFields = Annotated[
    Mapping[str, JsonValue],
    Field(max_length=50),
    AfterValidator(extra_fields),
    WithJsonSchema({"type": "object"}),
]
VariableName = Annotated[
    str,
    BeforeValidator(
        partial(
            matching,
            pattern=r"[A-Za-z_][A-Za-z0-9_]{0,63}",
            # What stands here instead may be the secret itself.
            expected="the NAME of a variable that holds the secret, not the secret itself",
        )
    ),
    _TEXT,
]
TimeZone = Annotated[str, BeforeValidator(parse_time_zone), _TEXT]
DatabaseUrl = Annotated[str, BeforeValidator(parse_database_url), _TEXT]
DiscordId = Annotated[
    str,
    BeforeValidator(
        partial(
            matching,
            pattern=r"[0-9]{15,20}",
            expected="an id of Discord's, 17 to 20 digits",
        )
    ),
    _TEXT,
]
ProviderKey = Annotated[
    str,
    AfterValidator(
        partial(
            matching,
            pattern=rf"(?!{LOCAL}$)[a-z0-9][a-z0-9-]{{0,31}}",
            expected=f"a short lower-case name other than `{LOCAL}`",
        )
    ),
]
# Both of pydantic's ways to show one are no good here: a bare number, or rounded.
Bytes = Annotated[
    ByteSize,
    WrapValidator(parse_bytes),
    PlainSerializer(format_bytes, when_used="json"),
]
RateLimit = Annotated[
    RateRule,
    BeforeValidator(parse_rate),
    PlainSerializer(str, when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer"}], "examples": ["60/min"]}),
]
