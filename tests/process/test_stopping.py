import asyncio
import signal
import sys

import pytest
from virtual_time import play

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
            async with asyncio.timeout(60):
                assert await told.get() == wanted


@pytest.mark.skipif(sys.platform == "win32", reason="no terminal tells there that it is gone")
async def test_a_terminal_that_goes_asks_kindly_however_often_it_tells(
    request: pytest.FixtureRequest,
) -> None:
    # The tests may run under nohup, too.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    request.addfinalizer(lambda: signal.signal(signal.SIGHUP, before))
    told: asyncio.Queue[str] = asyncio.Queue()
    with on_stop(lambda: told.put_nowait("stop"), lambda: told.put_nowait("at once")):
        # Nor does it count for whoever asks in another way afterwards.
        for name, wanted in (("HUP", "stop"), ("HUP", "stop"), ("TERM", "stop"), ("HUP", "stop")):
            signal.raise_signal(signal.Signals[f"SIG{name}"])
            async with asyncio.timeout(60):
                assert await told.get() == wanted
        signal.raise_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            assert await told.get() == "at once"
    with on_stop(lambda: None, lambda: None, lambda: told.put_nowait("leave")):
        signal.raise_signal(signal.SIGHUP)
        async with asyncio.timeout(60):
            assert await told.get() == "leave"


@pytest.mark.skipif(sys.platform == "win32", reason="no terminal tells there that it is gone")
async def test_under_nohup_a_terminal_that_goes_ends_nothing() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with on_stop(pytest.fail, pytest.fail):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


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
        async with asyncio.timeout(60):
            assert await told.get() == "stop"


@pytest.mark.parametrize(("number", "wanted"), [("SIGINT", "stop"), ("SIGTERM", "leave")])
async def test_the_request_to_end_may_mean_another_thing_than_ctrl_c(
    number: str, wanted: str
) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    put = told.put_nowait
    with on_stop(lambda: put("stop"), lambda: put("at once"), lambda: put("leave")):
        signal.raise_signal(signal.Signals[number])
        async with asyncio.timeout(60):
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


def test_a_block_that_takes_too_long_is_cut_off_then_and_as_failed() -> None:
    async def stop_after(seconds: float) -> tuple[Patience, float, Ends]:
        ends = Ends()
        loop = asyncio.get_running_loop()
        async with Patience(60.0, ends) as patience:
            await asyncio.sleep(seconds)
            patience.stop()
            await asyncio.Event().wait()
        return patience, loop.time(), ends

    patience, cut_at, ends = play(stop_after(5.0))
    assert patience.is_over
    assert patience.exit_code == 1
    assert cut_at == 65.0
    assert ends.code is None


@pytest.mark.parametrize("is_asked_before", [True, False])
def test_a_second_asking_cuts_it_off_at_once(is_asked_before: bool) -> None:
    async def stop() -> tuple[Patience, float]:
        async with Patience(60.0, Ends()) as patience:
            if is_asked_before:
                patience.stop()
                await asyncio.sleep(1.0)
            patience.stop_at_once()
            await asyncio.Event().wait()
        return patience, asyncio.get_running_loop().time()

    patience, cut_at = play(stop())
    assert patience.is_over
    assert patience.exit_code == 130
    assert cut_at == (1.0 if is_asked_before else 0.0)


def test_a_later_kind_asking_gives_no_more_time() -> None:
    async def stop_twice() -> float:
        async with Patience(60.0, Ends()) as patience:
            patience.stop()
            await asyncio.sleep(30.0)
            patience.stop()
            await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert play(stop_twice()) == 60.0


def test_further_askings_change_nothing() -> None:
    async def stop_often() -> Patience:
        async with Patience(60.0, Ends()) as patience:
            patience.stop_at_once()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.Event().wait()
            patience.stop_at_once()
            patience.stop()
            raise asyncio.CancelledError
        return patience

    assert play(stop_often()).exit_code == 130


async def test_an_error_of_the_block_comes_out_as_it_is() -> None:
    async def block() -> None:
        async with Patience(60.0, Ends()) as patience:
            patience.stop()
            raise KeyError

    with pytest.raises(KeyError):
        await block()


@pytest.mark.parametrize(("is_kind", "code", "ends_at"), [(True, 1, 61.0), (False, 130, 1.0)])
def test_a_block_that_does_not_let_itself_be_cut_off_ends_the_process(
    is_kind: bool, code: int, ends_at: float
) -> None:
    async def hang() -> tuple[Ends, float]:
        ends = Ends()
        async with Patience(60.0, ends) as patience:
            (patience.stop if is_kind else patience.stop_at_once)()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.Event().wait()
            await ends.happened.wait()
        return ends, asyncio.get_running_loop().time()

    ends, at = play(hang())
    assert ends.code == code
    assert at == ends_at
