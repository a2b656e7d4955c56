"""The panel of ``/settings``: who opens it, what a press changes, and what two admins see."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast
from unittest.mock import AsyncMock, Mock

import discord
import pytest
from cogs_doubles import give, http_error, interaction_of, lantern_of, said_to
from stand_ins import Method, double

from bot.chat.lantern import Lantern
from bot.domain.chat import Asker, Place
from bot.domain.errors import NotPermitted, RequestRefused
from bot.domain.ids import PersonaName, PlaceId, UserId
from bot.domain.personas import Persona
from bot.policy.access import AccessRules, Circle
from bot.policy.place_rules import SettingName, SetValue
from bot.policy.privacy import Marks, Sources
from bot.policy.ratelimit import RateRule
from cogs._access import Access
from cogs._languages import tables
from cogs._panel import PANEL_S
from cogs._places import DiscordRules
from cogs.general import HELP, UNREAD
from cogs.settings import OLD, SettingsCog

HERE = Place(PlaceId("discord:7"), server=PlaceId("discord:5"))
ADMIN = Asker(UserId("discord:1"), is_admin=True)
SAGE = SetValue(("sage",), UserId("discord:8"), 1_795_000_000_000)


class House:
    """The cog over settings in memory; admins 1 and 2, member 3."""

    def __init__(self) -> None:
        self.lantern: Lantern = lantern_of()

        async def look_up(asked: Sources) -> Marks:
            return Marks(asked)

        self.lantern.privacy.look_up = Method(look_up)
        self.lantern.privacy.mark = Method()
        self.lantern.switch.defaults = defaults = cast("Any", Method())
        defaults.return_value = {"server": SAGE}
        cast("Any", self.lantern.switch).default_persona = "sage"
        self.lantern.switch.set_default = Method()
        self.lantern.privacy.marked = marked = cast("Any", Method())
        marked.return_value = {}
        self.settings = self.lantern.place_settings
        self.rules = DiscordRules(here=self.settings.at)
        self.access = Access(self.rules)
        self.cog = SettingsCog(self.lantern, self.access)
        self.messages = 0
        self.locale = discord.Locale.american_english

    async def opened(self, who: int = 1, scope: str = "me", *, guild: int | None = 5) -> Any:
        interaction = at_time(interaction_of(who, guild=guild, manages=who < 3), 0)
        callback = double(discord.InteractionCallbackResponse)
        self.messages += 1
        callback.message_id = self.messages
        interaction.response.send_message.side_effect = None
        interaction.response.send_message.return_value = callback
        await give(SettingsCog.settings, self.cog, interaction, None, scope)
        return interaction

    async def press(
        self,
        name: str,
        *values: str,
        level: str = "server",
        who: int = 1,
        message: int = 1,
        age_s: float = 0.0,
        fields: dict[str, str] | None = None,
        roles: tuple[str, ...] = (),
        channel: Any = None,
    ) -> Any:
        interaction = at_time(interaction_of(who, manages=who < 3), age_s)
        if channel is not None:
            interaction.channel, interaction.channel_id = channel, channel.id
        interaction.type = discord.InteractionType.component
        interaction.locale = self.locale
        interaction.message = double(discord.Message)
        interaction.message.id = message
        data: dict[str, Any] = {"custom_id": f"set:{level}:{START}:{name}", "values": list(values)}
        data["resolved"] = {"roles": {role: {} for role in roles}}
        if fields is not None:
            interaction.type = discord.InteractionType.modal_submit
            rows = [{"component": {"custom_id": k, "value": v}} for k, v in fields.items()]
            data = {"custom_id": data["custom_id"], "components": rows}
        interaction.data = data
        await self.cog.on_interaction(interaction)
        return interaction


START = 1_795_000_000


def at_time(interaction: Any, age_s: float) -> Any:
    interaction.created_at = discord.utils.snowflake_time(
        discord.utils.time_snowflake(
            discord.utils.utcnow().fromtimestamp(START + age_s, tz=discord.utils.utcnow().tzinfo)
        )
    )
    return interaction


def texts(view: discord.ui.LayoutView) -> str:
    """Everything a panel says."""
    found = [i.content for i in view.walk_children() if isinstance(i, discord.ui.TextDisplay)]
    return "\n".join(found)


def page(interaction: Any) -> discord.ui.LayoutView:
    """The panel somebody was shown last."""
    for call in (interaction.response.edit_message, interaction.response.send_message):
        if call.await_args is not None:
            return call.await_args.kwargs["view"]
    raise AssertionError("no panel was shown")


async def test_an_admin_opens_a_panel_and_a_member_reads_how_things_stand() -> None:
    house = House()
    opened = await house.opened(1)
    assert opened.response.send_message.await_args.kwargs["ephemeral"]
    assert "Settings for this channel" in texts(page(await house.opened(1, "channel")))
    shown = page(opened)
    assert "Settings for this server" in texts(shown)
    assert "not set here: sage" not in texts(shown)
    member = await house.opened(3)
    assert "🌐 Your words" in said_to(member)[-1]
    await house.settings.change(
        HERE, "server", {"turns_per_minute": ["4"], "tokens_per_day": ["9000"]}, ADMIN
    )
    await house.settings.change(HERE, "server", {"own_choice": ["off"]}, ADMIN)
    said = said_to(await house.opened(3))[-1]
    assert "4 questions a minute" in said
    assert "9,000 tokens a day" in said
    assert "Nobody chooses" in said


@pytest.mark.parametrize("scope", ["server", "channel"])
async def test_a_page_stays_within_discords_limits_however_full(scope: str) -> None:
    house = House()
    for level in ("server", "channel"):
        for shown in house.settings.shown(HERE, level):
            value = {
                "people": [f"user:{10**18 + n}" for n in range(25)],
                "channels": [f"discord:{10**18 + n}" for n in range(25)],
                "one of": ["off"],
                "number": ["1000"],
            }[shown.form.kind]
            await house.settings.change(HERE, level, {shown.name: value}, ADMIN)
    house.locale = discord.Locale.german
    for press in (f"to {scope}", "own_choice"):
        view = page(await house.press(press, level=scope))
        assert view.content_length() <= 4000
        assert view.total_children_count <= 40
        assert view.is_finished()
        assert "hier gesetzt von <@1>" in texts(view)


async def test_two_personas_of_one_name_are_told_apart_where_one_is_picked() -> None:
    house = House()
    muses = [Persona(PersonaName(f"muse#{n}1234567"), source=f"made {n}") for n in "ab"]
    shelf: Any = house.lantern.shelf
    shelf.seen_by = Mock(return_value=muses)
    house.lantern.switch.defaults = AsyncMock(return_value={})
    shown = page(await house.press("to server", level="channel"))
    assert "**Who answers** · not set here: sage, from `discord.default_persona`" in texts(shown)
    selects = [i for i in shown.walk_children() if isinstance(i, discord.ui.Select)]
    (who,) = [s for s in selects if s.custom_id.endswith(":persona")]
    assert [(o.label, o.description, o.value) for o in who.options[1:]] == [
        ("muse", "made a", "muse#a1234567"),
        ("muse", "made b", "muse#b1234567"),
    ]


async def test_a_page_says_where_each_value_comes_from() -> None:
    house = House()
    await house.settings.change(HERE, "server", {"turns_per_minute": ["9"]}, ADMIN)
    await house.settings.change(HERE, "server", {"answered": ["role:31", "user:8"]}, ADMIN)
    said = texts(page(await house.press("to channel", level="server")))
    assert "**Questions a minute, each person** · not set here; for this server: 9" in said
    assert "**Answers only** · not set here; for this server: <@&31>, <@8>" in said
    assert "**Who answers** · not set here: sage, chosen for the server" in said
    assert "**Answers without a mention** · not set here: as the server says" in said


async def test_it_says_of_who_answers_and_of_local_only_who_set_them_and_when() -> None:
    house, server = House(), PlaceId("discord:5")
    marked = cast("Any", house.lantern.privacy.marked)
    assert "**Local only** · words here may go to a cloud provider" in texts(
        page(await house.press("to server"))
    )
    marked.return_value = {server: SetValue(("on",), UserId("discord:9"), 1_795_000_060_000)}
    said = texts(page(await house.press("to server")))
    assert "**Who answers** · set here by <@8> <t:1795000000:R>" in said
    stays = "**Local only** · words here 🔒 never leave the LAN"
    assert f"{stays} · set here by <@9> <t:1795000060:R>" in said
    said = texts(page(await house.press("to channel")))
    assert f"{stays} · not set here; for this server: on" in said
    # Set before it was noted who did.
    marked.return_value = {HERE.channel: SetValue(("on",), UserId(""), 1_795_000_060_000)}
    said = texts(page(await house.press("to channel")))
    assert f"{stays} · set here <t:1795000060:R>" in said


@pytest.mark.parametrize(
    ("name", "values", "stored"),
    [
        ("manage", ("31", "8"), ("role:31", "user:8")),
        ("channels", ("7", "9"), ("discord:7", "discord:9")),
        ("own_choice", ("off",), ("off",)),
    ],
)
async def test_a_press_changes_what_holds_from_now_on(
    name: SettingName, values: tuple[str, ...], stored: tuple[str, ...]
) -> None:
    house = House()
    pressed = await house.press(name, *values, roles=("31",))
    assert house.settings.stored[PlaceId("discord:5"), name].value == stored
    title = {"manage": "May manage the hosts", "channels": "Answers only in"}.get(name, "People")
    assert f"✅ {title}" in texts(page(pressed))
    await house.press(name, *(("-",) if name == "own_choice" else ()))
    assert not house.settings.stored


async def test_a_change_is_told_by_the_name_that_stands_on_its_page() -> None:
    house = House()
    said = texts(page(await house.press("unprompted", "on", level="channel")))
    assert "✅ Answers without a mention: changed." in said


async def test_limits_are_written_into_a_form_all_or_none() -> None:
    house = House()
    asked = await house.press("limits")
    (form,) = asked.response.send_modal.await_args.args
    assert [row["component"]["custom_id"] for row in form.to_dict()["components"]] == [
        "turns_per_minute:",
        "tokens_per_day:",
    ]
    await house.press("limits", fields={"turns_per_minute": "5", "tokens_per_day": ""})
    assert house.settings.at(HERE).turns == (5, HERE.server)
    wrong = await house.press("limits", fields={"turns_per_minute": "6", "tokens_per_day": "many"})
    assert house.settings.at(HERE).turns == (5, HERE.server)
    said = texts(page(wrong))
    assert "❌ Tokens a day, each person: a whole number" in said
    # Both numbers had to be typed again.
    assert "✏ Questions a minute, each person: 6" in said
    assert "✏ Tokens a day, each person: many" in said


async def test_a_form_changes_only_what_its_sender_typed_over() -> None:
    house = House()
    await house.settings.change(HERE, "server", {"turns_per_minute": ["5"]}, ADMIN)

    async def form(who: int) -> list[str]:
        (asked,) = (await house.press("limits", who=who)).response.send_modal.await_args.args
        return [row["component"]["custom_id"] for row in asked.to_dict()["components"]]

    (_, tokens), (turns, untouched) = await form(1), await form(2)
    first = await house.press("limits", fields={turns: "5", tokens: "500"}, message=1)
    second = await house.press("limits", fields={turns: "3", untouched: ""}, who=2, message=2)
    here = house.settings.at(HERE)
    assert (here.turns, here.tokens_per_day) == ((3, HERE.server), 500)
    said = texts(page(second))
    assert "✅ Questions a minute, each person: changed." in said
    assert "Tokens a day, each person: changed." not in said
    told = texts(first.edit_original_response.await_args.kwargs["view"])
    assert "Questions a minute, each person: changed.\n-# <@2>" in told

    # What it showed is taken away by whoever empties it, and by nobody else.
    turns, tokens = await form(1)
    await house.press("limits", fields={turns: "3", tokens: " "})
    assert house.settings.at(HERE).tokens_per_day is None
    turns, tokens = await form(1)
    kept = house.settings.stored
    said = texts(page(await house.press("limits", fields={turns: "3", tokens: ""})))
    assert "Nothing was changed." in said
    assert house.settings.stored is kept


@pytest.mark.parametrize(
    ("locale", "written"),
    [
        (discord.Locale.american_english, "✏ Questions a minute, each person: 6"),
        (discord.Locale.german, "✏ Fragen in der Minute, je Person: 6"),
    ],
)
async def test_of_a_form_sent_too_late_what_was_typed_is_given_back(
    locale: discord.Locale, written: str
) -> None:
    house = House()
    house.locale = locale
    typed = {"turns_per_minute": "6", "tokens_per_day": ""}
    (said,) = said_to(await house.press("limits", fields=typed, age_s=PANEL_S + 1))
    assert written in said.splitlines()
    assert said.count("✏") == 1
    assert not house.settings.stored


async def test_who_answers_and_local_only_are_set_by_their_own_owners() -> None:
    house = House()
    await house.press("persona", "sage", level="channel")
    set_default: Any = house.lantern.switch.set_default
    assert set_default.await_args.args[2:4] == ("channel", "sage")
    await house.press("persona", "-")
    assert set_default.await_args.args[2:4] == ("server", None)
    await house.press("local_only", "on")
    mark: Any = house.lantern.privacy.mark
    at = PlaceId("discord:5")
    mark.assert_awaited_once_with("place", at, local_only=True, by=ADMIN.user)


@pytest.mark.parametrize("level", ["channel", "server"])
async def test_local_only_is_marked_and_taken_back_where_it_was_pressed(level: str) -> None:
    house = House()
    mark: Any = house.lantern.privacy.mark
    at = PlaceId("discord:7" if level == "channel" else "discord:5")
    for value in ("on", "off"):
        await house.press("local_only", value, level=level)
        mark.assert_awaited_with("place", at, local_only=value == "on", by=ADMIN.user)


async def test_a_press_in_a_thread_is_about_its_channel() -> None:
    house = House()
    thread = double(discord.Thread)
    thread.id, thread.parent_id = 71, 7
    await house.press("own_choice", "off", level="channel", channel=thread)
    assert (PlaceId("discord:7"), "own_choice") in house.settings.stored
    await house.press("persona", "sage", level="channel", channel=thread)
    assert cast(Any, house.lantern.switch.set_default).await_args.args[0] == HERE


async def test_a_member_who_got_hold_of_a_panel_changes_nothing() -> None:
    house = House()
    for name in ("manage", "local_only", "persona", "limits", "to channel"):
        pressed = await house.press(name, "3", who=3)
        assert "Only admins" in said_to(pressed)[-1]
        pressed.response.edit_message.assert_not_awaited()
        pressed.response.send_modal.assert_not_awaited()
    assert not house.settings.stored
    mark, set_default = house.lantern.privacy.mark, house.lantern.switch.set_default
    assert (cast(Any, mark).await_count, cast(Any, set_default).await_count) == (0, 0)
    with pytest.raises(NotPermitted):
        await house.settings.change(HERE, "server", {"manage": ["user:3"]}, Asker(UserId("x")))


async def test_whom_the_owner_keeps_out_presses_in_vain() -> None:
    house = House()
    house.access.rules = replace(house.rules, doors=AccessRules(people={UserId("discord:9")}))
    assert "certain people only" in said_to(await house.press("own_choice", "off"))[-1]
    assert not house.settings.stored


async def test_a_level_or_setting_that_is_none_any_more_is_said_to_be_old() -> None:
    house = House()
    assert OLD in said_to(await house.press("own_choice", "off", level="galaxy"))[-1]
    assert f"❌ {OLD}" in texts(page(await house.press("gone", "off")))
    assert not house.settings.stored


@pytest.mark.parametrize(("age_s", "is_old"), [(PANEL_S, False), (PANEL_S + 1, True)])
async def test_a_panel_older_than_its_token_says_how_to_open_a_new_one(
    age_s: float, is_old: bool
) -> None:
    house = House()
    pressed = await house.press("own_choice", "off", age_s=age_s)
    assert bool(house.settings.stored) is not is_old
    assert not is_old or OLD in said_to(pressed)[-1]


async def test_of_two_admins_the_later_wins_and_both_panels_say_what_stands() -> None:
    house = House()
    first, second = await house.opened(1), await house.opened(2)
    await house.press("own_choice", "off", who=1, message=1)
    said = texts(second.edit_original_response.await_args.kwargs["view"])
    assert "changed.\n-# <@1>" in said
    later = await house.press("own_choice", "on", who=2, message=2)
    assert house.settings.stored[PlaceId("discord:5"), "own_choice"].by == "discord:2"
    assert first.edit_original_response.await_count == 0
    assert "set here by <@2>" in texts(page(later))


@pytest.mark.parametrize(
    ("pressed", "channel", "reader", "is_shown_anew", "is_news"),
    [
        ("channel", 7, "channel", True, True),
        ("channel", 7, "me", True, False),
        ("channel", 8, "channel", False, False),
        ("channel", 8, "me", False, False),
        ("server", 8, "channel", True, False),
        ("server", 8, "me", True, True),
    ],
)
async def test_a_panel_tells_as_changed_what_stands_on_its_own_page_alone(
    pressed: str, channel: int, reader: str, *, is_shown_anew: bool, is_news: bool
) -> None:
    house = House()
    told = (await house.opened(2, reader)).edit_original_response
    there = double(discord.TextChannel)
    there.id = channel
    await house.press("own_choice", "off", level=pressed, message=9, channel=there)
    views = [texts(call.kwargs["view"]) for call in told.await_args_list]
    assert bool(views) is is_shown_anew
    assert any(": changed." in view for view in views) is is_news
    assert all("People choose" in view for view in views)


async def test_news_come_to_the_open_panels_of_the_same_server_that_are_not_too_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house = House()
    gone, near, far = await house.opened(1), await house.opened(2), await house.opened(1, guild=6)
    gone.edit_original_response.side_effect = http_error(404, 10008)
    told = [panel.edit_original_response for panel in (gone, near, far)]
    # Whoever presses has the answer to the press alone, and one that fails stops no other.
    pressed = await house.press("own_choice", "off", message=9)
    assert [panel.await_count for panel in told] == [1, 1, 0]
    pressed.edit_original_response.assert_not_awaited()
    at_time(near, -PANEL_S)
    at_time(gone, -PANEL_S - 1)
    await house.press("own_choice", "on", message=9)
    assert [panel.await_count for panel in told] == [1, 2, 0]
    monkeypatch.setattr("cogs.settings.MOST_OPEN", 2)
    new = (await house.opened(2)).edit_original_response
    await house.press("own_choice", "off", who=2, message=4)
    # Of so many open at once the oldest hear nothing more.
    assert ([panel.await_count for panel in told], new.await_count) == ([1, 2, 0], 0)


async def test_who_locks_the_door_can_open_it_again() -> None:
    house = House()
    await house.press("channels", "99")
    other = interaction_of(1, manages=True)
    with pytest.raises(NotPermitted, match="in this channel"):
        await house.access.check(other.client, other)
    await house.access.check(other.client, other, aim="set")
    await house.press("channels")
    await house.access.check(other.client, other)


async def test_only_the_owner_sets_who_may_write_directly() -> None:
    house = House()
    everywhere = page(await house.opened(42, guild=None))
    assert "Settings for everywhere" in texts(everywhere)
    # There is no page of a server or channel to go to.
    assert not [i for i in everywhere.walk_children() if isinstance(i, discord.ui.Button)]
    with pytest.raises(NotPermitted, match="owner"):
        await house.settings.change(HERE, "everywhere", {"dms": ["everyone"]}, ADMIN)
    boss = replace(ADMIN, is_owner=True)
    await house.settings.change(HERE, "everywhere", {"dms": ["off"]}, boss)
    private = interaction_of(3, guild=None)
    with pytest.raises(NotPermitted, match="no direct messages"):
        await house.access.check(private.client, private)


async def test_rights_follow_what_is_set_at_this_very_moment() -> None:
    house, keeper = House(), interaction_of(3, roles=((31, "Keepers"),))
    assert not house.rules.rights(keeper).may_manage
    await house.press("manage", "31", roles=("31",))
    assert house.rules.rights(keeper).may_manage
    assert house.settings.at(HERE).manage == Circle(roles={"31"})
    await house.press("manage")
    assert not house.rules.rights(keeper).may_manage


async def test_a_servers_limit_counts_beside_the_owners() -> None:
    house = House()
    access = Access(replace(house.rules, rate=RateRule(3, 60.0)))
    await house.settings.change(HERE, "server", {"turns_per_minute": ["1"]}, ADMIN)
    member, owner, elsewhere = interaction_of(3), interaction_of(42), interaction_of(3, guild=6)
    access.take(member.client, member)
    with pytest.raises(RequestRefused, match=r"1 question in 60 s here. Wait 60 s.*An admin"):
        access.take(member.client, member)
    for _ in range(2):
        access.take(elsewhere.client, elsewhere)
    with pytest.raises(RequestRefused, match=r"3 questions.*owner can.*discord.rate_limit"):
        access.take(elsewhere.client, elsewhere)
    for _ in range(9):
        access.take(owner.client, owner)


def selects(view: discord.ui.LayoutView) -> dict[str, Any]:
    """Each select of a panel by the setting it sets, as Discord is sent it."""
    found: list[Any] = [i for i in view.walk_children() if hasattr(i, "placeholder")]
    return {item.custom_id.rpartition(":")[2]: item.to_component_dict() for item in found}


def chosen(select: Mapping[str, Any]) -> list[str]:
    return [option["value"] for option in select["options"] if option["default"]]


@pytest.mark.parametrize(
    ("count", "at", "first", "last", "offered"),
    [
        (23, "", "p00", "p22", 24),
        (24, "", "p00", "p23", 25),
        (25, "", "p00", "p23", 25),
        (200, "", "p00", "p23", 25),
        (23, "p22", "p00", "p22", 24),
        (23, "sage", "p00", "sage", 25),
        (24, "sage", "p01", "sage", 25),
        (24, "p23", "p00", "p23", 25),
        # Beyond what a select holds, and chosen: it stands there in place of the first.
        (25, "p24", "p01", "p24", 25),
    ],
)
async def test_a_select_holds_25_with_not_set_and_what_is_chosen(
    count: int, at: str, first: str, last: str, offered: int
) -> None:
    house = House()
    names = [PersonaName(f"p{n:02}") for n in range(count)]
    house.lantern.shelf.seen_by = Mock(return_value=tuple(map(Persona, names)))
    house.lantern.switch.defaults = AsyncMock(
        return_value={"server": replace(SAGE, value=(at,))} if at else {}
    )
    persona = selects(page(await house.press("to server")))["persona"]
    values = [option["value"] for option in persona["options"]]
    assert (values[1], values[-1], len(values)) == (first, last, offered)
    assert chosen(persona) == [at or "-"]


async def test_each_select_shows_what_stands_and_offers_all_there_is() -> None:
    house = House()
    names = [PersonaName(f"persona {n:02}") for n in range(30)]
    house.lantern.shelf.seen_by = Mock(return_value=tuple(map(Persona, names)))
    house.lantern.switch.defaults = AsyncMock(return_value={"server": SAGE})
    marks = {HERE.channel: SetValue(("on",), ADMIN.user, 0)}
    house.lantern.privacy.marked = AsyncMock(return_value=marks)
    values: dict[SettingName, list[str]] = {
        "manage": ["role:31", "user:8"],
        "channels": [f"discord:{n}" for n in range(1, 8)],
        "own_choice": ["off"],
        "turns_per_minute": ["9"],
    }
    await house.settings.change(HERE, "server", values, ADMIN)
    server = selects(page(await house.press("to server")))
    channel = selects(page(await house.press("to channel")))
    assert chosen(server["own_choice"]) == ["off"]
    assert chosen(channel["own_choice"]) == ["-"]
    assert [one["id"] for one in server["manage"]["default_values"]] == [31, 8]
    assert len(server["channels"]["default_values"]) == 7
    # A persona that is not on the list any more stands there; with it and "Not set" it is full.
    assert chosen(server["persona"]) == ["sage"]
    assert len(server["persona"]["options"]) == 25
    # Of two opposites one always holds.
    assert [option["value"] for option in server["local_only"]["options"]] == ["on", "off"]
    assert (chosen(server["local_only"]), chosen(channel["local_only"])) == (["off"], ["on"])
    (form,) = (await house.press("limits")).response.send_modal.await_args.args
    fields = [row["component"].get("value") for row in form.to_dict()["components"]]
    assert fields[0] == "9"
    said = texts(page(await house.press("to channel", level="server")))
    assert "**Answers only**" in said
    # Of many a few are named.
    await house.settings.change(
        HERE, "server", {"answered": [f"user:{n}" for n in range(1, 8)]}, ADMIN
    )
    said = texts(page(await house.press("to channel", level="server")))
    assert "<@5> and 2 more" in said


def shown_words(view: discord.ui.LayoutView) -> set[str]:
    """Each word of a panel that is not a person's: texts, hints, labels."""
    found: set[str] = set()
    for item in view.walk_children():
        match item:
            case discord.ui.TextDisplay():
                for line in item.content.split("\n"):
                    found |= set(line.replace("**", "").split(" · "))
            case discord.ui.Button():
                found.add(item.label or "")
            case discord.ui.Select():
                found |= {option.label for option in item.options}
            case discord.ui.ChannelSelect() | discord.ui.MentionableSelect():
                found.add(item.placeholder or "")
            case _:
                pass
    return found


@pytest.mark.parametrize("name", ["to channel", "to server"])
async def test_a_german_admin_reads_a_german_panel(name: str) -> None:
    house = House()
    await house.settings.change(HERE, "server", {"turns_per_minute": ["9"]}, ADMIN)
    english = shown_words(page(await house.press(name)))
    house.locale = discord.Locale.german
    german = shown_words(page(await house.press(name)))
    # A value's name in the file and a persona's name read alike in every language.
    alike = {"sage", "default", "`discord.default_persona`", "on", "off"}
    kept = {w for w in english & german if w not in alike and not w.startswith("9, ")}
    assert kept == set()
    assert "Nicht gesetzt" in german
    changed = page(await house.press("local_only", "on"))
    assert "✅ Nur lokal wurde geändert." in texts(changed)
    form = await house.press("limits")
    modal = form.response.send_modal.await_args.args[0]
    assert modal.title == "Grenzen für jede Person"


def test_every_line_of_help_has_german() -> None:
    known = tables()["words"]
    assert [line for line in (*HELP.splitlines(), UNREAD) if "de" not in known.get(line, {})] == []
