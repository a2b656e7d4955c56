"""However turns overlap, end and begin again, nothing said is missing from what follows."""

import asyncio
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from histories import plays
from hypothesis import example, given
from hypothesis import strategies as st
from privacy_world import HomeEar, Luck, World, world

from bot.chat.planning import Job
from bot.domain.chat import Place, TurnKind, TurnRequest
from bot.domain.ids import PlaceId, TurnId, UserId
from bot.policy.context import alternating

HALL = Place(PlaceId("hall"))
SPEAKERS = ("ada", "bob", "cy")
BRANCHER = "dee"
"""Only replies to older answers; nobody else does."""

End = Literal["fine", "breaks", "fails", "stopped"]


@dataclass(slots=True)
class Asked:
    """One question as the test knows it."""

    user: str
    """Whose words they are."""
    word: str
    """Nothing for a continuation."""
    kind: TurnKind
    answer: str
    about: "Asked | None"
    """What it redoes, continues or replies to."""
    due: frozenset[str]
    """Answers that were whole when it was asked."""
    beside: "list[Asked]"
    """All that was asked until it was served: until then it may wait, and more be asked again."""
    task: asyncio.Task[None]
    id: TurnId = field(default=TurnId(""))
    served: asyncio.Event = field(default_factory=asyncio.Event)
    end: "asyncio.Future[Luck] | None" = None
    sent: list[str] = field(default_factory=list[str])
    """The words of its transcript, in order."""
    is_shown: bool = False
    """Did any word of its answer come?"""


class GatedEar(HomeEar):
    """A host that answers when, and as, it is told."""

    asked: dict[TurnId, "asyncio.Future[Asked]"]

    def known(self, turn: TurnId) -> "asyncio.Future[Asked]":
        """A turn as the play knows it: it may be served before the play heard of its id."""
        return self.asked.setdefault(turn, asyncio.get_running_loop().create_future())

    async def answer(self, job: Job) -> tuple[Luck, str]:
        asked = await self.known(job.asking.turn)
        messages = alternating(job.messages)
        roles = [message.role for message in messages if message.role != "system"]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
        asked.sent = re.findall(r"[qa]\d+x", "\n".join(message.text for message in messages))
        asked.end = asyncio.get_running_loop().create_future()
        asked.beside = asked.beside.copy()
        asked.served.set()
        return await asked.end, asked.answer


@dataclass(frozen=True, slots=True)
class Step:
    what: Literal["say", "say", "say", "branch", "retry", "continue", "end", "end", "restart"]
    who: str
    which: int
    """Of the turns it may be about, counted from the newest."""
    end: End


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(
            (
                "say",
                "say",
                "say",
                "say",
                "branch",
                "retry",
                "continue",
                "end",
                "end",
                "end",
                "restart",
            )
        ),
        st.sampled_from(SPEAKERS),
        st.integers(0, 3),
        st.sampled_from(("fine", "fine", "fine", "breaks", "fails", "stopped")),
    ),
    min_size=3,
    max_size=14,
)


GONE_ON_WITH = [
    Step("say", "ada", 0, "fine"),
    Step("end", "ada", 0, "fine"),
    Step("continue", "ada", 0, "fine"),
    Step("say", "bob", 0, "fine"),
    Step("branch", "cy", 0, "fine"),
    Step("end", "cy", 0, "fine"),
]
"""Somebody replies to an answer that is gone on with, and waits for that."""
GONE_ON_WITH_BY_ANOTHER = [
    Step("say", "ada", 0, "fine"),
    Step("end", "ada", 0, "breaks"),
    Step("continue", "cy", 0, "fine"),
    Step("say", "ada", 0, "fine"),
    Step("end", "ada", 0, "fine"),
]
"""An asker waits for her own answer, with which somebody else goes on."""
AGAIN_WHILE_WAITING = [
    Step("say", "ada", 0, "fine"),
    Step("end", "ada", 0, "breaks"),
    Step("say", "cy", 0, "fine"),
    Step("say", "cy", 0, "fine"),
    Step("retry", "ada", 0, "fine"),
]
"""Another answer takes the place of an earlier one while somebody waits for his own."""
AGAIN_AND_REPLIED_TO = [
    Step("say", "ada", 0, "fine"),
    Step("end", "ada", 0, "fine"),
    Step("retry", "cy", 0, "fine"),
    Step("say", "cy", 0, "fine"),
    Step("branch", "ada", 0, "fine"),
    Step("retry", "cy", 3, "fine"),
]
"""What is replied to is asked again, and again while the reply waits for it."""
FAILED_AND_AGAIN = [
    Step("say", "cy", 0, "fine"),
    Step("say", "ada", 0, "fine"),
    Step("restart", "ada", 0, "fine"),
    Step("retry", "ada", 1, "fine"),
    Step("end", "ada", 0, "fine"),
    Step("branch", "ada", 0, "fine"),
]
"""A question nobody answered is asked again and answered; then it is replied to."""


