"""REST answers of every odd kind, and what becomes of them."""

from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from failures import fails

from bot.domain.errors import FailureKind, HostUnreachable, Unavailable
from bot.domain.hosts import Instance, Interface, LoadOrder
from bot.domain.ids import InstanceId, ModelKey
from bot.domain.personas import LoadSettings
from bot.fleet.client import Stop
from bot.fleet.rest import RestApi, RestClient, richest_rest

Answer = Callable[[httpx.Request], httpx.Response]
ONE = ModelKey("one")
ORDER = LoadOrder(ONE, "llm", LoadSettings(), ttl_s=60, idle_ttl_s=30)
UNKNOWN = {"error": "Unexpected endpoint or method. (GET /x)"}


def api(answer: Answer, token: str | None = None) -> RestApi:
    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return RestApi(http, "studio:1234", token)


def by_path(**answers: object) -> Answer:
    """Answers by the last part but one of the path: ``v1``, ``v0``, or ``plain``."""

    def answer(request: httpx.Request) -> httpx.Response:
        names = {"/api/v1/models": "v1", "/api/v0/models": "v0", "/v1/models": "plain"}
        return httpx.Response(200, json=answers.get(names.get(request.url.path, ""), UNKNOWN))

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
    def ollama(request: httpx.Request) -> httpx.Response:
        bodies = {
            "/v1/models": {"object": "list", "data": [{"id": "llama3", "owned_by": "library"}]},
            "/api/version": {"version": "0.12.6"},
        }
        body = bodies.get(request.url.path)
        return httpx.Response(200, json=body) if body else httpx.Response(404, text="404 not found")

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
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": []})
        return httpx.Response(404, text="not found")

    assert (await richest_rest(api(answer))).interface == "/v1"


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (httpx.Response(401, json={"error": {"code": "invalid_api_key"}}), FailureKind.AUTH),
        (httpx.Response(403), FailureKind.AUTH),
        (httpx.Response(500), FailureKind.SERVER),
        (httpx.Response(503), FailureKind.SERVER),
        (httpx.Response(200, text="<html>"), FailureKind.GARBAGE),
        (httpx.Response(200, json={"models": [{"name": "no key"}]}), FailureKind.GARBAGE),
    ],
)
async def test_bad_answers_are_told_apart(response: httpx.Response, kind: FailureKind) -> None:
    client = RestClient(api(lambda _: response), "/api/v1")
    with pytest.raises(HostUnreachable) as caught:
        await client.inventory()
    assert caught.value.kind is kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx.ConnectError("refused"), FailureKind.CONNECT),
        (httpx.ReadTimeout("slow"), FailureKind.TIMEOUT),
        (httpx.RemoteProtocolError("cut"), FailureKind.CUT),
        (httpx.ReadError("reset"), FailureKind.CUT),
    ],
)
async def test_broken_connections_are_told_apart(error: Exception, kind: FailureKind) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise error

    with pytest.raises(HostUnreachable) as caught:
        await api(answer).get("/v1/models")
    assert caught.value.kind is kind


async def test_the_token_goes_with_every_call() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["Authorization"] == "Bearer sk-lm-a:b"
        return httpx.Response(200, json={})

    await api(answer, "sk-lm-a:b").get("/v1/models")
    await api(answer, "sk-lm-a:b").send("POST", "/api/v1/models/load", {})


async def test_a_load_answered_without_an_instance_has_failed() -> None:
    client = RestClient(api(lambda _: httpx.Response(200, json=UNKNOWN)), "/api/v1")
    with fails(FailureKind.LOAD_FAILED, match="Unexpected endpoint"):
        await client.load(ORDER, lambda _: None, Stop())


async def test_a_load_without_permission_is_the_tokens_fault() -> None:
    client = RestClient(api(lambda _: httpx.Response(401)), "/api/v1")
    with pytest.raises(HostUnreachable, match="token"):
        await client.load(ORDER, lambda _: None, Stop())


async def test_an_unload_of_what_is_gone_is_no_failure() -> None:
    answer = httpx.Response(404, json={"error": {"message": "no such instance"}})
    client = RestClient(api(lambda _: answer), "/api/v1")
    await client.unload(Instance(InstanceId("one"), ONE))


async def test_a_refused_unload_gives_the_hosts_reason() -> None:
    answer = httpx.Response(500, json={"error": {"message": "engine busy"}})
    client = RestClient(api(lambda _: answer), "/api/v1")
    with pytest.raises(Unavailable, match="engine busy"):
        await client.unload(Instance(InstanceId("one"), ONE))


async def test_where_loading_is_impossible_unloading_is_too() -> None:
    client = RestClient(api(lambda _: httpx.Response(200, json={})), "/api/v0")
    with pytest.raises(Unavailable, match="closed to Lantern: nothing can be loaded"):
        await client.unload(Instance(InstanceId("one"), ONE))


# --- too much, too deep -----------------------------------------------------------------------


class Endless(httpx.AsyncByteStream):
    """A body without an end; counts what was taken of it."""

    def __init__(self) -> None:
        self.taken = 0
        self.is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            self.taken += 1024 * 1024
            yield b" " * (1024 * 1024)

    async def aclose(self) -> None:
        self.is_closed = True


async def test_a_listing_without_an_end_is_given_up_and_called_garbage() -> None:
    body = Endless()
    with pytest.raises(HostUnreachable, match="more than 32 MB") as caught:
        await api(lambda _: httpx.Response(200, stream=body)).get("/v1/models")
    assert caught.value.kind is FailureKind.GARBAGE
    assert body.taken <= 34 * 1024 * 1024
    assert body.is_closed


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000])
async def test_nesting_too_deep_to_read_is_garbage(text: str) -> None:
    with pytest.raises(HostUnreachable) as caught:
        await api(lambda _: httpx.Response(200, text=text)).get("/v1/models")
    assert caught.value.kind is FailureKind.GARBAGE
