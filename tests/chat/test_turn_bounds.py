"""A turn held to its exact bounds: what is noted when, said once, and written in the log."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from privacy_world import HOST, MODEL, HomeEar, Luck, World, world
from structlog.testing import capture_logs

from bot.chat import turns as turns_module
from bot.chat.choices import Choices, Resolved
from bot.chat.draft import Draft
from bot.chat.planning import Job
from bot.chat.standing import private_words
from bot.domain.chat import Candidate, Place, Receipt, Seam, Turn, TurnRequest, Usage
from bot.domain.errors import BotError, Bug, RequestRefused, StoreUnavailable
from bot.domain.events import (
    Failed,
    Finished,
    Notice,
    ReasoningDelta,
    Routed,
    Started,
    StreamEnd,
    TextDelta,
    TurnEvent,
)
from bot.domain.ids import HostName, PlaceId, TurnId, UserId
from bot.policy.context import GREET_TEXT

ADA, BOB = UserId("ada"), UserId("bob")
HALL = Place(PlaceId("hall"))


def asked(text: str = "hello", user: UserId = ADA) -> TurnRequest:
    return TurnRequest(user, str(user), HALL, text)


async def played(
    home: World, request: TurnRequest, straight: list[TurnEvent] | None = None
) -> list[TurnEvent]:
    take = None if straight is None else straight.extend
    async with home.turns.open(request, take) as events:
        return [event async for event in events]


def notices(events: Sequence[TurnEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, Notice)]


class Clock:
    """The time of a loop, which stands still until it is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        # A power of two, so that all sums below are exact.
        self._base, self.after_s = 2.0 ** int(loop.time()).bit_length(), 0.0
        monkeypatch.setattr(loop, "time", lambda: self._base + self.after_s)


WORDS = ((0.25, "a"), (0.75, "b"), (1.0, "c"), (1.5, "d"), (2.0, "e"), (2.25, "f"), (3.5, "g"))


@pytest.mark.parametrize("goes_straight", [False, True])
async def test_the_text_so_far_is_noted_a_second_after_it_last_was_and_no_sooner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, goes_straight: bool
) -> None:
    clock = Clock(monkeypatch)

    class Speaking(HomeEar):
        async def serve(
            self, host: HostName, candidate: Candidate, job: Job, draft: Draft, **_: object
        ) -> None:
            draft.granted(candidate)
            draft.so_far = replace(draft.so_far, seams=(Seam(HOST, "", 1),))
            await draft.hear(ReasoningDelta("Hm."))
            for after_s, word in WORDS:
                clock.after_s = after_s
                if not (goes_straight and draft.take([TextDelta(word)])):
                    await draft.hear(TextDelta(word))
                # What is to be noted behind the callback is, and whoever reads waits again.
                for _tick in range(5):
                    await asyncio.sleep(0)

    async with world(tmp_path, "prefer_local", is_slow=False, home_ear=Speaking) as home:
        noted = list[tuple[str, str, int]]()

        def note(turn: TurnId, reply_text: str, reasoning_text: str, who: Receipt) -> None:
            noted.append((reply_text, reasoning_text, len(who.seams)))

        monkeypatch.setattr(home.store, "checkpoint", note)
        went = list[TurnEvent]()
        await played(home, asked(), went if goes_straight else None)
    assert noted == [(text, "Hm.", 1) for text in ("abc", "abcde", "abcdefg")]
    assert len(went) == (len(WORDS) - 1 if goes_straight else 0)


