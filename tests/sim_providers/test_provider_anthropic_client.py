"""The official `anthropic` client against the simulated messages wire."""

from collections.abc import AsyncIterator
from ssl import PROTOCOL_TLS_CLIENT, SSLContext
from typing import TYPE_CHECKING, Any

import pytest
from provider_help import MODELS, provider

from bot.sim.providers.faults import FaultName
from bot.sim.providers.provider import SimProvider

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic
    from anthropic.types import RawMessageStreamEvent

pytestmark = pytest.mark.slow
"""The client takes a second to import."""

HAIKU = MODELS["anthropic"]


@pytest.fixture
async def double() -> AsyncIterator[SimProvider]:
    async with provider("anthropic") as running:
        yield running


@pytest.fixture
async def client(double: SimProvider) -> AsyncIterator["AsyncAnthropic"]:
    import httpx2
    from anthropic import AsyncAnthropic

    # Reading the system's certificates takes 40 ms per client, and no test speaks TLS.
    plain = httpx2.AsyncClient(verify=SSLContext(PROTOCOL_TLS_CLIENT), timeout=5.0)
    async with AsyncAnthropic(
        api_key=double.key, base_url=double.root_url, max_retries=0, http_client=plain
    ) as client:
        yield client


async def stream(
    client: "AsyncAnthropic", text: str, model: str = HAIKU, **extras: Any
) -> "list[RawMessageStreamEvent]":
    asked: dict[str, Any] = {"max_tokens": 500, **extras}
    events = await client.messages.create(
        model=model, messages=[{"role": "user", "content": text}], stream=True, **asked
    )
    return [event async for event in events]


def text_of(events: "list[RawMessageStreamEvent]") -> str:
    return "".join(
        event.delta.text
        for event in events
        if event.type == "content_block_delta" and event.delta.type == "text_delta"
    )


async def test_a_whole_message_with_thinking_and_usage(
    double: SimProvider, client: "AsyncAnthropic"
) -> None:
    answer = await client.messages.create(
        model=HAIKU,
        max_tokens=500,
        system="Be kind.",
        messages=[{"role": "user", "content": "[[think 4]] [[say one two]]"}],
        thinking={"type": "adaptive"},
        metadata={"user_id": "0f" * 16},
    )
    thought, said = answer.content
    assert thought.type == "thinking"
    assert thought.thinking
    assert said.type == "text"
    assert said.text == "one two"
    assert answer.stop_reason == "end_turn"
    [call] = double.journal.calls
    assert answer.usage.output_tokens == call.bill.completion_tokens == 6
    assert answer.usage.input_tokens == call.bill.prompt_tokens
    assert call.arrival.user == "0f" * 16
    assert call.arrival.headers["anthropic-version"] == "2026-10-21"


async def test_the_events_of_a_stream_come_in_their_order(client: "AsyncAnthropic") -> None:
    events = await stream(client, "[[think 2]] [[say one two]]", thinking={"type": "adaptive"})
    assert [event.type for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    last = events[-2]
    assert last.type == "message_delta"
    assert last.usage.output_tokens == 4
    assert last.usage.output_tokens_details is not None
    assert last.usage.output_tokens_details.thinking_tokens == 2


async def test_the_clients_own_stream_helper_puts_the_message_together(
    client: "AsyncAnthropic",
) -> None:
    async with client.messages.stream(
        model="claude-opus-5-5",
        max_tokens=500,
        messages=[{"role": "user", "content": "[[say one two]]"}],
    ) as events:
        said = "".join([text async for text in events.text_stream])
        done = await events.get_final_message()
    assert said == "one two"
    assert [block.type for block in done.content] == ["thinking", "text"]


async def test_tokens_are_counted_and_models_listed(client: "AsyncAnthropic") -> None:
    counted = await client.messages.count_tokens(
        model=HAIKU, messages=[{"role": "user", "content": "Hello?"}]
    )
    assert counted.input_tokens > 0
    assert HAIKU in [model.id async for model in client.models.list()]
    assert (await client.models.retrieve(HAIKU)).lifecycle == "active"


async def test_a_stop_sequence_is_named(client: "AsyncAnthropic") -> None:
    answer = await client.messages.create(
        model=HAIKU,
        max_tokens=500,
        messages=[{"role": "user", "content": "[[say one two three]]"}],
        stop_sequences=["nothing", " three"],
    )
    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", " three")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("refused", "refusal"),
        ("window_full", "model_context_window_exceeded"),
        ("empty", "max_tokens"),
    ],
)
async def test_an_answer_that_ends_otherwise_says_how(
    double: SimProvider, client: "AsyncAnthropic", fault: FaultName, reason: str
) -> None:
    double.faults.set(fault, code="cyber" if fault == "refused" else "")
    events = await stream(client, "hi")
    last = events[-2]
    assert last.type == "message_delta"
    assert last.delta.stop_reason == reason
    if fault == "refused":
        assert last.delta.stop_details is not None
        assert last.delta.stop_details.category == "cyber"


