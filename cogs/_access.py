"""Who is answered, looked up in Discord where its events do not say; and how fast they may ask."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import ceil, inf
from typing import Any

import discord
import structlog

from bot.chat import words
from bot.domain.chat import Asker, Place
from bot.domain.errors import RequestRefused
from bot.domain.ids import PlaceId, UserId
from bot.policy.access import Aim, check_may_ask
from bot.policy.ratelimit import Bucket, RateRule, take
from cogs._faults import SENDING_ERRORS
from cogs._places import DiscordRules, is_at_home, place_of, roles_of

LOOK_UP_S = 2.0
"""Longest a look-up may take: an interaction must be answered within three seconds."""

AT_ONCE = 10
"""Servers that are asked side by side, of fifty requests a second that Discord takes in all."""

KNOWN_S = 600.0
"""How long a person counts as a member without another look."""

HOLD_S = 10.0
"""Who asks too fast waits at least so long: told at every refilled place they would be told, too,
at every third message."""

MOST_ASKERS = 2000

_Counted = tuple[UserId, PlaceId]
"""Whose questions, and the channel or server they are counted in; empty is everywhere."""

_log = structlog.get_logger(__name__)


class Access:
    """Judges who asks; one per process."""

    def __init__(self, rules: DiscordRules) -> None:
        self.rules = rules
        self._members: dict[int, tuple[float, frozenset[str] | None]] = {}
        """Until when it is believed, and the person's roles; None: no member."""
        self._buckets: dict[_Counted, Bucket] = {}
        self._held: dict[_Counted, float] = {}
        """Until when nothing more is taken of somebody; they were told."""
        self._spent: dict[_Counted, float] = {}
        """Until when somebody has no tokens left, and was told so."""

    async def check(
        self,
        client: discord.Client,
        said: discord.Message | discord.Interaction[Any],
        *,
        aim: Aim = "ask",
    ) -> Asker:
        """Who it is, when Lantern answers this person in this place.

        Args:
            client: Logged in.
            said: What they said or pressed.
            aim: What for. What admins have set counts for those who ask: else whoever locked the
                door could not open it any more.

        Raises:
            NotPermitted: it does not.
            RequestRefused: Discord did not tell in time who they are.
        """
        person = said.user if isinstance(said, discord.Interaction) else said.author
        place, doors = place_of(said), self.rules.doors
        is_guest = isinstance(said, discord.Interaction) and not is_at_home(said)
        here = self.rules.here(place) if aim == "ask" else None
        asker = self.rules.asker(client, said)
        # By the rule in force: who opened direct messages to members alone has them looked up.
        judged = doors if here is None else replace(doors, dms=here.dms or doors.dms)
        is_unknown = is_guest or not isinstance(person, discord.Member)
        if judged.needs_member(asker, place, is_guest=is_guest, aim=aim) and is_unknown:
            where = Place(place.channel, is_private=True) if is_guest else place
            roles = await self._looked_up(client, person.id, where)
            asker = replace(asker, roles=roles or frozenset(), is_member=roles is not None)
        check_may_ask(doors, asker, place, here, is_guest=is_guest, aim=aim)
        return asker

    def take(
        self, client: discord.Client, said: discord.Message | discord.Interaction[Any]
    ) -> Asker:
        """Takes one question of somebody, and says who it is; of whoever owns the bot any number.

        Raises:
            RequestRefused: they ask too fast; it says how long they have to wait.
        """
        asker, place = self.rules.asker(client, said), place_of(said)
        if asker.is_owner:
            return asker
        now = asyncio.get_running_loop().time()
        if len(self._buckets) >= MOST_ASKERS:
            self._buckets.clear()
            self._held.clear()
        filled: dict[_Counted, Bucket] = {}
        for counted, rule in self._limits(asker.user, place):
            if counted not in self._held or self._held[counted] <= now:
                filled[counted], wait_s = take(self._buckets.get(counted), rule, now)
                if not wait_s:
                    continue
                self._held[counted] = now + max(wait_s, HOLD_S)
            who, at = "The bot's owner can change that (`discord.rate_limit`).", ""
            if counted[1]:
                who, at = "An admin can change that by `/settings`.", " here"
            raise RequestRefused(
                f"Slow down: each person may ask {words.counted(rule.count, 'question')} in "
                f"{rule.period_s:.0f} s{at}. Wait {ceil(self._held[counted] - now)} s; what you "
                f"ask until then is not answered. {who}"
            )
        # Where one limit refuses, the question counts for none.
        self._buckets |= filled
        return asker

    def is_held(self, user: UserId, place: Place) -> bool:
        """Whether they were told to wait, and have not yet."""
        now = asyncio.get_running_loop().time()
        return any(self._held.get(at, -inf) > now for at, _ in self._limits(user, place))

    def knows_spent(self, user: UserId, place: Place, left_s: float) -> bool:
        """Was somebody told that they have no tokens left for so long? From now on they were."""
        now, key = asyncio.get_running_loop().time(), (user, place.server or PlaceId(""))
        if self._spent.get(key, -inf) > now:
            return True
        if len(self._spent) >= MOST_ASKERS:
            self._spent.clear()
        self._spent[key] = now + left_s
        return False

    def _limits(self, user: UserId, place: Place) -> Iterator[tuple[_Counted, RateRule]]:
        """Every limit on somebody's questions in a place, and what it is counted by."""
        if self.rules.rate is not None:
            yield (user, PlaceId("")), self.rules.rate
        if (turns := self.rules.here(place).turns) is not None:
            yield (user, turns[1]), RateRule(turns[0], 60.0)

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
        doors = self.rules.doors
        servers = [
            guild
            for guild in client.guilds
            if not doors.servers or PlaceId(f"discord:{guild.id}") in doors.servers
        ]
        if place.server is not None:
            servers = [guild for guild in servers if f"discord:{guild.id}" == place.server]
        found = await _met(servers, person, is_each_asked=doors.is_by_roles)
        roles = frozenset(role for member in found for role in roles_of(member)) if found else None
        if len(self._members) >= MOST_ASKERS:
            self._members.clear()
        if place.is_private:
            self._members[person] = (now + (KNOWN_S if found else 0.0), roles)
        return roles


async def _met(
    servers: Sequence[discord.Guild], person: int, *, is_each_asked: bool
) -> list[discord.Member]:
    """A person as a member of these servers, or of the first that are found to know them.

    Raises:
        RequestRefused: Discord did not tell in time.
    """
    found, failed = list[discord.Member](), list[Exception]()

    async def look(server: discord.Guild) -> None:
        # No cache of members is kept: it would take the members intent and the memory.
        try:
            found.append(await server.fetch_member(person))
        except SENDING_ERRORS as error:
            failed.extend([] if isinstance(error, discord.NotFound) else [error])

    try:
        async with asyncio.timeout(LOOK_UP_S):
            while servers and (is_each_asked or not found):
                async with asyncio.TaskGroup() as group:
                    for server in servers[:AT_ONCE]:
                        group.create_task(look(server))
                servers = servers[AT_ONCE:]
    except TimeoutError as error:
        failed.append(error)
    if failed and (is_each_asked or not found):
        _log.warning("member not looked up", error=str(failed[0])[:300])
        raise RequestRefused(
            "Discord did not tell in time whether you may ask here; try again."
        ) from failed[0]
    return found
