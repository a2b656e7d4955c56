"""From a client's JSON to a relayed request: checked, filled in, otherwise left as it came."""

import json
import re
from codecs import BOM_UTF8
from collections.abc import Mapping
from dataclasses import dataclass
from math import isinf
from typing import Any, cast

from bot.chat.choices import PLAIN
from bot.chat.relayed import RequestForm
from bot.domain.chat import Message, Role
from bot.domain.personas import Persona, Sampling
from bot.gateway.errors import Problem
from bot.gateway.shapes import check_shape, is_deeper
from bot.policy.context import estimate_tokens
from bot.policy.prompt import Moment, persona_prompt, scene_of

PICTURE_TOKENS = 1500
"""About what a picture takes of the window; models differ by a factor of ten."""

DEEPEST = 100
"""Levels of a body: no schema of a tool comes near, and readers further on give up at a thousand.
"""

MOST_VALUES = 1_000_000
"""In a body, about: so many commas and openings; a text of a million tokens has fewer. Ten million
empty lists, within the limit of bytes, took 900 MB and held up everybody else for 15 seconds."""

Object = dict[str, object]

_MAYBE_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

_NAMES: Mapping[RequestForm, Mapping[str, str]] = {
    "responses": {"max_tokens": "max_output_tokens", "stop": ""},
    "messages": {"stop": "stop_sequences"},
}
"""What parameters are called elsewhere than in chats; empty where there is no such thing."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A request as its client sent it, known to be well formed."""

    endpoint: RequestForm
    fields: Object
    model: str | None
    wants_usage: bool


def parse(endpoint: RequestForm, body: bytes) -> Parsed:
    """A checked request.

    Raises:
        Problem: it is no JSON object, or a field is of a wrong type or out of its range.
    """
    fields = read_object(body)
    check_shape(endpoint, fields)
    # LM Studio's list of parameters has no `n`; every peer gives one choice in silence.
    if fields.get("n") not in (None, 1):
        words = "`n` must be 1: hosts give one choice each."
        raise Problem(400, words, "unsupported_value", param="n")
    if fields.get("background") is True and endpoint == "responses":
        # It was answered at once, as if it had been asked for so.
        words = "`background` must be false: an answer is made while its client waits."
        raise Problem(400, words, "unsupported_value", param="background")
    options = fields.get("stream_options")
    wants_usage = isinstance(options, dict) and cast(Object, options).get("include_usage") is True
    model = fields.get("model")
    return Parsed(
        endpoint=endpoint,
        fields=fields,
        model=str(model) if model else None,
        wants_usage=wants_usage,
    )


def read_object(body: bytes) -> Object:
    """The JSON object that a body holds.

    Raises:
        Problem: it holds none, or one that could not be sent on.
    """
    openings = body.count(b"[") + body.count(b"{")
    if body.count(b",") + openings > MOST_VALUES:
        words = f"The body holds more than {MOST_VALUES:,} values."
        raise Problem(413, words, "request_too_large")
    try:
        # By itself the reader takes UTF-16 too. PowerShell puts a mark before UTF-8.
        text = body.removeprefix(BOM_UTF8).decode()
        value: object = _JSON.decode(text)
        # What passes the reader and no host could be sent. Only an escape can hold one, and few
        # bodies have any: written out again, long prompts cost more here than anywhere else.
        if _MAYBE_SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as err:
        raise Problem(400, "The body is not valid UTF-8.") from err
    except UnicodeEncodeError as err:
        words = "The body holds half a character, one of `\\ud800` to `\\udfff` alone."
        raise Problem(400, words) from err
    except RecursionError as err:
        raise _too_deep() from err
    except (json.JSONDecodeError, _NoJson) as err:
        raise Problem(400, f"The body is not JSON: {err}.") from err
    except ValueError as err:
        # Python's own words name a function that is no business of a client's.
        raise Problem(400, "The body holds a number of too many digits.") from err
    if not isinstance(value, dict):
        raise Problem(400, "The body must be a JSON object.", "invalid_type")
    # Most bodies have fewer in all.
    if openings > DEEPEST and is_deeper(cast(Object, value), DEEPEST):
        raise _too_deep()
    return cast(Object, value)


