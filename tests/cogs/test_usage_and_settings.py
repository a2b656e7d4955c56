"""What was used, and what stays on the LAN."""

from collections.abc import Sequence
from dataclasses import replace
from unittest.mock import AsyncMock

import pytest
from cogs_doubles import give, interaction_of, lantern_of, said_to, settings_of

from bot.chat.lantern import Lantern
from bot.chat.place_settings import Configured
from bot.chat.usage import UsageReport
from bot.chat.words import cloud_notice, provider_lines, usage_text
from bot.domain.chat import Asker, Place
from bot.domain.cloud import (
    Account,
    BudgetNews,
    CloudEvent,
    Payer,
    ProviderNews,
    ProviderStanding,
    UsageLine,
)
from bot.domain.errors import FailureKind, NotPermitted
from bot.domain.ids import ModelKey, PlaceId, ProviderName, UserId
from bot.policy.periods import Period
from bot.policy.privacy import Marks, Sources
from cogs._access import Access
from cogs._places import DiscordRules
from cogs.general import General
from cogs.settings import SettingsCog

NOBODY = DiscordRules()
ZAI = ProviderName("zai")
USED = UsageReport(
    Period("2026-11-21", "2026-11-21"),
    UsageLine("", local_turns=3, completion_tokens=120),
    (),
    (),
    (Account("2026-11-21"),),
    None,
    None,
)


def private_face(*, people: frozenset[str] = frozenset(), places: Sequence[str] = ()) -> Lantern:
    lantern = lantern_of()

    async def look_up(asked: Sources) -> Marks:
        marked = frozenset(PlaceId(f"discord:{place}") for place in places)
        return Marks(asked, marked & asked.places, frozenset(UserId(p) for p in people))

    lantern.privacy.look_up = AsyncMock(side_effect=look_up)
    return lantern


@pytest.mark.parametrize(("guild", "reports"), [(5, 2), (None, 1)])
async def test_usage_tells_mine_and_the_servers(guild: int | None, reports: int) -> None:
    lantern = lantern_of()
    report = AsyncMock(return_value=USED)
    lantern.usage.report = report
    interaction = interaction_of(guild=guild)
    await give(General.usage, General(lantern, NOBODY), interaction, "today")
    assert report.await_count == reports
    assert "3 local answers" in said_to(interaction)[-1]
    assert "Tokens today" not in said_to(interaction)[-1]


async def test_usage_tells_what_is_used_of_each_limit_on_tokens() -> None:
    settings = settings_of(Configured(tokens_per_day=90), used=1040)
    admin = Asker(UserId("discord:2"), is_admin=True)
    place = Place(PlaceId("discord:7"), server=PlaceId("discord:5"))
    await settings.change(place, "server", {"tokens_per_day": ["50"]}, admin)
    lantern = replace(lantern_of(), place_settings=settings)
    lantern.usage.report = AsyncMock(return_value=USED)
    interaction = interaction_of(guild=5)
    await give(General.usage, General(lantern, NOBODY), interaction, "today")
    lines = said_to(interaction)[-1].splitlines()
    assert "Tokens today in this server: 1,040 of 50 used" in lines
    assert "Tokens today everywhere: 1,040 of 90 used" in lines


async def test_my_words_can_be_kept_here_by_myself() -> None:
    lantern = private_face(people=frozenset({"discord:1"}))
    lantern.privacy.mark = mark = AsyncMock()
    interaction = interaction_of()
    await give(SettingsCog.settings, SettingsCog(lantern, Access(NOBODY)), interaction, "on", "me")
    mark.assert_awaited_once_with(
        "user", UserId("discord:1"), local_only=True, by=UserId("discord:1")
    )
    assert "🔒 Your words" in said_to(interaction)[-1]


async def test_a_channel_is_for_admins_to_set() -> None:
    lantern = private_face()
    lantern.privacy.mark = mark = AsyncMock()
    cog = SettingsCog(lantern, Access(NOBODY))
    with pytest.raises(NotPermitted):
        await give(SettingsCog.settings, cog, interaction_of(), "on", "channel")
    await give(SettingsCog.settings, cog, interaction_of(manages=True), "on", "server")
    mark.assert_awaited_once_with(
        "place", PlaceId("discord:5"), local_only=True, by=UserId("discord:1")
    )


