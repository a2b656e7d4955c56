"""``/greet``: a greeting by its number, found by its words, of whoever answers here."""

from typing import Any

import pytest
from cogs_doubles import ScriptedTurns, give, interaction_of, lantern_of

from bot.chat.switch import Explanation
from bot.domain.chat import Route
from bot.domain.errors import RequestRefused
from bot.domain.ids import ModelKey, PersonaName
from bot.domain.personas import Character, Persona
from bot.policy.context import GREET_TEXT
from bot.policy.pacing import Pacers
from bot.policy.ratelimit import RateRule
from cogs._access import Access
from cogs._places import DiscordRules
from cogs._reply import Replies
from cogs.greeting import Greeting

MANY = ("You wake, {{user}}.", "It  rains.\nHard.", "Night has fallen.")


class Room:
    """The cog over scripted turns, where a persona with these greetings answers."""

    def __init__(self, *greetings: str, rules: DiscordRules | None = None) -> None:
        first, *more = greetings or ("",)
        persona = Persona(
            PersonaName("sera"), greeting=first, character=Character(greetings=tuple(more))
        )
        self.turns = ScriptedTurns()
        lantern = lantern_of(self.turns)
        switch: Any = lantern.switch
        route = Route(())
        switch.explain.return_value = Explanation(persona, "", ModelKey("m"), "", route)
        replies = Replies(lantern)
        self.cog = Greeting(lantern, Access(rules or DiscordRules()), replies, Pacers())

    async def greet(self, number: int | None = None) -> None:
        await give(Greeting.greet, self.cog, interaction_of(), number)

    async def offered(self, typed: str) -> list[tuple[str, int]]:
        choices: Any = Greeting.greet._params["number"].autocomplete  # pyright: ignore[reportPrivateUsage]  # as Discord asks
        return [(c.name, c.value) for c in await choices(self.cog, interaction_of(), typed)]


@pytest.mark.parametrize("number", [None, 1, 3])
async def test_a_conversation_begins_afresh_with_that_greeting(number: int | None) -> None:
    room = Room(*MANY)
    await room.greet(number)
    (request,) = room.turns.requests
    assert (request.text, request.greeting, request.fresh_after_s) == (GREET_TEXT, number, 0)


@pytest.mark.parametrize("number", [0, 4, -1])
async def test_a_number_that_is_none_of_them_is_refused(number: int) -> None:
    room = Room(*MANY)
    with pytest.raises(RequestRefused, match="it has 3"):
        await room.greet(number)
    assert room.turns.requests == []


async def test_who_has_no_greeting_says_so() -> None:
    with pytest.raises(RequestRefused, match="sera has no greeting"):
        await Room().greet()


async def test_greetings_are_found_by_number_and_by_words() -> None:
    room = Room(*MANY)
    assert await room.offered("") == [
        ("1 · You wake, {{user}}.", 1),
        ("2 · It rains. Hard.", 2),
        ("3 · Night has fallen.", 3),
    ]
    assert [value for _, value in await room.offered("2")] == [2]
    assert [value for _, value in await room.offered("night")] == [3]


async def test_greeting_again_and_again_is_as_fast_as_asking() -> None:
    room = Room(*MANY, rules=DiscordRules(rate=RateRule(1, 60.0)))
    await room.greet()
    with pytest.raises(RequestRefused, match="Slow down"):
        await room.greet()
