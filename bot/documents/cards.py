"""Character cards (V1, V2, V3; PNG and JSON) and LM Studio's presets, to personas and back.

A card is kept whole, as its maker wrote it: a persona is read out of it, and what was changed of
the persona is written into it. Whatever Lantern does not know stays where it stands.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from pydantic import ValidationError

from bot.documents.faults import explain
from bot.documents.persona_files import (
    MAX_BYTES,
    BookEntryFile,
    PersonaFile,
    check_avatar,
    parse_persona,
    persona_text,
    persona_values,
    read_persona,
)
from bot.documents.png import SIGNATURE, plain_png, png_texts, with_png_texts
from bot.documents.yaml import Plain, whole
from bot.domain.errors import ConfigError, RequestRefused
from bot.domain.personas import Persona
from bot.policy.access import size_words
from bot.policy.names import one_line, shown_name
from bot.process.redaction import Redactor

MAX_FILE_BYTES = 8 * 1024 * 1024
MAX_PICTURE_BYTES = 4 * 1024 * 1024
"""A larger one is not kept: the persona comes without it."""

MAX_DEPTH = 40
"""Lists and mappings in each other; no maker nests a card deeper than ten."""

FileKind = Literal["png", "json", "json-v2", "yaml"]
"""What a persona is exported as; ``json`` is a card V3, ``png`` holds V2 and V3."""

Card = dict[str, Plain]
"""A card's JSON, ``data`` and what stands beside it."""

_CHUNKS = ("ccv3", "chara")
"""Where a card stands in a PNG, the newest form first."""

_FLAT = ("name", "description", "personality", "scenario", "first_mes", "mes_example")
"""Of V1, where they stand outside; SillyTavern writes them there in V2, too."""

_OLDEST = {
    "char_name": "name", "char_persona": "description", "world_scenario": "scenario",
    "char_greeting": "first_mes", "example_dialogue": "mes_example",
}  # fmt: skip
"""How Pygmalion and TavernAI named them before V1."""

_TEXTS = {
    "description": "description", "personality": "personality", "scenario": "scenario",
    "mes_example": "examples", "post_history_instructions": "post_history",
    "nickname": "name",
}  # fmt: skip
"""A card's names of what is a character's."""

_OWN = ("system_prompt", "greeting", "character", "name")
"""Keys of a persona's file that a card has a place for; the rest is its ``extensions.lantern``."""

_NEEDED: Card = {
    "name": "", "description": "", "personality": "", "scenario": "", "first_mes": "",
    "mes_example": "", "creator_notes": "", "system_prompt": "", "post_history_instructions": "",
    "alternate_greetings": [], "tags": [], "creator": "", "character_version": "",
    "extensions": {}, "group_only_greetings": [],
}  # fmt: skip
"""What V2 and V3 want to find in ``data``; readers stop at a card without them."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What a file held."""

    persona: Persona
    card: Card
    picture: bytes | None = None
    """The PNG it came in."""
    notes: tuple[str, ...] = ()
    """What of it has no effect here, for people."""


