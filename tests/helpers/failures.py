"""What a test expects to be unavailable, and why."""

from collections.abc import Generator
from contextlib import contextmanager

import pytest

from bot.domain.errors import FailureKind, Unavailable


@contextmanager
def fails(
    kind: FailureKind, match: str | None = None
) -> Generator[pytest.ExceptionInfo[Unavailable]]:
    """Passes when the block raises ``Unavailable`` of this kind."""
    with pytest.raises(Unavailable, match=match) as caught:
        yield caught
    assert caught.value.kind is kind
