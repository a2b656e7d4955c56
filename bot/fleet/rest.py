"""LM Studio by REST: probing on every generation; loading and unloading by ``/api/v1`` (0.4)."""

import errno
import json
import re
import socket
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, cast

import httpx

from bot.domain.errors import FailureKind, HostUnreachable, Unavailable
from bot.domain.hosts import Instance, Interface, LoadOrder, ModelKind, Report
from bot.domain.ids import InstanceId
from bot.fleet import inventory
from bot.fleet.client import REST_SAYS, LoadValue, Stop
from bot.fleet.inventory import Garbled
from bot.fleet.lan import CALL_S, MOST_BYTES
from bot.policy.placement import CANNOT_LOAD

_PATHS = {
    "/api/v1": "/api/v1/models",
    "/api/v0": "/api/v0/models",
    "/v1": "/v1/models",
}
_LISTINGS = {
    "/api/v1": inventory.v1_listing,
    "/api/v0": inventory.v0_listing,
    "/v1": inventory.plain_listing,
}
_GENERATIONS = {"/api/v1": "0.4 or newer", "/api/v0": "0.3", "/v1": ""}
"""The generation an interface proves: ``/api/v1`` came with 0.4, ``/api/v0`` alone is 0.3.6 on."""
_MEMORY = re.compile(
    r"insufficient system resources|guardrail|insufficient (?:v?ram|memory)|out of memory|"
    r"not enough (?:v?ram|memory)",
    re.IGNORECASE,
)
"""LM Studio's words for a load refused for lack of memory; it gives no code for it (bug 1202)."""
_HEADINGS = re.compile(r"^\s*(?:Reported cause|Suggested potential remedy):\s*$", re.MULTILINE)
_NOBODY_THERE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ETIMEDOUT})


