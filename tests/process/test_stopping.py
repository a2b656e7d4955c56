import asyncio

import pytest

from bot.process.stopping import Patience


class Ends:
    """In place of the end of the process: how it would have ended."""

    def __init__(self) -> None:
        self.code: int | None = None
        self.happened = asyncio.Event()

    def __call__(self, code: int) -> None:
        self.code = code
        self.happened.set()


async def test_a_block_left_in_time_is_not_cut_off() -> None:
    async with Patience(60.0, Ends()) as patience:
        patience.stop()
        await patience.asked.wait()

    assert not patience.is_over


async def test_a_block_that_takes_too_long_is_cut_off_as_failed() -> None:
    async with Patience(0.0, Ends()) as patience:
        patience.stop()
        await asyncio.Event().wait()

    assert patience.is_over
    assert patience.exit_code == 1


async def test_a_second_asking_cuts_it_off_at_once() -> None:
    async with Patience(60.0, Ends()) as patience:
        patience.stop()
        patience.stop_at_once()
        await asyncio.Event().wait()

    assert patience.is_over
    assert patience.exit_code == 130


async def test_further_askings_change_nothing() -> None:
    async with Patience(60.0, Ends()) as patience:
        patience.stop_at_once()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.Event().wait()
        patience.stop_at_once()
        patience.stop()
        raise asyncio.CancelledError

    assert patience.exit_code == 130


async def test_an_error_of_the_block_comes_out_as_it_is() -> None:
    async def block() -> None:
        async with Patience(60.0, Ends()) as patience:
            patience.stop()
            raise KeyError

    with pytest.raises(KeyError):
        await block()


async def test_a_block_that_does_not_let_itself_be_cut_off_ends_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bot.process.stopping.FORCE_S", 0.01)
    ends = Ends()
    async with Patience(60.0, ends) as patience:
        patience.stop_at_once()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.Event().wait()
        await ends.happened.wait()

    assert ends.code == 130
