"""What admins may set for a channel, a server or everywhere: each setting once, and what holds."""

from collections.abc import Mapping, Sequence
from typing import Literal

from bot.domain.chat import Place
from bot.domain.errors import RequestRefused, TokensSpent
from bot.domain.ids import PlaceId, UserId
from bot.domain.values import value
from bot.policy.access import NOBODY, Circle, Dms, PlaceRules

Level = Literal["channel", "server", "everywhere"]
SettingName = Literal[
    "unprompted",
    "channels",
    "answered",
    "own_choice",
    "switch",
    "load",
    "manage",
    "turns_per_minute",
    "tokens_per_day",
    "dms",
    "footer",
    "webhooks",
]
RuleKind = Literal["people", "channels", "one of", "number"]

EVERYWHERE = PlaceId("")
"""Where what holds in all servers and in private is stored; the bot's owners set it."""

MOST_LISTED = 25
"""Discord's selects take no more."""


@value
class SettingForm:
    """What one setting is, and what it may be; a value is a sequence of texts, whatever it is."""

    title: str
    kind: RuleKind
    levels: tuple[Level, ...]
    unset: str
    """What holds where nobody set it."""
    options: tuple[str, ...] = ()
    """Of ``one of``."""
    most: int = 0
    """Of a number; it is 1 at least."""


@value
class SetValue:
    """What was set, by whom and when."""

    value: tuple[str, ...]
    """Channels as their ``PlaceId``; people as ``user:ID`` and ``role:ID``."""
    by: UserId
    """Empty where it was not noted."""
    at_ms: int
    """UTC milliseconds."""


WhoseLimit = Literal["server", "owner"]
"""Who gave a limit on a person's tokens."""

Stored = Mapping[tuple[PlaceId, SettingName], SetValue]

_ON_OFF = ("on", "off")
_HERE: tuple[Level, ...] = ("channel", "server")

CHANNEL_UNPROMPTED = SettingForm(
    "Answers without a mention", "one of", ("channel",), "as the server says", _ON_OFF
)
"""In a channel's own panel; a server's lists its channels."""

FORMS: Mapping[SettingName, SettingForm] = {
    "unprompted": SettingForm(
        "Answers without a mention in", "channels", _HERE, "`discord.unprompted_channels`"
    ),
    "channels": SettingForm(
        "Answers only in",
        "channels",
        ("server",),
        "every channel that the owner allows (`discord.allowed_channels`)",
    ),
    "answered": SettingForm("Answers only", "people", _HERE, "everybody"),
    "own_choice": SettingForm(
        "People choose for themselves (`/model`, `/persona`)", "one of", _HERE, "on", _ON_OFF
    ),
    "switch": SettingForm("May choose for everybody", "people", _HERE, "admins"),
    "load": SettingForm("May load models", "people", ("server",), "admins"),
    "manage": SettingForm("May manage the hosts", "people", ("server",), "admins"),
    "turns_per_minute": SettingForm(
        "Questions a minute, each person", "number", _HERE, "`discord.rate_limit` alone", most=1000
    ),
    "tokens_per_day": SettingForm(
        "Tokens a day, each person",
        "number",
        ("server",),
        "`discord.tokens_per_day` alone",
        most=10**12,
    ),
    "dms": SettingForm(
        "May write to me directly",
        "one of",
        ("everywhere",),
        "`discord.dms`",
        ("off", "members", "owners", "everyone"),
    ),
    "footer": SettingForm(
        "Model, host and speed under answers", "one of", _HERE, "`discord.footer`", _ON_OFF
    ),
    "webhooks": SettingForm(
        "Personas' own names and pictures", "one of", _HERE, "`discord.webhooks`", _ON_OFF
    ),
}


def form_of(name: SettingName, level: Level) -> SettingForm:
    """What a setting may be at that level.

    Raises:
        RequestRefused: it cannot be set there.
    """
    form = FORMS[name]
    if level not in form.levels:
        raise RequestRefused(f"{form.title}: that is not set for a {level}.")
    return CHANNEL_UNPROMPTED if (name, level) == ("unprompted", "channel") else form


