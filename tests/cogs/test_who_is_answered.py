"""Who belongs to a server is looked up in Discord, rarely and within an interaction's time."""

import asyncio
from functools import partial
from itertools import pairwise
from math import ceil
from typing import Any
from unittest.mock import AsyncMock

import discord
import pytest
from cogs_doubles import OWNER, http_error, interaction_of
from stand_ins import double
from virtual_time import play

from bot.domain.chat import Place
from bot.domain.errors import NotPermitted, RequestRefused
from bot.domain.ids import PlaceId, UserId
from bot.policy.access import AccessRules, Circle
from bot.policy.ratelimit import RateRule
from cogs._access import AT_ONCE, HOLD_S, KNOWN_S, LOOK_UP_S, Access
from cogs._places import DiscordRules

ONLY_HOME = DiscordRules(doors=AccessRules(servers={PlaceId("discord:5")}))
UNKNOWN = http_error(404, 10007)
ADA = UserId("discord:1")
HERE = Place(PlaceId("discord:7"), server=PlaceId("discord:5"))


def server(key: int, *found: Any) -> Any:
    guild = double(discord.Guild)
    guild.id = key
    guild.fetch_member = AsyncMock(side_effect=[*found] * 9)
    return guild


def member(*roles: str) -> Any:
    person = double(discord.Member)
    person.roles = [double(discord.Role) for _ in roles]
    for role, name in zip(person.roles, roles, strict=True):
        role.id, role.name = 77, name
    return person


def private(*servers: Any) -> Any:
    interaction = interaction_of(guild=None)
    interaction.client.guilds = list(servers)
    return interaction


def asked(access: Access, who: int = 1, *, guild: int = 5, channel: int = 7) -> None:
    interaction = interaction_of(who, guild=guild, channel=channel)
    access.take(interaction.client, interaction)


def judged(access: Access, *interactions: Any, apart_s: float = 0.0) -> None:
    async def story() -> None:
        for interaction in interactions:
            await access.check(interaction.client, interaction)
            await asyncio.sleep(apart_s)

    play(story())


def test_a_member_of_an_allowed_server_may_write_directly_and_is_looked_up_once() -> None:
    home, other = server(5, member()), server(6, member())
    judged(Access(ONLY_HOME), private(home, other), private(home, other))
    assert home.fetch_member.await_count == 1
    assert other.fetch_member.await_count == 0


def test_a_member_is_looked_up_again_after_a_while() -> None:
    home = server(5, member())
    judged(Access(ONLY_HOME), private(home), private(home), apart_s=KNOWN_S)
    assert home.fetch_member.await_count == 2


def test_a_stranger_may_not_and_is_looked_up_again_as_they_may_have_joined() -> None:
    home, access = server(5, UNKNOWN), Access(ONLY_HOME)
    for _ in range(2):
        with pytest.raises(NotPermitted, match="members of its own servers"):
            judged(access, private(home))
    assert home.fetch_member.await_count == 2


def test_in_a_server_nobody_is_looked_up() -> None:
    home = server(5, UNKNOWN)
    interaction = interaction_of()
    interaction.client.guilds = [home]
    judged(Access(DiscordRules()), interaction)
    assert home.fetch_member.await_count == 0


def test_who_installed_the_bot_for_themselves_shares_no_server_with_it() -> None:
    access = Access(DiscordRules())
    with pytest.raises(NotPermitted, match="members of its own servers"):
        judged(access, private(server(5, UNKNOWN), server(6, UNKNOWN)))
    judged(access, private(server(5, UNKNOWN), server(6, member())))


def test_servers_are_asked_side_by_side_until_one_knows_the_person() -> None:
    async def known(_: int) -> Any:
        await asyncio.sleep(0.5)
        return member()

    async def unknown(_: int) -> Any:
        await asyncio.sleep(0.5)
        raise UNKNOWN

    servers = [server(key) for key in range(3 * AT_ONCE)]
    for key, each in enumerate(servers):
        each.fetch_member = AsyncMock(side_effect=known if key == AT_ONCE else unknown)
    judged(Access(DiscordRules()), private(*servers))
    assert [each.fetch_member.await_count for each in servers] == [1] * 20 + [0] * 10


@pytest.mark.parametrize(("roles", "is_known"), [((), True), (("friends",), False)])
def test_a_server_that_does_not_tell_counts_where_roles_do(
    roles: tuple[str, ...], is_known: bool
) -> None:
    access = Access(DiscordRules(doors=AccessRules(roles=frozenset(roles))))
    asked_for = private(server(5, http_error(503)), server(6, member("others")))
    if is_known:
        judged(access, asked_for)
    else:
        with pytest.raises(RequestRefused, match="in time"):
            judged(access, asked_for)


