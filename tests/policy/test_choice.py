from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.chat import Place
from bot.domain.errors import NotPermitted
from bot.domain.ids import PlaceId, UserId
from bot.policy.choice import Choice, Scope, ScopeKey, choose, key_for, scope_keys

ADA = UserId("discord:1")
CHANNEL, THREAD, SERVER = PlaceId("discord:10"), PlaceId("discord:11"), PlaceId("discord:12")
IN_CHANNEL = Place(CHANNEL, server=SERVER)
IN_THREAD = Place(CHANNEL, THREAD, SERVER)
IN_DM = Place(CHANNEL, is_private=True)

MINE = ScopeKey("me", CHANNEL, ADA)
MINE_IN_THREAD = ScopeKey("me", THREAD, ADA)
OF_THREAD = ScopeKey("thread", THREAD)
OF_CHANNEL = ScopeKey("channel", CHANNEL)
OF_SERVER = ScopeKey("server", SERVER)


@pytest.mark.parametrize(
    ("place", "keys"),
    [
        (IN_THREAD, (OF_THREAD, MINE_IN_THREAD, OF_CHANNEL, OF_SERVER)),
        (IN_CHANNEL, (MINE, OF_CHANNEL, OF_SERVER)),
        (IN_DM, (MINE, OF_CHANNEL)),
    ],
)
def test_the_slots_of_a_place_come_nearest_first(place: Place, keys: tuple[ScopeKey, ...]) -> None:
    assert scope_keys(place, ADA) == keys


@pytest.mark.parametrize(
    ("scope", "place", "key"),
    [
        ("me", IN_THREAD, MINE_IN_THREAD),
        ("me", IN_CHANNEL, MINE),
        ("thread", IN_THREAD, OF_THREAD),
        ("channel", IN_THREAD, OF_THREAD),
        ("channel", IN_CHANNEL, OF_CHANNEL),
        ("server", IN_CHANNEL, OF_SERVER),
    ],
)
def test_a_new_choice_goes_to_the_slot_meant(scope: Scope, place: Place, key: ScopeKey) -> None:
    assert key_for(scope, place, ADA) == key


@pytest.mark.parametrize(("scope", "word"), [("server", "server"), ("thread", "thread")])
def test_choosing_for_a_place_that_is_not_there_is_refused(scope: Scope, word: str) -> None:
    with pytest.raises(NotPermitted, match=word):
        key_for(scope, IN_DM, ADA)


@pytest.mark.parametrize(
    ("option", "stored", "choice"),
    [
        ("x", {MINE: "m"}, Choice("x", "asked for this turn")),
        (None, {OF_THREAD: "t", MINE_IN_THREAD: "m"}, Choice("t", "chosen for this thread")),
        (None, {OF_SERVER: "s", MINE_IN_THREAD: "m"}, Choice("m", "chosen by you here")),
        (None, {OF_SERVER: "s", OF_CHANNEL: "c"}, Choice("c", "chosen for this channel")),
        ("", {OF_SERVER: "s"}, Choice("s", "chosen for this server")),
        (None, {MINE: "in the channel only"}, Choice("d", "the configured default")),
        (None, {OF_CHANNEL: ""}, Choice("d", "the configured default")),
    ],
)
def test_the_nearest_choice_wins(
    option: str | None, stored: dict[ScopeKey, str], choice: Choice
) -> None:
    assert choose(option, stored, scope_keys(IN_THREAD, ADA), "d") == choice


@given(st.sampled_from(get_args(Scope)), st.sampled_from([IN_THREAD, IN_CHANNEL]))
def test_what_was_just_chosen_is_found_again(scope: Scope, place: Place) -> None:
    if scope == "thread" and place.thread is None:
        return
    stored = {key_for(scope, place, ADA): "mine"}
    assert choose(None, stored, scope_keys(place, ADA), "default").value == "mine"


def test_another_persons_own_choice_is_not_mine() -> None:
    stored = {ScopeKey("me", CHANNEL, UserId("discord:2")): "theirs"}
    assert choose(None, stored, scope_keys(IN_CHANNEL, ADA), "default").value == "default"
