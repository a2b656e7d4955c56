"""Texts inside PNG pictures: what character cards travel in. No pixel is ever unpacked."""

import struct
import zlib
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet

from bot.domain.errors import RequestRefused

SIGNATURE = b"\x89PNG\r\n\x1a\n"

MAX_SIDE = 8192
"""Pixels; viewers unpack a picture whole, and one of 30,000 a side fills their memory."""

_TEXTS = (b"tEXt", b"zTXt", b"iTXt")


def png_texts(content: bytes, keywords: AbstractSet[str], limit: int) -> dict[str, bytes]:
    """The text chunks of these names, unpacked; of two with one name the first.

    Args:
        content: A whole PNG file.
        keywords: In small letters; a chunk's name counts in capitals or not.
        limit: Bytes that one text may unpack to.

    Raises:
        RequestRefused: it is no PNG, it is cut or damaged, or a text is longer.
    """
    found: dict[str, bytes] = {}
    for kind, data, is_whole in _chunks(content):
        keyword, _, rest = data.partition(b"\0")
        name = keyword.decode("latin-1").lower()
        if kind not in _TEXTS or name not in keywords or name in found:
            continue
        if not is_whole:
            raise RequestRefused(f"Its chunk `{name}` is damaged: its checksum does not match.")
        found[name] = _unpacked(kind, rest, name, limit)
    return found


def with_png_texts(content: bytes, texts: Mapping[str, bytes]) -> bytes:
    """The picture with these texts in place of those of the same names.

    Raises:
        RequestRefused: it is no PNG, or cut or damaged.
    """
    parts = [SIGNATURE]
    for kind, data, _ in _chunks(content):
        name = data.partition(b"\0")[0].decode("latin-1").lower()
        if kind == b"IEND":
            # Right before the end, where SillyTavern writes them too.
            parts += [_chunk(b"tEXt", key.encode() + b"\0" + texts[key]) for key in texts]
        if kind not in _TEXTS or name not in texts:
            parts.append(_chunk(kind, data))
    return b"".join(parts)


def plain_png(width: int, height: int, colour: tuple[int, int, int]) -> bytes:
    """A picture of one colour, for a card that has none."""
    row = b"\0" + bytes(colour) * width
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(row * height, 9)
    return SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Every chunk to the end of the picture: its kind, its data, whether its checksum is right."""
    if not content.startswith(SIGNATURE):
        raise RequestRefused("It is no PNG picture.")
    at, kind = len(SIGNATURE), b""
    while kind != b"IEND":
        head = content[at : at + 8]
        size = struct.unpack(">I", head[:4])[0] if len(head) == 8 else 0
        is_first, kind = at == len(SIGNATURE), head[4:]
        if len(head) < 8 or at + 12 + size > len(content):
            raise RequestRefused(
                f"It breaks off after {len(content):,} bytes, in the middle of the picture: it was "
                "cut on its way. Send the original file."
            )
        data = content[at + 8 : at + 8 + size]
        if is_first and (kind != b"IHDR" or size != 13):
            raise RequestRefused("It begins as no PNG picture does: it is damaged.")
        if is_first:
            width, height = struct.unpack(">II", data[:8])
            if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
                raise RequestRefused(
                    f"The picture is {width:,} × {height:,} pixels; up to {MAX_SIDE:,} a side are "
                    "taken."
                )
        at += 12 + size
        yield kind, data, content[at - 4 : at] == struct.pack(">I", zlib.crc32(kind + data))


def _unpacked(kind: bytes, rest: bytes, name: str, limit: int) -> bytes:
    """The text of a chunk, by what stands behind its name."""
    is_packed = kind == b"zTXt"
    if kind == b"iTXt":
        # Packed or not, by which method, two texts about its language; then the text itself.
        is_packed, rest = rest[:1] == b"\1", rest[1:]
    if kind != b"tEXt":
        rest = rest[1:]
    if kind == b"iTXt":
        rest = rest.split(b"\0", 2)[-1]
    if is_packed:
        try:
            # Never more than the limit is made: a kilobyte can unpack to a gigabyte.
            rest = zlib.decompressobj().decompress(rest, limit + 1)
        except zlib.error as error:
            raise RequestRefused(
                f"Its chunk `{name}` is damaged and cannot be unpacked."
            ) from error
    if len(rest) > limit:
        raise RequestRefused(f"Its chunk `{name}` is larger than {limit // 1024:,} KiB.")
    return rest