def read_file(content: bytes, name: str) -> Imported:
    """The persona in a PNG or JSON card, a preset of LM Studio's, or a persona file in YAML.

    Blocking, for a few hundredths of a second; nothing of a file that is broken is read.

    Raises:
        RequestRefused: it is none, broken or too large; says where and what was expected.
    """
    try:
        if len(content) > MAX_FILE_BYTES:
            size, most = size_words(len(content)), size_words(MAX_FILE_BYTES)
            raise RequestRefused(f"It is {size}; files up to {most} are taken.")
        if content.startswith(SIGNATURE):
            return _read_picture(content)
        begun = content.lstrip(b"\xef\xbb\xbf \t\r\n")
        if not begun:
            raise RequestRefused("It is empty.")
        if begun.startswith((b"{", b"[")):
            return _read_json(content)
        if content.startswith((b"RIFF", b"\xff\xd8\xff", b"GIF8")):
            words = "It is a picture without a card: cards travel in PNG files alone."
            raise RequestRefused(f"{words} Send the original file.")
        text = content.decode("utf-8-sig")
        if name.lower().endswith(".png"):
            raise RequestRefused("It is no PNG picture.")
        persona = parse_persona(text, "its YAML")
        return Imported(replace(persona, source=""), card_of(persona))
    except UnicodeDecodeError as error:
        words = "It is no PNG card, no JSON and no text in UTF-8."
        raise RequestRefused(f"`{name}` was not imported. {words}") from error
    except ConfigError as error:
        lines = "\n".join(f"• {fault}" for fault in error.faults[:8])
        raise RequestRefused(f"`{name}` was not imported.\n{lines}") from error
    except RequestRefused as error:
        raise RequestRefused(f"`{name}` was not imported. {error.user_message}") from error


def persona_of(card: Card) -> Persona:
    """The persona that a card describes.

    Raises:
        RequestRefused: a field is of the wrong kind or too long; names each.
    """
    data = _mapping(_clean(card.get("data")))
    bound = _mapping(_mapping(data.get("extensions")).get("lantern"))
    said = _text(data.get("name"))
    name = one_line(said)[:64].strip() or "nameless"
    character: dict[str, Any] = {ours: _text(data.get(theirs)) for theirs, ours in _TEXTS.items()}
    character["name"] = character["name"] or (said[:100] if said != name else "")
    character["greetings"] = [_text(text) for text in _list(data.get("alternate_greetings"))]
    character["book"] = _read_book(_mapping(data.get("character_book")))
    notes = next(iter(_text(data.get("creator_notes")).strip().splitlines()), "")
    values: dict[str, Any] = {
        "description": one_line(notes)[:120],
        "avatar": _avatar(data),
        **{key: bound[key] for key in PersonaFile.model_fields if key in bound},
        "name": name,
        "system_prompt": _text(data.get("system_prompt")),
        "greeting": _text(data.get("first_mes")),
        "character": character,
    }
    try:
        return read_persona(values, source="")
    except ValidationError as error:
        faults = explain(error, PersonaFile, Redactor())
        lines = "\n".join(f"• {fault.words}" for fault in faults[:8])
        raise RequestRefused(f"Not everything in the card can be taken:\n{lines}") from error


def card_of(persona: Persona, card: Card | None = None) -> Card:
    """A card that describes the persona: ``card`` with what is different in it, or a new one."""
    if card is None:
        data: Card = {**deepcopy(_NEEDED), "name": shown_name(persona.name)}
        card = {"spec": "chara_card_v3", "spec_version": "3.0", "data": data}
    card = deepcopy(card)
    data = _mapping(card["data"])
    before = persona_of(card)
    old, new = (persona_values(each, is_whole=True) for each in (before, persona))
    was, now = _card_values(old), _card_values(new)
    for key in now:
        if now[key] == was[key]:
            continue
        data[key] = now[key]
        if key in _FLAT and key in card:
            # Readers of V1 look outside: they would show the old one.
            card[key] = now[key]
    # What a card has no place for, told in full: a default may be meant, and not merely unsaid.
    changed = {key: new[key] for key in new if key not in _OWN and new[key] != old[key]}
    if changed:
        extensions = data["extensions"] = _mapping(data.get("extensions"))
        extensions["lantern"] = {**_mapping(extensions.get("lantern")), **changed}
    return card


