"""Personas: what a file may say, every fault at once, and a shelf that follows its files."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from bot.documents.persona_files import parse_persona
from bot.documents.shelf import DEFAULT_PERSONA, PersonaShelf
from bot.domain.errors import ConfigError
from bot.domain.ids import AUTO
from bot.domain.personas import LoadSettings, Persona, Sampling

ROOT = Path(__file__).parents[2]

SAGE = """
name: sage
description: calm teacher, long answers
model: qwen/qwen3-30b-a3b-2507
alternatives: [google/gemma-3-12b]      # other local models, in order; empty list = none
cloud: [zai, anthropic]                 # this persona's own order; [] = never
local_only: false                       # true: the words never leave the LAN, whatever fails
system_prompt: |
  You are a calm teacher.
greeting: Ask me anything.
avatar: https://…/sage.png
request_type: teaching
priority: Low
sampling: {temperature: 0.7, max_tokens: 1024, top_p: 0.9, top_k: 40, min_p: 0.05,
           repeat_penalty: 1.1, stop: []}
load: {context_length: 16384, gpu: max, flash_attention: true, cpu_threads: 8,
       rope_frequency_base: null, rope_frequency_scale: null, num_experts: null,
       kv_cache_quant: null}
keep_loaded: false
idle_ttl: 45m
"""


def faults(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse_persona(text, "x.yaml")
    return caught.value.faults


def test_the_documented_file_makes_its_persona() -> None:
    assert parse_persona(SAGE, "sage.yaml") == Persona(
        name="sage",  # pyright: ignore[reportArgumentType]  # names are plain texts here
        description="calm teacher, long answers",
        model="qwen/qwen3-30b-a3b-2507",  # pyright: ignore[reportArgumentType]
        alternatives=("google/gemma-3-12b",),  # pyright: ignore[reportArgumentType]
        cloud=("zai", "anthropic"),  # pyright: ignore[reportArgumentType]
        system_prompt="You are a calm teacher.",
        greeting="Ask me anything.",
        avatar="https://…/sage.png",
        request_type="teaching",
        priority="low",
        sampling=Sampling(0.7, 1024, 0.9, 40, 0.05, 1.1),
        load=LoadSettings(context_length=16384, gpu="max", flash_attention=True, cpu_threads=8),
        idle_ttl_s=2700.0,
        source="sage.yaml",
    )


def test_a_name_is_enough() -> None:
    persona = parse_persona("name: plain", "plain.yaml")
    assert persona.model == AUTO
    assert persona.alternatives == ()
    assert persona.cloud is None
    assert persona.idle_ttl_s is None
    assert persona.sampling == Sampling()
    assert persona.load == LoadSettings()


@pytest.mark.parametrize(
    ("line", "attribute", "value"),
    [
        ("cloud: []", "cloud", ()),
        ("cloud: zai", "cloud", ("zai",)),
        ("alternatives: a, b", "alternatives", ("a", "b")),
        ("idle_ttl: 90", "idle_ttl_s", 90.0),
        ("load: {gpu: off}", "load", LoadSettings(gpu="off")),
        ("load: {gpu: 0.5}", "load", LoadSettings(gpu=0.5)),
        ("load: {kv_cache_quant: Q8_0}", "load", LoadSettings(kv_cache_quant="q8_0")),
        ("sampling: {stop: '###, end'}", "sampling", Sampling(stop=("###, end",))),
        ("local_only: yes", "local_only", True),
        ("keep_loaded: true", "keep_loaded", True),
    ],
)
def test_values_are_read_as_people_mean_them(line: str, attribute: str, value: object) -> None:
    assert getattr(parse_persona(f"name: x\n{line}", "x.yaml"), attribute) == value


# fmt: off
FAULTS = [
    ("", "x.yaml: name is missing"),
    ("name: ''", 'x.yaml line 1: name is ""; expected at least 1 characters'),
    ("name: " + "n" * 65, "x.yaml line 1: name is "),
    ('name: "a\\nb"', 'x.yaml line 1: name is "a\\nb"; expected one line of text'),
    ("name: x\nmodle: y", "x.yaml line 2: modle is not known; nearest: model"),
    ("name: x\nsampling:\n  temprature: 1", "line 3: sampling.temprature is not known; nearest:"),
    ("name: x\ntemperature: 1", "x.yaml line 2: temperature is not known; nearest: sampling.temp"),
    ("name: x\nsampling: {temperature: hot}", 'line 2: sampling.temperature is "hot"; expected a'),
    ("name: x\nsampling: {temperature: 9}", "line 2: sampling.temperature is 9; expected at"),
    ("name: x\nsampling: {top_p: 1.5}", "line 2: sampling.top_p is 1.5; expected at most 1"),
    (
        "name: x\nsampling: {max_tokens: 1000000001}",
        "line 2: sampling.max_tokens is 1000000001; expected at most 1000000000",
    ),
    ("name: x\nsampling: {max_tokens: 0}", "line 2: sampling.max_tokens is 0; expected at least 1"),
    ("name: x\nload: {gpu: most}", 'line 2: load.gpu is "most"; expected max, off, or a share'),
    ("name: x\nload: {gpu: 2}", "line 2: load.gpu is 2; expected max, off, or a share"),
    ("name: x\nload: {gpu: true}", "line 2: load.gpu is true; expected max, off, or a share"),
    ("name: x\nload: {kv_cache_quant: q9}", 'load.kv_cache_quant is "q9"; expected one of f32'),
    ("name: x\nload: fast", 'line 2: load is "fast"; expected a mapping of keys'),
    ("name: x\nmodel: null", "line 2: model is empty; expected text"),
    ("name: x\navatar: http://x/y.png", "line 2: avatar is \"http://x/y.png\"; expected an https://"),
    ("name: x\navatar: 'https://['", "line 2: avatar is \"https://[\"; expected an https://"),
    ("name: x\nidle_ttl: 0", "line 2: idle_ttl is 0; expected a duration"),
    ("name: x\nidle_ttl: later", 'line 2: idle_ttl is "later"; expected a duration'),
    ("name: x\nlocal_only: maybe", 'line 2: local_only is "maybe"; expected true or false'),
    ("name: x\ncloud: 5", "line 2: cloud is 5; expected a list"),
    ("name: x\ngreeting: " + "g" * 8001, "line 2: greeting is"),
    ("name: x\nsystem_prompt: " + "p" * 32_001, "line 2: system_prompt is"),
    ("name: x\nname: y", "line 2: name stands twice (first on line 1)"),
    ("model: [a, b\n", "expected ',' or ']', but got '<stream end>'"),
    ("name: x\n\tmodel: y", "line 2, column 1: broken YAML: a tab"),
    ("- name: x", "x.yaml line 1: expected lines of `key: value`, found a list"),
    ("name: x\nsystem_prompt: |\n" + "  long\n" * 150_000, "x.yaml: larger than 1024 KiB"),
]
# fmt: on


@pytest.mark.parametrize(("text", "words"), FAULTS, ids=[text[-30:] for text, _ in FAULTS])
def test_a_fault_is_named_with_its_line(text: str, words: str) -> None:
    found = faults(text)
    assert words in found[0]
    assert len(found[0]) < 250


def test_of_a_file_that_cannot_be_read_nothing_is_called_missing() -> None:
    (fault,) = faults("model: [a, b\n")
    assert "broken YAML" in fault


def test_every_fault_of_a_file_is_listed_at_once() -> None:
    found = faults("nam: x\nmodel: [a]\nsampling: {top_k: -1}\nmodel: b\nidle_ttl: x")
    assert len(found) == 6


@given(st.text())
def test_any_text_is_a_persona_or_refused_in_words(text: str) -> None:
    try:
        persona = parse_persona(text, "x.yaml")
    except ConfigError:
        return
    assert persona.name


@pytest.mark.parametrize("path", sorted((ROOT / "personas").glob("*.yaml")), ids=lambda p: p.stem)
def test_a_shipped_persona_works_on_any_fleet(path: Path) -> None:
    persona = parse_persona(path.read_text(encoding="utf-8"), path.name)
    assert persona.name == path.stem
    assert persona.model == AUTO
    assert persona.load == LoadSettings()
    assert persona.system_prompt
    assert persona.description
    assert persona.greeting


# --- the shelf ----------------------------------------------------------------------------------


def write(directory: Path, file: str, text: str) -> Path:
    """Write a file so that its change is seen however coarse the file system's clock is."""
    path = directory / file
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text, encoding="utf-8")
    os.utime(path, ns=(before + 10**9, before + 10**9))
    return path