async def test_a_private_conversation_is_its_persons_own_to_mark() -> None:
    lantern = private_face()
    lantern.privacy.mark = mark = AsyncMock()
    cog = SettingsCog(lantern, Access(NOBODY))
    await give(SettingsCog.settings, cog, interaction_of(guild=None), "on", "channel")
    mark.assert_awaited_once_with(
        "place", PlaceId("discord:7"), local_only=True, by=UserId("discord:1")
    )


async def test_where_there_is_no_server_none_can_be_marked() -> None:
    lantern = private_face()
    lantern.privacy.mark = mark = AsyncMock()
    cog = SettingsCog(lantern, Access(NOBODY))
    with pytest.raises(NotPermitted, match="There is no server here"):
        await give(SettingsCog.settings, cog, interaction_of(guild=None), "on", "server")
    mark.assert_not_awaited()


async def test_without_a_word_it_shows_how_things_stand() -> None:
    interaction = interaction_of()
    cog = SettingsCog(private_face(), Access(NOBODY))
    await give(SettingsCog.settings, cog, interaction, None, "me")
    assert said_to(interaction)[-1].count("🌐") == 3


OPEN = "may go to a cloud provider when no host can answer."
SHUT = "local only, never sent to a cloud provider."


@pytest.mark.parametrize(
    ("places", "ends"),
    [
        ((), (OPEN, OPEN, OPEN)),
        (("7",), ("local only here, as this channel is.", SHUT, OPEN)),
        (("5",), (*["local only here, as this server is."] * 2, SHUT)),
        (("5", "7"), ("local only here, as this server is.", SHUT, SHUT)),
    ],
)
async def test_what_is_marked_farther_out_is_told_of_what_is_within_it(
    places: Sequence[str], ends: Sequence[str]
) -> None:
    interaction = interaction_of()
    cog = SettingsCog(private_face(places=places), Access(NOBODY))
    await give(SettingsCog.settings, cog, interaction, None, "me")
    told = said_to(interaction)[-1].splitlines()
    names = ("Your words", "This channel", "This server")
    assert [line.partition(": ")[2] for line in told] == list(ends)
    assert all(name in line for name, line in zip(names, told, strict=True))


@pytest.mark.parametrize(
    ("event", "part"),
    [
        (ProviderNews("trouble", ZAI, FailureKind.BAD_REQUEST, "unknown model."), "unknown model."),
        (BudgetNews("alert", Account("2026-11-21", 8_000_000, 0, 10_000_000)), "80%"),
        (BudgetNews("spent", Account("2026-11-21", 9_900_000, 0, 10_000_000)), "budget.daily_usd"),
    ],
)
def test_owners_are_told_in_words(event: CloudEvent, part: str) -> None:
    assert part in cloud_notice(event)


def account(payer: Payer = "all", *, period: str = "2026-11-21", cap: int | None = None) -> Account:
    return Account(period, 400_000, 0, cap, payer, "" if payer == "all" else "it")


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (account(), "The daily budget: $0.4000 spent, no limit"),
        (account(cap=10_000_000), "The daily budget: $9.60 of $10.00 left"),
        (account(period="2026-11", cap=20_000_000), "The monthly budget: $19.60 of $20.00 left"),
        (account("user", cap=500_000), "Your own daily budget: $0.1000 of $0.5000 left"),
        (account("server", cap=400_000), "This server's daily budget: $0.00 of $0.4000 left"),
        # Without a limit there is nothing of a month's or of one's own to tell.
        (account(period="2026-11"), ""),
        (account("user"), ""),
        (account("server"), ""),
    ],
)
def test_usage_tells_each_limit_and_what_is_left_of_it(limit: Account, words: str) -> None:
    told = usage_text(replace(USED, limits=(limit,)))
    assert words in told
    assert ("budget" in told) is bool(words)


