"""What a persona's file may say, read and written: the format of ``personas/*.yaml``."""

import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Annotated, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, ValidationError

from bot.documents.faults import explain, unknown_key
from bot.documents.values import (
    Count,
    Name,
    PositiveSeconds,
    Section,
    Words,
    lower,
)
from bot.documents.yaml import Document, Plain, read_yaml
from bot.documents.yaml import Path as KeyPath
from bot.domain.errors import ConfigError, RequestRefused
from bot.domain.ids import AUTO, ModelKey, PersonaName, ProviderName
from bot.domain.personas import (
    Book,
    BookEntry,
    Character,
    LoadSettings,
    Persona,
    Priority,
    Sampling,
)
from bot.policy.names import shown_name
from bot.process.redaction import Redactor

MAX_BYTES = 1024 * 1024
MAX_PROMPT_CHARACTERS = 32_000
MAX_GREETING_CHARACTERS = 8_000
"""Cards greet at length; it is shown over as many messages as it needs."""

MAX_GREETINGS = 50
MAX_ENTRIES = 1_000
MAX_BOOK_CHARACTERS = 400_000
"""Of all entries together: every persona's stay in memory."""


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


def check_avatar(url: str) -> str:
    """The address of a picture that others may be sent to.

    Raises:
        ValueError: it is none.
    """
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


Share = Annotated[float, Field(ge=0, le=1)]
Model = Annotated[str, Field(min_length=1, max_length=200)]


class SamplingFile(Section):
    """Generation parameters; null leaves the host's own default."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    max_tokens: Count | None = None
    top_p: Share | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    min_p: Share | None = None
    repeat_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    stop: Annotated[tuple[str, ...], BeforeValidator(_one_or_more), Field(max_length=16)] = ()


class LoadFile(Section):
    """How the model is put in memory; null leaves the host's saved default."""

    context_length: Count | None = None
    gpu: Annotated[float | Literal["max", "off"], PlainValidator(_parse_gpu)] | None = None
    flash_attention: bool | None = None
    cpu_threads: Count | None = None
    rope_frequency_base: Annotated[float, Field(gt=0)] | None = None
    rope_frequency_scale: Annotated[float, Field(gt=0)] | None = None
    num_experts: Count | None = None
    # The kinds that LM Studio's load configuration names.
    kv_cache_quant: (
        Annotated[
            Literal["f32", "f16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"],
            BeforeValidator(lower),
        ]
        | None
    ) = None


Text = Annotated[str, Field(max_length=MAX_PROMPT_CHARACTERS)]
Greeting = Annotated[str, Field(max_length=MAX_GREETING_CHARACTERS)]
Keys = Annotated[Words, Field(max_length=200)]


class BookEntryFile(Section):
    """An entry of a character's book."""

    keys: Keys = ()
    content: Text = ""
    secondary_keys: Keys = ()
    enabled: bool = True
    constant: bool = False
    selective: bool = False
    case_sensitive: bool = False
    whole_words: bool = True
    use_regex: bool = False
    insertion_order: int = 100
    priority: int = 0
    position: Literal["before_char", "after_char"] = "before_char"


def _check_book(entries: tuple[BookEntryFile, ...]) -> tuple[BookEntryFile, ...]:
    size = sum(len(entry.content) + sum(map(len, entry.keys)) for entry in entries)
    if size > MAX_BOOK_CHARACTERS:
        raise ValueError(f"at most {MAX_BOOK_CHARACTERS:,} characters together, not {size:,}")
    return entries


class BookFile(Section):
    """A character's book."""

    entries: Annotated[
        tuple[BookEntryFile, ...], Field(max_length=MAX_ENTRIES), AfterValidator(_check_book)
    ] = ()
    scan_depth: Annotated[int, Field(ge=0, le=1000)] | None = None
    token_budget: Annotated[int, Field(ge=0, le=100_000)] | None = None
    recursive_scanning: bool = False


class CharacterFile(Section):
    """Whom a persona plays."""

    name: Annotated[str, Field(max_length=100)] = ""
    description: Text = ""
    personality: Text = ""
    scenario: Text = ""
    examples: Text = ""
    post_history: Text = ""
    greetings: Annotated[
        tuple[Greeting, ...], BeforeValidator(_one_or_more), Field(max_length=MAX_GREETINGS)
    ] = ()
    book: BookFile = BookFile()


class PersonaFile(Section):
    """A persona's file."""

    name: Name
    description: Annotated[str, Field(max_length=300)] = ""
    model: Model = AUTO
    alternatives: Words = ()
    cloud: Words | None = None
    local_only: bool = False
    system_prompt: Text = ""
    character: CharacterFile = CharacterFile()
    greeting: Greeting = ""
    avatar: Annotated[str, AfterValidator(check_avatar)] = ""
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
        persona = read_persona(document.values, source)
    except ValidationError as error:
        faults += [
            f"{_place(document, fault.path, source)}: {fault.words}"
            for fault in explain(error, PersonaFile, Redactor())
        ]
    else:
        if not faults:
            return persona
    raise ConfigError(tuple(faults))


