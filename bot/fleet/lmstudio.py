"""LM Studio's own SDK behind ``HostClient``; the only file that imports ``lmstudio``.

Importing it is slow, so ``connect.py`` imports this module in a thread on the first connection.
Private names of ``lmstudio`` 1.5.0 (pinned) are used for what its public ones cannot do, each with
its reason beside it: handing over the API token, cancelling a load, and connecting without a proxy.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal, Protocol, cast

import httpx
import lmstudio as lms
import msgspec
from httpx_ws import HTTPXWSException
from lmstudio import _ws_impl
from lmstudio.json_api import (
    EmbeddingLoadModelConfigDict,
    LlmLoadModelConfigDict,
    LoadModelEndpoint,
    ModelTypesEmbedding,
    ModelTypesLlm,
)

from bot.domain.errors import FailureKind, HostUnreachable, Unavailable
from bot.domain.hosts import Instance, Interface, LoadOrder, ModelKind, Report
from bot.domain.ids import InstanceId, InstanceRef
from bot.fleet import inventory
from bot.fleet.client import Stop
from bot.fleet.inventory import Garbled
from bot.fleet.load_config import sdk_config
from bot.fleet.reasons import one_line
from bot.fleet.rest import RestApi, load_failure
from bot.fleet.sockets import connect_plainly, plain_http

CLOSE_S = 2.0
"""Leaving is at once, also with a dead peer; this only bounds a surprise."""
CANCEL_S = 1.0
"""How long the cancel of a load may take when Lantern itself stops."""
GREETING_S = 2.0
"""The SDK's own 1 s is short for a machine that is busy loading."""
ASK_S = 1.0
"""A call the host is too old for is never answered."""

LoadSpace = Literal["llm", "embedding"]
Space = Literal["llm", "embedding", "system"]

_NONSENSE = (
    lms.LMStudioError,
    httpx.HTTPError,
    HTTPXWSException,
    msgspec.MsgspecError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RecursionError,
)
"""What the SDK lets out when the other side is gone, garbles, or is no LM Studio at all."""


class _Made(Protocol):
    identifier: str
    instance_reference: str


class _Endpoint(Protocol):
    is_finished: bool

    def handle_message_events(self, contents: object) -> None: ...

    def result(self) -> _Made: ...


class _Channel(Protocol):
    def rx_stream(self) -> AsyncIterator[object]: ...

    async def cancel(self) -> None: ...


class _Opens(Protocol):
    def _create_channel(self, endpoint: object) -> AbstractAsyncContextManager[_Channel]: ...


# Private: nothing public takes an HTTP client.
_ws_impl.aconnect_ws = connect_plainly  # pyright: ignore[reportPrivateImportUsage]  # see above


class _LanClient(lms.AsyncClient):
    """The SDK's client with the sockets Lantern uses: three of five."""

    # Private: nothing public leaves the sockets for files and downloads out.
    _ALL_SESSIONS = tuple(
        session
        for session in lms.AsyncClient._ALL_SESSIONS
        if session.API_NAMESPACE in {"llm", "embedding", "system"}
    )

    @staticmethod
    async def _query_probe_url(url: str) -> httpx.Response:
        """Greets the host; for the reasons of ``connect_plainly``."""
        async with plain_http() as http:
            return await http.get(url, timeout=GREETING_S)


@dataclass(frozen=True, slots=True)
class _Parameter:
    """The parameter of a raw call; ``to_dict`` is all the SDK asks of it."""

    wire: Mapping[str, object]

    def to_dict(self) -> Mapping[str, object]:
        return self.wire


