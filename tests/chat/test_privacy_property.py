"""No sequence of settings, branches, retries and failures sends a private word to a provider."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from privacy_world import Luck, World, world

from bot.domain.chat import Place, TurnKind, TurnRequest
from bot.domain.events import Offered, Started, Way
from bot.domain.ids import PersonaName, PlaceId, TurnId, UserId
from bot.policy.prediction import Strategy

SERVER = PlaceId("server")
HALL, THREAD = PlaceId("hall"), PlaceId("thread")
PLACES = (Place(HALL, server=SERVER), Place(HALL, thread=THREAD, server=SERVER))
MARKED_PLACES = (HALL, THREAD, SERVER)
PEOPLE = (UserId("ada"), UserId("bob"))
PERSONAS = ("default", "diary")


@dataclass(frozen=True, slots=True)
class MarkPlace:
    place: PlaceId
    is_on: bool


@dataclass(frozen=True, slots=True)
class MarkPerson:
    user: UserId
    is_on: bool


@dataclass(frozen=True, slots=True)
class EditPersona:
    name: str
    local_only: bool


@dataclass(frozen=True, slots=True)
class Weather:
    """How hosts, providers and the look-up of privacy do from now on."""

    at_home: Luck
    away: Luck
    is_store_broken: bool


@dataclass(frozen=True, slots=True)
class Reset:
    place: Place


@dataclass(frozen=True, slots=True)
class Ask:
    user: UserId
    place: Place
    persona: str | None
    kind: TurnKind
    parent: int | None
    """Counts from the newest turn back."""
    way: Way


Step = MarkPlace | MarkPerson | EditPersona | Weather | Reset | Ask

LUCK = st.sampled_from(get_args(Luck))
ASKS = st.builds(
    Ask,
    st.sampled_from(PEOPLE),
    st.sampled_from(PLACES),
    st.sampled_from((None, *PERSONAS)),
    st.sampled_from(TurnKind),
    st.none() | st.integers(0, 3),
    st.sampled_from(get_args(Way)),
)
CHANGES = st.one_of(
    st.builds(MarkPlace, st.sampled_from(MARKED_PLACES), st.booleans()),
    st.builds(MarkPerson, st.sampled_from(PEOPLE), st.booleans()),
    st.builds(EditPersona, st.sampled_from(PERSONAS), st.booleans()),
    st.builds(Weather, LUCK, LUCK, st.sampled_from((False, False, True))),
    st.builds(Reset, st.sampled_from(PLACES)),
)
PLAYS = st.lists(st.one_of(ASKS, CHANGES, ASKS), min_size=4, max_size=14)


@dataclass(slots=True)
class Witness:
    """Plays steps, and knows by itself which words are private."""

    home: World
    marked: set[str] = field(default_factory=set[str])
    local_only: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(PERSONAS, False))
    is_store_broken: bool = False
    turns: list[TurnId] = field(default_factory=list[TurnId])
    authors: dict[TurnId, UserId] = field(default_factory=dict[TurnId, UserId])
    asked: int = 0
    secrets: set[str] = field(default_factory=set[str])

    async def play(self, step: Step) -> None:
        home = self.home
        match step:
            case MarkPlace(place=place, is_on=is_on):
                await home.privacy.set_place(place, local_only=is_on)
                self._mark(place, is_on)
            case MarkPerson(user=user, is_on=is_on):
                await home.privacy.set_user(user, local_only=is_on)
                self._mark(user, is_on)
            case EditPersona(name=name, local_only=local_only):
                await home.write_persona(name, local_only=local_only)
                self.local_only[name] = local_only
            case Weather(at_home=at_home, away=away, is_store_broken=is_broken):
                home.ears.at_home, home.ears.away = at_home, away
                home.privacy.is_broken = self.is_store_broken = is_broken
            case Reset(place=place):
                await home.turns.reset(place.conversation)
            case Ask():
                await self._ask(step)

    def _mark(self, name: str, is_on: bool) -> None:
        (self.marked.add if is_on else self.marked.discard)(name)

    async def _ask(self, ask: Ask) -> None:
        ears = self.home.ears
        word, ears.reply = f"word-{self.asked}-", f"reply-{self.asked}-"
        self.asked += 1
        ears.sent_away.clear()
        ears.read_at_home.clear()
        self.home.pardon()
        request = self._request(ask, word)
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
            kind=ask.kind,
            persona=PersonaName(ask.persona) if ask.persona else None,
        )

    def _author(self, request: TurnRequest) -> UserId:
        """Whose words they are: those of a retry stay their author's, whoever presses."""
        if request.kind is TurnKind.RETRY and request.parent is not None:
            return self.authors[request.parent]
        return request.user

    def _is_private_now(self, request: TurnRequest, persona: str | None) -> bool:
        place = request.place
        here = {place.channel, place.thread, place.server, self._author(request)}
        is_marked = bool(here & self.marked)
        return self.is_store_broken or is_marked or self.local_only.get(persona or "", False)


@pytest.mark.slow
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(PLAYS, st.sampled_from(get_args(Strategy)), st.booleans())
async def test_no_play_sends_a_private_word_away(
    steps: list[Step], strategy: Strategy, is_slow: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with world(Path(folder), strategy, is_slow=is_slow) as home:
            for name in PERSONAS:
                await home.write_persona(name, local_only=False)
            witness = Witness(home)
            for step in steps:
                await witness.play(step)


async def test_where_nothing_is_private_words_do_leave(tmp_path: Path) -> None:
    """The property would hold of a Lantern without any cloud as well; this one has one."""
    async with world(tmp_path, "prefer_cloud", is_slow=False) as home:
        for name in PERSONAS:
            await home.write_persona(name, local_only=False)
        witness = Witness(home)
        await witness.play(Ask(PEOPLE[0], PLACES[0], None, TurnKind.NEW, None, "wait"))
        assert "word-0-" in home.ears.sent_away[0]
