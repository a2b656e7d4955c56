"""Boards: put up, followed once a minute, taken away by whoever likes, and never in the way."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import discord
import pytest
from cogs_doubles import READERS, MemoryNotes, give, http_error, interaction_of, lantern_of, said_to
from stand_ins import double
from structlog.testing import capture_logs
from virtual_time import play

from bot.chat.board import BOARD_EVERY_S
from bot.domain.cloud import HourLine, LastDay
from bot.domain.errors import NotPermitted, RequestRefused, StoreUnavailable
from bot.domain.ids import PlaceId, UserId
from bot.policy.pacing import OLD, Pacers
from cogs._boards import NOTE, Boards
from cogs._loads import Loads
from cogs._places import DiscordRules
from cogs.fleet import FleetCog

HOME, AWAY = 5, 6


@dataclass
class World:
    """Two servers' channels, the boards in them, and what they read."""

    fault: BaseException | None = None
    """Of every call from now on."""
    texts: dict[int, str] = field(default_factory=dict[int, str])
    """By message."""
    edits: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])
    told: list[str] = field(default_factory=list[str])
    notes: MemoryNotes = field(default_factory=MemoryNotes)
    archived: bool = False
    """Takes new messages alone, of which one opens it again."""
    locked: bool = False
    """Takes nothing while it is archived."""
    made: int = 0
    fleet: str = "one"
    hang: Callable[[list[discord.File]], None] = lambda files: None
    """Takes the files of a call."""
    picture_fault: BaseException | None = None
    """Of every call with a picture."""
    client: Any = field(default_factory=lambda: double(discord.Client))

    def __post_init__(self) -> None:
        self.client.is_ready.return_value = True
        self.client.get_partial_messageable.side_effect = self._channel

    def _channel(self, channel: int, *, guild_id: int | None = None) -> Any:
        found = double(discord.PartialMessageable)
        found.id, found.guild_id = channel, HOME
        found.send.side_effect = self._send
        found.get_partial_message.side_effect = self._message
        return found

    async def _send(self, content: str, *, files: Sequence[discord.File] = (), **_: object) -> Any:
        await asyncio.sleep(0.08)
        if self.fault is not None:
            raise self.fault
        if self.locked:
            raise http_error(400, 160005)
        self.hang(list(files))
        message = double(discord.Message)
        message.id = 100 + self.made
        self.made, self.archived = self.made + 1, False
        self.texts[message.id] = content
        return message

    def _message(self, key: int) -> Any:
        async def edit(
            *, content: str, attachments: list[discord.File] | None = None, **_: object
        ) -> None:
            self.edits.append((asyncio.get_running_loop().time(), key))
            await asyncio.sleep(0.08)
            if self.fault is not None:
                raise self.fault
            if key not in self.texts:
                raise http_error(404, 10008)
            if self.archived:
                raise http_error(400, 50083)
            if attachments is not None:
                self.hang(attachments)
            self.texts[key] = content

        async def delete() -> None:
            await asyncio.sleep(0.02)
            self.texts[key] = ""
            del self.texts[key]

        found = double(discord.PartialMessage)
        found.edit, found.delete = edit, delete
        return found


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()

    async def tell(_: discord.Client, text: str, *_more: object) -> bool:
        made.told.append(text)
        return True

    def text(*_: object) -> str:
        return made.fleet

    monkeypatch.setattr("cogs._boards.tell_owners", tell)
    monkeypatch.setattr("cogs._boards.board_text", text)

    async def at_once(work: Callable[[LastDay], object], day: LastDay) -> object:
        return work(day)

    def drawn(day: LastDay) -> tuple[bytes, str] | None:
        answers = sum(hour.local for hour in day.hours)
        return (b"\x89PNG", f"{answers} answers") if answers else None

    # In virtual time no thread runs; the picture itself is drawn in the tests of its room.
    monkeypatch.setattr("asyncio.to_thread", at_once)
    monkeypatch.setattr("cogs._boards.board_picture", drawn)
    return made


def boards_of(world: World) -> Boards:
    lantern = lantern_of()
    object.__setattr__(lantern, "notes", world.notes)
    return Boards(lantern, Pacers(), READERS)