@pytest.mark.parametrize("has_receipt", [True, False])
async def test_of_an_answer_that_is_gone_on_with_the_whole_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, has_receipt: bool
) -> None:
    parts, prompts = iter(("One two", "three.")), iter((10, 7))

    class Thinking(HomeEar):
        async def serve(
            self, host: HostName, candidate: Candidate, job: Job, draft: Draft, **_: object
        ) -> None:
            draft.granted(candidate)
            await draft.hear(ReasoningDelta(f"Thought {len(job.messages)}."))
            await draft.hear(TextDelta(next(parts)))
            await draft.hear(StreamEnd("length", Usage(next(prompts), 5), candidate.model))

    monkeypatch.setattr(turns_module, "CHECKPOINT_S", 0.0)
    async with world(tmp_path, "prefer_local", is_slow=False, home_ear=Thinking) as home:
        noted = list[tuple[str, str, Receipt]]()

        def note(turn: TurnId, *what: *tuple[str, str, Receipt]) -> None:
            noted.append(what)

        monkeypatch.setattr(home.store, "checkpoint", note)
        first = (await played(home, asked()))[-1]
        assert isinstance(first, Finished)
        assert noted.pop()[2].before == ()
        before = await home.store.get(first.turn)
        assert before is not None
        before = before if has_receipt else replace(before, receipt=None)

        async def get(turn: TurnId) -> Turn:
            return before

        monkeypatch.setattr(home.store, "get", get)
        more = replace(asked(""), parent=first.turn, kind="continue")
        last = (await played(home, more))[-1]
        assert isinstance(last, Finished)
        text, thought, who = noted[-1]
        monkeypatch.undo()
        stored = await home.store.get(first.turn)
    assert stored is not None
    assert stored.receipt is not None
    assert (text, stored.reply_text) == ("One two three.",) * 2
    assert (thought, stored.reasoning_text) == ("Thought 2.\n\nThought 4.",) * 2
    # Ten tokens of the first part, and none are counted yet of what is under way.
    assert who.usage.prompt_tokens == 10 * has_receipt
    assert stored.receipt.usage.prompt_tokens == 7 + 10 * has_receipt


async def test_an_answer_that_is_still_written_or_stands_no_more_is_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        home.ears.reply = "All is well."
        ends, more = list[TurnEvent](), asked("")
        async with home.turns.open(asked()) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    (turn,) = home.turns.running()
                    more = replace(asked(""), parent=turn, kind="continue")
                    ends += await played(home, more)

        async def resume(turn: TurnId, question: str | None = None) -> bool:
            return False

        monkeypatch.setattr(home.store, "resume", resume)
        ends += await played(home, more)
    told = [end.error.user_message for end in ends if isinstance(end, Failed)]
    assert len(told) == len(ends)
    assert told == [
        "That answer is still being written.",
        "That answer cannot be gone on with any more.",
    ]


# --- what is said once ---------------------------------------------------------------------------