def _too_deep() -> Problem:
    return Problem(400, f"The body is nested deeper than {DEEPEST} levels.")


def filled(parsed: Parsed, persona: Persona, defaults: Mapping[str, object]) -> Object:
    """The request as a host is sent it: gaps filled, names that LM Studio does not know mended.

    Args:
        parsed: As it came; what it gives itself stays.
        persona: Its prompt goes before the client's own messages.
        defaults: Of the active model, by the names of the wire.
    """
    fields = dict(parsed.fields)
    if parsed.endpoint == "embeddings":
        return fields
    # LM Studio documents `max_tokens` alone; the newer name says the same and wins.
    newer = fields.pop("max_completion_tokens", None)
    if newer is not None:
        fields["max_tokens"] = newer
    named = _NAMES.get(parsed.endpoint, {})
    for name, value in {**defaults, **_wire_names(persona.sampling)}.items():
        field = named.get(name, name)
        if field and fields.get(field) is None and not (name == "stream" and "stream" in fields):
            fields[field] = value
    _mend(parsed.endpoint, fields)
    if persona is PLAIN:
        return fields
    # What the client says in its own words is looked through for the keys of a book.
    listed = parsed.fields.get("messages")
    messages = cast(list[object], listed) if isinstance(listed, list) else []
    texts = [cast(Object, m).get("content") for m in reversed(messages) if isinstance(m, dict)]
    said = [text for text in texts if isinstance(text, str)]
    scene = scene_of(persona, "the user", Moment())
    if prompt := persona_prompt(persona, scene, said, estimate_tokens):
        _put_first(parsed.endpoint, fields, prompt)
    return fields


def _mend(endpoint: RequestForm, fields: Object) -> None:
    """What LM Studio knows by another name, or not at all."""
    match endpoint:
        case "chat":
            fields["messages"] = _mended(fields["messages"])
            # LM Studio refuses `json_object`, and takes a schema that says the same.
            wanted = fields.get("response_format")
            if isinstance(wanted, dict) and cast(Object, wanted).get("type") == "json_object":
                schema = {"name": "object", "schema": {"type": "object"}}
                fields["response_format"] = {"type": "json_schema", "json_schema": schema}
        case "responses":
            fields["input"] = _mended(fields.get("input"))
            _drop_foreign_tools(fields)
        case "text":
            prompts = fields["prompt"]
            if isinstance(prompts, list):
                texts = cast(list[str], prompts)
                if len(texts) > 1:
                    words = "`prompt` must be one text: hosts give one choice each."
                    raise Problem(400, words, "unsupported_value", param="prompt")
                fields["prompt"] = texts[0]
        case "messages" | "embeddings":
            return


def _drop_foreign_tools(fields: Object) -> None:
    # Codex sends tools of kinds that only OpenAI runs: refusing them broke it elsewhere.
    tools = cast(list[Object], fields.get("tools") or [])
    kept = [tool for tool in tools if tool.get("type") == "function"]
    if kept:
        fields["tools"] = kept
    else:
        for name in ("tools", "tool_choice"):
            fields.pop(name, None)


def _put_first(endpoint: RequestForm, fields: Object, prompt: str) -> None:
    """A persona's prompt before the client's own; a plain text completion has no place for it."""
    match endpoint:
        case "chat":
            said = cast(list[Object], fields["messages"])
            fields["messages"] = [{"role": "system", "content": prompt}, *said]
        case "responses":
            own = fields.get("instructions")
            # Both: the client's own words stand, as its messages do in a chat.
            fields["instructions"] = f"{prompt}\n\n{own}" if isinstance(own, str) else prompt
        case "messages":
            own = fields.get("system")
            parts: list[object] = [{"type": "text", "text": prompt}]
            if isinstance(own, list):
                parts += cast(list[object], own)
            elif own:
                parts.append({"type": "text", "text": own})
            fields["system"] = parts
        case "text" | "embeddings":
            return


