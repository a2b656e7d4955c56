import re
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bot.policy.markup import display_copy
from bot.policy.splitting import (
    LIMIT,
    Part,
    cut_reply,
    shown_parts,
    split_reply,
)

SMALL = 200
"""The least limit: many cuts in short texts."""

FAMILY = "👩‍👩‍👧‍👦"
FLAGS = "🇩🇪🇫🇷"

fence_line = st.builds(
    "\n{}{}{}\n".format,
    st.sampled_from(["", " ", "   "]),
    st.builds(str.__mul__, st.sampled_from("`~"), st.integers(3, 14)),
    st.sampled_from(["", "python", " c++ ", "js title=x"]),
)
word = st.sampled_from(
    [
        *("word", "antidisestablishmentarianism", "end.", "Really?", "字" * 40, "。", "é" * 3),
        *("**bold**", "||spoiler||", "`x y`", "``", "**", "```", "- item", "# head", "\\*"),
        *("<@12345678901234567>", "<:name:123>", "<t:1700000000:R>", "<#42>"),
        *("[a masked link](https://example.org/some/path)", "https://example.org/?q=1#part"),
        *(FAMILY, FLAGS, "👍🏽", "❤️", "Z̴̧̛͉a̸l", "x" * 90, "    indented"),
    ]
)
joint = st.sampled_from([" ", " ", " ", "\n", "\n\n", "\n    ", "", "  ", "\t", "\n\n\n"])
piece = st.one_of(word, word, word, fence_line, joint, joint, st.text(max_size=30))
reply = st.lists(st.builds(str.__add__, piece, joint), max_size=45).map("".join)


def has_open_fence(text: str) -> bool:
    """Fences by CommonMark's rules, counted independently of the code under test."""
    run = ""
    for line in text.split("\n"):
        found = re.match(r" {0,3}(`{3,32}(?!`)|~{3,32}(?!~))(.*)", line, re.DOTALL)
        if not run:
            if found and not (found[1][0] == "`" and "`" in found[2]):
                run = found[1]
        elif re.fullmatch(r" {0,3}" + re.escape(run) + run[0] + r"*[ \t\r]*", line):
            run = ""
    return bool(run)


def gaps(text: str, parts: tuple[Part, ...]) -> list[str]:
    edges = [0, *(place for part in parts for place in (part.start, part.end)), len(text)]
    return [text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)]


@given(reply, st.sampled_from([SMALL, 317, LIMIT]))
def test_no_part_is_too_long_or_blank(text: str, limit: int) -> None:
    for part in split_reply(text, limit):
        assert len(part) <= limit
        assert part.strip()


@given(reply)
def test_slices_and_gaps_make_up_the_text_and_gaps_are_white_space(text: str) -> None:
    parts = cut_reply(text, SMALL)
    between = gaps(text, parts)
    rebuilt = between[0] + "".join(
        part.body + gap for part, gap in zip(parts, between[1:], strict=True)
    )
    assert rebuilt == text
    assert not "".join(between).strip()
    assert [part.body for part in parts] == [text[part.start : part.end] for part in parts]


@given(reply)
def test_nothing_at_all_is_dropped_at_a_cut_inside_a_fence(text: str) -> None:
    parts = cut_reply(text, SMALL)
    for part, following in pairwise(parts):
        if part.fence is not None:
            assert following.start == part.end
            assert following.opening == f"{part.fence.mark}{part.fence.info}\n"
            assert part.closing.lstrip("\n") == part.fence.mark
        else:
            assert following.opening == part.closing == ""


@given(reply)
@example("```\n" + "x" * 300)
@example("foo ``` bar " * 40)
def test_fences_are_balanced_in_every_part(text: str) -> None:
    for part in split_reply(text, SMALL):
        assert not has_open_fence(part)


@given(reply, st.data())
@example("a" * 200 + "\n" + "b" * 200, None)
def test_parts_once_closed_never_change_as_the_text_grows(
    text: str, data: st.DataObject | None
) -> None:
    ends = (
        sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=12), label="ends"))
        if data
        else range(len(text))
    )
    whole = split_reply(text, SMALL)
    for end in ends:
        early = split_reply(text[:end], SMALL)
        assert early[:-1] == whole[: max(len(early) - 1, 0)]