def written(persona: Persona, card: Card, picture: bytes | None, kind: FileKind) -> bytes:
    """The file of a persona, for ``read_file`` and for other programs.

    Args:
        persona: Who.
        card: Theirs, as it is kept.
        picture: The PNG they came in; without one theirs is of one colour.
        kind: Of file.
    """
    if kind == "yaml":
        return persona_text(persona).encode()
    data = {**deepcopy(_NEEDED), **_mapping(card["data"])}
    forms = {
        spec: json.dumps(
            {**card, "spec": f"chara_card_v{spec[0]}", "spec_version": spec, "data": data},
            indent=None if kind == "png" else 2,
        ).encode()
        for spec in ("2.0", "3.0")
    }
    if kind != "png":
        return forms["2.0" if kind == "json-v2" else "3.0"]
    tint = sum(map(ord, persona.name)) % 128
    texts = {"chara": forms["2.0"], "ccv3": forms["3.0"]}
    packed = {key: base64.b64encode(text) for key, text in texts.items()}
    return with_png_texts(picture or plain_png(400, 600, (64 + tint, 96, 192 - tint)), packed)


# --- files ----------------------------------------------------------------------------------


def _read_picture(content: bytes) -> Imported:
    found = png_texts(content, frozenset(_CHUNKS), 2 * MAX_BYTES)
    chunk = next((name for name in _CHUNKS if name in found), None)
    if chunk is None:
        words = "The picture holds no card (no chunk `chara` or `ccv3`)."
        raise RequestRefused(f"{words} Whoever saves it anew loses the card: send the original.")
    # Some makers break it into lines or leave its padding out; other programs read it all the same.
    packed = b"".join(found[chunk].split())
    try:
        text = base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestRefused(f"Its chunk `{chunk}` holds no card: no base64.") from error
    read = _read_json(text)
    if len(content) <= MAX_PICTURE_BYTES:
        return replace(read, picture=content)
    most = size_words(MAX_PICTURE_BYTES)
    return replace(read, notes=(*read.notes, f"Its picture is over {most} and was not kept."))


