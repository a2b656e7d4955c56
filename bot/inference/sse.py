"""Server-sent events: torn bytes in, whole data payloads out."""

from collections.abc import Iterable, Iterator

from bot.inference.wire import garbage

MAX_EVENT_BYTES = 1 << 20
"""A chunk of an answer is a few hundred bytes; more than this is no answer."""

_BOM = b"\xef\xbb\xbf"
_FIELDS = frozenset({"data", "event", "id", "retry"})


class SseReader:
    """Reads one event stream; fed bytes torn anywhere, it yields the same payloads.

    Only an event closed by its blank line counts, as the standard has it. Event names are not told:
    both wires repeat them inside the payload. Against the standard, a block without any known field
    is garbage, so that an HTML page or a log served with status 200 is noticed.
    """

    __slots__ = ("_after_cr", "_at_start", "_rest")

    def __init__(self) -> None:
        self._rest = bytearray()
        self._at_start = True
        self._after_cr = False

    @property
    def is_between_events(self) -> bool:
        """May the next event go by unread, with nothing of it or of its end missed?"""
        return not (self._rest or self._after_cr or self._at_start)

    def feed(self, data: bytes) -> Iterator[str]:
        """Yield the payload of each event that these bytes complete.

        Raises:
            WireFault: the bytes are not UTF-8, no event stream, or one event is too large.
        """
        if data and (self._after_cr or b"\r" in data):
            # The line feed of an end torn between CR and LF ended no second line.
            data = data[1:] if self._after_cr and data.startswith(b"\n") else data
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        # One write of the server is nearly always whole events: these never touch the buffer.
        if not self._rest and data.endswith(b"\n\n"):
            blocks: Iterable[bytes] = data[:-2].split(b"\n\n")
        else:
            blocks = self._complete(data)
        for block in blocks:
            if payload := self._payload(block):
                yield payload

    def finish(self) -> None:
        """Tell the reader that no more bytes come; an unfinished event is dropped.

        Raises:
            WireFault: what came does not even begin like an event stream.
        """
        if self._at_start and self._rest:
            head = bytes(self._rest).removeprefix(_BOM).lstrip(b"\n")
            if head and not head.startswith((b":", *(field.encode() for field in _FIELDS))):
                raise garbage("not an event stream")

    def _complete(self, data: bytes) -> Iterable[bytes]:
        rest = self._rest
        # An end may be torn too: its first half is the last byte of what was kept.
        torn_end = max(0, len(rest) - 1)
        rest += data
        end = rest.rfind(b"\n\n", torn_end)
        if end < 0:
            if len(rest) > MAX_EVENT_BYTES + len(_BOM):
                raise garbage("an event of the stream is too large")
            return ()
        whole = bytes(rest[:end])
        del rest[: end + 2]
        return whole.split(b"\n\n")

    def _payload(self, block: bytes) -> str:
        if self._at_start:
            self._at_start = False
            block = block.removeprefix(_BOM)
        if len(block) > MAX_EVENT_BYTES:
            raise garbage("an event of the stream is too large")
        try:
            if block.startswith(b"data: ") and b"\n" not in block:
                return block[6:].decode()
            # Not splitlines(): it also ends lines at U+2028 and others, which belong to the text.
            lines = block.decode().split("\n")
        except UnicodeDecodeError as err:
            raise garbage("the stream is not UTF-8") from err
        data: list[str] = []
        is_known = not any(lines)
        for line in lines:
            field, _, value = line.partition(":")
            is_known = is_known or field in _FIELDS or line.startswith(":")
            if field == "data":
                data.append(value.removeprefix(" "))
        if not is_known:
            raise garbage("not an event stream")
        return "\n".join(data)
