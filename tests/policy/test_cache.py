from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.chat import Attachment, Message
from bot.domain.ids import ModelKey, PersonaName
from bot.domain.personas import Persona, Sampling
from bot.policy.cache import LONGEST_CHARS, answer_key, is_worth_keeping

SAGE = Persona(PersonaName("sage"), sampling=Sampling(temperature=0.7))
MODEL = ModelKey("glm-4.6")
CAT = Attachment("cat.png", "image/png", image=b"cat")
ASKED = (Message("system", "Be calm."), Message("user", "Why?", (CAT,)))
KEY = answer_key(SAGE, MODEL, ASKED, is_private=False)


def test_the_same_question_has_the_same_key() -> None:
    again = (Message("system", "Be calm."), Message("user", "Why?", (replace(CAT, name="x.png"),)))
    assert answer_key(SAGE, MODEL, again, is_private=False) == KEY


@pytest.mark.parametrize(
    "other",
    [
        answer_key(replace(SAGE, name=PersonaName("bard")), MODEL, ASKED, is_private=False),
        answer_key(SAGE, ModelKey("glm-4.7"), ASKED, is_private=False),
        answer_key(SAGE, MODEL, ASKED[1:], is_private=False),
        answer_key(SAGE, MODEL, ASKED[::-1], is_private=False),
        answer_key(SAGE, MODEL, ASKED, is_private=True),
        answer_key(
            replace(SAGE, sampling=Sampling(temperature=0.8)), MODEL, ASKED, is_private=False
        ),
        answer_key(
            SAGE,
            MODEL,
            (ASKED[0], Message("user", "Why?", (replace(CAT, image=b"dog"),))),
            is_private=False,
        ),
        answer_key(SAGE, MODEL, (ASKED[0], Message("user", "Why?")), is_private=False),
    ],
)
def test_anything_else_has_another(other: str) -> None:
    assert other != KEY


def test_half_a_character_has_a_key_of_its_own() -> None:
    torn = (ASKED[0], Message("user", "Why? \ud83d", (CAT,)))
    assert answer_key(SAGE, MODEL, torn, is_private=False) != KEY


@given(st.lists(st.text(), min_size=1, max_size=4), st.lists(st.text(), min_size=1, max_size=4))
def test_two_transcripts_share_a_key_only_when_they_are_the_same(
    one: list[str], two: list[str]
) -> None:
    keys = [
        answer_key(SAGE, MODEL, [Message("user", text) for text in texts], is_private=False)
        for texts in (one, two)
    ]
    assert (keys[0] == keys[1]) == (one == two)


@pytest.mark.parametrize(
    ("text", "finish", "is_kept"),
    [
        ("An answer.", "stop", True),
        ("An answer.", "length", False),
        ("An answer.", "cancelled", False),
        ("An answer.", "error", False),
        ("I will not.", "refused", False),
        ("  \n", "stop", False),
        ("x" * LONGEST_CHARS, "stop", True),
        ("x" * (LONGEST_CHARS + 1), "stop", False),
    ],
)
def test_only_whole_answers_are_kept(text: str, finish: str, is_kept: bool) -> None:
    assert is_worth_keeping(text, finish) == is_kept
