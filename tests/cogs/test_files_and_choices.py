"""Attachments as they are read, and option fields as they are offered."""

from typing import Any
from unittest.mock import AsyncMock

import discord
import pytest
from cogs_doubles import TwoPersonas, double, fleet_of, http_error

from bot.chat.catalog import Catalog
from bot.domain.errors import RequestRefused
from cogs._autocomplete import host_choices, loaded_choices, model_choices, persona_choices
from cogs._mentions import read_files


def attachment(name: str, content: bytes, media_type: str | None, size: int | None = None) -> Any:
    file = double(discord.Attachment)
    file.filename, file.content_type = name, media_type
    file.size = len(content) if size is None else size
    file.read = AsyncMock(return_value=content)
    return file


async def test_text_and_images_are_read() -> None:
    (text, image), left_out = await read_files(
        [
            attachment("notes.txt", "grüß".encode(), "text/plain; charset=utf-8"),
            attachment("cat.png", b"\x89PNG", "image/png"),
        ]
    )
    assert (text.text, text.image, text.media_type) == ("grüß", None, "text/plain")
    assert (image.text, image.image) == (None, b"\x89PNG")
    assert left_out == ()


async def test_one_bad_file_among_good_is_left_out_with_a_word() -> None:
    good = attachment("notes.txt", b"hello", "text/plain")
    bad = attachment("x.zip", b"PK", "application/zip")
    (read,), (word,) = await read_files([bad, good])
    assert read.name == "notes.txt"
    assert word.startswith("Left out: `x.zip` (application/zip) cannot be read")


async def test_of_too_many_files_the_first_are_read() -> None:
    files = [attachment(f"{n}.txt", b"hello", "text/plain") for n in range(1, 10)]
    read, left_out = await read_files(files)
    assert [file.name for file in read] == [f"{n}.txt" for n in range(1, 9)]
    assert left_out == ("Left out: `9.txt`, beyond the 8 taken.",)
    files[8].read.assert_not_awaited()


BAD = [
    (attachment("x.bin", b"\0\1\2", None), "binary"),
    (attachment("x.txt", b"\xff\xfe\xfa", "text/plain"), "binary"),
    (attachment("x.txt", b" \n", "text/plain"), "no text in it"),
    (attachment("x.txt", b"a" * 200_001, "text/plain"), "at most 200,000"),
    (attachment("x.zip", b"PK", "application/zip"), "cannot be read"),
    (attachment("x.pdf", b"%PDF", "application/pdf"), "no PDF that can be read"),
    (attachment("x.png", b"<svg>", "image/png"), "no PNG, JPEG, WebP or GIF"),
    (attachment("x.webp", b"RIFF\0\0\0\0WAVE", "image/webp"), "no PNG, JPEG, WebP or GIF"),
    (attachment("x.txt", b"", "text/plain", size=10**9), "up to"),
]


@pytest.mark.parametrize(("file", "words"), BAD)
async def test_what_cannot_be_read_is_refused_alone_and_left_out_among_good(
    file: Any, words: str
) -> None:
    with pytest.raises(RequestRefused, match=words):
        await read_files([file])
    good = attachment("notes.txt", b"hello", "text/plain")
    for files in ([file, good], [good, file]):
        (read,), (word,) = await read_files(files)
        assert read.name == "notes.txt"
        assert words in word


@pytest.mark.parametrize(
    "content", [b"\x89PNG\r\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"RIFF\0\0\0\0WEBP"]
)
async def test_an_image_is_known_by_how_it_begins(content: bytes) -> None:
    (image,), left_out = await read_files([attachment("x", content, "image/png")])
    assert (image.image, left_out) == (content, ())


async def test_a_file_too_large_is_not_even_fetched() -> None:
    file = attachment("x.txt", b"", "text/plain", size=10**9)
    with pytest.raises(RequestRefused):
        await read_files([file])
    file.read.assert_not_awaited()


async def test_a_file_that_cannot_be_fetched_is_said() -> None:
    file = attachment("x.txt", b"hello", "text/plain")
    file.read.side_effect = http_error(404)
    with pytest.raises(RequestRefused, match="could not be fetched"):
        await read_files([file])
    good = attachment("notes.txt", b"hello", "text/plain")
    _, (word,) = await read_files([file, good])
    assert "could not be fetched" in word


def catalog_of(*keys: str) -> Catalog:
    return Catalog(fleet_of(*keys), TwoPersonas())


def test_models_are_offered_with_how_they_stand_and_auto_first() -> None:
    choices = model_choices(catalog_of("qwen/qwen3", "google/gemma"), "")
    assert [choice.value for choice in choices] == ["auto", "qwen/qwen3", "google/gemma"]
    assert choices[1].name == "qwen/qwen3 · warm · studio-1"
    assert choices[2].name.startswith("google/gemma · cold")


def test_more_than_twenty_five_models_are_reached_by_typing() -> None:
    catalog = catalog_of(*(f"lab/model-{number:03}" for number in range(80)))
    assert len(model_choices(catalog, "")) == 25
    assert [choice.value for choice in model_choices(catalog, "MODEL-079")] == ["lab/model-079"]


def test_overlong_keys_stay_within_discords_limits_and_can_still_be_chosen() -> None:
    key = "publisher/" + "very-long-" * 20 + "q4"
    catalog = catalog_of("qwen/qwen3", key)
    (choice,) = model_choices(catalog, "very")
    assert len(choice.name) <= 100
    assert len(choice.value) <= 100
    assert catalog.model(choice.value) == key


@pytest.mark.parametrize("length", [40, 85, 86, 87, 150])
def test_a_long_key_loses_its_middle_and_never_its_mark(length: int) -> None:
    key = "publisher/".ljust(length - 2, "x") + "q4"
    (choice,) = model_choices(catalog_of(key), "publisher")
    assert choice.name.startswith("publisher/")
    assert choice.name.endswith("q4 · warm · studio-1")
    assert len(choice.name) == min(100, length + len(" · warm · studio-1"))
    assert ("…" in choice.name) == (length > 100 - len(" · warm · studio-1"))


def test_a_typo_finds_what_was_meant() -> None:
    catalog = catalog_of("lab/small-vision-7b", "google/gemma")
    assert [choice.value for choice in model_choices(catalog, "visoin")] == ["lab/small-vision-7b"]
    assert model_choices(catalog, "zzzzzz") == []


def test_personas_hosts_and_loaded_models_are_offered() -> None:
    catalog = catalog_of("qwen/qwen3", "google/gemma")
    assert [c.name for c in persona_choices(catalog, "SAG")] == ["sage · calm teacher"]
    assert [c.value for c in host_choices(catalog, "studio-2")] == ["studio-2"]
    assert [c.name for c in loaded_choices(catalog, "")] == ["qwen/qwen3 · studio-1"]