@given(reply, st.data())
def test_cutting_on_from_known_parts_gives_the_same_as_cutting_anew(
    text: str, data: st.DataObject
) -> None:
    known: tuple[Part, ...] = ()
    for end in [*sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=6))), len(text)]:
        known = cut_reply(text[:end], SMALL, known)
        assert known == cut_reply(text[:end], SMALL)


@given(reply, st.data())
def test_the_shown_copy_keeps_the_limits_and_the_closed_parts(
    text: str, data: st.DataObject
) -> None:
    end = data.draw(st.integers(0, len(text)))
    shown = shown_parts(cut_reply(text[:end], SMALL), SMALL)
    final = split_reply(text[:end], SMALL)
    assert shown[: len(final) - 1] == final[:-1]
    assert len(final) - 1 <= len(shown) <= len(final)
    for part in shown:
        assert part.strip()
        assert len(part) <= SMALL
        assert not has_open_fence(part)


@given(st.lists(st.sampled_from([FAMILY, FLAGS, "👍🏽", "é", "❤️", "한"]), min_size=1, max_size=9))
def test_a_hard_cut_never_splits_what_a_reader_sees_as_one_character(clusters: list[str]) -> None:
    for part in split_reply("".join(clusters) * 50, SMALL):
        rest = part
        for cluster in (FAMILY, FLAGS, FLAGS[:2], FLAGS[2:], "👍🏽", "é", "❤️", "한"):
            rest = rest.replace(cluster, "")
        assert rest == ""


@pytest.mark.parametrize(
    "whole",
    [
        "[a masked link](https://example.org/some/path)",
        "<@12345678901234567>",
        "<a:dancing_cat:12345678901234567>",
        "https://example.org/a/rather/long/path?with=a&query=too",
        "`inline code with spaces`",
        "**",
        "||",
    ],
)
def test_links_mentions_emoji_and_markers_stay_whole(whole: str) -> None:
    for before in range(120, 202):
        text = "x" * before + whole + " " + "y" * 120
        assert sum(part.count(whole) for part in split_reply(text, SMALL)) == 1


P, Q = "p" * 120, "q" * 120


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ()),
        (" \n\t ", ()),
        ("  hi \n", ("hi",)),
        ("a" * 200, ("a" * 200,)),
        ("a" * 201, ("a" * 200, "a")),
        (f"{P}\n\n{'l' * 30}\n{Q}", (P, f"{'l' * 30}\n{Q}")),
        (f"{P}\nmore words\n{Q}", (f"{P}\nmore words", Q)),
        (f"{P}. Short one. {Q}", (f"{P}. Short one.", Q)),
        (f"{P}。{Q}", (f"{P}。", Q)),
        (f"{P} two words {Q}", (f"{P} two words", Q)),
        (f"{P} two - words {Q}", (f"{P} two - words", Q)),
        (f"{P} issue # {Q}", (f"{P} issue #", Q)),
    ],
    ids=range(12),
)
def test_the_cut_is_at_the_best_place_there_is(text: str, parts: tuple[str, ...]) -> None:
    assert split_reply(text, SMALL) == parts


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        # Half a part is 100: what is nearer its start is no place to cut.
        (f"{'p' * 100} {'q' * 200}", ("p" * 100, "q" * 200)),
        (f"{'p' * 99} {'q' * 150}", (f"{'p' * 99} {'q' * 100}", "q" * 50)),
        # The last place of all, and the last but one where a sign would be cut in two.
        (f"{'p' * 150} {'q' * 49} {Q}", (f"{'p' * 150} {'q' * 49}", Q)),
        ("p" * 199 + "👍🏽", ("p" * 199, "👍🏽")),
        # Behind what stays whole, and before what may become a link with the next character.
        (f"{'p' * 150} <@123456> {Q}", (f"{'p' * 150} <@123456>", Q)),
        (f"{'p' * 188} [some words]{'x' * 20}", ("p" * 188, f"[some words]{'x' * 20}")),
        # Whole is what takes half a part at most, as far as it can be seen.
        (f"{'p' * 101}https://{'x' * 100}", ("p" * 101, f"https://{'x' * 100}")),
        (f"{'p' * 100}https://{'x' * 100}", (f"{'p' * 100}https://{'x' * 92}", "x" * 8)),
        # In code: behind white space and behind whole lines; a comment's sign is no heading there.
        (
            f"```\n{'x' * 150} {'y' * 100}",
            (f"```\n{'x' * 150} \n```", f"```\n{'y' * 100}\n```"),
        ),
        (
            f"```\n{'x' * 150}\n{'y' * 100}",
            (f"```\n{'x' * 150}\n```", f"```\n{'y' * 100}\n```"),
        ),
        (
            f"```\n{'x' * 172} [some words]{'y' * 20}",
            (f"```\n{'x' * 172} \n```", f"```\n[some words]{'y' * 20}\n```"),
        ),
        (
            f"```\n{'x' * 182} # comment",
            (f"```\n{'x' * 182} \n```", "```\n# comment\n```"),
        ),
    ],
)
def test_the_places_at_the_bounds(text: str, parts: tuple[str, ...]) -> None:
    assert split_reply(text, SMALL) == parts


