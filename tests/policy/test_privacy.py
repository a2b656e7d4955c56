from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.chat import Message, Origin, Place, Quote, Turn, TurnRequest
from bot.domain.errors import Bug
from bot.domain.ids import PersonaName, PlaceId, ProviderName, TurnId, UserId
from bot.domain.personas import Persona
from bot.policy.privacy import (
    PROBE,
    CloudConsent,
    LocalOnly,
    Marks,
    Sources,
    consent_to_cloud,
    judge_probe,
    origin_of_prompt,
    origins_of_request,
    origins_of_turn,
    to_look_up,
    user_hash,
    without_names,
)

ZAI, OPENAI = ProviderName("zai"), ProviderName("openai")
SAGE = Persona(PersonaName("sage"))
HERE = Place(PlaceId("c1"), PlaceId("t1"), PlaceId("s1"))
ADA = UserId("u1")
SAID_AT_MS = 1_000_000
REQUEST = TurnRequest(ADA, "Ada", HERE, "Hello")
HELLO = (Message("user", "Hello", origins=origins_of_request(SAGE.name, REQUEST)),)


def turn(name: str, *, place: Place = HERE, user: UserId = ADA, persona: str = "sage") -> Turn:
    return Turn(
        id=TurnId(name),
        parent=None,
        user=user,
        user_name="?",
        place=place,
        persona=PersonaName(persona),
        user_text="words",
        reply_text="more words",
        reasoning_text="",
        status="done",
        created_at_ms=0,
    )


def quotes_of(places: Sequence[Place | None]) -> tuple[Quote, ...]:
    """Words of Ada's said in these places; None is one nobody knows."""
    nowhere = replace(HERE, is_certain=False)
    return tuple(Quote("earlier", ADA, "Ada", place or nowhere, SAID_AT_MS) for place in places)


def told(
    persona: PersonaName, request: TurnRequest, branch: Sequence[Turn]
) -> tuple[tuple[Message, ...], tuple[Origin, ...]]:
    """A question as it would be sent, and where all of it was said."""
    own = origins_of_request(persona, request)
    earlier = tuple(origin for turn in branch for origin in origins_of_turn(turn))
    return (Message("user", "Hello", origins=own),), (*own, *earlier)


def judged(
    *branch: Turn,
    persona: Persona = SAGE,
    quoted: tuple[Place | None, ...] = (),
    places: frozenset[PlaceId] = frozenset(),
    people: frozenset[UserId] = frozenset(),
    turns: frozenset[TurnId] = frozenset(),
) -> CloudConsent | LocalOnly:
    messages, origins = told(persona.name, replace(REQUEST, quotes=quotes_of(quoted)), branch)
    return consent_to_cloud(
        messages,
        origins,
        persona=persona,
        personas={PersonaName("sage"): False, PersonaName("hermit"): True},
        marks=Marks(to_look_up(origins), places, people, turns),
    )


def reason(given: CloudConsent | LocalOnly) -> str:
    assert isinstance(given, LocalOnly)
    return given.reason


@pytest.mark.parametrize(
    ("given", "way_out"),
    [
        (lambda: judged(turn("a"), turns=frozenset({TurnId("a")})), "`/reset` begins afresh"),
        (lambda: judged(turn("a", persona="hermit")), "`/reset` begins afresh"),
        (lambda: judged(quoted=(None,)), "ask again without quoting"),
        (
            lambda: judged(people=frozenset({ADA})),
            "only they can open what they say from then on, by `/settings local_only:off`",
        ),
        (
            lambda: judged(places=frozenset({PlaceId("c1")})),
            "`/settings local_only:off scope:channel` opens it",
        ),
        (lambda: judged(persona=replace(SAGE, local_only=True)), "choose another by `/persona`"),
        (lambda: judged(persona=replace(SAGE, cloud=())), "choose another by `/persona`"),
    ],
)
def test_whoever_reads_why_words_stay_here_reads_what_to_do(
    given: Callable[[], CloudConsent | LocalOnly], way_out: str
) -> None:
    found = given()
    assert isinstance(found, LocalOnly)
    assert found.way_out.startswith(way_out)
    assert found.words == f"{found.reason}; {found.way_out}"


def test_without_a_way_out_the_reason_stands_alone() -> None:
    assert LocalOnly("nobody asks here").words == "nobody asks here"


def test_words_nobody_keeps_here_may_leave() -> None:
    given = judged(turn("a"))
    assert isinstance(given, CloudConsent)
    assert given.covers(HELLO, ZAI)


