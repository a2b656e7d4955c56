"""The shelf of personas that follows ``personas/*.yaml``.

A broken edit keeps the last good version and says so. Others only read the shelf.
"""

import asyncio
import stat
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from unicodedata import normalize

import structlog

from bot.documents.persona_files import MAX_BYTES, parse_persona, without_effect
from bot.documents.yaml import read_text
from bot.domain.errors import ConfigError
from bot.domain.ids import AUTO, PersonaName, PlaceId, UserId
from bot.domain.personas import Made, Persona
from bot.domain.values import value
from bot.policy.names import resolve, shown_name
from bot.policy.personas import is_seen

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


_SCOPES = ("me", "server", "all")
"""The nearest first."""

# --- the shelf -----------------------------------------------------------------------------


# When a file's content and its rights changed, in nanoseconds, and its size. The rights too: a
# file that could not be read is looked at again once somebody has mended them.
_Stamp = tuple[int, int, int]


@value
class _Entry:
    """What is known of one file."""

    stamp: _Stamp | None
    """None when it could not even be looked at, so that it is tried again."""
    persona: Persona | None
    """The last good version."""
    faults: tuple[str, ...] = ()
    text: str | None = None
    """Of a broken file; None where it could not even be read."""


class PersonaShelf:
    """All personas by name; ``refresh`` alone changes those of files, ``hold`` those of chats.

    Args:
        directory: where the files are; it need not exist.
        builtin: stands in where no file defines a persona of its name. Where one did until now and
            was private, or a broken one may, its words stay on the LAN.
        was_private: what ``was_private`` said when Lantern last ran.
    """

    def __init__(
        self, directory: Path, builtin: Persona = DEFAULT_PERSONA, *, was_private: bool = False
    ) -> None:
        self._directory = directory
        self._builtin = builtin
        self._entries: Mapping[str, _Entry] = {}
        self._personas = {name_key(builtin.name): builtin}
        """Of the files, by name."""
        self._made: Mapping[str, Made] = {}
        """Those made in chats, by their whole name."""
        self.local_only: Mapping[PersonaName, bool] = {builtin.name: builtin.is_private}
        """Of every persona there is, whether its words stay on the LAN."""
        self.was_private = was_private
        """Was the builtin's name last a persona's whose words stay on the LAN?"""
        self.problems: tuple[str, ...] = ()
        """What is wrong with the files now, one line each."""
        # The timer's round and the first one may meet; the later would bring back older files.
        self._refreshing = asyncio.Lock()

    def get(self, name: str) -> Persona | None:
        """The persona of that whole name, in capitals or not."""
        if (made := self._made.get(name_key(name))) is not None:
            return made.persona
        return self._personas.get(name_key(name))

    def made(self, name: PersonaName) -> Made | None:
        """What there is to know of a persona made in a chat; None of a file's."""
        return self._made.get(name_key(name))

    def find(self, name: str, user: UserId | None = None, server: PlaceId | None = None) -> Persona:
        """The persona this person means in this server, forgiving case and unique prefixes.

        Of two with one name a file's is meant, then one's own, the server's, everybody's.

        Raises:
            UnknownName: none they may choose has that name; names the nearest.
        """
        # A choice, a retry and a pick from a list name it whole.
        if (whole := self.get(name)) is not None:
            return whole
        meant: dict[str, Persona] = {}
        for persona in self.seen_by(user, server):
            meant.setdefault(shown_name(persona.name), persona)
        return meant[resolve("persona", name, meant)]

    def all(self) -> tuple[Persona, ...]:
        """All personas of files by name."""
        return tuple(self._personas[key] for key in sorted(self._personas))

    def every(self) -> tuple[Persona, ...]:
        """All personas of files, then all made in chats, whoever may choose them."""
        made = (self._made[key].persona for key in sorted(self._made))
        return (*self.all(), *made)

    def seen_by(self, user: UserId | None, server: PlaceId | None) -> tuple[Persona, ...]:
        """What this person may choose in this server: files, their own, the server's, everybody's.

        Without either, what everybody may choose.
        """
        seen = [made for made in self._made.values() if is_seen(made, user, server)]
        seen.sort(key=lambda made: (_SCOPES.index(made.scope), name_key(made.persona.name)))
        return (*self.all(), *(made.persona for made in seen))

    def for_clients(self) -> Mapping[str, Persona]:
        """What whoever is nobody in particular may ask, by the names they ask by."""
        found: dict[str, Persona] = {}
        for persona in self.seen_by(None, None):
            # The first of two with one name: a file's.
            found.setdefault(shown_name(persona.name), persona)
        return found

    def for_client(self, name: str) -> Persona | None:
        """Whom such a client means by a name, in capitals or not."""
        key = name_key(name)
        if (found := self._personas.get(key)) is not None or not self._made:
            return found
        named = {name_key(each): persona for each, persona in self.for_clients().items()}
        return named.get(key)

    def hold(self, made: Iterable[Made]) -> None:
        """Takes what was made in chats, in place of what was held before."""
        self._made = {name_key(each.persona.name): each for each in made}
        self._note_privacy()

    def _note_privacy(self) -> None:
        self.local_only = {persona.name: persona.is_private for persona in self.every()}

    async def refresh(self) -> None:
        """Reads files that came or changed, forgets those that went; logs what is new."""
        async with self._refreshing:
            before = self._entries
            entries, problems = await asyncio.to_thread(_read, self._directory, before)
            is_listed = not problems
            # Of two files with one name the first by file name holds, today as after a restart.
            personas: dict[str, Persona] = {}
            for file, entry in entries.items():
                problems += entry.faults
                if entry.persona is None:
                    continue
                name = entry.persona.name
                first = personas.setdefault(name_key(name), entry.persona)
                if first is not entry.persona:
                    problems.append(
                        f"{file}: the name {name!r} is taken by {first.source}; left out"
                    )
            self._entries = entries
            if (own := personas.get(name_key(self._builtin.name))) is not None:
                self.was_private = own.is_private
            else:
                builtin, more = self._stand_in(entries, is_listed=is_listed)
                personas[name_key(builtin.name)] = builtin
                problems += more
            self._personas = personas
            self._note_privacy()
            # Said once, when it comes: this runs every other second.
            for problem in problems:
                if problem not in self.problems:
                    _log.warning("persona file faulty", problem=problem)
            self.problems = tuple(problems)
            for file in sorted(before.keys() | entries.keys()):
                old = before[file].persona if file in before else None
                new = entries[file].persona if file in entries else None
                if (said := new or old) and old != new:
                    event = "persona read" if new else "persona removed"
                    _log.info(event, persona=said.name, file=file)
                    for words in without_effect(new) if new else ():
                        _log.warning("persona key without effect", file=file, key=words)

    def _stand_in(
        self, entries: Mapping[str, _Entry], *, is_listed: bool
    ) -> tuple[Persona, tuple[str, ...]]:
        """Who answers where no file defines the builtin's name, and what to know of it."""
        name = name_key(self._builtin.name)
        # A broken file does not tell its name, but holds it somewhere.
        is_hidden = not is_listed or any(
            entry.persona is None
            and (entry.text is None or name in f"{file}\n{entry.text}".casefold())
            for file, entry in entries.items()
        )
        if not is_hidden and not self.was_private:
            return self._builtin, ()
        # Words meant for a private persona must not leave because its file broke or went.
        words = f"what is said to {self._builtin.name} stays on the LAN"
        told = (f"{words} until these files can be read",) if is_hidden else ()
        return replace(self._builtin, local_only=True), told


def name_key(name: str) -> str:
    """What two spellings of one persona's name have in common."""
    # Some keyboards and macOS's file names part a letter from its accent.
    return normalize("NFC", name.strip().casefold())


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
    # Opening a pipe that nobody writes to would never return.
    if not stat.S_ISREG(status.st_mode):
        return None
    stamp = (status.st_mtime_ns, status.st_ctime_ns, status.st_size)
    if known is not None and known.stamp == stamp:
        return known
    text: str | None = None
    # An editor may be caught half way through saving.
    try:
        text = read_text(path, MAX_BYTES)
        return _Entry(stamp, parse_persona(text, path.name))
    except ConfigError as error:
        end = "; the last good version stays in use" if kept else ""
        return _Entry(stamp, kept, tuple(fault + end for fault in error.faults), text)
