"""REST answers of every odd kind, and what becomes of them."""

import asyncio
from contextlib import closing
from urllib.parse import urlsplit

import pytest
from failures import fails
from rest_double import Answer, always, api

from bot.domain.errors import FailureKind, HostUnreachable, Unavailable
from bot.domain.hosts import Instance, Interface, LoadOrder
from bot.domain.ids import InstanceId, ModelKey
from bot.domain.personas import LoadSettings
from bot.fleet.client import Stop
from bot.fleet.rest import RestApi, RestClient, richest_rest
from bot.inference.exchange import ConnectionPool
from bot.inference.wire import Call, Verdict, WireFault

ONE = ModelKey("one")
ORDER = LoadOrder(ONE, "llm", LoadSettings(), ttl_s=60, idle_ttl_s=30)
UNKNOWN = {"error": "Unexpected endpoint or method. (GET /x)"}


def by_path(**answers: object) -> Answer:
    """Answers by the last part but one of the path: ``v1``, ``v0``, or ``plain``."""

    def answer(call: Call) -> tuple[int, object]:
        names = {"/api/v1/models": "v1", "/api/v0/models": "v0", "/v1/models": "plain"}
        return 200, answers.get(names.get(urlsplit(call.url).path, ""), UNKNOWN)

    return answer


@pytest.mark.parametrize(
    ("answers", "interface"),
    [
        ({"v1": {"models": []}, "v0": {"data": []}, "plain": {"data": []}}, "/api/v1"),
        ({"v0": {"data": []}, "plain": {"data": []}}, "/api/v0"),
        ({"plain": {"data": [{"id": "one"}]}}, "/v1"),
    ],
)
async def test_the_richest_interface_is_found_by_its_keys(
    answers: dict[str, object], interface: Interface
) -> None:
    assert (await richest_rest(api(by_path(**answers)))).interface == interface


async def test_an_ollama_is_called_by_its_name() -> None:
    def ollama(call: Call) -> tuple[int, object]:
        bodies = {
            "/v1/models": {"object": "list", "data": [{"id": "llama3", "owned_by": "library"}]},
            "/api/version": {"version": "0.12.6"},
        }
        body = bodies.get(urlsplit(call.url).path)
        return (200, body) if body else (404, b"404 not found")

    client = await richest_rest(api(ollama))
    report = await client.inventory()
    assert (client.interface, report.version, list(report.models)) == (
        "/v1",
        "Ollama 0.12.6",
        ["llama3"],
    )


async def test_a_host_without_any_list_of_models_is_garbage() -> None:
    with pytest.raises(HostUnreachable) as caught:
        await richest_rest(api(by_path()))
    assert caught.value.kind is FailureKind.GARBAGE


async def test_a_bare_host_has_models_and_nothing_is_known_of_its_memory() -> None:
    client = await richest_rest(api(by_path(plain={"data": [{"id": "one"}, {"id": "two"}]})))
    report = await client.inventory()
    assert set(report.models) == {"one", "two"}
    assert (report.residents, report.lists_only_loaded, report.version) == ((), None, "")
    assert await client.resident() == ()


async def test_a_path_that_is_not_found_is_no_failure() -> None:
    def answer(call: Call) -> tuple[int, object]:
        return (200, {"data": []}) if call.url.endswith("4/v1/models") else (404, b"not found")

    assert (await richest_rest(api(answer))).interface == "/v1"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {"error": {"code": "invalid_api_key"}}, FailureKind.AUTH),
        (403, b"", FailureKind.AUTH),
        (500, b"", FailureKind.SERVER),
        (503, b"", FailureKind.SERVER),
        (200, b"<html>", FailureKind.GARBAGE),
        (200, {"models": [{"name": "no key"}]}, FailureKind.GARBAGE),
    ],
)
async def test_bad_answers_are_told_apart(status: int, body: object, kind: FailureKind) -> None:
    client = RestClient(api(always(status, body)), "/api/v1")
    with pytest.raises(HostUnreachable) as caught:
        await client.inventory()
    assert caught.value.kind is kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (WireFault(Verdict(FailureKind.CONNECT)), FailureKind.CONNECT),
        (WireFault(Verdict(FailureKind.GARBAGE, "no HTTP")), FailureKind.GARBAGE),
        (WireFault(Verdict(FailureKind.AUTH, "a line break")), FailureKind.AUTH),
        (TimeoutError(), FailureKind.TIMEOUT),
        (ConnectionResetError("cut"), FailureKind.CUT),
    ],
)
async def test_broken_connections_are_told_apart(error: Exception, kind: FailureKind) -> None:
    def answer(_: Call) -> tuple[int, object]:
        raise error

    with pytest.raises(HostUnreachable) as caught:
        await api(answer).get("/v1/models")
    assert caught.value.kind is kind


async def test_the_token_goes_with_every_call() -> None:
    def answer(call: Call) -> tuple[int, object]:
        assert call.headers["Authorization"] == "Bearer sk-lm-a:b"
        return 200, {}

    await api(answer, "sk-lm-a:b").get("/v1/models")
    await api(answer, "sk-lm-a:b").send("POST", "/api/v1/models/load", {})


async def test_a_load_answered_without_an_instance_has_failed() -> None:
    client = RestClient(api(always(200, UNKNOWN)), "/api/v1")
    with fails(FailureKind.LOAD_FAILED, match="Unexpected endpoint"):
        await client.load(ORDER, lambda _: None, Stop())


async def test_a_load_without_permission_is_the_tokens_fault() -> None:
    client = RestClient(api(always(401)), "/api/v1")
    with pytest.raises(HostUnreachable, match="token"):
        await client.load(ORDER, lambda _: None, Stop())


async def test_an_unload_of_what_is_gone_is_no_failure() -> None:
    answer = always(404, {"error": {"message": "no such instance"}})
    client = RestClient(api(answer), "/api/v1")
    await client.unload(Instance(InstanceId("one"), ONE))


async def test_a_refused_unload_gives_the_hosts_reason() -> None:
    answer = always(500, {"error": {"message": "engine busy"}})
    client = RestClient(api(answer), "/api/v1")
    with pytest.raises(Unavailable, match="engine busy"):
        await client.unload(Instance(InstanceId("one"), ONE))


async def test_where_loading_is_impossible_unloading_is_too() -> None:
    client = RestClient(api(always(200, {})), "/api/v0")
    with pytest.raises(Unavailable, match="no interface"):
        await client.unload(Instance(InstanceId("one"), ONE))


# --- too much, too deep -----------------------------------------------------------------------


async def test_a_listing_without_an_end_is_given_up_and_called_garbage() -> None:
    taken, is_left = 0, asyncio.Event()

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                writer.write(b" " * (1 << 20))
                await writer.drain()
                taken += 1
        except ConnectionError:
            is_left.set()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with closing(ConnectionPool()) as connections:
        with pytest.raises(HostUnreachable, match="more than 32 MB") as caught:
            await RestApi(connections, address, None).get("/v1/models")
        await is_left.wait()
    server.close()
    assert caught.value.kind is FailureKind.GARBAGE
    # What the two systems hold between them comes on top.
    assert taken <= 48


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000])
async def test_nesting_too_deep_to_read_is_garbage(text: str) -> None:
    with pytest.raises(HostUnreachable) as caught:
        await api(always(200, text.encode())).get("/v1/models")
    assert caught.value.kind is FailureKind.GARBAGE
