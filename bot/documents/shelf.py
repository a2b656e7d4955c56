"""Personas: what their files may say, and the shelf that follows ``personas/*.yaml``.

A broken edit keeps the last good version and says so. Others only read the shelf.
"""

import asyncio
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import structlog
from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, ValidationError

from bot.documents.faults import explain
from bot.documents.values import Name, PositiveSeconds, Section, Words, lower
from bot.documents.yaml import Document, Plain, read_text, read_yaml
from bot.documents.yaml import Path as KeyPath
from bot.domain.errors import ConfigError
from bot.domain.ids import AUTO, ModelKey, PersonaName, ProviderName
from bot.domain.personas import LoadSettings, Persona, Priority, Sampling
from bot.policy.names import resolve
from bot.process.redaction import Redactor

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

MAX_BYTES = 256 * 1024
MAX_PROMPT_CHARACTERS = 32_000
MAX_GREETING_CHARACTERS = 2_000
"""2,000 characters: Discord message limit."""

_log = structlog.get_logger(__name__)


# --- files ---------------------------------------------------------------------------------


def _parse_gpu(value: Plain) -> float | Literal["max", "off"]:
    # By hand: of a union pydantic tells the fault of each member, and takes `true` for 1.0.
    match lower(value):
        case "max":
            return "max"
        case "off":
            return "off"
        case bool():
            pass
        case int() | float() as share if 0 <= share <= 1:
            return float(share)
        case _:
            pass
    raise ValueError("max, off, or a share from 0 to 1")


def _check_avatar(url: str) -> str:
    expected = "an https:// address of a picture"
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ValueError(expected) from error
    # Others will fetch it: no password may stand in it, and nobody on the way may change it.
    if url and (parts.scheme != "https" or not parts.netloc or "@" in parts.netloc):
        raise ValueError(expected)
    return url


def _one_or_more(value: Plain) -> Plain:
    return [value] if isinstance(value, str) else value


Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Model = Annotated[str, Field(min_length=1, max_length=200)]


class SamplingFile(Section):
    """Generation parameters; null leaves the host's own default."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    max_tokens: Positive | None = None
    top_p: Share | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    min_p: Share | None = None
    repeat_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    stop: Annotated[tuple[str, ...], BeforeValidator(_one_or_more), Field(max_length=16)] = ()


class LoadFile(Section):
    """How the model is put in memory; null leaves the host's saved default."""

    context_length: Positive | None = None
    gpu: Annotated[float | Literal["max", "off"], PlainValidator(_parse_gpu)] | None = None
    flash_attention: bool | None = None
    cpu_threads: Positive | None = None
    rope_frequency_base: Annotated[float, Field(gt=0)] | None = None
    rope_frequency_scale: Annotated[float, Field(gt=0)] | None = None
    num_experts: Positive | None = None
    # The kinds that LM Studio's load configuration names.
    kv_cache_quant: (
        Annotated[
            Literal["f32", "f16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"],
            BeforeValidator(lower),
        ]
        | None
    ) = None


class PersonaFile(Section):
    """A persona's file."""

    name: Name
    description: Annotated[str, Field(max_length=300)] = ""
    model: Model = AUTO
    alternatives: Words = ()
    cloud: Words | None = None
    local_only: bool = False
    system_prompt: Annotated[str, Field(max_length=MAX_PROMPT_CHARACTERS)] = ""
    greeting: Annotated[str, Field(max_length=MAX_GREETING_CHARACTERS)] = ""
    avatar: Annotated[str, AfterValidator(_check_avatar)] = ""
    request_type: Name | None = None
    priority: Annotated[Priority, BeforeValidator(lower)] = "normal"
    sampling: SamplingFile = SamplingFile()
    load: LoadFile = LoadFile()
    keep_loaded: bool = False
    idle_ttl: PositiveSeconds | None = None