@pytest.mark.parametrize(("place", "what"), [("c1", "channel"), ("t1", "thread"), ("s1", "server")])
def test_a_channel_thread_or_server_keeps_its_words_here(place: str, what: str) -> None:
    marked = frozenset({PlaceId(place)})
    assert reason(judged(places=marked)) == f"this {what} is local only"
    # Of earlier words nobody is told where they were said.
    elsewhere = replace(REQUEST, place=Place(PlaceId("c9")))
    _, own = told(PersonaName("sage"), elsewhere, (turn("a"),))
    given = consent_to_cloud(
        (),
        own,
        persona=SAGE,
        personas={PersonaName("sage"): False},
        marks=Marks(to_look_up(own), marked),
    )
    assert reason(given) == "the place of an earlier message is local only"


def test_a_person_keeps_their_words_here_and_so_does_their_part_of_a_branch() -> None:
    assert "author of this message keeps their words" in reason(judged(people=frozenset({ADA})))
    other = UserId("u2")
    given = judged(turn("a", user=other), people=frozenset({other}))
    assert reason(given) == "the author of an earlier message keeps their words here"


def test_a_local_only_persona_never_sends_anything() -> None:
    assert "is local only" in reason(judged(persona=replace(SAGE, local_only=True)))
    assert "never uses the cloud" in reason(judged(persona=replace(SAGE, cloud=())))


def test_what_was_said_to_a_local_only_persona_stays_here_under_any_other() -> None:
    assert "persona hermit, which is local only" in reason(judged(turn("a", persona="hermit")))


def test_a_persona_that_is_gone_counts_as_local_only() -> None:
    assert "local only or unknown" in reason(judged(turn("a", persona="gone")))


def test_a_turn_said_in_private_taints_the_whole_branch_for_good() -> None:
    given = judged(turn("a"), turn("b"), turns=frozenset({TurnId("a")}))
    assert reason(given) == "an earlier message was said in private"


def test_a_quoted_message_brings_its_place_with_it() -> None:
    elsewhere = Place(PlaceId("c2"))
    assert isinstance(judged(quoted=(elsewhere,)), CloudConsent)
    given = judged(quoted=(elsewhere,), places=frozenset({PlaceId("c2")}))
    assert reason(given) == "the place of a quoted message is local only"


def test_a_quoted_message_from_nobody_knows_where_stays_here() -> None:
    assert "nobody knows" in reason(judged(quoted=(None,)))


def test_a_consent_is_limited_to_the_personas_own_providers() -> None:
    given = judged(persona=replace(SAGE, cloud=(ZAI,)))
    assert isinstance(given, CloudConsent)
    assert given.covers(HELLO, ZAI)
    assert not given.covers(HELLO, OPENAI)


def test_a_consent_covers_no_other_words() -> None:
    given = judged()
    assert isinstance(given, CloudConsent)
    assert not given.covers((*HELLO, Message("user", "a secret")), ZAI)
    assert not given.covers((Message("assistant", "Hello"),), ZAI)
    assert given.covers((), ZAI)


def judged_quote(**marks: object) -> CloudConsent | LocalOnly:
    messages, origins = told(SAGE.name, replace(REQUEST, quotes=quotes_of((HERE,))), ())
    return consent_to_cloud(
        messages,
        origins,
        persona=SAGE,
        personas={SAGE.name: False},
        marks=replace(Marks(to_look_up(origins)), **marks),
    )


def judged_prompt(people: frozenset[UserId]) -> CloudConsent | LocalOnly:
    made = replace(SAGE, maker=UserId("u2"))
    origins = (*HELLO[0].origins, origin_of_prompt(made))
    marks = Marks(to_look_up(origins), people=people)
    return consent_to_cloud(HELLO, origins, persona=made, personas={SAGE.name: False}, marks=marks)


@pytest.mark.parametrize("name", ["c1", "t1", "s1", "u1"])
@pytest.mark.parametrize(
    ("since_ms", "until_ms", "stays"),
    [
        (-1, 1, True),
        (-1, -59_999, True),
        (-1, -60_000, False),
        (59_999, 100_000, True),
        (60_000, 100_000, False),
    ],
)
def test_words_said_while_a_place_or_person_was_closed_stay_here(
    name: str, since_ms: int, until_ms: int, stays: bool
) -> None:
    spans = [(SAID_AT_MS + since_ms, SAID_AT_MS + until_ms), (1, 2)]
    given = judged_quote(spans={name: spans})
    assert isinstance(given, LocalOnly) == stays
    if stays:
        assert reason(given) == "a quoted message was said in private"


def test_words_of_a_private_turn_stay_here_when_they_are_quoted() -> None:
    assert isinstance(judged_quote(moments=frozenset({(ADA, SAID_AT_MS + 1)})), CloudConsent)
    given = judged_quote(moments=frozenset({(ADA, SAID_AT_MS)}))
    assert reason(given) == "a quoted message was said in private"


