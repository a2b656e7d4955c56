"""A turn at its edges: stopped before it began, slow to be stored, long, private at last."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from privacy_world import Luck, World, world
from structlog.testing import capture_logs

from bot.chat import turns as turns_module
from bot.chat.standing import private_words
from bot.chat.words import progress_line
from bot.domain.chat import Attachment, Candidate, Place, Quote, Turn, TurnRequest
from bot.domain.errors import NotPermitted
from bot.domain.events import (
    Failed,
    Finished,
    Notice,
    Offered,
    Queued,
    Started,
    Stopped,
    TextDelta,
    TurnEvent,
)
from bot.domain.ids import HostName, ModelKey, PersonaName, PlaceId, TurnId, UserId
from bot.policy.context import most_bytes
from bot.store.questions import QuestionStore

HALL = Place(PlaceId("hall"))
ADA = UserId("ada")


def asked(text: str = "hello", parent: TurnId | None = None) -> TurnRequest:
    return TurnRequest(ADA, "Ada", HALL, text, parent=parent)


async def played(home: World, request: TurnRequest) -> list[TurnEvent]:
    async with home.turns.open(request) as events:
        return [event async for event in events]


async def test_a_turn_stopped_before_it_began_asks_no_host(tmp_path: Path) -> None:
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        home.store.on_begin = home.turns.stop_turn
        (last,) = await played(home, asked())
        assert isinstance(last, Stopped)
        assert last.by_asker
        assert last.receipt.finish == "cancelled"
        assert home.ears.read_at_home == []
        stored = await home.turns.store.get(last.turn)
    assert stored is not None
    assert (stored.status, stored.reply_text) == ("partial", "")


async def test_a_drain_stops_a_turn_that_has_not_begun(tmp_path: Path) -> None:
    async with world(tmp_path, "prefer_local", is_slow=False) as home:

        def restart(_: TurnId) -> None:
            (turn,) = home.turns.running(HALL.conversation)
            assert home.turns.asker(turn) == ADA
            home.turns._running[turn].stop("restart", by_asker=False)  # pyright: ignore[reportPrivateUsage]  # what a drain does when its time is over

            # A second stop, by whomever, changes nothing of how it ends.
            assert home.turns.stop_turn(turn)

        home.store.on_begin = restart
        (last,) = await played(home, asked())
    assert isinstance(last, Stopped)
    assert (last.by_asker, last.reason, last.receipt.finish) == (False, "restart", "error")


@pytest.mark.parametrize(
    ("press", "user", "where", "stopped"),
    [
        ("Stop", None, HALL.conversation, True),
        ("Cancel", None, HALL.conversation, True),
        ("/stop", None, HALL.conversation, True),
        ("/stop", ADA, HALL.conversation, True),
        ("/stop", UserId("bob"), HALL.conversation, False),
        ("/stop", None, PlaceId("elsewhere"), False),
    ],
)
async def test_who_stopped_a_turn_and_how_is_kept_and_nobody_stops_anothers_by_theirs(
    tmp_path: Path, press: str, user: UserId | None, where: PlaceId, *, stopped: bool
) -> None:
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        found: list[int] = []

        def stop(turn: TurnId) -> None:
            match press:
                case "/stop":
                    found.append(home.turns.stop(where, user))
                case "Cancel":
                    found.append(home.turns.stop_turn(turn, cancels_load=True))
                case _:
                    found.append(home.turns.stop_turn(turn))

        home.store.on_begin = stop
        last = (await played(home, asked()))[-1]
    assert found == [stopped]
    assert isinstance(last, Stopped if stopped else Finished)
    assert last.receipt is not None
    assert [told.split()[0] for told in last.receipt.presses] == [press] * stopped


async def test_a_way_that_was_taken_is_kept_and_cannot_be_taken_twice(tmp_path: Path) -> None:
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        found: list[bool] = []

        def choose(turn: TurnId) -> None:
            here = Candidate(ModelKey("m"), HostName("studio"))
            running = home.turns._running[turn]  # pyright: ignore[reportPrivateUsage]  # as `_offered` does
            running.override.offer = Offered(turn, here=here, warm=None, cloud=None)
            found.extend(home.turns.choose(turn, way) for way in ("cloud", "wait", "wait"))

        home.store.on_begin = choose
        last = (await played(home, asked()))[-1]
    assert found == [False, True, False]
    assert isinstance(last, Finished)
    assert [told.split()[0] for told in last.receipt.presses] == ["Wait"]


async def test_a_reply_that_is_gone_cannot_be_redone(tmp_path: Path) -> None:
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        (last,) = await played(home, replace(asked("", TurnId("gone")), kind="retry"))
    assert isinstance(last, Failed)
    assert isinstance(last.error, NotPermitted)
    assert "not stored any more" in last.error.user_message


async def test_a_question_is_redone_with_all_it_took_along(tmp_path: Path) -> None:
    note = Attachment("note.txt", "text/plain", "Ships sail at night.")
    quote = Quote("So it is.", ADA, "Ada", HALL, 1)
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        question = replace(asked("Why?"), attachments=(note,), quotes=(quote,))
        first = (await played(home, question))[-1]
        assert isinstance(first, Finished)
        press = replace(asked("", first.turn), user=UserId("bob"), user_name="Bob", kind="retry")
        again = (await played(home, press))[-1]
        assert isinstance(again, Finished)
        redone = await home.turns.store.get(again.turn)
    assert redone is not None
    assert (redone.user, redone.user_name, redone.user_text) == (ADA, "Ada", "Why?")
    assert (redone.attachments, redone.quotes) == ((note,), (quote,))


@pytest.mark.parametrize(("limit_s", "end"), [(0.0, Stopped), (30.0, Finished)])
async def test_a_drain_is_over_when_the_last_turn_is_which_it_stops_at_its_limit(
    tmp_path: Path, limit_s: float, end: type[TurnEvent]
) -> None:
    async with world(tmp_path, "prefer_local", is_slow=False) as home, asyncio.TaskGroup() as tasks:
        left: list[tuple[TurnId, ...]] = []

        async def drain() -> None:
            await home.turns.drain(limit_s)
            left.append(home.turns.running())

        home.store.on_begin = lambda _: tasks.create_task(drain())
        last = (await played(home, asked()))[-1]
    assert isinstance(last, end)
    if isinstance(last, Stopped):
        assert (last.reason, last.by_asker) == (turns_module.RESTARTING, False)
    assert left == [()]


@pytest.mark.parametrize("by_asker", [True, False])
async def test_whoever_ends_turns_waits_until_their_ends_are_stored(
    tmp_path: Path, *, by_asker: bool
) -> None:
    async with world(tmp_path, "prefer_local", is_slow=False) as home, asyncio.TaskGroup() as tasks:
        ended: list[str] = []

        async def end(turn: TurnId) -> None:
            who = {} if by_asker else {"by_asker": False}
            await home.turns.end((turn, TurnId("gone")), "Why.", **who)
            stored = await home.turns.store.get(turn)
            ended.append("" if stored is None else stored.status)

        home.store.on_begin = lambda turn: tasks.create_task(end(turn))
        last = (await played(home, asked()))[-1]
    assert isinstance(last, Stopped)
    assert (last.reason, last.by_asker, ended) == ("Why.", by_asker, ["partial"])
    assert last.receipt.presses == ()


async def test_of_a_turn_that_does_not_run_there_is_nothing_to_stop_choose_or_know(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        gone = TurnId("gone")
        assert not home.turns.stop_turn(gone)
        assert not home.turns.choose(gone, "cloud")
        assert home.turns.asker(gone) is None
        assert home.turns.author(gone) is None
        with capture_logs() as logs:
            await home.turns.drain(1.0)
        assert logs == [], "nobody is waited for"


async def test_once_the_first_word_was_said_there_is_nothing_to_choose(tmp_path: Path) -> None:
    async with world(tmp_path, "prefer_local", is_slow=True) as home:
        home.ears.reply = "All is well."
        ways: list[bool] = []
        last: TurnEvent | None = None
        async with home.turns.open(asked()) as events:
            async for event in events:
                match event:
                    case Started(turn=turn):
                        ways.append(home.turns.choose(turn, "cloud"))
                    case TextDelta():
                        (turn,) = home.turns.running(HALL.conversation)
                        ways.append(home.turns.choose(turn, "cloud"))
                    case _:
                        last = event
        assert isinstance(last, Finished)
        assert ways == [False, False]
        assert home.ears.sent_away == []


@pytest.mark.parametrize(("every_s", "kept"), [(0.0, ["All is well."]), (3600.0, [])])
async def test_the_text_so_far_is_stored_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every_s: float, kept: list[str]
) -> None:
    monkeypatch.setattr(turns_module, "CHECKPOINT_S", every_s)
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        home.ears.reply = "All is well."
        last = (await played(home, asked()))[-1]
    assert isinstance(last, Finished)
    assert home.store.kept == kept


async def test_after_a_kill_an_answer_from_afar_is_still_known_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns_module, "CHECKPOINT_S", 0.0)
    async with world(tmp_path, "prefer_cloud", is_slow=False) as home:
        home.store.is_killed = True
        await played(home, asked())
        await home.store.database.noted()
        (closed,) = await home.store.close_running()
    assert closed.reply_text == "An answer from afar."
    assert closed.receipt is not None
    assert closed.receipt.provider == "zai"


async def test_an_answer_that_was_shown_stays_answered_however_slow_the_disk_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns_module, "CLOSE_S", 0.0)
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        home.ears.reply = "All is well."
        home.store.is_stuck = True
        last = (await played(home, asked()))[-1]
        assert isinstance(last, Finished)
        assert last.receipt.host == "studio"
        assert home.turns.running(HALL.conversation) == ()


async def test_what_was_made_private_while_it_waited_is_not_sent(tmp_path: Path) -> None:
    async with world(tmp_path, "prefer_cloud", is_slow=False) as home:
        home.ears.at_home = "down"
        told: list[TurnEvent] = []
        async with home.turns.open(asked()) as events:
            async for event in events:
                if isinstance(event, Started):
                    await home.privacy.mark("place", HALL.channel, local_only=True)
                told.append(event)
        last = told[-1]
        assert isinstance(last, Failed)
        assert home.ears.sent_away == []
        # What was nearly sent never leaves later, either.
        await home.privacy.mark("place", HALL.channel, local_only=False)
        assert last.turn is not None
        again = TurnRequest(ADA, "Ada", HALL, "", parent=last.turn, kind="retry")
        await played(home, again)
    assert home.ears.sent_away == []


async def test_of_two_questions_in_one_moment_neither_is_lost(tmp_path: Path) -> None:
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        async with asyncio.TaskGroup() as tasks:
            for number in range(6):
                user = UserId(f"person{number}")
                request = TurnRequest(user, str(user), HALL, f"question {number}.")
                tasks.create_task(played(home, request))
        await played(home, asked("and now?"))
    transcript = home.ears.read_at_home[-1]
    places = [transcript.index(f"question {number}.") for number in range(6)]
    assert places == sorted(places)


async def test_a_second_question_waits_for_the_answer_to_the_first(tmp_path: Path) -> None:
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        home.ears.reply = "First answer."
        async with home.turns.open(asked("one")) as first:
            await anext(first)
            async with home.turns.open(asked("two")) as second:
                # The second is stored, and waits, before the first may go on.
                await anext(second)
                assert [event async for event in first]
                assert [event async for event in second]
    assert "First answer." in home.ears.read_at_home[1]


async def test_of_two_questions_asked_at_once_the_second_reads_the_first_ones_answer(
    tmp_path: Path,
) -> None:
    """The first may end between the second's look at the branch and its look at what runs."""
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        home.ears.reply = "First answer."
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(played(home, asked("one")))
            tasks.create_task(played(home, asked("two")))
    assert "First answer." in home.ears.read_at_home[1]


