"""No sequence of settings, branches, retries and failures sends a private word to a provider."""

import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from privacy_world import Luck, World, utcnow, world
from relayed import relay

from bot.domain.chat import Place, Quote, TurnKind, TurnRequest
from bot.domain.errors import BotError
from bot.domain.events import Offered, Started, Way
from bot.domain.ids import PersonaName, PlaceId, TurnId, UserId
from bot.policy.prediction import Strategy

SERVER = PlaceId("server")
HALL, THREAD = PlaceId("hall"), PlaceId("thread")
PLACES = (Place(HALL, server=SERVER), Place(HALL, thread=THREAD, server=SERVER))
PEOPLE = (UserId("ada"), UserId("bob"))
PERSONAS = ("default", "diary")


@dataclass(frozen=True, slots=True)
class Ask:
    user: UserId
    place: Place
    persona: str | None
    kind: TurnKind
    parent: int | None
    """Counts from the newest turn back."""
    way: Way
    quote: int | None
    """An earlier question of this person's own that is quoted, counted like a parent."""


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


def seldom() -> st.SearchStrategy[bool]:
    return st.sampled_from((False, False, False, False, True))


ASKS = st.builds(
    Ask,
    st.sampled_from(PEOPLE),
    st.sampled_from((PLACES[0], PLACES[0], *PLACES)),
    st.sampled_from((None, *PERSONAS)),
    st.sampled_from(get_args(TurnKind)),
    st.sampled_from((0, 0, 0, 1, 2, None)),
    st.sampled_from(get_args(Way)),
    st.sampled_from((None, None, 0, 1, 2)),
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
)
PLAYS = st.lists(SCENES, min_size=3, max_size=8)


@dataclass(slots=True)
class Witness:
    """Plays steps, and knows by itself which words are private."""

    home: World
    marked: frozenset[str] = frozenset()
    local_only: str | None = None
    is_store_broken: bool = False
    turns: list[TurnId] = field(default_factory=list[TurnId])
    authors: dict[TurnId, UserId] = field(default_factory=dict[TurnId, UserId])
    asked: int = 0
    said: dict[UserId, list[Quote]] = field(default_factory=dict[UserId, list[Quote]])
    secrets: set[str] = field(default_factory=set[str])

    async def play(self, scene: Scene) -> None:
        home = self.home
        await self._mark(scene.marked)
        if scene.local_only != self.local_only:
            for name in PERSONAS:
                await home.write_persona(name, local_only=name == scene.local_only)
            self.local_only = scene.local_only
        home.ears.at_home, home.ears.away = scene.at_home, scene.away
        home.privacy.is_broken = self.is_store_broken = scene.is_store_broken
        if scene.is_fresh:
            await home.turns.store.reset(scene.ask.place.conversation)
        await self._ask(scene.ask)
        await self._relay(scene.ask.persona or PERSONAS[0])

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
            await relay(home.relaying, word, persona=persona)
        if self.is_store_broken or name == self.local_only:
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

    async def _ask(self, ask: Ask) -> None:
        ears = self.home.ears
        word, ears.reply = f"word-{self.asked}-", f"reply-{self.asked}-"
        self.asked += 1
        ears.sent_away.clear()
        ears.read_at_home.clear()
        self.home.pardon()
        request = self._request(ask, word)
        at_ms = int(utcnow().timestamp() * 1000)
        said = Quote(word, ask.user, str(ask.user), ask.place, at_ms)
        self.said.setdefault(ask.user, []).append(said)
        persona = await self._played(request, ask.way)
        if self._is_private_now(request, persona):
            assert not ears.sent_away
            self.secrets |= {word, ears.reply}
        if any(secret in read for secret in self.secrets for read in ears.read_at_home):
            # Whoever read private words may repeat them.
            self.secrets.add(ears.reply)
        for sent in ears.sent_away:
            assert not [secret for secret in self.secrets if secret in sent]

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
                    case _:
                        pass
        return persona

    def _request(self, ask: Ask, word: str) -> TurnRequest:
        is_known = ask.parent is not None and ask.parent < len(self.turns)
        parent = self.turns[-1 - (ask.parent or 0)] if is_known else None
        return TurnRequest(
            user=ask.user,
            user_name=str(ask.user),
            place=ask.place,
            text=word,
            parent=parent,
            # Without a turn there is nothing to redo: that is refused at once, and proves nothing.
            kind=ask.kind if is_known else "new",
            quotes=self._quotes(ask),
            persona=PersonaName(ask.persona) if ask.persona else None,
        )

    def _quotes(self, ask: Ask) -> tuple[Quote, ...]:
        said = self.said.get(ask.user, [])
        if ask.quote is None or ask.quote >= len(said):
            return ()
        return (said[-1 - ask.quote],)

    def _author(self, request: TurnRequest) -> UserId:
        """Whose words they are: those of a retry stay their author's, whoever presses."""
        if request.kind == "retry" and request.parent is not None:
            return self.authors[request.parent]
        return request.user

    def _is_private_now(self, request: TurnRequest, persona: str | None) -> bool:
        place = request.place
        here = {place.channel, place.thread, place.server, self._author(request)}
        is_persona = persona is not None and persona == self.local_only
        return self.is_store_broken or is_persona or bool(here & self.marked)


@pytest.mark.slow
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(PLAYS, st.sampled_from(get_args(Strategy)), st.booleans())
async def test_no_play_sends_a_private_word_away(
    scenes: list[Scene], strategy: Strategy, is_slow: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with world(Path(folder), strategy, is_slow=is_slow) as home:
            for name in PERSONAS:
                await home.write_persona(name, local_only=False)
            witness = Witness(home)
            for scene in scenes:
                await witness.play(scene)


async def test_where_nothing_is_private_words_do_leave(tmp_path: Path) -> None:
    """The property would hold of a Lantern without any cloud as well; this one has one."""
    async with world(tmp_path, "prefer_cloud", is_slow=False) as home:
        for name in PERSONAS:
            await home.write_persona(name, local_only=False)
        witness = Witness(home)
        ask = Ask(PEOPLE[0], PLACES[0], None, "new", None, "wait", None)
        await witness.play(Scene(frozenset(), None, "fine", "fine", False, False, ask))
        # The client's, which came last.
        assert "word-1-" in home.ears.sent_away[0]
        await witness._ask(ask)  # pyright: ignore[reportPrivateUsage]  # without a client after it
        assert "word-2-" in home.ears.sent_away[0]
