"""LM Studio's own SDK behind ``HostClient``; the only file that imports ``lmstudio``.

Importing it is slow, so ``connection.py`` imports this module in a thread on the first connection.
Private names of ``lmstudio`` 1.5.0 (pinned) are used for what its public ones cannot do, each with
its reason beside it: handing over the API token, cancelling a load, and connecting without a proxy.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import Any, Literal, cast

import aiohttp
import httpx
import lmstudio as lms
import msgspec
from lmstudio import _ws_impl
from lmstudio.async_api import AsyncChannel
from lmstudio.json_api import (
    ChannelEndpoint,
    LoadModelEndpoint,
    ModelLoadResult,
    ModelTypesEmbedding,
    ModelTypesLlm,
)

from bot.domain.errors import FailureKind, HostUnreachable, Unavailable
from bot.domain.hosts import HostConfig, Instance, Interface, LoadOrder, Model, ModelKind, Report
from bot.domain.ids import InstanceId, InstanceRef, ModelKey
from bot.domain.personas import LoadSettings
from bot.domain.values import value
from bot.fleet import inventory
from bot.fleet.client import LoadValue, Stop
from bot.fleet.inventory import Garbled, HostList
from bot.fleet.rest import MOST_BYTES, RestApi, load_failure, one_line
from bot.policy.placement import is_in_doubt

CLOSE_S = 2.0
"""Leaving is at once, also with a dead peer; this only bounds a surprise."""
CANCEL_S = 1.0
"""How long the cancel of a load may take to be sent."""
HEARTBEAT_S = 40.0
"""A socket at rest for so long is pinged, and given up when no word comes in half of it."""
GREETING_S = 2.0
"""The SDK's own 1 s is short for a machine that is busy loading."""
ESTIMATES = 3
"""Models whose memory is asked for in one probe, at most: each may take a while."""
ESTIMATED_CONTEXT = 8192
"""Tokens a model's memory is asked for with; what one of them takes follows from it."""
ASK_S = 1.0
"""A call the host is too old for is never answered."""

Space = Literal["llm", "embedding", "system"]
_LoadEndpoint = ChannelEndpoint[ModelLoadResult, Any, Any]

_NONSENSE = (
    lms.LMStudioError,
    httpx.HTTPError,
    aiohttp.ClientError,
    msgspec.MsgspecError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RecursionError,
)
"""What the SDK lets out when the other side is gone, garbles, or is no LM Studio at all."""


