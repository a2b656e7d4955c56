"""Loads and choices whose message said that all is well, and what became of them since."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, cast

import pytest
from cogs_doubles import HOST, MODEL, interaction_of, lantern_of, partial_channel
from test_loads import steps_of
from virtual_time import play

from bot.chat.walk import Readiness
from bot.domain.chat import Candidate
from bot.domain.errors import StoreUnavailable
from bot.domain.events import FleetEvent
from bot.domain.hosts import Instance
from bot.domain.ids import HostName, InstanceId
from bot.policy.access import EVERY_RIGHT
from bot.policy.pacing import Pacers
from cogs._loads import FOLLOWED_S, MOST_FOLLOWED
from cogs._transport import TOKEN_LIFE_S, InteractionTransport
from cogs.client import DiscordFace, DiscordRules

COPY = InstanceId("qwen:2")
READY = Readiness(MODEL, Candidate(MODEL, HOST), instance=Instance(COPY, MODEL))
LEFT = FleetEvent("model unloaded", HOST, MODEL, "evicted to make room for gemma", COPY, "evicted")
SAID = f"📥 Loading.\n✅ Ready: `{MODEL}` is in memory on {HOST}."
TAKEN = f"{SAID}\n📤 It left memory again: evicted to make room for gemma."
CHANGED = "⚠ This was changed meanwhile: `gemma` is chosen."


class Place:
    """Loads of one channel, and what their messages read like."""

    def __init__(self) -> None:
        self.lantern = lantern_of()
        self.changed: dict[str, str] = {}
        switch: Any = self.lantern.switch
        switch.overtaken.side_effect = self._overtaken
        self.face = DiscordFace(self.lantern, DiscordRules(has_presence=False))
        self.loads = self.face.loads

    async def _overtaken(self, tickets: Collection[str]) -> Mapping[str, str]:
        return {ticket: how for ticket, how in self.changed.items() if ticket in tickets}

    async def show(self, by: Any, *, stays: str = "", end: Readiness = READY, **more: bool) -> None:
        transport = InteractionTransport(by, Pacers(), **more)
        await self.loads.show(by, transport, "📥 Loading.", steps_of((), end), stays)


def played(story: Callable[[Place], Awaitable[None]]) -> None:
    async def whole() -> None:
        place = Place()
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(place.face.keep_shown())
            await asyncio.sleep(0)
            await story(place)
            await asyncio.sleep(10.0)
            keeping.cancel()

    play(whole())


def reads(by: Any) -> str:
    return by.edit_original_response.await_args.kwargs["content"]


def test_whoever_ordered_a_model_reads_that_it_left_memory_again() -> None:
    async def story(place: Place) -> None:
        await place.show(by := interaction_of())
        for other in (
            replace(LEFT, host=HostName("studio-2")),
            replace(LEFT, instance=InstanceId("qwen")),
            replace(LEFT, what="load failed"),
        ):
            place.lantern.newsroom.tell(other)
            await asyncio.sleep(10.0)
            assert reads(by) == SAID
        for _ in range(2):
            place.lantern.newsroom.tell(LEFT)
            await asyncio.sleep(10.0)
            assert reads(by) == TAKEN
        assert by.edit_original_response.await_count == 2

    played(story)


def test_the_message_that_is_told_stays_in_its_channel() -> None:
    async def story(place: Place) -> None:
        by, channel = interaction_of(), partial_channel()
        by.client.get_partial_messageable.side_effect = None
        by.client.get_partial_messageable.return_value = channel
        await place.show(by)
        place.lantern.newsroom.tell(LEFT)
        await asyncio.sleep(10.0)
        assert reads(by) == TAKEN
        channel.get_partial_message.return_value.delete.assert_not_awaited()

    played(story)


def test_what_leaves_as_its_message_is_being_written_is_told_as_well() -> None:
    async def story(place: Place) -> None:
        by, edit = interaction_of(), None

        async def slowly(**_: object) -> Any:
            place.lantern.newsroom.tell(LEFT)
            by.edit_original_response.side_effect = edit
            return by.message

        edit, by.edit_original_response.side_effect = (
            by.edit_original_response.side_effect,
            slowly,
        )
        await place.show(by)
        await asyncio.sleep(10.0)
        assert reads(by) == TAKEN

    played(story)


@pytest.mark.parametrize(
    ("load_s", "rest_s", "is_for_all", "text"),
    [
        (0.0, FOLLOWED_S - 0.1, True, TAKEN),
        (0.0, FOLLOWED_S, True, SAID),
        # What its asker alone sees can be edited as long as the command's token lives.
        (400.0, TOKEN_LIFE_S - 400.1, False, TAKEN),
        (400.0, TOKEN_LIFE_S - 400.0, False, SAID),
    ],
)
def test_a_load_of_some_time_ago_is_left_as_it_reads(
    load_s: float, rest_s: float, is_for_all: bool, text: str
) -> None:
    async def story(place: Place) -> None:
        by = interaction_of()
        transport = InteractionTransport(by, Pacers(), is_for_all=is_for_all)
        await asyncio.sleep(load_s)
        await place.loads.show(by, transport, "📥 Loading.", steps_of((), READY))
        await asyncio.sleep(rest_s)
        place.lantern.newsroom.tell(LEFT)
        await asyncio.sleep(10.0)
        assert reads(by) == text

    played(story)


def test_of_so_many_the_newest_are_followed() -> None:
    async def story(place: Place) -> None:
        asked = [interaction_of() for _ in range(MOST_FOLLOWED + 1)]
        for by in asked:
            await place.show(by)
        place.lantern.newsroom.tell(LEFT)
        await asyncio.sleep(10.0)
        assert [reads(by) for by in asked] == [SAID] + [TAKEN] * MOST_FOLLOWED

    played(story)


def test_of_two_who_chose_at_once_the_one_overtaken_reads_so() -> None:
    async def story(place: Place) -> None:
        first, second, third = interaction_of(), interaction_of(2), interaction_of(2)
        # Whose message was ready first: told as the other's begins.
        await place.show(first, stays="stays")
        place.changed[str(first.id)] = CHANGED
        await place.show(second, stays="stays")
        await asyncio.sleep(10.0)
        assert (reads(first), reads(second)) == (f"{SAID}\n{CHANGED}", SAID)
        # Nor does it say what became of the model; nor is it told again what it says.
        place.lantern.newsroom.tell(LEFT)
        await asyncio.sleep(10.0)
        assert (reads(first), reads(second)) == (f"{SAID}\n{CHANGED}", TAKEN)
        assert first.edit_original_response.await_count == 2
        # Who was told of the model alone is told of the choice.
        place.changed[str(second.id)] = CHANGED
        # Whose message comes last: at its own end. A choice in vain has nothing to undo any more.
        place.changed[str(third.id)] = CHANGED
        await place.show(third, stays="stays", end=replace(READY, by=None))
        await asyncio.sleep(10.0)
        assert reads(third).endswith(f"right now.\n{CHANGED}")
        assert reads(second) == f"{SAID}\n{CHANGED}"
        assert third.edit_original_response.await_args.kwargs["view"] is None

    played(story)


def test_a_choice_that_holds_again_once_another_was_undone_reads_so() -> None:
    async def story(place: Place) -> None:
        first, vain, undone = interaction_of(), interaction_of(2), interaction_of(2)
        await place.show(first, stays="stays")
        await place.show(vain, stays="stays", end=replace(READY, by=None))
        in_vain = reads(vain)
        place.changed = {str(first.id): CHANGED, str(vain.id): CHANGED}
        await place.show(undone, stays="stays", end=replace(READY, by=None))
        await asyncio.sleep(10.0)
        assert reads(first) == f"{SAID}\n{CHANGED}"
        assert vain.edit_original_response.await_args.kwargs["view"] is None
        # What became of its model meanwhile is of account again.
        place.lantern.newsroom.tell(LEFT)
        place.changed = {str(first.id): "", str(vain.id): "", str(undone.id): CHANGED}
        press, switch = interaction_of(2), cast(Any, place.lantern.switch)
        switch.undo.side_effect = ["↩ Undone: `qwen` is chosen."]
        press.message.content = reads(undone)
        await place.loads.undo(press, str(undone.id), EVERY_RIGHT)
        await asyncio.sleep(10.0)
        assert reads(first) == TAKEN
        assert reads(vain) == in_vain
        (button,) = vain.edit_original_response.await_args.kwargs["view"].children
        assert button.item.custom_id == f"lantern:undo:{vain.id}"
        assert reads(press).endswith("↩ Undone: `qwen` is chosen.")
        assert undone.edit_original_response.await_count == 1

    played(story)


def test_choices_that_cannot_be_looked_up_are_left_as_they_read() -> None:
    async def story(place: Place) -> None:
        switch: Any = place.lantern.switch
        switch.overtaken.side_effect = StoreUnavailable("the disk is full")
        await place.show(by := interaction_of(), stays="stays")
        assert reads(by) == SAID

    played(story)
