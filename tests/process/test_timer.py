"""Jobs that come round."""

import asyncio
from datetime import UTC, datetime, time, timedelta, tzinfo

import pytest
from apscheduler.executors import base as executors
from apscheduler.schedulers import base as schedulers
from structlog.testing import capture_logs

from bot.process.timer import Timer

SOON = 0.01

DAY = timedelta(days=1)


class SetClock(datetime):
    """The machine's clock, as somebody sets it."""

    off_by = timedelta()

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:
        return datetime.now(tz) + cls.off_by  # noqa: TID251  # what APScheduler itself reads


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[SetClock]:
    """Moves the clock that APScheduler and the timer read."""
    monkeypatch.setattr(SetClock, "off_by", timedelta())
    for module in (schedulers, executors):
        monkeypatch.setattr(module, "datetime", SetClock)
    return SetClock


def utcnow() -> datetime:
    return SetClock.now(UTC)


async def until(event: asyncio.Event) -> None:
    async with asyncio.timeout(60):
        await event.wait()


async def test_a_job_comes_round_again_and_again() -> None:
    again = asyncio.Event()
    rounds: list[int] = []

    async def job() -> None:
        rounds.append(1)
        if len(rounds) == 3:
            again.set()

    async with Timer(utcnow, look_every_s=SOON) as timer:
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
        async with Timer(utcnow, look_every_s=SOON) as timer:
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

    async with Timer(utcnow, look_every_s=SOON) as timer:
        timer.every(SOON, "job", job)
        await until(begun)
    assert finished.is_set()


async def test_a_job_handed_out_as_the_timer_is_left_comes_to_its_end(
    clock: type[SetClock], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its task was made in the same turn of the loop, and had not begun when others were asked."""
    ended: list[bool] = []
    leave, due = asyncio.Event(), [datetime.max.replace(tzinfo=UTC)]

    def now(tz: tzinfo | None = None) -> datetime:
        # What APScheduler asks first when it looks what is due.
        at = datetime.now(tz)  # noqa: TID251  # what APScheduler itself reads
        if at >= due[0]:
            leave.set()
        return at

    async def job() -> None:
        ended.append(False)
        await asyncio.sleep(0)
        ended[-1] = True

    monkeypatch.setattr(clock, "now", now)
    with capture_logs() as logs:
        async with Timer(utcnow) as timer:
            timer.every(SOON, "job", job)
            due[0] = utcnow() + timedelta(seconds=SOON)
            await until(leave)
        await asyncio.sleep(0)
    assert all(ended)
    assert logs == []


async def test_a_job_that_does_not_end_is_cut_without_being_called_a_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bot.process.timer.LAST_S", 0.0)
    begun, cut = asyncio.Event(), asyncio.Event()

    async def job() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cut.set()

    with capture_logs() as logs:
        async with Timer(utcnow) as timer:
            timer.every(SOON, "job", job)
            await until(begun)
        assert cut.is_set(), "nothing of it goes on in what is closed next"
    assert logs == [{"event": "job left unfinished", "job": "job", "log_level": "warning"}]


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
        async with Timer(utcnow, look_every_s=SOON) as timer:
            timer.every(SOON, "long", long_job)
            timer.every(SOON, "short", short_job)
            await until(thrice)
            let_go.set()
    assert sum(running) == 1
    assert {"event": "job still running", "job": "long", "log_level": "warning"} in logs


async def test_a_daily_job_is_taken() -> None:
    async def job() -> None:
        pytest.fail("not now")

    async with Timer(utcnow, look_every_s=SOON) as timer:
        timer.every(time(4, 30), "backup", job)


@pytest.mark.parametrize("jump", [-400 * DAY, -DAY, -timedelta(seconds=10), DAY, 400 * DAY])
async def test_a_clock_that_is_set_holds_no_job_up(clock: type[SetClock], jump: timedelta) -> None:
    """Set by hand or by the network, or forward by as long as the machine slept."""
    before, after, looked = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def job() -> None:
        (after if clock.off_by else before).set()

    def seen() -> datetime:
        if clock.off_by:
            looked.set()
        return utcnow()

    with capture_logs() as logs:
        async with Timer(seen, look_every_s=SOON) as timer:
            timer.every(SOON, "job", job)
            timer.every(time(4, 30), "backup", lambda: asyncio.sleep(0))
            await until(before)
            clock.off_by = jump
            await until(after)
            await until(looked)
    (told,) = [entry for entry in logs if entry["event"] == "clock set"]
    assert told["by_s"] == pytest.approx(jump.total_seconds(), abs=1)


async def test_a_clock_that_is_not_set_leaves_the_jobs_alone() -> None:
    async def job() -> None:
        pytest.fail("not now")

    looked = asyncio.Event()
    reads: list[int] = []

    def counted() -> datetime:
        reads.append(1)
        if len(reads) == 5:
            looked.set()
        return utcnow()

    async with Timer(counted, look_every_s=SOON) as timer:
        timer.every(60, "job", job)
        await until(looked)
