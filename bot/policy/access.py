"""Who may do what, and how much may be sent: a function passes quietly or raises in plain words."""

import codecs
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Literal

from bot.domain.chat import Asker, Place
from bot.domain.errors import NotPermitted, RequestRefused
from bot.domain.ids import PlaceId, UserId
from bot.domain.values import value
from bot.policy.choice import Scope
from bot.policy.pictures import is_cut, picture_size

MAX_TEXT_CHARS = 32_000
MAX_ATTACHMENTS = 8
MAX_TEXT_FILE_BYTES = 512 * 1024
MAX_PDF_BYTES = 10 * 1024 * 1024
MAX_IMAGE_BYTES = 10 * 1024 * 1024
MAX_IMAGE_SIDE = 8192
"""Pixels: who unpacks a picture of 30,000 a side fills the memory of a machine with it."""

MAX_FILE_CHARS = 200_000
"""Characters of text kept of one attachment, after decoding."""

AttachmentKind = Literal["text", "pdf", "image"]

_IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})
_TEXT_TYPES = frozenset({
    "application/json", "application/xml", "application/yaml", "application/x-yaml",
    "application/toml", "application/javascript", "application/x-sh", "application/sql",
})  # fmt: skip
_UNKNOWN_TYPES = frozenset({"", "application/octet-stream"})
_MAX_BYTES = {"text": MAX_TEXT_FILE_BYTES, "pdf": MAX_PDF_BYTES, "image": MAX_IMAGE_BYTES}


@value
class Upload:
    """A file somebody attached, as known before it is read."""

    name: str
    media_type: str
    size_bytes: int


@value
class Circle:
    """Some people, by themselves or by their roles."""

    people: AbstractSet[UserId] = frozenset()
    roles: AbstractSet[str] = frozenset()
    """Ids or names."""

    def has(self, asker: Asker) -> bool:
        """Is this one of them?"""
        return asker.user in self.people or not self.roles.isdisjoint(asker.roles)


NOBODY = Circle()
Aim = Literal["ask", "set", "own"]
"""What somebody is here for: an answer and what belongs to it; what admins set; or what is kept of
their own words, and help."""

_AIMS: Mapping[str, Aim] = {"settings": "set", "history": "own", "memories": "own", "help": "own"}
"""By the first word of a command; all others ask."""
Dms = Literal["off", "members", "owners", "everyone"]


@value
class AccessRules:
    """Who is answered, and where; what is empty keeps nobody out."""

    servers: AbstractSet[PlaceId] = frozenset()
    channels: AbstractSet[PlaceId] = frozenset()
    """With their threads; direct messages have a rule of their own."""
    people: AbstractSet[UserId] = frozenset()
    roles: AbstractSet[str] = frozenset()
    """Ids or names. Who is among the people or has one of the roles is answered."""
    blocked: Circle = NOBODY
    """Left out, whoever else lets them in."""
    blocked_channels: AbstractSet[PlaceId] = frozenset()
    """Left out, with their threads."""
    dms: Dms = "members"

    @property
    def is_by_roles(self) -> bool:
        """Do somebody's roles say whether they are answered?"""
        return bool(self.roles or self.blocked.roles)

    def needs_member(
        self, asker: Asker, place: Place, *, is_guest: bool = False, aim: Aim = "ask"
    ) -> bool:
        """Whether it hangs on the servers this person is in, or on their roles there.

        ``is_guest``: the bot is not in that place, somebody only installed it for themselves.
        """
        if asker.is_owner or aim == "own":
            return False
        if self.blocked.roles:
            return True
        if asker.user in self.people:
            return False
        # Who writes to a bot may share no server with it: whoever installed it for themselves can.
        is_by_members = self.dms == "members" and (place.is_private or is_guest)
        return bool(self.roles) or is_by_members


