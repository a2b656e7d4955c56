"""YAML as plain values with lines; every fault of form at once, whatever the text."""

import json
from pathlib import Path

import pytest
from histories import examples
from hypothesis import given
from hypothesis import strategies as st

from bot.documents.yaml import Document, Plain, kind_of, read_text, read_yaml
from bot.domain.errors import ConfigError


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("off", "off"),
        ("no", "no"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("42", 42),
        ("-7", -7),
        ("0", 0),
        ("007", "007"),
        ("10:23:45", "10:23:45"),
        ("0x1f", "0x1f"),
        ("1_000", "1_000"),
        ("123456789012345678", 123456789012345678),
        ("1" * 21, "1" * 21),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("2024-01-01", "2024-01-01"),
        ('"42"', "42"),
        ("'true'", "true"),
        ("|\n  two\n  lines\n", "two\nlines\n"),
        ("!!str 42", "42"),
    ],
)
def test_a_scalar_is_read_by_the_core_rules(scalar: str, value: Plain) -> None:
    document = read_yaml(f"key: {scalar}", "x.yaml")
    assert document.values == {"key": value}
    assert document.faults == ()


def test_each_key_and_item_knows_its_line() -> None:
    document = read_yaml("a: 1\nb:\n  - x\n  - {c: 2,\n     d: 3}\n", "x.yaml")
    assert document.lines == {
        ("a",): 1,
        ("b",): 2,
        ("b", 0): 3,
        ("b", 1): 4,
        ("b", 1, "c"): 4,
        ("b", 1, "d"): 5,
    }


def test_all_faults_of_form_are_listed_and_the_rest_is_read() -> None:
    document = read_yaml("a: 1\na: 2\nb: !x y\n? [k]\n: v\nc: 3\n", "x.yaml")
    assert document.faults == (
        "x.yaml line 2: a stands twice (first on line 1)",
        "x.yaml line 3: a tag (`!…`) that means nothing here",
        "x.yaml line 4: a key must be a plain word",
    )
    assert document.values == {"a": 1, "b": "y", "c": 3}


def test_a_broken_text_repeats_none_of_its_words() -> None:
    for text in ("a: *hunter2", "a: 'hunter2", "a: hunter2: x", "hunter2\na: b"):
        document = read_yaml(text, "x.yaml")
        assert len(document.faults) == 1
        assert "hunter2" not in document.faults[0]


def test_nothing_is_an_empty_document() -> None:
    for text in ("", "# only words\n", "---\n...\n", "null"):
        assert read_yaml(text, "x.yaml") == Document()


@given(st.text())
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    document = read_yaml(text, "x.yaml")
    assert all(fault.startswith("x.yaml") for fault in document.faults)


KEYS = st.text(max_size=20)  # YAML takes keys of up to 1,024 characters
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.slow
@given(st.dictionaries(KEYS, PLAIN, max_size=4))
@examples(10)
def test_what_was_written_is_read_again(values: dict[str, Plain]) -> None:
    assert read_yaml(json.dumps(values), "x.yaml").values == values


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({}, "a mapping"),
        ([], "a list"),
        ((), "a list"),
        ("x", "a single value"),
        (1, "a single value"),
    ],
)
def test_a_value_that_may_not_be_shown_is_called_by_its_kind(value: object, kind: str) -> None:
    assert kind_of(value) == kind


def test_a_file_is_read_up_to_its_limit_and_no_further(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + b"a" * 2045)
    assert read_text(path, 2048) == "a" * 2045
    with pytest.raises(ConfigError, match="larger than 1 KiB"):
        read_text(path, 2047)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"x\.yaml: cannot be read: No such file or directory"):
        read_text(tmp_path / "x.yaml", 2048)