_LIMITS = ("max_tokens", "max_output_tokens")
_LABELS = {"metadata", "client_metadata", "user", "safety_identifier", "prompt_cache_key"}
_UNREAD = frozenset({"model", "stream", "stop", "stream_options", *_LABELS, *_LIMITS})
"""What of a request no model reads."""


@dataclass(frozen=True, slots=True)
class Measured:
    """About how large a request is."""

    prompt_tokens: int
    """Of an embedding, those of its longest input: each is read by itself."""
    limit: int | None
    """Of the answer, where it sets one."""
    has_pictures: bool


def measure(endpoint: RequestForm, fields: Mapping[str, object]) -> Measured:
    """The size of a request, about."""
    if endpoint == "embeddings":
        given = fields.get("input")
        # A list of numbers is one text, in tokens already.
        listed = cast(list[object], given) if isinstance(given, list) else []
        each: list[object] = [given] if not listed or isinstance(listed[0], int) else listed
        return Measured(max(_size(text)[0] for text in each), None, has_pictures=False)
    # Whoever sets the limit that was said to be paid must not be refused for its number.
    parts = [value for name, value in fields.items() if name not in _UNREAD]
    tokens, pictures = _size(parts)
    limits = (fields.get(name) for name in _LIMITS)
    limit = next((n for n in limits if isinstance(n, int) and n > 0), None)
    return Measured(tokens + PICTURE_TOKENS * pictures, limit, has_pictures=pictures > 0)


def _size(whole: object) -> tuple[int, int]:
    """Estimated tokens of all texts and numbers, and how many pictures are among them."""
    tokens = pictures = 0
    stack: list[Any] = [whole]
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            tokens += estimate_tokens(value)
        elif isinstance(value, list):
            stack += value
        elif isinstance(value, dict):
            part = cast(Object, value)
            if is_picture(part):
                pictures += 1
            else:
                stack += part.values()
        else:
            tokens += value is not None
    return tokens, pictures


def messages_read(fields: Mapping[str, object]) -> tuple[Message, ...]:
    """What a model reads of an Anthropic message, in a template's order; no pictures."""
    first = [*_texts(fields.get("tools")), *_texts(fields.get("system"))]
    said = [
        Message(cast(Role, turn["role"]), "\n".join(_texts(turn["content"])))
        for turn in cast(list[Object], fields["messages"])
    ]
    return (*([Message("system", "\n".join(first))] if first else []), *said)


def _texts(value: object) -> list[str]:
    """The texts of blocks; of a tool, its call or its result also the names, which are read too."""
    if isinstance(value, list):
        return [text for part in cast(list[object], value) for text in _texts(part)]
    if not isinstance(value, dict):
        return [] if value is None else [str(value)]
    part = cast(Object, value)
    if is_picture(part):
        return []
    if part.get("type") == "text":
        return _texts(part.get("text"))
    return [text for name, held in part.items() for text in (name, *_texts(held))]


def is_picture(part: Object) -> bool:
    """Is a part of a message a picture?"""
    return part.get("type") in ("image_url", "input_image", "image")


def _wire_names(sampling: Sampling) -> Object:
    given: Object = {
        "temperature": sampling.temperature,
        "max_tokens": sampling.max_tokens,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "repeat_penalty": sampling.repeat_penalty,
        "stop": list(sampling.stop) or None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _mended(said: object) -> object:
    # OpenAI's newer name; templates of local models know only `system`.
    if not isinstance(said, list):
        return said
    return [
        {**message, "role": "system"} if message.get("role") == "developer" else message
        for message in cast(list[Object], said)
    ]


class _NoJson(ValueError):
    """Python reads it, and JSON has no such thing."""


def _no_constant(name: str) -> object:
    raise _NoJson(f"{name} is no JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if isinf(number):
        raise _NoJson(f"{digits[:20]} is too large")
    return number


_JSON = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)
