"""Attachments as they are read, and option fields as they are offered."""

from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any, cast
from unittest.mock import Mock

import discord
import pytest
from cogs_doubles import TwoPersonas, clouds, fleet_of, http_error, interaction_of
from PIL import Image
from stand_ins import double

from bot.chat.catalog import Catalog, ModelOption
from bot.documents.png import plain_png
from bot.domain.cloud import ProviderSnapshot
from bot.domain.errors import NoCandidates, RequestRefused, UnknownName
from bot.domain.hosts import FleetSnapshot, HostSnapshot, Instance, LoadInFlight, Model
from bot.domain.ids import (
    HostName,
    InstanceId,
    ModelKey,
    PersonaName,
    PlaceId,
    ProviderName,
    UserId,
)
from bot.domain.personas import Persona
from bot.policy.routing import predict_seconds
from cogs._autocomplete import (
    CHOICES,
    StringChoices,
    host_choices,
    loaded_choices,
    model_choices,
    persona_choices,
    type_choices,
)
from cogs._mentions import read_files

CUT = "`x.png` is an image that is cut or damaged; attach it again."
PIXEL = plain_png(1, 1, (0, 0, 0))


def attachment(name: str, content: bytes, media_type: str | None, size: int | None = None) -> Any:
    file = double(discord.Attachment)
    file.filename, file.content_type = name, media_type
    file.size = len(content) if size is None else size
    file.read.return_value = content
    return file


async def test_text_and_images_are_read() -> None:
    (text, image), left_out = await read_files(
        [
            attachment("notes.txt", "grüß".encode(), "text/plain; charset=utf-8"),
            attachment("cat.png", PIXEL, "image/png"),
        ]
    )
    assert (text.text, text.image, text.media_type) == ("grüß", None, "text/plain")
    assert (image.text, image.image) == (None, PIXEL)
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
    (attachment("x.bin", b"\0\1\2", None), "no text in UTF-8"),
    (attachment("x.txt", b"\xff\xfe\xfa", "text/plain"), "no text in UTF-8"),
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


def drawn(kind: str, **how: object) -> bytes:
    """A whole picture as its programs write it."""
    file = BytesIO()
    colours = bytes(n * 7 % 251 for n in range(32 * 9 * 3))
    Image.frombytes("RGB", (32, 9), colours).save(file, kind, **how)
    return file.getvalue()


PICTURES = {
    "png": drawn("PNG"),
    "gif": drawn("GIF"),
    "gif of two": drawn("GIF", save_all=True, append_images=[Image.new("RGB", (32, 9))]),
    "webp": drawn("WEBP"),
    "webp lossless": drawn("WEBP", lossless=True),
}


@pytest.mark.parametrize("kind", [*PICTURES, "jpeg"])
async def test_a_whole_image_is_read_by_how_it_begins_and_ends(kind: str) -> None:
    content = drawn("JPEG") if kind == "jpeg" else PICTURES[kind]
    # Some programs keep notes behind its end.
    for whole in (content, content + b"notes"):
        (image,), left_out = await read_files([attachment("x", whole, "image/png")])
        assert (image.image, left_out) == (whole, ())


