"""The pictures of the documents: every scene has one, small, shown with words for who sees none."""

import json
import re

import pytest

from bench.pictures import FOLDER, MOST_BYTES, SCENES, marked, page

DOCUMENT = (FOLDER.parent / "discord.md").read_text(encoding="utf-8")
KEPT = json.loads(SCENES.read_text(encoding="utf-8"))
NAMES = [
    f"{name}-{nth}" if len(states) > 1 else name
    for name, states in KEPT.items()
    for nth, _ in enumerate(states, 1)
]


@pytest.mark.parametrize("name", NAMES)
def test_every_scene_has_a_small_picture(name: str) -> None:
    assert 0 < (FOLDER / f"{name}.png").stat().st_size < MOST_BYTES


def test_the_document_shows_pictures_that_are_there_with_words_for_each() -> None:
    shown = re.findall(r"!\[([^\]]*)\]\(pictures/([\w-]+)\.png\)", DOCUMENT)
    assert {name for _, name in shown} <= set(NAMES)
    assert len(shown) == len({name for _, name in shown}) >= 15
    assert all(len(words) > 20 for words, _ in shown)
    assert sorted(path.stem for path in FOLDER.glob("*.png")) == sorted(NAMES)


@pytest.mark.parametrize("name", list(KEPT))
def test_a_scene_becomes_a_page_that_says_all_its_words(name: str) -> None:
    for state in KEPT[name]:
        text = page(state, (None, ()))
        for message in state.get("messages", ()):
            words = re.findall(
                r"\w{4,}", re.sub(r"<[^>]*>|```\w+|https\S+", "", message["content"])
            )
            assert [word for word in words if word not in text] == []


@pytest.mark.parametrize(
    ("said", "html"),
    [
        ("**a `b` c**", "<p><strong>a <code>b</code> c</strong></p>"),
        ("-# small", "<small>small</small>"),
        ("a < b", "<p>a &lt; b</p>"),
        ("<@12> hi", '<p><span class="u">@Lantern</span> hi</p>'),
        ("```py\nx < 1\n```", "<pre>x &lt; 1</pre>"),
        ("```py\nhalf", "<pre>half</pre>"),
        ("> said", "<blockquote>said</blockquote>"),
    ],
)
def test_markdown_reads_as_in_discord(said: str, html: str) -> None:
    assert "".join(marked(said)) == html
