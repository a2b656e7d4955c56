from typing import Literal

import pytest

from bot.domain.chat import Place
from bot.domain.errors import RequestRefused
from bot.domain.ids import PlaceId, UserId
from bot.policy.access import Circle, PlaceRules
from bot.policy.place_rules import (
    EVERYWHERE,
    FORMS,
    MOST_LISTED,
    Level,
    SettingName,
    SetValue,
    check_tokens,
    checked,
    form_of,
    in_force,
    rules_at,
)

ROOM, OTHER, HOME = PlaceId("discord:3"), PlaceId("discord:4"), PlaceId("discord:1")
HERE, THREAD = Place(ROOM, server=HOME), Place(ROOM, thread=OTHER, server=HOME)
ADA, BOB = UserId("discord:8"), UserId("discord:9")


def stored(*rows: tuple[PlaceId, SettingName, str]) -> dict[tuple[PlaceId, SettingName], SetValue]:
    return {(at, name): SetValue(tuple(value.split()), ADA, 7) for at, name, value in rows}


def test_where_nothing_is_set_nothing_is_narrowed() -> None:
    assert rules_at(HERE, {}) == PlaceRules()
    assert rules_at(HERE, {}, frozenset({ROOM})) == PlaceRules(unprompted=True)


@pytest.mark.parametrize("place", [HERE, THREAD])
def test_the_nearest_setting_wins_and_says_where_it_was_set(place: Place) -> None:
    both = stored((ROOM, "turns_per_minute", "3"), (HOME, "turns_per_minute", "9"))
    assert in_force("turns_per_minute", place, both) == (SetValue(("3",), ADA, 7), "channel")
    assert rules_at(place, both).turns == (3, ROOM)
    server = stored((HOME, "turns_per_minute", "9"), (OTHER, "turns_per_minute", "1"))
    assert in_force("turns_per_minute", place, server) == (SetValue(("9",), ADA, 7), "server")
    # Counted for the server: twenty channels are no twenty limits.
    assert rules_at(place, server).turns == (9, HOME)


def test_what_was_stored_where_it_cannot_be_set_counts_for_nothing() -> None:
    assert rules_at(HERE, stored((ROOM, "manage", "user:9"))) == PlaceRules()
    assert rules_at(HERE, stored((HOME, "dms", "off"))) == PlaceRules()


@pytest.mark.parametrize(
    ("rows", "is_open"),
    [
        ((), False),
        (((HOME, "unprompted", "discord:3"),), True),
        (((HOME, "unprompted", "discord:4"),), False),
        (((ROOM, "unprompted", "on"),), True),
        (((ROOM, "unprompted", "off"), (HOME, "unprompted", "discord:3")), False),
        (((ROOM, "unprompted", "on"), (HOME, "unprompted", "discord:4")), True),
    ],
)
def test_a_channel_says_of_itself_whether_it_needs_a_mention(
    rows: tuple[tuple[PlaceId, SettingName, str], ...], is_open: bool
) -> None:
    assert rules_at(HERE, stored(*rows)).unprompted is is_open


def test_a_channel_closed_by_its_server_is_closed_though_the_file_opens_it() -> None:
    assert not rules_at(HERE, stored((ROOM, "unprompted", "off")), frozenset({ROOM})).unprompted


@pytest.mark.parametrize("name", ["footer", "webhooks"])
@pytest.mark.parametrize(
    ("rows", "configured", "is_on"),
    [
        ((), True, True),
        ((), False, False),
        (((HOME, "off"),), True, False),
        (((HOME, "on"),), False, True),
        (((HOME, "off"), (ROOM, "on")), False, True),
    ],
)
def test_how_answers_look_is_as_the_nearest_says_else_as_the_file(
    name: Literal["footer", "webhooks"],
    rows: tuple[tuple[PlaceId, str], ...],
    configured: bool,
    is_on: bool,
) -> None:
    said: dict[tuple[PlaceId, SettingName], SetValue] = {
        (at, name): SetValue((value,), ADA, 7) for at, value in rows
    }
    is_footer = name == "footer"
    rules = rules_at(
        HERE, said, footer=configured or not is_footer, webhooks=configured or is_footer
    )
    looks = (rules.footer, rules.webhooks)
    assert looks == ((is_on, True) if is_footer else (True, is_on))


@pytest.mark.parametrize(("name", "level"), [("answered", ROOM), ("switch", HOME), ("load", HOME)])
def test_people_and_roles_are_told_apart(name: SettingName, level: PlaceId) -> None:
    rules = rules_at(HERE, stored((level, name, "user:9 role:31")))
    assert getattr(rules, name) == Circle({BOB}, {"31"})


