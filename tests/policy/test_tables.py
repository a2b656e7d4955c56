"""Markdown's tables as Discord can show them."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bot.policy.markup import open_fence
from bot.policy.tables import SAMPLE, WIDTH, tabled

TABLE = (
    "| Host | Memory |\n|---|---:|\n| studio | **64** GB |\n| `den` | 24 GB |\n"
    "| attic | 8 GB |\n| a far longer one | 1 GB |\n"
)
BLOCK = (
    "```\nHost             │ Memory\n─────────────────┼───────\nstudio           │  64 GB\n"
    "den              │  24 GB\nattic            │   8 GB\na far longer one │   1 GB\n```\n"
)


def test_a_table_becomes_an_aligned_block_and_the_words_around_it_stay() -> None:
    assert tabled(f"Look:\n\n{TABLE}\nSo it is.") == f"Look:\n\n{BLOCK}\nSo it is."
    assert tabled(TABLE.rstrip("\n")) == BLOCK


def test_cells_stand_on_the_side_that_the_rule_says() -> None:
    rows = "| 123 | 1 | 1 | 1 |\n| 1 | 123 | 123 | 1 |\n"
    assert tabled(f"| a | b | c | d |\n|:--|--:|:-:|---|\n{rows}") == (
        "```\na   │   b │  c  │ d\n────┼─────┼─────┼──\n"
        "123 │   1 │  1  │ 1\n1   │ 123 │ 123 │ 1\n```\n"
    )
    assert tabled("| 日本 |\n|--:|\n| 12345 |\n") == "```\n 日本\n─────\n12345\n```\n"


def test_a_wide_table_becomes_a_list_with_the_names_of_its_columns() -> None:
    long = "word " * 12
    text = f"| Name | What it does | Left |\n|:-|:-:|-|\n| a | {long}| |\n| | {long}| b \\| c |\n"
    assert tabled(text) == (
        f"- **Name:** a\n  **What it does:** {long.strip()}\n"
        f"- **What it does:** {long.strip()}\n  **Left:** b | c\n"
    )


@pytest.mark.parametrize(
    ("cell", "is_block"), [("x" * (WIDTH - 4), True), ("x" * (WIDTH - 3), False)]
)
def test_the_widest_block_is_sixty_columns(cell: str, is_block: bool) -> None:
    shown = tabled(f"| a | b |\n|---|---|\n| {cell} | c |\n")
    assert shown.startswith("```") is is_block
    assert not is_block or max(map(len, shown.splitlines())) == WIDTH


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("| a |\n|---|\n| bc |\n", "```\na\n──\nbc\n```\n"),
        ("|\n|-|\n|a|\n", "```\n\n─\na\n```\n"),
        ("| a | b |\n|-|-|\n| c | d | e |\n| f |\n", "```\na │ b\n──┼──\nc │ d\nf\n```\n"),
        ("   | a |\n|:-:| \t\r\n| b<br>c |", "```\n  a\n─────\nb / c\n```\n"),
        ("a | b\n| c |\n|-|\n| d |\ne", "a | b\n```\nc\n─\nd\n```\ne"),
        ("```\n| a |\n```\n| b |\n|-|\n", "```\n| a |\n```\n```\nb\n─\n```\n"),
        (
            f"| a |\n|-|\n| b |\n| c |\n| {'w' * 61} |\n",
            f"- **a:** b\n- **a:** c\n- **a:** {'w' * 61}\n",
        ),
        (f"| a | |\n|-|-|\n| b | {'w' * 60} | c |\n", f"- **a:** b\n  **…:** {'w' * 60}\n"),
    ],
)
def test_what_a_row_lacks_is_left_out_and_what_it_has_too_much_too(text: str, shown: str) -> None:
    assert tabled(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("x\n| a | ", "x\n"),
        ("a|b\n ", "a|b\n"),
        ("| a |\n|-|\n| b |\n| c |\n| dd |\n| eee |\n", "```\na\n──\nb\nc\ndd\neee\n"),
        ("| a |\nx", "| a |\nx"),
        ("| a |\n|x", "| a |\n"),
        ("| a |\n|-|\n| b |\n| c |\n| d |", ""),
        ("| a |\n|-|\n| b |\n| c |\n| d |\n", "```\na\n─\nb\nc\nd\n"),
        ("| a |\n|-|\n| b |\n| c |\n| d |\n| e", "```\na\n─\nb\nc\nd\n"),
    ],
)
def test_of_a_growing_text_what_may_become_a_table_is_held_back(text: str, shown: str) -> None:
    assert tabled(text, is_whole=False) == shown


def test_letters_of_two_columns_and_marks_of_none_are_counted_so() -> None:
    shown = tabled("| a | b |\n|---|---|\n| 日本 | x |\n| e\u0301 | y |\n").splitlines()
    assert shown[3:5] == ["日本 │ x", "e\u0301    │ y"]


@pytest.mark.parametrize(
    "text",
    [
        "```\n" + TABLE + "```",
        "~~~\n" + TABLE,
        "see ``` here\n" + TABLE,
        "| a | b |\n| c | d |\n",
        "|\n|\n",
        "| a | b |\n|---|\n",
        "| a | b |\n|   |   |\n",
        "a | b\n--|--\nc | d\n",
        "|" + "a|" * 13 + "\n|" + "-|" * 13 + "\n",
        f"|{'a' * 201}|\n|-|\n|b|\n",
        "either || or ",
        "~~~ ```\n~~~\n" + TABLE,
    ],
)
def test_what_is_no_table_stays_as_it_is(text: str) -> None:
    assert tabled(text) == text


@pytest.mark.parametrize(
    "text", ["|" + "a|" * 12 + "\n|" + "-|" * 12 + "\n|b|\n", f"|{'a' * 200}|\n|-|\n|b|\n"]
)
def test_the_largest_tables_are_shown_as_such(text: str) -> None:
    assert tabled(text).startswith(("```", "- **"))


def test_all_rows_of_a_whole_table_count_for_its_width_while_they_fit() -> None:
    rows = "| a | b |\n|---|---|\n" + "| c | d |\n" * SAMPLE
    for length, filled in ((WIDTH - 4, WIDTH - 4), (WIDTH - 3, 1)):
        shown = tabled(f"{rows}| {'x' * length} | e |\n").splitlines()
        assert shown[3] == "c".ljust(filled) + " │ d"


def test_a_growing_table_is_held_back_until_three_rows_are_known_then_grows_by_whole_rows() -> None:
    seen = list(dict.fromkeys(tabled(TABLE[:end], is_whole=False) for end in range(len(TABLE) + 1)))
    assert seen[0] == ""
    assert [text.count("\n") for text in seen[1:]] == [3 + SAMPLE, 4 + SAMPLE]
    assert tabled(TABLE + "\nSo", is_whole=False) == f"{seen[-1]}```\n\nSo"


def test_no_cell_ends_the_block_it_stands_in() -> None:
    assert tabled("| a |\n|---|\n| **`**``|\n| ``` |\n").count("```") in (0, 2)
    assert "'''" in tabled("| a |\n|---|\n| **`**`` |\n")


pieces = st.sampled_from([
    "| a | b |\n", "|---|---|\n", "|-|\n", "| x |\n", "|", "\n", "a", " ", "```\n", "```py\n",
    "```",
    "~~~\n", "`", "**", "\\|", "日本", f"| {'w' * 40} | {'v' * 40} |\n", "| <@1> | @everyone |\n",
])  # fmt: skip
texts = st.lists(pieces, max_size=30).map("".join)


@given(texts, texts)
@example(" ", "| a |\n")
def test_what_is_shown_of_a_growing_text_is_a_beginning_of_all_that_follows(
    text: str, more: str
) -> None:
    early, late = tabled(text, is_whole=False), tabled(text + more, is_whole=False)
    assert late.startswith(early)


@given(texts)
def test_what_is_shown_is_bounded_stays_itself_and_leaves_no_fence_open(text: str) -> None:
    shown = tabled(text)
    assert len(shown) <= 60 * len(text) + 500
    assert tabled(shown) == shown
    assert (open_fence(shown) is None) == (open_fence(text) is None)
    # A head is told again with each row, so counting them says nothing; they are its own.
    assert set(re.findall(r"<@[^>]*>?", shown)) <= set(re.findall(r"<@[^>]*>?", text))