async def shelf_of(directory: Path) -> PersonaShelf:
    shelf = PersonaShelf(directory)
    await shelf.refresh()
    return shelf


async def test_without_files_there_is_the_built_in_persona(tmp_path: Path) -> None:
    assert PersonaShelf(tmp_path).all() == (DEFAULT_PERSONA,)
    for directory in (tmp_path, tmp_path / "gone"):
        shelf = await shelf_of(directory)
        assert shelf.all() == (DEFAULT_PERSONA,)
        assert shelf.get("Default") is DEFAULT_PERSONA
        assert shelf.problems == ()


async def test_a_file_may_replace_the_built_in_persona(tmp_path: Path) -> None:
    write(tmp_path, "mine.yaml", "name: Default\nsystem_prompt: Mine.")
    shelf = await shelf_of(tmp_path)
    assert [persona.system_prompt for persona in shelf.all()] == ["Mine."]


@pytest.mark.parametrize(
    ("file", "content", "stays"),
    [
        ("mine.yaml", b"name: DEFAULT\nlocal_only: [", True),
        ("Default.yaml", b"local_only: true", True),
        ("mine.yaml", b"\xff\xfe\x00", True),
        ("mine.yaml", b"name: elf\nlocal_only: [", False),
        ("mine.yaml", b"name: elf\nlocal_only: true", False),
    ],
)
async def test_what_stands_in_for_a_file_that_is_broken_keeps_words_here(
    tmp_path: Path, file: str, content: bytes, stays: bool
) -> None:
    (tmp_path / file).write_bytes(content)
    shelf = await shelf_of(tmp_path)
    found = shelf.get("default")
    assert found is not None
    assert found.source == DEFAULT_PERSONA.source
    assert found.local_only is stays
    (tmp_path / file).unlink()
    await shelf.refresh()
    assert shelf.get("default") is DEFAULT_PERSONA