def checked(name: SettingName, level: Level, typed: Sequence[str]) -> tuple[str, ...]:
    """A value as it is stored; nothing takes it away, so that what is farther holds again.

    Raises:
        RequestRefused: it is none for this setting; says what is taken.
    """
    form = form_of(name, level)
    value = tuple(dict.fromkeys(text for part in typed if (text := part.strip())))
    if len(value) > MOST_LISTED:
        raise RequestRefused(f"{form.title}: at most {MOST_LISTED} are taken, not {len(value)}.")
    if not value:
        return value
    first, *more = value
    match form.kind:
        case "number":
            digits = "".join(char for char in first if char not in "_., ")
            # Of a longer text Python would refuse to make a number at all.
            number = int(digits) if digits.isdecimal() and len(digits) < 20 else 0
            if more or not 1 <= number <= form.most:
                raise RequestRefused(
                    f"{form.title}: a whole number from 1 to {form.most:,}, or nothing for no "
                    f"limit; not `{first[:40]}`."
                )
            return (str(number),)
        case "one of" if more or first not in form.options:
            raise RequestRefused(f"{form.title}: one of {', '.join(form.options)}.")
        case "people" if not all(entry.startswith(("user:", "role:")) for entry in value):
            raise RequestRefused(f"{form.title}: people and roles are taken.")
        case _:
            return value


def in_force(name: SettingName, place: Place, stored: Stored) -> tuple[SetValue, Level] | None:
    """What is set for a place and where: the nearest wins; None where nobody set it."""
    levels: tuple[tuple[Level, PlaceId | None], ...] = (
        ("channel", place.channel),
        ("server", place.server),
        ("everywhere", EVERYWHERE),
    )
    for level, at in levels:
        if at is not None and level in FORMS[name].levels and (found := stored.get((at, name))):
            return found, level
    return None


def rules_at(
    place: Place,
    stored: Stored,
    unprompted: frozenset[PlaceId] = frozenset(),
    *,
    footer: bool = True,
    webhooks: bool = True,
) -> PlaceRules:
    """What admins have set for a place, as rules.

    Args:
        place: The place.
        stored: Everything set anywhere.
        unprompted: The configured channels.
        footer: As configured, where nobody set it.
        webhooks: As configured, where nobody set it.
    """

    def text(name: SettingName) -> str:
        found = in_force(name, place, stored)
        return "" if found is None else " ".join(found[0].value)

    def circle(name: SettingName) -> Circle:
        found = in_force(name, place, stored)
        if found is None:
            return NOBODY
        entries = [entry.partition(":") for entry in found[0].value]
        return Circle(
            frozenset(UserId(f"discord:{key}") for kind, _, key in entries if kind == "user"),
            frozenset(key for kind, _, key in entries if kind == "role"),
        )

    channels = in_force("channels", place, stored)
    open_here, rate = in_force("unprompted", place, stored), text("turns_per_minute")
    is_unprompted = place.channel in unprompted
    if open_here is not None:
        value, level = open_here[0].value, open_here[1]
        is_unprompted = value == ("on",) if level == "channel" else place.channel in value
    at = in_force("turns_per_minute", place, stored)
    # One count for a server, however many of its channels somebody asks in.
    counted = place.channel if at is None or at[1] == "channel" else place.server
    dms: dict[str, Dms] = {
        "off": "off",
        "members": "members",
        "owners": "owners",
        "everyone": "everyone",
    }
    return PlaceRules(
        channels=frozenset(map(PlaceId, channels[0].value)) if channels else frozenset(),
        answered=circle("answered"),
        switch=circle("switch"),
        load=circle("load"),
        manage=circle("manage"),
        own_choice=text("own_choice") != "off",
        unprompted=is_unprompted,
        turns=(int(rate), counted or place.channel) if rate else None,
        tokens_per_day=int(tokens) if (tokens := text("tokens_per_day")) else None,
        dms=dms.get(text("dms")),
        footer=(text("footer") or ("on" if footer else "off")) == "on",
        webhooks=(text("webhooks") or ("on" if webhooks else "off")) == "on",
    )


def check_tokens(used: int, limit: int | None, left_s: float, *, whose: WhoseLimit) -> None:
    """Pass when somebody has tokens left today.

    Args:
        used: Tokens of their prompts and answers today.
        limit: How many each person has a day; None is any number.
        left_s: Seconds until the next day begins.
        whose: Who gave the limit.

    Raises:
        TokensSpent: they have none left; says how long they have to wait.
    """
    if limit is None or used < limit:
        return
    # Rounded up: whoever comes back a moment early is refused once more.
    hours, minutes = divmod(-int(-left_s // 60), 60)
    wait = f"{hours} h {minutes} min" if hours else f"{minutes} min"
    at, who = "", "its owner can change that (`discord.tokens_per_day`)"
    if whose == "server":
        at, who = " in this server", "an admin can change that by `/settings`"
    raise TokensSpent(
        f"You have used your tokens for today{at}: {used:,} of {limit:,}. New ones come in "
        f"{wait}; {who}.",
        left_s,
    )
