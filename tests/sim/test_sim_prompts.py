import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.sim.answers import Answer, Message, tokenise
from bot.sim.prompts import begun, count_tokens, format_prompt, rest_of, script


def text_of(answer: Answer, *, max_tokens: int | None = None, stop: tuple[str, ...] = ()) -> str:
    planned = script(answer, max_tokens=max_tokens, stop=stop, room=1000)
    return "".join(token.text for token in planned.tokens)


def test_a_prompt_holds_every_message_and_asks_for_the_next() -> None:
    prompt = format_prompt([Message("system", "be kind"), Message("user", "hi")])
    assert prompt.index("be kind") < prompt.index("hi")
    assert prompt.endswith("assistant\n")


def test_words_of_the_assistant_at_the_end_are_left_open() -> None:
    messages = [Message("user", "hi"), Message("assistant", "Hello the")]
    assert format_prompt(messages).endswith("assistant\nHello the")
    assert begun([*messages[:1], Message("assistant", " Hello \n")]) == "Hello"
    assert (begun([]), begun(messages[:1])) == ("", "")


@pytest.mark.parametrize(
    ("said", "echoed", "rest"),
    [
        ("one two", False, " three four"),
        ("one tw", False, "o three four"),
        ("one two three four", False, ""),
        # Another host's words: as many tokens are taken for said.
        ("uno due", False, " three four"),
        ("uno due tre quattro cinque", False, ""),
        ("one two", True, "one two three four"),
    ],
)
def test_the_rest_of_an_answer_begins_where_the_words_so_far_end(
    said: str, echoed: bool, rest: str
) -> None:
    answer = rest_of(Answer(tokenise("one two three four"), ("Hm",)), said, is_echoed=echoed)
    assert ("".join(answer.content), answer.reasoning) == (rest, ())


def test_pictures_weigh_in_the_prompt() -> None:
    with_image = count_tokens([Message("user", "hi", images=1)])
    assert with_image == count_tokens([Message("user", "hi")]) + 256


@pytest.mark.parametrize(
    ("max_tokens", "room", "length", "reason"),
    [
        (None, 10, 3, "eosFound"),
        (3, 10, 3, "eosFound"),
        (2, 10, 2, "maxPredictedTokensReached"),
        (None, 2, 2, "contextLengthReached"),
        (5, 2, 2, "contextLengthReached"),
        (0, 10, 0, "maxPredictedTokensReached"),
    ],
)
def test_limits_cut_an_answer(max_tokens: int | None, room: int, length: int, reason: str) -> None:
    planned = script(Answer(("a", "b", "c")), max_tokens=max_tokens, stop=(), room=room)
    assert len(planned.tokens) == length
    assert planned.stop_reason == reason


def test_reasoning_counts_and_is_marked() -> None:
    planned = script(Answer(("a",), ("x", "y")), max_tokens=None, stop=(), room=99)
    kinds = [token.kind for token in planned.tokens]
    assert kinds == ["reasoningStartTag", "reasoning", "reasoning", "reasoningEndTag", "none"]


def test_a_stop_string_ends_the_answer_before_it() -> None:
    answer = Answer(("Hello", " wor", "ld,", " again"))
    assert text_of(answer, stop=("ld", "again")) == "Hello wor"
    assert script(answer, max_tokens=None, stop=("ld",), room=99).stop_reason == "stopStringFound"


@given(st.lists(st.text(min_size=1, max_size=5)), st.text(min_size=1, max_size=3))
def test_no_answer_contains_its_stop_string(tokens: list[str], stop: str) -> None:
    assert stop not in text_of(Answer(tuple(tokens)), stop=(stop,))
