"""What another host is asked when one is lost in the middle of an answer, and how the two join."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.chat import Message, Origin
from bot.domain.ids import PersonaName
from bot.policy.context import CONTINUE_TEXT
from bot.policy.seams import ECHO_CHARS, Joint, resumed

HERE = Origin("own", (), None, PersonaName("sage"))
ASKED = (
    Message("system", "Be brief."),
    Message("user", "Why does a lantern glow?", origins=(HERE,)),
)
LONG = "A lantern glows because something burns in it."


def joined(text: str, *pieces: str) -> str:
    joint = Joint(text)
    return text + "".join([*map(joint.feed, pieces), joint.flush()])


@pytest.mark.parametrize(
    ("text", "in_words", "added"),
    [
        ("It bur", False, [("assistant", "It bur")]),
        ("It bur", True, [("assistant", "It bur"), ("user", CONTINUE_TEXT)]),
        ("It burns. \n\n", False, [("assistant", "It burns.")]),
        (" It", False, [("assistant", " It")]),
        ("", False, []),
        (" \n", False, []),
        (" \n", True, []),
    ],
)
def test_the_words_so_far_are_sent_as_the_assistants_own(
    text: str, in_words: bool, added: list[tuple[str, str]]
) -> None:
    messages = resumed(ASKED, text, in_words=in_words)
    assert messages[:2] == ASKED
    assert [(message.role, message.text) for message in messages[2:]] == added
    # A reply may repeat whatever it was made from.
    assert all(message.origins == (HERE,) for message in messages[2:])


@pytest.mark.parametrize(
    ("text", "pieces", "whole"),
    [
        ("It bur", ["ns", "."], "It burns."),
        ("It burns.", [" Oil", "."], "It burns. Oil."),
        # The end was trimmed, so its blanks come again.
        ("It burns. ", [" Oil"], "It burns. Oil"),
        ("It burns. ", ["Oil"], "It burns. Oil"),
        ("It burns.\n", ["\n", "- oil"], "It burns.\n- oil"),
        ("It burns.\n\n", ["\n\n- oil"], "It burns.\n\n- oil"),
        ("if it:\n  ", ["\n", "    burn()"], "if it:\n    burn()"),
        ("if it:\n  ", ["\n    ", "  burn()"], "if it:\n      burn()"),
        ("if it:\n", ["    burn()\n", "\n"], "if it:\n    burn()\n\n"),
        # Said once more from its beginning, whole or in pieces.
        (LONG, [LONG + " Oil."], LONG + " Oil."),
        (LONG, [LONG, " Oil."], LONG + " Oil."),
        (LONG, ["A lantern glows because", LONG[23:] + " Oil", "."], LONG + " Oil."),
        (LONG + "\n", [LONG + "\n", "Oil."], LONG + "\nOil."),
        (LONG, [LONG], LONG),
        (LONG, [LONG, LONG], LONG + LONG),
        # Only begins alike.
        (LONG, ["A lantern", " is old."], LONG + "A lantern is old."),
        (LONG, ["A lantern"], LONG + "A lantern"),
        (LONG, [], LONG),
        # Too short to be known from chance.
        ("ha", ["ha", "ha"], "hahaha"),
        ("x" * (ECHO_CHARS - 1), ["x" * (ECHO_CHARS - 1)], "x" * (2 * ECHO_CHARS - 2)),
        ("x" * ECHO_CHARS, ["x" * ECHO_CHARS, "y"], "x" * ECHO_CHARS + "y"),
        # Nothing but blanks was said: it is asked for afresh.
        ("\n", ["\n", "It burns."], "\nIt burns."),
    ],
)
def test_nothing_is_there_twice_where_two_hosts_words_meet(
    text: str, pieces: list[str], whole: str
) -> None:
    assert joined(text, *pieces) == whole


def test_only_what_may_become_an_echo_is_held_back() -> None:
    joint = Joint(LONG)
    assert [joint.feed("A lantern"), joint.feed(" is"), joint.feed(" old")] == [
        "",
        "A lantern is",
        " old",
    ]


@given(st.text("ab \n", max_size=60), st.integers(0, 60), st.lists(st.integers(0, 60), max_size=4))
def test_a_rest_given_by_a_template_that_trims_makes_the_same_answer(
    answer: str, at: int, cuts: list[int]
) -> None:
    text = answer[:at]
    if not text.strip():
        return
    rest = answer[len(text.rstrip()) :]
    edges = sorted({0, len(rest), *(min(cut, len(rest)) for cut in cuts)})
    pieces = [rest[a:b] for a, b in pairwise(edges)]
    # What begins by repeating all that was said cannot be told from an echo.
    if len(text.rstrip()) >= ECHO_CHARS and rest.startswith(text.rstrip()):
        return
    assert joined(text, *pieces) == answer
