import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.policy.markup import Fence, harmless, is_boundary, lines_of, open_fence

LINK = "[here](https://evil.example/path?q=1)"


@pytest.mark.parametrize(
    ("text", "fence"),
    [
        ("plain", None),
        ("```", Fence("```")),
        ("   ~~~~ py \ncode", Fence("~~~~", "py")),
        ("    ```", None),
        ("``` a `b`", None),
        ("~~~ a `b`", Fence("~~~", "a `b`")),
        ("words ```", None),
        ("```\n~~~", Fence("```")),
        ("```\n````", None),
        ("````\n```", Fence("````")),
        ("```\n``` py", Fence("```")),
        ("```\n    ```", Fence("```")),
        ("```\ncode\n```  \n", None),
        ("`" * 33, None),
        ("```" + "i" * 41, Fence("```")),
    ],
)
def test_the_open_fence_is_the_one_commonmark_sees(text: str, fence: Fence | None) -> None:
    assert open_fence(text) == fence


def test_a_text_may_begin_inside_a_fence() -> None:
    assert open_fence("code\n~~~\n", Fence("~~~")) is None
    assert open_fence("code\n", Fence("~~~")) == Fence("~~~")


@given(st.text(alphabet="a`~ \n"))
def test_the_lines_of_a_text_make_up_the_text(text: str) -> None:
    assert "".join(line.text for line in lines_of(text)) == text


@pytest.mark.parametrize(
    ("text", "place", "holds"),
    [
        ("ab", 1, True),
        ("e\u0301", 1, False),
        ("👩\u200d👧", 1, False),
        ("👩\u200d👧", 2, False),
        ("❤\ufe0f", 1, False),
        ("👍🏽", 1, False),
        ("🇩🇪🇫🇷", 1, False),
        ("🇩🇪🇫🇷", 2, True),
        ("x🇩🇪", 1, True),
        ("🏴\U000e0067", 1, False),
        ("\ud83d\ude00", 1, False),
        ("\r\n", 1, False),
        ("\u1112\u1161", 1, False),
    ],
)
def test_a_place_inside_one_character_as_read_is_no_boundary(
    text: str, place: int, holds: bool
) -> None:
    assert is_boundary(text, place) is holds


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        (LINK, f"{LINK} (evil.example)"),
        (f"a {LINK}, b", f"a {LINK} (evil.example), b"),
        ("[evil.example](https://evil.example)", "[evil.example](https://evil.example)"),
        (
            "[good.example](https://evil.example)",
            "[good.example](https://evil.example) (evil.example)",
        ),
        (
            "[notevil.example](http://evil.example)",
            "[notevil.example](http://evil.example) (evil.example)",
        ),
        ("![x](http://e.example/a_(b))", "![x](http://e.example/a_(b)) (e.example)"),
        ('[x](<https://e.example> "t")', '[x](<https://e.example> "t") (e.example)'),
        ("[x](https://[bad)", "[x](https://[bad) (?)"),
        (f"`{LINK}`", f"`{LINK}`"),
        (f"```\n{LINK}\u202e\n```\n{LINK}", f"```\n{LINK}\u202e\n```\n{LINK} (evil.example)"),
        ("a\u202eb\u200bc\u2066d\ufeff", "abcd"),
        ("👩\u200d👧 می\u200cخواهم", "👩\u200d👧 می\u200cخواهم"),
    ],
)
def test_hidden_hosts_are_said_and_hidden_characters_dropped(text: str, shown: str) -> None:
    assert harmless(text) == shown


fragment = st.sampled_from([LINK, "`", "```", "\n", "```\n", "\u202e", " ", "[a]", "(b)", "~~~"])


@given(st.lists(fragment, max_size=12).map("".join), st.data())
def test_a_growing_text_stays_a_beginning_of_its_harmless_whole(
    text: str, data: st.DataObject
) -> None:
    end = data.draw(st.integers(0, len(text)))
    assert harmless(text).startswith(harmless(text[:end]))
