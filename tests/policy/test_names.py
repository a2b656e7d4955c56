import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.errors import UnknownName
from bot.policy.names import matching, nearest, resolve

MODELS = (
    "qwen/qwen3-30b-a3b-2507",
    "qwen/qwen3-8b",
    "google/gemma-3-12b",
    "google/gemma-3-12b-it-qat",
    "openai/gpt-oss-20b",
    "lab/small/tiny",
    "lab/destiny",
)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("qwen/qwen3-8b", "qwen/qwen3-8b"),
        ("QWEN/Qwen3-8B", "qwen/qwen3-8b"),
        ("  qwen3-8b ", "qwen/qwen3-8b"),
        ("gemma-3-12b", "google/gemma-3-12b"),
        ("20b", "openai/gpt-oss-20b"),
        ("2507", "qwen/qwen3-30b-a3b-2507"),
        ("gpt", "openai/gpt-oss-20b"),
        ("openai/", "openai/gpt-oss-20b"),
        ("tiny", "lab/small/tiny"),
        ("tin", "lab/small/tiny"),
        ("a3b", "qwen/qwen3-30b-a3b-2507"),
        ("12b-it", "google/gemma-3-12b-it-qat"),
    ],
)
def test_a_name_is_understood_when_it_means_one_thing(typed: str, meant: str) -> None:
    assert resolve("model", typed, MODELS) == meant


def test_exact_case_decides_between_names_that_differ_by_case_alone() -> None:
    assert resolve("persona", "Sage", ["sage", "Sage"]) == "Sage"
    with pytest.raises(UnknownName) as caught:
        resolve("persona", "SAGE", ["sage", "Sage"])
    assert caught.value.nearest == ("Sage", "sage")


def test_an_ambiguous_name_names_what_it_could_mean() -> None:
    with pytest.raises(UnknownName, match=r"^Say which model: its name is empty\. Known here: `a`"):
        resolve("model", " \t", ("a",))
    with pytest.raises(UnknownName, match="`gemma` fits more than one model: `google/") as caught:
        resolve("model", "gemma", MODELS)
    assert caught.value.nearest == ("google/gemma-3-12b", "google/gemma-3-12b-it-qat")


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(UnknownName) as caught:
        resolve("model", "qwen3-7b", MODELS)
    assert caught.value.nearest[0] == "qwen/qwen3-8b"
    assert "There is no model `qwen3-7b`." in caught.value.user_message


@pytest.mark.parametrize("known", [(), ("aaa", "aab")])
def test_of_a_name_of_any_length_a_hundred_signs_are_said(known: tuple[str, ...]) -> None:
    for length, said in ((100, "a" * 100), (101, "a" * 99 + "…"), (6000, "a" * 99 + "…")):
        unknown = UnknownName("model", "a" * length, (), known, is_unclear=bool(known))
        assert f"`{said}`" in unknown.user_message
        assert unknown.name == "a" * length


@pytest.mark.parametrize("typed", ["", "   "])
def test_nothing_typed_means_nothing(typed: str) -> None:
    with pytest.raises(UnknownName) as caught:
        resolve("host", typed, ["studio-1"])
    assert caught.value.nearest == ()


def test_a_name_like_nothing_has_no_nearest() -> None:
    assert nearest("zzzzzzzz", MODELS) == ()


def test_names_containing_what_was_typed_come_first() -> None:
    assert nearest("oss", ["oxss", "ossi", "bosses"]) == ("ossi", "bosses", "oxss")
    assert nearest("oss", ["a/b-oss-c-d-e-f-g-h", "oxs"])[0] == "a/b-oss-c-d-e-f-g-h"


def test_two_thirds_of_the_characters_alike_are_worth_naming() -> None:
    typed, barely = "a" * 13 + "b" * 7, "a" * 13 + "c" * 7
    assert nearest(typed, [barely, f"{barely}c"]) == (barely,)


@pytest.mark.parametrize("typed", ["claude", "gpt-4", "sonnet", "gemini", "vicuna", "nothing"])
def test_another_makers_model_is_like_none_of_these(typed: str) -> None:
    here = ("qwen2.5-coder-32b", "llama-3.1-8b-instruct", "phi-4-reasoning-plus", "gemma-3-12b")
    assert nearest(typed, [*here, "small-vision-7b", "granite-4-h-tiny", "gpt-oss-20b"]) == ()


