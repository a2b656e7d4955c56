"""Text out of PDFs."""

import pytest
from histories import examples
from hypothesis import given
from hypothesis import strategies as st

from bot.documents.pdf import pdf_text
from bot.domain.errors import RequestRefused


def one_page(words: str) -> bytes:
    """The smallest PDF that says something."""
    stream = f"BT /F1 12 Tf 72 720 Td ({words}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, offsets = b"%PDF-1.4\n", list[int]()
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, table)
    return out + b"trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % start


def test_the_words_of_a_pdf_are_read() -> None:
    assert "The lantern glows" in pdf_text("x.pdf", one_page("The lantern glows"))


def test_a_scan_without_text_is_told() -> None:
    with pytest.raises(RequestRefused):
        pdf_text("scan.pdf", one_page(""))


@given(st.binary(max_size=300))
def test_broken_files_are_refused_in_words(content: bytes) -> None:
    with pytest.raises(RequestRefused):
        pdf_text("x.pdf", content)


@examples(40)
@given(st.integers(0, 600), st.integers(0, 255))
def test_a_damaged_pdf_is_read_or_refused(at: int, byte: int) -> None:
    damaged = bytearray(one_page("The lantern glows"))
    damaged[at % len(damaged)] = byte
    try:
        pdf_text("x.pdf", bytes(damaged))
    except RequestRefused:
        return