class RestApi:
    """Short HTTP calls to one host; ``connect_s`` is how long it may take to be let in."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        address: str,
        token: str | None,
        connect_s: float = CALL_S,
    ) -> None:
        self.http = http
        self._address = address
        self._connect_s = connect_s
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def get(self, path: str) -> object:
        """The JSON a path answers; None where the path is unknown there.

        Raises:
            HostUnreachable: no answer, an error status, or no JSON.
        """
        status, answer = await self.send("GET", path)
        if status >= 400 and status != 404:
            text = f"{self._address} answered HTTP {status}."
            raise HostUnreachable(text, FailureKind.SERVER)
        return answer

    @contextmanager
    def reading(self) -> Generator[None]:
        """Around the reading of this host's listings.

        Raises:
            HostUnreachable: a listing makes no sense.
        """
        try:
            yield
        except Garbled as error:
            text = f"{self._address} answered garbage ({error})."
            raise HostUnreachable(text, FailureKind.GARBAGE) from error

    async def send(
        self, method: Literal["GET", "POST"], path: str, body: Mapping[str, object] | None = None
    ) -> tuple[int, object]:
        """Status and JSON of a call, whatever the status; of a GET that failed no JSON.

        Raises:
            HostUnreachable: no answer, no JSON, or it wants an API token.
        """
        # A load answers when it is done, which may take minutes: the caller's deadline rules.
        read_s = None if method == "POST" else CALL_S
        timeout = httpx.Timeout(CALL_S, connect=self._connect_s, read=read_s)
        url, answer = f"http://{self._address}{path}", bytearray()
        try:
            async with self.http.stream(
                method, url, json=body, headers=self._headers, timeout=timeout
            ) as response:
                async for piece in response.aiter_bytes():
                    answer += piece
                    if len(answer) > MOST_BYTES:
                        with self.reading():
                            raise Garbled(f"more than {MOST_BYTES >> 20} MB")
        except (httpx.HTTPError, OSError) as error:
            raise unreached(self._address, error) from error
        status = response.status_code
        # Of a command 403 may mean much else, which its answer tells.
        if status == 401 or (status == 403 and method == "GET"):
            text = f"{self._address} wants an API token, or another one (HTTP {status})."
            raise HostUnreachable(text, FailureKind.AUTH)
        if status >= 400 and method == "GET":
            return status, None
        try:
            return status, cast(object, json.loads(answer))
        except (ValueError, RecursionError) as error:
            text = f"{self._address} answered garbage instead of JSON."
            raise HostUnreachable(text, FailureKind.GARBAGE) from error


class RestClient:
    """A ``HostClient`` over the richest REST interface a host has."""

    def __init__(self, api: RestApi, interface: Interface, version: str = "") -> None:
        self._api = api
        self._version = version or _GENERATIONS[interface]
        self.interface: Interface = interface

    async def inventory(self) -> Report:
        """Everything one probe tells."""
        payload = plain = await self._api.get(_PATHS[self.interface])
        if self.interface != "/v1":
            plain = await self._api.get(_PATHS["/v1"])
        with self._api.reading():
            models, residents = _LISTINGS[self.interface](payload)
            only_loaded = None
            if self.interface != "/v1":
                only_loaded = inventory.lists_only_loaded(plain, models, residents)
        return Report(self.interface, self._version, models, residents, only_loaded)

    async def resident(self, kind: ModelKind | None = None) -> tuple[Instance, ...]:
        """What is in memory now; nothing is known of it on a bare ``/v1`` host."""
        del kind  # every kind stands in one list
        payload = await self._api.get(_PATHS[self.interface])
        with self._api.reading():
            return _LISTINGS[self.interface](payload)[1]

    async def load(
        self, order: LoadOrder, on_progress: Callable[[float], None], stop: Stop
    ) -> Instance | None:
        """Loads by ``/api/v1``, which tells no progress.

        It has no cancel either: a load to be stopped is unloaded once it is there. It takes
        no TTL.
        """
        if self.interface in CANNOT_LOAD:
            raise Unavailable(CANNOT_LOAD[self.interface], FailureKind.LOAD_FAILED)
        # No word comes before the end, so the long deadline counts from here.
        on_progress(0.0)
        body: dict[str, object] = {"model": order.model_key}
        for name in REST_SAYS:
            if (value := getattr(order.settings, name)) is not None:
                body[name] = value
        # A path the host does not know answers 200 too: only an instance proves a load.
        status, answer = await self._api.send("POST", "/api/v1/models/load", body)
        made = inventory.text(inventory.members(answer), "instance_id")
        if status >= 400 or not made:
            raise load_failure(reason_of(answer, status))
        return Instance(InstanceId(made), order.model_key)

    async def unload(self, instance: Instance, *, even_busy: bool = True) -> None:
        """Unloads by ``/api/v1``, also what is busy: REST does not tell."""
        del even_busy
        if self.interface in CANNOT_LOAD:
            raise Unavailable(CANNOT_LOAD[self.interface], FailureKind.BAD_REQUEST)
        body = {"instance_id": instance.identifier}
        status, answer = await self._api.send("POST", "/api/v1/models/unload", body)
        if status >= 400 and status != 404:
            raise Unavailable(reason_of(answer, status), FailureKind.SERVER)

    async def load_config(self, instance: Instance) -> Mapping[str, LoadValue]:
        """How ``/api/v1`` lists that an instance was loaded; older interfaces tell nothing."""
        if self.interface != "/api/v1":
            return {}
        payload = await self._api.get(_PATHS[self.interface])
        with self._api.reading():
            return inventory.v1_config(payload, instance.identifier)

    async def count_tokens(self, instance: Instance, text: str) -> int | None:
        """No interface of REST counts them."""
        return None

    async def close(self) -> None:
        """Nothing of its own to close."""


async def richest_rest(api: RestApi) -> RestClient:
    """The client for the richest REST interface the host has.

    Raises:
        HostUnreachable: it has none, or does not answer.
    """
    # By what each answers, never by its status: an unknown path answers 200 with an error (LM
    # Studio's tracker, bugs 618 and 1323).
    with api.reading():
        if inventory.has_list(await api.get(_PATHS["/api/v1"]), "models"):
            return RestClient(api, "/api/v1")
        if inventory.has_v0_shape(await api.get(_PATHS["/api/v0"])):
            return RestClient(api, "/api/v0")
        if inventory.has_list(await api.get(_PATHS["/v1"]), "data"):
            # Ollama's own; LM Studio answers an error there.
            version = inventory.text(inventory.members(await api.get("/api/version")), "version")
            return RestClient(api, "/v1", f"Ollama {version}" if version else "")
        raise Garbled("no model list on any known path")


def load_failure(reason: str) -> Unavailable:
    """The error of a load the host refused or broke off, with the host's own reason.

    Told apart is a refusal for lack of memory: evicting something may help then.
    """
    is_memory = _MEMORY.search(reason) is not None
    return Unavailable(reason, FailureKind.DOES_NOT_FIT if is_memory else FailureKind.LOAD_FAILED)


def one_line(reason: str, limit: int = 400) -> str:
    """A many-line error as one line a person can read."""
    words = " ".join(_HEADINGS.sub("", reason).split())
    return words if len(words) <= limit else words[: limit - 1].rstrip() + "…"


def reason_of(answer: object, status: int) -> str:
    """The host's own words in an error body."""
    error = inventory.members(answer).get("error")
    said = inventory.members(error).get("message", error)
    return said if said and isinstance(said, str) else f"HTTP {status} without a reason"


def unreached(address: str, error: httpx.HTTPError | OSError) -> HostUnreachable:
    """The failure of a call that got no answer, in words for people: asleep is not crashed."""
    asleep = f"Nothing answers at {address}: the machine is asleep or switched off."
    match error:
        case httpx.ConnectTimeout():
            # A machine that is awake lets one in at once, however busy LM Studio is: the system
            # does that for it.
            return HostUnreachable(asleep, FailureKind.TIMEOUT)
        case httpx.TimeoutException():
            text = f"{address} accepts connections and says nothing: it hangs, or is too busy."
            return HostUnreachable(text, FailureKind.TIMEOUT)
        case httpx.ConnectError():
            causes = list(_beneath(error))
        case _:
            text = f"{address} cut the connection ({type(error).__name__})."
            return HostUnreachable(text, FailureKind.CUT)
    numbers = {cause.errno for cause in causes if isinstance(cause, OSError)}
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        name = address.rpartition(":")[0]
        text = f"The name {name} cannot be resolved: check its spelling, or use the address."
    elif errno.ECONNREFUSED in numbers:
        text = f"{address} refuses connections: LM Studio's server is not running there."
    else:
        text = asleep if numbers & _NOBODY_THERE else f"{address} cannot be reached."
    return HostUnreachable(text)


def _beneath(error: BaseException | None) -> Iterator[BaseException]:
    """An error and all that led to it; a name with two addresses fails in a group."""
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for part in cast("BaseExceptionGroup[BaseException]", error).exceptions:
                yield from _beneath(part)
        error = error.__cause__ or error.__context__
