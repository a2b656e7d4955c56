"""The chat-completions wire of LM Studio, Z.AI, OpenAI, OpenRouter, Ollama and vLLM."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

from bot.domain.chat import Attachment, Endpoint, InferenceRequest, Message
from bot.domain.events import Delta
from bot.inference.base import Call
from bot.inference.dialects import DIALECTS, sampling_fields, thinking_off_fields
from bot.inference.exchange import Exchange
from bot.inference.openai_stream import OpenAiReader
from bot.inference.pieces import estimate_prompt_tokens


class OpenAiAdapter:
    """Speaks chat completions in the endpoint's dialect."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def open(
        self, endpoint: Endpoint, request: InferenceRequest
    ) -> AbstractAsyncContextManager[AsyncIterator[Delta]]:
        """Send the request; leaving the block closes the response, which stops the generation."""
        reader = OpenAiReader(
            endpoint,
            inline_think=DIALECTS[endpoint.dialect].inline_think,
            prompt_estimate=estimate_prompt_tokens(request.messages),
        )
        return self._exchange.open(endpoint, request, completions_call, reader)


def completions_call(endpoint: Endpoint, request: InferenceRequest) -> Call:
    """Return the HTTP request that asks an endpoint for a streamed chat completion."""
    headers = {"Authorization": f"Bearer {endpoint.token}"} if endpoint.token else {}
    return Call(
        url=f"{endpoint.base_url.rstrip('/')}/chat/completions",
        headers=headers,
        body=json.dumps(completions_body(endpoint, request)).encode(),
    )


def completions_body(endpoint: Endpoint, request: InferenceRequest) -> dict[str, object]:
    """Return the fields of a chat-completions request in the endpoint's dialect."""
    dialect = DIALECTS[endpoint.dialect]
    body: dict[str, object] = {
        "model": endpoint.model,
        "messages": [_message(message) for message in request.messages],
        "stream": True,
    }
    if dialect.include_usage:
        body["stream_options"] = {"include_usage": True}
    body |= sampling_fields(dialect, endpoint.model, request.sampling)
    if endpoint.thinking == "off":
        body |= thinking_off_fields(dialect, endpoint.model)
    if dialect.user_field and request.user_hash:
        body[dialect.user_field] = request.user_hash
    return body


def _message(message: Message) -> dict[str, object]:
    images = [_image(image) for image in message.images if image.image]
    if not images:
        return {"role": message.role, "content": message.text}
    text = [{"type": "text", "text": message.text}] if message.text else []
    return {"role": message.role, "content": [*text, *images]}


def _image(image: Attachment) -> dict[str, object]:
    data = base64.b64encode(image.image or b"").decode()
    return {"type": "image_url", "image_url": {"url": f"data:{image.media_type};base64,{data}"}}