class SocketClient:
    """A ``HostClient`` over the SDK's WebSockets, with REST beside it for what they do not tell."""

    def __init__(self, api: lms.AsyncClient, rest: RestApi, version: str) -> None:
        self._api = api
        self._rest = rest
        self._version = version
        self._tells_work = True

    @property
    def interface(self) -> Interface:
        """The SDK's socket."""
        return Interface.SDK

    async def inventory(self) -> Report:
        """Everything one probe tells.

        ``/v1/models`` is asked too: tokens stream over REST, so a host whose REST is broken must
        not count as well.
        """
        disk = await self._call("system", "listDownloadedModels")
        plain = await self._rest.get("/v1/models")
        native = await self._rest.get("/api/v1/models")
        residents = await self._listed(native)
        try:
            models = inventory.socket_models(disk)
            if inventory.has_v1_shape(native):
                models = inventory.with_reasoning(models, inventory.v1_models(native))
            only_loaded = None
            if inventory.has_data_shape(plain):
                ids = inventory.listed_ids(plain)
                only_loaded = inventory.lists_only_loaded(ids, models, residents)
        except Garbled as error:
            raise self._rest.garbled(error) from error
        return Report(Interface.SDK, self._version, models, residents, only_loaded)

    async def resident(self) -> tuple[Instance, ...]:
        """What is in memory now."""
        return await self._listed(await self._rest.get("/api/v1/models"))

    async def copies(self, order: LoadOrder) -> tuple[Instance, ...]:
        """What is in memory of one model now."""
        listing = await self._call(_space(order.kind), "listLoaded")
        try:
            seen = inventory.socket_instances(listing)
        except Garbled as error:
            raise self._rest.garbled(error) from error
        return tuple(s for s in seen if s.model_key == order.model_key)

    async def load(
        self, order: LoadOrder, on_progress: Callable[[float], None], stop: Stop
    ) -> Instance | None:
        """Loads one more instance, never get-or-load.

        ``model()`` would count as a JIT load, which evicts other JIT-loaded models, busy ones too.
        No identifier is given: the host uses the key, or ``key:2`` where that is taken.
        """
        space = _space(order.kind)
        endpoint = self._load_endpoint(space, order, on_progress)
        try:
            async with self._load_channel(space, endpoint) as channel:
                made = await self._follow(channel, endpoint, on_progress, stop)
        except lms.LMStudioServerError as error:
            if stop.is_asked:
                return None
            raise load_failure(_words(error)) from error
        except _NONSENSE as error:
            raise self._lost(error) from error
        if made is None and not stop.is_asked:
            text = f"The host ended the load of {order.model_key} without a word."
            raise Unavailable(text, FailureKind.LOAD_FAILED)
        if made is not None and stop.is_asked:
            # The cancel came too late: nobody wants what was made.
            await self._unload(space, made.identifier)
        if made is None or stop.is_asked:
            return None
        identifier, reference = InstanceId(made.identifier), InstanceRef(made.instance_reference)
        return Instance(identifier, order.model_key, reference)

    async def unload(self, instance: Instance) -> None:
        """Takes an instance out of memory."""
        await self._unload(_space(instance.kind), instance.identifier)

    async def is_working(self, instance: Instance) -> bool:
        """Is the instance serving anybody, whichever program asked? Told since 0.3.27."""
        if not self._tells_work:
            return False
        space = _space(instance.kind)
        query = {"type": "query", "query": {"identifier": instance.identifier}}
        parameter = {"specifier": query, "throwIfNotFound": True}
        try:
            async with asyncio.timeout(ASK_S):
                state = await self._call(space, "getInstanceProcessingState", parameter)
        except TimeoutError:
            self._tells_work = False
            return False
        except Unavailable:
            return False
        try:
            wire = inventory.wire_object(state)
        except Garbled:
            return False
        return inventory.text(wire, "status", "idle") != "idle"

    async def close(self) -> None:
        """Closes the sockets."""
        await _close(self._api)

    async def _follow(
        self,
        channel: _Channel,
        endpoint: _Endpoint,
        on_progress: Callable[[float], None],
        stop: Stop,
    ) -> _Made | None:
        """What was made; None when the host closed the channel before."""

        async def cancel() -> None:
            try:
                await channel.cancel()
            except _NONSENSE as error:
                raise self._lost(error) from error

        is_silent = True
        try:
            await stop.way_opens(cancel)
            async for contents in channel.rx_stream():
                if is_silent:
                    # Any first word shows that the host has taken the command.
                    on_progress(0.0)
                    is_silent = False
                endpoint.handle_message_events(contents)
                if endpoint.is_finished:
                    return endpoint.result()
            return None
        except asyncio.CancelledError:
            # Lantern stops, or the host hangs: a load nobody will own must not stay behind.
            await _cancel(channel)
            raise
        finally:
            stop.way_closes()

    def _load_channel(
        self, space: LoadSpace, endpoint: _Endpoint
    ) -> AbstractAsyncContextManager[_Channel]:
        session = cast(_Opens, self._api.embedding if space == "embedding" else self._api.llm)
        # Private: load_new_instance() opens this very channel but keeps it to itself, and only the
        # channel can send the protocol's cancel.
        return session._create_channel(endpoint)  # pyright: ignore[reportPrivateUsage]  # see above

    def _load_endpoint(
        self, space: LoadSpace, order: LoadOrder, on_progress: Callable[[float], None]
    ) -> _Endpoint:
        config = sdk_config(order.settings, is_embedding=space == "embedding")
        build = _embedding_endpoint if space == "embedding" else _llm_endpoint
        try:
            return build(order, config, on_progress)
        except (msgspec.MsgspecError, lms.LMStudioError, ValueError, TypeError) as error:
            text = f"The load settings make no sense to LM Studio: {error}"
            raise Unavailable(text, FailureKind.LOAD_FAILED) from error

    async def _listed(self, native: object) -> tuple[Instance, ...]:
        llms = await self._call("llm", "listLoaded")
        embeddings = await self._call("embedding", "listLoaded")
        try:
            seen = inventory.socket_instances(llms) + inventory.socket_instances(embeddings)
            return inventory.with_slots(seen, native)
        except Garbled as error:
            raise self._rest.garbled(error) from error

    async def _unload(self, space: Space, identifier: str) -> None:
        try:
            await self._call(space, "unloadModel", {"identifier": identifier})
        except ModelGone:
            return

    async def _call(
        self, space: Space, endpoint: str, parameter: Mapping[str, object] | None = None
    ) -> object:
        """A raw call: the SDK's own methods drop half of what the host answers."""
        given = None if parameter is None else _Parameter(parameter)
        try:
            session = getattr(self._api, space)
            return cast(object, await session.remote_call(endpoint, given))
        except lms.LMStudioModelNotFoundError as error:
            raise ModelGone(_words(error), FailureKind.NOT_THERE) from error
        except lms.LMStudioServerError as error:
            raise Unavailable(_words(error), FailureKind.SERVER) from error
        except _NONSENSE as error:
            raise self._lost(error) from error

    def _lost(self, error: Exception) -> HostUnreachable:
        return _unreachable(self._api.api_host, error)


