"""A host that costs next to nothing: one timer writes a token to everybody, as LM Studio does."""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from typing import cast

MODEL = "qwen/qwen3-8b"
PORT_LINE = "listening on"


class Host:
    """Who is answered now; a list of models for Lantern's probes."""

    def __init__(self, tokens_per_s: float) -> None:
        self.tokens_per_s = tokens_per_s
        self.answers: dict[asyncio.Transport, int] = {}

    async def tick(self) -> None:
        """One token for everybody, for ever."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        word, end = _chunk(_event({"content": " token"}, None)), _chunk(_event({}, "stop"))
        usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
        nothing: list[object] = []
        told = _chunk(_event({}, None) | {"choices": nothing, "usage": usage})
        last = end + told + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
        while True:
            for to, left in list(self.answers.items()):
                if left:
                    self.answers[to] = left - 1
                    to.write(word)
                else:
                    del self.answers[to]
                    to.write(last)
            due += 1 / self.tokens_per_s
            await asyncio.sleep(due - loop.time())


class Connection(asyncio.Protocol):
    """One connection of a client: requests come one after the other."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._raw = b""
        self._to: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._to = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._to is not None:
            self._host.answers.pop(self._to, None)

    def data_received(self, data: bytes) -> None:
        self._raw += data
        head, parted, rest = self._raw.partition(b"\r\n\r\n")
        length = next(
            (int(x.split(b":")[1]) for x in head.lower().split(b"\r\n") if x.startswith(_LENGTH)), 0
        )
        if not parted or len(rest) < length or self._to is None:
            return
        self._raw = b""
        if head.startswith(b"GET"):
            self._to.write(_whole(_MODELS) if b"/api/v1/models" in head else _MISSING)
            return
        asked = json.loads(rest)
        tokens = int(asked.get("max_tokens") or 1)
        if asked.get("stream"):
            self._to.write(_STREAM + _chunk(_event({"role": "assistant", "content": "a"}, None)))
            self._host.answers[self._to] = tokens - 1
            return
        message = {"role": "assistant", "content": "token " * tokens}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": 5 + tokens}
        body = {"id": "chatcmpl-1", "object": "chat.completion", "model": MODEL}
        self._to.write(_whole(body | {"choices": [choice], "usage": usage}))


_LENGTH = b"content-length"
_MISSING = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
_STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_MODELS: Mapping[str, object] = {
    "models": [
        {
            "type": "llm",
            "key": MODEL,
            "display_name": MODEL,
            "architecture": "qwen3",
            "quantization": {"name": "Q4_K_M", "bits_per_weight": 4},
            "size_bytes": 5_000_000_000,
            "params_string": "8B",
            "loaded_instances": [
                {"id": MODEL, "config": {"context_length": 16_384, "parallel": 1024}}
            ],
            "max_context_length": 32_768,
            "format": "gguf",
            "capabilities": {"vision": False, "trained_for_tool_use": True},
        }
    ]
}


def _event(delta: dict[str, str], finish: str | None) -> dict[str, object]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return {
        "id": "chatcmpl-0123456789abcdef0123",
        "object": "chat.completion.chunk",
        "created": 1763600000,
        "model": MODEL,
        "system_fingerprint": MODEL,
        "choices": [choice],
    }


def _chunk(payload: Mapping[str, object]) -> bytes:
    event = b"data: %b\n\n" % json.dumps(payload).encode()
    return b"%x\r\n%b\r\n" % (len(event), event)


def _whole(body: Mapping[str, object]) -> bytes:
    data = json.dumps(body).encode()
    head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
    return f"{head}{len(data)}\r\n\r\n".encode() + data


async def listen(tokens_per_s: float) -> None:
    """Serves until killed; prints its port."""
    host = Host(tokens_per_s)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(host), "127.0.0.1", 0, backlog=1024)
    print(PORT_LINE, server.sockets[0].getsockname()[1], flush=True)
    await host.tick()


def main(words: Sequence[str]) -> None:
    """Run as a process of its own."""
    import uvloop

    uvloop.run(listen(float(words[0])))


if __name__ == "__main__":
    main(sys.argv[1:])