async def _undiverted(
    request: aiohttp.ClientRequest, ask: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Refuses whatever is no WebSocket: a host must not send Lantern, and its token, elsewhere."""
    response = await ask(request)
    if response.status != HTTPStatus.SWITCHING_PROTOCOLS:
        response.close()
        raise aiohttp.ClientError(f"HTTP {response.status} instead of a WebSocket")
    return response


@asynccontextmanager
async def _connect_plainly(url: str) -> AsyncGenerator[aiohttp.ClientWebSocketResponse]:
    """Opens one WebSocket for the SDK, which asks it to send and receive JSON, and to close.

    Left alone, the SDK makes an HTTP client with httpx's defaults for each of its sockets: each
    reads the system's certificates (40 ms of a standing loop, six times per host), though it speaks
    no TLS, and obeys a proxy of the environment, which the LAN is not behind. Nothing bounds what
    a message may take either, and each takes five times as long to open as aiohttp's.
    """
    async with (
        aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(), middlewares=(_undiverted,)
        ) as session,
        session.ws_connect(
            url,
            timeout=aiohttp.ClientWSTimeout(ws_close=0.0),  # pyright: ignore[reportCallIssue]  # attrs
            heartbeat=HEARTBEAT_S,
            max_msg_size=MOST_BYTES,
        ) as socket,
    ):
        yield socket


# Private: nothing public takes an HTTP client.
_ws_impl.aconnect_ws = _connect_plainly  # pyright: ignore[reportPrivateImportUsage]  # see above


class _LanClient(lms.AsyncClient):
    """The SDK's client with the sockets Lantern uses: three of five."""

    # Private: nothing public leaves the sockets for files and downloads out.
    _ALL_SESSIONS = tuple(
        session
        for session in lms.AsyncClient._ALL_SESSIONS
        if session.API_NAMESPACE in {"llm", "embedding", "system"}
    )

    def __init__(self, address: str, http: httpx.AsyncClient) -> None:
        super().__init__(address)
        self._http = http

    # Private: nothing public greets the host by an HTTP client that there is already.
    async def _ensure_api_host_is_valid(self) -> None:
        with suppress(httpx.ConnectTimeout, httpx.ConnectError):
            url = self._get_probe_url(self.api_host)
            if self._check_probe_response(await self._http.get(url, timeout=GREETING_S)):
                return
        raise self._get_probe_failure_error(self.api_host)


@value
class _Parameter:
    """The parameter of a raw call; ``to_dict`` is all the SDK asks of it."""

    wire: Mapping[str, object]

    def to_dict(self) -> Mapping[str, object]:
        return self.wire


class SocketClient:
    """A ``HostClient`` over the SDK's WebSockets, with REST beside it for what they do not tell."""

    def __init__(
        self, api: lms.AsyncClient, rest: RestApi, memory_bytes: int | None = None
    ) -> None:
        self.interface: Interface = "SDK socket"
        self.version = ""
        """Of LM Studio; empty where it does not tell."""
        self._api = api
        self._rest = rest
        self._tells_work = self._tells_memory = True
        self._memory_bytes = memory_bytes
        self._estimates: dict[Model, Model] = {}
        """Models as the host lists them, and with what it estimates of them."""

    async def inventory(self) -> Report:
        """Everything one probe tells.

        ``/v1/models`` is asked too: tokens stream over REST, so a host whose REST is broken must
        not count as well.
        """
        disk = await self._call("system", "listDownloadedModels")
        plain = await self._rest.get("/v1/models")
        with self._rest.reading():
            models, residents = await self._listing(inventory.socket_models(disk))
            only_loaded = inventory.lists_only_loaded(plain, models, residents)
        models = await self._reckoned(models)
        return Report("SDK socket", self.version, models, residents, only_loaded)

    async def _reckoned(self, models: Mapping[ModelKey, Model]) -> Mapping[ModelKey, Model]:
        """The disk, with what the host itself reckons of models that our formula may refuse.

        A mixture of experts is over-estimated by gigabytes: it was refused for ever where it fits.
        """
        doubted = [m for m in models.values() if is_in_doubt(m, self._memory_bytes)]
        for model in [m for m in doubted if m not in self._estimates][:ESTIMATES]:
            self._estimates[model] = await self._estimated(model)
        return {**models, **{m.key: self._estimates.get(m, m) for m in doubted}}

    async def resident(self, kind: ModelKind | None = None) -> tuple[Instance, ...]:
        """What is in memory now; of one kind without its slots."""
        with self._rest.reading():
            if kind is None:
                return (await self._listing({}))[1]
            return inventory.socket_instances(await self._call(_space(kind), "listLoaded"))

    async def load(
        self, order: LoadOrder, on_progress: Callable[[float], None], stop: Stop
    ) -> Instance | None:
        """Loads one more instance, never get-or-load.

        ``model()`` would count as a JIT load, which evicts other JIT-loaded models, busy ones too.
        No identifier is given: the host uses the key, or ``key:2`` where that is taken.
        """
        space = _space(order.kind)
        endpoint = _load_endpoint(order, on_progress)
        session = self._api.embedding if space == "embedding" else self._api.llm
        try:
            # Private: load_new_instance() opens this very channel but keeps it to itself, and only
            # the channel can send the protocol's cancel.
            async with session._create_channel(endpoint) as channel:  # pyright: ignore[reportPrivateUsage]  # see above
                made = await _followed(channel, endpoint, on_progress, stop)
        except lms.LMStudioServerError as error:
            if stop.is_asked:
                return None
            raise load_failure(_words(error)) from error
        except _NONSENSE as error:
            raise _unreachable(self._api.api_host, error) from error
        if made is None:
            if stop.is_asked:
                return None
            text = f"The host ended the load of {order.model_key} without a word."
            raise Unavailable(text, FailureKind.LOAD_FAILED)
        identifier, reference = InstanceId(made.identifier), InstanceRef(made.instance_reference)
        return Instance(identifier, order.model_key, reference, kind=order.kind)

    async def unload(self, instance: Instance, *, even_busy: bool = True) -> None:
        """Takes an instance out of memory."""
        if not even_busy and await self._is_working(instance):
            return
        parameter = {"identifier": instance.identifier}
        try:
            await self._call(_space(instance.kind), "unloadModel", parameter)
        except Unavailable as error:
            if error.kind is not FailureKind.NOT_THERE:
                raise

    async def _is_working(self, instance: Instance) -> bool:
        """Is the instance serving anybody, whichever program asked? Told since 0.3.27."""
        if not self._tells_work:
            return False
        query = {"type": "query", "query": {"identifier": instance.identifier}}
        parameter = {"specifier": query, "throwIfNotFound": True}
        try:
            async with asyncio.timeout(ASK_S):
                space = _space(instance.kind)
                state = await self._call(space, "getInstanceProcessingState", parameter)
            return inventory.text(inventory.wire_object(state), "status", "idle") != "idle"
        except TimeoutError:
            # A host that is too old for a call never answers it: asked once, not at each unload.
            self._tells_work = False
        except (Unavailable, Garbled):
            pass
        return False

    async def _estimated(self, model: Model) -> Model:
        """The model with the memory the host expects it to take: experimental, newer ones tell."""
        if not self._tells_memory:
            return model
        context = min(ESTIMATED_CONTEXT, model.max_context_length or ESTIMATED_CONTEXT)
        length = {"key": "llm.load.contextLength", "value": context}
        layer = {"layerName": "apiOverride", "config": {"fields": [length]}}
        parameter = {"modelKey": model.key, "loadConfigStack": {"layers": [layer]}}
        try:
            async with asyncio.timeout(ASK_S):
                answer = await self._call(_space(model.kind), "estimateModelUsage", parameter)
            memory = inventory.members(inventory.members(answer).get("memory"))
        except TimeoutError:
            # As with its work: one too old for the call never answers it.
            self._tells_memory = False
            return model
        except Unavailable as error:
            if isinstance(error, HostUnreachable):
                raise
            return model
        weights = inventory.number(memory, "modelBytes")
        beside = inventory.number(memory, "contextBytes") or 0
        if weights is None:
            return model
        return replace(model, weights_bytes=weights, token_bytes=beside / context)

    async def load_config(self, instance: Instance) -> Mapping[str, LoadValue]:
        """How the host says that an instance was loaded."""
        specifier = _specifier(instance)
        told = await self._call(_space(instance.kind), "getLoadConfig", {"specifier": specifier})
        with self._rest.reading():
            return inventory.socket_config(told)

    async def count_tokens(self, instance: Instance, text: str) -> int | None:
        """Tokens of a text as this instance reads it; None when the answer makes no sense."""
        asked: dict[str, object] = {"specifier": _specifier(instance), "inputString": text}
        told = await self._call(_space(instance.kind), "countTokens", asked)
        counted = told.get("tokenCount") if isinstance(told, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # as the wire has it
        return counted if isinstance(counted, int) and counted > 0 else None

    async def close(self) -> None:
        """Closes the sockets."""
        with suppress(TimeoutError, *_NONSENSE):
            async with asyncio.timeout(CLOSE_S):
                await self._api.aclose()

    async def _listing(self, models: Mapping[ModelKey, Model]) -> HostList:
        native = await self._rest.get("/api/v1/models")
        llms = await self._call("llm", "listLoaded")
        embeddings = await self._call("embedding", "listLoaded")
        seen = inventory.socket_instances(llms) + inventory.socket_instances(embeddings)
        return inventory.with_native(models, seen, native)

    async def _call(
        self, space: Space, endpoint: str, parameter: Mapping[str, object] | None = None
    ) -> object:
        """A raw call: the SDK's own methods drop half of what the host answers."""
        given = None if parameter is None else _Parameter(parameter)
        try:
            session = getattr(self._api, space)
            return cast(object, await session.remote_call(endpoint, given))
        except lms.LMStudioServerError as error:
            is_gone = isinstance(error, lms.LMStudioModelNotFoundError)
            kind = FailureKind.NOT_THERE if is_gone else FailureKind.SERVER
            raise Unavailable(_words(error), kind) from error
        except _NONSENSE as error:
            raise _unreachable(self._api.api_host, error) from error


async def connect_socket(config: HostConfig, rest: RestApi) -> SocketClient:
    """Opens the SDK's sockets to a host.

    Raises:
        HostUnreachable: nobody there, not LM Studio, no sockets for us, or the token is refused.
    """
    address, token = config.address, config.token
    api = _LanClient(address, rest.http)
    if token is not None:
        # The token's halves, as LM Studio's JavaScript client gives them to the handshake.
        name, _, key = token.removeprefix("sk-lm-").partition(":")
        # Private: 1.5.0 has no api_token argument yet.
        message = lms.AsyncClient._format_auth_message(name, key)  # pyright: ignore[reportPrivateUsage]  # see above
        api._auth_details = message  # pyright: ignore[reportPrivateUsage]  # see above
    client = SocketClient(api, rest, config.memory_bytes)
    try:
        await api.__aenter__()
        # An RPC the host is too old for is never answered: it only warns.
        with suppress(TimeoutError, Garbled, lms.LMStudioServerError):
            async with asyncio.timeout(ASK_S):
                answer = inventory.wire_object(await api.system.remote_call("version"))
                client.version = inventory.text(answer, "version")
    except _NONSENSE as error:
        await client.close()
        raise _unreachable(address, error) from error
    except BaseException:
        await client.close()
        raise
    return client


def sdk_config(settings: LoadSettings, *, is_embedding: bool) -> dict[str, object]:
    """The SDK's load configuration; keys and values both get the same cache quantisation."""
    quant = settings.kv_cache_quant
    config: dict[str, object] = {
        "contextLength": settings.context_length,
        "gpu": None if settings.gpu is None else {"ratio": settings.gpu},
        "ropeFrequencyBase": settings.rope_frequency_base,
        "ropeFrequencyScale": settings.rope_frequency_scale,
    }
    if not is_embedding:
        config |= {
            "flashAttention": settings.flash_attention,
            "numExperts": settings.num_experts,
            "llamaKCacheQuantizationType": quant,
            "llamaVCacheQuantizationType": quant,
        }
    return {name: value for name, value in config.items() if value is not None}


def _load_endpoint(order: LoadOrder, on_progress: Callable[[float], None]) -> _LoadEndpoint:
    is_embedding = order.kind == "embedding"
    types = ModelTypesEmbedding if is_embedding else ModelTypesLlm
    try:
        return LoadModelEndpoint[Any, Any](
            order.model_key,
            None,
            # Never left to the SDK, whose default is an hour.
            order.ttl_s,
            types.REQUEST_NEW_INSTANCE,
            types.MODEL_LOAD_CONFIG,
            sdk_config(order.settings, is_embedding=is_embedding),
            on_progress,
        )
    except (msgspec.MsgspecError, lms.LMStudioError, ValueError, TypeError) as error:
        text = f"The load settings make no sense to LM Studio: {error}"
        raise Unavailable(text, FailureKind.LOAD_FAILED) from error


async def _followed(
    channel: AsyncChannel[ModelLoadResult],
    endpoint: _LoadEndpoint,
    on_progress: Callable[[float], None],
    stop: Stop,
) -> ModelLoadResult | None:
    """What was made; None when the host closed the channel before."""
    is_silent = True
    try:
        stop.tell = partial(_cancel, channel)
        if stop.is_asked:
            await stop.tell()
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
        # Lantern stops, or the host hangs: a load nobody will own must not stay behind. The SDK
        # sends no cancel for a call that is left.
        await _cancel(channel)
        raise
    finally:
        stop.tell = None


def _specifier(instance: Instance) -> dict[str, object]:
    if instance.reference is not None:
        return {"type": "instanceReference", "instanceReference": instance.reference}
    return {"type": "query", "query": {"identifier": instance.identifier}}


def _space(kind: ModelKind) -> Space:
    return "embedding" if kind == "embedding" else "llm"


async def _cancel(channel: AsyncChannel[ModelLoadResult]) -> None:
    """Tells the host to give a load up; a host that is lost breaks the load by itself."""
    with suppress(TimeoutError, *_NONSENSE):
        async with asyncio.timeout(CANCEL_S):
            await channel.cancel()


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
