"""Jobs that come round, every so many seconds or once a day; APScheduler behind it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, time, timedelta
from types import TracebackType
from typing import Any, Self, cast

import structlog
from apscheduler import events
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger

TimedWork = Callable[[], Awaitable[None]]

LAST_S = 10.0
"""How long running jobs may take to finish when the timer is left."""

LOOK_EVERY_S = 5.0
"""How soon a clock that was set is noticed."""

SET_BY_S = 2.0
"""Less than this is the clock being slewed, or a loop that was busy."""

_log = structlog.get_logger(__name__)


class _Every(BaseTrigger):
    """An interval that catches up in one step.

    APScheduler's own walks through every run missed: after 400 days set forward a job of every two
    seconds held the event loop for half a minute, and was then called too late to run.
    """

    def __init__(self, seconds: float) -> None:
        self._interval = timedelta(seconds=seconds)

    def get_next_fire_time(  # pyright: ignore[reportIncompatibleMethodOverride]  # untyped base
        self, previous_fire_time: datetime | None, now: datetime
    ) -> datetime | None:
        """The time of the next run; ``now`` where the one after the previous is past."""
        if previous_fire_time is None or previous_fire_time >= now:
            return (previous_fire_time or now) + self._interval
        return max(previous_fire_time + self._interval, now)


class Timer:
    """Use as ``async with Timer(utcnow) as timer: timer.every(30, "probe", fleet.probe_all)``.

    A job never runs beside itself; one that is late still runs, once. A job that fails is logged
    and runs again the next time.

    Args:
        utcnow: the wall clock, the one APScheduler reads.
        look_every_s: how often it is held against the loop's clock.
    """

    def __init__(self, utcnow: Callable[[], datetime], look_every_s: float = LOOK_EVERY_S) -> None:
        self._utcnow = utcnow
        self._look_every_s = look_every_s
        self._look: asyncio.TimerHandle | None = None
        # APScheduler ships without types.
        self._scheduler: Any = AsyncIOScheduler(timezone=UTC)
        self._running: set[asyncio.Task[None]] = set()
        self._is_left = False

    async def __aenter__(self) -> Self:
        mask = events.EVENT_JOB_ERROR | events.EVENT_JOB_MISSED | events.EVENT_JOB_MAX_INSTANCES
        self._scheduler.add_listener(_on_trouble, mask)
        self._scheduler.start()
        self._look_at_clock(self._began())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._look is not None:
            self._look.cancel()
        self._scheduler.pause()
        try:
            # What was handed out in this very turn of the loop has yet to begin.
            await asyncio.sleep(0)
            if self._running:
                # APScheduler cancels what runs when it is shut down, so it is awaited before.
                await asyncio.wait(set(self._running), timeout=LAST_S)
        finally:
            # And that a turn later, when what jobs use is being closed.
            self._is_left = True
            for task in self._running:
                task.cancel()
            self._scheduler.shutdown(wait=False)
            await asyncio.sleep(0)

    def every(self, when: float | time, name: str, job: TimedWork) -> None:
        """Runs a job again and again.

        Args:
            when: So many seconds apart, first after one interval; or daily at a time in UTC.
            name: For the log.
            job: What is run.
        """
        if isinstance(when, time):
            trigger = CronTrigger(hour=when.hour, minute=when.minute, timezone=UTC)
            grace_s = 3600.0
        else:
            trigger, grace_s = _Every(when), when
        self._scheduler.add_job(
            self._run,
            trigger,
            args=(name, job),
            id=name,
            name=name,
            coalesce=True,
            max_instances=1,
            misfire_grace_time=max(1, round(grace_s)),
        )

    def _began(self) -> datetime:
        """The wall time at which the loop's clock stood at zero."""
        return self._utcnow() - timedelta(seconds=asyncio.get_running_loop().time())

    def _look_at_clock(self, began: datetime) -> None:
        """Lets every job begin anew when the wall clock was set.

        APScheduler keeps the wall time of each next run: set back by a day, no host was probed and
        no model evicted for a day. Forward is also what the sleep of the machine looks like; then
        the sooner everything is looked at again, the better.
        """
        now = self._began()
        by_s = (now - began).total_seconds()
        if abs(by_s) > SET_BY_S:
            _log.warning("clock set", by_s=round(by_s, 1))
            for job in self._scheduler.get_jobs():
                is_daily = isinstance(job.trigger, CronTrigger)
                at = job.trigger.get_next_fire_time(None, self._utcnow()) if is_daily else None
                job.modify(next_run_time=at or self._utcnow())
            began = now
        loop = asyncio.get_running_loop()
        self._look = loop.call_later(self._look_every_s, self._look_at_clock, began)

    async def _run(self, name: str, job: TimedWork) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._running.add(task)
        try:
            await job()
        except asyncio.CancelledError:
            # APScheduler told it as a crash, of forty-seven lines, under a table that was whole.
            if not self._is_left:
                raise
            _log.warning("job left unfinished", job=name)
        finally:
            self._running.discard(task)


def _on_trouble(event: Any) -> None:
    match event.code:
        case events.EVENT_JOB_ERROR:
            _log.error("job failed", job=event.job_id, error=repr(event.exception))
        case events.EVENT_JOB_MISSED:
            _log.warning("job missed", job=event.job_id)
        case _:
            _log.warning("job still running", job=event.job_id)
