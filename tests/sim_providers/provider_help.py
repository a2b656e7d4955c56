"""What every test of the provider doubles needs: a running one, and ways to ask it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import aiohttp
from brief import brief
from collected import Collected, collect

from bot.domain.chat import Endpoint, InferenceRequest, Message
from bot.domain.personas import Sampling
from bot.inference.streams import Inference
from bot.sim.providers.config import SimProviderConfig, WireKind
from bot.sim.providers.provider import SimProvider

KEY = "sk-simulated-key-0001"
WIRES: tuple[WireKind, ...] = ("zai", "openai", "anthropic", "generic")
CHAT_WIRES: tuple[WireKind, ...] = ("zai", "openai", "generic")
MODELS: Mapping[WireKind, str] = {
    "zai": "glm-4.6",
    "openai": "gpt-6-luna",
    "anthropic": "claude-haiku-5-5",
    "generic": "z-ai/glm-4.6",
}


def provider(wire: WireKind, **changes: Any) -> SimProvider:
    """A provider as fast as possible."""
    quick: dict[str, Any] = {"key": KEY, "time_scale": 0.0, "answer": brief}
    settings: dict[str, Any] = {"wire": wire, **quick, **changes}
    return SimProvider(SimProviderConfig(**settings))


def endpoint_of(double: SimProvider, model: str | None = None, **changes: Any) -> Endpoint:
    """Our own adapters' way to a provider."""
    wire = double.config.wire
    settings: dict[str, Any] = {
        "base_url": double.base_url,
        "model": model or MODELS[wire],
        "wire": "anthropic" if wire == "anthropic" else "openai",
        "dialect": "generic" if wire == "anthropic" else wire,
        "token": double.key,
        "source": wire,
        "is_local": False,
        "first_token_s": 60.0,
        "idle_s": 60.0,
    }
    return Endpoint(**(settings | changes))


async def ask(
    inference: Inference,
    endpoint: Endpoint,
    *texts: str,
    max_tokens: int | None = None,
    user_hash: str | None = None,
) -> Collected:
    """Ask by our own adapter, to the end or to the error."""
    messages = tuple(Message("user", text) for text in texts or ("Hello?",))
    request = InferenceRequest(messages, Sampling(max_tokens=max_tokens), user_hash)
    return await collect(inference, endpoint, request)


@dataclass(frozen=True, slots=True)
class Answered:
    """A plain HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def error(self) -> dict[str, Any]:
        """The error object."""
        return self.body["error"]


def payload_of(wire: WireKind, **changes: object) -> dict[str, object]:
    """The smallest request a wire takes; None as a value leaves a field out."""
    payload: dict[str, object] = {
        "model": MODELS[wire],
        "messages": [{"role": "user", "content": "Hello?"}],
    }
    if wire == "anthropic":
        payload["max_tokens"] = 200
    payload |= changes
    return {name: value for name, value in payload.items() if value is not None}


def headers_of(double: SimProvider) -> dict[str, str]:
    """The headers a wire wants."""
    if double.config.wire == "anthropic":
        return {"x-api-key": double.key, "anthropic-version": "2026-10-21"}
    return {"authorization": f"Bearer {double.key}"}


def chat_url(double: SimProvider) -> str:
    """Where answers are asked for."""
    tail = "/messages" if double.config.wire == "anthropic" else "/chat/completions"
    return double.base_url + tail


async def post(
    double: SimProvider,
    payload: Mapping[str, object],
    headers: Mapping[str, str] | None = None,
    url: str = "",
) -> Answered:
    """Send a request by hand and read the JSON that comes."""
    wanted = headers_of(double) if headers is None else headers
    async with (
        aiohttp.ClientSession() as session,
        session.post(url or chat_url(double), json=payload, headers=wanted) as response,
    ):
        body = cast(dict[str, Any], await response.json())
        return Answered(response.status, _by_name(response), body)


async def get(double: SimProvider, tail: str) -> Answered:
    """Read JSON by hand."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(double.base_url + tail, headers=headers_of(double)) as response,
    ):
        return Answered(response.status, _by_name(response), await response.json())


def _by_name(response: aiohttp.ClientResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}
