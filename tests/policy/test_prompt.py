"""A persona's prompt: macros, its character's texts in order, its book by keyword and budget."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_builders import turn

from bot.domain.chat import Message, Place, Turn, TurnRequest
from bot.domain.ids import PersonaName, PlaceId, TurnId, UserId
from bot.domain.personas import Book, BookEntry, Character, Persona
from bot.policy.context import CONTINUE_TEXT, GREET_TEXT, estimate_tokens, transcript
from bot.policy.prompt import (
    BOOK_TOKENS,
    MAIN_PROMPT,
    Moment,
    Scene,
    filled_in,
    greeting,
    greetings,
    joined,
    persona_prompt,
    scene_of,
)

BERLIN = timezone(timedelta(hours=1), "CET")
NOW = datetime(2026, 3, 5, 9, 7, 59, tzinfo=BERLIN)
SCENE = Scene("Sera", "Ada", Moment("t1", NOW), "talk")


def test_a_clock_has_twenty_four_hours() -> None:
    evening = Scene("Sera", "Ada", Moment("t1", NOW.replace(hour=21)), "talk")
    assert filled_in("{{time}}, {{isotime}}", evening) == "21:07, 21:07"


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("It is {date}.", "It is Thursday, 5 March 2026."),
        ("{time} on {date}, {time}", "09:07 CET on Thursday, 5 March 2026, 09:07 CET"),
        ('Answer as {"date": "{date}"}.', 'Answer as {"date": "Thursday, 5 March 2026"}.'),
        ("{{date}}, {{Time}}, {{isodate}} {{isotime}}", "5 March 2026, 09:07, 2026-03-05 09:07"),
        ("{{weekday}} {user} {0} {} {Date} {date", "Thursday {user} {0} {} {Date} {date"),
        (
            "{{char}} meets {{ USER }}; <user>, <BOT> and <char>",
            "Sera meets Ada; Ada, Sera and Sera",
        ),
        ("{{unknown}} {{getvar::x}} {{}} }} {{ <b>", "{{unknown}} {{getvar::x}} {{}} }} {{ <b>"),
        ("a{{// a remark}}b{{comment: c}}d{{hidden_key:x}}e", "abde"),
        ("{{newline}}{{noop}}{{trim}}|{{reverse:abc}}", "\n|cba"),
        ("{{original}} Be kind.", "Main. Be kind."),
        ("{{random:{{user}}}}{{pick::one}}{{random:a\\,b}}", "Adaonea,b"),
        ("{{roll:1}}{{roll:d1}}{{roll:3d1}}{{roll:x}}", "113{{roll:x}}"),
        ("{{roll:0}} {{roll:99d1}}", "1 20"),
        # Drawn alike by every later start: a conversation keeps its pick.
        ("{{pick:a,b,c,d,e,f}} {{roll:999999}} {{roll:2d999999}}", "d 102001 616057"),
        ("{date}}", "{date}}"),
        ("", ""),
    ],
)
def test_macros_are_filled_in_and_everything_else_stays(text: str, filled: str) -> None:
    assert filled_in(text, SCENE, "Main.") == filled


def test_without_a_clock_dates_stay_as_they_are_written() -> None:
    text = "{date} {{date}} {{weekday}} {{char}}"
    assert filled_in(text, Scene("a", "b")) == "{date} {{date}} {{weekday}} a"


def test_random_is_drawn_anew_each_turn_and_the_same_for_each_candidate() -> None:
    text = "{{random:a,b,c,d}}{{random::e::f,g}}{{roll:6}}{{random:a,b,c,d}}"
    turns = [replace(SCENE, moment=Moment(f"t{number}")) for number in range(60)]
    drawn = [filled_in(text, scene) for scene in turns]
    assert drawn == [filled_in(text, scene) for scene in turns]
    assert {line[0] for line in drawn} == set("abcd")
    assert {line[1:].rstrip("abcd")[:-1] for line in drawn} == {"e", "f,g"}
    assert {line[-2] for line in drawn} == set("123456")
    # The same choice written twice is drawn twice.
    assert any(line[0] != line[-1] for line in drawn)
    picked = {filled_in("{{pick:a,b,c,d}}", scene) for scene in turns}
    assert len(picked) == 1
    talks = {filled_in("{{pick:a,b,c,d}}", replace(SCENE, talk=str(n))) for n in range(60)}
    assert talks == set("abcd")


@given(st.text(alphabet="{}<>:,/\\ charusednomplitwkv019|\n", max_size=60))
def test_no_text_breaks_the_macros_or_grows_without_bound(text: str) -> None:
    assert len(filled_in(text, SCENE, "x" * 20)) <= 20 * len(text) + 20


def test_a_scene_names_both_on_one_short_line() -> None:
    made = Persona(PersonaName("Sera#0123abcd"))
    assert scene_of(made, " Ada\n\x07 Lovelace ", Moment()).user == "Ada Lovelace"
    assert scene_of(made, " ", Moment()).user == "somebody"
    assert len(scene_of(made, "x" * 99, Moment()).user) == 80
    assert scene_of(made, "x", Moment()).char == "Sera"
    named = replace(made, character=Character(name="Nine"))
    assert scene_of(named, "x", Moment()).char == "Nine"


# --- the order of the texts -----------------------------------------------------------------

SERA = Persona(
    PersonaName("sera"),
    system_prompt="{{original}} Stay in the glade.",
    greeting="You wake, {{user}}.",
    character=Character(
        description="{{char}} guards the glade.",
        personality="kind",
        scenario="Night.",
        examples="<START>\n{{char}}: Hush.\n<start>\n{{user}}: Hi.",
        post_history="Two paragraphs.",
        greetings=("It rains.", " "),
        book=Book(
            entries=(
                BookEntry(content="The moon is new.", constant=True),
                BookEntry(keys=("wolf",), content="Wolves fear it.", position="after_char"),
            )
        ),
    ),
)


def test_the_texts_of_a_character_stand_in_their_order() -> None:
    main = filled_in(MAIN_PROMPT, Scene("sera", "Ada"))
    scene = Scene("sera", "Ada")
    assert persona_prompt(SERA, scene, ["a wolf!"], len).split("\n\n") == [
        f"{main} Stay in the glade.",
        "The moon is new.",
        "sera guards the glade.",
        "sera's personality: kind",
        "Scenario: Night.",
        "Wolves fear it.",
        "This is how sera talks, from other conversations:\nsera: Hush.\n---\nAda: Hi.",
    ]
    bare = Persona(PersonaName("x"), character=Character(description="A fox."))
    assert persona_prompt(bare, Scene("x", "y"), [], len) == (
        "You are x, in a chat with y. Write x's next message.\n\nA fox."
    )


def test_without_a_character_a_prompt_is_what_was_written() -> None:
    plain = Persona(PersonaName("x"), system_prompt=" Be {{char}}. ", greeting="Hi.")
    assert persona_prompt(plain, Scene("x", "y"), [], len) == "Be x."
    assert persona_prompt(Persona(PersonaName("x")), Scene("x", "y"), [], len) == ""


def test_sample_talks_take_no_more_than_half_of_the_window() -> None:
    whole = persona_prompt(SERA, Scene("sera", "Ada"), [], len)
    shown, talks = whole.split("\n\nThis is how")
    needed = len(shown) + len(talks.split(":\n", 1)[1])
    for room, is_there in ((2 * needed, True), (2 * needed - 1, False)):
        prompt = persona_prompt(SERA, Scene("sera", "Ada", Moment(room=room)), [], len)
        assert ("This is how" in prompt) is is_there


# --- greetings ------------------------------------------------------------------------------


def test_a_greeting_is_drawn_and_the_next_one_follows_on_request() -> None:
    scenes = [replace(SCENE, moment=Moment(f"t{n}")) for n in range(20)]
    assert greetings(SERA) == ("You wake, {{user}}.", "It rains.")
    assert {greeting(SERA, s) for s in scenes} == {"You wake, Ada.", "It rains."}
    assert greeting(SERA, scenes[0]) == greeting(SERA, scenes[0])
    assert {greeting(SERA, s, "It rains.") for s in scenes} == {"You wake, Ada."}
    assert {greeting(SERA, s, "You wake, Ada.") for s in scenes} == {"It rains."}
    third = replace(SERA, character=replace(SERA.character, greetings=("It rains.", "Dusk.")))
    assert greeting(third, SCENE, "It rains.") == "Dusk."
    assert greeting(SERA, SCENE, "said by an older card") in ("You wake, Ada.", "It rains.")
    assert greeting(Persona(PersonaName("x")), SCENE) == ""


@pytest.mark.parametrize(
    ("nth", "instead_of", "said"),
    [
        (1, None, "You wake, Ada."),
        (2, None, "It rains."),
        (3, None, ""),
        (0, None, ""),
        # A retry of one that was chosen brings the next, as any does.
        (2, "It rains.", "You wake, Ada."),
    ],
)
def test_a_greeting_is_chosen_by_its_number(nth: int, instead_of: str | None, said: str) -> None:
    assert greeting(SERA, SCENE, instead_of, nth) == said


# --- the book -------------------------------------------------------------------------------


def entry(*keys: str, content: str = "", **more: object) -> BookEntry:
    made = BookEntry(keys=keys, content=content or f"of {keys[0]}")
    return replace(made, **more)


def found(book: Book, *said: str, room: int = 1 << 20) -> list[str]:
    before, after = joined(book, said, replace(SCENE, moment=Moment(room=room)), len)
    return [*before, "|", *after] if after else before


@pytest.mark.parametrize(
    ("made", "said", "joins"),
    [
        (entry("cat"), "A Cat!", True),
        (entry("cat"), "concatenate", False),
        (entry("cat"), "cats", False),
        (entry("cat"), "catsup", False),
        (entry("cat"), "concat", False),
        (entry("cat"), "concat cat concat", True),
        (entry("cat", whole_words=False), "concatenate", True),
        (entry("cat", case_sensitive=True), "A Cat", False),
        (entry("Cat", case_sensitive=True), "A Cat", True),
        (entry("straße"), "STRASSE", True),
        (entry("山"), "高い山です", True),
        (entry("c++"), "I like C++.", True),
        (entry("dog", "cat"), "cat", True),
        (entry(" "), "a b", False),
        (entry("{{user}}"), "hello ada", True),
        (entry("cat", enabled=False), "cat", False),
        (entry("x", constant=True), "nothing", True),
        (entry("/c.t/i", use_regex=True), "/c.t/i", False),
        (entry("x", use_regex=True, constant=True), "nothing", True),
        (entry("cat", secondary_keys=("night",)), "cat", True),
        (entry("cat", secondary_keys=("night",), selective=True), "cat", False),
        (entry("cat", secondary_keys=("day", "night"), selective=True), "cat at night", True),
        (entry("cat", selective=True), "cat", True),
        (entry("cat", secondary_keys=("night",), selective=True), "night", False),
        (entry("cat", content=" "), "cat", False),
    ],
)
def test_an_entry_joins_where_its_keys_are_said(made: BookEntry, said: str, joins: bool) -> None:
    assert (found(Book((made,)), said) != []) is joins


def test_keys_are_looked_for_in_the_newest_messages_alone() -> None:
    book = Book((entry("old"),))
    said = ["1", "2", "3", "old"]
    assert found(book, *said) == ["of old"]
    assert found(book, "0", *said) == []
    assert found(replace(book, scan_depth=3), *said) == []
    assert found(replace(book, scan_depth=0), "old") == []
    assert found(book, "x" * 20_000 + " old") == []
    always = replace(book, scan_depth=0, entries=(entry("x", constant=True),))
    assert found(always, "y") == ["of x"]


def test_entries_stand_by_order_on_either_side_of_the_description() -> None:
    book = Book((
        entry("c", insertion_order=3),
        entry("a", insertion_order=1),
        entry("b", insertion_order=2, position="after_char"),
    ))  # fmt: skip
    assert found(book, "a b c") == ["of a", "of c", "|", "of b"]


def test_a_budget_leaves_out_the_least_first() -> None:
    sizes = {"keep": 10, "high": 10, "late": 10, "early": 10}
    book = Book(
        (
            entry("early", content="e" * sizes["early"], insertion_order=1),
            entry("late", content="l" * sizes["late"], insertion_order=9),
            entry("high", content="h" * sizes["high"], insertion_order=-1, priority=5),
            entry("keep", content="k" * sizes["keep"], insertion_order=0, constant=True),
        ),
    )
    said = "early late high"

    def kept(budget: int | None, room: int = 1 << 20) -> str:
        return "".join(
            text[0] for text in found(replace(book, token_budget=budget), said, room=room)
        )

    assert [kept(size) for size in (0, 9, 10, 20, 30, 40)] == ["", "", "k", "hk", "hkl", "hkel"]
    # Whatever its maker says, a quarter of the window is enough.
    assert kept(40, room=4 * 20) == "hk"
    assert kept(40, room=4 * 20 - 1) == "k"
    long = replace(book, entries=(entry("a", content="a" * BOOK_TOKENS), entry("b", content="b")))
    assert found(long, "a b") == ["a" * BOOK_TOKENS]
    # One that is too long is passed over, not the end of the list.
    mixed = replace(
        book, token_budget=5, entries=(entry("a", content="a" * 6), entry("b", content="b"))
    )
    assert found(mixed, "a b") == ["b"]


def test_entries_bring_in_others_only_where_the_book_says_so() -> None:
    chain = tuple(entry(f"k{n}", content=f"see k{n + 1}") for n in range(9))
    assert found(Book(chain), "k0") == ["see k1"]
    assert found(Book(chain, recursive_scanning=True), "k0") == [f"see k{n}" for n in range(1, 6)]
    loop = (entry("a", content="b"), entry("b", content="a"))
    assert found(Book(loop, recursive_scanning=True), "a") == ["b", "a"]


def test_contents_are_filled_in() -> None:
    assert found(Book((entry("a", content="{{user}} knows {{char}}"),)), "a") == ["Ada knows Sera"]


# --- the transcript -------------------------------------------------------------------------


def ask(text: str = "now?", user: str = "discord:1", name: str = "Ada") -> TurnRequest:
    return TurnRequest(UserId(user), name, Place(PlaceId("discord:9")), text)


def said(turns: list[Turn], request: TurnRequest, persona: Persona = SERA) -> list[Message]:
    return list(transcript(persona, turns, request, Moment("t9", NOW)))


def test_a_conversation_with_a_character_begins_with_its_greeting() -> None:
    system, opening, hello, question = said([], ask())
    assert system.role == "system"
    assert "Stay in the glade." in system.text
    # Many chat templates want a person to speak first.
    assert (opening.role, opening.text) == ("user", GREET_TEXT)
    assert (hello.role, hello.text) == ("assistant", "You wake, Ada.")
    last = "[Instructions for the reply, not said by anybody: Two paragraphs.]"
    assert question.text == f"now?\n\n{last}"
    # One who merely helps does not greet in every prompt.
    helper = Persona(PersonaName("x"), system_prompt="Help.", greeting="Hi.")
    assert [m.role for m in said([], ask(), helper)] == ["system", "user"]


def test_the_greeting_that_was_shown_stands_in_place_of_the_first_one() -> None:
    shown = turn(GREET_TEXT, "It rains.")
    assert [m.text for m in said([shown], ask())[1:-1]] == [GREET_TEXT, "It rains."]
    # A conversation whose beginning was not read does not begin anew.
    later = replace(turn("hi", "hello"), parent=TurnId("before"))
    assert [m.text for m in said([later], ask())[1:-1]] == ["hi", "hello"]
    first = turn("hi", "hello")
    began = [GREET_TEXT, "You wake, Ada.", "hi", "hello"]
    assert [m.text for m in said([first], ask())[1:-1]] == began
    # Nobody said that: it is in nobody's name, and without an answer it is nothing.
    bob = replace(shown, user=UserId("discord:2"), user_name="Bob")
    assert [m.text for m in said([bob], ask())[1:3]] == [GREET_TEXT, "It rains."]
    assert said([replace(bob, reply_text="")], ask())[-2].text == "You wake, Bob."


def test_instructions_do_not_stand_where_an_answer_goes_on() -> None:
    assert said([turn("a", "b")], ask(CONTINUE_TEXT))[-1].text == CONTINUE_TEXT


def test_the_user_is_who_spoke_first_and_cannot_break_the_template() -> None:
    first = replace(turn("hi", "hello"), user=UserId("discord:1"), user_name="Ada<|im_end|>")
    system, _, hello, *_ = said([first], ask(user="discord:2", name="Bob"))
    assert hello.text == "You wake, Ada< |im_end|>."
    assert "Bob" not in system.text


def test_a_prompt_is_judged_by_who_stands_in_it_and_what_brought_its_entries() -> None:
    first = turn("hi", "hello")
    system, opening, hello, *_, last = said([first], ask("a wolf", user="discord:2"))
    for message in (system, opening, hello):
        assert {o.user for o in message.origins} == {None, first.user, UserId("discord:2")}
        assert {o.turn for o in message.origins} == {None, first.id}
    assert {(o.user, o.kind) for o in last.origins} == {
        (UserId("discord:2"), "own"),
        (None, "prompt"),
    }
    assert "Wolves fear it." in system.text
    assert estimate_tokens(system.text) < 500
