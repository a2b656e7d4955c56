import asyncio
import signal

import pytest

from bot.process.stopping import Patience, on_stop

# --- signals --------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_first_signal_asks_kindly_and_every_later_one_does_not(
    number: signal.Signals,
) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    with on_stop(lambda: told.put_nowait("stop"), lambda: told.put_nowait("at once")):
        for wanted in ("stop", "at once", "at once"):
            signal.raise_signal(number)
            async with asyncio.timeout(5):
                assert await told.get() == wanted


async def test_signals_go_where_they_went_before_once_the_block_is_left() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with on_stop(lambda: None, lambda: None):
        assert signal.getsignal(signal.SIGTERM) is not before

    assert signal.getsignal(signal.SIGTERM) is before


async def test_only_signals_the_platform_has_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "SIGTERM")
    told: asyncio.Queue[str] = asyncio.Queue()
    with on_stop(lambda: told.put_nowait("stop"), lambda: None):
        signal.raise_signal(signal.SIGINT)
        async with asyncio.timeout(5):
            assert await told.get() == "stop"


@pytest.mark.parametrize(("number", "wanted"), [("SIGINT", "stop"), ("SIGTERM", "leave")])
async def test_the_request_to_end_may_mean_another_thing_than_ctrl_c(
    number: str, wanted: str
) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    put = told.put_nowait
    with on_stop(lambda: put("stop"), lambda: put("at once"), lambda: put("leave")):
        signal.raise_signal(signal.Signals[number])
        async with asyncio.timeout(5):
            assert await told.get() == wanted


# --- patience --------------------------------------------------------------------------------


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
