"""Simulated time: the loop's clock, stretched or shrunk, that an owner may skip ahead."""

import asyncio


class SimClock:
    """Seconds as the simulated machine lives them."""

    def __init__(self, scale: float) -> None:
        self._scale = scale
        self._skipped_s = 0.0
        self._origin_s: float | None = None

    @property
    def stands_still(self) -> bool:
        """Whether time passes only when skipped (`time_scale` 0)."""
        return self._scale <= 0

    def now(self) -> float:
        """Return simulated seconds since first asked."""
        if self.stands_still:
            return self._skipped_s
        real_s = asyncio.get_running_loop().time()
        if self._origin_s is None:
            self._origin_s = real_s
        return (real_s - self._origin_s) / self._scale + self._skipped_s

    def skip(self, seconds: float) -> None:
        """Jump ahead; sleepers are not woken."""
        self._skipped_s += seconds

    def real_seconds(self, seconds: float) -> float:
        """Return how long a simulated duration really takes."""
        return max(0.0, seconds * self._scale)

    async def sleep(self, seconds: float) -> None:
        """Let a simulated duration pass, yielding to the loop at least once."""
        await asyncio.sleep(self.real_seconds(seconds))

    async def sleep_until(self, due_s: float) -> None:
        """Sleep until a simulated moment, so that late wake-ups do not add up."""
        await self.sleep(due_s - self.now())

    async def sleep_unless(self, seconds: float, event: asyncio.Event) -> bool:
        """Sleep, but wake at once when `event` is set; return whether it was."""
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(self.real_seconds(seconds)):
                await event.wait()
        except TimeoutError:
            return event.is_set()
        return True
