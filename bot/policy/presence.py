"""The line under the bot's name: how the fleet stands, in a few words anybody may read."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Literal

from bot.domain.hosts import HostSnapshot
from bot.domain.ids import ProviderName
from bot.domain.values import value

PRESENCE_EVERY_S = 20.0
"""Least seconds between two changes: Discord takes five in twenty seconds of a connection, and
people who look at a list of members want no ticker."""

_LONGEST = 128
"""Characters: Discord's limit for a custom status."""

_AWAY = {
    "down": "down",
    "draining": "draining",
    "unknown": "not seen yet",
    "asleep": "asleep, wakes when asked",
    "waking": "waking up",
}


@value
class Presence:
    """What people see beside the bot's name."""

    text: str
    light: Literal["online", "idle", "dnd"]
    """Green: a host answers; yellow: one may soon, or a provider would; red: nobody."""


def presence_of(hosts: Collection[HostSnapshot], cloud: Sequence[ProviderName] = ()) -> Presence:
    """How the fleet stands: ``2 of 3 hosts · qwen3-30b ready``, ``all hosts down · ☁ zai answers``.

    Names of machines are their owner's business, so they are counted only.

    Args:
        hosts: All there are.
        cloud: Providers that may be asked now.
    """
    up = [host for host in hosts if host.is_serving]
    if up:
        # Chosen by work, then by name: of two that are equal it must not change its mind each look.
        copies, leases = Counter[str](), Counter[str]()
        for instance in (i for host in up for i in host.instances if i.kind != "embedding"):
            name = instance.model_key.rpartition("/")[2]
            copies.update([name])
            leases[name] += instance.leases
        names = sorted(copies, key=lambda name: (-leases[name], -copies[name], name))
        loading = sorted(h.load.model_key.rpartition("/")[2] for h in up if h.load is not None)
        model = "models load when asked"
        if names:
            model = f"{names[0]}{f' and {len(names) - 1} more' if names[1:] else ''} ready"
        elif loading:
            model = f"{loading[0]} is loading"
        telling = sum(host.tells for host in up)
        head = f"{telling} of {len(hosts)} hosts" if len(hosts) > 1 else "host up"
        return Presence(f"{head} · {model}"[:_LONGEST], "online")
    states = {host.state for host in hosts}
    light = "idle" if cloud or states & {"unknown", "asleep", "waking"} else "dnd"
    head = "no host free"
    if not hosts:
        head = "" if cloud else "no hosts yet"
    elif len(states) == 1:
        (state,) = states
        head = f"{'all hosts' if len(hosts) > 1 else 'host'} {_AWAY[state]}"
    others = f"☁ {', '.join(cloud)} {'answer' if cloud[1:] else 'answers'}" if cloud else ""
    return Presence(" · ".join(filter(None, (head, others)))[:_LONGEST], light)