@value
class PlaceRules:
    """What admins have set for one place; it narrows who is answered, and widens who may act."""

    channels: AbstractSet[PlaceId] = frozenset()
    """Of the server; empty is all."""
    answered: Circle = NOBODY
    """Empty is everybody."""
    switch: Circle = NOBODY
    """Who may choose for everybody, beside admins."""
    load: Circle = NOBODY
    """Who may load models, beside those who manage."""
    manage: Circle = NOBODY
    """Who may act on the fleet, beside admins."""
    own_choice: bool = True
    """People may choose for themselves; else what they chose before does not count either."""
    unprompted: bool = False
    """Every message here is answered, without a mention."""
    turns: tuple[int, PlaceId] | None = None
    """Questions a minute of one person, and the channel or server that they are counted for."""
    tokens_per_day: int | None = None
    """Of one person in this server."""
    dms: Dms | None = None
    """In place of the configured rule."""
    footer: bool = True
    """Model, host and speed stand under each answer."""
    webhooks: bool = True
    """Personas speak by their own name and picture, where the bot may have webhooks."""


@value
class Rights:
    """What somebody may do in a place besides asking."""

    is_admin: bool = False
    may_switch: bool = False
    """Choose for everybody."""
    may_load: bool = False
    may_manage: bool = False
    """Act on the fleet."""
    may_choose: bool = True
    """Choose for themselves."""


EVERY_RIGHT = Rights(True, True, True, True)
"""Of whoever sits at the machine."""

_ADMINS = (
    "admins: who owns the bot, has Manage Server or one of `discord.admin_roles`. They can allow "
    "it to others by `/settings`"
)


def rights_of(asker: Asker, here: PlaceRules) -> Rights:
    """What this person may do in a place with these rules."""
    is_admin = asker.is_admin or asker.is_owner
    may_manage = is_admin or here.manage.has(asker)
    return Rights(
        is_admin=is_admin,
        may_switch=is_admin or here.switch.has(asker),
        may_load=may_manage or here.load.has(asker),
        may_manage=may_manage,
        may_choose=here.own_choice,
    )


def check_may_switch(scope: Scope, rights: Rights, *, is_private: bool = False) -> None:
    """Pass when this person may choose the model or persona for that scope.

    Raises:
        NotPermitted: a choice for a channel or server by somebody who may not; a choice of one's
            own where nobody has one.
    """
    # In private nobody else is chosen for.
    if is_private or (rights.may_switch and scope != "me"):
        return
    if scope not in ("me", "thread"):
        raise NotPermitted(
            f"Only admins may choose for the whole {scope}, and whom they allow it by `/settings`; "
            "choose for yourself with scope `me`."
        )
    if not rights.may_choose:
        raise NotPermitted(
            "Here nobody chooses for themselves; an admin of this server can allow it again by "
            "`/settings`."
        )


def check_may_manage(act: str, *, is_allowed: bool) -> None:
    """Pass when this person may do that: ``load models``, ``drain hosts``.

    Raises:
        NotPermitted: they may not.
    """
    if not is_allowed:
        raise NotPermitted(f"Only admins may {act} ({_ADMINS}).")


def check_may_set(rights: Rights) -> None:
    """Pass when this person may change what holds for a channel or server.

    Raises:
        NotPermitted: they are no admin there.
    """
    if not rights.is_admin:
        raise NotPermitted(
            "Only admins may change what holds for a channel or server: who owns the bot, has "
            "Manage Server or one of `discord.admin_roles`."
        )


def aim_of(command: str) -> Aim:
    """What somebody who gives a command such as ``history show`` is here for."""
    return _AIMS.get(command.partition(" ")[0], "ask")