def test_roles_count_in_direct_messages_too() -> None:
    access = Access(DiscordRules(doors=AccessRules(roles={"friends"})))
    judged(access, private(server(5, UNKNOWN), server(6, member("friends"))))
    with pytest.raises(NotPermitted, match="certain people"):
        judged(Access(access.rules), private(server(5, member("others"))))


def test_roles_that_are_left_out_are_looked_up_in_direct_messages_in_every_server() -> None:
    access = Access(DiscordRules(doors=AccessRules(blocked=Circle(roles={"loud"}))))
    judged(access, private(server(5, member("others"))))
    with pytest.raises(NotPermitted, match="left you out"):
        judged(
            Access(access.rules), private(server(5, member("others")), server(6, member("loud")))
        )
    with pytest.raises(NotPermitted, match="left you out"):
        judged(access, interaction_of(roles=[(3, "loud")]))
    # A server that does not tell may be the one whose roles leave somebody out.
    with pytest.raises(RequestRefused, match="in time"):
        judged(
            Access(access.rules), private(server(5, http_error(503)), server(6, member("others")))
        )


def test_in_a_server_the_event_says_the_roles() -> None:
    access = Access(DiscordRules(doors=AccessRules(roles={"friends"})))
    judged(access, interaction_of(roles=[(3, "friends")]))
    with pytest.raises(NotPermitted, match="certain people"):
        judged(access, interaction_of(roles=[(3, "others")]))


def test_the_owner_is_answered_whatever_their_roles() -> None:
    owner = private()
    owner.user.id = OWNER
    judged(Access(DiscordRules(doors=AccessRules(roles={"friends"}, dms="owners"))), owner)


def test_a_look_up_that_takes_too_long_says_so_in_time() -> None:
    async def story() -> float:
        home = server(5)
        home.fetch_member = AsyncMock(side_effect=partial(asyncio.sleep, 100))
        with pytest.raises(RequestRefused, match="in time"):
            await Access(ONLY_HOME).check((one := private(home)).client, one)
        return asyncio.get_running_loop().time()

    assert play(story()) == LOOK_UP_S


def test_who_was_told_to_wait_waits_so_long_and_is_then_taken_again() -> None:
    async def story() -> list[float]:
        access, loop = Access(DiscordRules(rate=RateRule(60, 60.0))), asyncio.get_running_loop()
        taken: list[float] = []
        for tick in range(200):
            await asyncio.sleep(0.1 * (tick > 0))
            if not access.is_held(ADA, HERE):
                try:
                    asked(access)
                except RequestRefused:
                    continue
                taken.append(loop.time())
        return taken

    taken = play(story())
    pause = max(later - sooner for sooner, later in pairwise(taken))
    assert HOLD_S <= pause < HOLD_S + 0.3
    assert len(taken) > 60


@pytest.mark.parametrize("after_s", [0.0, 0.5, 59.5])
def test_a_wait_is_told_to_the_second_that_is_really_enough(after_s: float) -> None:
    async def story() -> None:
        access = Access(DiscordRules(rate=RateRule(1, 60.0)))
        asked(access)
        await asyncio.sleep(after_s)
        wait_s = max(1, ceil(60 - after_s), ceil(HOLD_S))
        with pytest.raises(RequestRefused, match=f"Wait {wait_s} s"):
            asked(access)
        await asyncio.sleep(wait_s)
        asked(access)

    play(story())


@pytest.mark.parametrize(
    ("said", "is_admin"),
    [
        pytest.param(interaction_of(manages=True), True, id="manages the server"),
        pytest.param(interaction_of(guild=None, manages=True), False, id="all may in private"),
        pytest.param(interaction_of(roles=((31, "Mods"),)), True, id="by the role's name"),
        pytest.param(interaction_of(roles=((32, "Others"),)), True, id="by the role's id"),
        pytest.param(interaction_of(roles=((33, "Fans"),)), False, id="of another role"),
        pytest.param(interaction_of(), False, id="of none"),
        pytest.param(interaction_of(OWNER, guild=None), True, id="the owner anywhere"),
    ],
)
def test_who_is_an_admin(said: Any, is_admin: bool) -> None:
    rules = DiscordRules(admin_roles=frozenset({"Mods", "32"}))
    assert rules.is_admin(said) is is_admin
    if said.user.id != OWNER:
        # Whoever installed the bot for themselves manages some server of their own.
        said.is_guild_integration.return_value = False
        asker = rules.asker(said.client, said)
        assert (asker.is_admin, asker.roles) == (False, frozenset()) or said.guild_id is None


def test_one_persons_haste_is_nobody_elses() -> None:
    async def story() -> None:
        access = Access(DiscordRules(rate=RateRule(1, 60.0)))
        asked(access)
        with pytest.raises(RequestRefused, match="Wait 60 s"):
            asked(access)
        asked(access, 2)

    play(story())