def test_every_setting_reaches_the_rules() -> None:
    rules = rules_at(
        HERE,
        stored(
            (HOME, "channels", "discord:3 discord:4"),
            (HOME, "own_choice", "off"),
            (HOME, "tokens_per_day", "5000"),
            (HOME, "manage", "role:31"),
            (EVERYWHERE, "dms", "owners"),
        ),
    )
    assert rules == PlaceRules(
        channels=frozenset({ROOM, OTHER}),
        own_choice=False,
        tokens_per_day=5000,
        manage=Circle(roles={"31"}),
        dms="owners",
    )


@pytest.mark.parametrize(
    ("name", "level", "typed", "value"),
    [
        ("turns_per_minute", "channel", "5", ("5",)),
        ("turns_per_minute", "channel", "1,000", ("1000",)),
        ("tokens_per_day", "server", " 200_000 ", ("200000",)),
        ("tokens_per_day", "server", "1", ("1",)),
        ("tokens_per_day", "server", "0" * 18 + "5", ("5",)),
        ("tokens_per_day", "server", "", ()),
        ("unprompted", "channel", "off", ("off",)),
        ("dms", "everywhere", "everyone", ("everyone",)),
    ],
)
def test_a_value_is_stored_as_it_is_meant(
    name: SettingName, level: Level, typed: str, value: tuple[str, ...]
) -> None:
    assert checked(name, level, [typed]) == value


@pytest.mark.parametrize(
    ("name", "level", "typed", "words"),
    [
        ("turns_per_minute", "channel", ["0"], "from 1 to 1,000"),
        ("turns_per_minute", "channel", ["1001"], "from 1 to 1,000"),
        ("turns_per_minute", "channel", ["-5"], "not `-5`"),
        ("turns_per_minute", "channel", ["9" * 5000], "a whole number"),
        ("turns_per_minute", "channel", ["five"], "not `five`"),
        ("turns_per_minute", "channel", ["0" * 19 + "5"], "a whole number"),
        ("turns_per_minute", "channel", ["x" * 41], f"not `{'x' * 40}`"),
        ("turns_per_minute", "channel", ["²"], "not `²`"),
        ("turns_per_minute", "channel", ["1", "2"], "a whole number"),
        ("tokens_per_day", "channel", ["5"], "not set for a channel"),
        ("own_choice", "server", ["maybe"], "one of on, off"),
        ("own_choice", "server", ["on", "off"], "one of on, off"),
        ("unprompted", "channel", ["discord:3"], "one of on, off"),
        ("switch", "server", ["discord:3"], "people and roles"),
        ("switch", "server", ["user:9", "discord:3"], "people and roles"),
    ],
)
def test_what_is_no_value_is_refused_in_words(
    name: SettingName, level: Level, typed: list[str], words: str
) -> None:
    with pytest.raises(RequestRefused, match=words):
        checked(name, level, typed)


def test_a_list_holds_as_many_as_a_select_shows() -> None:
    most = [f"discord:{n}" for n in range(MOST_LISTED)]
    assert checked("channels", "server", [*most, most[0]]) == tuple(most)
    with pytest.raises(RequestRefused, match="at most 25"):
        checked("channels", "server", [*most, "discord:99"])


def test_every_setting_has_a_form_at_each_of_its_levels() -> None:
    for name, form in FORMS.items():
        for level in form.levels:
            found = form_of(name, level)
            assert (found.kind == "one of") is bool(found.options)
            assert (found.kind == "number") is bool(found.most)


@pytest.mark.parametrize(("used", "limit"), [(99, 100), (10**9, None), (0, 1)])
def test_who_has_tokens_left_is_answered(used: int, limit: int | None) -> None:
    check_tokens(used, limit, 60.0, whose="server")


@pytest.mark.parametrize(
    ("left_s", "wait"), [(60.0, "in 1 min;"), (61.0, "in 2 min;"), (3600.0, "in 1 h 0 min;")]
)
def test_who_has_none_left_is_told_how_long_to_wait_and_who_can_change_it(
    left_s: float, wait: str
) -> None:
    with pytest.raises(RequestRefused, match=f"100 of 100.*{wait} an admin can.*`/settings`"):
        check_tokens(100, 100, left_s, whose="server")
    with pytest.raises(RequestRefused, match=f"{wait} its owner can.*`discord.tokens_per_day`"):
        check_tokens(1200, 100, left_s, whose="owner")
