"""Plain HTTP to a simulated host, for its tests."""

import json
from dataclasses import replace
from typing import Any

import aiohttp
from brief import brief

from bot.sim.host import SimHost
from bot.sim.models import GB, SimHostConfig, SimModel

JIT = SimHostConfig(
    models=(
        SimModel("small", 4 * GB, tool_use=True),
        SimModel("large", 9 * GB, reasoning=True),
        SimModel("huge", 99 * GB),
        SimModel("eyes", 5 * GB, kind="vlm"),
        SimModel("vectors", 1 * GB, kind="embedding"),
    ),
    memory_bytes=32 * GB,
    time_scale=0,
    answer=brief,
)
MANUAL = replace(JIT, jit=False)
CHAT = "/v1/chat/completions"


class Client:
    """Plain HTTP to one simulated host."""

    def __init__(self, host: SimHost, session: aiohttp.ClientSession) -> None:
        self.host = host
        self.session = session

    def url(self, path: str) -> str:
        return f"http://{self.host.address}{path}"

    async def get(self, path: str) -> tuple[int, Any]:
        async with self.session.get(self.url(path)) as response:
            return response.status, await response.json()

    async def post(self, path: str, **body: Any) -> tuple[int, Any]:
        async with self.session.post(self.url(path), json=body) as response:
            return response.status, await response.json()

    async def chat(self, text: str, model: str = "small", **more: Any) -> tuple[int, Any]:
        return await self.post(
            CHAT, model=model, messages=[{"role": "user", "content": text}], **more
        )

    def stream(self, text: str, model: str = "small", **more: Any) -> Any:
        messages = [{"role": "user", "content": text}]
        body = {"model": model, "messages": messages, "stream": True, **more}
        return self.session.post(self.url(CHAT), json=body)


def content(chunks: list[Any], member: str = "content") -> str:
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    return "".join(delta.get(member, "") for delta in deltas)


async def events(response: aiohttp.ClientResponse) -> list[Any]:
    text = (await response.read()).decode()
    lines = [line for line in text.split("\n") if line.startswith("data: ")]
    return [json.loads(line[6:]) for line in lines if line != "data: [DONE]"]
