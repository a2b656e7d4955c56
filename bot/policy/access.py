"""Who may do what, and how much may be sent: a function passes quietly or raises in plain words."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Literal

from bot.domain.chat import Place
from bot.domain.errors import NotPermitted, RequestRefused
from bot.domain.ids import PlaceId, UserId
from bot.policy.choice import Scope
from bot.policy.pictures import picture_size

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


@dataclass(frozen=True, slots=True)
class Upload:
    """A file somebody attached, as known before it is read."""

    name: str
    media_type: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Asker:
    """Somebody who asks, as far as it decides whether they are answered."""

    user: UserId
    is_owner: bool = False
    """The bot belongs to them."""
    roles: AbstractSet[str] = frozenset()
    """Ids and names of their roles, in the server they ask in or, in private, in any allowed."""
    is_member: bool = True
    """Of a server that is answered; in question in direct messages alone."""


@dataclass(frozen=True, slots=True)
class AccessRules:
    """Who is answered, and where; what is empty keeps nobody out."""

    servers: AbstractSet[PlaceId] = frozenset()
    channels: AbstractSet[PlaceId] = frozenset()
    """With their threads; direct messages have a rule of their own."""
    people: AbstractSet[UserId] = frozenset()
    roles: AbstractSet[str] = frozenset()
    """Ids or names. Who is among the people or has one of the roles is answered."""
    dms: Literal["off", "members", "owners", "everyone"] = "members"

    def needs_member(self, asker: Asker, place: Place, *, is_guest: bool = False) -> bool:
        """Whether it hangs on the servers this person is in, or on their roles there.

        ``is_guest``: the bot is not in that place, somebody only installed it for themselves.
        """
        if asker.is_owner or asker.user in self.people:
            return False
        # Only who shares a server with a bot can write to it: with all servers allowed it is one.
        is_open = (not self.servers and not is_guest) or self.dms != "members"
        return bool(self.roles) or ((place.is_private or is_guest) and not is_open)


def check_may_switch(scope: Scope, *, is_admin: bool, is_private: bool = False) -> None:
    """Pass when this person may choose the model or persona for that scope.

    Raises:
        NotPermitted: a choice for a channel or server by somebody who is no admin there.
    """
    if is_admin or is_private or scope in ("me", "thread"):
        return
    raise NotPermitted(
        f"Only admins may choose for the whole {scope}; choose for yourself with scope `me`."
    )


def check_may_manage(act: str, *, is_admin: bool) -> None:
    """Pass when this person may do that to the fleet: ``load models``, ``unload models``.

    Raises:
        NotPermitted: the person is no admin.
    """
    if not is_admin:
        raise NotPermitted(f"Only admins may {act}.")


def check_may_ask(
    doors: AccessRules, asker: Asker, place: Place, *, is_guest: bool = False
) -> None:
    """Pass when this person is answered in this place.

    Where the bot is only a guest, installed by a person for themselves, the rules for direct
    messages hold: anybody in the world could bring it anywhere.

    Raises:
        NotPermitted: the place or the person is not allowed.
    """
    if place.is_private or is_guest:
        _check_private(doors, asker)
    elif doors.servers and place.server not in doors.servers:
        raise NotPermitted("Lantern does not answer in this server; its owner has not allowed it.")
    elif doors.channels and doors.channels.isdisjoint({place.channel, place.thread}):
        raise NotPermitted("Lantern does not answer in this channel; its owner has not allowed it.")
    is_listed = asker.user in doors.people or not doors.roles.isdisjoint(asker.roles)
    if (doors.people or doors.roles) and not is_listed and not asker.is_owner:
        raise NotPermitted("Lantern answers certain people only; its owner has not allowed you.")


def _check_private(doors: AccessRules, asker: Asker) -> None:
    """Pass when this person may write directly."""
    if doors.dms == "off":
        raise NotPermitted("Lantern takes no direct messages; ask it in a server.")
    if asker.is_owner or doors.dms == "everyone" or asker.user in doors.people:
        return
    if doors.dms == "owners":
        raise NotPermitted("Only its owner may write to Lantern directly; ask it in a server.")
    if not asker.is_member:
        raise NotPermitted(
            "Lantern takes direct messages of the members of its own servers only; "
            "you are in none of them."
        )


def check_text(text: str, limit: int = MAX_TEXT_CHARS, *, has_attachments: bool = False) -> None:
    """Pass a message that says something, is text, and is not over-long.

    Raises:
        RequestRefused: empty, binary or longer than ``limit`` characters.
    """
    if not text.strip() and not has_attachments:
        raise RequestRefused("The message is empty; write something or attach a file.")
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
    """Pass an image that begins as its kind does and is not too large to unpack.

    Raises:
        RequestRefused: it is none, for which a host would refuse the whole question, or over
            ``MAX_IMAGE_SIDE`` pixels a side.
    """
    is_webp = content[:4] == b"RIFF" and content[8:12] == b"WEBP"
    if not (is_webp or content.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8"))):
        raise RequestRefused(f"`{name}` is no PNG, JPEG, WebP or GIF image, whatever it is called.")
    width, height = picture_size(content) or (0, 0)
    if max(width, height) > MAX_IMAGE_SIDE:
        raise RequestRefused(
            f"`{name}` is {width:,} × {height:,} pixels; up to {MAX_IMAGE_SIDE:,} a side are taken."
        )


def decode_text(name: str, content: bytes) -> str:
    """An attached text file's text, all of it or nothing.

    Raises:
        RequestRefused: the file is empty, too long or not UTF-8 text.
    """
    is_binary = RequestRefused(f"`{name}` is a binary file; only UTF-8 text files are read.")
    try:
        text = content.decode("utf-8-sig")
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
