"""The shelf of personas: reads ``personas/*.yaml``, again when a file changes, and never half.

A broken edit keeps the last good version and says so. Others only read the shelf.
"""

import asyncio
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from bot.documents.files import read_text
from bot.documents.persona import MAX_BYTES, parse_persona
from bot.domain.errors import ConfigError, UnknownName
from bot.domain.ids import AUTO, PersonaName
from bot.domain.personas import Persona
from bot.policy.names import nearest, resolve

__all__ = ["DEFAULT_PERSONA", "PersonaShelf", "parse_persona"]

SUFFIXES = (".yaml", ".yml")

DEFAULT_PERSONA = Persona(
    name=PersonaName("default"),
    description="helpful and to the point, on whatever model is ready",
    model=AUTO,
    system_prompt=(
        "You are a helpful assistant in a chat. Answer what was asked, correctly and plainly, as"
        " short as it can be said well. Say so when you do not know."
    ),
)
"""Answers where no file defines a persona of this name."""

_log = structlog.get_logger(__name__)

_Stamp = tuple[int, int, int]
"""When a file's content and its rights changed, in nanoseconds, and its size."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """What is known of one file."""

    stamp: _Stamp | None
    """None when it could not even be looked at, so that it is tried again."""
    persona: Persona | None
    """The last good version."""
    faults: tuple[str, ...] = ()


class PersonaShelf:
    """All personas by name; ``refresh`` alone changes it.

    Args:
        directory: where the files are; it need not exist.
        builtin: stands in where no file defines a persona of its name.
    """

    def __init__(self, directory: Path, builtin: Persona = DEFAULT_PERSONA) -> None:
        self._directory = directory
        self._builtin = builtin
        self._entries: Mapping[str, _Entry] = {}
        self._personas = {_key(builtin.name): builtin}
        self._problems: tuple[str, ...] = ()
        self._refreshing = asyncio.Lock()

    def get(self, name: str) -> Persona | None:
        """The persona of that name, in capitals or not."""
        return self._personas.get(_key(name))

    def find(self, name: str) -> Persona:
        """The persona meant, forgiving case and unique prefixes.

        Raises:
            UnknownName: nobody has that name; names the nearest.
        """
        names = [str(persona.name) for persona in self.all()]
        found = self.get(resolve("persona", name, names))
        if found is None:
            raise UnknownName("persona", name, nearest(name, names))
        return found

    def all(self) -> tuple[Persona, ...]:
        """All personas by name."""
        return tuple(self._personas[key] for key in sorted(self._personas))

    def problems(self) -> tuple[str, ...]:
        """What is wrong with the files now, one line each."""
        return self._problems

    async def refresh(self) -> None:
        """Read files that came or changed, forget those that went; log what is new."""
        async with self._refreshing:
            before = self._entries
            entries, unreadable = await asyncio.to_thread(_read, self._directory, before)
            self._entries = entries
            self._personas, twins = _by_name(entries, self._builtin)
            faults = [fault for entry in entries.values() for fault in entry.faults]
            problems = (*unreadable, *faults, *twins)
            for problem in problems:
                if problem not in self._problems:
                    _log.warning("persona file faulty", problem=problem)
            self._problems = problems
            _log_changes(before, entries)


def _key(name: str) -> str:
    return name.strip().casefold()


def _read(directory: Path, known: Mapping[str, _Entry]) -> tuple[dict[str, _Entry], list[str]]:
    """Every file's entry, unchanged ones as they are; and why the directory cannot be read."""
    try:
        paths = sorted(directory.iterdir()) if directory.is_dir() else []
    except OSError as error:
        return dict(known), [f"{directory}: cannot be read: {error.strerror}"]
    # Editors leave hidden files of their own beside the real one.
    paths = [path for path in paths if path.suffix in SUFFIXES and not path.name.startswith(".")]
    read = ((path.name, _read_file(path, known.get(path.name))) for path in paths)
    return {name: entry for name, entry in read if entry is not None}, []


def _read_file(path: Path, known: _Entry | None) -> _Entry | None:
    """The file's entry; None when it is gone or is no file at all."""
    kept = known.persona if known else None
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        return _Entry(None, kept, (f"{path.name}: cannot be read: {error.strerror}",))
    if not stat.S_ISREG(status.st_mode):
        return None
    stamp = (status.st_mtime_ns, status.st_ctime_ns, status.st_size)
    if known is not None and known.stamp == stamp:
        return known
    try:
        return _Entry(stamp, parse_persona(read_text(path, MAX_BYTES), path.name))
    except ConfigError as error:
        end = "; the last good version stays in use" if kept else ""
        return _Entry(stamp, kept, tuple(fault + end for fault in error.faults))


def _by_name(
    entries: Mapping[str, _Entry], builtin: Persona
) -> tuple[dict[str, Persona], list[str]]:
    """Personas by name, and a problem for each file whose name an earlier file has."""
    personas: dict[str, Persona] = {}
    twins: list[str] = []
    for file, entry in entries.items():
        if entry.persona is None:
            continue
        first = personas.setdefault(_key(entry.persona.name), entry.persona)
        if first is not entry.persona:
            name = entry.persona.name
            twins.append(f"{file}: the name {name!r} is taken by {first.source}; left out")
    return {_key(builtin.name): builtin} | personas, twins


def _log_changes(before: Mapping[str, _Entry], after: Mapping[str, _Entry]) -> None:
    for file in sorted(before.keys() | after.keys()):
        old, new = _persona_in(before.get(file)), _persona_in(after.get(file))
        if old != new:
            name = (new or old or DEFAULT_PERSONA).name
            _log.info("persona read" if new else "persona removed", persona=name, file=file)


def _persona_in(entry: _Entry | None) -> Persona | None:
    return entry.persona if entry else None
