"""Long code of an answer as files."""

import pytest

from bot.policy.code_files import MOST_FILES, MOST_LINES, CodeFile, long_code
from bot.policy.splitting import LIMIT


def block(lines: int, info: str = "python", mark: str = "```") -> str:
    return f"{mark}{info}\n" + "x = 1\n" * lines + mark


def test_a_block_of_more_than_sixty_lines_is_a_file_and_one_of_sixty_is_none() -> None:
    code = "x = 1\n" * (MOST_LINES + 1)
    assert long_code(f"Look:\n{block(MOST_LINES + 1)}\nDone.") == (CodeFile("answer.py", code),)
    assert long_code(f"Look:\n{block(MOST_LINES)}\nDone.") == ()


def test_a_short_block_of_long_lines_is_a_file_when_it_reaches_over_two_messages() -> None:
    code = "y" * 70 + "\n"
    (listing,) = long_code(f"Look:\n```sql\n{code * 40}```")
    assert listing == CodeFile("answer.sql", code * 40)
    assert long_code(f"{'word ' * (LIMIT // 3)}\n```sql\n{code * 4}```\n{'word ' * LIMIT}") == ()


def test_a_short_block_beside_one_that_is_cut_is_no_file() -> None:
    long = "y" * 70 + "\n"
    found = long_code(f"{block(2)}\n```sql\n{long * 40}```\n{block(3)}")
    assert [listing.name for listing in found] == ["answer.sql"]


@pytest.mark.parametrize(
    ("info", "ending"),
    [
        ("", "txt"), ("Rust", "rs"), ("c++", "cpp"), ("js {1,3}", "js"), ("ts:src/a.ts", "ts"),
        ("../../etc/passwd", "txt"), ("klingon", "txt"), ('py title="a"', "py"),
    ],
)  # fmt: skip
def test_the_language_gives_the_ending_and_nothing_else_of_the_name(info: str, ending: str) -> None:
    (listing,) = long_code(block(99, info, "~~~"))
    assert listing.name == f"answer.{ending}"


def test_several_long_blocks_are_as_many_files_as_discord_takes() -> None:
    found = long_code("\n".join([block(2), *[block(61), block(61, "go")] * 6]))
    assert [listing.name for listing in found[:3]] == ["answer.py", "answer-2.go", "answer-3.py"]
    assert len(found) == MOST_FILES


def test_code_that_was_cut_off_is_a_file_up_to_there() -> None:
    (listing,) = long_code("```go\n" + "x\n" * 61 + "fun")
    assert listing.code == "x\n" * 61 + "fun"


@pytest.mark.parametrize(
    "text", ["", "```go\nx", "```go\nx\n", "words\n" * 99, "```\n```\n" * 99, "| a |\n" * 99]
)
def test_an_answer_without_long_code_has_no_files(text: str) -> None:
    assert long_code(text) == ()
