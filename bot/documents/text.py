"""Names and lists as people write them, and the pydantic types that read them."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from bot.documents.yaml import Plain


def check_name(name: str) -> str:
    """The name, when it can be shown on one line.

    Raises:
        ValueError: it cannot.
    """
    if not name.isprintable() or name != name.strip():
        raise ValueError("one line of text, without spaces around it")
    return name


def split_list(value: Plain) -> Plain:
    """A list from ``a, b``; anything but text is left as it is."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def lower(value: Plain) -> Plain:
    """Words of a fixed choice may be written in capitals."""
    return value.strip().lower() if isinstance(value, str) else value


Name = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(check_name)]
"""What a host or persona is called."""

Words = Annotated[tuple[str, ...], BeforeValidator(split_list)]
"""A list of words, or one text with commas between them."""
