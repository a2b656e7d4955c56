"""The shapes of the requests: what each may hold, and which field is to blame where it does not."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from bot.chat.relayed import RequestForm
from bot.domain.chat import MOST_COUNTED
from bot.gateway.errors import Problem

Shape = RequestForm | Literal["count_tokens"]

# A provider is held to the worst case of each request, and no ledger holds that of any number.
TokenLimit = Annotated[int, Field(ge=-1, le=MOST_COUNTED)]

MOST_LISTED = 10_000
"""Messages, tools, parts or texts in a request: five times the texts that OpenAI takes for vectors.
A list is held against its shape in one step of pydantic's, and nobody else runs meanwhile: 200,000
messages took 0.9 s."""

_Length = Field(max_length=MOST_LISTED)
_Objects = Annotated[list[dict[str, Any]], _Length]


class _Open(BaseModel):
    """Anything not named here passes to the host as it came."""

    model_config = ConfigDict(extra="allow", strict=True)


# A host that looks up a kind which is no word falls over it, and was out for everybody.
class _Part(_Open):
    type: str = "text"
    text: str | None = None


_Parts = Annotated[list[_Part], _Length]


class _NamedTool(_Open):
    type: str = "function"
    name: str | None = None


class _Item(_Open):
    type: str = "message"
    role: str | None = None
    content: str | _Parts | None = None


_NamedTools = Annotated[list[_NamedTool], _Length]
_Items = Annotated[list[_Item], _Length]


class _Body(_Open):
    model: Annotated[str, Field(max_length=500)] | None = None
    stream: bool | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    # Of what is LM Studio's own, those that Lantern fills in. Their range is the host's to judge:
    # clients write 0 or -1 for "none".
    top_k: float | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None


class _StreamOptions(_Open):
    include_usage: bool | None = None


class _Completion(_Body):
    n: int | None = None
    max_tokens: TokenLimit | None = None
    max_completion_tokens: TokenLimit | None = None
    stop: str | Annotated[list[str], _Length] | None = None
    seed: int | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    stream_options: _StreamOptions | None = None


class _Said(_Open):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | _Parts | None = None
    tool_calls: _Objects | None = None


class _Function(_Open):
    name: Annotated[str, Field(min_length=1)]
    parameters: dict[str, Any] | None = None


class _Tool(_Open):
    type: str = "function"
    function: _Function | None = None


class _Chat(_Completion):
    messages: Annotated[list[_Said], Field(min_length=1), _Length]
    tools: Annotated[list[_Tool], _Length] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None


class _Text(_Completion):
    prompt: Annotated[str, Field()] | Annotated[list[str], Field(min_length=1)]


class _Embeddings(_Body):
    input: (
        Annotated[str, Field(min_length=1)]
        | Annotated[list[str], Field(min_length=1), _Length]
        | Annotated[list[int], Field(min_length=1)]
        | Annotated[list[list[int]], Field(min_length=1), _Length]
    )
    # openai-python asks for base64 unless it is told otherwise.
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None


class _Responses(_Body):
    previous_response_id: Annotated[str, Field(min_length=1)] | None = None
    input: Annotated[str | _Items | None, Field(validate_default=True)] = None
    instructions: str | None = None
    max_output_tokens: Annotated[TokenLimit, Field(ge=1)] | None = None
    tools: _NamedTools | None = None
    tool_choice: str | dict[str, Any] | None = None
    text: dict[str, Any] | None = None

    @field_validator("input")
    @classmethod
    def _has_something_to_answer(cls, value: object, info: ValidationInfo) -> object:
        # Each host would load the model first, and only then refuse.
        if value is None and info.data.get("previous_response_id") is None:
            raise PydanticCustomError("missing", "Field required")
        return value


class _Turn(_Open):
    role: Literal["user", "assistant", "system"]
    content: str | _Parts


class _CountTokens(_Body):
    messages: Annotated[list[_Turn], Field(min_length=1), _Length]
    system: str | _Parts | None = None
    tools: _NamedTools | None = None


class _Messages(_CountTokens):
    max_tokens: Annotated[TokenLimit, Field(ge=1)]
    stop_sequences: Annotated[list[str], _Length] | None = None


_SHAPES: Mapping[Shape, TypeAdapter[Any]] = {
    "chat": TypeAdapter(_Chat),
    "text": TypeAdapter(_Text),
    "embeddings": TypeAdapter(_Embeddings),
    "responses": TypeAdapter(_Responses),
    "messages": TypeAdapter(_Messages),
    "count_tokens": TypeAdapter(_CountTokens),
}


def check_shape(shape: Shape, fields: Mapping[str, object]) -> None:
    """Nothing, where a request is well formed.

    Raises:
        Problem: a field is missing, of a wrong type or out of its range; it is named.
    """
    try:
        _SHAPES[shape].validate_python(fields)
    except ValidationError as err:
        told = err.errors(include_url=False, include_input=False)
        # Of what may be a text as well, the first complaint is that the list is none.
        same = [e for e in told if e["loc"][:1] == told[0]["loc"][:1]]
        deepest = max(same, key=lambda e: len(e["loc"]))
        first = next((e for e in same if not e["type"].endswith("_type")), deepest)
        param = str(first["loc"][0]) if first["loc"] else None
        said = first["msg"]
        if first["type"] == "too_long":
            said = f"a list of more than {MOST_LISTED:,} is not taken"
        elif first["type"] == "model_type":
            # Pydantic's own words name a class of ours.
            said = "Input should be an object"
        where = _where(first["loc"], fields)
        words = f"`{where}`: {said}." if where else f"{said}."
        if first["type"] == "missing":
            raise Problem(400, words, "missing_required_parameter", param=param) from err
        is_range = any(word in first["type"] for word in ("than", "too_short", "too_long"))
        raise Problem(400, words, None if is_range else "invalid_type", param=param) from err


def _where(loc: tuple[int | str, ...], fields: Mapping[str, object]) -> str:
    """Where in a body a complaint is: ``messages[2].role``.

    Of what may be one thing or another pydantic names which it took it for, too: left out.
    """
    at, here = "", cast(object, fields)
    for nth, step in enumerate(loc):
        if isinstance(here, list) and isinstance(step, int):
            at, here = f"{at}[{step}]", cast(list[object], here)[step]
        elif isinstance(here, Mapping) and (step in here or nth == len(loc) - 1):
            at, here = f"{at}.{step}".removeprefix("."), cast(dict[object, object], here).get(step)
    return at


def is_deeper(value: object, limit: int) -> bool:
    """Are lists and objects nested in each other more than so many times?"""
    # Level by level: a check that recursed would itself break at what it is to refuse.
    level: list[object] = [value]
    for _ in range(limit):
        below: list[object] = []
        for part in level:
            if isinstance(part, dict):
                below.extend(cast(dict[str, object], part).values())
            elif isinstance(part, list):
                below.extend(cast(list[object], part))
        level = [part for part in below if isinstance(part, (dict, list))]
        if not level:
            return False
    return True