def _parsed(content: bytes) -> Card:
    """The mapping in a JSON text, which no depth and no number of it can harm."""
    if len(content) > MAX_BYTES:
        raise RequestRefused(f"Its JSON is over {MAX_BYTES // 1024:,} KiB.")
    try:
        found = json.loads(content.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise RequestRefused(f"Its JSON is broken at {where}: {error.msg}.") from error
    except (RecursionError, ValueError) as error:
        raise RequestRefused(
            "Its JSON is nested too deep, or holds a number that cannot be read."
        ) from error
    if _depth(found) > MAX_DEPTH:
        raise RequestRefused(f"Its JSON is nested deeper than {MAX_DEPTH} levels.")
    if not isinstance(found, dict):
        raise RequestRefused("Its JSON is no card: a mapping with a name was expected.")
    return cast(Card, found)


def _read_json(content: bytes) -> Imported:
    card = _parsed(content)
    if isinstance(card.get("operation"), dict) or isinstance(card.get("inference_params"), dict):
        return _read_preset(card)
    if "entries" in card and "first_mes" not in card:
        raise RequestRefused("It is a book of lore without a character; import its character.")
    # One form inside: what stood flat is found in `data`, too, and stays where it was.
    if not isinstance(card.get("data"), dict):
        flat = {new: card[old] for old, new in _OLDEST.items() if old in card}
        flat |= {key: card[key] for key in _FLAT if key in card}
        if not _text(flat.get("name")).strip() or len(flat) < 2:
            words = "It is no character card, no LM Studio preset and no persona of Lantern's"
            raise RequestRefused(f"{words}: it has no `data` and no `name` with a description.")
        card["data"] = flat
    if not _text(_mapping(card["data"]).get("name")).strip():
        raise RequestRefused("The card has no name (`data.name`).")
    persona = persona_of(card)
    return Imported(persona, card, notes=_unheard(card, persona))


def _unheard(card: Card, persona: Persona) -> tuple[str, ...]:
    """Words for what of a card is kept and has no effect here."""
    data = _mapping(card["data"])
    extensions = _mapping(data.get("extensions"))
    patterns = sum(entry.use_regex for entry in persona.character.book.entries)
    told = {
        "its character's note (`extensions.depth_prompt`)": _mapping(
            extensions.get("depth_prompt")
        ).get("prompt"),
        "its world (`extensions.world`)": extensions.get("world"),
        "its scripts (`extensions.regex_scripts`)": extensions.get("regex_scripts"),
        f"{patterns} entries of its book whose keys are patterns": patterns,
        "its greetings for groups": data.get("group_only_greetings"),
    }
    without = ", ".join(what for what, value in told.items() if value)
    return (f"Kept, but without effect here: {without}.",) if without else ()


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


def _depth(value: Plain) -> int:
    """How many lists and mappings stand in each other; stops where it is too deep."""
    level, depth = [value], 1
    while level and depth <= MAX_DEPTH:
        level = [part for v in level for part in (*_mapping(v).values(), *_list(v))]
        depth += bool(level)
    return depth


# --- LM Studio's presets --------------------------------------------------------------------

_PRESET: Mapping[str, tuple[str, str]] = {
    "llm.prediction.systemPrompt": ("", "system_prompt"),
    "llm.prediction.temperature": ("sampling", "temperature"),
    "llm.prediction.maxPredictedTokens": ("sampling", "max_tokens"),
    "llm.prediction.topPSampling": ("sampling", "top_p"),
    "llm.prediction.topKSampling": ("sampling", "top_k"),
    "llm.prediction.minPSampling": ("sampling", "min_p"),
    "llm.prediction.repeatPenalty": ("sampling", "repeat_penalty"),
    "llm.prediction.stopStrings": ("sampling", "stop"),
    "llm.load.contextLength": ("load", "context_length"),
    "llm.load.numExperts": ("load", "num_experts"),
    "llm.load.llama.acceleration.offloadRatio": ("load", "gpu"),
    "llm.load.llama.flashAttention": ("load", "flash_attention"),
    "llm.load.llama.ropeFrequencyBase": ("load", "rope_frequency_base"),
    "llm.load.llama.ropeFrequencyScale": ("load", "rope_frequency_scale"),
    "llm.load.llama.kCacheQuantizationType": ("load", "kv_cache_quant"),
    # LM Studio 0.2's names.
    "pre_prompt": ("", "system_prompt"),
    "temp": ("sampling", "temperature"),
    "n_predict": ("sampling", "max_tokens"),
    "top_p": ("sampling", "top_p"),
    "top_k": ("sampling", "top_k"),
    "min_p": ("sampling", "min_p"),
    "repeat_penalty": ("sampling", "repeat_penalty"),
    "antiprompt": ("sampling", "stop"),
    "n_ctx": ("load", "context_length"),
}
"""Which key of a preset is which of a persona's file."""


def _read_preset(preset: Card) -> Imported:
    """The persona of a preset: its system prompt, sampling and load settings."""
    fields: dict[str, object] = {}
    for section in ("operation", "load"):
        for field in map(_mapping, _list(_mapping(preset.get(section)).get("fields"))):
            fields[_text(field.get("key"))] = field.get("value")
    # LM Studio 0.2 kept them flat.
    for section in ("inference_params", "load_params"):
        fields |= _mapping(preset.get(section))
    values: dict[str, Any] = {"name": one_line(_text(preset.get("name")))[:64].strip() or "preset"}
    left_out: list[str] = []
    for key, value in _mapping(_clean(cast("Plain", fields))).items():
        box = _mapping(value)
        # A box that is not ticked means that the setting is off, whatever stands beside it.
        is_off = box.get("checked") is False
        value = box.get("value") if "checked" in box else value
        if key not in _PRESET:
            left_out.append(key)
        elif not is_off and value is not None and value not in (-1, ""):
            section, name = _PRESET[key]
            (values.setdefault(section, {}) if section else values)[name] = value
    try:
        persona = read_persona(values, source="")
    except ValidationError as error:
        faults = explain(error, PersonaFile, Redactor())
        lines = "\n".join(f"• {fault.words}" for fault in faults[:8])
        raise RequestRefused(f"Not everything in the preset can be taken:\n{lines}") from error
    shown = ", ".join(f"`{key}`" for key in left_out[:6])
    more = f" and {len(left_out) - 6} more" if len(left_out) > 6 else ""
    notes = (f"Not taken over from the preset: {shown}{more}.",) if left_out else ()
    return Imported(persona, card_of(persona), notes=notes)


# --- single fields --------------------------------------------------------------------------


def _card_values(values: Mapping[str, Plain]) -> Card:
    """A persona's texts by the names of cards, of its values as a whole."""
    character = _mapping(values["character"])
    book = _mapping(character["book"])
    entries = [
        {
            **{key: part for key, part in entry.items() if key != "whole_words"},
            "extensions": {"match_whole_words": entry["whole_words"]},
        }
        for entry in map(_mapping, _list(book["entries"]))
    ]
    numbers = {key: part for key, part in book.items() if part is not None}
    return {
        **{theirs: character[ours] for theirs, ours in _TEXTS.items()},
        "alternate_greetings": character["greetings"],
        "system_prompt": values["system_prompt"],
        "first_mes": values["greeting"],
        "character_book": {**numbers, "entries": cast("list[Plain]", entries), "extensions": {}},
    }


def _read_book(book: Card) -> dict[str, object]:
    """A card's book as a persona's file has it; what makers leave empty is left to the default."""
    listed = book.get("entries")
    read: list[dict[str, object]] = []
    for found in map(_mapping, _list(listed) or _mapping(listed).values()):
        more = _mapping(found.get("extensions"))
        entry: dict[str, object] = {
            key: found[key]
            for key in BookEntryFile.model_fields
            if found.get(key) is not None and key not in ("position", "whole_words")
        }
        for key in ("keys", "secondary_keys"):
            if isinstance(entry.get(key), list):
                entry[key] = [text for text in map(_text, _list(entry[key])) if text.strip()]
        is_after = found.get("position", more.get("position")) in ("after_char", 1)
        entry["position"] = "after_char" if is_after else "before_char"
        entry["whole_words"] = more.get("match_whole_words") is not False
        # V3's decorators: lines on top that say how an entry is used, and are no words of it.
        lines = _text(found.get("content")).split("\n")
        while lines and lines[0].startswith("@@"):
            decorator = lines.pop(0).strip()
            entry |= _DECORATORS.get(decorator, {})
        entry["content"] = "\n".join(lines)
        read.append(entry)
    numbers = ("scan_depth", "token_budget", "recursive_scanning")
    return {"entries": read, **{key: book[key] for key in numbers if book.get(key) is not None}}


_DECORATORS: Mapping[str, Mapping[str, bool]] = {
    "@@activate": {"constant": True},
    "@@dont_activate": {"enabled": False},
}


def _avatar(data: Card) -> str:
    """The first address of a picture of theirs that may be shown to others; empty where none is."""
    icons = [a for a in map(_mapping, _list(data.get("assets"))) if a.get("type") == "icon"]
    for found in (*(icon.get("uri") for icon in icons), data.get("avatar")):
        if isinstance(found, str) and found.startswith("https://"):
            with suppress(ValueError):
                return check_avatar(found)
    return ""


def _text(value: object) -> str:
    """A text as makers leave it: empty ones as null, long ones in lines."""
    if isinstance(value, list):
        return "\n".join(map(_text, cast("list[object]", value)))
    return "" if value is None or isinstance(value, dict) else str(value)


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _mapping(value: object) -> Card:
    return cast(Card, value) if isinstance(value, dict) else {}


def _clean(value: Plain) -> Plain:
    """The same without halves of characters, which no database and no host takes."""
    match value:
        case str():
            return whole(value)
        case list():
            return [_clean(part) for part in value]
        case dict():
            return {whole(key): _clean(part) for key, part in value.items()}
        case _:
            return value