def watch(
    world: World, boards: Boards, *steps: float | Callable[[], Awaitable[object] | None]
) -> None:
    """Keeps boards while these happen: seconds pass, somebody does something."""

    async def story() -> None:
        await boards.read()
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(boards.keep(lambda: world.client))
            for step in steps:
                if isinstance(step, int | float):
                    await asyncio.sleep(step)
                    continue
                if (result := step()) is not None:
                    await result
            keeping.cancel()

    play(story())


def changes(world: World, fleet: str) -> Callable[[], None]:
    return lambda: setattr(world, "fleet", fleet)


def test_it_follows_the_fleet_once_a_minute_and_rests_while_nothing_changes(world: World) -> None:
    boards = boards_of(world)
    watch(
        world,
        boards,
        lambda: boards.put_up(world.client, HOME, 7),
        lambda: boards.put_up(world.client, AWAY, 8),
        200.0,
        changes(world, "two"),
        5.0,
        changes(world, "three"),
        200.0,
    )
    assert world.texts == {100: "three", 101: "three"}
    assert len(world.edits) == 2
    assert all(at % BOARD_EVERY_S < 2.0 for at, _ in world.edits)


def test_it_waits_for_a_place_among_the_edits_of_old_messages(world: World) -> None:
    lantern, pacers = lantern_of(), Pacers()
    boards = Boards(lantern, pacers, READERS)

    def others() -> None:
        now = asyncio.get_running_loop().time()
        for nth in range(OLD.calls):
            pacers.of_channel(7, now, OLD).began(now, f"an old answer {nth}")

    put_up = partial(boards.put_up, world.client, HOME, 7)
    watch(world, boards, put_up, changes(world, "two"), BOARD_EVERY_S - 1.0, others, 60.0)
    ((at, _),) = world.edits
    assert at >= BOARD_EVERY_S - 1.0 + OLD.window_s
    assert world.texts == {100: "two"}


async def test_it_shows_what_its_own_server_used_today(world: World) -> None:
    lantern = lantern_of()
    await Boards(lantern, Pacers(), READERS).put_up(world.client, HOME, 7)
    report: Any = lantern.usage.report
    report.assert_awaited_once_with("today", "server", UserId(""), PlaceId(f"discord:{HOME}"))


def test_it_is_followed_after_a_restart(world: World) -> None:
    before = boards_of(world)
    watch(world, before, lambda: before.put_up(world.client, HOME, 7))
    world.fleet = "two"
    watch(world, boards_of(world), 70.0)
    assert world.texts == {100: "two"}


def test_put_up_elsewhere_it_moves_and_of_two_at_once_one_stays(world: World) -> None:
    boards = boards_of(world)

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(boards.put_up(world.client, HOME, 7))
            group.create_task(boards.put_up(world.client, HOME, 8))

    watch(world, boards, both)
    assert len(world.texts) == 1
    (left,) = world.texts
    assert f"{left}" in world.notes.notes[NOTE]


def archived(world: World) -> Callable[[], None]:
    def archive() -> None:
        world.fleet, world.archived = "two", True

    return archive


def test_of_two_at_once_the_one_that_lost_is_told_where_the_board_stands(world: World) -> None:
    cog = fleet_cog(world)
    first, second = asked(world), asked(world)
    first.channel_id, second.channel_id = 7, 8

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            for interaction in (first, second):
                group.create_task(give(FleetCog.board, cog, interaction))

    play(both())
    assert "<#8>" in said_to(first)[-1]
    assert "stands here" in said_to(second)[-1]


@pytest.mark.parametrize("restarts", [False, True])
def test_one_in_an_archived_thread_is_put_up_anew_and_followed_there(
    world: World, restarts: bool
) -> None:
    boards = boards_of(world)
    watch(world, boards, lambda: boards.put_up(world.client, HOME, 7), archived(world), 70.0)
    assert world.texts == {101: "two"}
    boards = boards_of(world) if restarts else boards
    watch(world, boards, changes(world, "three"), 130.0)
    assert world.texts == {101: "three"}
    watch(world, boards, lambda: boards.take_down(world.client, HOME))
    assert (world.texts, world.notes.notes[NOTE]) == ({}, "[]")