def test_every_part_of_a_block_is_full_with_its_own_fences() -> None:
    parts = split_reply("~" * 20 + "\n" + "x" * 500, SMALL)
    assert [len(part) for part in parts] == [200, 200, 200, 68]
    parts = split_reply("```\n" + "x" * 500, SMALL)
    # The reserve for a fence is 12 characters at least, of which these take four.
    assert [len(part) for part in parts] == [192, 192, 140]


@pytest.mark.parametrize(
    ("before", "mark", "cut"),
    [
        # With its 12 characters of reserve a fence still fits, and no longer.
        ("p" * 184, "```", None),
        ("p" * 185, "```", 186),
        ("p" * 189, "```", 190),
        ("p" * 198, "```", 199),
        # A longer one reserves its own length and a line end.
        ("p" * 174, "~" * 12, None),
        ("p" * 175, "~" * 12, 176),
        # A block before has its reserve already: the line's end is out of reach.
        ("```\ncode\n```\n" + "p" * 176, "~~~", 188),
        # Half of what is in reach: 192, and 193.
        ("p" * 94 + "\n\n" + "q" * 93, "```", 190),
        ("p" * 95 + "\n\n" + "q" * 93, "```", 96),
    ],
)
def test_a_fence_near_the_end_of_a_part_needs_room_to_be_closed(
    before: str, mark: str, cut: int | None
) -> None:
    text = f"{before}\n{mark}"
    first = split_reply(text, SMALL)[0]
    assert first == (text[:cut].rstrip() if cut else f"{text}\n{mark}")


def test_known_parts_are_kept_and_only_the_last_is_cut_anew() -> None:
    known = cut_reply("word " * 150, SMALL)
    longer = cut_reply("word " * 200, SMALL, known)
    assert len(known) > 2
    assert all(new is old for new, old in zip(longer, known[:-1], strict=False))


def test_a_cut_does_not_make_a_dash_inside_a_sentence_a_list() -> None:
    assert split_reply(f"{'p' * 150} - {'q' * 190}", SMALL) == ("p" * 150 + " -", "q" * 190)


def test_a_code_block_goes_on_with_its_language_and_indentation() -> None:
    code = "".join(f"    line_{number} = {number}\n" for number in range(30))
    first, second, *_ = split_reply(f"Look:\n```python\n{code}```\nDone.", SMALL)
    assert first.endswith("\n```")
    assert re.match(r"```python\n    line_\d+ = ", second)


def test_a_longer_fence_holds_shorter_ones_and_is_reopened_as_long() -> None:
    text = "````md\n" + "```\ninner\n```\n" * 30 + "````"
    parts = split_reply(text, SMALL)
    assert len(parts) > 2
    assert all(part.startswith("````md\n") and part.endswith("\n````") for part in parts)


def test_a_block_that_fits_a_part_is_not_cut() -> None:
    block = "```\n" + "c" * 120 + "\n```"
    assert split_reply(f"{'p' * 110}\n{block}", SMALL) == ("p" * 110, block)


def test_no_part_holds_an_empty_block_when_the_code_ends_at_the_cut() -> None:
    for length in range(100, 200):
        text = f"```\n{'a' * (length - 60)}\n{'b' * 50}\n```\nand words " + "z" * 60
        for part in split_reply(text, SMALL):
            assert not re.search(r"```\n+```", part)


def test_a_run_too_long_for_a_fence_is_a_drawn_line() -> None:
    assert split_reply("~" * 60 + "\ntext", SMALL) == ("~" * 60 + "\ntext",)


