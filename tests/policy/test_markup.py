import pytest
from histories import examples
from hostile import HIDERS, MASKS, dropped, hostile_texts, live_links, messages_of
from hypothesis import given
from hypothesis import strategies as st

from bot.policy.markup import Fence, harmless, is_boundary, lines_of, open_fence

LINK = "[here](https://evil.example/path?q=1)"
SAID = "[here (evil.example)](https://evil.example/path?q=1)"


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
        ("`" * 32, Fence("`" * 32)),
        ("`" * 33, None),
        ("```" + "i" * 40, Fence("```", "i" * 40)),
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
        ("a\r\nb", 2, False),
        ("\u1112\u1161", 1, False),
        ("\u1112\u115f", 1, True),
        ("\u1112\u1160", 1, False),
        ("\u1112\u11ff", 1, False),
        ("\u1112\u1200", 1, True),
        ("a\udbff", 1, True),
        ("a\udc00", 1, False),
        ("b\udfff", 1, False),
        ("a\ue000", 1, True),
        ("\ud7ffa", 1, True),
        ("\ud800a", 1, False),
        ("\udbffb", 1, False),
        ("\udc00a", 1, True),
        ("👍\U0001f3fa", 1, True),
        ("👍\U0001f3fb", 1, False),
        ("👍\U0001f3ff", 1, False),
        ("👍\U0001f400", 1, True),
        ("🏴\U000e001f", 1, True),
        ("🏴\U000e0020", 1, False),
        ("🏴\U000e007f", 1, False),
        ("🏴\U000e0080", 1, True),
        ("🇦🇩", 1, False),
        ("🇿🇩", 1, False),
        ("🇩🇦", 1, False),
        ("🇩🇿", 1, False),
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
        (LINK, SAID),
        (f"a {LINK}, b", f"a {SAID}, b"),
        ("[evil.example](https://evil.example)", "[evil.example](https://evil.example)"),
        (
            "[good.example](https://evil.example)",
            "[good.example (evil.example)](https://evil.example)",
        ),
        (
            "[notevil.example](http://evil.example)",
            "[notevil.example (evil.example)](http://evil.example)",
        ),
        ("![x](http://e.example/a_(b))", "![x (e.example)](http://e.example/a_(b))"),
        ('[x](<https://e.example> "t")', '[x (e.example)](<https://e.example> "t")'),
        ("[x](https://[bad)", "[x]\\(https://[bad)"),
        (f"`{LINK}`", f"`{SAID}`"),
        (f"```\n{LINK}\u202e\n```\n{LINK}", f"```\n{LINK}\n```\n{SAID}"),
        ("a\u202eb\u200bc\u2066d\ufeff", "abcd"),
        ("👩\u200d👧 می\u200cخواهم", "👩\u200d👧 می\u200cخواهم"),
    ],
)
def test_hidden_hosts_are_said_and_hidden_characters_dropped(text: str, shown: str) -> None:
    assert harmless(text) == shown


E = "https://evil.example"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        # What is said already: the address, with or without its scheme and last slash.
        (f"[{E}/p]({E}/p)", f"[{E}/p]({E}/p)"),
        (f"[evil.example/p]({E}/p)", f"[evil.example/p]({E}/p)"),
        (f"[Evil.example/p]({E}/p/)", f"[Evil.example/p]({E}/p/)"),
        # What an address carries is not where it leads.
        (
            f"[bank.example]({E}?to=http://bank.example)",
            f"[bank.example (evil.example)]({E}?to=http://bank.example)",
        ),
        # Several in a line: each is said, or taken apart; what stands in a title is no link.
        (f"{LINK} {LINK}", f"{SAID} {SAID}"),
        ("[x](https://[bad) [y](https://[bad)", "[x]\\(https://[bad) [y]\\(https://[bad)"),
        (
            f'[x]({E} "](https://y") [z]({E})',
            f'[x (evil.example)]({E} "](https://y") [z (evil.example)]({E})',
        ),
    ],
)
def test_each_link_of_a_line_says_where_it_leads_once(text: str, shown: str) -> None:
    assert harmless(text) == shown


