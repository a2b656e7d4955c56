"""What the owners are told in Discord: an outage once, a budget once, none of it lost meanwhile."""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress

from bot.app import log_cloud, log_fleet
from bot.chat.words import cloud_notice, fleet_notice, outage_notice
from bot.domain.cloud import CloudEvent, ProviderNews
from bot.domain.events import FleetEvent
from bot.domain.ids import ProviderName
from bot.policy.outages import OutageRecord, after_telling, due_at, heard

MOST_NEWS = 50
"""Untold news kept for the owners while Discord is away."""

MOST_EARLY = 100
"""Questions remembered that went elsewhere before an outage began."""

AGAIN_S = 5.0
"""Untold news are tried again after so long, then after twice as long each time."""

LONGEST_PAUSE_S = 900.0


class OwnerNews:
    """What the owners are to be told; bounded, the oldest gives way."""

    def __init__(self) -> None:
        self._texts: deque[str] = deque(maxlen=MOST_NEWS)
        self._outages: dict[ProviderName, OutageRecord] = {}
        self._passed: dict[str, deque[float]] = {}
        """When questions last went elsewhere, by provider."""
        self._changed = asyncio.Event()

    def hear(self, event: CloudEvent) -> None:
        """Logs an event and keeps what the owners are to know of it."""
        log_cloud(event)
        match event:
            case ProviderNews(what="out" | "back" | "passed", name=name):
                now = asyncio.get_running_loop().time()
                # A question is its provider's; what is out may be one key of several.
                whose = name.partition("/")[0]
                passed = self._passed.setdefault(whose, deque(maxlen=MOST_EARLY))
                is_passed = event.what == "passed"
                of_it = [known for known in self._outages if known.partition("/")[0] == whose]
                for each in of_it if is_passed else [name]:
                    record = heard(self._outages.get(each), event, now, passed)
                    if record is not None:
                        self._outages[each] = record
                if is_passed and not of_it:
                    passed.append(now)
            case _:
                self._texts.append(cloud_notice(event))
        self._changed.set()

    def hear_host(self, event: FleetEvent) -> None:
        """The same of a host."""
        log_fleet(event)
        if text := fleet_notice(event):
            self._texts.append(text)
            self._changed.set()

    async def tell(self, tell_owners: Callable[[str], Awaitable[bool]]) -> None:
        """Tells the owners, one text after the other, for ever.

        Args:
            tell_owners: says one text; False when nobody could be told, and it is tried again.
        """
        pause_s, clock = AGAIN_S, asyncio.get_running_loop().time
        while True:
            # Worded when it is told: while Discord was away an outage may have ended.
            outage = min(self._outages.values(), key=due_at, default=None)
            due = math.inf if outage is None else due_at(outage)
            if not self._texts and due > clock():
                self._changed.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(None if due == math.inf else due):
                        await self._changed.wait()
                continue
            if outage is not None and due > clock():
                outage = None
            text = self._texts[0] if outage is None else outage_notice(outage, clock())
            if not await tell_owners(text):
                await asyncio.sleep(pause_s)
                pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)
                continue
            pause_s = AGAIN_S
            # Taken off once it is told: Discord may be away just when a provider goes out.
            if outage is not None:
                left = after_telling(self._outages.pop(outage.name), outage)
                self._outages |= {} if left is None else {outage.name: left}
            # With every place taken, news that came meanwhile have pushed it out themselves: the
            # next one was then dropped untold in its stead.
            elif self._texts[0] is text:
                self._texts.popleft()
