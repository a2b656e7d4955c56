"""Cards of other programs come in, are edited, and go out with all that their makers wrote."""

import base64
import json
import zlib
from dataclasses import replace
from typing import Any, cast

import pytest
from histories import examples
from hypothesis import given
from hypothesis import strategies as st
from makers_cards import MAKERS, PICTURE, SOURCES, V1, V3_FULL, packed, text_chunk, with_chunks

from bot.documents.cards import (
    MAX_DEPTH,
    MAX_FILE_BYTES,
    MAX_PICTURE_BYTES,
    Card,
    Imported,
    card_of,
    persona_of,
    read_file,
    written,
)
from bot.documents.persona_files import (
    MAX_BYTES,
    MAX_PROMPT_CHARACTERS,
    parse_persona,
    persona_text,
)
from bot.documents.png import plain_png, png_texts
from bot.domain.errors import RequestRefused
from bot.domain.ids import ModelKey, PersonaName, ProviderName
from bot.domain.personas import Book, BookEntry, Character, LoadSettings, Persona, Sampling


def missing(source: Any, found: Any, path: str = "") -> list[str]:
    """Where something of ``source`` is not in ``found`` as it stood."""
    if not isinstance(source, dict):
        return [] if source == found else [path]
    if not isinstance(found, dict):
        return [path]
    wanted, there = cast("dict[str, Any]", source), cast("dict[str, Any]", found)
    lost = [f"{path}.{key}" for key in wanted if key not in there]
    both = [key for key in wanted if key in there]
    return lost + [p for key in both for p in missing(wanted[key], there[key], f"{path}.{key}")]


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("kind", ["json", "json-v2", "png"])
def test_a_card_goes_out_with_everything_its_maker_wrote(name: str, kind: Any) -> None:
    came = read_file(MAKERS[name], name)
    went = written(came.persona, came.card, came.picture, kind)
    back = read_file(went, "again")
    changed = missing(SOURCES[name], back.card)
    # What kind of card it is now may differ, nothing else.
    assert [path for path in changed if not path.startswith(".spec")] == []
    assert back.persona == came.persona


@pytest.mark.parametrize("name", MAKERS)
def test_an_edit_changes_what_was_edited_and_nothing_else(name: str) -> None:
    came = read_file(MAKERS[name], name)
    edited = replace(
        came.persona,
        description="new",
        system_prompt="Be brief.",
        greeting="Changed.",
        model=ModelKey("a/b"),
        local_only=not came.persona.local_only,
        sampling=Sampling(temperature=0.1),
    )
    card = card_of(edited, came.card)
    assert persona_of(card) == edited
    lost = missing(SOURCES[name], card)
    own = ("first_mes", "system_prompt", "lantern")
    assert [path for path in lost if not any(word in path for word in own)] == []
    if "first_mes" in card:  # readers of V1 look outside
        assert card["first_mes"] == "Changed."
    # And back again: a default that was meant is kept as well as any other value.
    assert persona_of(card_of(came.persona, card)) == came.persona


def test_what_the_makers_wrote_is_understood() -> None:
    by_name = {name: read_file(content, name) for name, content in MAKERS.items()}
    marla, sera, nine = (by_name[n] for n in ("v1.json", "sillytavern.png", "v3.png"))
    assert marla.persona.greeting.endswith("late, {{user}}.")
    assert marla.persona.character.examples.startswith("<START>")
    assert by_name["pygmalion.json"].persona.character.description == "A botanist."
    assert sera.persona.description == "made for tests"
    assert sera.persona.character.greetings == ("Night has fallen.", "It rains.")
    assert sera.persona.character.post_history == "Write two paragraphs."
    (entry,) = sera.persona.character.book.entries
    assert entry == BookEntry(
        keys=("wolf", "wolves"), content="Wolves avoid the glade.", secondary_keys=("night",),
        selective=True, whole_words=False, insertion_order=50, position="after_char",
    )  # fmt: skip
    assert sera.notes == (
        "Kept, but without effect here: its character's note (`extensions.depth_prompt`), "
        "its world (`extensions.world`), its scripts (`extensions.regex_scripts`).",
    )
    # The newest form in a picture counts.
    assert (nine.persona.name, nine.persona.character.name) == ("Nine of Bells", "Nine")
    book = nine.persona.character.book
    assert (book.scan_depth, book.token_budget, book.recursive_scanning) == (6, 300, True)
    assert [(e.content, e.constant, e.enabled, e.use_regex) for e in book.entries] == [
        ("The spring is gold.", True, True, False),
        ("It needs oil.", False, True, True),
        ("Secret.", False, False, False),
    ]
    assert nine.persona.avatar == "https://cards.example.org/9.png"
    ada = by_name["chub.png"].persona
    assert (ada.name, ada.character.name) == ("Captain “Ada” Vance", "Captain “Ada” Vance")
    assert ada.avatar == "https://pictures.example.org/avatars/ada/card.webp"
    tam = by_name["agnai.json"].persona.character
    assert tam.examples == "{{char}}: Shoo.\n{{char}}: Fine."
    assert tam.book.entries[0].keys == ("coin", "purse")
    ring, empty = by_name["world.json"].persona.character.book.entries
    assert (ring.keys, ring.constant, ring.position) == (("ring", "7"), True, "before_char")
    assert (empty.keys, empty.insertion_order, empty.position) == ((), 30, "after_char")
    fox = by_name["japanese.png"].persona
    assert (fox.name, fox.character.description) == ("雪 🦊", "half � a character")
    quill = by_name["ours.json"].persona
    assert (quill.model, quill.cloud, quill.local_only) == ("qwen/qwen3-8b", (), True)
    assert (quill.idle_ttl_s, quill.load.context_length) == (2700.0, 8192)