def test_a_very_long_info_string_is_not_repeated() -> None:
    first, second, *_ = split_reply("```" + "i" * 60 + "\n" + "code\n" * 80, SMALL)
    assert first.startswith("```" + "i" * 60)
    assert second.startswith("```\ncode")


def test_windows_line_ends_close_a_fence_too() -> None:
    assert split_reply("```\r\ncode\r\n```\r\nafter") == ("```\r\ncode\r\n```\r\nafter",)


def test_a_link_longer_than_a_part_is_cut_without_loss() -> None:
    link = "https://example.org/" + "p" * 400
    assert "".join(split_reply(link, SMALL)) == link


def test_combining_marks_without_end_are_cut_all_the_same() -> None:
    assert [len(part) for part in split_reply("a" + "̶" * 450, SMALL)] == [200, 200, 51]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("", ""),
        ("some **bold te", "some **bold te**"),
        ("some **bold** an", "some **bold** an"),
        ("some **bold*", "some **bold**"),
        ("some **", "some"),
        ("a ||secret **loud", "a ||secret **loud**||"),
        ("~~gone", "~~gone~~"),
        ("__under", "__under__"),
        ("`code **not bold", "`code **not bold`"),
        ("`a` and ``b", "`a` and ``b``"),
        ("`a || b` or", "`a || b` or"),
        ("a || b", "a || b"),
        ("2 ** 3 is 8", "2 ** 3 is 8"),
        ("x||y", "x||y"),
        ("a b**c", "a b**c"),
        ("**old\n\nnew", "**old\n\nnew"),
        ("**old\n\n**older\n\nnew", "**old\n\n**older\n\nnew"),
        ("**old\n\n", "**old**"),
        ("  indented", "  indented"),
        ("```py\nx = 1\n```\n", "```py\nx = 1\n```"),
        ("```py\nx = 1\n```\n  **more", "```py\nx = 1\n```\n  **more**"),
        ("ask <@1234", "ask"),
        ("ask <", "ask"),
        ("see [here](https://exam", "see"),
        ("see [here", "see [here"),
        ("escaped \\", "escaped"),
        ("```py\nx = 1", "```py\nx = 1\n```"),
        ("```py\nx = 1\n", "```py\nx = 1\n```"),
        ("```py\nx = 1\n``", "```py\nx = 1\n```"),
        ("```py\nx = 1\n```", "```py\nx = 1\n```"),
        ("```py\nx = 1\n```\n**more", "```py\nx = 1\n```\n**more**"),
        ("text\n```py", "text"),
        ("text\n```py\n", "text"),
        ("text\n```py\n``", "text"),
        ("text\n``` `", "text"),
        ("````md\n```\ninner\n```\n", "````md\n```\ninner\n```\n````"),
        ("````md\ninner\n```", "````md\ninner\n````"),
        ("~~~\ncode\n~~", "~~~\ncode\n~~~"),
    ],
)
def test_the_display_copy_is_closed_and_hides_what_is_unfinished(text: str, shown: str) -> None:
    assert display_copy(text) == shown


@given(reply)
def test_the_display_copy_of_a_display_copy_is_as_closed(text: str) -> None:
    assert not has_open_fence(display_copy(text))


def test_a_copy_whose_closers_have_no_room_is_shown_without_them() -> None:
    text = "**" + "b" * 197
    assert shown_parts(cut_reply(text, SMALL), SMALL) == (text,)
    assert shown_parts(cut_reply(text[:-1], SMALL), SMALL) == (f"{text[:-1]}**",)
    assert shown_parts(cut_reply("**bold"), SMALL) == ("**bold**",)


@pytest.mark.parametrize("text", ["", "\n", "**", "```py\n"])
def test_nothing_is_shown_while_only_a_marker_has_come(text: str) -> None:
    assert shown_parts(cut_reply(text)) == ()


def test_a_line_that_ends_where_the_room_ends_is_cut_there() -> None:
    text = f"{'word ' * 29}end. {'w' * 49}\nnext line"
    assert text.index("\n") == SMALL - 1
    assert split_reply(text, SMALL)[0] == text[: SMALL - 1]


def test_a_line_that_ends_in_the_very_middle_is_cut_there() -> None:
    text = f"{'w' * 99}\nword word end. {'more ' * 40}"
    assert split_reply(text, SMALL)[0] == "w" * 99
