"""What a simulated host answers to the official clients: responses, messages, tools, schemas."""

import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from sim_http import JIT, Client

from bot.sim.demands import fitting
from bot.sim.host import SimHost
from bot.sim.journal import PredictionStarted

# The clients take seconds to import: only when these tests run.
if TYPE_CHECKING:
    from anthropic import AsyncAnthropic
    from openai import AsyncOpenAI

pytestmark = pytest.mark.slow

PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 2}},
}
TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}
CALL = '[[call weather {"city": "Ulm", "days": 3}]]'


@pytest.fixture
async def host() -> AsyncGenerator[SimHost]:
    async with SimHost(JIT) as host:
        yield host


@pytest.fixture
async def openai(host: SimHost) -> AsyncGenerator["AsyncOpenAI"]:
    from openai import AsyncOpenAI

    base = f"http://{host.address}/v1"
    async with AsyncOpenAI(base_url=base, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def anthropic(host: SimHost) -> AsyncGenerator["AsyncAnthropic"]:
    from anthropic import AsyncAnthropic

    base = f"http://{host.address}"
    async with AsyncAnthropic(base_url=base, api_key="none", max_retries=0) as client:
        yield client


async def test_a_tool_is_called_where_it_is_demanded_or_asked_for(openai: Any) -> None:
    ask: Any = {"model": "small", "tools": [TOOL]}
    said: Any = [{"role": "user", "content": f"Tell me {CALL}"}]
    whole: Any = await openai.chat.completions.create(messages=said, **ask)
    assert whole.choices[0].finish_reason == "tool_calls"
    call: Any = None
    (call,) = whole.choices[0].message.tool_calls or [None]
    assert json.loads(call.function.arguments) == {"city": "Ulm", "days": 3}
    said += [whole.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "dry"}]
    after = await openai.chat.completions.create(messages=said, **ask)
    assert after.choices[0].finish_reason == "stop"
    plain: Any = [{"role": "user", "content": "hi"}]
    forced: Any = await openai.chat.completions.create(
        messages=plain, tool_choice="required", **ask
    )
    (call,) = forced.choices[0].message.tool_calls or [None]
    assert json.loads(call.function.arguments) == {"city": "lantern", "days": 2}
    free: Any = await openai.chat.completions.create(messages=plain, **ask)
    assert free.choices[0].message.content


async def test_the_arguments_of_a_call_come_in_pieces(openai: Any) -> None:
    pieces: list[Any] = []
    stream = await openai.chat.completions.create(
        model="small", messages=[{"role": "user", "content": CALL}], tools=[TOOL], stream=True
    )
    async for chunk in stream:
        pieces += chunk.choices[0].delta.tool_calls or []
    assert [piece.id is None for piece in pieces[:2]] == [False, True]
    assert pieces[0].function.name == "weather"
    assert len(pieces) > 3
    arguments = "".join(piece.function.arguments for piece in pieces)
    assert json.loads(arguments) == {"city": "Ulm", "days": 3}


async def test_an_answer_fits_the_schema_it_is_given(openai: Any) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "trip", "schema": PARAMETERS}}
    whole: Any = await openai.chat.completions.create(
        model="small", messages=[{"role": "user", "content": "hi"}], response_format=form
    )
    assert json.loads(whole.choices[0].message.content or "") == {"city": "lantern", "days": 2}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"const": None}, None),
        ({"enum": ["a", "b"]}, "a"),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, True),
        ({"type": "array", "items": {"type": "number"}}, [1.5]),
        ({"$ref": "#/$defs/x", "$defs": {"x": {"type": "integer"}}}, 1),
        ({}, {}),
    ],
)
def test_a_value_fits_its_schema(schema: dict[str, object], value: object) -> None:
    assert fitting(schema) == value


async def test_a_response_grows_item_by_item_in_order(openai: Any) -> None:
    events: list[Any] = [
        event
        async for event in await openai.responses.create(
            model="small", input="[[think 2]] [[tokens 2]]", stream=True
        )
    ]
    assert [event.type.removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_text.delta",
        "reasoning_text.delta",
        "reasoning_text.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event.sequence_number for event in events] == list(range(15))
    whole = events[-1].response
    assert whole.usage.output_tokens_details.reasoning_tokens == 2
    assert whole.output_text == events[-4].text


async def test_a_response_calls_tools_and_goes_on_from_an_earlier_one(
    host: SimHost, openai: Any
) -> None:
    from openai import NotFoundError

    tool: Any = {"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": False}
    first: Any = await openai.responses.create(model="small", input=CALL, tools=[tool])
    call: Any = first.output[0]
    assert json.loads(call.arguments) == {"city": "Ulm", "days": 3}
    second = await openai.responses.create(
        model="small",
        previous_response_id=first.id,
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": "dry"}],
        max_output_tokens=3,
    )
    assert (second.status, second.previous_response_id) == ("incomplete", first.id)
    roles = [m.role for m in host.journal.of(PredictionStarted)[-1].messages]
    assert roles == ["user", "assistant", "tool"]
    with pytest.raises(NotFoundError, match="resp_none"):
        await openai.responses.create(model="small", previous_response_id="resp_none", input="hi")


async def test_a_message_streams_thoughts_text_and_calls(anthropic: Any) -> None:
    tool: Any = {"name": "weather", "input_schema": PARAMETERS}
    ask: Any = {"model": "small", "max_tokens": 99, "tools": [tool]}
    said: Any = [{"role": "user", "content": [{"type": "text", "text": "[[think 2]] hi"}]}]
    async with anthropic.messages.stream(messages=said, **ask) as stream:
        whole = await stream.get_final_message()
    assert [block.type for block in whole.content] == ["thinking", "text"]
    assert whole.usage.output_tokens > 2
    said = [{"role": "user", "content": CALL}]
    async with anthropic.messages.stream(messages=said, system="Be calm.", **ask) as stream:
        called = await stream.get_final_message()
    assert called.stop_reason == "tool_use"
    block: Any = called.content[0]
    assert block.input == {"city": "Ulm", "days": 3}
    again = await anthropic.messages.create(messages=said, **ask)
    assert [block.type for block in again.content] == ["tool_use"]


async def test_a_message_that_is_too_long_is_an_error_of_the_server(
    anthropic: Any,
) -> None:
    from anthropic import APIStatusError

    said: Any = [{"role": "user", "content": "word " * 9000}]
    with pytest.raises(APIStatusError, match="n_keep") as raised:
        await anthropic.messages.create(model="small", max_tokens=9, messages=said)
    assert raised.value.status_code == 500


async def test_vectors_come_packed_or_plain_and_as_long_as_asked(openai: Any) -> None:
    from openai import BadRequestError

    packed = await openai.embeddings.create(model="vectors", input=["a", "b"], dimensions=8)
    plain = await openai.embeddings.create(
        model="vectors", input=["a", "b"], dimensions=8, encoding_format="float"
    )
    for one, other in zip(packed.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
        assert len(one.embedding) == 8
    with pytest.raises(BadRequestError):
        await openai.embeddings.create(model="vectors", input="a", dimensions=9999)


async def test_an_older_host_knows_neither_path() -> None:

    old = replace(JIT, generation="0.3", responses=False)
    async with SimHost(old) as older, aiohttp.ClientSession() as session:
        for path in ("/v1/responses", "/v1/messages"):
            status, body = await Client(older, session).post(path, model="small")
            assert (status, list(body)) == (200, ["error"])
            assert "Unexpected endpoint" in body["error"]
