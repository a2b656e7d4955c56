from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.chat import Attachment, Message, Usage
from bot.domain.events import TextDelta
from bot.inference.pieces import Pieces, estimate_prompt_tokens, mended


def split(*parts: str, inline_think: bool = True) -> tuple[str, str]:
    """Reasoning and answer."""
    pieces = Pieces(inline_think=inline_think)
    deltas = [delta for part in parts for delta in pieces.answer(part)] + pieces.flush()
    answer = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
    thought = "".join(delta.text for delta in deltas if not isinstance(delta, TextDelta))
    return thought, answer


@pytest.mark.parametrize(
    ("text", "thought", "answer"),
    [
        ("plain answer", "", "plain answer"),
        ("<think>why</think>because", "why", "because"),
        ("\n <think>\nwhy\n</think>\n\nbecause\n", "\nwhy\n", "because\n"),
        ("<think></think>because", "", "because"),
        ("</think>\n\nbecause", "", "because"),
        ("<think>a < b </ b </thin </think>c", "a < b </ b </thin ", "c"),
        ("<think>never closed </thi", "never closed </thi", ""),
        ("<thinking>about</thinking>", "", "<thinking>about</thinking>"),
        ("<thi", "", "<thi"),
        (" <", "", " <"),
        ("a <think>b</think>", "", "a <think>b</think>"),
        (
            "<think>a</think>b <think>c</think></think>",
            "a",
            "b <think>c</think></think>",
        ),
        ("1 < 2", "", "1 < 2"),
        ("", "", ""),
    ],
)
def test_only_a_leading_think_block_is_reasoning_torn_anywhere(
    text: str, thought: str, answer: str
) -> None:
    for first in range(len(text) + 1):
        for second in range(first, len(text) + 1):
            parts = text[:first], text[first:second], text[second:]
            assert split(*parts) == (thought, answer)
    assert split(*text) == (thought, answer)


def test_tags_stay_in_the_answer_where_reasoning_never_comes_inline() -> None:
    assert split("<think>x</think>", inline_think=False) == ("", "<think>x</think>")


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="<")),
    st.lists(st.integers(0, 50), max_size=5),
)
def test_words_without_tags_come_out_as_they_came_in(text: str, cuts: list[int]) -> None:
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    parts = [text[a:b] for a, b in pairwise(places)]
    assert split(*parts) == ("", text)


@given(st.text(st.sampled_from("aé…😀🏮"), max_size=8), st.data())
def test_characters_cut_in_two_are_joined(text: str, data: st.DataObject) -> None:
    raw = text.encode("utf-16-le")
    cut = data.draw(st.integers(0, len(raw) // 2)) * 2
    first, half = mended("", raw[:cut].decode("utf-16-le", "surrogatepass"))
    second, rest = mended(half, raw[cut:].decode("utf-16-le", "surrogatepass"))
    assert (first + second, rest) == (text, "")


@pytest.mark.parametrize(
    ("parts", "mended"),
    [
        (("a\ud83d",), "a\ufffd"),
        (("\ude00b",), "\ufffdb"),
        (("\ud83d", "x"), "\ufffdx"),
        (("\ud83d", "\ud83d", "\ude00"), "\ufffd😀"),
        (("\ud800", "\udc00"), "\U00010000"),
        (("\udbff", "\udfff"), "\U0010ffff"),
    ],
)
def test_half_a_character_alone_becomes_a_replacement(parts: tuple[str, ...], mended: str) -> None:
    assert split(*parts) == ("", mended)


def usage(counted: Usage, *, answer: int = 0, thought: int = 0) -> Usage:
    pieces = Pieces(inline_think=False)
    for _ in range(answer):
        pieces.answer("word")
    for _ in range(thought):
        pieces.reasoning("hm")
    return pieces.usage(counted, prompt_estimate=50)


@pytest.mark.parametrize(
    ("counted", "answer", "thought", "expected"),
    [
        (Usage(9, 7, 3, 2), 5, 2, Usage(9, 7, 3, 2)),
        (Usage(9, 7), 5, 2, Usage(9, 7, 0, 2)),
        (Usage(9, 1), 1, 8, Usage(9, 1, 0, 1)),
        (Usage(), 5, 2, Usage(50, 7, 0, 2, estimated=True)),
        (Usage(9, 0), 5, 0, Usage(9, 5, 0, 0, estimated=True)),
        (Usage(9, 0), 0, 0, Usage(9, 0, 0, 0)),
        (Usage(0, 7), 5, 0, Usage(50, 7, 0, 0, estimated=True)),
    ],
)
def test_tokens_are_the_other_sides_count_or_an_estimate_that_says_so(
    counted: Usage, answer: int, thought: int, expected: Usage
) -> None:
    assert usage(counted, answer=answer, thought=thought) == expected


def test_an_estimate_does_not_count_a_large_piece_as_one_token() -> None:
    pieces = Pieces(inline_think=False)
    pieces.answer("x" * 41)
    assert pieces.usage(Usage(), 0).completion_tokens == 11


def test_a_prompts_estimate_grows_with_words_messages_and_images() -> None:
    image = Attachment("cat.png", "image/png", image=b"png")
    short = (Message("user", "hi"),)
    assert estimate_prompt_tokens(()) == 0
    assert estimate_prompt_tokens(short) == 5
    assert estimate_prompt_tokens((Message("user", "hi", (image,)),)) == 605