def persona_values(persona: Persona, *, is_whole: bool = False) -> dict[str, Plain]:
    """A persona as its file would hold it; with ``is_whole`` also what is as by default."""
    values = asdict(persona) | {"name": shown_name(persona.name)}
    del values["source"], values["maker"]
    values["idle_ttl"] = values.pop("idle_ttl_s")
    file = PersonaFile.model_validate(values)
    return file.model_dump(mode="json", exclude_defaults=not is_whole)


SETTINGS = tuple(
    key
    for key in PersonaFile.model_fields
    if key not in ("name", "description", "system_prompt", "character", "greeting")
)
"""Keys that a form shows together, as YAML."""


def settings_text(persona: Persona) -> str:
    """A persona's settings as a form shows them: model and privacy always, others where set."""
    values = persona_values(persona)
    shown = {"model": str(persona.model), "local_only": persona.local_only, **values}
    return _dumped({key: shown[key] for key in SETTINGS if key in shown})


def changed(persona: Persona, texts: Mapping[str, str], settings: str | None = None) -> Persona:
    """The persona with other texts, and with these settings alone.

    Args:
        persona: As it was.
        texts: By the names of its file; ``character.scenario`` for one of its character.
        settings: As ``settings_text`` writes them; None leaves them as they are.

    Raises:
        RequestRefused: something cannot be taken; names each.
    """
    values = persona_values(persona)
    faults: list[str] = []
    if settings is not None:
        document = read_yaml(settings, "Settings")
        faults += document.faults
        values = {key: part for key, part in values.items() if key not in SETTINGS}
        for key, part in document.values.items():
            if key in SETTINGS:
                values[key] = part
            else:
                faults.append(f"Settings: {unknown_key((key,), PersonaFile)}")
    character = values.setdefault("character", {})
    assert isinstance(character, dict), "a file's character is a mapping"
    for key, text in texts.items():
        place, _, name = key.rpartition(".")
        (character if place else values)[name] = text
    try:
        made = read_persona(values, persona.source)
    except ValidationError as error:
        faults += [fault.words for fault in explain(error, PersonaFile, Redactor())]
    else:
        if not faults:
            return replace(made, name=persona.name)
    lines = "\n".join(f"• {fault}" for fault in faults[:8])
    raise RequestRefused(f"Nothing was changed:\n{lines}")


def persona_text(persona: Persona) -> str:
    """A persona as YAML; ``parse_persona`` makes the same one of it."""
    return _dumped(persona_values(persona))


def _dumped(values: Mapping[str, Plain]) -> str:
    text: str = yaml.dump(
        dict(values), Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=100
    )
    return text


class _Dumper(yaml.SafeDumper):
    """Writes texts so that YAML 1.1 and 1.2 read the same in them."""


def _written(_: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # What is no plain word is quoted: `no`, `1e5` and `007` are no texts to one reader or another.
    is_plain = re.fullmatch(r"[A-Za-z][\w ,./-]*[\w.]", text, re.ASCII) is not None
    is_word = is_plain and text.lower() not in _NO_TEXTS and not text.endswith("-")
    style = "|" if "\n" in text else None if is_word else '"'
    return yaml.ScalarNode("tag:yaml.org,2002:str", text, style=style)


_NO_TEXTS = frozenset({"yes", "no", "on", "off", "true", "false", "null", "none"})
_Dumper.add_representer(str, _written)


def without_effect(persona: Persona) -> tuple[str, ...]:
    """Words for each key of a persona's file that is read and changes nothing."""
    # Not refused as in the config file: cards and examples carry them, and their persona speaks.
    told: list[str] = []
    if persona.load.cpu_threads is not None:
        told.append("load.cpu_threads cannot be applied: LM Studio's SDK 1.5.0 has no word for it")
    return tuple(told)


def read_persona(values: Mapping[str, object], source: str) -> Persona:
    """The persona that these values describe.

    Raises:
        ValidationError: pydantic's; ``explain`` puts it into words.
    """
    file = PersonaFile.model_validate(values)
    plays = file.character
    book = plays.book.model_dump()
    book["entries"] = tuple(BookEntry(**entry) for entry in book["entries"])
    texts = plays.model_dump(exclude={"greetings", "book"})
    return Persona(
        name=PersonaName(file.name),
        description=file.description.strip(),
        model=ModelKey(file.model),
        alternatives=tuple(ModelKey(key) for key in file.alternatives),
        cloud=None if file.cloud is None else tuple(ProviderName(name) for name in file.cloud),
        local_only=file.local_only,
        system_prompt=file.system_prompt.strip(),
        character=Character(
            **{key: text.strip() for key, text in texts.items()},
            greetings=tuple(filter(None, map(str.strip, plays.greetings))),
            book=Book(**book),
        ),
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
