"""Jobs that come round."""

import asyncio

import pytest
from structlog.testing import capture_logs

from bot.process.timer import Timer

SOON = 0.01


async def until(event: asyncio.Event) -> None:
    async with asyncio.timeout(5):
        await event.wait()


async def test_a_job_comes_round_again_and_again() -> None:
    again = asyncio.Event()
    rounds: list[int] = []

    async def job() -> None:
        rounds.append(1)
        if len(rounds) == 3:
            again.set()

    async with Timer() as timer:
        timer.every(SOON, "job", job)
        await until(again)
    assert len(rounds) >= 3


async def test_a_job_that_fails_is_logged_and_runs_again() -> None:
    again = asyncio.Event()
    rounds: list[int] = []

    async def job() -> None:
        rounds.append(1)
        if len(rounds) == 2:
            again.set()
        raise RuntimeError("broken")

    with capture_logs() as logs:
        async with Timer() as timer:
            timer.every(SOON, "job", job)
            await until(again)
    failed = [entry for entry in logs if entry["event"] == "job failed"]
    assert failed
    assert failed[0]["job"] == "job"
    assert "broken" in failed[0]["error"]


async def test_a_running_job_is_awaited_when_the_timer_is_left() -> None:
    begun, finished = asyncio.Event(), asyncio.Event()

    async def job() -> None:
        begun.set()
        await asyncio.sleep(SOON)
        finished.set()

    async with Timer() as timer:
        timer.every(SOON, "job", job)
        await until(begun)
    assert finished.is_set()


async def test_a_job_never_runs_beside_itself() -> None:
    let_go, thrice = asyncio.Event(), asyncio.Event()
    running: list[int] = []
    rounds: list[int] = []

    async def long_job() -> None:
        running.append(1)
        await let_go.wait()

    async def short_job() -> None:
        rounds.append(1)
        if len(rounds) == 4:
            thrice.set()

    with capture_logs() as logs:
        async with Timer() as timer:
            timer.every(SOON, "long", long_job)
            timer.every(SOON, "short", short_job)
            await until(thrice)
            let_go.set()
    assert sum(running) == 1
    assert {"event": "job still running", "job": "long", "log_level": "warning"} in logs


async def test_a_daily_job_is_taken() -> None:
    async def job() -> None:
        pytest.fail("not now")

    async with Timer() as timer:
        timer.daily(4, 30, "backup", job)
