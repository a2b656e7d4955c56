"""No sequence of settings, branches, threads, waits and failures sends a private word away."""

import math
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

import pytest
from histories import plays
from hypothesis import given
from hypothesis import strategies as st
from privacy_world import HOST, MODEL, TWIN, VENDORS, Luck, World, utcnow, world
from relayed import relay

from bot.domain.chat import Attachment, Place, Quote, TurnKind, TurnRequest
from bot.domain.errors import BotError
from bot.domain.events import Offered, Progress, Queued, Resuming, Started, Way
from bot.domain.ids import PersonaName, PlaceId, TurnId, UserId
from bot.domain.personas import Book, BookEntry, Character, Made, Persona
from bot.policy.context import GREET_TEXT
from bot.policy.prediction import Strategy
from bot.store.people import PeopleStore

SERVER = PlaceId("server")
HALL, THREAD = PlaceId("hall"), PlaceId("thread")
PLACES = (Place(HALL, server=SERVER), Place(HALL, thread=THREAD, server=SERVER))
PEOPLE = (UserId("ada"), UserId("bob"))
PERSONAS = ("default", "diary")
MUSE = PersonaName("muse#0123abcd")
"""Made in a chat, by whoever the play says."""
LORE = "lore-of-its-maker"
"""Stands in its book, and joins every question."""


@dataclass(frozen=True, slots=True)
class Ask:
    user: UserId
    place: Place
    persona: str | None
    kind: TurnKind
    parent: int | None
    """Counts from the newest turn back."""
    way: Way
    quotes: tuple[int, ...]
    """Earlier questions of anybody's, as a chain of replies brings along; counted like a parent."""
    opened_on: int | None = None
    """The turn its thread was opened on, counted like a parent."""
    fresh_after_s: float | None = None
    is_late: bool = False
    """Said, or edited, before the settings of this scene, and heard only now."""
    has_file: bool = False
    fact: bool = False
    """Before, its asker has a fact remembered, here."""
    shown: int | None = None
    """The answer that is turned to before, among those beside it; counted like a parent."""
    greets: bool = False
    """Nothing is asked: the persona made in a chat begins afresh with its greeting."""


@dataclass(frozen=True, slots=True)
class Scene:
    """All settings as they are from now on, then one question."""

    marked: frozenset[str]
    """Places and people whose words stay here."""
    local_only: str | None
    """The persona that is."""
    at_home: Luck
    away: Luck
    is_store_broken: bool
    is_fresh: bool
    """The conversation is begun afresh before."""
    ask: Ask
    meanwhile: frozenset[str] | None = None
    """The marks, a persona's among them, from the moment on when the question stands in a
    provider's line, or another host goes on with an answer; None lets nobody wait."""
    maker: UserId = PEOPLE[0]
    """Of the persona made in a chat."""


def seldom() -> st.SearchStrategy[bool]:
    return st.sampled_from((False, False, False, False, True))


ASKS = st.builds(
    Ask,
    st.sampled_from(PEOPLE),
    st.sampled_from((PLACES[0], PLACES[0], *PLACES)),
    st.sampled_from((None, *PERSONAS, MUSE)),
    st.sampled_from(get_args(TurnKind)),
    st.sampled_from((0, 0, 0, 1, 2, None)),
    st.sampled_from(get_args(Way)),
    st.sampled_from(((), (), (0,), (1,), (2, 0), (3, 1, 0))),
    st.sampled_from((None, 0, 1)),
    st.sampled_from((None, None, 0.0)),
    seldom(),
    seldom(),
    seldom(),
    st.sampled_from((None, None, None, 0, 1)),
    seldom(),
)
MARKS = st.frozensets(st.sampled_from((HALL, THREAD, SERVER, *PEOPLE)), min_size=1, max_size=2)
NOTHING = st.just(frozenset[str]())
SCENES = st.builds(
    Scene,
    st.one_of(NOTHING, MARKS, NOTHING),
    st.sampled_from((None, None, None, *PERSONAS)),
    st.sampled_from(("fine", "fine", "down", *get_args(Luck))),
    st.sampled_from(("fine", "fine", "fine", *get_args(Luck))),
    seldom(),
    seldom(),
    ASKS,
    st.one_of(
        st.none(),
        NOTHING,
        st.frozensets(st.sampled_from((HALL, THREAD, SERVER, *PEOPLE, *PERSONAS)), min_size=1),
    ),
    st.sampled_from(PEOPLE),
)
PLAYS = st.lists(SCENES, min_size=3, max_size=8)


@dataclass(frozen=True, slots=True)
class Said:
    """A question as it was asked: a word of its own, and where it came from."""

    quote: Quote

    def is_anothers(self, marked: frozenset[str]) -> bool:
        """Do its author or its place keep words here now?"""
        place = self.quote.place
        return bool({self.quote.user, place.channel, place.thread, place.server} & marked)


