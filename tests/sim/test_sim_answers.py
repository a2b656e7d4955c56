import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.sim.answers import Answer, Asked, Message, default_answer, tokenise


def answer(text: str, *before: Message) -> Answer:
    messages = (*before, Message("user", text))
    return default_answer(Asked("qwen/qwen3-8b", "studio", messages))


def said(text: str) -> str:
    return "".join(answer(text).content)


@given(st.text())
def test_tokens_joined_are_the_text_again(text: str) -> None:
    assert "".join(tokenise(text)) == text


def test_an_answer_says_that_it_is_simulated_and_who_speaks() -> None:
    text = said("How do tides work?")
    assert "simulated answer by qwen/qwen3-8b on studio" in text
    assert "How do tides work?" in text


def test_the_same_question_always_gets_the_same_answer() -> None:
    assert said("hello") == said("hello")


def test_an_answer_counts_the_messages_of_the_conversation() -> None:
    earlier = (Message("system", "be kind"), Message("user", "one"), Message("assistant", "two"))
    assert "message 2 of this conversation" in "".join(answer("three", *earlier).content)


def test_a_long_question_is_echoed_in_short() -> None:
    text = said("word " * 200)
    assert "…" in text
    assert len(text) < 800


def test_pictures_are_mentioned() -> None:
    asked = Asked("m", "h", (Message("user", "look", images=2),))
    assert "2 picture" in "".join(default_answer(asked).content)


def test_without_any_message_there_is_still_an_answer() -> None:
    assert default_answer(Asked("m", "h", ())).content


@given(
    st.integers(min_value=0, max_value=1200), st.sampled_from(["", "[[code]]", "[[say abc de]]"])
)
def test_an_asked_number_of_tokens_is_given_exactly(count: int, more: str) -> None:
    assert len(answer(f"hi [[tokens {count}]] {more}").content) == count


@pytest.mark.parametrize("count", [60, 200, 900])
def test_code_comes_in_a_fence_that_is_closed(count: int) -> None:
    text = said(f"[[code]] [[tokens {count}]]")
    assert text.count("```") == 2
    assert "```python\n" in text


def test_code_is_long_without_a_number_too() -> None:
    assert len(answer("[[code]]").content) == 120


def test_thinking_comes_apart_from_the_answer() -> None:
    given_answer = answer("[[think 20]] why?")
    assert len(given_answer.reasoning) == 20
    assert "".join(given_answer.content).startswith(("That", "Happy", "Let", "Here"))


def test_words_can_be_put_into_its_mouth() -> None:
    assert said("please [[say Good evening.\nAll is well.]] now") == "Good evening.\nAll is well."


def test_a_stream_can_be_asked_to_stop_without_an_end() -> None:
    assert not answer("[[stop-without-end]]").ends
    assert answer("hello").ends


def test_directives_are_not_echoed() -> None:
    assert "[[" not in said("tell me [[tokens 40]] more")


@pytest.mark.parametrize(
    "text", ["[[tokens]]", "[[tokens many]]", "[[think -1]]", "[[nonsense 4]]"]
)
def test_odd_directives_do_no_harm(text: str) -> None:
    assert isinstance(answer(text), Answer)
