"""Which models are loaded before the time of day at which they are usually asked for. Pure.

A guess, so that it takes nothing of anybody: into free memory of a host at rest, as for whoever
begins to type (``policy.warmup``), and not again for hours where nobody came.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from bot.domain.hosts import FleetSnapshot, Wish
from bot.domain.ids import HostName, ModelKey
from bot.policy.prediction import Outlook, RouteAsk, outlook
from bot.policy.warmup import may_warm_up

USUAL_HOURS = "usual hours"
"""Who asks, in a host's line."""
SOON = timedelta(minutes=30)
"""What is usually asked for within so long is loaded now."""
DAYS = 28
"""So far back is looked: seven days of a weekend lie within."""
ALIKE, LEAST = 7, 4
"""Of so many days like this one, on so many it was asked for. Working days tell of working days and
weekends of weekends: a model of the office was once there all Sunday."""
GUESS_EVERY_S = 3 * 3600.0
"""Least seconds between two such loads of one model, whether anybody came or not."""


def usually_asked(asked: Iterable[tuple[ModelKey, datetime]], now: datetime) -> list[ModelKey]:
    """The models that will be asked for soon if this day is like others, the surest first.

    Args:
        asked: Which models were asked for, and when; in any time zone, in any order.
        now: In the time zone by which people live: eight o'clock stays eight when clocks change.
    """
    wall, zone = now.replace(tzinfo=None), now.tzinfo
    days = defaultdict[ModelKey, set[int]](set)
    for key, at in asked:
        gap = wall - at.astimezone(zone).replace(tzinfo=None)
        # So many days ago this time of day was the last before it.
        ago = math.ceil(gap / timedelta(days=1))
        if 1 <= ago <= DAYS and timedelta(days=ago) - gap < SOON:
            days[key].add(ago)
    is_weekend = _is_weekend(wall)
    like = [n for n in range(1, DAYS + 1) if _is_weekend(wall - timedelta(days=n)) is is_weekend]
    found = {key: len(those.intersection(like[:ALIKE])) for key, those in days.items()}
    usual = [key for key, count in found.items() if count >= LEAST]
    return sorted(usual, key=lambda key: (-found[key], key))


def _is_weekend(day: datetime) -> bool:
    return day.weekday() >= 5


def plan_preload(fleet: FleetSnapshot, wishes: Sequence[Wish]) -> list[tuple[Wish, HostName]]:
    """Whom to have load what, at most one of each host, and only what is in memory nowhere."""
    plan: dict[HostName, Wish] = {}
    hosts = [host for host in fleet.hosts.values() if host.is_serving]
    there = {instance.model_key for host in hosts for instance in host.instances}
    there |= {host.load.model_key for host in hosts if host.load is not None}
    for wish in wishes:
        key = wish.model_key
        ask = RouteAsk((key,), wish.min_context, load=wish.load)
        if key in there:
            continue
        able = [
            (found.of(ask)[1], host.name)
            for host in hosts
            if host.name not in plan
            and may_warm_up(host, wish, fleet.taken_at)
            and isinstance(found := outlook(host, key, ask, fleet.taken_at), Outlook)
        ]
        if able:
            plan[min(able)[1]] = wish
    return [(wish, host) for host, wish in plan.items()]