def test_a_picture_carries_the_card_in_both_forms_and_keeps_its_other_chunks() -> None:
    came = read_file(MAKERS["sillytavern.png"], "sera.png")
    went = written(came.persona, came.card, came.picture, "png")
    texts = png_texts(went, frozenset({"chara", "ccv3", "software"}), MAX_BYTES)
    assert texts["software"] == b"paint"
    specs = [json.loads(base64.b64decode(texts[name]))["spec"] for name in ("chara", "ccv3")]
    assert specs == ["chara_card_v2", "chara_card_v3"]
    assert went.count(b"chara\0") == 1
    # One that came without a picture gets one.
    plain = read_file(MAKERS["v1.json"], "v1.json")
    assert read_file(written(plain.persona, plain.card, None, "png"), "x").persona == plain.persona


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
KNOWN = set(V3_FULL["data"]) | {"avatar"}


OUTSIDE = KNOWN | {"data", "spec", "spec_version", "operation", "inference_params", "entries"}


def mappings(known: set[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.text(max_size=8).filter(lambda k: k not in known), JSON, max_size=3)


@pytest.mark.slow
@examples(20)
@given(
    outside=mappings(OUTSIDE),
    inside=mappings(KNOWN),
    extensions=mappings({"lantern"}),
    kind=st.sampled_from(["json", "png"]),
)
def test_unknown_fields_survive_import_edit_and_export(
    outside: dict[str, Any], inside: dict[str, Any], extensions: dict[str, Any], kind: Any
) -> None:
    data = {"name": "x", "first_mes": "hi", **inside, "extensions": extensions}
    card = {**outside, "spec": "chara_card_v3", "spec_version": "3.0", "data": data}
    came = read_file(json.dumps(card).encode(), "x.json")
    edited = replace(came.persona, greeting="ho", local_only=True)
    went = written(edited, card_of(edited, came.card), None, kind)
    back = read_file(went, "x")
    assert back.persona == edited
    assert missing(card, back.card) == [".data.first_mes"]


TEXT = st.text(max_size=40)
TRIMMED = TEXT.map(str.strip)
KEY = st.text(min_size=1, max_size=9).filter(lambda key: key.strip() != "")
ENTRY = st.builds(
    BookEntry, keys=st.tuples(KEY), content=TEXT, secondary_keys=st.tuples() | st.tuples(KEY),
    enabled=st.booleans(), constant=st.booleans(), selective=st.booleans(),
    case_sensitive=st.booleans(), whole_words=st.booleans(), use_regex=st.booleans(),
    insertion_order=st.integers(-99, 999), priority=st.integers(-9, 99),
    position=st.sampled_from(["before_char", "after_char"]),
)  # fmt: skip
PERSONA = st.builds(
    Persona,
    name=st.sampled_from(["x", "no", "007", "Ada “V”", "1e5", "a: b", "#"]).map(PersonaName),
    description=TRIMMED, model=st.sampled_from(["auto", "a/b"]).map(ModelKey),
    alternatives=st.tuples() | st.tuples(st.just(ModelKey("c/d"))),
    cloud=st.none() | st.tuples() | st.tuples(st.just(ProviderName("zai"))),
    local_only=st.booleans(), system_prompt=TRIMMED, greeting=TRIMMED,
    avatar=st.sampled_from(["", "https://x.org/a.png"]),
    request_type=st.none() | st.just("teaching"),
    priority=st.sampled_from(["high", "normal", "low"]), keep_loaded=st.booleans(),
    idle_ttl_s=st.none() | st.sampled_from([60.0, 90.5, 2700.0]),
    sampling=st.builds(Sampling, temperature=st.none() | st.sampled_from([0.0, 0.7, 2.0]),
                       top_k=st.none() | st.integers(0, 99), stop=st.tuples() | st.tuples(KEY)),
    load=st.builds(LoadSettings, gpu=st.sampled_from([None, "max", "off", 0.5]),
                   kv_cache_quant=st.sampled_from([None, "q8_0"])),
    character=st.builds(
        Character, name=TRIMMED, description=TRIMMED, personality=TRIMMED, scenario=TRIMMED,
        examples=TRIMMED, post_history=TRIMMED,
        greetings=st.lists(TRIMMED.filter(bool), max_size=2).map(tuple),
        book=st.builds(Book, entries=st.lists(ENTRY, max_size=2).map(tuple),
                       scan_depth=st.none() | st.integers(0, 9), recursive_scanning=st.booleans(),
                       token_budget=st.none() | st.integers(0, 900)),
    ),
    source=st.just(""),
)  # fmt: skip


@pytest.mark.slow
@examples(20)
@given(PERSONA)
def test_a_persona_is_the_same_by_way_of_yaml(persona: Persona) -> None:
    assert parse_persona(persona_text(persona), "") == persona


@examples(20)
@given(PERSONA, st.sampled_from(list(MAKERS)))
def test_a_persona_is_the_same_by_way_of_any_card(persona: Persona, name: str) -> None:
    # Decorators on top of an entry are no words of it; no maker's own, and no person's, begin so.
    entries = tuple(
        replace(entry, content=f"said: {entry.content}") for entry in persona.character.book.entries
    )
    character = replace(persona.character, book=replace(persona.character.book, entries=entries))
    came = read_file(MAKERS[name], name)
    # A card's own name is its maker's; what {{char}} stands for may be told anew, not taken away.
    wanted = replace(
        persona,
        name=came.persona.name,
        character=replace(character, name=character.name or "someone"),
    )
    card = card_of(wanted, came.card)
    assert persona_of(card) == wanted
    assert persona_of(json.loads(json.dumps(card))) == wanted


# --- presets --------------------------------------------------------------------------------


def preset(*fields: tuple[str, object]) -> bytes:
    listed = [{"key": key, "value": value} for key, value in fields]
    return json.dumps(
        {"identifier": "@local:calm", "name": "Calm teacher", "changed": False,
         "operation": {"fields": [f for f in listed if "prediction" in str(f["key"])]},
         "load": {"fields": [f for f in listed if "load" in str(f["key"])]}}
    ).encode()  # fmt: skip


def test_a_preset_of_lm_studio_becomes_a_persona() -> None:
    came = read_file(
        preset(
            ("llm.prediction.systemPrompt", "Be calm."),
            ("llm.prediction.temperature", 0.4),
            ("llm.prediction.topKSampling", 24),
            ("llm.prediction.topPSampling", {"checked": True, "value": 0.9}),
            ("llm.prediction.minPSampling", {"checked": False, "value": 0.05}),
            ("llm.prediction.maxPredictedTokens", {"checked": True, "value": 500}),
            ("llm.prediction.stopStrings", ["END"]),
            ("llm.prediction.contextOverflowPolicy", "rollingWindow"),
            ("llm.load.contextLength", 8192),
            ("llm.load.llama.acceleration.offloadRatio", "max"),
            ("llm.load.llama.kCacheQuantizationType", {"checked": True, "value": "q8_0"}),
        ),
        "calm.preset.json",
    )
    assert came.persona == Persona(
        PersonaName("Calm teacher"),
        system_prompt="Be calm.",
        sampling=Sampling(temperature=0.4, max_tokens=500, top_p=0.9, top_k=24, stop=("END",)),
        load=LoadSettings(context_length=8192, gpu="max", kv_cache_quant="q8_0"),
        source="",
    )
    told = ("Not taken over from the preset: `llm.prediction.contextOverflowPolicy`.",)
    assert came.notes == told
    assert persona_of(came.card) == came.persona


def test_a_preset_of_an_older_lm_studio_is_read_as_well() -> None:
    old = {
        "name": "Alpaca", "load_params": {"n_ctx": 1500, "n_batch": 512},
        "inference_params": {"temp": 0.8, "n_predict": -1, "pre_prompt": "Answer.", "top_k": 40,
                             "antiprompt": ["### Instruction:"], "input_prefix": "###"},
    }  # fmt: skip
    came = read_file(json.dumps(old).encode(), "alpaca.preset.json")
    assert came.persona.system_prompt == "Answer."
    assert came.persona.sampling == Sampling(temperature=0.8, top_k=40, stop=("### Instruction:",))
    assert came.persona.load.context_length == 1500
    assert "`n_batch`" in came.notes[0]
    with pytest.raises(RequestRefused, match="temperature is 9; expected at most 2"):
        read_file(preset(("llm.prediction.temperature", 9)), "hot.preset.json")


# --- what is broken -------------------------------------------------------------------------


def refusal(content: bytes, name: str = "x.txt") -> str:
    with pytest.raises(RequestRefused) as caught:
        read_file(content, name)
    words = caught.value.user_message
    assert words.startswith(f"`{name}` was not imported.")
    assert len(words) < 1000
    return words


def card_with(**fields: object) -> bytes:
    data = {"name": "x", "first_mes": "hi", **fields}
    return json.dumps({"spec": "chara_card_v2", "spec_version": "2.0", "data": data}).encode()


def deep(levels: int) -> bytes:
    return b'{"data": {"name": "x", "a": ' + b"[" * levels + b"]" * levels + b"}}"


BROKEN: list[tuple[bytes, str]] = [
    (PICTURE, "holds no card (no chunk `chara` or `ccv3`)"),
    (with_chunks(text_chunk("chara", V1))[:-5], "cut on its way"),
    (with_chunks(text_chunk("chara", V1))[:60], "cut on its way"),
    (PICTURE[:20], "cut on its way"),
    (PICTURE[:8] + b"\0\0\0\0IDAT" + b"\0" * 40, "begins as no PNG picture does"),
    (with_chunks(text_chunk("chara", V1)).replace(b"chara\0ey", b"chara\0EY"), "checksum"),
    (with_chunks((b"tEXt", b"chara\0{not base64}")), "no base64"),
    (with_chunks((b"zTXt", b"chara\0\0not packed")), "cannot be unpacked"),
    (with_chunks((b"zTXt", b"chara\0\0" + zlib.compress(b"a" * 50_000_000, 1))), "than 2,048 KiB"),
    (with_chunks((b"iTXt", b"ccv3\0\1\0\0\0" + zlib.compress(b"a" * 9_000_000, 1))), "larger than"),
    (with_chunks((b"tEXt", b"chara\0" + base64.b64encode(b'{"a": '))), "line 1, column 7"),
    (plain_png(30_000, 1, (0, 0, 0)), "30,000 × 1 pixels; up to 8,192 a side"),
    (plain_png(1, 8193, (0, 0, 0)), "1 × 8,193 pixels"),
    (b"\xff\xd8\xff\xe0 a photo", "cards travel in PNG files alone"),
    (b"\xff\xd8\xff\xdb a photo", "cards travel in PNG files alone"),
    (b"", "It is empty."),
    (b"\xef\xbb\xbf \r\n", "It is empty."),
    (b"\0\1\2\xff", "no PNG card, no JSON and no text"),
    (b"x" * (MAX_FILE_BYTES + 1), "It is 8.0 MB; files up to 8.0 MB are taken."),
    (b"[1, 2]", "a mapping with a name was expected"),
    (b'{"name": "x"', "broken at line 1, column 13"),
    (b'{"name": "x"}', "no `data` and no `name` with a description"),
    (b'{"data": {"first_mes": "x"}}', "The card has no name"),
    (b'{"data": {"name": "  "}}', "The card has no name"),
    (b'{"entries": {}, "name": "a world"}', "a book of lore without a character"),
    (b'{"data": {"name": "x", "a": NaN}}', "a number that cannot be read"),
    (b'{"data": {"name": "x", "a": ' + b"9" * 5000 + b"}}", "a number that cannot be read"),
    (deep(MAX_DEPTH), f"deeper than {MAX_DEPTH} levels"),
    (deep(100_000), "nested too deep"),
    (b'{"a":"' + b"x" * MAX_BYTES + b'"}', "Its JSON is over 1,024 KiB"),
    (card_with(description="d" * (MAX_PROMPT_CHARACTERS + 1)), "expected at most 32000 characters"),
    (card_with(first_mes="g" * 100_000), "greeting is"),
    (card_with(alternate_greetings=["g"] * 51), "at most 50 items"),
    (card_with(character_book={"entries": [{"keys": ["k"]}] * 1001}), "at most 1000 items"),
    (card_with(character_book={"entries": [{"content": "c" * 30_000}] * 14}), "400,000 characters"),
    (card_with(character_book={"entries": [{"insertion_order": "first"}]}), "insertion_order"),
    (card_with(extensions={"lantern": {"model": {"a": 1}}}), "model is a mapping"),
    (b"name: x\nmodle: y\n", "modle is not known; nearest: model"),
    (b"name: [", "broken YAML"),
    (b"just words", "expected lines of `key: value`"),
]  # fmt: skip


def test_what_is_called_a_picture_and_is_none_is_told_so_and_not_of_its_yaml() -> None:
    with pytest.raises(RequestRefused, match="It is no PNG picture"):
        read_file(b"just words", "Ada.PNG")


@pytest.mark.parametrize(("content", "words"), BROKEN, ids=[words for _, words in BROKEN])
def test_what_is_broken_or_huge_is_named_and_not_imported(content: bytes, words: str) -> None:
    assert words in refusal(content)


def test_the_largest_that_is_taken_is_taken() -> None:
    fields: dict[str, object] = {
        "description": "d" * MAX_PROMPT_CHARACTERS,
        "first_mes": "g" * 8000,
        "alternate_greetings": ["g"] * 50,
        "character_book": {"entries": [{"content": "c" * 400}] * 1000},
    }
    persona = read_file(card_with(**fields), "x.json").persona
    assert len(persona.character.description) == MAX_PROMPT_CHARACTERS
    assert len(persona.character.book.entries) == 1000
    read_file(deep(MAX_DEPTH - 2), "x.json")
    read_file(with_chunks(text_chunk("chara", V1), picture=plain_png(8192, 1, (0, 0, 0))), "x.png")


@pytest.mark.parametrize("name", ["x", "xy", "xyz"])
def test_base64_in_lines_or_without_its_padding_is_read_as_other_programs_read_it(
    name: str,
) -> None:
    card = json.dumps({"data": {"name": name}}).encode()
    for coded in (base64.encodebytes(card), base64.b64encode(card).rstrip(b"=")):
        lines = b"\r\n".join(coded[at : at + 12].strip() for at in range(0, len(coded), 12))
        assert read_file(with_chunks((b"tEXt", b"chara\0" + lines)), "x.png").persona.name == name


def test_a_picture_too_large_to_keep_leaves_its_persona() -> None:
    # Random enough to stay large; the card itself is small.
    filler = (b"tEXt", b"noise\0" + b"n" * MAX_PICTURE_BYTES)
    came = read_file(with_chunks(filler, text_chunk("chara", V1)), "x.png")
    assert came.picture is None
    assert came.notes == ("Its picture is over 4.0 MB and was not kept.",)
    small = read_file(with_chunks(text_chunk("chara", V1)), "x.png")
    assert small.picture is not None


@given(st.binary(max_size=200), st.sampled_from([b"", PICTURE[:33], b"{", b"name: "]))
def test_no_bytes_break_the_reader(content: bytes, start: bytes) -> None:
    try:
        found = read_file(start + content, "x")
    except RequestRefused:
        return
    assert isinstance(found, Imported)


@given(JSON)
def test_no_json_breaks_the_reader(value: Any) -> None:
    for document in ({"data": {"name": "x", **dict.fromkeys(KNOWN - {"name"}, value)}}, value):
        content = json.dumps(document).encode()
        picture = with_chunks((b"tEXt", b"chara\0" + packed(document)))
        for file in (content, picture):
            try:
                read_file(file, "x")
            except RequestRefused:
                continue


def test_a_new_persona_makes_a_card_that_strict_readers_take() -> None:
    made = replace(
        parse_persona("name: Ada\nsystem_prompt: You fly.\n", ""), name=PersonaName("Ada#0123abcd")
    )
    card: Card = card_of(made)
    v2: dict[str, Any] = json.loads(written(made, card, None, "json-v2"))
    assert (v2["spec"], v2["spec_version"], v2["data"]["name"]) == ("chara_card_v2", "2.0", "Ada")
    for key in (
        "description",
        "tags",
        "creator",
        "character_version",
        "extensions",
        "creator_notes",
    ):
        assert key in v2["data"]
    assert json.loads(written(made, card, None, "json"))["spec"] == "chara_card_v3"
    assert written(made, card, None, "yaml").startswith(b"name: ")