@pytest.mark.parametrize(("kind", "spare"), [(kind, 2 * ("webp" in kind)) for kind in PICTURES])
async def test_an_image_that_is_cut_is_left_out(kind: str, spare: int) -> None:
    content = PICTURES[kind]
    good = attachment("notes.txt", b"hello", "text/plain")
    for end in (14, 40, len(content) // 2, len(content) - max(1, spare)):
        bad = attachment("x.png", content[:end], "image/png")
        (read,), (word,) = await read_files([bad, good])
        assert (read.name, word) == ("notes.txt", f"Left out: {CUT}")
    # The last part of a WebP may lack its even zero.
    if spare:
        (image,), _ = await read_files([attachment("x.png", content[:-1], "image/png")])
        assert image.image == content[:-1]


@pytest.mark.parametrize("content", [b"\xff\xd8\xff\xe0", drawn("JPEG")[:40]])
async def test_a_jpeg_without_its_size_is_refused(content: bytes) -> None:
    with pytest.raises(RequestRefused, match="cut or damaged"):
        await read_files([attachment("x.png", content, "image/png")])


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


def catalog_of(*keys: str, types: Sequence[str] = ()) -> Catalog:
    return Catalog(fleet_of(*keys), TwoPersonas(), clouds(), types)


def offered(catalog: Catalog, typed: str) -> StringChoices:
    return model_choices(catalog.models(typed, CHOICES))


def test_models_are_offered_with_how_they_stand_and_auto_first() -> None:
    choices = offered(catalog_of("qwen/qwen3", "google/gemma"), "")
    assert [choice.value for choice in choices] == ["auto", "qwen/qwen3", "google/gemma"]
    assert choices[1].name == "qwen/qwen3 · warm · studio-1"
    assert choices[2].name.startswith("google/gemma · cold")


@pytest.mark.parametrize(("count", "most_listed"), [(24, 24), (25, 25), (26, 25), (200, 25)])
def test_of_many_personas_as_many_are_offered_as_discord_takes(
    count: int, most_listed: int
) -> None:
    shelf, names = TwoPersonas(), [PersonaName(f"p{n:03}") for n in range(count)]
    shelf.seen_by = Mock(return_value=tuple(map(Persona, names)))
    catalog = Catalog(fleet_of("lab/model"), shelf, clouds(), ())
    choices = persona_choices(catalog, "", interaction_of())
    assert [choice.value for choice in choices] == names[:most_listed]
    # The last of them is reached by typing.
    (found,) = persona_choices(catalog, names[-1], interaction_of())
    assert found.value == names[-1]


def test_more_than_twenty_five_models_are_reached_by_typing() -> None:
    catalog = catalog_of(*(f"lab/model-{number:03}" for number in range(80)))
    assert len(offered(catalog, "")) == 25
    assert [choice.value for choice in offered(catalog, "MODEL-079")] == ["lab/model-079"]


def test_overlong_keys_stay_within_discords_limits_and_can_still_be_chosen() -> None:
    key = "publisher/" + "very-long-" * 20 + "q4"
    catalog = catalog_of("qwen/qwen3", key)
    (choice,) = offered(catalog, "very")
    assert len(choice.name) <= 100
    assert len(choice.value) <= 100
    assert catalog.choice(choice.value) == key


@pytest.mark.parametrize("length", [40, 82, 83, 150])
def test_a_long_key_loses_its_middle_and_never_its_mark(length: int) -> None:
    key = "publisher/".ljust(length - 2, "x") + "q4"
    (choice,) = offered(catalog_of(key), "publisher")
    assert choice.name.startswith("publisher/")
    assert choice.name.endswith("q4 · warm · studio-1")
    assert len(choice.name) == min(100, length + len(" · warm · studio-1"))
    assert ("…" in choice.name) == (length > 100 - len(" · warm · studio-1"))


def test_a_typo_finds_what_was_meant() -> None:
    catalog = catalog_of("lab/small-vision-7b", "google/gemma")
    assert [choice.value for choice in offered(catalog, "visoin")] == ["lab/small-vision-7b"]
    assert offered(catalog, "zzzzzz") == []


def test_personas_hosts_and_loaded_models_are_offered() -> None:
    catalog = catalog_of("qwen/qwen3", "google/gemma")
    assert [c.name for c in persona_choices(catalog, "SAG", interaction_of())] == [
        "sage · calm teacher"
    ]
    assert [c.value for c in host_choices(catalog, "studio-2")] == ["studio-2"]
    assert [c.name for c in loaded_choices(catalog, "")] == ["qwen/qwen3 · studio-1"]


def test_loaded_models_are_listed_by_name_with_all_their_hosts() -> None:
    two = tuple(Instance(InstanceId(name), ModelKey(name)) for name in ("b", "a"))
    one, other = (
        HostSnapshot(HostName(name), "10.0.0.1:1", "up", instances=held)
        for name, held in (("one", two), ("other", two[:1]))
    )
    snapshot = FleetSnapshot({host.name: host for host in (one, other)}, taken_at=0.0)
    catalog = Catalog(lambda: snapshot, TwoPersonas(), clouds())
    assert [c.name for c in loaded_choices(catalog, "")] == ["a · one", "b · one, other"]


def test_every_field_forgives_a_slip() -> None:
    catalog = catalog_of("qwen/qwen3", "google/gemma", types=("teaching", "quick"))
    assert [c.value for c in persona_choices(catalog, "saeg", interaction_of())] == ["sage"]
    assert [c.value for c in type_choices(catalog, "tecahing")] == ["teaching"]
    assert [c.value for c in type_choices(catalog, "")] == ["teaching", "quick"]
    assert [c.value for c in loaded_choices(catalog, "qwne3")] == ["qwen/qwen3"]
    assert next(c.value for c in host_choices(catalog, "stduio-2")) == "studio-2"
    assert [c.name for c in host_choices(catalog, "azi", [ProviderName("zai")])] == ["☁ zai"]
    everything = host_choices(catalog, "", [ProviderName("zai")])
    assert everything[1].name == "studio-1 · up · 10.0.0.1:1234"
    assert [c.value for c in everything][:2] == ["zai", "studio-1"]


def test_no_more_is_offered_than_discord_takes_and_of_a_long_value_its_end() -> None:
    catalog = catalog_of("qwen/qwen3")
    many = [ProviderName(f"cloud-{number}") for number in range(30)]
    assert len(host_choices(catalog, "cloud", many)) == CHOICES
    (choice,) = host_choices(catalog, "y", [ProviderName("x" * 60 + "y" * 60)])
    assert choice.value == "x" * 40 + "y" * 60


@pytest.mark.parametrize(("length", "is_whole"), [(70, True), (71, False)])
def test_of_what_is_offered_with_a_long_mark_the_name_is_kept(length: int, is_whole: bool) -> None:
    mark = "m" * length
    (choice,) = model_choices([ModelOption(ModelKey("k"), mark, "v", f"first{'n' * 30}last")])
    assert choice.name.endswith(mark) is is_whole
    assert choice.name.startswith(f"first{'n' * 30}last · m") is not is_whole
    assert len(choice.name) == 100


def test_personas_are_offered_as_the_asker_sees_them_in_that_server() -> None:
    catalog = catalog_of("qwen/qwen3")
    catalog.personas = personas = Mock(return_value=())
    persona_choices(catalog, "sa", interaction_of(3, guild=6))
    personas.assert_called_once_with("sa", CHOICES, UserId("discord:3"), PlaceId("discord:6"), None)


def test_ones_own_personas_are_found_among_many_of_others() -> None:
    catalog, asked = catalog_of("qwen/qwen3"), interaction_of()
    own = {PersonaName("sage")}
    assert [c.value for c in persona_choices(catalog, "", asked, own)] == ["sage"]
    assert persona_choices(catalog, "", asked, ()) == []


ZAI = ProviderSnapshot(ProviderName("zai"), ModelKey("glm-4.6"), True, likely_micro_usd=2000)
SEER = replace(ZAI, name=ProviderName("openai"), model=ModelKey("gpt-6"), vision=True)


def with_clouds(*providers: ProviderSnapshot, keys: Sequence[str] = ("qwen/qwen3",)) -> Catalog:
    return Catalog(fleet_of(*keys), TwoPersonas(), clouds(*providers))


def listed(
    catalog: Catalog, typed: str = "", *, cloud: Sequence[str] = ("zai", "openai"), now: str = ""
) -> list[str]:
    options = catalog.models(typed, CHOICES, map(ProviderName, cloud), now)
    return [choice.name for choice in model_choices(options)]


@pytest.mark.parametrize(
    ("provider", "name"),
    [
        (ZAI, "☁ zai · glm-4.6 · about 0.2 ¢ an answer"),
        (replace(ZAI, likely_micro_usd=0), "☁ zai · glm-4.6 · free"),
        (replace(ZAI, likely_micro_usd=0, has_plan=True), "☁ zai · glm-4.6 · paid by its plan"),
        (replace(ZAI, likely_micro_usd=None), "☁ zai · glm-4.6 · price unknown"),
        # Why it is out is its owner's business.
        (
            replace(ZAI, is_serving=False, reason="HTTP 402: top up"),
            "☁ zai · glm-4.6 · not available now",
        ),
    ],
)
def test_a_provider_is_offered_after_the_models_with_its_price(
    provider: ProviderSnapshot, name: str
) -> None:
    assert listed(with_clouds(provider))[-1] == name
    assert listed(with_clouds(provider), cloud=()) == listed(with_clouds())


def test_providers_come_in_their_order_and_those_that_are_out_last() -> None:
    catalog = with_clouds(ZAI, SEER)
    assert [n.split(" · ")[0] for n in listed(catalog, cloud=["openai", "zai"])[-2:]] == [
        "☁ openai",
        "☁ zai",
    ]
    catalog = with_clouds(replace(SEER, is_serving=False), ZAI)
    assert "openai" in listed(catalog, cloud=["openai", "zai"])[-1]


def test_a_provider_that_is_out_is_known_to_be_unable_to_answer() -> None:
    names = [ZAI.name, SEER.name]
    catalog = with_clouds(ZAI, replace(SEER, is_serving=False))
    assert [catalog.models(typed, 25, names)[0].is_able for typed in ("glm", "gpt")] == [
        True,
        False,
    ]


def test_a_few_providers_are_seen_among_many_models() -> None:
    names = listed(with_clouds(ZAI, SEER, keys=[f"lab/m-{n:02}" for n in range(60)]))
    assert len(names) == 25
    assert names[0].startswith("auto")
    assert [name.startswith("☁") for name in names] == [False] * 23 + [True] * 2


def test_many_providers_leave_half_the_places_to_models() -> None:
    many = [replace(ZAI, name=ProviderName(f"p{n:02}")) for n in range(30)]
    catalog = with_clouds(*many, keys=[f"lab/m-{n:02}" for n in range(60)])
    names = listed(catalog, cloud=[p.name for p in many])
    assert sum(name.startswith("lab/") for name in names) == 12
    assert len(names) == 25


@pytest.mark.parametrize("typed", ["zai", "GLM", "cloud", "☁", "☁ zai", "cloud:z", "glm-4", "zia"])
def test_a_provider_is_found_by_any_part_of_what_it_is_called(typed: str) -> None:
    assert listed(with_clouds(ZAI), typed) == ["☁ zai · glm-4.6 · about 0.2 ¢ an answer"]


@pytest.mark.parametrize(
    ("now", "first"),
    [
        ("google/gemma", "● google/gemma · cold"),
        ("cloud:zai", "● ☁ zai · glm-4.6"),
    ],
)
def test_what_answers_here_now_is_marked_and_follows_auto(now: str, first: str) -> None:
    names = listed(with_clouds(ZAI, keys=["qwen/qwen3", "google/gemma"]), now=now)
    assert names[1].startswith(first)
    assert [name.startswith("● ") for name in names] == [False, True, False, False]
    assert listed(with_clouds(ZAI), "glm", now=now)[0].startswith("● ") == (now == "cloud:zai")


def test_auto_is_marked_where_it_is_what_answers() -> None:
    assert listed(with_clouds(ZAI), now="auto")[0].startswith("● auto")


def test_the_marked_one_is_seen_among_many() -> None:
    keys = [f"lab/m-{n:02}" for n in range(60)]
    catalog = with_clouds(ZAI, keys=keys)
    assert listed(catalog, now="cloud:zai")[1].startswith("● ☁ zai")
    assert listed(catalog, now="lab/m-59")[1].startswith("● lab/m-59")


@pytest.mark.parametrize("typed", ["vis", "vision", "visoin", "VISION"])
def test_models_that_can_see_are_found_whatever_they_are_called(typed: str) -> None:
    known = (
        Model(ModelKey("google/gemma-3-12b"), vision=True),
        Model(ModelKey("lab/eyes"), "vlm"),
        Model(ModelKey("lab/blind-7b")),
        Model(ModelKey("lab/television")),
    )
    models = {model.key: model for model in known}
    up = HostSnapshot(HostName("studio-1"), "10.0.0.1:1234", "up", models=models)
    catalog = Catalog(
        lambda: FleetSnapshot({up.name: up}, taken_at=0.0), TwoPersonas(), clouds(ZAI, SEER)
    )
    found = [name.split(" · ")[0] for name in listed(catalog, typed)]
    assert {*found} - {"lab/television"} == {"google/gemma-3-12b", "lab/eyes", "☁ openai"}


def test_a_misspelt_wish_for_sight_names_who_can_see() -> None:
    model = Model(ModelKey("google/gemma-3-12b"), vision=True)
    up = HostSnapshot(HostName("studio-1"), "10.0.0.1:1234", "up", models={model.key: model})
    catalog = Catalog(lambda: FleetSnapshot({up.name: up}, 0.0), TwoPersonas(), clouds())
    with pytest.raises(UnknownName, match="Nearest: `google/gemma-3-12b`"):
        catalog.choice("visoin")
    with pytest.raises(UnknownName, match="Known here: `google/gemma-3-12b`"):
        catalog.choice("zzz")


@pytest.mark.parametrize("typed", ["vi", "is", "television"])
def test_a_few_letters_or_another_word_are_no_wish_for_sight(typed: str) -> None:
    assert not [name for name in listed(with_clouds(SEER), typed) if "openai" in name]


def standing_of(*hosts: HostSnapshot) -> str:
    snapshot = FleetSnapshot({host.name: host for host in hosts}, taken_at=0.0)
    return Catalog(lambda: snapshot, TwoPersonas(), clouds()).option(BIG.key).mark


BIG = Model(ModelKey("big"), size_bytes=8 * 10**9)
TIGHT = HostSnapshot(
    HostName("alpha"),
    "10.0.0.1:1234",
    "up",
    models={BIG.key: BIG},
    memory_bytes=10 * 10**9,
    instances=(
        Instance(
            InstanceId("s"), ModelKey("lab/small"), own=True, idle_since=0.0, size_bytes=6 * 10**9
        ),
    ),
)
BIG_THERE = Instance(InstanceId("big"), BIG.key, own=True)


def test_how_a_model_stands_is_said_in_a_few_words() -> None:
    assert standing_of(TIGHT) == "cold · ~7.2 s · alpha · must evict lab/small"
    assert standing_of(replace(TIGHT, instances=())) == "cold · ~6.7 s · alpha"
    assert standing_of(replace(TIGHT, instances=(BIG_THERE,))) == "warm · alpha"
    away = replace(TIGHT, state="down", reason="10.0.0.1:1234 refuses")
    assert standing_of(away) == "host asleep or away"
    assert standing_of(replace(TIGHT, state="draining")) == "draining: takes no new turns"
    assert standing_of(replace(away, name=HostName("beta")), replace(TIGHT, state="unknown")) == (
        "not looked at yet"
    )
    assert standing_of() == "no host has it"
    under_way = LoadInFlight(BIG.key, 0.42, 0.0, None)
    assert standing_of(replace(TIGHT, instances=(), load=under_way)) == "loading 42% · alpha"
    # Another's load is no reason to wait for it by that name.
    other = replace(under_way, model_key=ModelKey("lab/other"))
    assert standing_of(replace(TIGHT, instances=(), load=other)).startswith("cold · ~")
    resting = replace(TIGHT, instances=(), state="asleep")
    assert standing_of(resting) == "host asleep · ~52 s · alpha"
    assert standing_of(replace(resting, state="waking")) == "host waking · ~52 s · alpha"
    busy = replace(BIG_THERE, leases=1, parallel=1)
    assert standing_of(replace(TIGHT, instances=(busy,))) == "warm · alpha · ~11 s"


@pytest.mark.parametrize(("seconds", "told"), [(4.9, ""), (5.0, " · ~5.0 s")])
def test_of_what_is_warm_a_wait_is_told_from_five_seconds(
    monkeypatch: pytest.MonkeyPatch, seconds: float, told: str
) -> None:
    def predicted(*asked: Any) -> Any:
        found = cast(Any, predict_seconds)(*asked)
        return replace(found, queue_s=seconds, load_s=0.0, prefill_s=0.0)

    monkeypatch.setattr("bot.chat.catalog.predict_seconds", predicted)
    assert standing_of(replace(TIGHT, instances=(BIG_THERE,))) == f"warm · alpha{told}"


def test_what_is_cold_goes_before_what_is_warm_and_busy_for_longer() -> None:
    quick = Model(ModelKey("quick"), size_bytes=10**9)
    busy = replace(BIG_THERE, leases=1, parallel=1)
    hosts = (
        replace(TIGHT, instances=(busy,)),
        replace(TIGHT, name=HostName("beta"), instances=(), models={quick.key: quick}),
    )
    snapshot = FleetSnapshot({host.name: host for host in hosts}, taken_at=0.0)
    catalog = Catalog(lambda: snapshot, TwoPersonas(), clouds())
    assert [name.split(" · ")[0] for name in listed(catalog)] == ["auto", "quick", "big"]


def test_two_that_must_leave_are_counted() -> None:
    (small,) = TIGHT.instances
    halves = tuple(
        replace(small, identifier=InstanceId(name), model_key=ModelKey(name), size_bytes=4 * 10**9)
        for name in ("lab/a", "lab/b")
    )
    assert standing_of(replace(TIGHT, instances=halves)).endswith("must evict lab/a and 1 more")


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("auto", "auto"),
        ("zai", "cloud:zai"),
        (" ZAI ", "cloud:zai"),
        ("☁ zai", "cloud:zai"),
        ("☁zai", "cloud:zai"),
        ("cloud:zai", "cloud:zai"),
        ("☁ za", "cloud:zai"),
        ("glm-4.6", "cloud:zai"),
        ("GLM-4.6", "cloud:zai"),
        # The provider's own name goes before what a model's merely holds.
        ("openai", "cloud:openai"),
        ("openai/gpt-oss-20b", "openai/gpt-oss-20b"),
        # A model here goes before a provider's of the same name, which would cost.
        ("gpt-6", "lab/gpt-6"),
        ("☁ openai", "cloud:openai"),
        ("qwen3", "qwen/qwen3"),
    ],
)
def test_what_is_typed_means_a_model_here_or_a_provider(typed: str, value: str) -> None:
    keys = ["qwen/qwen3", "openai/gpt-oss-20b", "lab/gpt-6"]
    assert with_clouds(ZAI, SEER, keys=keys).choice(typed) == value


