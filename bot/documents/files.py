"""Reads small text files, or says why one cannot be read."""

from pathlib import Path

from bot.domain.errors import ConfigError


def read_text(path: Path, limit: int) -> str:
    """The content of a UTF-8 file of at most ``limit`` bytes.

    Raises:
        ConfigError: it cannot be read, is too large, or is no text.
    """
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError((f"{path}: cannot be read: {reason}",)) from error
    if len(content) > limit:
        raise ConfigError((f"{path}: larger than {limit // 1024} KiB",))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError((f"{path}: not a text file in UTF-8",)) from error