@pytest.mark.parametrize("is_private", [True, False])
async def test_what_stands_in_for_a_file_that_went_is_as_private(
    tmp_path: Path, is_private: bool
) -> None:
    path = write(tmp_path, "mine.yaml", f"name: Default\nlocal_only: {is_private}")
    shelf = await shelf_of(tmp_path)
    path.unlink()
    for _ in range(2):
        await shelf.refresh()
        found = shelf.get("default")
        assert found is not None
        assert (found.source, found.local_only) == (DEFAULT_PERSONA.source, is_private)
    write(tmp_path, "mine.yaml", "name: default")
    await shelf.refresh()
    path.unlink()
    await shelf.refresh()
    assert shelf.get("default") is DEFAULT_PERSONA


async def test_a_folder_that_cannot_be_read_keeps_words_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    shelf = await shelf_of(tmp_path)
    found = shelf.get("default")
    assert found is not None
    assert found.local_only


async def test_personas_are_found_in_capitals_or_not_and_listed_by_name(tmp_path: Path) -> None:
    write(tmp_path, "1.yaml", "name: Sage")
    write(tmp_path, "2.yml", "name: coder")
    write(tmp_path, ".#1.yaml", "name: editor")
    write(tmp_path, "notes.txt", "name: notes")
    (tmp_path / "folder.yaml").mkdir()
    shelf = await shelf_of(tmp_path)
    assert [persona.name for persona in shelf.all()] == ["coder", "default", "Sage"]
    assert list(shelf.for_clients()) == ["coder", "default", "Sage"]
    found = shelf.get(" sAGE ")
    assert found is not None
    assert found.source == "1.yaml"
    assert shelf.get("editor") is None


async def test_the_shelf_follows_its_files(tmp_path: Path) -> None:
    path = write(tmp_path, "x.yaml", "name: x\nmodel: a")
    shelf = await shelf_of(tmp_path)
    first = shelf.get("x")
    await shelf.refresh()
    assert shelf.get("x") is first
    write(tmp_path, "x.yaml", "name: x\nmodel: b")
    write(tmp_path, "y.yaml", "name: y")
    await shelf.refresh()
    assert [(persona.name, persona.model) for persona in shelf.all()] == [
        ("default", "auto"),
        ("x", "b"),
        ("y", "auto"),
    ]
    path.unlink()
    write(tmp_path, "y.yaml", "name: z")
    await shelf.refresh()
    assert [persona.name for persona in shelf.all()] == ["default", "z"]


