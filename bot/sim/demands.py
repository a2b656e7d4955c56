"""What a request demands of the shape of its answer: a tool call, or JSON that fits a schema."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bot.sim.answers import Answer, Message, tokenise
from bot.sim.wire_json import JsonObject, as_list, as_object, parse_object, text_of

_CALL = re.compile(r"\[\[call[ \t]+([\w.-]+)(?:[ \t]+(\{.*?\}))?\]\]", re.DOTALL)
"""In a user's message: `[[call NAME {"of": "its arguments"}]]`."""


_SIMPLE: Mapping[str, object] = {
    "string": "lantern",
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "null": None,
}


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool."""

    name: str
    arguments: str
    """JSON, as the wire carries it."""


@dataclass(frozen=True, slots=True)
class Demand:
    """Nothing, a call, or a text; the simulated model always obeys."""

    call: Call | None = None
    text: str = ""

    def met(self, answer: Answer) -> Answer:
        """Return the answer as it is demanded."""
        if self.call is not None:
            return replace(answer, content=(), call=tokenise(self.call.arguments))
        return replace(answer, content=tokenise(self.text)) if self.text else answer


NOTHING = Demand()


def demand_of(body: JsonObject, messages: Sequence[Message]) -> Demand:
    """Return the demand of a request of the chat, responses or messages shape."""
    tools = dict(map(_tool, as_list(body.get("tools"))))
    name = _wanted_tool(body, tools, messages)
    if name in tools:
        given = _asked_arguments(messages, name)
        return Demand(Call(name, given or json.dumps(fitting(tools[name]))))
    wanted = as_object(body.get("response_format") or as_object(body.get("text")).get("format"))
    if wanted.get("type") != "json_schema":
        return NOTHING
    # The chat shape wraps the schema once more.
    schema = as_object(as_object(wanted.get("json_schema") or wanted).get("schema"))
    return Demand(text=json.dumps(fitting(schema)))


def fitting(schema: Mapping[str, object], root: Mapping[str, object] | None = None) -> object:
    """Return a small value that fits a JSON schema."""
    root = schema if root is None else root
    if reference := text_of(schema, "$ref"):
        schema = root
        for part in reference.lstrip("#/").split("/"):
            schema = as_object(schema.get(part))
    for name in ("anyOf", "oneOf", "allOf"):
        if choices := as_list(schema.get(name)):
            return fitting(as_object(choices[0]), root)
    if fixed := [schema["const"]] if "const" in schema else as_list(schema.get("enum")):
        return fixed[0]
    match schema.get("type"):
        case "array":
            return [fitting(as_object(schema.get("items")), root)]
        case "integer" | "number" if "minimum" in schema:
            return schema["minimum"]
        case str(kind) if kind in _SIMPLE:
            return _SIMPLE[kind]
        case _:
            properties = as_object(schema.get("properties"))
            return {name: fitting(as_object(part), root) for name, part in properties.items()}


def _tool(raw: object) -> tuple[str, JsonObject]:
    tool = as_object(raw)
    function = as_object(tool.get("function") or tool)
    schema = function.get("parameters") or function.get("input_schema")
    return text_of(function, "name") or "", as_object(schema)


def _wanted_tool(
    body: JsonObject, tools: Mapping[str, JsonObject], messages: Sequence[Message]
) -> str:
    choice = body.get("tool_choice")
    told = as_object(choice)
    named = text_of(as_object(told.get("function") or told), "name")
    if named is not None:
        return named
    if choice in ("required", "any") or told.get("type") in ("any", "required"):
        return next(iter(tools), "")
    # After a tool's result the model speaks, or an agent would go round for ever.
    if choice == "none" or not messages or messages[-1].role != "user":
        return ""
    found = _CALL.search(messages[-1].text)
    return found.group(1) if found else ""


def _asked_arguments(messages: Sequence[Message], name: str) -> str:
    found = _CALL.search(messages[-1].text) if messages else None
    if found is None or found.group(1) != name or not found.group(2):
        return ""
    return found.group(2) if parse_object(found.group(2)) is not None else ""
