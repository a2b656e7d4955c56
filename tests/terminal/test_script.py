"""Lines from a pipe: whatever is wrong with it ends in plain words, never in waiting."""

import asyncio
import io

import pytest

from bot.domain.errors import BotError
from bot.terminal.script import Script


async def read_all(source: Script) -> list[str]:
    async with asyncio.timeout(60):
        return [line async for line in source.lines()]


async def test_a_script_that_is_no_text_ends_in_words() -> None:
    stream = io.TextIOWrapper(io.BytesIO(b"hello\n\xff\xfe\n"), encoding="utf-8")
    with pytest.raises(BotError, match="no text in UTF-8"):
        await read_all(Script(stream))


async def test_a_pipe_that_cannot_be_read_says_why() -> None:
    stream = io.StringIO("hello\n")
    stream.close()
    with pytest.raises(BotError, match="cannot be read"):
        await read_all(Script(stream))


async def test_a_byte_order_mark_is_no_part_of_the_first_command() -> None:
    lines = await read_all(Script(io.StringIO("\ufeff/help\nhello\n")))
    assert lines == ["/help", "hello"]


async def test_somebody_who_types_is_asked_for_each_line() -> None:
    asked: list[str] = []
    script = Script(io.StringIO("a\nb\n"), lambda: asked.append("you> "))
    assert await read_all(script) == ["a", "b"]
    assert (len(asked), script.is_typed) == (3, True)