class Play:
    """Plays steps and knows by itself what each transcript must hold."""

    def __init__(self, home: World, ear: GatedEar, tasks: asyncio.TaskGroup) -> None:
        self._home, self._ear, self._tasks = home, ear, tasks
        ear.asked = {}
        self._all: list[Asked] = []
        self._count = 0
        self._stored: asyncio.Queue[TurnId] = asyncio.Queue()
        home.store.on_stored = self._stored.put_nowait

    async def step(self, step: Step) -> None:
        ended = [a for a in self._all if a.task.done()]
        shown = [a for a in ended if a.is_shown]
        match step.what:
            case "say":
                await self._ask(step.who, "new", None)
            case "branch" if older := [a for a in ended if self._is_older(a)]:
                await self._ask(BRANCHER, "new", await self._stands(_pick(older, step.which)))
            case "retry" if ended:
                about = _pick(ended, step.which)
                if about.word:
                    await self._ask(step.who, "retry", about)
            case "continue" if still := [a for a in shown if self._is_still(a)]:
                await self._ask(step.who, "continue", _pick(still, step.which))
            case "end":
                await self._end(step)
            case "restart":
                await self._restart()
            case _:
                pass

    async def _stands(self, asked: Asked) -> Asked:
        """What is shown in its place by now, as faces reply to it."""
        answers = await self._home.store.answers(asked.id)
        assert answers is not None
        return next(a for a in self._all if a.id == answers.shown)

    def _is_still(self, asked: Asked) -> bool:
        """Is nobody adding to it?"""
        return all(a.task.done() for a in self._all if a.id == asked.id)

    def _is_older(self, asked: Asked) -> bool:
        """Was something said plainly after it? A reply to the newest is no branch."""
        later = self._all[self._all.index(asked) + 1 :]
        return any(a.kind == "new" and a.user != BRANCHER for a in later)

    async def finish(self) -> None:
        """Ends all, then one more person asks."""
        while not all(asked.task.done() for asked in self._all):
            await self._end(Step("end", "", 0, "fine"))
        await self._ask("ada", "new", None)
        await self._end(Step("end", "", 0, "fine"))

    async def _ask(self, user: str, kind: TurnKind, about: Asked | None) -> None:
        number, self._count = self._count, self._count + 1
        word = {"new": f"q{number}x", "continue": ""}.get(kind)
        if word is None:
            assert about is not None
            word, author = about.word, about.user
        else:
            author = user
        # One's own answers are waited for, so that they are due as well.
        due = {a.answer for a in self._all if a.is_shown}
        text = word if kind == "new" else ""
        parent = None if about is None else about.id
        request = TurnRequest(UserId(user), user, HALL, text, parent=parent, kind=kind)
        if kind == "continue" and about is not None:
            # It runs again as itself.
            del self._ear.asked[about.id]
        task = self._tasks.create_task(self._played(request))
        asked = Asked(author, word, kind, f"a{number}x", about, frozenset(due), self._all, task)
        self._all.append(asked)
        asked.id = await self._stored.get()
        self._ear.known(asked.id).set_result(asked)

    async def _played(self, request: TurnRequest) -> None:
        async with self._home.turns.open(request) as events:
            async for _ in events:
                pass

    async def _end(self, step: Step) -> None:
        running = [asked for asked in self._all if not asked.task.done()]
        if not running:
            return
        asked = _pick(running, step.which)
        if step.end == "stopped" and not asked.served.is_set():
            # Also while it waits for what its asker said before.
            self._home.turns.stop_turn(asked.id)
            await asked.task
            return
        while not asked.served.is_set() and (older := self._older(asked)) is not None:
            asked = older
        async with asyncio.timeout(60):
            await asked.served.wait()
        self._check(asked)
        assert asked.end is not None
        if step.end == "stopped":
            self._home.turns.stop_turn(asked.id)
        else:
            asked.end.set_result(step.end)
            asked.is_shown = step.end != "fails"
        await asked.task

    def _older(self, asked: Asked) -> Asked | None:
        """The first under way of what it waits for: its asker's own before it, what it replies to.

        Whoever goes on with an answer, it stays its asker's, and is the one that is replied to.
        """
        author = {a.id: a.user for a in reversed(self._all)}
        about = None if asked.about is None else asked.about.id
        for a in self._all[: self._all.index(asked)]:
            if not a.task.done() and (author[a.id] == asked.user or a.id == about):
                return a
        return None

    async def _restart(self) -> None:
        self._home.store.is_killed = True
        for asked in self._all:
            asked.task.cancel()
        await asyncio.gather(*(a.task for a in self._all), return_exceptions=True)  # noqa: TID251  # theirs are only cancellations
        self._home.store.is_killed = False
        await self._home.store.close_running()

    def _check(self, asked: Asked) -> None:
        *before, last = [*asked.sent, ""] if not asked.word else asked.sent
        assert last == asked.word
        questions = [word for word in before if word.startswith("q")]
        answers = [word for word in before if word.startswith("a")]
        assert len(set(questions)) == len(questions)
        assert len(set(answers)) == len(answers)
        self._check_answers(asked, before)
        if asked.kind != "new":
            return
        earlier = self._all[: self._all.index(asked)]
        if asked.about is None:
            said = [a for a in earlier if a.kind == "new" and a.user != BRANCHER]
            assert questions == [a.word for a in said]
        else:
            heard = [word for word in asked.about.sent if word.startswith("q")]
            assert set(heard) <= set(questions)
            later = asked.beside[len(earlier) :]
            # Asked again while this waited, another answer took its place.
            if asked.about.is_shown and all(a.word != asked.about.word for a in later):
                assert asked.about.answer in before

    def _check_answers(self, asked: Asked, before: list[str]) -> None:
        by_answer = {a.answer: a for a in self._all}
        own = {a.answer for a in self._all if a.is_shown and a.user == asked.user}
        for place, word in enumerate(before):
            if word.startswith("a"):
                answer = by_answer[word]
                if answer.word:
                    assert before[place - 1] == answer.word
                continue
            # Of what was asked again, one of the answers stands; else the only one.
            of_it = [a for a in asked.beside if a.word == word]
            assert sum(a.answer in before for a in of_it) <= 1
            due = [a.answer for a in of_it if a.answer in asked.due or a.answer in own]
            under_way = any(a.answer not in asked.due and a.kind == "retry" for a in of_it)
            if due and not under_way:
                assert sum(answer in before for answer in due) == 1


def _pick(turns: list[Asked], which: int) -> Asked:
    return turns[-1 - which % len(turns)]


async def played(folder: Path, steps: list[Step]) -> None:
    async with world(folder, "prefer_local", is_slow=False, home_ear=GatedEar) as home:
        home.ears.away = "fails"
        async with asyncio.TaskGroup() as tasks:
            assert isinstance(home.home, GatedEar)
            play = Play(home, home.home, tasks)
            for step in steps:
                await play.step(step)
            await play.finish()


@pytest.mark.slow
@example(GONE_ON_WITH)
@example(GONE_ON_WITH_BY_ANOTHER)
@example(AGAIN_WHILE_WAITING)
@example(AGAIN_AND_REPLIED_TO)
@example(FAILED_AND_AGAIN)
@plays(30)
@given(STEPS)
async def test_no_word_is_lost_however_turns_overlap(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        await played(Path(folder), steps)