class ModelGone(Unavailable):
    """The instance is not in memory any more."""


async def connect_socket(address: str, token: str | None, rest: RestApi) -> SocketClient:
    """Opens the SDK's sockets to a host.

    Raises:
        HostUnreachable: nobody there, not LM Studio, no sockets for us, or the token is refused.
    """
    api = _LanClient(address)
    if token is not None:
        _identify(api, token)
    try:
        await api.__aenter__()
        version = await _version(api)
    except _NONSENSE as error:
        await _close(api)
        raise _unreachable(address, error) from error
    except BaseException:
        await _close(api)
        raise
    return SocketClient(api, rest, version)


def _llm_endpoint(
    order: LoadOrder, config: dict[str, object], on_progress: Callable[[float], None]
) -> _Endpoint:
    endpoint = LoadModelEndpoint(
        order.model_key,
        None,
        order.ttl_s,
        ModelTypesLlm.REQUEST_NEW_INSTANCE,
        ModelTypesLlm.MODEL_LOAD_CONFIG,
        cast(LlmLoadModelConfigDict, config),
        on_progress,
    )
    return cast(_Endpoint, endpoint)


def _embedding_endpoint(
    order: LoadOrder, config: dict[str, object], on_progress: Callable[[float], None]
) -> _Endpoint:
    endpoint = LoadModelEndpoint(
        order.model_key,
        None,
        order.ttl_s,
        ModelTypesEmbedding.REQUEST_NEW_INSTANCE,
        ModelTypesEmbedding.MODEL_LOAD_CONFIG,
        cast(EmbeddingLoadModelConfigDict, config),
        on_progress,
    )
    return cast(_Endpoint, endpoint)


def _space(kind: ModelKind) -> LoadSpace:
    return "embedding" if kind == "embedding" else "llm"


def _identify(api: lms.AsyncClient, token: str) -> None:
    """Gives the token's halves to the handshake, as LM Studio's JavaScript client does."""
    name, _, key = token.removeprefix("sk-lm-").partition(":")
    # Private: 1.5.0 has no api_token argument yet.
    message = lms.AsyncClient._format_auth_message(name, key)  # pyright: ignore[reportPrivateUsage]  # see above
    api._auth_details = message  # pyright: ignore[reportPrivateUsage]  # see above


async def _version(api: lms.AsyncClient) -> str:
    try:
        async with asyncio.timeout(ASK_S):
            answer = inventory.wire_object(await api.system.remote_call("version"))
    except (TimeoutError, Garbled, lms.LMStudioServerError):
        return ""
    return inventory.text(answer, "version")


async def _close(api: lms.AsyncClient) -> None:
    try:
        async with asyncio.timeout(CLOSE_S):
            await api.aclose()
    except (TimeoutError, *_NONSENSE):
        return


async def _cancel(channel: _Channel) -> None:
    try:
        async with asyncio.timeout(CANCEL_S):
            await channel.cancel()
    except (TimeoutError, *_NONSENSE):
        return


def _unreachable(address: str, error: Exception) -> HostUnreachable:
    match error:
        case json.JSONDecodeError() | UnicodeDecodeError() | RecursionError():
            text, kind = f"{address} answers garbage.", FailureKind.GARBAGE
        case httpx.TimeoutException():
            text, kind = f"{address} accepts connections and says nothing.", FailureKind.TIMEOUT
        case lms.LMStudioWebsocketError():
            text, kind = f"{address} cut the connection.", FailureKind.CUT
        case lms.LMStudioError():
            text, kind = f"{address}: {one_line(str(error))}", FailureKind.CONNECT
        case _ if type(error) is ValueError:
            # A refused handshake: the server's error is a text where the SDK expects an object.
            text, kind = f"{address} refuses this API token, or wants one.", FailureKind.AUTH
        case _:
            text = f"{address} cannot be understood ({type(error).__name__})."
            kind = FailureKind.GARBAGE
    return HostUnreachable(text, kind)


def _words(error: lms.LMStudioServerError) -> str:
    """The host's own words: title, cause and suggestion, without the SDK's headings."""
    details = error.server_error
    if details is None:
        return one_line(str(error))
    parts = (details.title or details.root_title, details.cause, details.suggestion)
    said = list(dict.fromkeys(str(part).rstrip(".") for part in parts if part))
    return one_line(". ".join(said) + ".") if said else one_line(str(error))