def test_a_quote_of_a_stored_turn_is_judged_like_one_of_the_question() -> None:
    elsewhere = Place(PlaceId("c2"))
    earlier = replace(turn("a"), quotes=quotes_of((elsewhere,)))
    given = judged(earlier, places=frozenset({PlaceId("c2")}))
    assert reason(given) == "the place of a quoted message is local only"


def test_words_that_came_in_without_an_origin_stay_here() -> None:
    messages, origins = told(SAGE.name, REQUEST, ())
    given = consent_to_cloud(
        (*messages, Message("user", "slipped in")),
        origins,
        persona=SAGE,
        personas={SAGE.name: False},
        marks=Marks(to_look_up(origins)),
    )
    assert "nobody knows where" in reason(given)


def test_a_message_is_judged_by_its_own_origins_whatever_else_is_said() -> None:
    messages, origins = told(SAGE.name, REQUEST, ())
    (secret,), far = told(SAGE.name, replace(REQUEST, place=Place(PlaceId("c2"))), ())
    given = consent_to_cloud(
        (*messages, secret),
        origins,
        persona=SAGE,
        personas={SAGE.name: False},
        marks=Marks(to_look_up((*origins, *far)), places=frozenset({PlaceId("c2")})),
    )
    assert reason(given) == "this channel is local only"


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ("ask <@12> or <@!12> or <@&12>", "ask @someone or @someone or @someone"),
        ("see <#12>", "see #channel"),
        ("@Ada and @Ada Lovelace met @Eve", "@Person 1 and @Person 2 met @Eve"),
        ("a < b, <@x>, <12> and @ alone", "a < b, <@x>, <12> and @ alone"),
    ],
)
def test_ids_and_mentioned_names_are_taken_out(said: str, sent: str) -> None:
    names = {"Ada": "Person 1", "Ada Lovelace": "Person 2", " ": "Person 3"}
    assert without_names(said, names) == sent


def test_nobody_else_can_make_a_consent() -> None:
    with pytest.raises(Bug, match=r"only policy\.privacy"):
        CloudConsent(frozenset(HELLO), None)
    given = judged()
    assert isinstance(given, CloudConsent)
    with pytest.raises(Bug, match=r"only policy\.privacy"):
        replace(given, messages=frozenset())


def test_a_consent_keeps_its_words_out_of_logs() -> None:
    assert "Hello" not in repr(judged())


def test_without_a_look_at_the_marks_everything_stays_here() -> None:
    origins = origins_of_request(SAGE.name, REQUEST)
    given = consent_to_cloud(HELLO, origins, persona=SAGE, personas={SAGE.name: False}, marks=None)
    assert reason(given) == "what is private could not be looked up"


def test_without_origins_everything_stays_here() -> None:
    marks = Marks(to_look_up(()))
    given = consent_to_cloud(HELLO, (), persona=SAGE, personas={SAGE.name: False}, marks=marks)
    assert "nobody knows where" in reason(given)


# --- any story at all -------------------------------------------------------------------------

names = st.sampled_from("abcd")
places = st.builds(
    Place,
    names.map(lambda n: PlaceId(f"c{n}")),
    st.none() | names.map(lambda n: PlaceId(f"t{n}")),
    st.none() | names.map(lambda n: PlaceId(f"s{n}")),
)
users = names.map(lambda n: UserId(f"u{n}"))
persona_names = st.sampled_from(["sage", "hermit", "gone"])
turns = st.builds(
    turn, st.text("xyz", min_size=1, max_size=3), place=places, user=users, persona=persona_names
)
some_places = st.frozensets(
    st.sampled_from([PlaceId(f"{kind}{name}") for kind in "cts" for name in "abcd"]), max_size=4
)
some_people = st.frozensets(users, max_size=2)
some_turns = st.frozensets(st.text("xyz", min_size=1, max_size=3).map(TurnId), max_size=4)