def check_may_ask(
    doors: AccessRules,
    asker: Asker,
    place: Place,
    here: PlaceRules | None = None,
    *,
    is_guest: bool = False,
    aim: Aim = "ask",
) -> None:
    """Pass when this person is answered in this place.

    Args:
        doors: What the bot's owner configured.
        asker: Who.
        place: Where.
        here: What admins have set for the place; None where that does not count.
        is_guest: The bot is not in that place: somebody only installed it for themselves, as
            anybody in the world could anywhere. The rules for direct messages hold.
        aim: What they are here for.

    Raises:
        NotPermitted: the place or the person is not allowed; it says by which rule, and whose.
    """
    here, is_direct = here or PlaceRules(), place.is_private or is_guest
    if not is_direct and doors.servers and place.server not in doors.servers:
        raise NotPermitted(
            "Lantern does not answer in this server; its owner has not allowed it "
            "(`discord.allowed_guilds`)."
        )
    # Whoever is left out since has words here all the same, to read and to take away.
    if aim == "own":
        return
    if is_direct:
        _check_private(doors, asker, here.dms or doors.dms)
    else:
        _check_channel(doors, {place.channel, place.thread})
    if doors.blocked.has(asker) and not asker.is_owner:
        raise NotPermitted(
            "Lantern does not answer you; its owner has left you out "
            "(`discord.blocked_users`, `discord.blocked_roles`)."
        )
    listed = Circle(doors.people, doors.roles)
    if listed != NOBODY and not (asker.is_owner or listed.has(asker)):
        raise NotPermitted(
            "Lantern answers certain people only; its owner has not allowed you "
            "(`discord.allowed_users`, `discord.allowed_roles`)."
        )
    # Last: whoever the owner keeps out is not sent to an admin, who could do nothing.
    if here.channels and here.channels.isdisjoint({place.channel, place.thread}):
        raise NotPermitted(
            "Lantern does not answer in this channel; an admin of this server can allow it by "
            "`/settings`."
        )
    is_in = asker.is_owner or asker.is_admin or here.answered.has(asker)
    if here.answered != NOBODY and not is_in:
        raise NotPermitted(
            "Lantern answers certain people only here; an admin of this server can allow you by "
            "`/settings`."
        )


def _check_channel(doors: AccessRules, ways: AbstractSet[PlaceId | None]) -> None:
    """Pass when the owner's rules let a channel in, or the thread that it was asked in."""
    if doors.channels and doors.channels.isdisjoint(ways):
        raise NotPermitted(
            "Lantern does not answer in this channel; its owner has not allowed it "
            "(`discord.allowed_channels`)."
        )
    if not doors.blocked_channels.isdisjoint(ways):
        raise NotPermitted(
            "Lantern does not answer in this channel; its owner has left it out "
            "(`discord.blocked_channels`)."
        )


def _check_private(doors: AccessRules, asker: Asker, dms: Dms) -> None:
    """Pass when this person may write directly."""
    if dms == "off":
        raise NotPermitted("Lantern takes no direct messages (`discord.dms`); ask it in a server.")
    if asker.is_owner or dms == "everyone" or asker.user in doors.people:
        return
    if dms == "owners":
        raise NotPermitted(
            "Only its owner may write to Lantern directly (`discord.dms`); ask it in a server."
        )
    if not asker.is_member:
        raise NotPermitted(
            "Lantern takes direct messages from members of its own servers only "
            "(`discord.dms`, which its owner sets); you are in none of them."
        )


def check_text(text: str, limit: int = MAX_TEXT_CHARS, *, has_attachments: bool = False) -> None:
    """Pass a message that says something, is text, and is not over-long.

    Raises:
        RequestRefused: empty, binary or longer than ``limit`` characters.
    """
    if not text.strip() and not has_attachments:
        raise RequestRefused("The message is empty; write something.")
    if len(text) > limit:
        raise RequestRefused(
            f"The message has {len(text):,} characters; at most {limit:,} are taken."
        )
    if _looks_binary(text):
        raise RequestRefused("The message is binary data, not text; only text is taken.")