ERRORS: list[tuple[FaultName, str, str, int]] = [
    ("auth", "", "AuthenticationError", 401),
    ("forbidden", "", "PermissionDeniedError", 403),
    ("no_money", "", "PaymentRequiredError", 402),
    ("no_money", "enforced_spend_limit_reached", "RateLimitError", 429),
    ("no_money", "own_limit", "BadRequestError", 400),
    ("rate_limit", "", "RateLimitError", 429),
    ("overload", "", "OverloadedError", 529),
    ("server", "", "InternalServerError", 500),
    ("server", "timeout_error", "GatewayTimeoutError", 504),
    ("too_long", "", "BadRequestError", 400),
    ("too_long", "request_too_large", "ContentTooLargeError", 413),
    ("unknown_model", "", "NotFoundError", 404),
    ("html", "502", "InternalServerError", 502),
]


@pytest.mark.parametrize(("fault", "code", "error", "status"), ERRORS)
async def test_errors_are_the_clients_own(
    double: SimProvider,
    client: "AsyncAnthropic",
    fault: FaultName,
    code: str,
    error: str,
    status: int,
) -> None:
    import anthropic

    double.faults.set(fault, code=code)
    with pytest.raises(anthropic.APIStatusError) as caught:
        await stream(client, "hi")
    kinds = {kind.__name__ for kind in type(caught.value).__mro__}
    assert error in kinds
    assert caught.value.status_code == status
    assert caught.value.request_id


async def test_an_error_event_after_200_keeps_that_status_in_the_client(
    double: SimProvider, client: "AsyncAnthropic"
) -> None:
    import anthropic

    double.faults.set("error_event", after_tokens=2)
    with pytest.raises(anthropic.APIStatusError) as caught:
        await stream(client, "[[say a b c]]")
    assert caught.value.status_code == 200


async def test_a_cut_stream_leaks_past_the_clients_errors(
    double: SimProvider, client: "AsyncAnthropic"
) -> None:
    import anthropic
    import httpx2

    double.faults.set("cut", after_tokens=2)
    with pytest.raises((httpx2.TransportError, anthropic.APIConnectionError)):
        await stream(client, "[[say a b c]]")


async def test_a_silent_end_passes_the_client_unseen(
    double: SimProvider, client: "AsyncAnthropic"
) -> None:
    """The trap that our own adapters must not fall into."""
    double.faults.set("silent_end", after_tokens=2)
    events = await stream(client, "[[say a b c]]")
    assert text_of(events) == "a b"
    assert events[-1].type != "message_stop"


async def test_noise_and_unknown_events_do_not_disturb_the_client(
    double: SimProvider, client: "AsyncAnthropic"
) -> None:
    for name in ("fragment", "crlf", "comments", "duplicate_usage"):
        double.faults.set(name)
    said = "Grüße, 漢字 und 🏮 — “so”"
    assert text_of(await stream(client, f"[[say {said}]]")) == said


async def test_a_sampling_parameter_is_refused_through_the_client_too(
    client: "AsyncAnthropic",
) -> None:
    import anthropic

    with pytest.raises(anthropic.BadRequestError, match="Extra inputs are not permitted"):
        await stream(client, "hi", extra_body={"temperature": 1.0})