def test_usage_counts_answers_and_says_what_the_tries_for_them_cost() -> None:
    total = UsageLine("", cloud_calls=3, cloud_answers=1, cost_micro_usd=30_000)
    zai = replace(total, name="zai")
    told = usage_text(replace(USED, total=total, providers=(zai,)))
    assert "**: 1 cloud answer, " in told
    assert "Cost: $0.0300 (with 2 requests that brought no answer)" in told
    assert "• ☁ zai: 1 answer, $0.0300" in told


def test_what_a_plan_has_paid_for_is_told_as_such() -> None:
    total = UsageLine("", cloud_calls=2, cloud_answers=2, plan_calls=2)
    told = usage_text(replace(USED, total=total, providers=(replace(total, name="zai"),)))
    assert "Cost: $0.00 (2 requests on a plan)" in told
    assert "• ☁ zai: 2 answers, plan" in told


STANDING = ProviderStanding(ZAI, ModelKey("glm-4.6"), "", 0.0, 0, 0, ())


@pytest.mark.parametrize(
    ("standing", "words"),
    [
        (STANDING, "🟢 ☁ **zai** · `glm-4.6` · available"),
        (replace(STANDING, reason="Wrong key."), "🔴 ☁ **zai** · `glm-4.6` · out: Wrong key"),
        (replace(STANDING, limited_s=4.2), "🟡 ☁ **zai** · `glm-4.6` · limited for 4.2 s"),
        (replace(STANDING, running=2, waiting=3), "· available · 2 answering · 3 waiting"),
        (replace(STANDING, accounts=(account("provider"),)), "available · $0.4000 today"),
        (
            replace(STANDING, accounts=(account("provider", period="2026-11", cap=9_000_000),)),
            "available · $0.4000 of $9.00 this month",
        ),
    ],
)
def test_a_provider_stands_in_one_line(standing: ProviderStanding, words: str) -> None:
    (line,) = provider_lines(standing, is_admin=True)
    assert line.endswith(words)


@pytest.mark.parametrize(
    ("standing", "words"),
    [
        (replace(STANDING, accounts=(account("provider"),), running=2), "available · 2 answering"),
        (replace(STANDING, reason="No money is left."), "resting"),
        (replace(STANDING, limited_s=4.2), "resting"),
    ],
)
def test_bills_and_spending_are_for_admins_alone(standing: ProviderStanding, words: str) -> None:
    standing = replace(standing, deployments=(replace(standing, name=ProviderName("zai/1")),))
    (line,) = provider_lines(standing, is_admin=False)
    assert line[2:] == f"☁ **zai** · `glm-4.6` · {words}"


def test_what_a_provider_says_of_refused_keys_is_said_once() -> None:
    why = "zai does not accept our key: token expired."
    (line,) = provider_lines(replace(STANDING, reason=why), is_admin=True)
    assert line == "🔴 ☁ **zai** · `glm-4.6` · out: does not accept our key: token expired"
    keys = [
        replace(STANDING, name=ProviderName(f"zai/{n}"), reason=why.replace("zai", f"zai/{n}"))
        for n in (1, 2)
    ]
    reason = " ".join(f"{key.name}: {key.reason}" for key in keys)
    whole = replace(STANDING, reason=reason, deployments=tuple(keys))
    assert list(provider_lines(whole, is_admin=True)) == [
        "🔴 ☁ **zai** · `glm-4.6` · out: all 2 of them",
        "└ zai/1 · out: does not accept our key: token expired",
        "└ zai/2 · out: does not accept our key: token expired",
    ]


def test_an_admin_sees_how_each_key_stands() -> None:
    one = replace(STANDING, name=ProviderName("zai/1"), reason="Wrong key.")
    two = replace(STANDING, name=ProviderName("zai/2"), running=1)
    whole = replace(STANDING, running=1, deployments=(one, two), accounts=(account("provider"),))
    assert list(provider_lines(whole, is_admin=True)) == [
        "🟢 ☁ **zai** · `glm-4.6` · available · 1 answering · $0.4000 today",
        "└ zai/1 · out: Wrong key",
        "└ zai/2 · available · 1 answering",
    ]