def check_attachments(offered: Sequence[Upload]) -> tuple[AttachmentKind, ...]:
    """What each file will be read as, before any of them is fetched.

    Raises:
        RequestRefused: too many files, or one of a kind or size that is not taken.
    """
    if len(offered) > MAX_ATTACHMENTS:
        raise RequestRefused(
            f"There are {len(offered)} attachments; at most {MAX_ATTACHMENTS} are taken."
        )
    kinds: list[AttachmentKind] = []
    for item in offered:
        kind = _kind(item)
        limit = _MAX_BYTES[kind]
        if item.size_bytes > limit:
            raise RequestRefused(
                f"`{item.name}` is {size_words(item.size_bytes)}; "
                f"{kind} files up to {size_words(limit)} are taken."
            )
        kinds.append(kind)
    return tuple(kinds)


def check_image(name: str, content: bytes) -> None:
    """Pass an image that begins and ends as its kind does and is not too large to unpack.

    Raises:
        RequestRefused: it is none, or cut, for which a host would refuse the whole question, or
            over ``MAX_IMAGE_SIDE`` pixels a side.
    """
    is_webp = content[:4] == b"RIFF" and content[8:12] == b"WEBP"
    if not (is_webp or content.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8"))):
        raise RequestRefused(f"`{name}` is no PNG, JPEG, WebP or GIF image, whatever it is called.")
    width, height = picture_size(content) or (0, 0)
    if max(width, height) > MAX_IMAGE_SIDE:
        raise RequestRefused(
            f"`{name}` is {width:,} × {height:,} pixels; up to {MAX_IMAGE_SIDE:,} a side are taken."
        )
    if is_cut(content):
        raise RequestRefused(f"`{name}` is an image that is cut or damaged; attach it again.")


def decode_text(name: str, content: bytes) -> str:
    """An attached text file's text, all of it or nothing.

    Raises:
        RequestRefused: the file is empty, too long, or neither UTF-8 nor, by its mark, UTF-16 text.
    """
    is_binary = RequestRefused(
        f"`{name}` is no text in UTF-8; save it as UTF-8 if it is a text file, and attach it again."
    )
    # Without a mark UTF-16 cannot be told from other bytes.
    is_utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if is_utf_16 else "utf-8-sig")
    except UnicodeDecodeError as err:
        raise is_binary from err
    if _looks_binary(text):
        raise is_binary
    return check_file_text(name, text)


def check_file_text(name: str, text: str) -> str:
    """The text read from a file, when there is some and not too much.

    Raises:
        RequestRefused: no text at all, or more than ``MAX_FILE_CHARS`` characters.
    """
    if not text.strip():
        raise RequestRefused(f"`{name}` has no text in it.")
    if len(text) > MAX_FILE_CHARS:
        raise RequestRefused(
            f"`{name}` has {len(text):,} characters; at most {MAX_FILE_CHARS:,} are taken."
        )
    return text


def _kind(offered: Upload) -> AttachmentKind:
    media_type = offered.media_type.partition(";")[0].strip().lower()
    if media_type in _IMAGE_TYPES:
        return "image"
    if media_type == "application/pdf":
        return "pdf"
    if media_type.startswith("text/") or media_type in _TEXT_TYPES or media_type in _UNKNOWN_TYPES:
        # An unknown type is read as text, and refused as binary when it is none.
        return "text"
    raise RequestRefused(
        f"`{offered.name}` ({media_type}) cannot be read; "
        "text files, PDFs and PNG, JPEG, WebP or GIF images are taken."
    )


def _looks_binary(text: str) -> bool:
    """NUL never stands in text; a few stray control characters may."""
    control = sum(1 for char in text if char < " " and char not in "\t\n\r\f\v\x1b")
    return "\0" in text or control * 20 > len(text)


def size_words(size_bytes: int) -> str:
    """A file's size for people: ``12 kB``, ``1.5 MB``."""
    if size_bytes >= 1024 * 1024:
        return f"{size_bytes / (1024 * 1024):.1f} MB"
    return f"{round(size_bytes / 1024)} kB"
