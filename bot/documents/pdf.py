"""The text of a PDF somebody attached: bounded in pages and characters, broken ones refused."""

import io

from bot.domain.errors import RequestRefused
from bot.policy.access import MAX_FILE_CHARS, check_file_text

MAX_PAGES = 300


def pdf_text(name: str, content: bytes) -> str:
    """The text of every page; blocking, so for a thread.

    Raises:
        RequestRefused: broken, encrypted, without text, or too long.
    """
    # Imported on first use: most Lanterns never see a PDF.
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    try:
        reader = PdfReader(io.BytesIO(content))
        if len(reader.pages) > MAX_PAGES:
            raise RequestRefused(f"`{name}` has more than {MAX_PAGES} pages; attach a part of it.")
        pages: list[str] = []
        # Stopped as soon as it is too much: a small file may unfold to any length.
        for page in reader.pages:
            pages.append(page.extract_text())
            if sum(map(len, pages)) > MAX_FILE_CHARS:
                break
    except (PyPdfError, ValueError, KeyError, TypeError, RecursionError, AttributeError) as error:
        raise RequestRefused(f"`{name}` is no PDF that can be read ({error}).") from error
    return check_file_text(name, "\n\n".join(pages))
