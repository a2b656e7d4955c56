import asyncio
import signal

import pytest

from bot.process.signals import on_stop


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