def test_a_model_of_two_providers_is_asked_for_by_the_providers_name() -> None:
    catalog = with_clouds(ZAI, replace(ZAI, name=ProviderName("zai-2")))
    with pytest.raises(UnknownName, match=r"`☁ zai`, `☁ zai-2`"):
        catalog.choice("glm-4.6")


@pytest.mark.parametrize("typed", ["☁ zia", "cloud:zia", "zia"])
def test_a_mistyped_provider_is_named(typed: str) -> None:
    with pytest.raises(UnknownName, match="zai"):
        with_clouds(ZAI).choice(typed)


def test_with_every_host_away_a_provider_is_known_all_the_same() -> None:
    away = HostSnapshot(HostName("studio-2"), "10.0.0.2:1234", "down", "does not answer")
    snapshot = FleetSnapshot({away.name: away}, taken_at=0.0)
    catalog = Catalog(lambda: snapshot, TwoPersonas(), clouds(ZAI))
    assert [catalog.choice(name) for name in ("zai", "glm-4.6")] == ["cloud:zai"] * 2
    with pytest.raises(NoCandidates):
        catalog.choice("qwen3")


def test_of_a_thousand_models_few_are_judged_at_every_key_typed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judged = 0

    def counted(*asked: Any) -> Any:
        nonlocal judged
        judged += 1
        return predict_seconds(*asked)

    monkeypatch.setattr("bot.chat.catalog.predict_seconds", counted)
    models = {ModelKey(f"lab/m-{n:04}"): 10**9 + n * 10**7 for n in range(1000)}
    sizes = {key: Model(key, size_bytes=size) for key, size in models.items()}
    up = HostSnapshot(HostName("alpha"), "10.0.0.1:1234", "up", models=sizes)
    away = HostSnapshot(HostName("beta"), "10.0.0.2:1234", "down", "off", models=sizes)
    snapshot = FleetSnapshot({away.name: away, up.name: up}, taken_at=0.0)
    catalog = Catalog(lambda: snapshot, TwoPersonas(), clouds())
    for typed, most in (("", 60), ("m-0999", 2), ("mo-0999", 60)):
        judged = 0
        names = listed(catalog, typed)
        assert judged <= most, typed
        assert names
    # The soonest, as if all had been judged.
    assert [n.split()[0] for n in listed(catalog)[1:]] == [f"lab/m-{n:04}" for n in range(24)]
    assert listed(catalog, now="lab/m-0777")[1].startswith("● lab/m-0777")
