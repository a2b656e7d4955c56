"""What was deleted while nobody was connected to be told: found, and nothing else taken out."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import discord
import pytest
from cogs_doubles import TURN, http_error, said_to
from stand_ins import double
from test_again import AGAIN, Scene, scene
from test_edits import ASKED, Question
from virtual_time import play

from cogs._again import TAKEN_BACK
from cogs._missed import LOOK_EVERY_S, MOST_CHANNELS, MOST_MISSING, PAGE, MissedChanges
from cogs._view import Act


class Rooms:
    """Channels as Discord shows them, and what was asked of it."""

    def __init__(self, there: Mapping[int, set[int]], fault: BaseException | None = None) -> None:
        self.there, self.fault = there, fault
        self.pages: list[int] = []
        self.looks: list[int] = []
        self.told: list[int] = []
        self.edited: set[int] = set()
        self.reworded: list[int] = []
        self.asked_at: list[float] = []
        self.client: Any = double(discord.Client)
        self.client.get_channel.return_value = None
        self.client.get_partial_messageable.side_effect = self.place

        def dispatch(event: str, message: Any) -> None:
            if event == "missed_edit":
                self.reworded.append(message.id)
            else:
                assert event == "missed_deletion"
                self.told.append(message)

        self.client.dispatch.side_effect = dispatch

    def place(self, key: int, **_: object) -> Any:
        async def history(*, limit: int) -> AsyncGenerator[Any]:
            self.pages.append(key)
            self.asked_at.append(asyncio.get_running_loop().time())
            if self.fault is not None:
                raise self.fault
            for number in sorted(self.there[key], reverse=True)[:limit]:
                message = double(discord.Message)
                message.id = number
                message.edited_at = discord.utils.utcnow() if number in self.edited else None
                yield message

        async def fetch(message: int) -> None:
            self.looks.append(message)
            self.asked_at.append(asyncio.get_running_loop().time())
            if self.fault is not None:
                raise self.fault
            if message not in self.there[key]:
                raise http_error(404, 10008)

        channel = double(discord.PartialMessageable)
        channel.history, channel.fetch_message = history, fetch
        return channel

    def tell(self, asked: Mapping[str, tuple[str, ...]]) -> list[int]:
        missed = MissedChanges()

        async def story() -> None:
            missed.begin_session()
            await missed.tell(self.client, asked)

        play(story())
        return self.told


def test_a_question_that_is_on_no_page_is_looked_for_by_its_id_before_it_is_told() -> None:
    rooms = Rooms({7: {1, 2, 5}, 8: {9}})
    assert rooms.tell({"7": ("5", "4", "1"), "8": ("9",)}) == [4]
    assert (rooms.pages, rooms.looks) == ([7, 8], [4])


def test_of_questions_that_were_edited_meanwhile_is_told_and_of_nothing_else_that_was() -> None:
    rooms = Rooms({7: {1, 2, 3, 4}})
    rooms.edited = {1, 2, 4}
    assert rooms.tell({"7": ("1", "2", "3")}) == []
    assert rooms.reworded == [1, 2]


def test_behind_a_full_page_nothing_is_looked_for() -> None:
    full = set(range(1000, 1000 + PAGE))
    assert Rooms({7: full}).tell({"7": ("999", "1100")}) == [1100]
    assert Rooms({7: full - {1000}}).tell({"7": ("999", "1100")}) == [999, 1100]


@pytest.mark.parametrize(
    "fault",
    [
        http_error(403, 50001),
        http_error(404, 10003),
        http_error(503),
        http_error(404, 0),
        OSError(),
        TimeoutError(),
    ],
)
def test_what_discord_does_not_tell_counts_as_there(fault: BaseException) -> None:
    rooms = Rooms({7: set()}, fault)
    assert rooms.tell({"7": ("5",)}) == []

    async def looked_for() -> list[int]:
        missed = MissedChanges()
        missed.begin_session()
        return await missed.gone(rooms.client, [(7, 5)])

    assert play(looked_for()) == []


def test_where_nothing_may_be_read_back_nothing_is_asked() -> None:
    rooms = Rooms({7: set(), 8: set()})
    channel: Any = double(discord.TextChannel)
    thread: Any = double(discord.Thread)
    thread.parent = channel
    for found in (channel, thread):
        rooms.client.get_channel.return_value = found
        channel.permissions_for.return_value = discord.Permissions.none()
        assert rooms.tell({"7": ("5",)}) == []
        assert rooms.pages == []
    channel.permissions_for.return_value = discord.Permissions(read_message_history=True)
    assert rooms.tell({"7": ("5",)}) == [5]


def test_the_looks_at_the_start_are_bounded() -> None:
    channels = {n: set[int]() for n in range(MOST_CHANNELS + 5)}
    rooms = Rooms(channels)
    many = tuple(str(n) for n in range(1, MOST_MISSING + 10))
    told = rooms.tell({str(n): many if n == 0 else () for n in channels})
    assert rooms.pages == list(range(MOST_CHANNELS))
    # The newest of them: the older ones are looked for when somebody wants them again.
    assert told == list(range(10, MOST_MISSING + 10))
    assert len(rooms.asked_at) == MOST_CHANNELS + MOST_MISSING
    assert min(b - a for a, b in pairwise(rooms.asked_at)) >= LOOK_EVERY_S - 1e-9


async def test_each_old_message_is_looked_for_once_in_a_session_and_no_new_one() -> None:
    rooms, missed = Rooms({7: {5}}), MissedChanges()
    assert await missed.gone(rooms.client, [(7, 5)]) == []
    assert rooms.looks == []
    missed.begin_session()
    newer = discord.utils.time_snowflake(discord.utils.utcnow()) + (1 << 40)
    for _ in range(2):
        assert await missed.gone(rooms.client, [(7, 5), (7, newer)]) == []
    assert rooms.looks == [5]
    missed.begin_session()
    await missed.gone(rooms.client, [(7, 5)])
    assert rooms.looks == [5, 5]


async def test_a_look_that_takes_long_is_not_waited_for() -> None:
    missed, client = MissedChanges(), double(discord.Client)
    never = asyncio.Event()

    async def fetch(_: int) -> None:
        await never.wait()

    client.get_partial_messageable.return_value.fetch_message = fetch

    async def story() -> float:
        missed.begin_session()
        assert await missed.gone(client, [(7, 5), (7, 6)]) == []
        return asyncio.get_running_loop().time()

    assert await asyncio.to_thread(play, story()) == 1.0


async def asked_in_7(at: Scene) -> Question:
    await at.lantern.database.execute(
        "INSERT INTO asked (message_id, turn, channel_id) VALUES (?, ?, '7')", (ASKED, TURN)
    )
    its = Question(at)
    at.again.missed.begin_session()
    return its


def press_in(at: Scene, rooms: Rooms) -> Any:
    interaction = at.interaction()
    interaction.type = discord.InteractionType.component
    places = at.channel.partial

    def place(key: int, *, guild_id: int | None = None) -> Any:
        found = places(key, guild_id=guild_id)
        found.fetch_message = rooms.place(key).fetch_message
        return found

    interaction.client.get_partial_messageable.side_effect = place
    interaction.client.dispatch.side_effect = rooms.client.dispatch
    return interaction


async def test_a_retry_of_a_question_that_was_deleted_meanwhile_says_so_and_takes_it_out(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, AGAIN, age_h=1) as at:
        its, rooms = await asked_in_7(at), Rooms({7: set(at.ids)})
        interaction = press_in(at, rooms)
        await at.cog.on_reply_button(interaction, Act.RETRY, str(TURN))
        assert said_to(interaction) == [f"❌ {TAKEN_BACK}"]
        assert at.turns.requests == []
        assert rooms.told == [int(ASKED)]
        await its.cog.on_missed_deletion(int(ASKED))
        assert await at.line() == []
        assert its.buttons == [[]]


async def test_a_retry_whose_question_stands_is_answered_and_looks_for_it_once(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, AGAIN, age_h=1) as at:
        await asked_in_7(at)
        rooms = Rooms({7: {*at.ids, int(ASKED)}})
        for subject in (str(TURN), "again1"):
            interaction = press_in(at, rooms)
            await at.cog.on_reply_button(interaction, Act.RETRY, subject)
        assert len(at.turns.requests) == 2
        assert rooms.looks == [int(ASKED)]


async def test_an_answer_of_which_a_message_was_deleted_meanwhile_is_answered_in_the_rest(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, AGAIN, age_h=1, count=2) as at:
        first, last = at.ids
        at.again.missed.begin_session()
        rooms = Rooms({7: {last}})
        del at.channel.shown[first]
        interaction = press_in(at, rooms)
        await at.cog.on_reply_button(interaction, Act.RETRY, str(TURN))
        assert at.channel.shown[last].startswith("second\n")
        assert list(at.channel.shown) == [last]
        assert rooms.looks == [first]
        assert await at.bound() == {str(last): "again1"}
