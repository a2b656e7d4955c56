"""What a question goes on from, is asked with, and waits for: all that is looked up before it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import pytest
from stand_ins import checked, double
from virtual_time import play

from bot.chat.beginning import WORDLESS, Beginnings
from bot.chat.choices import Choices, Resolved
from bot.chat.consents import Consents
from bot.chat.draft import Draft
from bot.chat.planning import Asking, Planner
from bot.chat.running import Running
from bot.chat.taken_back import TakenBack
from bot.domain.chat import (
    Attachment,
    Message,
    Place,
    Quote,
    Receipt,
    Turn,
    TurnKind,
    TurnRequest,
)
from bot.domain.errors import NotPermitted, RequestRefused, UnknownName
from bot.domain.events import Queued, TurnEvent
from bot.domain.ids import ModelKey, PersonaName, PlaceId, TurnId, UserId
from bot.domain.personas import Persona
from bot.policy.context import CONTINUE_TEXT, most_bytes
from bot.policy.privacy import CloudConsent, Consent, LocalOnly
from bot.store.database import Database
from bot.store.people import Fact, PeopleStore
from bot.store.turns import TurnStore

T = TypeVar("T")

ADA, BOB = UserId("ada"), UserId("bob")
HALL, CELLAR = Place(PlaceId("hall")), Place(PlaceId("cellar"))
SAGE, PIRATE = PersonaName("sage"), PersonaName("pirate")
QWEN = ModelKey("qwen")
RESOLVED = Resolved(Persona(SAGE), "by default", QWEN, "by default", False)
HERE = TurnId("here")
"""The turn that begins."""
NOW_MS = 1_000_000
WINDOW = 5000
NOTE = Attachment("note.txt", "text/plain", "Ships sail at night.")
QUOTE = Quote("So it is.", BOB, "Bob", HALL, 1)
STAYS, LEAVES = LocalOnly("it stays here"), double(CloudConsent)


def asked(text: str = "Why?", user: UserId = ADA, **more: Any) -> TurnRequest:
    return TurnRequest(user, str(user), HALL, text, **more)


def said(name: str, parent: str = "", user: UserId = ADA, **more: Any) -> Turn:
    turn = Turn(
        id=TurnId(name),
        parent=TurnId(parent) if parent else None,
        user=user,
        user_name=str(user),
        place=HALL,
        persona=PIRATE,
        user_text=f"What of {name}?",
        reply_text=f"So much of {name}.",
        reasoning_text="",
        status="done",
        created_at_ms=NOW_MS,
    )
    return replace(turn, **more)


@dataclass
class Stage:
    """What is stored, what runs, and what may leave; and what was asked of everybody."""

    stored: Sequence[Turn] = ()
    newest: Sequence[Turn] = ()
    """What a plain message goes on from."""
    running: dict[TurnId, Running] = field(default_factory=dict[TurnId, Running])
    private: Sequence[str] = ()
    """Of the facts, those that would keep a talk here."""
    is_private: bool = False
    """The talk stays here anyway."""
    has_cloud: bool = True
    did: list[str] = field(default_factory=list[str])
    """Who let the question pass, in turn."""

    def __post_init__(self) -> None:
        self.store, self.choices, self.planner = (
            checked(TurnStore),
            checked(Choices),
            double(Planner),
        )
        self.store.database = checked(Database)
        self.store.database.now_ms.return_value = NOW_MS
        self.store.database.erasures = 0
        turns = {turn.id: turn for turn in self.stored}
        self.store.get.side_effect = turns.get

        def branch(turn: TurnId | None, **_: object) -> tuple[Turn, ...]:
            line: list[Turn] = []
            while turn is not None:
                line.insert(0, turns[turn])
                turn = turns[turn].parent
            return tuple(line)

        self.store.branch.side_effect = branch
        self.store.newest_branch.return_value = tuple(self.newest)
        self.choices.resolve.return_value = RESOLVED
        self.choices.check_left.side_effect = self._is_there
        self.planner.window.return_value = WINDOW
        self.planner.prepare.return_value = None
        self.planner.has_cloud = self.has_cloud
        self.consents = checked(Consents)
        self.consents.judge.side_effect = self._judge
        self.begins = Beginnings(
            self.store,
            self.choices,
            self.consents,
            self.planner,
            self.running,
            self._admit,
            TakenBack(),
        )

    def _judge(
        self,
        resolved: Resolved,
        request: TurnRequest,
        earlier: Sequence[Turn],
        messages: Sequence[Message],
        turn: TurnId | None = None,
    ) -> Consent:
        self.did += [] if turn is None else ["is judged"]
        stays = self.is_private or any(fact.text in self.private for fact in request.facts)
        return STAYS if stays else LEAVES

    def _is_there(self, resolved: Resolved) -> None:
        assert resolved is RESOLVED
        self.did.append("is there")

    async def _admit(self, request: TurnRequest, payer: UserId) -> None:
        self.did.append(f"{payer} is admitted with {request.user}'s words")

    def runs(self, name: str, user: UserId = ADA, place: Place = HALL) -> Running:
        running = self.running[TurnId(name)] = Running(TurnId(name), place, user)
        return running

    def begin(self, request: TurnRequest) -> tuple[Asking, Turn]:
        self.runs(HERE, request.user)
        return play(self.begins.begin(request, HERE))


async def awaited(asked: Callable[[], Awaitable[T]]) -> T:
    return await asked()


@pytest.fixture(autouse=True)
def facts(monkeypatch: pytest.MonkeyPatch) -> list[Fact]:
    """What is remembered of whoever asks."""
    known: list[Fact] = []

    async def facts(_: PeopleStore, user: UserId) -> tuple[Fact, ...]:
        return tuple(known)

    monkeypatch.setattr(PeopleStore, "facts", facts)
    return known


# --- what is asked, and in whose name ------------------------------------------------------------


def test_a_new_question_becomes_a_turn_of_whoever_answers_here() -> None:
    stage = Stage(newest=[said("before")])
    request = asked(attachments=(NOTE,), quotes=(QUOTE,), model=QWEN, opened_on=TurnId("root"))
    asking, turn = stage.begin(request)
    assert turn == Turn(
        id=HERE,
        parent=TurnId("before"),
        user=ADA,
        user_name="ada",
        place=HALL,
        persona=SAGE,
        user_text="Why?",
        reply_text="",
        reasoning_text="",
        status="running",
        created_at_ms=NOW_MS,
        attachments=(NOTE,),
        quotes=(QUOTE,),
        receipt=Receipt(SAGE, option=QWEN),
    )
    assert (asking.resolved, asking.request, asking.payer) == (RESOLVED, request, ADA)
    assert (asking.branch, asking.turn, asking.redone) == ((said("before"),), HERE, None)
    stage.choices.resolve.assert_awaited_once_with(HALL, ADA, None, QWEN, has_spoken=False)
    stage.store.newest_branch.assert_awaited_once_with(
        HALL.conversation,
        SAGE,
        ADA,
        opened_on=TurnId("root"),
        text_bytes=most_bytes(WINDOW),
    )
    stage.planner.prepare.assert_awaited_once()
    stage.store.get.assert_not_awaited()


FIRST = said("first", attachments=(NOTE,), quotes=(QUOTE,))


@pytest.mark.parametrize(
    ("given", "text", "persona"),
    [
        ({}, FIRST.user_text, PIRATE),
        ({"text": "And now?"}, "And now?", PIRATE),
        ({"persona": SAGE}, FIRST.user_text, SAGE),
    ],
)
def test_a_retry_says_its_authors_words_again_and_whoever_pressed_pays(
    given: dict[str, Any], text: str, persona: PersonaName
) -> None:
    stage = Stage([FIRST])
    press = replace(asked("", BOB, parent=FIRST.id, kind="retry"), **given)
    asking, turn = stage.begin(press)
    assert (turn.id, turn.parent, turn.user, turn.user_name) == (HERE, None, ADA, "ada")
    assert (turn.user_text, turn.attachments, turn.quotes) == (text, (NOTE,), (QUOTE,))
    assert (asking.request.text, asking.request.user_name) == (text, "ada")
    assert (asking.payer, asking.redone, asking.branch) == (BOB, FIRST, ())
    stage.choices.resolve.assert_awaited_once_with(
        HALL, ADA, persona, None, has_spoken="persona" not in given
    )
    # The words were said in the turn that is redone: where that was counts too.
    assert [given.args[2] for given in stage.consents.judge.await_args_list] == [(FIRST,)]


NAMED = replace(FIRST, receipt=Receipt(PIRATE, option=QWEN))


@pytest.mark.parametrize("kind", ["retry", "continue"])
@pytest.mark.parametrize(
    ("given", "model"),
    [
        ({}, QWEN),
        ({"model": ModelKey("google/gemma")}, ModelKey("google/gemma")),
        ({"must_see": True}, None),
    ],
)
def test_a_press_asks_the_model_that_its_question_named_unless_another_is_named_now(
    kind: TurnKind, given: dict[str, Any], model: ModelKey | None
) -> None:
    stage = Stage([NAMED])
    asking, _ = stage.begin(replace(asked("", BOB, parent=FIRST.id, kind=kind), **given))
    assert asking.request.model == model
    assert stage.choices.resolve.await_args_list[0].args[3] == model


def test_what_its_question_named_may_be_gone_but_not_what_is_named_now() -> None:
    stage = Stage([NAMED])
    stage.choices.resolve.side_effect = [UnknownName("model", QWEN, ()), RESOLVED]
    asking, turn = stage.begin(asked("", BOB, parent=FIRST.id, kind="retry"))
    assert (asking.request.model, turn.receipt) == (None, None)
    stage = Stage([NAMED])
    stage.choices.resolve.side_effect = [UnknownName("model", QWEN, ()), RESOLVED]
    with pytest.raises(UnknownName):
        stage.begin(asked("", BOB, parent=FIRST.id, kind="retry", model=QWEN))


@pytest.mark.parametrize("persona", [None, SAGE])
def test_what_is_gone_on_with_stays_the_same_turn(persona: PersonaName | None) -> None:
    stage = Stage([FIRST])
    asking, turn = stage.begin(asked("", BOB, parent=FIRST.id, kind="continue", persona=persona))
    assert (turn, asking.payer) == (FIRST, BOB)
    assert (asking.request.text, asking.request.user) == (CONTINUE_TEXT, BOB)
    assert (asking.branch, asking.redone) == ((FIRST,), None)
    stage.choices.resolve.assert_awaited_once_with(
        HALL, BOB, persona or PIRATE, None, has_spoken=persona is None
    )
    stage.store.branch.assert_awaited_once_with(FIRST.id, text_bytes=most_bytes(WINDOW))


@pytest.mark.parametrize(
    ("request_", "error", "words"),
    [
        (asked("", parent=TurnId("gone"), kind="retry"), NotPermitted, "not stored any more"),
        (asked("", kind="continue"), NotPermitted, "not stored any more"),
        (asked("", parent=TurnId("mute"), kind="continue"), RequestRefused, WORDLESS),
        (asked(" "), RequestRefused, "is empty"),
        (asked("a\0b"), RequestRefused, "binary"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anybody_is_chosen(
    request_: TurnRequest, error: type[RequestRefused], words: str
) -> None:
    stage = Stage([said("mute", reply_text=" \n")])
    with pytest.raises(error, match=words):
        stage.begin(request_)
    stage.choices.resolve.assert_not_awaited()
    looked_up = [given.args[0] for given in stage.store.get.await_args_list]
    assert looked_up == ([] if request_.parent is None else [request_.parent])


@pytest.mark.parametrize(
    "request_",
    [
        asked("", attachments=(NOTE,)),
        asked("", quotes=(QUOTE,)),
        asked("", parent=TurnId("mute"), kind="retry"),
    ],
)
def test_a_file_a_quote_or_a_retry_needs_no_words(request_: TurnRequest) -> None:
    assert Stage([said("mute", reply_text="")]).begin(request_)[1].id == HERE


# --- what it goes on from ------------------------------------------------------------------------

OLD = [said("root"), said("mid", "root"), said("leaf", "mid")]
ADDED = [*OLD, said("mine", "leaf", status="running")]


@pytest.mark.parametrize(
    ("kind", "parent", "fresh_after_s", "beside", "newest", "branch", "is_looked_for"),
    [
        ("new", None, None, False, OLD, "root mid leaf", True),
        ("new", None, None, False, [], "", True),
        ("new", None, 0, False, OLD, "", False),
        ("new", None, 60.0, False, OLD, "root mid leaf", True),
        ("new", None, 60.0, False, [replace(OLD[0], created_at_ms=NOW_MS - 60_000)], "", True),
        ("new", "mid", None, False, ADDED, "root mid", False),
        ("new", "mid", None, True, OLD, "root mid", True),
        ("new", "leaf", None, True, ADDED, "root mid leaf mine", True),
        ("new", "leaf", 0, True, ADDED, "root mid leaf", False),
        ("retry", "leaf", None, True, ADDED, "root mid", False),
        ("retry", "root", None, True, ADDED, "", False),
        ("continue", "leaf", None, True, ADDED, "root mid leaf", False),
    ],
)
def test_a_message_a_reply_and_a_press_go_on_from_their_own_branch(
    kind: TurnKind,
    parent: str | None,
    fresh_after_s: float | None,
    beside: bool,
    newest: list[Turn],
    branch: str,
    is_looked_for: bool,
) -> None:
    stage = Stage(OLD, newest)
    if beside:
        stage.runs("mine")
    request = asked(kind=kind, parent=parent and TurnId(parent), fresh_after_s=fresh_after_s)
    asking, turn = stage.begin(request)
    assert " ".join(turn.id for turn in asking.branch) == branch
    assert stage.store.newest_branch.called is is_looked_for
    if kind != "continue":
        assert turn.parent == (asking.branch[-1].id if branch else None)
    reads = stage.store.branch.await_args_list
    # Read once: that is half of what the store does for a turn.
    assert len(reads) == (parent is not None and bool(branch))
    assert all(read.kwargs == {"text_bytes": most_bytes(WINDOW)} for read in reads)


@pytest.mark.parametrize(("user", "place"), [(BOB, HALL), (ADA, CELLAR)])
def test_only_their_own_question_under_way_here_may_be_what_a_reply_adds_to(
    user: UserId, place: Place
) -> None:
    stage = Stage(OLD, ADDED)
    stage.runs("mine", user, place)
    stage.begin(asked(parent=TurnId("leaf")))
    stage.store.newest_branch.assert_not_awaited()


@pytest.mark.parametrize("kind", ["new", "retry", "continue"])
def test_nothing_goes_on_from_what_was_said_elsewhere(kind: TurnKind) -> None:
    stage = Stage([said("far", place=CELLAR)])
    with pytest.raises(NotPermitted, match="another conversation"):
        stage.begin(asked(parent=TurnId("far"), kind=kind))


def test_an_answer_under_way_is_read_as_far_as_people_have_and_others_as_they_are() -> None:
    stage = Stage(newest=[said("done"), said("begun", "done"), said("under way", "begun")])
    stage.runs("begun")
    draft = stage.runs("under way").draft = double(Draft)
    draft.text = "So far"
    asking, _ = stage.begin(asked())
    texts = [turn.reply_text for turn in asking.branch]
    assert texts == ["So much of done.", "So much of begun.", "So far"]


# --- who lets it pass ----------------------------------------------------------------------------


def test_whoever_answers_is_still_there_and_its_payer_admitted_before_each_consent() -> None:
    stage = Stage([FIRST])
    asking, _ = stage.begin(asked("", BOB, parent=FIRST.id, kind="retry"))
    admitted = ["is there", "bob is admitted with ada's words"]
    assert stage.did == [*admitted, "is judged"]
    assert asking.consent is LEAVES
    messages = (Message("user", "Why?"),)
    assert play(awaited(lambda: asking.judge(messages))) is LEAVES
    assert stage.did[3:] == [*admitted, "is judged"]
    stage.consents.judge.assert_awaited_with(RESOLVED, asking.request, (FIRST,), messages, HERE)
    assert asking.admit is not None
    play(awaited(asking.admit))
    assert stage.did[6:] == admitted


@pytest.mark.parametrize(
    ("known", "private", "is_private", "has_cloud", "told", "looks"),
    [
        ("", "", False, True, "", 1),
        ("tea cat", "", False, True, "tea cat", 3),
        ("tea cat", "cat", False, True, "tea", 5),
        ("tea cat", "cat", True, True, "tea cat", 2),
        ("tea cat", "cat", False, False, "tea cat", 1),
    ],
)
def test_a_fact_said_in_private_is_told_where_all_stays_anyway(
    facts: list[Fact],
    known: str,
    private: str,
    is_private: bool,
    has_cloud: bool,
    told: str,
    looks: int,
) -> None:
    facts += [Fact(n, replace(QUOTE, text=text)) for n, text in enumerate(known.split())]
    stage = Stage(private=private.split(), is_private=is_private, has_cloud=has_cloud)
    asking, _ = stage.begin(asked(facts=(QUOTE,)))
    assert " ".join(fact.text for fact in asking.request.facts) == told
    # Each look is a question at the disk.
    assert len(stage.consents.judge.await_args_list) == looks


# --- whom it waits for ---------------------------------------------------------------------------


def asking_of(*branch: Turn, **more: Any) -> Asking:
    async def judge(_: Sequence[Message]) -> Consent:
        return STAYS

    asking = Asking(RESOLVED, branch, asked(), STAYS, judge, BOB, HERE)
    return replace(asking, **more)


async def caught_up(
    stage: Stage, asking: Asking, ends: Sequence[str] = ()
) -> tuple[Asking, list[TurnEvent]]:
    """What it is then, and what was told meanwhile; these end one after the other."""
    told: list[TurnEvent] = []
    draft = double(Draft)

    async def emit(event: TurnEvent) -> None:
        told.append(event)

    draft.emit = emit
    async with asyncio.TaskGroup() as group:
        waits = group.create_task(stage.begins.caught_up(asking, draft))
        for end in ends:
            await asyncio.sleep(1.0)
            assert not waits.done()
            stage.running[TurnId(end)].ended.set()
    return waits.result(), told


MINE, THEIRS = said("mine", status="running"), said("theirs", user=BOB, status="running")


@pytest.mark.parametrize(
    ("before", "running", "parent", "ends", "is_anew"),
    [
        ([said("done")], ["done"], None, ["done"], True),
        ([said("done")], [], None, [], False),
        ([MINE], ["mine"], None, ["mine"], True),
        # It has ended since the branch was read, where it still has no answer.
        ([MINE], [], None, [], True),
        ([THEIRS], ["theirs"], None, [], False),
        ([THEIRS], ["theirs"], "theirs", ["theirs"], True),
        ([THEIRS, replace(MINE, parent=THEIRS.id)], ["theirs", "mine"], None, ["mine"], True),
        ([said("a"), said("b", "a")], ["a", "b"], None, ["a", "b"], True),
    ],
)
def test_what_its_asker_asked_before_or_replied_to_is_waited_for(
    before: list[Turn], running: list[str], parent: str | None, ends: list[str], is_anew: bool
) -> None:
    here = said(HERE, before[-1].id)
    stage = Stage([*(replace(turn, reply_text="Whole.") for turn in before), here])
    for name in running:
        stage.runs(name)
    waiting = asking_of(*before, request=asked(parent=parent and TurnId(parent)), redone=FIRST)
    now, told = play(caught_up(stage, waiting, ends))
    assert told == [Queued(None, QWEN, left) for left in range(len(ends), 0, -1)]
    assert (now is waiting) is not is_anew
    if is_anew:
        stage.store.branch.assert_awaited_once_with(HERE, text_bytes=most_bytes(WINDOW))
        assert [turn.id for turn in now.branch] == [turn.id for turn in before]
        assert {turn.reply_text for turn in now.branch} == {"Whole."}
        assert (now.payer, now.turn, now.redone) == (BOB, HERE, FIRST)
        assert (now.resolved, now.request) == (RESOLVED, waiting.request)


def test_an_answer_that_is_gone_on_with_waits_for_those_before_it_and_not_for_itself() -> None:
    here = said(HERE, "mine", status="running")
    stage = Stage([replace(MINE, reply_text="Whole."), here])
    stage.runs("mine")
    stage.runs(HERE)
    alone = asking_of(here)
    assert play(caught_up(stage, alone)) == (alone, [])
    now, _ = play(caught_up(stage, asking_of(MINE, here), ["mine"]))
    assert [turn.id for turn in now.branch] == ["mine", HERE]