@given(
    branch=st.lists(turns, max_size=5),
    request_place=places,
    asker=users,
    persona=persona_names,
    quoted=st.lists(st.none() | places, max_size=2),
    private_places=some_places,
    private_people=some_people,
    private_turns=some_turns,
    forgotten=some_places,
)
def test_a_consent_means_that_nothing_in_the_story_is_private(
    branch: list[Turn],
    request_place: Place,
    asker: UserId,
    persona: str,
    quoted: list[Place | None],
    private_places: frozenset[PlaceId],
    private_people: frozenset[UserId],
    private_turns: frozenset[TurnId],
    forgotten: frozenset[PlaceId],
) -> None:
    quotes = tuple(replace(quote, user=asker) for quote in quotes_of(quoted))
    request = TurnRequest(asker, "?", request_place, "words", quotes=quotes)
    who = Persona(PersonaName(persona))
    messages, origins = told(who.name, request, branch)
    asked = to_look_up(origins)
    given = consent_to_cloud(
        messages,
        origins,
        persona=who,
        personas={PersonaName("sage"): False, PersonaName("hermit"): True},
        marks=Marks(
            replace(asked, places=asked.places - forgotten),
            private_places,
            private_people,
            private_turns,
        ),
    )
    said_in = [request_place, *quoted, *(t.place for t in branch)]
    parts = {part for p in said_in if p for part in (p.channel, p.thread, p.server) if part}
    is_private = (
        None in quoted
        or bool(parts & (private_places | forgotten))
        or bool({asker, *(t.user for t in branch)} & private_people)
        or bool({t.id for t in branch} & private_turns)
        or {persona, *(t.persona for t in branch)} != {"sage"}
    )
    assert isinstance(given, LocalOnly) == is_private


@pytest.mark.parametrize("missing", ["people", "turns", "places", "moments"])
def test_what_was_not_looked_up_is_private(missing: str) -> None:
    messages, origins = told(SAGE.name, replace(REQUEST, quotes=quotes_of((HERE,))), (turn("a"),))
    asked = replace(to_look_up(origins), **{missing: frozenset()})
    given = consent_to_cloud(
        messages, origins, persona=SAGE, personas={SAGE.name: False}, marks=Marks(asked)
    )
    assert isinstance(given, LocalOnly)


def test_all_that_is_known_of_where_words_were_said_is_looked_up() -> None:
    stored = turn("a", user=UserId("u2"))
    _, known = told(SAGE.name, replace(REQUEST, quotes=quotes_of((HERE, None))), (stored,))
    # Said by nobody, and at no time of which anybody knows.
    prompt = Origin("prompt", (), None, SAGE.name, said_at_ms=SAID_AT_MS)
    assert to_look_up((*known, prompt)) == Sources(
        places=frozenset(map(PlaceId, ("c1", "t1", "s1"))),
        people=frozenset({ADA, UserId("u2")}),
        turns=frozenset({TurnId("a")}),
        moments=frozenset({(ADA, SAID_AT_MS)}),
    )


def test_words_with_a_time_and_no_author_stay_here() -> None:
    origins = (Origin("quote", (), None, SAGE.name, said_at_ms=SAID_AT_MS),)
    given = consent_to_cloud(
        HELLO, origins, persona=SAGE, personas={SAGE.name: False}, marks=Marks(to_look_up(origins))
    )
    assert reason(given) == "a quoted message was said in private"


@pytest.mark.parametrize(
    ("given", "is_by_earlier"),
    [
        (lambda: judged(people=frozenset({ADA})), False),
        (lambda: judged(turn("a"), turns=frozenset({TurnId("a")})), True),
        (lambda: judged_quote(moments=frozenset({(ADA, SAID_AT_MS)})), True),
        # What somebody else wrote into a persona is nothing that was said here.
        (lambda: judged_prompt(people=frozenset({UserId("u2")})), False),
    ],
)
def test_that_it_is_for_earlier_words_is_known_of_what_was_said_before(
    given: Callable[[], CloudConsent | LocalOnly], *, is_by_earlier: bool
) -> None:
    found = given()
    assert isinstance(found, LocalOnly)
    assert found.is_by_earlier == is_by_earlier


def test_a_place_without_a_name_is_unknown() -> None:
    origins = (Origin("own", (None,), ADA, SAGE.name),)
    given = consent_to_cloud(
        HELLO, origins, persona=SAGE, personas={SAGE.name: False}, marks=Marks(to_look_up(origins))
    )
    assert "nobody knows whether" in reason(given)


async def test_a_check_sends_our_own_words_alone() -> None:
    given = await judge_probe(HELLO)
    assert given.covers(PROBE, ZAI)
    assert not given.covers(HELLO, ZAI)


@given(st.text(), st.text(), st.text(min_size=1), st.text(min_size=1))
def test_people_go_by_another_name_for_each_purpose(
    salt: str, other_salt: str, purpose: str, other: str
) -> None:
    name = user_hash(salt, purpose, ADA)
    assert len(name) == 32
    assert name == user_hash(salt, purpose, ADA)
    assert (name == user_hash(salt, other, ADA)) == (purpose == other)
    assert name != user_hash(salt, purpose, UserId("u2"))
    if salt.rstrip("\0") != other_salt.rstrip("\0"):
        assert name != user_hash(other_salt, purpose, ADA)