async def test_what_changed_is_logged_and_nothing_else(tmp_path: Path) -> None:
    first = write(tmp_path, "x.yaml", "name: x")
    write(tmp_path, "y.yaml", "name: y")
    shelf = PersonaShelf(tmp_path)

    async def logged() -> list[tuple[str, str, str]]:
        with structlog.testing.capture_logs() as lines:
            await shelf.refresh()
        return [(line["event"], line["persona"], line["file"]) for line in lines]

    assert await logged() == [("persona read", "x", "x.yaml"), ("persona read", "y", "y.yaml")]
    assert await logged() == []
    write(tmp_path, "y.yaml", "name: y\nmodel: b")
    first.unlink()
    assert await logged() == [("persona removed", "x", "x.yaml"), ("persona read", "y", "y.yaml")]


async def test_a_broken_edit_keeps_the_last_good_version_and_says_so_once(tmp_path: Path) -> None:
    write(tmp_path, "x.yaml", "name: x\nmodel: a")
    shelf = await shelf_of(tmp_path)
    write(tmp_path, "x.yaml", "name: x\nmodel: b\ntemperature: 1\nidle_ttl: later")
    with structlog.testing.capture_logs() as logged:
        await shelf.refresh()
    with structlog.testing.capture_logs() as again:
        await shelf.refresh()
    assert again == []
    kept = shelf.get("x")
    assert kept is not None
    assert kept.model == "a"
    assert [line["problem"] for line in logged] == list(shelf.problems)
    assert len(shelf.problems) == 2
    assert all(
        problem.endswith("; the last good version stays in use") for problem in shelf.problems
    )
    write(tmp_path, "x.yaml", "name: x\nmodel: c")
    await shelf.refresh()
    mended = shelf.get("x")
    assert mended is not None
    assert mended.model == "c"
    assert shelf.problems == ()


async def test_a_new_file_that_is_broken_is_only_a_problem(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"name: \xff")
    (tmp_path / "b.yaml").write_bytes(b"#" * (1024 * 1024 + 1))
    (tmp_path / "c.yaml").write_text("")
    shelf = await shelf_of(tmp_path)
    assert shelf.all() == (replace(DEFAULT_PERSONA, local_only=True),)
    first, second, third, effect = shelf.problems
    assert "a.yaml: not a text file in UTF-8" in first
    assert "b.yaml: larger than 1024 KiB" in second
    assert third == "c.yaml: name is missing"
    assert effect == "what is said to default stays on the LAN until these files can be read"


async def test_the_second_file_of_a_name_is_left_out_until_it_is_free(tmp_path: Path) -> None:
    first = write(tmp_path, "a.yaml", "name: sage\nmodel: a")
    write(tmp_path, "b.yaml", "name: Sage\nmodel: b")
    shelf = await shelf_of(tmp_path)
    kept = shelf.get("sage")
    assert kept is not None
    assert kept.model == "a"
    assert shelf.problems == ("b.yaml: the name 'Sage' is taken by a.yaml; left out",)
    first.unlink()
    await shelf.refresh()
    freed = shelf.get("sage")
    assert freed is not None
    assert freed.model == "b"
    assert shelf.problems == ()


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything"
)
async def test_a_file_whose_rights_come_back_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path, "x.yaml", "name: x")
    path.chmod(0)
    shelf = await shelf_of(tmp_path)
    assert len(shelf.problems) == 1
    path.chmod(0o600)
    await shelf.refresh()
    assert shelf.get("x") is not None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX")
async def test_what_is_no_file_is_passed_over(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "link.yaml").symlink_to(tmp_path / "nowhere")
    shelf = await shelf_of(tmp_path)
    assert shelf.all() == (DEFAULT_PERSONA,)
    assert shelf.problems == ()


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["a.yaml", "b.yaml"]),
        st.sampled_from(["name: one", "name: two\nmodel: m", "broken: [", None]),
    ),
    max_size=8,
)


@pytest.mark.slow
@given(edits=EDITS)
async def test_after_any_edits_the_shelf_holds_the_last_good_versions(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[str, str | None]]
) -> None:
    directory = tmp_path_factory.mktemp("shelf")
    shelf = await shelf_of(directory)
    good: dict[str, str] = {}
    for file, text in edits:
        if text is None:
            (directory / file).unlink(missing_ok=True)
            good.pop(file, None)
        else:
            write(directory, file, text)
            if text.startswith("name"):
                good[file] = text
        await shelf.refresh()
    expected = {parse_persona(text, "").name for text in good.values()} | {"default"}
    assert {persona.name for persona in shelf.all()} == expected
