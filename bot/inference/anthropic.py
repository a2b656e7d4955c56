"""The Anthropic messages wire."""

import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager

from bot.domain.chat import Attachment, Endpoint, InferenceRequest, Message
from bot.domain.events import Delta
from bot.inference.anthropic_stream import AnthropicReader
from bot.inference.base import Call
from bot.inference.exchange import Exchange
from bot.inference.pieces import estimate_prompt_tokens

VERSION = "2026-10-21"
"""Pinned: this version takes no sampling parameters at all, not even at their defaults."""

_MAX_TOKENS = 8192
"""The wire requires a limit; thinking counts in it."""
_OPENING = "(The conversation begins.)"
_GO_ON = "Go on exactly where you stopped."


class AnthropicAdapter:
    """Speaks the messages API."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def open(
        self, endpoint: Endpoint, request: InferenceRequest
    ) -> AbstractAsyncContextManager[AsyncIterator[Delta]]:
        """Send the request; leaving the block closes the response, which stops the generation."""
        reader = AnthropicReader(endpoint, prompt_estimate=estimate_prompt_tokens(request.messages))
        return self._exchange.open(endpoint, request, messages_call, reader)


def messages_call(endpoint: Endpoint, request: InferenceRequest) -> Call:
    """Return the HTTP request that asks an endpoint for a streamed message."""
    headers = {"anthropic-version": VERSION}
    if endpoint.token:
        headers["x-api-key"] = endpoint.token
    return Call(
        url=f"{endpoint.base_url.rstrip('/')}/messages",
        headers=headers,
        body=json.dumps(messages_body(endpoint, request)).encode(),
    )


def messages_body(endpoint: Endpoint, request: InferenceRequest) -> dict[str, object]:
    """Return the fields of a messages request."""
    sampling = request.sampling
    body: dict[str, object] = {
        "model": endpoint.model,
        "max_tokens": sampling.max_tokens or _MAX_TOKENS,
        "messages": _turns(request.messages),
        "stream": True,
    }
    if system := "\n\n".join(
        m.text for m in request.messages if m.role == "system" and m.text.strip()
    ):
        body["system"] = system
    if stops := [stop for stop in sampling.stop if stop.strip()]:
        body["stop_sequences"] = stops
    if request.user_hash:
        body["metadata"] = {"user_id": request.user_hash}
    return body


def _turns(messages: Sequence[Message]) -> list[dict[str, object]]:
    """Return turns as the API takes them: alternating, the user's first and last, no blank text."""
    turns: list[tuple[str, list[dict[str, object]]]] = []
    for message in messages:
        blocks = _blocks(message)
        if message.role == "system" or not blocks:
            continue
        if turns and turns[-1][0] == message.role:
            turns[-1][1].extend(blocks)
        else:
            turns.append((message.role, blocks))
    if not turns or turns[0][0] != "user":
        turns.insert(0, ("user", [_text(_OPENING)]))
    if turns[-1][0] != "user":
        # A last turn of the assistant's own (prefill) is refused by the models in service.
        turns.append(("user", [_text(_GO_ON)]))
    return [{"role": role, "content": blocks} for role, blocks in turns]


def _blocks(message: Message) -> list[dict[str, object]]:
    images = [_image(image) for image in message.images if image.image]
    return [*images, _text(message.text)] if message.text.strip() else images


def _text(text: str) -> dict[str, object]:
    return {"type": "text", "text": text}


def _image(image: Attachment) -> dict[str, object]:
    data = base64.b64encode(image.image or b"").decode()
    return {
        "type": "image",
        "source": {"type": "base64", "media_type": image.media_type, "data": data},
    }
