from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.chat import Place
from bot.domain.errors import NotPermitted
from bot.domain.ids import PersonaName, PlaceId, UserId
from bot.domain.personas import Persona
from bot.policy.choice import (
    Choice,
    Scope,
    ScopeKey,
    choose,
    key_for,
    provider_in,
    scope_keys,
    title_of,
    way_back,
    why_at_home,
)
from bot.policy.privacy import Marks, Sources

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
        (
            None,
            {OF_THREAD: "t", MINE_IN_THREAD: "m"},
            Choice("t", "chosen for this thread", "thread"),
        ),
        (None, {OF_SERVER: "s", MINE_IN_THREAD: "m"}, Choice("m", "chosen by you here", "me")),
        (
            None,
            {OF_SERVER: "s", OF_CHANNEL: "c"},
            Choice("c", "chosen for this channel", "channel"),
        ),
        ("", {OF_SERVER: "s"}, Choice("s", "chosen for this server", "server")),
        (None, {MINE: "in the channel only"}, Choice("d", "the configured default")),
        (None, {OF_CHANNEL: ""}, Choice("d", "the configured default")),
    ],
)
def test_the_nearest_choice_wins(
    option: str | None, stored: dict[ScopeKey, str], choice: Choice
) -> None:
    assert choose(option, stored, scope_keys(IN_THREAD, ADA), "d") == choice


@pytest.mark.parametrize(
    ("option", "stored", "value"),
    [
        ("x", {}, "x"),
        (None, {OF_THREAD: "t", OF_CHANNEL: "c"}, "t"),
        (None, {MINE_IN_THREAD: "m"}, "m"),
        (None, {OF_CHANNEL: "c", OF_SERVER: "s"}, "opened"),
        (None, {OF_SERVER: "s"}, "opened"),
        (None, {}, "opened"),
    ],
)
def test_who_answered_where_a_thread_was_opened_goes_on_unless_somebody_chose_nearer(
    option: str | None, stored: dict[ScopeKey, str], value: str
) -> None:
    chosen = choose(option, stored, scope_keys(IN_THREAD, ADA), "d", "opened")
    assert chosen.value == value
    assert (chosen.reason == "whose answer this thread was opened on") is (value == "opened")
    assert value != "opened" or chosen.scope is None


@given(st.sampled_from(get_args(Scope)), st.sampled_from([IN_THREAD, IN_CHANNEL]))
def test_what_was_just_chosen_is_found_again(scope: Scope, place: Place) -> None:
    if scope == "thread" and place.thread is None:
        return
    stored = {key_for(scope, place, ADA): "mine"}
    assert choose(None, stored, scope_keys(place, ADA), "default").value == "mine"


def test_another_persons_own_choice_is_not_mine() -> None:
    stored = {ScopeKey("me", CHANNEL, UserId("discord:2")): "theirs"}
    assert choose(None, stored, scope_keys(IN_CHANNEL, ADA), "default").value == "default"


@pytest.mark.parametrize(
    ("value", "provider", "title"),
    [
        ("cloud:zai", "zai", "☁ zai"),
        ("qwen/qwen3-8b", None, "`qwen/qwen3-8b`"),
        # A model's key may begin with a provider's name: it runs here.
        ("openai/gpt-oss-20b", None, "`openai/gpt-oss-20b`"),
    ],
)
def test_a_provider_is_told_from_a_model_by_its_mark(
    value: str, provider: str | None, title: str
) -> None:
    assert provider_in(value) == provider
    assert title_of(value) == title


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        (None, ""),
        ("me", "`/model auto`"),
        ("thread", "`/model auto scope:channel`"),
        ("channel", "`/model auto`, for all `/model auto scope:channel`"),
        ("server", "`/model auto`, for all `/model auto scope:server`"),
    ],
)
def test_the_way_back_takes_back_the_choice_that_is_in_force(
    scope: Scope | None, words: str
) -> None:
    assert way_back(scope) == words


@pytest.mark.parametrize(
    ("persona", "person", "places", "words"),
    [
        ({}, False, (), ""),
        ({"cloud": ()}, True, (), "persona sage never uses the cloud; choose another"),
        ({"local_only": True}, True, (), "persona sage is local only; choose another"),
        ({}, True, (CHANNEL,), "you keep your own words local only; `/settings local_only:off`"),
        ({}, False, (THREAD,), "this thread is local only"),
        ({}, False, (CHANNEL, THREAD), "this channel is local only"),
        (
            {},
            False,
            (SERVER,),
            "this server is local only; `/settings local_only:off scope:server`",
        ),
    ],
)
def test_what_keeps_words_here_is_named_with_what_opens_it(
    persona: dict[str, Any], person: bool, places: tuple[PlaceId, ...], words: str
) -> None:
    nothing = Sources(frozenset(), frozenset(), frozenset())
    marks = Marks(nothing, frozenset(places), frozenset({ADA} if person else ()))
    sage = replace(Persona(PersonaName("sage")), **persona)
    assert why_at_home(sage, IN_THREAD, ADA, marks).startswith(words)
    assert bool(words) == bool(why_at_home(sage, IN_THREAD, ADA, marks))
