"""Jobs that come round, every so many seconds or once a day; APScheduler behind it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC
from types import TracebackType
from typing import Any, Self, cast

import structlog
from apscheduler import events
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

Job = Callable[[], Awaitable[None]]

LAST_S = 10.0
"""How long running jobs may take to finish when the timer is left."""

_log = structlog.get_logger(__name__)


class Timer:
    """Use as ``async with Timer() as timer: timer.every(30, "probe", fleet.probe_all)``.

    A job never runs beside itself; one that is late still runs, once. A job that fails is logged
    and runs again the next time.
    """

    def __init__(self) -> None:
        # APScheduler ships without types.
        self._scheduler: Any = AsyncIOScheduler(timezone=UTC)
        self._running: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        mask = events.EVENT_JOB_ERROR | events.EVENT_JOB_MISSED | events.EVENT_JOB_MAX_INSTANCES
        self._scheduler.add_listener(_on_trouble, mask)
        self._scheduler.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._scheduler.pause()
        try:
            if self._running:
                # APScheduler cancels what runs when it is shut down, so it is awaited before.
                await asyncio.wait(set(self._running), timeout=LAST_S)
        finally:
            self._scheduler.shutdown(wait=False)

    def every(self, seconds: float, name: str, job: Job) -> None:
        """Runs a job again and again, first after one interval."""
        trigger = IntervalTrigger(seconds=cast(int, seconds), timezone=UTC)
        self._add(trigger, seconds, name, job)

    def daily(self, hour: int, minute: int, name: str, job: Job) -> None:
        """Runs a job once a day, at a time of day in UTC."""
        trigger = CronTrigger(hour=hour, minute=minute, timezone=UTC)
        self._add(trigger, 3600.0, name, job)

    def _add(
        self, trigger: IntervalTrigger | CronTrigger, grace_s: float, name: str, job: Job
    ) -> None:
        self._scheduler.add_job(
            self._run,
            trigger,
            args=(job,),
            id=name,
            name=name,
            coalesce=True,
            max_instances=1,
            misfire_grace_time=max(1, round(grace_s)),
        )

    async def _run(self, job: Job) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._running.add(task)
        try:
            await job()
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