async def test_that_earlier_words_are_private_is_told_once_in_a_conversation(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        home.ears.reply = "All is well."
        await home.privacy.mark("user", ADA, local_only=True)
        told = [notices(await played(home, asked("a secret")))]
        last: TurnEvent | None = None
        for _ in range(3):
            events = await played(home, asked("and now?", BOB))
            told.append(notices(events))
            last = events[-1]
        assert isinstance(last, Finished)
        # Gone on with, it is told by itself what it was told.
        more = replace(asked("", BOB), parent=last.turn, kind="continue")
        told.append(notices(await played(home, more)))
    why = (
        "the author of an earlier message keeps their words here; `/reset` begins afresh without it"
    )
    assert told == [[], [private_words(why)], [], [], []]


async def test_that_a_persona_is_gone_is_told_once_in_a_conversation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve, gone = Choices.resolve, "sage is gone, so default answers"

    async def resolved(choices: Choices, *of: Any, **more: Any) -> Resolved:
        found = await resolve(choices, *of, **more)
        return replace(found, is_substitute=True, persona_reason=gone)

    monkeypatch.setattr(Choices, "resolve", resolved)
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        home.ears.reply = "All is well."
        # A greeting tells it as well.
        texts = (GREET_TEXT, "hello", "and now?")
        told = [notices(await played(home, asked(text))) for text in texts]
    assert told == [[f"The persona {gone}. `/persona` chooses anew."], [], []]


# --- what stops it -------------------------------------------------------------------------------


async def test_a_press_while_its_end_is_stored_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        finish = home.store.finish

        async def stopped(turn: TurnId, *end: Any) -> None:
            assert home.turns.stop_turn(turn)
            await finish(turn, *end)

        monkeypatch.setattr(home.store, "finish", stopped)
        last = (await played(home, asked()))[-1]
    assert isinstance(last, Finished)


async def test_a_deadline_of_nobodys_is_a_fault_of_ours(tmp_path: Path) -> None:
    class Late(HomeEar):
        async def answer(self, job: Job) -> tuple[Any, str]:
            raise TimeoutError

    async with world(tmp_path, "prefer_local", is_slow=False, home_ear=Late) as home:
        last = (await played(home, asked()))[-1]
        assert isinstance(last, Failed)
        assert last.turn is not None
        stored = await home.store.get(last.turn)
    assert isinstance(last.error, Bug)
    assert stored is not None
    assert stored.status == "failed"


@pytest.mark.parametrize(("until", "status"), [(Started, "failed"), (TextDelta, "partial")])
async def test_what_its_reader_leaves_is_cancelled_and_keeps_what_was_said(
    tmp_path: Path, until: type[TurnEvent], status: str
) -> None:
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        home.ears.reply = "Half"
        async with home.turns.open(asked()) as events:
            async for event in events:
                if isinstance(event, until):
                    break
            (turn,) = home.turns.running()
        stored = await home.store.get(turn)
    assert stored is not None
    assert stored.receipt is not None
    assert (stored.status, stored.receipt.finish) == (status, "cancelled")


async def test_a_question_that_was_stored_is_not_said_to_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    later, timers = loop.call_later, list[asyncio.TimerHandle]()

    def noted(delay: float, *what: Any, **more: Any) -> asyncio.TimerHandle:
        timer = later(delay, *what, **more)
        timers.extend([timer] if delay == turns_module.SLOW_STORE_S else [])
        return timer

    monkeypatch.setattr(loop, "call_later", noted)
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        assert notices(await played(home, asked())) == []
    assert [timer.cancelled() for timer in timers] == [True]


async def test_a_question_that_could_not_be_stored_has_failed_though_its_end_could(
    tmp_path: Path,
) -> None:
    def fail(_: TurnId) -> None:
        raise StoreUnavailable("The database is locked.")

    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        home.store.on_begin = fail
        (last,) = await played(home, asked())
    assert isinstance(last, Failed)
    assert (last.turn, last.error.user_message) == (None, "The database is locked.")


async def test_with_the_next_question_ends_are_stored_that_could_not_be(tmp_path: Path) -> None:
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        last: TurnEvent | None = None
        async with home.turns.open(asked()) as events:
            async for event in events:
                home.store.is_disk_full = True
                last = event
        home.store.is_disk_full = False
        assert isinstance(last, Failed)
        assert last.turn is not None
        await played(home, asked("and now?"))
        stored = await home.store.get(last.turn)
    assert stored is not None
    assert stored.status == "done"


# --- the log -------------------------------------------------------------------------------------


async def test_every_line_of_a_turn_can_be_told_by_its_id(tmp_path: Path) -> None:
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        bound = list[object]()
        home.store.on_begin = lambda turn: bound.append(
            structlog.contextvars.get_contextvars().get("turn_id") == turn
        )
        await played(home, asked())
    assert bound == [True]


async def test_the_line_of_an_answer_tells_where_it_came_from_and_how_long_it_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)

    class Timed(HomeEar):
        async def serve(
            self, host: HostName, candidate: Candidate, job: Job, draft: Draft, **_: object
        ) -> None:
            draft.granted(candidate, 1.00049, 2.0)
            draft.sent()
            clock.after_s = 0.25
            await draft.hear(TextDelta("Hello."))
            clock.after_s = 0.50049

    async with world(tmp_path, "prefer_local", is_slow=False, home_ear=Timed) as home:
        with capture_logs() as lines:
            last = (await played(home, asked()))[-1]
        (line,) = [line for line in lines if line["event"] == "turn finished"]
        assert isinstance(last, Finished)
        (here,) = [c for c in last.receipt.route.candidates if c.host == HOST]
        assert here.seconds is not None
        assert round(here.seconds, 3) != here.seconds
        assert (line["where"], line["model"], line["status"]) == (HOST, MODEL, "done")
        assert line["predicted_s"] == round(here.seconds, 3)
        assert (line["waited_s"], line["total_s"]) == (3.25, 0.5)
        # Of one that nobody answered there is neither.
        home.ears.at_home = home.ears.away = "down"
        with capture_logs() as lines:
            await played(home, asked("and now?"))
        (line,) = [line for line in lines if line["event"] == "turn finished"]
    assert (line["where"], line["predicted_s"], line["waited_s"]) == (None, None, None)