@dataclass(slots=True)
class Witness:
    """Plays steps, and knows by itself which words are private."""

    home: World
    marked: frozenset[str] = frozenset()
    before: frozenset[str] = frozenset()
    """What was marked in the scene before."""
    local_only: frozenset[str] = frozenset()
    maker: UserId = PEOPLE[0]
    is_store_broken: bool = False
    turns: list[TurnId] = field(default_factory=list[TurnId])
    authors: dict[TurnId, UserId] = field(default_factory=dict[TurnId, UserId])
    asked: int = 0
    said: list[Said] = field(default_factory=list[Said])
    facts: list[Said] = field(default_factory=list[Said])
    seams: int = 0
    """How often another host went on with an answer."""
    secrets: set[str] = field(default_factory=set[str])
    meanwhile: frozenset[str] | None = None
    """What is marked as soon as somebody stands in a provider's line."""
    waits: int = 0
    """How often that came to pass."""

    async def play(self, scene: Scene) -> None:
        home = self.home
        self.before, self.maker = self.marked, scene.maker
        home.shelf.hold((_made_by(scene.maker, self.asked),))
        home.ears.hosts = (HOST, TWIN)
        await self._mark(scene.marked)
        await self._keep(frozenset([scene.local_only] if scene.local_only else []))
        home.ears.at_home, home.ears.away = scene.at_home, scene.away
        home.privacy.is_broken = self.is_store_broken = scene.is_store_broken
        if scene.is_fresh:
            await home.turns.store.reset(scene.ask.place.conversation)
        if scene.ask.fact:
            await self._remember(scene.ask)
        if (shown := self._turn(scene.ask.shown)) is not None:
            await home.turns.store.show(shown)
        async with self._full(scene.meanwhile):
            await self._ask(scene.ask)
        async with self._full(scene.meanwhile):
            await self._relay(scene.ask.persona or PERSONAS[0])

    async def _remember(self, ask: Ask) -> None:
        place, word = ask.place, f"fact-{self.asked}-"
        at_ms = int(utcnow().timestamp() * 1000)
        fact = Said(Quote(word, ask.user, str(ask.user), place, at_ms))
        await PeopleStore(self.home.turns.store.database).remember(fact.quote)
        self.facts.append(fact)
        if fact.is_anothers(self.marked):
            self.secrets.add(word)

    @asynccontextmanager
    async def _full(self, meanwhile: frozenset[str] | None) -> AsyncGenerator[None]:
        """Around a question; providers have no place for it until somebody marks something."""
        self.meanwhile = meanwhile
        for name in VENDORS if meanwhile is not None else ():
            for deployment in self.home.providers.deployments(name):
                while deployment.gate.is_open:
                    await deployment.gate.enter("others", math.inf, _unheard)
        try:
            yield
        finally:
            self.meanwhile = None
            self._make_room()

    def _make_room(self) -> None:
        for name in VENDORS:
            for deployment in self.home.providers.deployments(name):
                while deployment.gate.holding["others"]:
                    deployment.gate.leave("others")

    async def _waits(self, step: Progress) -> None:
        """Somebody waits; of a provider's line that is when the settings change."""
        if isinstance(step, Queued) and step.where in VENDORS and self.meanwhile is not None:
            self.waits += 1
            await self._change()

    async def _change(self) -> None:
        marked, self.meanwhile = self.meanwhile, None
        if marked is None:
            return
        await self._mark(marked.difference(PERSONAS))
        await self._keep(marked.intersection(PERSONAS))
        self._make_room()

    async def _relay(self, name: str) -> None:
        """A client of the gateway asks the same persona, whom no host answers."""
        home, word = self.home, f"word-{self.asked}-"
        self.asked += 1
        home.ears.at_home = "down"
        home.ears.sent_away.clear()
        home.pardon()
        persona = home.shelf.get(name)
        assert persona is not None
        with suppress(BotError):
            await relay(home.relaying, word, persona=persona, waits=self._waits)
        if self.is_store_broken or name in self.local_only:
            assert not home.ears.sent_away
            self.secrets.add(word)
        for sent in home.ears.sent_away:
            assert not [secret for secret in self.secrets if secret in sent]

    async def _mark(self, marked: frozenset[str]) -> None:
        for name in marked ^ self.marked:
            is_on = name in marked
            if name in PEOPLE:
                await self.home.privacy.mark("user", UserId(name), local_only=is_on)
            else:
                await self.home.privacy.mark("place", PlaceId(name), local_only=is_on)
        self.marked = marked

    async def _keep(self, local_only: frozenset[str]) -> None:
        """Makes these personas local only, and no others."""
        for name in local_only ^ self.local_only:
            await self.home.write_persona(name, local_only=name in local_only)
        self.local_only = local_only

    async def _ask(self, ask: Ask) -> None:
        ears = self.home.ears
        word, ears.reply = f"word-{self.asked}-", f"reply-{self.asked}-"
        self.asked += 1
        ears.sent_away.clear()
        ears.read_at_home.clear()
        self.home.pardon()
        request = self._request(ask, word)
        is_late = ask.is_late and bool(self._here(request) & self.before)
        at_ms = int(utcnow().timestamp() * 1000)
        # A question that is asked once more as it reads now: its author's words, whoever presses.
        author = self._author(request)
        self.said.append(Said(Quote(word, author, str(author), ask.place, at_ms)))
        persona = await self._played(request, ask.way)
        if is_late or self._is_private_now(request, persona):
            assert not ears.sent_away
            greeting = {_greeting(self.asked - 1)} if ask.greets else set[str]()
            self.secrets |= {word, ears.reply, f"file-{word}"} | greeting
        assert not (ask.greets and ears.sent_away), "a greeting is asked of nobody"
        if any(secret in read for secret in self.secrets for read in ears.read_at_home):
            # Whoever read private words may repeat them.
            self.secrets.add(ears.reply)
        told = (*self.said, *self.facts)
        kept = {said.quote.text for said in told if said.is_anothers(self.marked)}
        # Of a persona made in a chat the texts are its maker's words.
        kept |= {LORE} if self.maker in self.marked else set()
        for sent in ears.sent_away:
            assert not [secret for secret in self.secrets | kept if secret in sent]

    async def _played(self, request: TurnRequest, way: Way) -> str | None:
        """The turn from first event to last; gives who answered."""
        persona: str | None = None
        async with self.home.turns.open(request) as events:
            async for event in events:
                match event:
                    case Started(turn=turn, persona=who):
                        self.turns.append(turn)
                        self.authors[turn] = self._author(request)
                        persona = who
                    case Offered(turn=turn):
                        self.home.turns.choose(turn, way)
                    case Queued():
                        await self._waits(event)
                    case Resuming():
                        # The rest of an answer is asked for when somebody has just said otherwise.
                        self.seams += 1
                        await self._change()
                    case _:
                        pass
        return persona

    def _request(self, ask: Ask, word: str) -> TurnRequest:
        parent = self._turn(ask.parent)
        if ask.greets:
            return TurnRequest(
                ask.user, str(ask.user), ask.place, GREET_TEXT, persona=MUSE, fresh_after_s=0
            )
        return TurnRequest(
            user=ask.user,
            user_name=str(ask.user),
            place=ask.place,
            text=word,
            parent=parent,
            opened_on=None if ask.place.thread is None else self._turn(ask.opened_on),
            fresh_after_s=ask.fresh_after_s,
            # Without a turn there is nothing to redo: that is refused at once, and proves nothing.
            kind=ask.kind if parent is not None else "new",
            quotes=tuple(self.said[-1 - at].quote for at in ask.quotes if at < len(self.said)),
            persona=PersonaName(ask.persona) if ask.persona else None,
            attachments=(Attachment("f", "text/plain", f"file-{word}"),) if ask.has_file else (),
            said_at_ms=int(utcnow().timestamp() * 1000) if ask.is_late else None,
        )

    def _turn(self, back: int | None) -> TurnId | None:
        return None if back is None or back >= len(self.turns) else self.turns[-1 - back]

    def _author(self, request: TurnRequest) -> UserId:
        """Whose words they are: those of a retry stay their author's, whoever presses."""
        if request.kind == "retry" and request.parent is not None:
            return self.authors[request.parent]
        return request.user

    def _here(self, request: TurnRequest) -> set[str | None]:
        place = request.place
        return {place.channel, place.thread, place.server, self._author(request)}

    def _is_private_now(self, request: TurnRequest, persona: str | None) -> bool:
        is_marked = bool(self._here(request) & self.marked)
        is_makers = persona == MUSE and self.maker in self.marked
        return self.is_store_broken or persona in self.local_only or is_marked or is_makers


