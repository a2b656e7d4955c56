"""How large a picture says it is: read from its first bytes, no pixel of it unpacked."""

import re
import struct

_JPEG_SIZE = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""Markers of a JPEG's frame; tables stand between them."""

_WEBP = re.compile(rb"RIFF....WEBPVP8([ LX])....", re.DOTALL)


_PNG_END = b"IEND\xaeB`\x82"
"""Name and checksum of a PNG's last part, which is empty."""

_GIF_END = b"\0;"
"""The end of a GIF's last picture, then of the file."""


def is_cut(content: bytes) -> bool:
    """Does a PNG, GIF, WebP or JPEG surely not go on to its end, or lack its size?

    What stands behind its end counts for nothing: some programs keep notes there. A JPEG that tells
    its size is whole enough, readers show what there is of it.
    """
    if picture_size(content) is None:
        return True
    if content.startswith(b"\x89PNG"):
        return _PNG_END not in content
    if content.startswith(b"GIF8"):
        return _GIF_END not in content
    # A last part of odd length may lack the zero that makes it even.
    is_webp = content.startswith(b"RIFF")
    return is_webp and int.from_bytes(content[4:8], "little") + 8 > len(content) + 1


def picture_size(content: bytes) -> tuple[int, int] | None:
    """Width and height in pixels of a PNG, GIF, WebP or JPEG; None where it does not tell."""
    try:
        if content.startswith(b"\x89PNG"):
            width, height = struct.unpack_from(">II", content, 16)
        elif content.startswith(b"GIF8"):
            width, height = struct.unpack_from("<HH", content, 6)
        elif found := _WEBP.match(content):
            width, height = _webp_size(found[1], content)
        else:
            return _jpeg_size(content)
    except (struct.error, IndexError):
        return None  # cut before its size
    return width, height


def _webp_size(kind: bytes, content: bytes) -> tuple[int, int]:
    if kind == b" ":
        width, height = struct.unpack_from("<HH", content, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"L":
        (bits,) = struct.unpack_from("<I", content, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = content[24:27], content[27:30]
    if len(height) < 3:
        raise IndexError
    return int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    at = 2
    # A marker may have any number of 0xFF before it; each segment but the first says its length.
    while at + 9 <= len(content) and content[at] == 0xFF:
        if content[at + 1] == 0xFF:
            at += 1
            continue
        if content[at + 1] in _JPEG_SIZE:
            height, width = struct.unpack_from(">HH", content, at + 5)
            return width, height
        at += 2 + max(2, *struct.unpack_from(">H", content, at + 2))
    return None