@pytest.mark.parametrize(
    ("fate", "at_home", "level", "status", "reason"),
    [
        ("stopped", "fine", "info", "partial", None),
        ("ended", "fine", "warning", "partial", "Gone."),
        ("broken", "breaks", "warning", "partial", "studio broke off."),
        ("nobody", "down", "warning", "failed", "zai (glm): "),
        ("full", "fine", "error", "failed", "The disk is full."),
    ],
)
async def test_the_line_of_a_turn_says_why_it_ended_unless_its_asker_wished_it(
    tmp_path: Path, fate: str, at_home: Luck, level: str, status: str, reason: str | None
) -> None:
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        home.ears.reply, home.ears.away = "Half", "fails"
        home.ears.at_home = at_home
        with capture_logs() as lines:
            async with home.turns.open(asked()) as events:
                async for event in events:
                    if not isinstance(event, TextDelta):
                        continue
                    home.store.is_disk_full = fate == "full"
                    if fate == "stopped":
                        home.turns.stop(HALL.conversation)
                    elif fate == "ended":
                        await home.turns.end(home.turns.running(), "Gone.", by_asker=False)
    (line,) = [line for line in lines if line["event"] == "turn finished"]
    assert (line["log_level"], line["status"]) == (level, status)
    assert str(line.get("reason")).startswith(str(reason))


@pytest.mark.parametrize("is_wanted", [True, False])
async def test_a_route_is_logged_for_whoever_looks_closely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_wanted: bool
) -> None:
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        level = logging.DEBUG if is_wanted else logging.INFO
        monkeypatch.setattr(logging.getLogger("bot.chat.turns"), "level", level)
        monkeypatch.setattr(logging.getLogger("bot.chat.turns"), "_cache", {})
        with capture_logs() as lines:
            events = await played(home, asked())
    last = events[-1]
    assert isinstance(last, Finished)
    assert last.receipt.route in [e.route for e in events if isinstance(e, Routed)]
    routes = [line for line in lines if line["event"] == "route chosen"]
    assert [len(line["candidates"]) for line in routes] == [
        len(last.receipt.route.candidates)
    ] * is_wanted


async def test_the_line_of_a_model_that_only_thought_says_so(tmp_path: Path) -> None:
    class Thinking(HomeEar):
        async def answer(self, job: Job) -> tuple[Any, str]:
            raise BotError("It thought to the end.")

    async with world(tmp_path, "prefer_local", is_slow=False, home_ear=Thinking) as home:
        with capture_logs() as lines:
            await played(home, asked())
    (line,) = [line for line in lines if line["event"] == "turn finished"]
    assert (line["log_level"], line["reason"]) == ("warning", "It thought to the end.")


async def test_what_was_refused_before_it_was_stored_is_logged(tmp_path: Path) -> None:
    async with world(tmp_path, "prefer_local", is_slow=False) as home:
        with capture_logs() as lines:
            (last,) = await played(home, asked(" "))
    assert isinstance(last, Failed)
    assert isinstance(last.error, RequestRefused)
    assert last.turn is None
    (line,) = [line for line in lines if line["event"] == "turn finished"]
    assert (line["status"], line["kind"]) == ("failed", "RequestRefused")