def test_taken_down_or_moved_while_it_is_put_up_anew_nothing_is_left_behind(world: World) -> None:
    def down(boards: Boards) -> Awaitable[object]:
        return boards.take_down(world.client, HOME)

    def moved(boards: Boards) -> Awaitable[object]:
        return boards.put_up(world.client, HOME, 8)

    for later, left in ((down, []), (moved, ["two"])):
        # While the edit is refused, while the new one is sent, and when it stands.
        for at_s in (0.04, 0.12, 0.17, 0.3):
            boards = boards_of(world)
            world.fleet = "one"
            watch(
                world,
                boards,
                partial(boards.put_up, world.client, HOME, 7),
                archived(world),
                BOARD_EVERY_S - 0.08 + at_s,
                partial(later, boards),
                200.0,
            )
            assert list(world.texts.values()) == left, (later, at_s)
            world.texts.clear()


def test_a_board_put_up_anew_that_cannot_be_noted_leaves_no_second_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    boards = boards_of(world)
    watch(world, boards, lambda: boards.put_up(world.client, HOME, 7))

    async def full(*_: object) -> None:
        raise StoreUnavailable("The disk is full.")

    monkeypatch.setattr(world.notes, "put", full)
    watch(world, boards, archived(world), 70.0, changes(world, "three"), 130.0)
    assert world.texts == {101: "three"}


def test_one_that_somebody_deleted_stays_gone(world: World) -> None:
    boards = boards_of(world)
    watch(
        world,
        boards,
        lambda: boards.put_up(world.client, HOME, 7),
        lambda: world.texts.clear(),
        changes(world, "two"),
        500.0,
    )
    assert world.texts == {}
    assert len(world.edits) == 1
    assert world.notes.notes[NOTE] == "[]"


def test_a_permission_that_is_gone_is_told_once_and_comes_back(world: World) -> None:
    boards, seen = boards_of(world), list[tuple[int, int]]()
    watch(
        world,
        boards,
        lambda: boards.put_up(world.client, HOME, 7),
        changes(world, "two"),
        lambda: setattr(world, "fault", http_error(403, 50001)),
        300.0,
        lambda: seen.append((len(world.told), len(world.edits))),
        lambda: setattr(world, "fault", None),
        200.0,
        # Back and gone again it is news again.
        lambda: setattr(world, "fault", http_error(403, 50001)),
        changes(world, "three"),
        130.0,
    )
    assert world.texts == {100: "two"}
    ((told, edits),) = seen
    assert told == 1
    assert edits <= 6
    assert len(world.told) == 2
    assert "<#7>" in world.told[0]


def test_in_a_locked_thread_its_owner_is_told_once_and_it_is_tried_ever_less(world: World) -> None:
    boards, seen = boards_of(world), list[tuple[int, str]]()
    with capture_logs() as logs:
        watch(
            world,
            boards,
            lambda: boards.put_up(world.client, HOME, 7),
            archived(world),
            lambda: setattr(world, "locked", True),
            7200.0,
            lambda: seen.append((len(world.edits), boards.in_the_way(HOME))),
            lambda: setattr(world, "locked", False),
            1000.0,
        )
    (told,) = world.told
    assert "locked thread" in told
    ((edits, in_the_way),) = seen
    assert edits <= 13
    assert in_the_way == told
    assert sum(line["event"] == "reply cannot be shown" for line in logs) == 1
    assert world.texts == {101: "two"}
    assert boards.in_the_way(HOME) == ""