def parse_persona(text: str, source: str) -> Persona:
    """The persona a YAML text describes; ``source`` is how faults and people name the text.

    Raises:
        ConfigError: something is wrong; lists every fault with its line.
    """
    if len(text.encode(errors="replace")) > MAX_BYTES:
        raise ConfigError((f"{source}: larger than {MAX_BYTES // 1024} KiB",))
    document = read_yaml(text, source)
    faults = list(document.faults)
    if faults and not document.values:
        # Nothing was read, so nothing is known to be missing.
        raise ConfigError(tuple(faults))
    try:
        file = PersonaFile.model_validate(document.values)
    except ValidationError as error:
        faults += [
            f"{_place(document, fault.path, source)}: {fault.words}"
            for fault in explain(error, PersonaFile, Redactor())
        ]
    else:
        if not faults:
            return _persona(file, source)
    raise ConfigError(tuple(faults))


def without_effect(persona: Persona) -> tuple[str, ...]:
    """Words for each key of a persona's file that is read and changes nothing."""
    # Not refused as in the config file: cards and examples carry them, and their persona speaks.
    told: list[str] = []
    if persona.avatar:
        told.append("avatar is shown nowhere yet: in Discord every persona has the bot's picture")
    if persona.load.cpu_threads is not None:
        told.append("load.cpu_threads cannot be applied: LM Studio's SDK 1.5.0 has no word for it")
    return tuple(told)


def _persona(file: PersonaFile, source: str) -> Persona:
    return Persona(
        name=PersonaName(file.name),
        description=file.description.strip(),
        model=ModelKey(file.model),
        alternatives=tuple(ModelKey(key) for key in file.alternatives),
        cloud=None if file.cloud is None else tuple(ProviderName(name) for name in file.cloud),
        local_only=file.local_only,
        system_prompt=file.system_prompt.strip(),
        greeting=file.greeting.strip(),
        avatar=file.avatar,
        request_type=file.request_type,
        priority=file.priority,
        sampling=Sampling(**file.sampling.model_dump()),
        load=LoadSettings(**file.load.model_dump()),
        keep_loaded=file.keep_loaded,
        idle_ttl_s=file.idle_ttl,
        source=source,
    )


def _place(document: Document, path: KeyPath, source: str) -> str:
    """The line of the value or of what holds it."""
    for end in range(len(path), 0, -1):
        if path[:end] in document.lines:
            return f"{source} line {document.lines[path[:end]]}"
    return source


# --- the shelf -----------------------------------------------------------------------------


# When a file's content and its rights changed, in nanoseconds, and its size. The rights too: a
# file that could not be read is looked at again once somebody has mended them.
_Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
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
    """All personas by name; ``refresh`` alone changes it.

    Args:
        directory: where the files are; it need not exist.
        builtin: stands in where no file defines a persona of its name. Where one did until now and
            was private, or a broken one may, its words stay on the LAN.
    """

    def __init__(self, directory: Path, builtin: Persona = DEFAULT_PERSONA) -> None:
        self._directory = directory
        self._builtin = builtin
        self._entries: Mapping[str, _Entry] = {}
        self._personas = {_key(builtin.name): builtin}
        self._was_private = False
        """Was the builtin's name last a persona's that is local only?"""
        self.problems: tuple[str, ...] = ()
        """What is wrong with the files now, one line each."""
        # The timer's round and the first one may meet; the later would bring back older files.
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
        assert found is not None, "it is one of the names"
        return found

    def all(self) -> tuple[Persona, ...]:
        """All personas by name."""
        return tuple(self._personas[key] for key in sorted(self._personas))

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
                first = personas.setdefault(_key(name), entry.persona)
                if first is not entry.persona:
                    problems.append(
                        f"{file}: the name {name!r} is taken by {first.source}; left out"
                    )
            self._entries = entries
            if (own := personas.get(_key(self._builtin.name))) is not None:
                self._was_private = own.local_only
            else:
                builtin, more = self._stand_in(entries, is_listed=is_listed)
                personas[_key(builtin.name)] = builtin
                problems += more
            self._personas = personas
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
        name = _key(self._builtin.name)
        # A broken file does not tell its name, but holds it somewhere.
        is_hidden = not is_listed or any(
            entry.persona is None
            and (entry.text is None or name in f"{file}\n{entry.text}".casefold())
            for file, entry in entries.items()
        )
        if not is_hidden and not self._was_private:
            return self._builtin, ()
        # Words meant for a private persona must not leave because its file broke or went.
        words = f"what is said to {self._builtin.name} stays on the LAN"
        told = (f"{words} until these files can be read",) if is_hidden else ()
        return replace(self._builtin, local_only=True), told


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