async def test_what_waits_for_an_earlier_answer_can_be_stopped(tmp_path: Path) -> None:
    async with (
        world(tmp_path, "prefer_local", is_slow=False) as home,
        home.turns.open(asked("one")) as first,
    ):
        await anext(first)
        async with home.turns.open(asked("two")) as second:
            await anext(second)
            assert home.turns.stop(HALL.conversation, ADA) == 2
            events = [event async for event in second]
        assert isinstance(events[-1], Stopped)
    assert home.ears.read_at_home == []


async def test_what_a_model_declined_is_left_out_of_what_comes_next(tmp_path: Path) -> None:
    async with world(tmp_path, "prefer_cloud", is_slow=False) as home:
        home.ears.away = "refuses"
        last = (await played(home, asked("something awful")))[-1]
        assert isinstance(last, Failed)
        assert last.receipt is not None
        assert last.receipt.finish == "refused"
        home.ears.away = "fine"
        await played(home, asked("something nice"))
    assert "awful" not in home.ears.sent_away[-1]


async def test_a_question_that_cannot_be_stored_leaves_its_reason_in_the_log(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        home.store.is_disk_full = True
        with capture_logs() as lines:
            (last,) = await played(home, asked("my secret"))
    assert isinstance(last, Failed)
    assert last.turn is None
    (line,) = [line for line in lines if line["event"] == "turn finished"]
    assert (line["log_level"], line["kind"]) == ("error", "StoreUnavailable")
    assert line["reason"] == "The disk is full."
    assert "secret" not in str(lines)


async def test_an_end_that_could_not_be_stored_is_stored_as_soon_as_there_is_room(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        home.ears.reply = "All is well."
        told: list[TurnEvent] = []
        async with home.turns.open(asked()) as events:
            async for event in events:
                home.store.is_disk_full = True
                told.append(event)
        last = told[-1]
        assert isinstance(last, Failed)
        assert last.turn is not None
        await home.turns.catch_up()
        stored = await home.turns.store.get(last.turn)
        assert stored is not None
        assert stored.status == "running"
        home.store.is_disk_full = False
        with capture_logs() as logs:
            for _ in range(2):
                await home.turns.catch_up()
        assert [log["event"] for log in logs] == ["turn's end stored late"]
        stored = await home.turns.store.get(last.turn)
        assert stored is not None
        assert (stored.status, stored.reply_text) == ("done", "All is well.")
        # Its line was once lost for want of a disk, and a report said less than was answered.
        rows = await home.store.database.fetch("SELECT turn FROM ledger")
        assert [row["turn"] for row in rows] == [last.turn]
        await played(home, asked("and now?"))
    assert "All is well." in home.ears.read_at_home[-1]


async def test_which_turn_answers_a_question_is_stored_before_anything_is_told(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        questions = QuestionStore(home.store.database)
        await questions.hear("41", "7", None)
        async with home.turns.open(replace(asked(), question="41")) as events:
            async for event in events:
                if isinstance(event, Started):
                    assert await home.store.asked_by("41") == event.turn
                    return
    pytest.fail("nothing was told")


async def test_who_waits_for_a_locked_database_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns_module, "SLOW_STORE_S", 0.0)
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        home.store.is_locked = asyncio.Event()
        told: list[TurnEvent] = []
        async with home.turns.open(asked()) as events:
            async for event in events:
                home.store.is_locked.set()
                told.append(event)
    assert told[0] == Notice("The database is busy; this waits for it.", is_passing=True)
    last = told[-1]
    assert isinstance(last, Finished)
    # It had recovered when this was read.
    assert last.receipt.notices == ()


@pytest.mark.parametrize(
    ("at_home", "away", "level", "kind"),
    [
        ("down", "fails", "warning", "NoCandidates"),
        ("breaks", "fails", "warning", None),
        ("down", "refuses", "info", "Refused"),
    ],
)
async def test_the_log_says_why_a_turn_failed_by_whose_fault(
    tmp_path: Path, at_home: Luck, away: Luck, level: str, kind: str | None
) -> None:
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        home.ears.at_home, home.ears.away, home.ears.reply = at_home, away, "Half"
        with capture_logs() as lines:
            await played(home, asked("my secret"))
    (line,) = [line for line in lines if line["event"] == "turn finished"]
    assert (line["log_level"], line.get("kind")) == (level, kind)
    assert ("reason" in line) is (level != "info")
    assert "secret" not in str(lines)


async def grown(home: World, count: int, text: str) -> None:
    """A conversation of so many turns, the question and the reply each of this text."""
    parent: TurnId | None = None
    for number in range(count):
        turn = TurnId(f"old{number}")
        await home.store.begin(
            Turn(
                id=turn,
                parent=parent,
                user=ADA,
                user_name="Ada",
                place=HALL,
                persona=PersonaName("default"),
                user_text=f"{number} {text}",
                reply_text=text,
                reasoning_text="",
                status="done",
                created_at_ms=number,
            )
        )
        parent = turn


async def test_of_a_long_conversation_no_more_is_read_than_can_fit(tmp_path: Path) -> None:
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        await grown(home, 60, "word " * 1000)
        last = (await played(home, asked("and now?")))[-1]
        assert isinstance(last, Finished)
    (read,) = home.store.read
    assert read == -(-most_bytes(32_768) // 10_002)
    (sent,) = home.ears.read_at_home
    assert "59 word" in sent
    assert f"{60 - read} word" not in sent


@pytest.mark.parametrize("whose", ["own", "replied to", "opened a thread on"])
async def test_who_waits_for_an_answer_under_way_is_told_so(tmp_path: Path, whose: str) -> None:
    async with (
        world(tmp_path, "prefer_local", is_slow=False) as home,
        home.turns.open(asked("one")) as first,
    ):
        home.ears.reply = "the whole answer"
        begun = await anext(first)
        assert isinstance(begun, Started)
        later = asked("two")
        if whose != "own":
            later = replace(later, user=UserId("bob"))
        if whose == "replied to":
            later = replace(later, parent=begun.turn)
        elif whose == "opened a thread on":
            place = replace(HALL, thread=PlaceId("thread"))
            later = replace(later, place=place, opened_on=begun.turn)
        async with home.turns.open(later) as second:
            assert isinstance(await anext(second), Started)
            step = await anext(second)
            assert isinstance(step, Queued)
            assert (step.where, step.position) == (None, 1)
            assert progress_line(step) == "⏳ Waiting for the answer that this goes on from"
            assert [event async for event in first]
            assert isinstance([event async for event in second][-1], Finished)
            assert "the whole answer" in home.ears.read_at_home[-1]


async def test_what_an_answer_under_way_was_told_is_not_told_again(tmp_path: Path) -> None:
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        await home.privacy.mark("place", HALL.channel, local_only=True)
        await played(home, asked("a secret"))
        await home.privacy.mark("place", HALL.channel, local_only=False)
        told: list[str] = []
        async with home.turns.open(replace(asked("two"), user=UserId("bob"))) as first:
            async for event in first:
                if isinstance(event, Notice):
                    told.append(event.text)
                    third = await played(home, replace(asked("three"), user=UserId("cara")))
                    assert isinstance(third[-1], Finished)
                    told += [event.text for event in third if isinstance(event, Notice)]
    why = "an earlier message was said in private; `/reset` begins afresh without it"
    assert told == [private_words(why)]