def _greeting(number: int) -> str:
    return f"greeting-{number}-"


def _made_by(maker: UserId, number: int) -> Made:
    """A persona with a book, and a greeting for each scene, made in a chat for everybody."""
    book = Book((BookEntry(("word",), LORE, whole_words=False),))
    who = Character("Muse", book=book)
    persona = Persona(MUSE, model=MODEL, character=who, greeting=_greeting(number), maker=maker)
    return Made(persona, "all", "", maker, 1)


async def _unheard(place: int) -> None:
    """Nobody hears of the place of those who were there before."""


@asynccontextmanager
async def all_open(
    folder: Path, strategy: Strategy = "prefer_cloud", *, is_slow: bool = False
) -> AsyncGenerator[tuple[World, Witness]]:
    """A house where nothing is private yet, and who watches it."""
    async with world(folder, strategy, is_slow=is_slow) as home:
        for name in PERSONAS:
            await home.write_persona(name, local_only=False)
        yield home, Witness(home)


@pytest.mark.slow
@plays(25)
@given(PLAYS, st.sampled_from(get_args(Strategy)), st.booleans())
async def test_no_play_sends_a_private_word_away(
    scenes: list[Scene], strategy: Strategy, is_slow: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with all_open(Path(folder), strategy, is_slow=is_slow) as (_, witness):
            for scene in scenes:
                await witness.play(scene)


async def test_where_nothing_is_private_words_do_leave(tmp_path: Path) -> None:
    """The property would hold of a Lantern without any cloud as well; this one has one."""
    async with all_open(tmp_path) as (home, witness):
        ask = Ask(PEOPLE[0], PLACES[0], None, "new", None, "wait", ())
        await witness.play(Scene(frozenset(), None, "fine", "fine", False, False, ask))
        # The client's, which came last.
        assert "word-1-" in home.ears.sent_away[0]
        await witness._ask(ask)  # pyright: ignore[reportPrivateUsage]  # without a client after it
        assert "word-2-" in home.ears.sent_away[0]


async def test_what_a_question_brings_along_leaves_where_nothing_is_private(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, "prefer_cloud", is_slow=False) as home:
        witness = Witness(home)
        home.shelf.hold((_made_by(PEOPLE[0], 0),))
        plain = Ask(PEOPLE[0], PLACES[0], MUSE, "new", None, "wait", ())
        await witness._ask(replace(plain, greets=True))  # pyright: ignore[reportPrivateUsage]  # without a client
        ask = replace(plain, has_file=True, fact=True)
        await witness._remember(ask)  # pyright: ignore[reportPrivateUsage]  # without a client
        await witness._ask(ask)  # pyright: ignore[reportPrivateUsage]  # the same
        brought = ("word-1-", "file-word-1-", "fact-1-", LORE, _greeting(0))
        assert [word in home.ears.sent_away[0] for word in brought] == [True] * 5


@pytest.mark.parametrize("mark", [HALL, PEOPLE[0]])
async def test_a_greeting_said_in_private_stays_here_when_all_is_opened(
    tmp_path: Path, mark: str
) -> None:
    async with all_open(tmp_path) as (home, witness):
        ask = Ask(PEOPLE[0], PLACES[0], MUSE, "new", None, "wait", (), greets=True)
        closed = Scene(frozenset({mark}), None, "fine", "fine", False, False, ask)
        await witness.play(closed)
        assert _greeting(0) in witness.secrets
        then = replace(ask, persona=None, parent=0, greets=False)
        await witness.play(replace(closed, marked=frozenset(), ask=then))
        assert [_greeting(0) in read for read in home.ears.read_at_home] == [True]


@pytest.mark.parametrize("mark", [HALL, PEOPLE[0], PERSONAS[0]])
async def test_a_channel_closed_while_another_host_goes_on_keeps_what_follows_here(
    tmp_path: Path, mark: str
) -> None:
    async with all_open(tmp_path, "prefer_local") as (_, witness):
        ask = Ask(PEOPLE[0], PLACES[0], None, "new", None, "wait", ())
        broken = Scene(frozenset(), None, "breaks", "fine", False, False, ask, frozenset({mark}))
        await witness.play(broken)
        assert witness.seams == 1
        # Gone on with where no host is left, it would be a provider that goes on.
        more = Ask(PEOPLE[0], PLACES[0], None, "continue", 0, "wait", ())
        local_only = mark if mark in PERSONAS else None
        marked = frozenset[str]() if local_only else frozenset({mark})
        await witness.play(Scene(marked, local_only, "down", "fine", False, False, more))


@pytest.mark.parametrize("mark", [HALL, PEOPLE[0], PERSONAS[0]])
async def test_a_mark_set_while_a_question_stands_in_a_line_keeps_it_here(
    tmp_path: Path, mark: str
) -> None:
    async with all_open(tmp_path) as (home, witness):
        ask = Ask(PEOPLE[0], PLACES[0], None, "new", None, "wait", ())
        scene = Scene(frozenset(), None, "fine", "fine", False, False, ask, frozenset({mark}))
        await witness.play(scene)
        # The turn's, and where the mark is a client's as well, that of the request after it.
        assert witness.waits >= 1
        assert witness.secrets >= {"word-0-"}
        assert home.ears.read_at_home[0].endswith("word-0-")
