"""A persona's file: every key, what it may be, and the persona it makes."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
)

from bot.documents.faults import explain
from bot.documents.text import Name, Words, lower
from bot.documents.units import PositiveSeconds
from bot.documents.yaml import Document, Path, Plain, read_yaml
from bot.domain.errors import ConfigError
from bot.domain.ids import AUTO, ModelKey, PersonaName, ProviderName
from bot.domain.personas import LoadSettings, Persona, Sampling
from bot.process.redaction import Redactor

MAX_BYTES = 256 * 1024
MAX_PROMPT_CHARACTERS = 32_000
MAX_GREETING_CHARACTERS = 2_000
"""2,000 characters: Discord message limit."""


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
        raise ConfigError(tuple(faults))  # nothing was read, so nothing is known to be missing
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


def _parse_gpu(value: Plain) -> float | Literal["max", "off"]:
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
    if url and (parts.scheme != "https" or not parts.netloc or "@" in parts.netloc):
        raise ValueError(expected)
    return url


def _one_or_more(value: Plain) -> Plain:
    return [value] if isinstance(value, str) else value


Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Model = Annotated[str, Field(min_length=1, max_length=200)]


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        coerce_numbers_to_str=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )


class SamplingFile(_Part):
    """Generation parameters; null leaves the host's own default."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    max_tokens: Positive | None = None
    top_p: Share | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    min_p: Share | None = None
    repeat_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    stop: Annotated[tuple[str, ...], BeforeValidator(_one_or_more), Field(max_length=16)] = ()


class LoadFile(_Part):
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


class PersonaFile(_Part):
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
    sampling: SamplingFile = SamplingFile()
    load: LoadFile = LoadFile()
    keep_loaded: bool = False
    idle_ttl: PositiveSeconds | None = None


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
        sampling=Sampling(**file.sampling.model_dump()),
        load=LoadSettings(**file.load.model_dump()),
        keep_loaded=file.keep_loaded,
        idle_ttl_s=file.idle_ttl,
        source=source,
    )


def _place(document: Document, path: Path, source: str) -> str:
    """The line of the value or of what holds it."""
    for end in range(len(path), 0, -1):
        if path[:end] in document.lines:
            return f"{source} line {document.lines[path[:end]]}"
    return source
