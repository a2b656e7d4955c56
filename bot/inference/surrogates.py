"""Mends characters that a server cut in two."""


class SurrogateMender:
    """Joins the halves of characters beyond 16 bits that arrive in two pieces of JSON.

    Servers written in JavaScript may cut a text between the two halves; a lone half cannot be
    encoded by anything further down (Discord, SQLite).
    """

    __slots__ = ("_half",)

    def __init__(self) -> None:
        self._half = ""

    def mend(self, text: str) -> str:
        """Return the text with halves joined; a first half at the end waits for the next piece."""
        if text.isascii() and not self._half:
            return text
        text, self._half = self._half + text, ""
        try:
            text.encode()
        except UnicodeEncodeError:
            return self._joined(text)
        return text

    def flush(self) -> str:
        """Return what still waits, as a replacement character."""
        half, self._half = self._half, ""
        return "\ufffd" if half else ""

    def _joined(self, text: str) -> str:
        if "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
