"""Who is answered, looked up in Discord where its events do not say; and how fast they may ask."""

import asyncio
from contextlib import suppress
from math import ceil, inf
from typing import Any

import discord
import structlog

from bot.domain.chat import Place
from bot.domain.errors import RequestRefused
from bot.domain.ids import PlaceId, UserId
from bot.policy.access import Asker, check_may_ask
from bot.policy.ratelimit import Bucket, take
from cogs._faults import SENDING_ERRORS
from cogs._places import DiscordRules, is_at_home, owners_of, place_of, roles_of, user_id

LOOK_UP_S = 2.0
"""Longest a look-up may take: an interaction must be answered within three seconds."""

KNOWN_S = 600.0
"""How long a person counts as a member without another look."""

HOLD_S = 10.0
"""Who asks too fast waits at least so long: told at every refilled place they would be told, too,
at every third message."""

MOST_ASKERS = 2000

_log = structlog.get_logger(__name__)


class Access:
    """Judges who asks; one per process."""

    def __init__(self, rules: DiscordRules) -> None:
        self.rules = rules
        self._members: dict[int, tuple[float, frozenset[str] | None]] = {}
        """Until when it is believed, and the person's roles; None: no member."""
        self._buckets: dict[UserId, Bucket] = {}
        self._held: dict[UserId, float] = {}
        """Until when nothing more is taken of somebody; they were told."""

    async def check(
        self, client: discord.Client, said: discord.Message | discord.Interaction[Any]
    ) -> None:
        """Passes when Lantern answers this person in this place.

        Raises:
            NotPermitted: it does not.
            RequestRefused: Discord did not tell in time who they are.
        """
        person = said.user if isinstance(said, discord.Interaction) else said.author
        place, doors = place_of(said), self.rules.doors
        is_guest = isinstance(said, discord.Interaction) and not is_at_home(said)
        asker = Asker(
            user_id(person),
            is_owner=person.id in owners_of(client.application),
            roles=roles_of(person),
        )
        is_unknown = is_guest or not isinstance(person, discord.Member)
        if doors.needs_member(asker, place, is_guest=is_guest) and is_unknown:
            where = Place(place.channel, is_private=True) if is_guest else place
            roles = await self._looked_up(client, person.id, where)
            asker = Asker(asker.user, asker.is_owner, roles or frozenset(), roles is not None)
        check_may_ask(doors, asker, place, is_guest=is_guest)

    def take(self, user: UserId) -> None:
        """Takes one question of somebody.

        Raises:
            RequestRefused: they ask too fast; it says how long they have to wait.
        """
        now, rule = asyncio.get_running_loop().time(), self.rules.rate
        if rule is None:
            return
        if len(self._buckets) >= MOST_ASKERS:
            self._buckets.clear()
            self._held.clear()
        if not self.is_held(user):
            self._buckets[user], wait_s = take(self._buckets.get(user), rule, now)
            if not wait_s:
                return
            self._held[user] = now + max(wait_s, HOLD_S)
        raise RequestRefused(
            f"Slow down: {rule.count} questions in {rule.period_s:.0f} s are taken of one person. "
            f"Wait {ceil(self._held[user] - now)} s; what you ask until then is not answered."
        )

    def is_held(self, user: UserId) -> bool:
        """Whether they were told to wait, and have not yet."""
        return self._held.get(user, -inf) > asyncio.get_running_loop().time()

    async def _looked_up(
        self, client: discord.Client, person: int, place: Place
    ) -> frozenset[str] | None:
        """A person's roles in the servers that count; None: they are in none of them.

        Raises:
            RequestRefused: Discord did not tell in time.
        """
        now = asyncio.get_running_loop().time()
        until, roles = self._members.get(person, (now, None))
        if until > now:
            return roles
        allowed = self.rules.doors.servers
        servers = [g for g in client.guilds if not allowed or PlaceId(f"discord:{g.id}") in allowed]
        if place.server is not None:
            servers = [guild for guild in servers if f"discord:{guild.id}" == place.server]
        found: list[discord.Member] = []
        try:
            async with asyncio.timeout(LOOK_UP_S):
                for guild in servers:
                    # No cache of members is kept: it would take the members intent and the memory.
                    with suppress(discord.NotFound):
                        found.append(await guild.fetch_member(person))
        except SENDING_ERRORS as error:
            _log.warning("member not looked up", error=str(error)[:300])
            raise RequestRefused(
                "Discord did not tell in time whether you may ask here; try again."
            ) from error
        roles = frozenset(role for member in found for role in roles_of(member)) if found else None
        if len(self._members) >= MOST_ASKERS:
            self._members.clear()
        if place.is_private:
            self._members[person] = (now + (KNOWN_S if found else 0.0), roles)
        return roles
