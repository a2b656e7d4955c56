"""Reads YAML into plain values and remembers the line of each, listing every fault of form."""

import pathlib
import re
from collections.abc import Mapping
from dataclasses import field

import yaml

from bot.domain.errors import ConfigError
from bot.domain.values import value

Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]
"""A value as a document can hold it."""

Path = tuple[str | int, ...]
"""Keys and list positions from the top of a document to a value."""

# Aliases can make a small file name millions of values; no honest file has so many.
MAX_VALUES = 20_000

_TAG = "tag:yaml.org,2002:"
# YAML 1.2's core rules. By those of YAML 1.1, which PyYAML follows, `gpu: off` is false, a persona
# called `no` has no name, and `wake_mac: 10:23:45:54:32:10` is a number in base sixty.
_SCALARS: Mapping[str, re.Pattern[str]] = {
    "null": re.compile(r"~|null|Null|NULL|"),
    "bool": re.compile(r"true|True|TRUE|false|False|FALSE"),
    # A leading zero or more than 20 digits is a name or an id, not a number.
    "int": re.compile(r"[-+]?(?:0|[1-9][0-9]{0,19})"),
    "float": re.compile(
        r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[1-9][0-9]*[eE][-+]?[0-9]+"
    ),
}


_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")


@value
class Document:
    """A file's values, where each stands, and what is wrong with its form."""

    values: dict[str, Plain] = field(default_factory=dict[str, Plain])
    lines: Mapping[Path, int] = field(default_factory=dict[Path, int])
    """The line of each key and list item, counted from 1."""
    faults: tuple[str, ...] = ()
    """Each with its place; the values around a fault are still read."""


def read_text(path: pathlib.Path, limit: int) -> str:
    """The content of a UTF-8 file of at most ``limit`` bytes.

    Raises:
        ConfigError: it cannot be read, is too large, or is no text.
    """
    try:
        # No more than the limit is ever read: a link to /dev/zero has no size and no end.
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError((f"{path}: cannot be read: {reason}",)) from error
    if len(content) > limit:
        raise ConfigError((f"{path}: larger than {limit // 1024} KiB",))
    try:
        # Windows' editors put a mark before the text.
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError((f"{path}: not a text file in UTF-8",)) from error


def read_yaml(text: str, source: str) -> Document:
    """The document, whatever the text; an empty one is fine, anything but a mapping is a fault."""
    reader = _Reader(source)
    try:
        root = yaml.compose(text, _CoreLoader)
        values = None if root is None else reader.plain(root, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        # PyYAML quotes what it found there, which may be a piece of a secret.
        problem = _QUOTED.sub(_harmless, error.problem or "it cannot be read")
        if "character '\\t'" in problem:
            problem = "a tab; indent with spaces"
        return Document(faults=(f"{source}{where}: broken YAML: {problem}",))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return Document(faults=(f"{source} line {line}: a character that YAML does not allow",))
    except RecursionError:
        return Document(faults=(f"{source}: nested too deep",))
    if root is None or values is None:
        values = {}
    elif not isinstance(values, dict):
        reader.fault(root, f"expected lines of `key: value`, found {kind_of(values)}")
        values = {}
    return Document(values, reader.lines, tuple(reader.faults))


def kind_of(value: object) -> str:
    """What a value is, for a fault that must not show it."""
    match value:
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case _:
            return "a single value"


class _CoreLoader(yaml.SafeLoader):
    """Composes nodes; an unquoted scalar is what YAML 1.2's core rules say, else text."""

    def resolve(self, kind: type[yaml.Node], value: str, implicit: tuple[bool, bool]) -> str:
        if kind is not yaml.ScalarNode:
            return _TAG + ("seq" if kind is yaml.SequenceNode else "map")
        matching = (name for name, pattern in _SCALARS.items() if pattern.fullmatch(value))
        return _TAG + (next(matching, "str") if implicit[0] else "str")


class _Reader:
    """Turns nodes into plain values, noting lines and faults on the way."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.lines: dict[Path, int] = {}
        self.faults: list[str] = []
        self._count = 0

    def fault(self, node: yaml.Node, words: str) -> None:
        self.faults.append(f"{self.source} line {node.start_mark.line + 1}: {words}")

    def plain(self, node: yaml.Node, path: Path) -> Plain:
        self._count += 1
        if self._count > MAX_VALUES:
            problem = f"more than {MAX_VALUES:,} values"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        match node:
            case yaml.MappingNode():
                return self._mapping(node, path)
            case yaml.SequenceNode():
                items: list[Plain] = []
                for index, item in enumerate(node.value):
                    self.lines[*path, index] = item.start_mark.line + 1
                    items.append(self.plain(item, (*path, index)))
                return items
            case _:
                return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Plain]:
        values: dict[str, Plain] = {}
        for key_node, value_node in node.value:
            key = whole(str(key_node.value))
            here = (*path, key)
            if not isinstance(key_node, yaml.ScalarNode):
                self.fault(key_node, "a key must be a plain word")
            elif key in values:
                # PyYAML's loaders take the last of two without a word.
                first = f"first on line {self.lines[here]}"
                self.fault(key_node, f"{dotted(here)} stands twice ({first})")
            else:
                self.lines[here] = key_node.start_mark.line + 1
                values[key] = self.plain(value_node, here)
        return values

    def _scalar(self, node: yaml.Node) -> Plain:
        text = whole(node.value)
        kind = node.tag.removeprefix(_TAG)
        if kind == "str":
            return text
        # `!env NAME` means something to other programs: as plain text it would be the wrong value.
        if kind not in _SCALARS or not _SCALARS[kind].fullmatch(text):
            self.fault(node, "a tag (`!…`) that means nothing here")
            return text
        match kind:
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                return int(text)
            case _:
                return float(text)


def dotted(path: Path) -> str:
    """A path as people write it: ``hosts.0.address``."""
    return ".".join(str(part) for part in path)


def whole(text: str) -> str:
    """Text with halves of characters joined, as JSON writes emoji, and none left alone."""
    # A half cannot be written to the log or the database: it would fail far from here.
    if any("\ud800" <= character <= "\udfff" for character in text):
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _harmless(quoted: re.Match[str]) -> str:
    """Marks and PyYAML's own names of things stay; longer pieces of the text do not."""
    inside = quoted[1] or quoted[2] or ""
    return quoted[0] if len(inside) < 3 or inside.startswith("<") else "a word"
