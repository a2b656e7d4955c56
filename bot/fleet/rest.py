"""LM Studio by REST: probing on every generation; loading and unloading by ``/api/v1`` (0.4)."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import httpx

from bot.domain.errors import FailureKind, HostUnreachable, Unavailable
from bot.domain.hosts import Instance, Interface, LoadOrder, Report
from bot.domain.ids import InstanceId
from bot.fleet import inventory
from bot.fleet.client import Stop
from bot.fleet.inventory import Garbled
from bot.fleet.load_config import rest_body
from bot.fleet.reasons import is_refusal_for_memory
from bot.fleet.unreached import unreached

_CALL_S = 10.0
MOST_BYTES = 32 * 1024 * 1024
"""More than any listing takes: what a host that never ends may put into memory."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """One whole answer."""

    status: int
    body: bytes


def shared_http() -> httpx.AsyncClient:
    """The one HTTP client all hosts share for short calls.

    ``trust_env`` is off: a proxy from the environment must not stand between Lantern and the LAN.
    Certificates are not read: LM Studio speaks plain HTTP, and reading them costs every start.
    """
    return httpx.AsyncClient(
        trust_env=False,
        verify=False,  # noqa: S501  # no TLS is spoken here
        timeout=_CALL_S,
        limits=httpx.Limits(max_keepalive_connections=32, keepalive_expiry=20.0),
    )


class RestApi:
    """Short HTTP calls to one host; ``connect_s`` is how long it may take to be let in."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        address: str,
        token: str | None,
        connect_s: float = _CALL_S,
    ) -> None:
        self._http = http
        self._address = address
        self._asking = httpx.Timeout(_CALL_S, connect=connect_s)
        # A load answers when it is done, which may take minutes: the caller's deadline rules.
        self._commanding = httpx.Timeout(_CALL_S, connect=connect_s, read=None)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def get(self, path: str) -> object:
        """The JSON a path answers; None where the path is unknown there.

        Raises:
            HostUnreachable: no answer, an error status, or no JSON.
        """
        answer = await self._send("GET", path, None)
        if answer.status == 404:
            return None
        self._check(answer)
        return self._json(answer)

    async def post(self, path: str, body: Mapping[str, object]) -> tuple[int, object]:
        """Status and JSON of a command, whatever the status.

        Raises:
            HostUnreachable: no answer, or no JSON.
        """
        answer = await self._send("POST", path, body)
        if answer.status == 401:
            self._check(answer)
        return answer.status, self._json(answer)

    async def _send(self, method: str, path: str, body: Mapping[str, object] | None) -> _Answer:
        url = f"http://{self._address}{path}"
        timeout = self._commanding if method == "POST" else self._asking
        try:
            async with self._http.stream(
                method, url, json=body, headers=self._headers, timeout=timeout
            ) as response:
                return _Answer(response.status_code, await self._body(response))
        except (httpx.HTTPError, OSError) as error:
            raise unreached(self._address, error) from error

    async def _body(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > MOST_BYTES:
                raise self.garbled(Garbled(f"more than {MOST_BYTES >> 20} MB"))
        return bytes(body)

    def _check(self, answer: _Answer) -> None:
        status = answer.status
        if status in {401, 403}:
            text = f"{self._address} wants an API token, or another one (HTTP {status})."
            raise HostUnreachable(text, FailureKind.AUTH)
        if status >= 400:
            text = f"{self._address} answered HTTP {status}."
            raise HostUnreachable(text, FailureKind.SERVER)

    def _json(self, answer: _Answer) -> object:
        try:
            return cast(object, json.loads(answer.body))
        except (ValueError, RecursionError) as error:
            text = f"{self._address} answered garbage instead of JSON."
            raise HostUnreachable(text, FailureKind.GARBAGE) from error

    def garbled(self, error: Garbled) -> HostUnreachable:
        """The failure of a host whose listing makes no sense."""
        text = f"{self._address} answered garbage ({error})."
        return HostUnreachable(text, FailureKind.GARBAGE)


class RestClient:
    """A ``HostClient`` over the richest REST interface a host has."""

    def __init__(self, api: RestApi, interface: Interface) -> None:
        self._api = api
        self._interface = interface

    @property
    def interface(self) -> Interface:
        """Which of the REST interfaces it uses."""
        return self._interface

    async def inventory(self) -> Report:
        """Everything one probe tells."""
        payload = await self._api.get(_PATHS[self._interface])
        plain = payload
        if self._interface is not Interface.OPENAI:
            plain = await self._api.get(_PATHS[Interface.OPENAI])
        try:
            return self._report(payload, plain)
        except Garbled as error:
            raise self._api.garbled(error) from error

    async def resident(self) -> tuple[Instance, ...]:
        """What is in memory now; nothing is known of it on a bare ``/v1`` host."""
        payload = await self._api.get(_PATHS[self._interface])
        try:
            return _residents(self._interface, payload)
        except Garbled as error:
            raise self._api.garbled(error) from error

    async def copies(self, order: LoadOrder) -> tuple[Instance, ...]:
        """What is in memory of one model now."""
        return tuple(s for s in await self.resident() if s.model_key == order.model_key)

    async def load(
        self, order: LoadOrder, on_progress: Callable[[float], None], stop: Stop
    ) -> Instance | None:
        """Loads by ``/api/v1``, which tells no progress.

        It has no cancel either: a load to be stopped is unloaded the moment it is there.
        """
        if self._interface is not Interface.REST_V1:
            raise Unavailable(_CANNOT_LOAD, FailureKind.LOAD_FAILED)
        on_progress(0.0)
        status, answer = await self._api.post(
            "/api/v1/models/load", rest_body(order.model_key, order.settings)
        )
        identifier = _instance_id(answer)
        if status >= 400 or identifier is None:
            raise load_failure(reason_of(answer, status))
        if stop.is_asked:
            await self._unload(identifier)
            return None
        return Instance(identifier, order.model_key)

    async def unload(self, instance: Instance) -> None:
        """Unloads by ``/api/v1``."""
        if self._interface is not Interface.REST_V1:
            raise Unavailable(_CANNOT_LOAD, FailureKind.BAD_REQUEST)
        await self._unload(instance.identifier)

    async def is_working(self, instance: Instance) -> bool:
        """REST does not tell."""
        del instance
        return False

    async def close(self) -> None:
        """Nothing of its own to close."""

    async def _unload(self, identifier: InstanceId) -> None:
        body = {"instance_id": identifier}
        status, answer = await self._api.post("/api/v1/models/unload", body)
        if status >= 400 and status != 404:
            raise Unavailable(reason_of(answer, status), FailureKind.SERVER)

    def _report(self, payload: object, plain: object) -> Report:
        models = _MODELS[self._interface](payload)
        residents = _residents(self._interface, payload)
        only_loaded = None
        if self._interface is not Interface.OPENAI and inventory.has_data_shape(plain):
            ids = inventory.listed_ids(plain)
            only_loaded = inventory.lists_only_loaded(ids, models, residents)
        version = _GENERATIONS.get(self._interface, "")
        return Report(self._interface, version, models, residents, only_loaded)


async def richest_rest(api: RestApi) -> RestClient:
    """The client for the richest REST interface the host has.

    Raises:
        HostUnreachable: it has none, or does not answer.
    """
    for interface, fits in _SHAPES:
        if fits(await api.get(_PATHS[interface])):
            return RestClient(api, interface)
    raise api.garbled(Garbled("no model list on any known path"))


def load_failure(reason: str) -> Unavailable:
    """The error of a load the host refused or broke off, with the host's own reason."""
    is_memory = is_refusal_for_memory(reason)
    return Unavailable(reason, FailureKind.DOES_NOT_FIT if is_memory else FailureKind.LOAD_FAILED)


def reason_of(answer: object, status: int) -> str:
    """The host's own words in an error body."""
    if isinstance(answer, Mapping):
        error = cast(Mapping[str, object], answer).get("error")
        if isinstance(error, Mapping):
            error = cast(Mapping[str, object], error).get("message")
        if isinstance(error, str) and error:
            return error
    return f"HTTP {status} without a reason"


def _instance_id(answer: object) -> InstanceId | None:
    if isinstance(answer, Mapping):
        value = cast(Mapping[str, object], answer).get("instance_id")
        if isinstance(value, str) and value:
            return InstanceId(value)
    return None


def _residents(interface: Interface, payload: object) -> tuple[Instance, ...]:
    if interface is Interface.REST_V1:
        return inventory.v1_instances(payload)
    if interface is Interface.REST_V0:
        return inventory.v0_instances(payload)
    return ()


_PATHS = {
    Interface.REST_V1: "/api/v1/models",
    Interface.REST_V0: "/api/v0/models",
    Interface.OPENAI: "/v1/models",
}
_MODELS = {
    Interface.REST_V1: inventory.v1_models,
    Interface.REST_V0: inventory.v0_models,
    Interface.OPENAI: inventory.plain_models,
}
_SHAPES = (
    (Interface.REST_V1, inventory.has_v1_shape),
    (Interface.REST_V0, inventory.has_v0_shape),
    (Interface.OPENAI, inventory.has_data_shape),
)
_GENERATIONS = {Interface.REST_V1: "0.4 or newer", Interface.REST_V0: "0.3"}
"""The generation an interface proves: ``/api/v1`` came with 0.4, ``/api/v0`` alone is 0.3.6 on."""
_CANNOT_LOAD = (
    "This host offers no interface for loading models: its WebSocket is closed to Lantern and it is"
    " older than LM Studio 0.4."
)