def test_a_name_that_is_spelt_a_little_otherwise_is_near() -> None:
    assert nearest("mixtral", ["mistral-small", "qwen3-instruct"]) == ("mistral-small",)


def test_three_are_named_of_many_that_could_be_meant() -> None:
    many = [f"lab/gemma-{n}" for n in range(6)]
    with pytest.raises(UnknownName) as caught:
        resolve("model", "gemma", many)
    assert caught.value.nearest == tuple(many[:3])
    assert nearest("gemma", many) == tuple(many[:3])
    with pytest.raises(UnknownName) as caught:
        resolve("model", "zzzzzz", many)
    assert caught.value.user_message.endswith(f"Known here: `{'`, `'.join(many[:5])}`.")


LONG = "abcdefghij" * 25
NEARLY = f"!{LONG[1:-1]}!"
"""Unlike at both ends, where even a comparison that skips frequent letters would begin."""


@pytest.mark.parametrize(
    ("typed", "known"),
    [
        ("qwen9", f"{'a' * 20}/{'b' * 20}/qwen8"),
        (f"{NEARLY}/b", f"{LONG}/b"),
        (NEARLY, f"{'z' * 600}/{LONG}"),
    ],
    ids=["by the last part", "a long name whole", "by a long last part"],
)
def test_a_slip_is_found_in_the_whole_name_or_in_its_last_part(typed: str, known: str) -> None:
    assert nearest(typed, [known]) == (known,)


_NAMES = st.lists(st.text(min_size=1, max_size=8).filter(lambda s: s == s.strip()), unique=True)


@given(_NAMES, st.data())
def test_every_known_name_resolves_to_itself(names: list[str], data: st.DataObject) -> None:
    if names:
        name = data.draw(st.sampled_from(names))
        assert resolve("model", name, names) == name


@given(_NAMES, st.text(max_size=8), st.integers(1, 5))
def test_the_nearest_are_known_few_and_different(names: list[str], typed: str, limit: int) -> None:
    found = nearest(typed, [*names, *names], limit)
    assert len(set(found)) == len(found) <= limit
    assert set(found) <= set(names)
    assert found == nearest(typed, sorted(names), limit)


@given(_NAMES, st.text(max_size=8))
def test_resolving_gives_a_known_name_or_says_there_is_none(names: list[str], typed: str) -> None:
    try:
        meant = {resolve("model", typed, names)}
    except UnknownName as unknown:
        meant = set(unknown.nearest)
    assert meant <= set(names)


KNOWN = {
    1: ("Sage", "calm teacher, long answers"),
    2: ("passage", "reads maps"),
    3: ("Stage", "plays parts, a teacher of none"),
    4: ("studio-1", "10.0.0.102:1234"),
}


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("", (1, 2, 3, 4)),
        ("  ", (1, 2, 3, 4)),
        ("sage", (1, 2)),
        ("SAG", (1, 2)),
        ("age", (1, 2, 3)),
        ("st", (3, 4)),
        (" teacher ", (1, 3)),
        ("teacher st", (3,)),
        ("calm sage", (1,)),
        ("102", (4,)),
        ("stduio-1", (4,)),
        ("saeg", (1, 3)),
        ("tae", (3,)),
        ("zzzz", ()),
    ],
)
def test_as_somebody_types_each_word_counts_and_a_slip_finds_what_is_called_nearly_so(
    typed: str, found: tuple[int, ...]
) -> None:
    assert matching(typed, KNOWN) == found


def test_of_slips_so_many_are_named_and_of_what_holds_the_words_all() -> None:
    many = {n: (f"gemma-{n}", "") for n in range(9)}
    assert matching("gemma", many, 2) == tuple(range(9))
    assert matching("gmema", many, 2) == (0, 1)
    assert matching("gmema", many, 0) == ()
    assert matching("gmema", {"a": ("gemma", ""), "b": ("Gemma", "")}, 1) == ("a",)


@given(st.dictionaries(st.integers(), st.tuples(st.text(max_size=6), st.text(max_size=6))))
def test_every_name_is_found_by_itself(known: dict[int, tuple[str, str]]) -> None:
    for key, (name, _) in known.items():
        assert key in matching(name, known)