async def test_whoever_manages_reads_in_the_status_why_the_board_stands_still(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    cog = fleet_cog(world)

    def in_the_way(*_: object) -> str:
        return "📋 In the way."

    monkeypatch.setattr(Boards, "in_the_way", in_the_way)
    for manages in (True, False):
        interaction = asked(world, manages=manages)
        await give(FleetCog.status, cog, interaction)
        assert ("In the way" in said_to(interaction)[-1]) == manages


def test_taken_down_while_it_is_edited_it_is_not_missed(world: World) -> None:
    boards = boards_of(world)
    watch(
        world,
        boards,
        lambda: boards.put_up(world.client, HOME, 7),
        changes(world, "two"),
        BOARD_EVERY_S - 0.05,
        lambda: boards.take_down(world.client, HOME),
        200.0,
    )
    assert (world.texts, world.told, world.notes.notes[NOTE]) == ({}, [], "[]")


def test_one_put_up_anew_while_the_old_is_edited_is_kept(world: World) -> None:
    boards = boards_of(world)
    watch(
        world,
        boards,
        lambda: boards.put_up(world.client, HOME, 7),
        changes(world, "two"),
        # It stands, and the old one is deleted, while an edit of that is on its way.
        BOARD_EVERY_S - 0.08 - 0.05,
        lambda: boards.put_up(world.client, HOME, 8),
        changes(world, "three"),
        200.0,
    )
    assert list(world.texts.values()) == ["three"]


def test_what_breaks_is_tried_again_and_ends_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    boards = boards_of(world)
    broken = iter([ZeroDivisionError(), None])

    def text(*_: object) -> str:
        if (error := next(broken, None)) is not None:
            raise error
        return "two"

    watch(world, boards, lambda: boards.put_up(world.client, HOME, 7))
    monkeypatch.setattr("cogs._boards.board_text", text)
    watch(world, boards, 130.0)
    assert world.texts == {100: "two"}


def test_without_a_connection_nothing_is_asked(world: World) -> None:
    boards = boards_of(world)
    watch(world, boards, lambda: boards.put_up(world.client, HOME, 7))
    world.fleet, world.client.is_ready.return_value = "two", False
    watch(world, boards, 300.0)
    assert world.edits == []


def fleet_cog(world: World) -> FleetCog:
    lantern = lantern_of()
    return FleetCog(lantern, DiscordRules(), Loads(lantern), Pacers(), boards_of(world))


def asked(world: World, *, manages: bool = True, guild: int | None = HOME) -> Any:
    interaction = interaction_of(guild=guild, manages=manages)
    interaction.client.get_partial_messageable.side_effect = world._channel  # pyright: ignore[reportPrivateUsage]  # the double's own
    return interaction


async def test_an_admin_puts_it_up_and_takes_it_down(world: World) -> None:
    cog = fleet_cog(world)
    for show, part in (("here", "stands here"), ("off", "is gone"), ("off", "no board")):
        interaction = asked(world)
        await give(FleetCog.board, cog, interaction, show)
        assert part in said_to(interaction)[-1]
    assert world.texts == {}


@pytest.mark.parametrize(
    ("manages", "guild", "fault", "error"),
    [
        (False, HOME, None, NotPermitted),
        (True, None, None, NotPermitted),
        (True, HOME, http_error(403, 50013), RequestRefused),
        (True, HOME, http_error(400, 160005), RequestRefused),
        (True, HOME, http_error(503, 0), discord.HTTPException),
    ],
)
async def test_where_it_may_not_stand_that_is_said(
    world: World,
    manages: bool,
    guild: int | None,
    fault: BaseException | None,
    error: type[BaseException],
) -> None:
    world.fault = fault
    with pytest.raises(error):
        await give(FleetCog.board, fleet_cog(world), asked(world, manages=manages, guild=guild))
    assert world.texts == {}


# --- the picture of the last 24 hours -----------------------------------------------------------

START = datetime(2026, 11, 21, 9, tzinfo=UTC)


@dataclass
class Days:
    """What the ledger says of the last day, and whether files may be sent in the channel."""

    world: World
    answers: int = 3
    may_attach: bool = True
    fault: BaseException | None = None
    asked: int = 0
    hung: list[tuple[float, list[str]]] = field(default_factory=list[tuple[float, list[str]]])
    """When pictures were hung or taken away, with what they say."""

    def boards(self) -> Boards:
        lantern = lantern_of()
        object.__setattr__(lantern, "notes", self.world.notes)
        lantern.usage.last_day = self._last_day
        self.world.client.get_channel.side_effect = self._channel
        self.world.hang = self.hang
        return Boards(lantern, Pacers(), READERS)

    async def _last_day(self, server: PlaceId) -> LastDay:
        self.asked += 1
        if self.fault is not None:
            raise self.fault
        lines = (HourLine(n, local=self.answers if n == 5 else 0) for n in range(24))
        return LastDay(START, tuple(lines))

    def _channel(self, channel: int) -> Any:
        found = double(discord.TextChannel)
        found.permissions_for.return_value = discord.Permissions(attach_files=self.may_attach)
        return found

    def hang(self, files: list[discord.File]) -> None:
        if files and self.world.picture_fault is not None:
            raise self.world.picture_fault
        at = asyncio.get_running_loop().time()
        self.hung.append((at, [file.description or "" for file in files]))
        for file in files:
            assert file.fp.read(4) == b"\x89PNG"


def test_a_board_has_a_picture_of_the_last_day_redrawn_gently(world: World) -> None:
    days = Days(world)
    boards = days.boards()
    watch(world, boards, lambda: boards.put_up(world.client, HOME, 1), 500.0)
    assert [len(said) for _, said in days.hung] == [1]
    assert "3 answers" in days.hung[0][1][0]

    def more() -> None:
        days.answers = 4

    watch(world, boards, 3600.0, more, 1300.0)
    # Nothing new was asked for an hour: nothing was sent again.
    assert [said for _, said in days.hung[1:]] == [["4 answers"]]
    assert days.asked <= 12


def test_where_no_files_may_be_sent_the_board_is_words_alone(world: World) -> None:
    days = Days(world, may_attach=False)
    boards = days.boards()

    def allow(is_allowed: bool) -> Callable[[], None]:
        def change() -> None:
            days.may_attach = is_allowed

        return change

    watch(
        world,
        boards,
        lambda: boards.put_up(world.client, HOME, 1),
        150.0,
        allow(True),
        700.0,
        allow(False),
        150.0,
    )
    # The permission taken again, the old picture goes: it would tell of a day long gone.
    assert [len(said) for _, said in days.hung] == [0, 1, 0]
    assert world.told == []


@pytest.mark.parametrize("fault", [None, StoreUnavailable("The disk is full.")])
def test_a_day_without_answers_or_a_ledger_that_hangs_leaves_the_words(
    world: World, fault: BaseException | None
) -> None:
    days = Days(world, answers=0, fault=fault)
    boards = days.boards()
    watch(
        world, boards, lambda: boards.put_up(world.client, HOME, 1), changes(world, "two"), 1300.0
    )
    assert list(world.texts.values()) == ["two"]
    # And nothing is sent again and again to say that there is no picture.
    assert [said for _, said in days.hung] in ([[]], [[], []])


@pytest.mark.parametrize("fault", [http_error(403, 50013), http_error(400, 50035)])
def test_a_picture_that_discord_refuses_does_not_take_the_words_along(
    world: World, fault: discord.HTTPException
) -> None:
    days, world.picture_fault = Days(world), None
    boards = days.boards()

    def refuse() -> None:
        days.answers, world.picture_fault = 4, fault

    def take() -> None:
        world.picture_fault = None

    put_up = partial(boards.put_up, world.client, HOME, 1)
    watch(world, boards, put_up, 550.0, refuse, changes(world, "two"), 190.0)
    assert list(world.texts.values()) == ["two"]
    # Of the board nobody is told that it may not be edited.
    assert world.told == []
    # The picture is tried again with the next one that is due.
    watch(world, boards, take, 1300.0)
    assert days.hung[-1][1] == ["4 answers"]
    assert world.told == []


def test_a_picture_that_cannot_be_drawn_holds_no_words_up_and_is_drawn_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    days, tried = Days(world), list[int]()
    boards = days.boards()

    def broken(day: LastDay) -> object:
        tried.append(len(tried))
        if len(tried) < 3:
            raise ZeroDivisionError
        return b"\x89PNG", "drawn"

    monkeypatch.setattr("cogs._boards.board_picture", broken)
    put_up = partial(boards.put_up, world.client, HOME, 1)
    watch(world, boards, put_up, changes(world, "two"), 130.0)
    # Put up with its words alone; the drawing is not tried at each look.
    assert (list(world.texts.values()), len(tried)) == (["two"], 1)
    watch(world, boards, 1400.0)
    assert (days.hung[-1][1], len(tried)) == (["drawn"], 3)


def test_a_picture_that_did_not_arrive_is_sent_again_within_minutes(world: World) -> None:
    days = Days(world)
    boards = days.boards()

    def cut(is_cut: bool) -> Callable[[], None]:
        def change() -> None:
            days.answers, world.fault = 4, http_error(503) if is_cut else None

        return change

    put_up = partial(boards.put_up, world.client, HOME, 1)
    watch(world, boards, put_up, 550.0, cut(True), 400.0, cut(False), 130.0)
    assert days.hung[-1][1] == ["4 answers"]


def test_after_a_start_a_picture_of_before_is_replaced_or_goes(world: World) -> None:
    days = Days(world)
    boards = days.boards()
    watch(world, boards, lambda: boards.put_up(world.client, HOME, 1), 5.0)
    days.may_attach = False
    watch(world, days.boards(), 5.0)
    assert [len(said) for _, said in days.hung] == [1, 0]