@pytest.mark.parametrize(
    ("before", "is_code"),
    [
        ("", True),
        ("text\n", True),
        ("a `b` c\n", True),
        ("```\ncode\n```\n", True),
        ("```py\ncode\n\n```\ntext\n", True),
        # Discord may take these for the beginning or end of a block or of inline code.
        ("a ` b\n", False),
        ("\\`a`\n", False),
        ("see ```x``` here\n", False),
        ("a [ b\n", False),
        ("```\n```\n", False),
        ("```\ncode\n````\n", False),
    ],
)
def test_code_stays_as_it_is_where_discord_is_sure_to_see_it(before: str, is_code: bool) -> None:
    block = "```\n{}\n```"
    said = block.format(LINK if is_code else SAID)
    assert harmless(before + block.format(LINK)) == before + said


@pytest.mark.parametrize("unseen", ["\x00", "\u200d", "\u200b"])
def test_a_block_that_only_looks_full_is_none(unseen: str) -> None:
    text = f"\n```\n{unseen}\n```\n\n```\n{LINK}"
    assert harmless(text) == f"\n```\n\n```\n\n```\n{SAID}"


def test_an_unseen_sign_keeps_no_fence_from_being_one() -> None:
    assert SAID in harmless(f"\x00~~~\n\n```\n{LINK}")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see [here]", "see [here"),
        ("see [here]\n", "see [here]\n"),
        (f"{'x' * 600}[here]({E}", f"{'x' * 600}[here"),
        # No address is longer than 1,000 characters.
        ("[here](" + "https://".ljust(999, "x"), "[here"),
        ("[here](" + "https://".ljust(1000, "x"), "[here]\\(" + "https://".ljust(1000, "x")),
    ],
)
def test_the_end_of_a_growing_text_waits_while_it_may_become_a_link(text: str, shown: str) -> None:
    assert harmless(text, is_whole=False) == shown


fragment = st.sampled_from([LINK, "`", "```", "\n", "```\n", "\u202e", " ", "[a]", "(b)", "~~~"])


@given(st.lists(fragment, max_size=12).map("".join), st.data())
def test_a_growing_text_stays_a_beginning_of_its_harmless_whole(
    text: str, data: st.DataObject
) -> None:
    end = data.draw(st.integers(0, len(text)))
    shown = harmless(text[:end], is_whole=False)
    assert harmless(text).startswith(shown)
    assert harmless(text, is_whole=False).startswith(shown)


def test_what_may_become_a_link_waits_until_it_is_known() -> None:
    assert harmless("see [here](https://ev", is_whole=False) == "see [here"
    assert harmless("see `[here](https://ev", is_whole=False) == "see `[here"
    assert harmless("see [here](https://ev\nx", is_whole=False) == "see [here]\\(https://ev\nx"
    assert harmless("f[0](x) and [](int a) and [](std::string", is_whole=False).endswith("string")
    endless = "[here](https://" + "x" * 1000
    assert harmless(endless, is_whole=False) == endless.replace("](", "]\\(")


# --- hostile texts, read as Discord reads them ----------------------------------------------


def test_no_hostile_text_hides_where_a_link_leads() -> None:
    texts = list(hostile_texts())
    assert len(texts) > 300
    assert {text for text in texts if any(map(live_links, messages_of(text)))} == set()
    # The reader above sees what it should: as they come most of them are live.
    assert sum(bool(live_links(dropped(text))) for text in texts) > 300


piece = st.sampled_from([
    *MASKS, *HIDERS, "`", "``", "```", "\n", "```py\n", "~~~\n", "\\", "[", "](", "(", ")", "<",
    " ", "x", "https://evil.example", "`a`", "é", "\n```\n",
])  # fmt: skip


def test_a_run_that_no_like_run_ends_in_its_line_is_no_code_to_rely_on() -> None:
    # Discord takes it up to the run in the third line, and the block's fence between with it.
    text = "``a`\n```\n``[bank.example](https://evil.example)"
    assert "bank.example (evil.example)" in harmless(text)
    assert [link for message in messages_of(text) for link in live_links(message)] == []
    # A span that ends in its line keeps the block below what it is.
    code = "``a`b``\n```\n[x](https://evil.example)\n```"
    assert harmless(code) == code


@pytest.mark.slow
@examples(150)
@given(st.lists(piece, max_size=14).map("".join), st.data())
def test_no_mixture_of_their_parts_does(text: str, data: st.DataObject) -> None:
    assert [link for message in messages_of(text) for link in live_links(message)] == []
    end = data.draw(st.integers(0, len(text)))
    assert harmless(text).startswith(harmless(text[:end], is_whole=False))
